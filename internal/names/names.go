// Package names keeps the names that conflicts on the network led to in a file, so
// that a program asks for the same ones when it starts anew (RFC 6762 §9).
package names

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
)

// Bounds of the file.
const (
	maxNames = 10_000
	maxFile  = 8 << 20 // bytes
	maxLabel = 63      // bytes
)

// File keeps names in a file, one JSON object: the wanted name, the label that
// took the place of its first one. A file that can't be read or written costs
// the memory of names, nothing else: that is logged.
type File struct {
	path string
	log  *slog.Logger

	mu    sync.Mutex
	names map[string]string
}

// Open reads the file; it need not be there yet. A nil log is silent.
func Open(path string, log *slog.Logger) *File {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	f := &File{path: path, log: log}
	var err error
	if f.names, err = read(path); err != nil {
		log.Warn("changed names aren't remembered from before", "err", err)
		f.names = map[string]string{}
	}
	return f
}

func read(path string) (map[string]string, error) {
	names := map[string]string{}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return names, nil
	case err != nil:
		return nil, fmt.Errorf("names: %w", err)
	case info.Size() > maxFile:
		return nil, fmt.Errorf("names: %s has more than %d bytes", path, maxFile)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("names: %w", err)
	}
	if err := json.Unmarshal(b, &names); err != nil {
		return nil, fmt.Errorf("names: %s: %w", path, err)
	}
	for name, label := range names {
		if label == "" || len(label) > maxLabel {
			delete(names, name)
		}
	}
	return names, nil
}

// Kept returns the label that was kept for a name, "" if none was.
func (f *File) Kept(name string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.names[name]
}

// Keep remembers the label that took the place of the first one of the name.
func (f *File) Keep(name, label string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.names[name] == label {
		return
	}
	// Another process may have written meanwhile.
	if now, err := read(f.path); err == nil {
		f.names = now
	}
	if _, known := f.names[name]; !known && len(f.names) >= maxNames {
		f.log.Warn("a changed name isn't remembered: there are too many", "name", name, "n", maxNames)
		return
	}
	f.names[name] = label
	if err := f.write(); err != nil {
		f.log.Warn("a changed name isn't remembered", "name", name, "err", err)
	}
}

// write replaces the file in one step.
func (f *File) write() error {
	b, err := json.MarshalIndent(f.names, "", "  ")
	if err != nil {
		return fmt.Errorf("names: %w", err)
	}
	dir := filepath.Dir(f.path)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("names: %w", err)
	}
	tmp, err := os.CreateTemp(dir, filepath.Base(f.path)+".*")
	if err != nil {
		return fmt.Errorf("names: %w", err)
	}
	_, err = tmp.Write(append(b, '\n'))
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), f.path)
	}
	if err != nil {
		return fmt.Errorf("names: %w", errors.Join(err, os.Remove(tmp.Name())))
	}
	return nil
}
