package agent

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/lanfolk/lanfolk/reverse"
)

const (
	journalFile  = "commands.journal"
	lockFile     = "commands.lock"
	resultFolder = "results"
	rewriteAbove = 1 << 20 // bytes; below, the file isn't worth making shorter
)

// Errors of a journal.
var (
	ErrLocked = errors.New("another process keeps its journal there")
	ErrFull   = errors.New("too many commands whose results the hub hasn't taken")
	errClosed = errors.New("the journal is closed")
)

// journal keeps in a file which commands came, and how far each got. A line is
// in the file before a method returns; on the disk it is when the method was told
// to sync, with all lines before it. Several that sync at once share one sync.
type journal struct {
	dir  string
	lock *os.File

	mu      sync.Mutex // order: syncing, mu
	table   *table
	file    *os.File // nil while it could not be written, and in the end
	closed  bool
	size    int64  // bytes of the file that are whole
	live    int64  // the same when it was last written anew
	written uint64 // lines written, ever
	synced  uint64 // of these on the disk
	suspect bool   // a write failed: who knows what the file holds
	// failures counts the writes that failed.
	failures uint64

	syncing sync.Mutex // of who syncs
}

// found says what a journal held when it was opened.
type found struct {
	open   []string // commands with a result that is still to be sent
	again  int      // commands that had not begun: the hub sends them again
	bytes  int64    // of the files of results
	damage int      // lines that couldn't be read
	died   int      // commands that were running
	aside  string   // where a journal is kept of which no line could be read
	// unwritten is why the journal can't be written.
	unwritten error
}

// openJournal locks dir, which is made if need be, and reads the journal in it.
// Commands that were running are interrupted from now on. The file is written
// anew, so that nothing of a torn or damaged line is left. Where it can't be written
// it is as it was, and takes no command until it can.
func openJournal(dir string, now time.Time) (*journal, found, error) {
	if err := os.MkdirAll(filepath.Join(dir, resultFolder), 0o700); err != nil {
		return nil, found{}, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, found{}, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = ErrLocked
		}
		return nil, found{}, fmt.Errorf("%s: %w", dir, err)
	}
	j := &journal{dir: dir, lock: lock}
	f, err := j.load(now)
	if err != nil {
		return nil, found{}, errors.Join(fmt.Errorf("%s: %w", j.path(), err), j.close())
	}
	if f.unwritten = j.rewrite(); f.unwritten != nil {
		j.suspect = true
	}
	return j, f, nil
}

func (j *journal) path() string { return filepath.Join(j.dir, journalFile) }

// resultPath is the file of a command's result.
func (j *journal) resultPath(id string) string { return filepath.Join(j.dir, resultFolder, id) }

func (j *journal) load(now time.Time) (found, error) {
	var n found
	file, err := os.Open(j.path())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		j.table = newTable()
	case err != nil:
		return n, err
	default:
		j.table, n.damage, err = readRecords(file)
		file.Close()
		if err != nil {
			return n, err
		}
		if n.damage > 0 && j.table.lines == 0 {
			if n.aside, err = setAside(j.path(), now); err != nil {
				return n, err
			}
		}
	}
	if n.damage > 0 {
		j.table.distrust(now)
	}
	for _, e := range j.table.sorted() {
		switch {
		case e.state == acknowledged && e.expired(now.Unix()), e.state == accepted && n.damage == 0:
			// Nothing of it began, so that it may begin: the hub sends again what
			// the journal doesn't name.
			if e.state == accepted {
				n.again++
			}
			j.table.forget(e.id)
			continue
		case e.state == accepted, e.state == started && e.source == nil:
			sum, total, err := sumFile(j.resultPath(e.id))
			if err != nil {
				return n, err
			}
			if e.state == started {
				n.died++
			}
			e.state, e.result = done, interrupted(sum, total)
		}
		if e.state != acknowledged {
			n.open = append(n.open, e.id)
		}
	}
	n.bytes, err = j.sweep()
	return n, err
}

// setAside gives a journal of which no line can be read a second name, under which
// it stays when it is written anew: it may be something else, or be of use to people.
func setAside(path string, now time.Time) (string, error) {
	aside := path + ".unreadable-" + now.UTC().Format("20060102T150405Z")
	if err := os.Link(path, aside); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	return aside, nil
}

// distrust is for a journal of which lines were lost: they may have said that a
// command began. So nothing runs that may have been in them.
func (t *table) distrust(now time.Time) {
	if t.floor = max(t.floor, t.newest); t.floor == "" {
		ids := reverse.IDs{Random: zeros{}}
		t.floor, _ = ids.Next(now) // zeros never end
	}
}

// zeros is an endless file of zeros.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// sumFile returns the hash and the length of a file; one that isn't there is
// empty.
func sumFile(path string) (sum [sha256.Size]byte, n int64, err error) {
	h := sha256.New()
	f, err := os.Open(path)
	if err == nil {
		defer f.Close()
		n, err = io.Copy(h, f)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return [sha256.Size]byte(h.Sum(nil)), n, err
}

// sweep removes the results that nobody waits for, and returns the length of the
// others.
func (j *journal) sweep() (bytes int64, err error) {
	files, err := os.ReadDir(filepath.Join(j.dir, resultFolder))
	if err != nil {
		return 0, err
	}
	for _, f := range files {
		if e := j.table.entries[f.Name()]; e == nil || e.result == nil || len(e.result.Text) > 0 {
			err = errors.Join(err, os.Remove(j.resultPath(f.Name())))
		} else if info, err := f.Info(); err == nil {
			bytes += info.Size()
		}
	}
	return bytes, err
}

// accept puts a command into the journal, and returns false for one that is
// there. One that may have run before is there as interrupted.
func (j *journal) accept(id string, now time.Time) (fresh bool, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.table.entries[id] != nil {
		return false, nil
	}
	if !j.table.prune(now) {
		return false, ErrFull
	}
	r := record{ID: id, State: accepted, Accepted: max(0, now.Unix()), Keep: keepFor}
	if id <= j.table.floor {
		r.State, r.Result = done, interrupted(sha256.Sum256(nil), 0)
	}
	return true, j.append(r)
}

// add writes how far a command has come.
func (j *journal) add(r record, sync bool) error {
	j.mu.Lock()
	err := j.append(r)
	line := j.written
	j.mu.Unlock()
	if err != nil || !sync {
		return err
	}
	return j.sync(line)
}

// entry returns what is known of a command.
func (j *journal) entry(id string) (entry, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if e := j.table.entries[id]; e != nil {
		return *e, true
	}
	return entry{}, false
}

// open returns the commands that the hub has not acknowledged, the oldest first.
func (j *journal) open() []entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	list := make([]entry, 0, j.table.open)
	for _, e := range j.table.sorted() {
		if e.state != acknowledged {
			list = append(list, *e)
		}
	}
	return list
}

// append writes a line and applies it. j.mu is held.
func (j *journal) append(r record) (err error) {
	if j.closed {
		return errClosed
	}
	defer func() {
		if err != nil {
			j.failures++
		}
	}()
	if j.suspect || j.size > rewriteAbove && j.size > 3*j.live {
		if err := j.rewrite(); err != nil {
			return err
		}
	}
	line, err := appendRecord(nil, r)
	if err != nil {
		return err
	}
	if _, err := j.file.WriteAt(line, j.size); err != nil {
		// A part of the line may be there. The next one is written over it.
		return errors.Join(err, j.file.Truncate(j.size))
	}
	j.size += int64(len(line))
	j.written++
	j.table.apply(r)
	return nil
}

// sync returns when the line is on the disk. Whoever comes while another syncs
// waits, and finds it done or does it for all that wait.
func (j *journal) sync(line uint64) error {
	j.syncing.Lock()
	defer j.syncing.Unlock()
	j.mu.Lock()
	file, written := j.file, j.written
	there, closed := j.synced >= line, j.closed
	j.mu.Unlock()
	switch {
	case there:
		return nil
	case closed:
		return errClosed
	}
	err := file.Sync()
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.synced >= line: // the file was written anew meanwhile
		return nil
	case err != nil:
		j.suspect = true // the kernel may have dropped what it could not write
		return err
	}
	j.synced = max(j.synced, written)
	return nil
}

// rewrite writes all that is known into a new file, which takes the old one's
// place. j.mu is held.
func (j *journal) rewrite() error {
	temp := j.path() + ".new"
	f, err := os.OpenFile(temp, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	size, err := j.writeAll(f)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(temp, j.path())
	}
	if err != nil {
		f.Close()
		_ = os.Remove(temp)
		return err
	}
	if j.file != nil {
		j.file.Close()
	}
	j.file, j.size, j.live = f, size, size
	if err := syncFolder(j.dir); err != nil {
		j.suspect = true // after a power cut the old file may be back
		return err
	}
	j.suspect, j.synced = false, j.written
	return nil
}

func (j *journal) writeAll(f *os.File) (size int64, err error) {
	out := bufio.NewWriterSize(f, 64<<10)
	put := func(r record) error {
		line, err := appendRecord(nil, r)
		if err != nil {
			return err
		}
		n, err := out.Write(line)
		size += int64(n)
		return err
	}
	if err := put(record{Lanfolk: journalName, Version: journalVersion, Floor: j.table.floor}); err != nil {
		return 0, err
	}
	for _, e := range j.table.sorted() {
		if err := put(e.record()); err != nil {
			return 0, err
		}
	}
	return size, out.Flush()
}

// syncFolder puts on the disk what was renamed and made in a folder.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// close gives the file and its lock back.
func (j *journal) close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	var err error
	if j.file != nil {
		err = errors.Join(j.file.Sync(), j.file.Close())
	}
	j.file, j.closed = nil, true
	// A child that is just being started has the file open, too: to close it isn't enough.
	return errors.Join(err, syscall.Flock(int(j.lock.Fd()), syscall.LOCK_UN), j.lock.Close())
}
