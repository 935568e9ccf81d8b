package syncthing

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// What is no state of a directory, for errors.Is.
var (
	// ErrForeign: something else.
	ErrForeign = errors.New("not the state of a Syncthing server")
	// ErrNewer: a newer lanfolk wrote it.
	ErrNewer = errors.New("state written by a newer lanfolk")
)

// Restored is what [Directory.Restore] read.
type Restored struct {
	// Records were read, of Devices that are known now; Full are records for which there was no room.
	Records, Devices, Full int
	// Size is how many bytes of the stream are good: up to the end of the last record. Behind it
	// are Torn bytes, of a record that wasn't written to its end.
	Size, Torn int64
	// Damaged is how many places before that can't be read, the first of them at the offset DamagedAt.
	// Lost bytes were skipped there.
	Damaged         int
	DamagedAt, Lost int64
	// Ahead is how much later than now the stream was written by its own account: the
	// clock was set back. No time counts as gone by since then.
	Ahead time.Duration
}

// Restore fills an empty directory with what a [Tail] handed out. Everything is as old as it really
// is: what time went by since counts.
//
// What was damaged or cut short is skipped, and the rest counts. Restore stops with an error,
// that says at which offset, if the stream can't be read, if it is something
// else ([ErrForeign]) or of a newer version ([ErrNewer]). An empty stream is an empty directory.
func (d *Directory) Restore(now time.Time, r io.Reader) (Restored, error) {
	if d.Len() > 0 {
		return Restored{}, errors.New("syncthing: state: the directory isn't empty")
	}
	in := &replay{r: r, buf: make([]byte, replayBuffer)}
	if err := in.head(); err != nil {
		return Restored{}, fmt.Errorf("syncthing: state: %w", err)
	}
	d.setTime(now)
	var out Restored
	var batch [restoreBatch]kept // looked for in step, as find says
	var known [restoreBatch]sought
	for n := len(batch); n == len(batch); {
		for n = 0; n < len(batch) && in.next(); {
			if in.device {
				batch[n], known[n].id = in.kept, in.id
				n++
			}
		}
		d.find(0, known[:n])
		for i := range n {
			if !d.restore(&batch[i], known[i]) {
				out.Full++
			}
		}
		out.Records += n
	}
	if in.err != nil {
		return Restored{}, fmt.Errorf("syncthing: state: %w", in.err)
	}
	out.Size, out.Torn = in.good, in.offset-in.good
	out.Damaged, out.DamagedAt, out.Lost = in.damaged, in.damagedAt, in.lost
	out.Ahead = d.resume(now, in)
	out.Devices = d.Len()
	return out, nil
}

const restoreBatch = 32

// restore takes in a device as it was kept, and says whether there was room for it. It may have become
// known since it was looked for.
func (d *Directory) restore(k *kept, s sought) bool {
	i := s.number
	if i == 0 {
		i = d.number(s.hash, &s.id)
	}
	known := i != 0
	if !known {
		if i = d.create(k.id, s.hash); i == 0 {
			return false
		}
	}
	r := d.devices.at(i)
	r.paid = k.ticks
	d.write(r, k.addresses[:k.n])
	if k.pin.have != 0 || d.pins.at(i) != nil {
		*d.pins.make(i) = k.pin
	}
	if known {
		d.unlink(i)
		d.link(i)
	}
	return true
}

// resume makes the ticks go on at now, after the last device and the last clock that were read.
// It returns how far that clock is ahead of now.
func (d *Directory) resume(now time.Time, in *replay) (ahead time.Duration) {
	ticks, away := in.last, time.Duration(0)
	if in.clocked { // else nobody knows when it was
		if !in.begun || int32(in.clock-ticks) > 0 {
			ticks = in.clock
		}
		then := time.UnixMilli(in.unix).Add(time.Duration(ticks-in.clock) * tick)
		away = now.Sub(then)
		away, ahead = max(away, 0), max(-away, 0)
	}
	// All that is older than Lifetime is the same.
	d.now = ticks + uint32(min(away, 2*Lifetime)/tick)
	d.epoch = now.Add(-time.Duration(d.now) * tick)
	if d.newest != 0 && !d.alive(d.now, d.addresses.at(d.devices.at(d.newest).first)) {
		// Nothing of it counts any more: give the memory back.
		d.index = index{seed: d.index.seed}
		d.devices, d.addresses, d.pins = slab[record]{}, slab[address]{}, pins{}
		d.newest, d.oldest = 0, 0
	}
	d.marks = [tails]uint32{}
	return ahead
}

// replayBuffer is how much is read at once.
const replayBuffer = 64 << 10

// replay reads a stream record by record.
type replay struct {
	kept // the record

	r        io.Reader
	buf      []byte
	from, to int   // what is read and not yet used
	offset   int64 // of from in the stream
	err      error // but io.EOF
	ended    bool

	begun, clocked  bool   // a device was read, a clock was read
	last            uint32 // when the last device was announced
	clock           uint32 // the last clock: ticks, and Unix time in ms
	unix            int64
	good            int64 // where the last record ended
	damaged         int
	damagedAt, lost int64
}

// rest is what is there to be read: at least n bytes, if the stream has them.
func (p *replay) rest(n int) []byte {
	if p.to-p.from < n && !p.ended {
		p.to = copy(p.buf, p.buf[p.from:p.to])
		p.from = 0
		got, err := io.ReadAtLeast(p.r, p.buf[p.to:], n-p.to)
		p.to += got
		if err != nil {
			p.ended = true
			if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				p.err = fmt.Errorf("offset %d: %w", p.offset+int64(p.to), err)
			}
		}
	}
	return p.buf[p.from:p.to]
}

func (p *replay) skip(n int) {
	p.from += n
	p.offset += int64(n)
}

// head reads the first line.
func (p *replay) head() error {
	b := p.rest(maxRecord)
	switch kind := b[:min(len(b), len(stateKind))]; {
	case p.err != nil:
		return p.err
	case !strings.HasPrefix(stateKind, string(kind)):
		at := 0
		for kind[at] == stateKind[at] {
			at++
		}
		return fmt.Errorf("%w: offset %d: it doesn't begin with %q", ErrForeign, at, stateKind)
	case len(b) < len(stateHead) && strings.HasPrefix(stateHead, string(b)):
		p.skip(len(b)) // cut short, or empty
		return nil
	}
	version, _, ok := bytes.Cut(b[len(stateKind):], []byte("\n"))
	const digits = 9
	switch number, err := strconv.Atoi(string(version[:min(len(version), digits)])); {
	case !ok || err != nil || len(version) > digits:
		return fmt.Errorf("%w: offset %d: no version", ErrForeign, len(stateKind))
	case string(version) != stateVersion:
		return fmt.Errorf("%w: offset %d: version %d, this one reads %s", ErrNewer, len(stateKind), number, stateVersion)
	}
	p.skip(len(stateHead))
	p.good = p.offset
	return nil
}

// next reads a record. What is damaged before it is skipped.
func (p *replay) next() bool {
	for {
		b := p.rest(maxRecord)
		if len(b) == 0 || p.err != nil {
			return false
		}
		n := p.parse(b)
		if n > 0 && p.device && p.begun && int32(p.ticks-p.last) < 0 {
			n = 0 // no Tail hands out what is older than what it handed out before
		}
		if n == 0 {
			p.skip(toMark(b))
			continue
		}
		if p.offset > p.good {
			if p.damaged == 0 {
				p.damagedAt = p.good
			}
			p.damaged++
			p.lost += p.offset - p.good
		}
		if p.device {
			p.begun, p.last = true, p.ticks
		} else {
			p.clocked, p.clock, p.unix = true, p.ticks, p.time
		}
		p.skip(n)
		p.good = p.offset
		return true
	}
}

// toMark is how many bytes there are before the next, but the first, that a record may begin with.
func toMark(b []byte) int {
	for i := 1; i < len(b); i++ {
		if b[i] == deviceMark || b[i] == clockMark {
			return i
		}
	}
	return len(b)
}
