package directory

import (
	"errors"
	"fmt"
	"log/slog"
	"syscall"
	"time"

	"github.com/lanfolk/lanfolk/syncthing"
)

const (
	writeSize   = 256 << 10   // of a write, about
	rewriteStep = 16 << 20    // of a new file at a time, about
	slack       = 4 << 20     // how much more than twice of what it needs a file may have
	syncEvery   = time.Second // at the most
	retryEvery  = time.Minute // to write the file anew, once that failed
)

// keeper writes the file: adds to its end, and now and then writes all of it anew beside it. It
// syncs in a goroutine of its own, since that may take seconds.
type keeper struct {
	disk disk
	log  *slog.Logger
	step int64 // how much of a new file is written at a time, about

	current  output
	begun    bool      // its first line is written, or in its buffer
	needed   int64     // how much of it was needed when that was known last
	due      bool      // it must be written anew
	suspect  error     // why it may not hold what was written
	unsynced bool      // something was written since it was synced
	synced   time.Time // when that began
	folder   error     // why its name may not be what it is after a power cut

	next   output // what will take its place; no file: nothing
	retry  time.Time
	warned bool // that writing it anew failed

	background chan done // what runs now; nil: nothing
	renaming   bool      // what runs now gives next its place

	written, rewritten uint64
}

// output is a file that grows.
type output struct {
	file  file
	size  int64
	write int    // how much is written at once, about
	buf   []byte // what comes next; it is kept until it is written
}

// done is how something in the background ended.
type done struct {
	err     error
	renamed bool  // next has its place
	folder  error // why the folder isn't synced
}

// save writes what is new. It returns why that can't be relied on.
func (k *keeper) save(now time.Time, log, whole *syncthing.Tail) error {
	if k.background != nil {
		select {
		case d := <-k.background:
			k.finish(now, d)
			if d.renamed {
				log.Follow(whole)
			}
		default:
		}
	}
	if !k.begun {
		log.Rewind()
		k.begun = true
	}
	n, err := k.current.drain(now, log, -1)
	k.written += uint64(n)
	k.unsynced = k.unsynced || n > 0
	if err != nil && !isFull(err) {
		k.due, k.suspect = true, err
	}
	err = errors.Join(err, k.rewrite(now, whole))
	if k.background == nil && k.unsynced && now.Sub(k.synced) >= syncEvery {
		k.unsynced, k.synced = false, now
		current := k.current.file
		k.run(func() done { return done{err: current.Sync(), folder: k.disk.sync()} })
	}
	switch {
	case err != nil:
		return err
	case k.suspect != nil:
		return k.suspect
	}
	return k.folder
}

// drain writes what a tail has to hand out, but not much more than most bytes unless that is
// -1. It returns how many it wrote.
func (o *output) drain(now time.Time, tail *syncthing.Tail, most int64) (int64, error) {
	from := o.size
	for most < 0 || o.size-from < most {
		for len(o.buf) < o.write {
			n := len(o.buf)
			if o.buf = tail.Append(now, o.buf); len(o.buf) == n {
				break
			}
		}
		if len(o.buf) == 0 {
			break
		}
		// What a write leaves behind that fails is written over by the next.
		if _, err := o.file.WriteAt(o.buf, o.size); err != nil {
			return o.size - from, err
		}
		o.size += int64(len(o.buf))
		o.buf = o.buf[:0]
	}
	return o.size - from, nil
}

// rewrite goes on to write the file anew, or begins to if it is time. An error that makes it give up
// is none of save's; one while the new file may be the current one already is.
func (k *keeper) rewrite(now time.Time, whole *syncthing.Tail) error {
	if k.next.file == nil {
		if !k.due && k.current.size < 2*k.needed+slack || now.Before(k.retry) {
			return nil
		}
		f, err := k.create()
		if err != nil {
			k.giveUp(now, err)
			return nil
		}
		whole.Rewind()
		k.next = output{file: f, write: k.current.write}
	}
	most := k.step
	if k.renaming { // what is in the current one must be in it, too
		most = -1
	}
	n, err := k.next.drain(now, whole, most)
	k.written += uint64(n)
	switch {
	case k.renaming:
		return err
	case err != nil:
		k.giveUp(now, err)
	case n < k.step && k.background == nil:
		k.renaming = true
		next := k.next.file
		k.run(func() done {
			if err := next.Sync(); err != nil {
				return done{err: err}
			}
			if err := k.disk.rename(newFile, stateFile); err != nil {
				return done{err: err}
			}
			return done{renamed: true, folder: k.disk.sync()}
		})
	}
	return nil
}

// create makes the new file, if it is likely to have room.
func (k *keeper) create() (file, error) {
	free, err := k.disk.free()
	if err != nil {
		return nil, err
	}
	if free < k.current.size {
		return nil, fmt.Errorf("%d MB free, and it may need %d: %w", free>>20, k.current.size>>20, syscall.ENOSPC)
	}
	return k.disk.create(newFile)
}

// giveUp lets the new file be. The current one goes on to grow.
func (k *keeper) giveUp(now time.Time, err error) {
	if k.next.file != nil {
		_ = k.next.file.Close()
		_ = k.disk.remove(newFile)
		k.next = output{}
	}
	k.retry = now.Add(retryEvery)
	if !k.warned {
		k.log.Warn("Syncthing state not written anew; its file grows", "err", err)
	}
	k.warned = true
}

// run does something in the background.
func (k *keeper) run(what func() done) {
	c := make(chan done, 1)
	k.background = c
	go func() { c <- what() }()
}

// finish takes in how what was in the background ended.
func (k *keeper) finish(now time.Time, d done) {
	renaming := k.renaming
	k.background, k.renaming = nil, false
	k.folder = d.folder
	k.unsynced = k.unsynced || d.err != nil || d.folder != nil
	switch {
	case d.renamed:
		_ = k.current.file.Close() // nobody can read it any more
		k.current, k.next = k.next, output{}
		k.needed = k.current.size
		k.due, k.suspect, k.warned, k.unsynced = false, nil, false, true
		k.rewritten++
	case renaming:
		k.giveUp(now, d.err)
	case d.err != nil:
		// What the system had to write before may be lost, and it doesn't try again.
		k.due, k.suspect = true, d.err
	}
}

// close syncs and closes what there is. What isn't complete is left out.
func (k *keeper) close() error {
	if k.background != nil {
		k.finish(time.Time{}, <-k.background)
	}
	if k.next.file != nil {
		_ = k.next.file.Close()
		_ = k.disk.remove(newFile)
	}
	return errors.Join(k.suspect, k.current.file.Sync(), k.current.file.Close())
}

func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }
