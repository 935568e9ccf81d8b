package directory

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/lanfolk/lanfolk/syncthing"
)

// Options are what may be chosen for a State. The zero value is good.
type Options struct {
	Log *slog.Logger // nil is silent
}

// State is the state of a Syncthing server in a folder.
type State struct {
	// Directory is what was there when the folder was opened. It belongs to the server.
	Directory *syncthing.Directory

	path string // of the file
	lock *os.File
	keep *keeper

	mu    sync.Mutex
	stats Stats
}

// Stats is what a State did so far.
type Stats struct {
	// Restored is what was there when it was opened.
	Restored syncthing.Restored
	// Size is that of the file, in bytes.
	Size int64
	// Written are all bytes that were written, and Rewritten is how often the file was written anew.
	Written, Rewritten uint64
	// Err is why the state can't be kept now; nil if it is.
	Err error
}

// Stats may be called at any time.
func (s *State) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// Save appends what was announced since it was called last: see [syncthing.Journal].
func (s *State) Save(now time.Time, log, whole *syncthing.Tail) error {
	return s.note(s.keep.save(now, log, whole))
}

// Close syncs the file and gives the folder free, when no server uses the State any more.
func (s *State) Close() error {
	return s.note(errors.Join(s.keep.close(), unlock(s.lock)))
}

// note keeps for Stats what there is to tell.
func (s *State) note(err error) error {
	if broken := (&fs.PathError{}); errors.As(err, &broken) {
		err = broken.Err // the path may be that which the file had once
	}
	if err != nil {
		err = fmt.Errorf("directory: %s: %w", s.path, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Size, s.stats.Written, s.stats.Rewritten, s.stats.Err = s.keep.current.size, s.keep.written, s.keep.rewritten, err
	return err
}

const (
	stateFile = "syncthing.state"
	newFile   = stateFile + ".new"
	lockFile  = "syncthing.lock"
)

// Open restores what is in a folder, which is made if there is none, and keeps others
// out of it until Close ([ErrLocked]).
//
// What is damaged or cut short is left out, with a warning that says where. A file
// of something else or of a newer lanfolk is left as it is; the error says what to do.
func Open(dir string, o Options) (*State, error) {
	s, err := open(dir, o)
	if err != nil {
		return nil, fmt.Errorf("directory: %w", err)
	}
	return s, nil
}

func open(dir string, o Options) (_ *State, err error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	in := folder(dir)
	s := &State{Directory: &syncthing.Directory{}}
	if s.lock, err = in.lock(lockFile); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = unlock(s.lock)
		}
	}()
	if err := in.remove(newFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	f, err := in.open(stateFile)
	if err != nil {
		return nil, err
	}
	got, err := s.Directory.Restore(time.Now(), f)
	if err == nil {
		err = f.Truncate(got.Size)
	}
	if err != nil {
		_ = f.Close()
		return nil, explain(f.Name(), err)
	}
	say(o.Log, f.Name(), got)
	s.path = f.Name()
	s.keep = &keeper{
		disk: in, log: o.Log, step: rewriteStep,
		current: output{file: f, size: got.Size, write: writeSize}, begun: got.Size > 0, due: got.Damaged > 0, unsynced: true,
		needed: got.Size * int64(got.Devices) / int64(max(got.Records, 1)),
	}
	s.stats = Stats{Restored: got, Size: got.Size}
	return s, nil
}

// explain says of a file that can't be used what a person can do.
func explain(path string, err error) error {
	switch err = fmt.Errorf("%s: %w", path, err); {
	case errors.Is(err, syncthing.ErrForeign):
		return fmt.Errorf("%w; move it away, or name another folder", err)
	case errors.Is(err, syncthing.ErrNewer):
		return fmt.Errorf("%w; run that version, or name another folder", err)
	}
	return err
}

// say logs what was restored.
func say(log *slog.Logger, path string, got syncthing.Restored) {
	log.Info("Syncthing state restored", "path", path, "devices", got.Devices)
	if got.Damaged > 0 {
		log.Warn("Syncthing state is damaged; the rest of it counts", "path", path, "offset", got.DamagedAt, "places", got.Damaged, "bytes", got.Lost)
	}
	if got.Torn > 0 {
		log.Warn("Syncthing state was cut short; what is before that counts", "path", path, "offset", got.Size, "bytes", got.Torn)
	}
	if got.Ahead > time.Minute {
		log.Warn("Syncthing state is of a time to come: the clock was set back", "path", path, "dur", got.Ahead)
	}
	if got.Full > 0 {
		log.Warn("Syncthing state has more than there is room for", "path", path, "records", got.Full)
	}
}
