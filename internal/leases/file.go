package leases

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

const (
	// settle is how long after the first sign of a change the file is read: a change is
	// seldom one write.
	settle = 100 * time.Millisecond
	// patience is how long a file may be missing, broken or empty before that is
	// believed: it may be on its way.
	patience = 500 * time.Millisecond
	// A file that is very large and changes all the time is read for at most a
	// part of the time, one in restful.
	restful = 10
	// steadyTries bounds how often a file is read again at once because it changed meanwhile.
	steadyTries = 3
)

// File is the leases of one server. Set Kind, Path and Changed, then call Run.
type File struct {
	Kind Kind
	// Path is the lease file; for Kea those of its clean-up lie beside it.
	Path string
	// Changed is called with what the files say, and the time at which they were
	// last changed, whenever that is news. It is called in Run's goroutine and must not block for long.
	Changed func(t Table, changed time.Time)
	Log     *slog.Logger // nil is silent

	mu     sync.Mutex
	status Status
}

// Status says how a File is doing.
type Status struct {
	Leases int       // how many hold
	Loaded time.Time // when they were read, zero if that never was
	// Bad counts the lines of the files as they are now that can't be understood, Faults are the first few.
	Bad    int
	Faults []Fault
	// Dropped counts leases beyond MaxLeases.
	Dropped int
	// Err is why the file can't be read as it is now; what was read before stays.
	Err error
	// Loads and Failures count the contents that were read and those that couldn't be.
	Loads, Failures uint64
}

// Missing says whether there is no such file.
func (s *Status) Missing() bool { return errors.Is(s.Err, fs.ErrNotExist) }

// Status returns how the file is doing. It may be called at any time.
func (f *File) Status() Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status
}

// Run reads the file, and again whenever it changes, until ctx ends; then it
// returns nil. A file that can't be read is no reason to end.
func (f *File) Run(ctx context.Context) error {
	path, err := filepath.Abs(f.Path)
	if err != nil {
		return fmt.Errorf("leases: %w", err)
	}
	r := reader{file: f, path: path, log: f.log()}
	w := newWatcher(path)
	defer w.close()
	due := time.After(0)
	rest := time.Now() // no reading before it
	poll := time.NewTimer(w.poll())
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-w.events():
			if due == nil && w.concerned(e) {
				due = time.After(max(settle, time.Until(rest)))
			}
		case err := <-w.errors(): // events were lost, perhaps
			r.log.Debug("leases are read again", "path", f.Path, "err", err)
			if due == nil {
				due = time.After(max(settle, time.Until(rest)))
			}
		case <-poll.C:
			w.follow()
			poll.Reset(w.poll())
			if due == nil && !slices.EqualFunc(r.seen, r.look(), same) {
				due = time.After(max(0, time.Until(rest)))
			}
		case <-due:
			due = nil
			w.follow() // first: what changes after the file is read must be seen
			began := time.Now()
			if again := r.load(); again > 0 {
				due = time.After(again)
			}
			rest = time.Now().Add(restful * time.Since(began))
		}
	}
}

func (f *File) log() *slog.Logger {
	if f.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return f.Log
}

// reader reads the files for Run.
type reader struct {
	file *File
	path string
	log  *slog.Logger
	seen []look // the files as they were read last

	held     int       // leases that hold, in what was told last
	told     bool      // something was
	doubtful time.Time // since when what is there is not believed, zero if it is
}

// look is what tells one state of a file from another; a file that isn't there is the zero look.
type look struct {
	name string
	info fs.FileInfo
}

func same(a, b look) bool {
	if a.name != b.name || (a.info == nil) != (b.info == nil) {
		return false
	}
	return a.info == nil || os.SameFile(a.info, b.info) && a.info.Size() == b.info.Size() && a.info.ModTime().Equal(b.info.ModTime())
}

// names lists the files that make up the leases, the oldest first.
func (r *reader) names() []string {
	if r.file.Kind == Kea {
		return []string{r.path + ".completed", r.path + ".2", r.path + ".1", r.path}
	}
	return []string{r.path}
}

func (r *reader) look() []look {
	var all []look
	for _, name := range r.names() {
		info, _ := os.Stat(name) // an error shows when it is opened
		all = append(all, look{name, info})
	}
	return all
}

// load reads the files and tells what is news. It returns when to look again,
// 0 for not before something changes.
func (r *reader) load() (again time.Duration) {
	table, looks, err := r.read()
	now := time.Now()
	empty := err == nil && r.held > 0 && held(&table) == 0
	if err != nil || empty || table.Partial && r.told {
		if r.doubtful.IsZero() {
			r.doubtful = now
		}
		if wait := r.doubtful.Add(patience).Sub(now); wait > 0 {
			return wait
		}
	} else {
		r.doubtful = time.Time{}
	}
	before := r.seen
	r.seen = looks
	if err != nil {
		r.failed(err)
		return 0
	}
	f := r.file
	f.mu.Lock()
	mended := f.status.Err != nil
	// Times of files are coarse: a second change may leave no trace.
	news := !r.told || mended || !slices.EqualFunc(before, looks, same) || time.Since(changed(looks)) < time.Second
	if !news {
		f.mu.Unlock()
		return 0
	}
	r.told, r.held = true, held(&table)
	f.status.Leases, f.status.Loaded, f.status.Err = r.held, now, nil
	if table.Bad > 0 && f.status.Bad == 0 {
		x := table.Faults[0]
		r.log.Warn("lines of a lease file can't be understood", "path", f.Path, "n", table.Bad, "line", x.Line, "err", x.Err)
	}
	f.status.Bad, f.status.Faults, f.status.Dropped = table.Bad, table.Faults, table.Dropped
	f.status.Loads++
	first := f.status.Loads == 1
	f.mu.Unlock()
	if first || mended {
		r.log.Info("leases are read", "path", f.Path, "n", r.held)
	}
	f.Changed(table, changed(looks))
	return 0
}

// failed notes why the files can't be read.
func (r *reader) failed(err error) {
	f := r.file
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.status.Err != nil && f.status.Err.Error() == err.Error() {
		return
	}
	f.status.Err = err
	f.status.Failures++
	if !f.status.Missing() || r.told {
		r.log.Warn("leases can't be read, those that are known stay until they end", "path", f.Path, "err", err)
	}
}

// held counts the leases that aren't free.
func held(t *Table) (n int) {
	for i := range t.Leases {
		if !t.Leases[i].Free {
			n++
		}
	}
	return n
}

// changed is when the files were last written.
func changed(looks []look) (last time.Time) {
	for _, l := range looks {
		if l.info != nil && l.info.ModTime().After(last) {
			last = l.info.ModTime()
		}
	}
	return last
}

// read reads all files in a moment in which none of them changes, as far as
// there is one.
func (r *reader) read() (t Table, looks []look, err error) {
	for range steadyTries {
		looks = r.look()
		t, err = r.parse(looks)
		if after := r.look(); slices.EqualFunc(looks, after, same) {
			break
		}
	}
	return t, looks, err
}

func (r *reader) parse(looks []look) (Table, error) {
	var parts []Part
	for i, l := range looks {
		last := i == len(looks)-1
		// As Kea reads them: what is completed stands for both that it is made of.
		if !last && (l.info == nil || i > 0 && looks[0].info != nil) {
			continue
		}
		data, err := readFile(l.name)
		if !last && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return Table{}, fmt.Errorf("leases: %w", err)
		}
		parts = append(parts, Part{filepath.Base(l.name), data})
	}
	if r.file.Kind == Kea {
		return ParseKea(parts...)
	}
	return ParseDnsmasq(parts[0].Data), nil
}

func readFile(path string) ([]byte, error) {
	tooLarge := fmt.Errorf("%s has more than %d bytes", path, MaxFile)
	switch info, err := os.Stat(path); {
	case err != nil: // opening it says so
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is no regular file", path) // opening it could take for ever
	case info.Size() > MaxFile:
		return nil, tooLarge
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, MaxFile+1))
	if err == nil && len(data) > MaxFile { // it has grown
		err = tooLarge
	}
	return data, err
}
