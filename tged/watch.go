package tged

import (
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// How often a file is looked at where changes of its folder are told, for
// that may fail on some file systems, and where they are not.
const (
	pollWatched = 5 * time.Second
	pollAlone   = 500 * time.Millisecond
)

// watcher tells when a file may have changed. It watches folders, not the file:
// that is often replaced by another one. A nil watcher is one that can't.
type watcher struct {
	path    string
	notify  *fsnotify.Watcher
	names   map[string]bool // of the chain
	folders map[string]bool // that are watched
}

// newWatcher watches an absolute path.
func newWatcher(path string) (*watcher, error) {
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	w := &watcher{path: path, notify: notify, folders: map[string]bool{}}
	w.follow()
	return w, nil
}

// follow watches the folders on the way to the file as that now is.
func (w *watcher) follow() {
	if w == nil {
		return
	}
	names, folders := map[string]bool{}, map[string]bool{}
	for _, name := range chain(w.path) {
		names[name], folders[filepath.Dir(name)] = true, true
	}
	for dir := range w.folders {
		if !folders[dir] {
			_ = w.notify.Remove(dir) // it may be gone, and its watch with it
		}
	}
	// A folder that was removed and made anew looks the same and isn't watched
	// any more; adding one that is watched does nothing. One that can't be watched is
	// polled.
	for dir := range folders {
		if w.notify.Add(dir) != nil {
			delete(folders, dir)
		}
	}
	w.names, w.folders = names, folders
}

// concerned says whether an event is about a name in the chain.
func (w *watcher) concerned(e fsnotify.Event) bool { return w.names[e.Name] }

func (w *watcher) events() <-chan fsnotify.Event {
	if w == nil {
		return nil
	}
	return w.notify.Events
}

func (w *watcher) errors() <-chan error {
	if w == nil {
		return nil
	}
	return w.notify.Errors
}

// poll returns how long to wait for an event before the file is looked at.
func (w *watcher) poll() time.Duration {
	if w == nil || len(w.folders) == 0 {
		return pollAlone
	}
	return pollWatched
}

func (w *watcher) close() {
	if w != nil {
		_ = w.notify.Close() // it holds nothing that could be lost
	}
}

// maxHops bounds the symbolic links that are followed, as the kernel does.
const maxHops = 40

// chain returns the names whose change can make a path mean another file: the
// file itself and every symbolic link on the way, absolute. If the way ends early, the
// name that is missing is the last.
func chain(path string) []string {
	var names []string
	at := string(filepath.Separator)
	rest := parts(path)
	for hops := 0; len(rest) > 0; rest = rest[1:] {
		name := filepath.Join(at, rest[0])
		stat, err := os.Lstat(name)
		switch {
		case err != nil:
			return append(names, name)
		case stat.Mode()&os.ModeSymlink != 0:
			names = append(names, name)
			to, err := os.Readlink(name)
			if hops++; err != nil || hops > maxHops {
				return names
			}
			if filepath.IsAbs(to) {
				at = string(filepath.Separator)
			}
			// What comes after "rest = rest[1:]".
			rest = append([]string{""}, append(parts(to), rest[1:]...)...)
			continue
		case len(rest) == 1:
			return append(names, name)
		}
		at = name
	}
	return names
}

func parts(path string) []string {
	return strings.FieldsFunc(path, func(c rune) bool { return c == filepath.Separator })
}
