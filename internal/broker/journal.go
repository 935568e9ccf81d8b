package broker

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// journal keeps retained messages, sessions and wills in a file. What changed
// is only marked, and written ten times a second with one sync: that much may be
// lost to a kill or a power cut. When the disk is full, the marks stay, and are
// written when it isn't any more.
type journal struct {
	dir   string
	log   *slog.Logger
	state state

	lock *os.File
	file *os.File
	size int64               // bytes of the file that are whole
	live int64               // the same when it was last written anew
	kept map[string]struct{} // clients of which the file holds something

	mu      sync.Mutex
	topics  map[string]struct{} // that changed
	clients map[string]struct{}
	err     error // of the last write
}

// state is what the journal asks for what it writes.
type state interface {
	// recordTopic returns a topic's retained message, nil if there is none.
	recordTopic(topic string) *retained
	// recordClient returns what is to be kept of a client, nil for nothing.
	recordClient(id string) *away
	// each lists all topics and clients that have something to keep.
	each(topic func(string), client func(string))
}

const (
	flushEvery   = 100 * time.Millisecond
	retryEvery   = 5 * time.Second // after a write that failed
	rewriteAbove = 8 << 20         // bytes; below, the file isn't worth making shorter
	journalFile  = "mqtt.journal"
)

// ErrInUse says that another broker uses the folder.
var ErrInUse = errors.New("another broker uses this state folder")

// openJournal locks dir, which is made if need be, and reads the journal in it.
func openJournal(dir string, log *slog.Logger, put func(record)) (*journal, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	j := &journal{dir: dir, log: log, topics: make(map[string]struct{}), clients: make(map[string]struct{}), kept: make(map[string]struct{})}
	var err error
	if j.lock, err = os.OpenFile(filepath.Join(dir, "mqtt.lock"), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(j.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		j.lock.Close()
		return nil, fmt.Errorf("%s: %w", dir, ErrInUse)
	}
	if err := j.read(put); err != nil {
		j.lock.Close()
		return nil, err
	}
	return j, nil
}

func (j *journal) path() string { return filepath.Join(j.dir, journalFile) }

func (j *journal) read(put func(record)) error {
	f, err := os.OpenFile(j.path(), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	good, err := readRecords(f, func(r record) {
		if r.Client != "" {
			j.kept[r.Client] = struct{}{}
		}
		put(r)
	})
	if errors.Is(err, errTorn) {
		// The end of a file that was being written when the power went. What
		// stands before it is whole; what can't be read is put aside.
		info, _ := f.Stat()
		j.log.Warn("the journal's end can't be read; going on without it", "file", j.path(), "offset", good, "bytes", info.Size()-good)
		err = f.Truncate(good)
	}
	if err != nil {
		f.Close()
		return fmt.Errorf("%s: %w", j.path(), err)
	}
	if good == 0 { // not even a head: written anew
		return f.Close()
	}
	if _, err := f.Seek(good, 0); err != nil {
		f.Close()
		return err
	}
	j.file, j.size, j.live = f, good, good
	return nil
}

func (j *journal) changedTopic(topic string) {
	if j != nil {
		j.mu.Lock()
		j.topics[topic] = struct{}{}
		j.mu.Unlock()
	}
}

func (j *journal) changedClient(id string) {
	if j != nil {
		j.mu.Lock()
		j.clients[id] = struct{}{}
		j.mu.Unlock()
	}
}

// failure returns why the journal can't be written, nil if it can.
func (j *journal) failure() error {
	if j == nil {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.err
}

// run writes until done is closed, and then once more.
func (j *journal) run(done <-chan struct{}) {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if j.flush() != nil {
				select {
				case <-time.After(retryEvery):
				case <-done:
				}
			}
		case <-done:
			_ = j.flush() // flush has said what is wrong
			return
		}
	}
}

// flush writes what has changed. One goroutine calls it.
func (j *journal) flush() error {
	j.mu.Lock()
	topics, clients := j.topics, j.clients
	j.topics, j.clients = make(map[string]struct{}), make(map[string]struct{})
	j.mu.Unlock()
	if len(topics)+len(clients) == 0 && j.file != nil {
		return nil
	}
	var err error
	if j.file == nil || j.size > rewriteAbove && j.size > 3*j.live {
		err = j.rewrite()
	} else {
		err = j.add(topics, clients)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case err != nil:
		maps.Copy(j.topics, topics)
		maps.Copy(j.clients, clients)
		if j.err == nil {
			j.log.Error("the journal can't be written; going on in memory", "file", j.path(), "err", err)
		}
	case j.err != nil:
		j.log.Info("the journal can be written again", "file", j.path())
	}
	j.err = err
	return err
}

// add writes lines at the end of the file. When that fails, the file is cut
// back to what was whole.
func (j *journal) add(topics, clients map[string]struct{}) error {
	n, err := j.write(j.file, func(put func(record) error) error {
		for t := range topics {
			if err := put(j.topic(t)); err != nil {
				return err
			}
		}
		for c := range clients {
			r := j.client(c)
			if _, kept := j.kept[c]; r.Session == nil && !kept {
				continue // it came and went, and there was nothing to keep
			}
			if err := put(r); err != nil {
				return err
			}
			if r.Session != nil {
				j.kept[c] = struct{}{}
			} else {
				delete(j.kept, c)
			}
		}
		return nil
	})
	if err != nil {
		if cut := j.file.Truncate(j.size); cut == nil {
			_, cut = j.file.Seek(j.size, 0)
			err = errors.Join(err, cut)
		}
		return err
	}
	j.size += n
	return nil
}

// rewrite writes all that is live into a new file, which takes the old one's
// place.
func (j *journal) rewrite() error {
	temp := j.path() + ".new"
	f, err := os.OpenFile(temp, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	clear(j.kept)
	var topics, clients []string
	j.state.each(func(t string) { topics = append(topics, t) }, func(c string) { clients = append(clients, c) })
	n, err := j.write(f, func(put func(record) error) error {
		if err := put(record{Lanfolk: journalName, Version: journalVersion}); err != nil {
			return err
		}
		for _, t := range topics {
			if r := j.topic(t); r.Message != nil {
				if err := put(r); err != nil {
					return err
				}
			}
		}
		for _, c := range clients {
			if r := j.client(c); r.Session != nil {
				j.kept[c] = struct{}{}
				if err := put(r); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err == nil {
		err = os.Rename(temp, j.path())
	}
	if err != nil {
		f.Close()
		_ = os.Remove(temp)
		return err
	}
	if d, err := os.Open(j.dir); err == nil {
		_ = d.Sync() // so that the new name outlives a power cut
		d.Close()
	}
	if j.file != nil {
		j.file.Close()
	}
	j.file, j.size, j.live = f, n, n
	return nil
}

const writeBatch = 256 << 10 // bytes

// write writes the records that fill puts, and syncs.
func (j *journal) write(f *os.File, fill func(put func(record) error) error) (int64, error) {
	var b []byte
	var n int64
	flush := func() error {
		m, err := f.Write(b)
		n += int64(m)
		b = b[:0]
		return err
	}
	err := fill(func(r record) (err error) {
		if b, err = appendRecord(b, r); err == nil && len(b) >= writeBatch {
			err = flush()
		}
		return err
	})
	if err == nil {
		err = flush()
	}
	if err == nil {
		err = f.Sync()
	}
	return n, err
}

func (j *journal) topic(t string) record {
	return record{Topic: t, Message: j.state.recordTopic(t)}
}

func (j *journal) client(id string) record {
	return record{Client: id, Session: j.state.recordClient(id)}
}

// close gives the file and its lock back, after run has ended.
func (j *journal) close() {
	if j.file != nil {
		j.file.Close()
	}
	j.lock.Close()
}
