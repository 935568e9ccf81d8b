package tged

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// settle is how long after a change the file is read if it was just read: what
	// changes it is often not done with one write. The first change is read at once, for a
	// rename is done with that; a file that isn't whole yet can't be taken for one that is.
	settle = 50 * time.Millisecond
	// patience is how long a file may be broken or missing before that is
	// a failure: it may be on its way, in two writes or by way of a deletion.
	patience = 500 * time.Millisecond
)

// File is Services in a JSON file, as ParseServices reads it, that may change at
// any time: rewritten in place, replaced by a rename, deleted and made anew,
// or behind symbolic links that are switched, as Kubernetes does. The new services
// are answered with once the file can be read as a whole; until then, the last
// that could be.
type File struct {
	Path string
	Log  *slog.Logger // nil is silent

	set    atomic.Pointer[Set]
	reload atomic.Pointer[chan struct{}] // wakes Run

	mu     sync.Mutex // guards what follows
	status FileStatus
	stat   os.FileInfo       // of what was read last, nil if there was none
	racy   bool              // it may have changed since without looking different
	sum    [sha256.Size]byte // of what set was made of
}

// FileStatus says how a File is doing.
type FileStatus struct {
	Services int       // how many are answered with
	Loaded   time.Time // when they were read
	// Err is why the file can't be used as it is now; nil if it can.
	Err error
	// Loads and Failures count the contents that could be read and those that couldn't.
	Loads, Failures uint64
}

// Status returns how the file is doing. It may be called at any time.
func (f *File) Status() FileStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status
}

// Lookup implements Services. It fails while the file was never loaded.
func (f *File) Lookup(name []byte) (*Service, error) {
	set := f.set.Load()
	if set == nil {
		return nil, errors.New("tged: the services file is not loaded")
	}
	return set.Lookup(name)
}

// Load reads the file now. Whoever starts a server calls it first, to stop
// there if the file is broken; the error says where.
func (f *File) Load() error {
	_, err := f.read()
	if err == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failed(err)
	return err
}

// Reload has Run read the file now and say in the log how that went, whether or
// not it changed. It does nothing while Run doesn't run.
func (f *File) Reload() {
	if c := f.reload.Load(); c != nil {
		select {
		case *c <- struct{}{}:
		default: // it is about to
		}
	}
}

// Run watches the file until ctx ends, and then returns nil. A file that can't
// be read is no reason to end: that is logged once, and shown by Status.
func (f *File) Run(ctx context.Context) error {
	log := f.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	path, err := filepath.Abs(f.Path)
	if err != nil {
		return fmt.Errorf("tged: watch %s: %w", f.Path, err)
	}
	reload := make(chan struct{}, 1)
	f.reload.Store(&reload)
	defer f.reload.Store(nil)
	w, err := newWatcher(path)
	if err != nil {
		log.Warn("services file is polled, its folder can't be watched", "path", f.Path, "err", err)
	}
	defer w.close()
	l := loader{file: f, log: log}
	read := time.After(0)
	var judge <-chan time.Time // when a failure is one
	var last time.Time         // when the file was read
	poll := time.NewTimer(w.poll())
	defer poll.Stop()
	for {
		asked := false
		select {
		case <-ctx.Done():
			return nil
		case e := <-w.events():
			if read != nil || !w.concerned(e) {
				continue
			}
			if time.Since(last) < settle {
				read = time.After(settle)
				continue
			}
		case err := <-w.errors(): // events were lost, perhaps
			log.Debug("services file is read again", "path", f.Path, "err", err)
			if read == nil {
				read = time.After(settle)
			}
			continue
		case <-poll.C:
			w.follow()
			poll.Reset(w.poll())
			if !f.looksNew() {
				continue
			}
		case <-reload:
			asked = true
		case <-read:
			read = nil
		case <-judge:
		}
		w.follow() // first: what changes after the file is read must be seen
		judge = l.load(asked)
		last = time.Now()
	}
}

// loader reads a file for Run and says in the log what came of it.
type loader struct {
	file  *File
	log   *slog.Logger
	since time.Time // when the file was found broken as it is
	found string    // what was found, "" if it isn't broken
}

// load reads the file. A failure becomes one when it lasts, and at once if a
// person asked. It returns when to try again, if that is soon.
func (l *loader) load(asked bool) (again <-chan time.Time) {
	f := l.file
	changed, err := f.read()
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		l.found = ""
		if changed {
			l.log.Info("services loaded", "path", f.Path, "n", f.status.Services)
		} else if asked {
			l.log.Info("services are as they were", "path", f.Path, "n", f.status.Services)
		}
		return nil
	}
	now := time.Now()
	if l.found != err.Error() {
		l.found, l.since = err.Error(), now
	}
	if wait := l.since.Add(patience).Sub(now); wait > 0 && !asked {
		return time.After(wait)
	}
	if f.failed(err) || asked {
		l.log.Error("services file can't be used, the last good services stay", "path", f.Path, "err", err)
	}
	return nil
}

// failed notes why the file can't be used, and says whether that is news. f.mu is held.
func (f *File) failed(err error) bool {
	if f.status.Err != nil && f.status.Err.Error() == err.Error() {
		return false
	}
	f.status.Err = err
	f.status.Failures++
	return true
}

// looksNew says whether the file is another one than that read last.
func (f *File) looksNew() bool {
	now, err := os.Stat(f.Path)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil || f.stat == nil {
		return (err == nil) != (f.stat != nil) || f.status.Err == nil
	}
	return f.racy || !os.SameFile(now, f.stat) || !now.ModTime().Equal(f.stat.ModTime()) || now.Size() != f.stat.Size()
}

// read reads the file and answers with its services from now on. It says whether that
// is news: other services than before, or the same after a failure.
func (f *File) read() (changed bool, err error) {
	data, stat, err := readFile(f.Path)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stat = stat
	if err != nil {
		return false, fmt.Errorf("tged: services file: %w", err)
	}
	// Times of files are coarse: a second change may leave no trace.
	f.racy = time.Since(stat.ModTime()).Abs() < time.Second
	sum := sha256.Sum256(data)
	if f.set.Load() != nil && sum == f.sum {
		mended := f.status.Err != nil
		f.status.Err = nil
		return mended, nil
	}
	f.mu.Unlock()
	set, err := ParseServices(f.Path, data)
	f.mu.Lock()
	if err != nil {
		return false, fmt.Errorf("tged: services file: %w", err)
	}
	f.set.Store(set)
	f.sum = sum
	f.status = FileStatus{Services: set.Len(), Loaded: time.Now(), Loads: f.status.Loads + 1, Failures: f.status.Failures}
	return true, nil
}

func readFile(path string) ([]byte, os.FileInfo, error) {
	if stat, err := os.Stat(path); err == nil && !stat.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%s is no regular file", path) // opening it could take for ever
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	stat, err := file.Stat()
	if err != nil {
		return nil, nil, err
	}
	data, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s has more than %d bytes", path, maxFile)
	}
	return data, stat, err
}
