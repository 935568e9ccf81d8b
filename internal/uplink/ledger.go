package uplink

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/lanfolk/lanfolk/internal/feed"
)

// A ledger is what the hub has of the inventory, as far as this gateway can know: the
// keys of all items, each with a hash of what it said. It is kept in a file, so that
// after a restart only what changed goes up.
//
//	5f0c21aa {"lanfolk":"uplink ledger","version":1,"epoch":"K7…","next":12,"complete":true,"items":2}
//	0b9e7d13 {"has":{"d/dx5…":7712…,"s/s2a…":1934…}}
//	c4417f02 {"batch":{"seq":12,"put":{"d/dx5…":5503…},"gone":["s/s2a…"]}}
//
// A batch's line is written before it is sent. Whether the hub took it is known by the
// line after it, which has the next number, or else from the hub. A ledger that lost its
// end is of use still: what the hub says doesn't fit, and all is sent anew.
//
// It never says that the hub has what it hasn't. So a batch that may be at the hub is
// never replaced by another of its number, unless the hub says that it hasn't come;
// and then the new one's line is on the disk before it is sent.
type ledger struct {
	path string
	file *os.File
	size int64 // of the file
	live int64 // of it when it was written anew

	epoch    string
	next     uint64 // number of the next batch, or of the pending one
	complete bool   // the epoch's snapshot is at the hub
	has      map[string]uint64
	pending  *parcel // it may be at the hub
	replaced bool    // the next parcel takes the place of one of the same number
}

// A parcel is a batch that goes up, without what it says.
type parcel struct {
	Seq      uint64            `json:"seq"`
	Complete bool              `json:"complete,omitempty"`
	Put      map[string]uint64 `json:"put,omitempty"`
	Gone     []string          `json:"gone,omitempty"`
}

// entry is one line.
type entry struct {
	Lanfolk  string            `json:"lanfolk,omitempty"` // of the first line alone
	Version  int               `json:"version,omitempty"`
	Epoch    string            `json:"epoch,omitempty"`
	Next     uint64            `json:"next,omitempty"`
	Complete bool              `json:"complete,omitempty"`
	Items    int               `json:"items,omitempty"` // that the lines after it have
	Has      map[string]uint64 `json:"has,omitempty"`
	Batch    *parcel           `json:"batch,omitempty"`
}

const (
	ledgerName    = "uplink ledger"
	ledgerVersion = 1
	// rewriteAbove is from which length on a ledger is written anew when it is three
	// times as long as it need be.
	rewriteAbove = 256 << 10
	perLine      = 1000 // keys of a line
)

// openLedger reads the ledger at path, as far as it can be read. One that isn't there, or
// that nothing can be read of, is empty: its epoch is "".
func openLedger(path string) (*ledger, error) {
	l := &ledger{path: path, has: make(map[string]uint64)}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	l.file = file
	first, items := true, 0
	l.size, err = readLines(file, func(body []byte) error {
		var e entry
		if err := json.Unmarshal(body, &e); err != nil {
			return err
		}
		defer func() { first = false }()
		switch {
		case first:
			if e.Lanfolk != ledgerName || e.Version != ledgerVersion || e.Epoch == "" {
				return errDamaged
			}
			l.epoch, l.next, l.complete, items = e.Epoch, e.Next, e.Complete, e.Items
		case e.Has != nil:
			for key, sum := range e.Has {
				if _, err := feed.ParseKey(key); err != nil {
					return err
				}
				l.has[key] = sum
			}
			items -= len(e.Has)
		case e.Batch != nil && items == 0:
			return l.follow(e.Batch)
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	if items != 0 { // of what isn't known nobody could say that it went
		l.epoch, l.pending = "", nil
		clear(l.has)
	}
	l.live = l.size
	return l, nil
}

// follow takes a batch's line: that of the number after the pending one says that this is
// at the hub.
func (l *ledger) follow(p *parcel) error {
	if l.pending != nil && p.Seq == l.next+1 {
		l.taken()
	}
	if p.Seq != l.next {
		return errDamaged
	}
	l.pending = p
	return nil
}

// begin begins an epoch, of which the hub has nothing.
func (l *ledger) begin(epoch string) error {
	l.epoch, l.next, l.complete, l.pending, l.replaced = epoch, 0, false, nil, false
	clear(l.has)
	return l.rewrite()
}

// offer notes what is sent next, before it is. Whatever comes of an error, it may be sent:
// then a restart will find that the hub is ahead.
func (l *ledger) offer(p *parcel) error {
	l.pending = p
	if l.size > rewriteAbove && l.size > 3*l.live {
		if err := l.rewrite(); err != nil {
			return err
		}
	}
	line, err := l.line(entry{Batch: p})
	if err != nil {
		return err
	}
	if _, err := l.file.WriteAt(line, l.size); err != nil {
		// A part of the line may be there. The next one is written over it.
		return errors.Join(err, l.file.Truncate(l.size))
	}
	l.size += int64(len(line))
	if l.replaced {
		if err := l.file.Sync(); err != nil {
			return err
		}
		l.replaced = false
	}
	return nil
}

func (l *ledger) line(e entry) ([]byte, error) {
	body, err := json.Marshal(e)
	return appendLine(nil, body), err
}

// taken says that the hub has the pending batch.
func (l *ledger) taken() {
	p := l.pending
	for key, sum := range p.Put {
		l.has[key] = sum
	}
	for _, key := range p.Gone {
		delete(l.has, key)
	}
	l.complete = l.complete || p.Complete
	l.pending, l.next = nil, l.next+1
}

// drop says that the pending batch never came to the hub, and never will.
func (l *ledger) drop() { l.pending, l.replaced = nil, true }

// rewrite writes all that is known into a new file, without what is pending.
func (l *ledger) rewrite() error {
	if err := replaceFile(l.path, l.write); err != nil {
		return err
	}
	file, err := os.OpenFile(l.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return errors.Join(err, file.Close())
	}
	l.file.Close()
	l.file, l.size, l.live = file, size, size
	return nil
}

func (l *ledger) write(w io.Writer) error {
	put := func(e entry) error {
		line, err := l.line(e)
		if err == nil {
			_, err = w.Write(line)
		}
		return err
	}
	if err := put(entry{Lanfolk: ledgerName, Version: ledgerVersion, Epoch: l.epoch, Next: l.next, Complete: l.complete, Items: len(l.has)}); err != nil {
		return err
	}
	some := make(map[string]uint64, min(len(l.has), perLine))
	for key, sum := range l.has {
		if some[key] = sum; len(some) == perLine {
			if err := put(entry{Has: some}); err != nil {
				return err
			}
			clear(some)
		}
	}
	if len(some) == 0 {
		return nil
	}
	return put(entry{Has: some})
}

func (l *ledger) close() error {
	if err := l.file.Close(); err != nil && !errors.Is(err, fs.ErrClosed) {
		return fmt.Errorf("uplink: %w", err)
	}
	return nil
}
