package agent

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"github.com/lanfolk/lanfolk/reverse"
)

// errTooMuch is what a verb gets that writes more than it may.
var errTooMuch = errors.New("more than it may be")

// A spool takes what a command says and holds it until the hub has it: in
// memory while it is little, then in a file. One goroutine writes it, and one
// reads it meanwhile.
type spool struct {
	path  string // of the file
	limit int64  // bytes
	room  *room  // for all spools together
	cuts  bool   // what is beyond the limit is left out; otherwise it is an error

	mu    sync.Mutex
	text  []byte // while there is no file
	file  *os.File
	size  int64
	sum   hash.Hash
	cut   bool          // something was left out
	ended bool          // no more comes
	more  chan struct{} // closed, and made anew, at a change
	end   reverse.End
}

// A room bounds the files of all results together.
type room struct {
	used atomic.Int64
	most int64
}

func (r *room) take(n int64) bool {
	if r.used.Add(n) > r.most {
		r.used.Add(-n)
		return false
	}
	return true
}

func newSpool(path string, limit int64, room *room, cuts bool) *spool {
	return &spool{path: path, limit: limit, room: room, cuts: cuts, sum: sha256.New(), more: make(chan struct{})}
}

// Write takes all of b or, beyond the limit, nothing; a spool that cuts takes
// what there is room for, and leaves the rest out.
func (s *spool) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(b)
	switch over := s.size + int64(n) - s.limit; {
	case over <= 0:
	case s.cuts:
		s.cut = true
		b = b[:max(0, int64(n)-over)]
	default:
		return 0, fmt.Errorf("%w: %d bytes", errTooMuch, s.limit)
	}
	if len(b) == 0 {
		return n, nil
	}
	if err := s.put(b); err != nil {
		if !s.cuts {
			return 0, err
		}
		// Whatever comes now would stand after a gap.
		s.cut, s.limit = true, s.size
	}
	return n, nil
}

func (s *spool) put(b []byte) error {
	if s.file == nil && s.size+int64(len(b)) <= maxInline {
		s.text = append(s.text, b...)
	} else if err := s.store(b); err != nil {
		return err
	}
	s.size += int64(len(b))
	s.sum.Write(b)
	s.wake()
	return nil
}

// store writes to the file, which is made if need be.
func (s *spool) store(b []byte) error {
	if s.file == nil {
		f, err := os.OpenFile(s.path, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
		if err != nil {
			return err
		}
		if _, err := f.Write(s.text); err != nil {
			return errors.Join(err, f.Close(), os.Remove(s.path)) // it counts nowhere
		}
		s.file, s.text = f, nil
		s.room.used.Add(s.size)
	}
	if !s.room.take(int64(len(b))) {
		return fmt.Errorf("%w: the results that wait take all of %d bytes", errTooMuch, s.room.most)
	}
	if _, err := s.file.WriteAt(b, s.size); err != nil {
		s.room.used.Add(-int64(len(b)))
		return errors.Join(err, s.file.Truncate(s.size)) // a part of it may be there
	}
	return nil
}

func (s *spool) wake() {
	close(s.more)
	s.more = make(chan struct{})
}

// ReadAt implements io.ReaderAt; it waits for what is still to come.
func (s *spool) ReadAt(b []byte, at int64) (int, error) {
	for {
		s.mu.Lock()
		size, text, file, ended, more := s.size, s.text, s.file, s.ended, s.more
		s.mu.Unlock()
		if at < size {
			n := int(min(int64(len(b)), size-at))
			var err error
			if file == nil {
				copy(b[:n], text[at:])
			} else if _, err = file.ReadAt(b[:n], at); err != nil {
				return 0, err
			}
			if ended && at+int64(n) == size {
				err = io.EOF
			}
			return n, err
		}
		if ended {
			return 0, io.EOF
		}
		<-more
	}
}

// state returns what has come up to now: its hash and length, and, if it stands
// in memory, the text.
func (s *spool) state() (sum [sha256.Size]byte, total int64, text []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return [sha256.Size]byte(s.sum.Sum(nil)), s.size, s.text
}

// sync puts the file on the disk, with its name, if there is one.
func (s *spool) sync(folder string) error {
	s.mu.Lock()
	file := s.file
	s.mu.Unlock()
	if file == nil {
		return nil
	}
	return errors.Join(file.Sync(), syncFolder(folder))
}

// finish lets the reader come to the end.
func (s *spool) finish(end reverse.End) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end, s.ended = end, true
	s.wake()
}

// how returns how it ended, once the reader has come to the end.
func (s *spool) how() reverse.End {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.end
}

// Close closes the file, and leaves it for a later life.
func (s *spool) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}

// wasCut says whether something was left out, and how much was kept.
func (s *spool) wasCut() (total int64, cut bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.size, s.cut
}
