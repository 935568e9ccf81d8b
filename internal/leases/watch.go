package leases

import (
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// How often the files are looked at where changes of their folder are told, for
// that fails on some file systems, and where they are not.
const (
	pollWatched = 5 * time.Second
	pollAlone   = time.Second
)

// watcher tells when the files may have changed. It watches their folder: files
// are often replaced by others. One without notify can't.
type watcher struct {
	path    string
	notify  *fsnotify.Watcher
	prefix  map[string]bool // what the names of files that matter begin with, by folder and name
	folders map[string]bool // that are watched
}

func newWatcher(path string) *watcher {
	w := &watcher{path: path, folders: map[string]bool{}}
	if notify, err := fsnotify.NewWatcher(); err == nil {
		w.notify = notify
	}
	w.follow()
	return w
}

// follow watches the folder of the file and, behind a symbolic link, that of the file that it means now.
func (w *watcher) follow() {
	names := map[string]bool{w.path: true}
	if to, err := filepath.EvalSymlinks(w.path); err == nil {
		names[to] = true
	}
	w.prefix = names
	if w.notify == nil {
		return
	}
	folders := map[string]bool{}
	for name := range names {
		folders[filepath.Dir(name)] = true
	}
	for dir := range w.folders {
		if !folders[dir] {
			_ = w.notify.Remove(dir) // it may be gone, and its watch with it
		}
	}
	// A folder that was removed and made anew looks the same and isn't watched any
	// more; adding one that is watched does nothing.
	for dir := range folders {
		if w.notify.Add(dir) != nil {
			delete(folders, dir)
		}
	}
	w.folders = folders
}

// concerned says whether an event is about a file that matters: those of Kea's
// clean-up have the lease file's name and more.
func (w *watcher) concerned(e fsnotify.Event) bool {
	if e.Op == fsnotify.Chmod {
		return true // it may be readable now
	}
	for name := range w.prefix {
		if strings.HasPrefix(e.Name, name) {
			return true
		}
	}
	return false
}

func (w *watcher) events() <-chan fsnotify.Event {
	if w.notify == nil {
		return nil
	}
	return w.notify.Events
}

func (w *watcher) errors() <-chan error {
	if w.notify == nil {
		return nil
	}
	return w.notify.Errors
}

func (w *watcher) poll() time.Duration {
	if len(w.folders) == 0 {
		return pollAlone
	}
	return pollWatched
}

func (w *watcher) close() {
	if w.notify != nil {
		_ = w.notify.Close() // it holds nothing that could be lost
	}
}
