package syncthing_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"pgregory.net/rapid"

	"github.com/lanfolk/lanfolk/syncthing"
)

// drain returns what a tail has to hand out.
func drain(tail *syncthing.Tail, now time.Time) (b []byte) {
	for {
		n := len(b)
		if b = tail.Append(now, b); len(b) == n {
			return b
		}
	}
}

// state returns all that a directory knows, as it is kept.
func state(d *syncthing.Directory, now time.Time) []byte {
	_, whole := d.Tails(&sync.Mutex{})
	whole.Rewind()
	return drain(whole, now)
}

func restored(t rapid.TB, now time.Time, b []byte) (*syncthing.Directory, syncthing.Restored) {
	t.Helper()
	d := &syncthing.Directory{Unlimited: true, Pin: true}
	got, err := d.Restore(now, bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return d, got
}

const stateHead = "lanfolk syncthing state 1\n"

// Files of this form are on people's disks. (The checksums are of another program.)
func TestStateIsKeptAsItWas(t *testing.T) {
	d := syncthing.Directory{Pin: true}
	alpha := syncthing.Device{ID: id(anID), Addresses: addresses("192.0.2.1:22000", "[2001:db8::1]:22001")}
	d.Put(start, &alpha, outside)
	d.Put(start, &alpha, netip.MustParseAddr("2001:db8::7"))
	clock := "c7" + "00004650" + "0000019b76f61f40" + "54fe9534" // it is half past midnight at tick 18,000
	device := "d5" + "62" + "0002" + "00000000" + anID +         // two addresses, the second is IPv6, and two pins; announced at tick 0
		"cb0071" + "20010db800000000" +
		"0000" + "55f0" + "c0000201" +
		"0000" + "55f1" + "20010db8000000000000000000000001" + "0c01c5e3"
	want := append([]byte(stateHead), unhex(t, clock+device+clock)...)
	now := start.Add(30 * time.Minute)
	if got := state(&d, now); !bytes.Equal(got, want) {
		t.Errorf("\n got %x\nwant %x", got, want)
	}
	back, got := restored(t, now.Add(29*time.Minute), want)
	if want := (syncthing.Restored{Records: 1, Devices: 1, Size: int64(len(want))}); got != want {
		t.Errorf("%+v", got)
	}
	if got, want := back.Next(), start.Add(time.Hour); !got.Equal(want) {
		t.Errorf("forgotten at %v, want %v", got, want)
	}
	if o := back.Put(now.Add(29*time.Minute), &alpha, netip.MustParseAddr("2001:db8:0:1::7")); o != syncthing.Conflict {
		t.Errorf("the pin is lost: %d", o)
	}
}

// some returns the state of n devices that are announced a tick apart from a minute
// after start on, with the n-th having n%16+1 addresses, of both families.
func some(t testing.TB, n uint32) (b []byte, saved time.Time) {
	t.Helper()
	d := syncthing.Directory{Unlimited: true, Pin: true}
	saved = start.Add(time.Minute)
	for i := range n {
		dev := syncthing.Device{ID: numbered(i)}
		for j := range i%16 + 1 {
			dev.Addresses = append(dev.Addresses, netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, byte(i), byte(j)}), 22000))
			if j%3 == 1 {
				dev.Addresses[j] = netip.AddrPortFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 14: byte(i), 15: byte(j)}), 22000)
			}
		}
		if o := d.Put(saved, &dev, []netip.Addr{outside, netip.MustParseAddr("2001:db8::9")}[i%2]); o != syncthing.Stored {
			t.Fatal(o)
		}
		saved = saved.Add(100 * time.Millisecond)
	}
	return state(&d, saved), saved
}

// lacks returns which of n devices of some are not there as they were.
func lacks(d *syncthing.Directory, now time.Time, n uint32) (out []uint32) {
	for i := range n {
		if got := d.Get(now, numbered(i), nil); len(got) != int(i%16+1) {
			out = append(out, i)
		}
	}
	return out
}

// Whichever bit is wrong, no more than one device is lost, and what is wrong is told.
func TestRestoreWithAFlippedBit(t *testing.T) {
	const n = 18
	whole, now := some(t, n)
	for at := range whole {
		for _, bit := range []int{at % 8, (at + 3) % 8} {
			b := bytes.Clone(whole)
			b[at] ^= 1 << bit
			var d syncthing.Directory
			got, err := d.Restore(now, bytes.NewReader(b))
			if at < len(stateHead) {
				if !errors.Is(err, syncthing.ErrForeign) && !errors.Is(err, syncthing.ErrNewer) || !strings.Contains(err.Error(), "offset ") {
					t.Fatalf("byte %d, bit %d: %v", at, bit, err)
				}
				continue
			}
			lost := lacks(&d, now, n)
			if err != nil || len(lost) > 1 || got.Size+got.Torn != int64(len(b)) {
				t.Fatalf("byte %d, bit %d: %v is lost, %+v, %v", at, bit, lost, got, err)
			}
			if got.Torn > 0 { // the last clock
				got.Damaged, got.DamagedAt, got.Lost = 1, got.Size, got.Torn
			}
			if got.Damaged != 1 || got.DamagedAt > int64(at) || got.DamagedAt+got.Lost <= int64(at) {
				t.Fatalf("byte %d, bit %d: %+v", at, bit, got)
			}
		}
	}
}

// Wherever the file was cut, all before that is there.
func TestRestoreOfAFileThatIsCut(t *testing.T) {
	const n = 18
	whole, now := some(t, n)
	known := -1
	for end := range whole {
		var d syncthing.Directory
		got, err := d.Restore(now, bytes.NewReader(whole[:end]))
		if err != nil {
			t.Fatalf("%d bytes: %v", end, err)
		}
		if got.Size+got.Torn != int64(end) || got.Damaged != 0 || got.Devices != n-len(lacks(&d, now, n)) {
			t.Fatalf("%d bytes: %+v", end, got)
		}
		if got.Devices < known || got.Devices > known+1 {
			t.Fatalf("%d bytes: %d devices after %d", end, got.Devices, known)
		}
		known = got.Devices
	}
	if known != n {
		t.Errorf("%d devices", known)
	}
	// And what is torn off is often there as zeroes.
	d, got := restored(t, now, append(bytes.Clone(whole), make([]byte, 5000)...))
	if got.Size != int64(len(whole)) || got.Torn != 5000 || d.Len() != n {
		t.Errorf("%+v", got)
	}
}

func TestRestoreSkipsWhatIsBroken(t *testing.T) {
	const n = 18
	whole, now := some(t, n)
	var all []byte
	for i, b := range whole { // a hole behind the head, and one before a record that is there again
		if i == len(stateHead) {
			all = append(all, bytes.Repeat([]byte{0xD5, 0x01, 0, 0, 0xC7}, 200)...)
		}
		all = append(all, b)
	}
	all = append(all, make([]byte, 700_000)...)
	all = append(all, whole[len(stateHead):]...) // but the last device is as old as the last
	_, got := restored(t, now, all)
	if got.Damaged < 2 || got.DamagedAt != int64(len(stateHead)) || got.Lost < 701_000 || got.Devices != n || got.Torn != 0 {
		t.Errorf("%+v", got)
	}
}

func TestRestoreRefuses(t *testing.T) {
	whole, now := some(t, 1)
	for name, c := range map[string]struct {
		in   io.Reader
		is   error
		want string
	}{
		"something else": {strings.NewReader("SQLite format 3\x00 and so on"), syncthing.ErrForeign,
			`syncthing: state: not the state of a Syncthing server: offset 0: it doesn't begin with "lanfolk syncthing state "`},
		"something like it": {strings.NewReader("lanfolk syncthing start 1\n"), syncthing.ErrForeign,
			`syncthing: state: not the state of a Syncthing server: offset 21: it doesn't begin with "lanfolk syncthing state "`},
		"no version":         {strings.NewReader("lanfolk syncthing state of things\n"), syncthing.ErrForeign, "syncthing: state: not the state of a Syncthing server: offset 24: no version"},
		"an endless version": {strings.NewReader("lanfolk syncthing state 111111111111111\n"), syncthing.ErrForeign, "syncthing: state: not the state of a Syncthing server: offset 24: no version"},
		"a newer version":    {strings.NewReader("lanfolk syncthing state 2\nwho knows"), syncthing.ErrNewer, "syncthing: state: state written by a newer lanfolk: offset 24: version 2, this one reads 1"},
		"a broken disk":      {iotest.ErrReader(io.ErrClosedPipe), io.ErrClosedPipe, "syncthing: state: offset 0: io: read/write on closed pipe"},
		"a disk that breaks": {io.MultiReader(bytes.NewReader(whole), iotest.ErrReader(io.ErrClosedPipe)), io.ErrClosedPipe,
			"syncthing: state: offset 115: io: read/write on closed pipe"},
	} {
		var d syncthing.Directory
		if _, err := d.Restore(now, c.in); !errors.Is(err, c.is) || err.Error() != c.want {
			t.Errorf("%s: %v\nwant %s", name, err, c.want)
		}
	}
	d, _ := restored(t, now, whole)
	if _, err := d.Restore(now, bytes.NewReader(whole)); err == nil {
		t.Error("restored twice")
	}
}

// However the bytes come, they are the same.
func TestRestoreInPieces(t *testing.T) {
	whole, now := some(t, 700)
	for name, r := range map[string]io.Reader{
		"one by one": iotest.OneByteReader(bytes.NewReader(whole)), "by halves": iotest.HalfReader(bytes.NewReader(whole)),
		"with its end": iotest.DataErrReader(bytes.NewReader(whole)),
	} {
		var d syncthing.Directory
		got, err := d.Restore(now, r)
		if err != nil || got.Size != int64(len(whole)) || len(lacks(&d, now, 700)) > 0 {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// clock is a record that says what time it was at a tick.
func clock(ticks uint32, at time.Time) []byte {
	b := binary.BigEndian.AppendUint32([]byte{0xC7}, ticks)
	b = binary.BigEndian.AppendUint64(b, uint64(at.UnixMilli()))
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

// What is restored is as old as it is, whatever the clock does.
func TestRestoredTimes(t *testing.T) {
	d := syncthing.Directory{}
	d.Put(start, device("192.0.2.1:1"), outside)
	d.Put(start.Add(10*time.Minute), device("192.0.2.2:1"), outside)
	saved := start.Add(20 * time.Minute)
	b := state(&d, saved) // its clock is at tick 12,000
	both, second, none := addresses("192.0.2.2:1", "192.0.2.1:1"), addresses("192.0.2.2:1"), addresses()
	for name, c := range map[string]struct {
		more  []byte
		now   time.Time
		after time.Duration
		want  []netip.AddrPort
		ahead time.Duration
	}{
		"at once":                      {now: saved, want: both},
		"before the first is too old":  {now: saved.Add(40*time.Minute - 1), want: both},
		"when it is":                   {now: saved.Add(40 * time.Minute), want: second},
		"before the second is":         {now: saved.Add(50*time.Minute - 1), want: second},
		"when that is, too":            {now: saved.Add(50 * time.Minute), want: none},
		"a year later":                 {now: saved.AddDate(1, 0, 0), want: none},
		"a thousand years later":       {now: saved.AddDate(1000, 0, 0), want: none},
		"the clock was set back":       {now: saved.Add(-5 * time.Hour), want: both, ahead: 5 * time.Hour},
		"and time goes by":             {now: saved.Add(-5 * time.Hour), after: 40 * time.Minute, want: second, ahead: 5 * time.Hour},
		"and more of it":               {now: saved.Add(-5 * time.Hour), after: 50 * time.Minute, want: none, ahead: 5 * time.Hour},
		"there was no clock at first":  {more: clock(12600, saved.AddDate(30, 0, 0)), now: saved.AddDate(30, 0, 0).Add(39*time.Minute - 1), want: both},
		"and some more time goes by":   {more: clock(12600, saved.AddDate(30, 0, 0)), now: saved.AddDate(30, 0, 0).Add(39 * time.Minute), want: second},
		"a clock far from the devices": {more: clock(1<<31+20_000, saved), now: saved, want: both, ahead: (1<<31 - 14_000) * 100 * time.Millisecond},
	} {
		back, got := restored(t, c.now, append(bytes.Clone(b), c.more...))
		now := c.now.Add(c.after)
		if found := back.Get(now, id(anID), nil); !slices.Equal(found, c.want) || got.Ahead != c.ahead {
			t.Errorf("%s: %v, ahead %v", name, found, got.Ahead)
		}
		if left := back.Len(); (left == 0) != (len(c.want) == 0 && c.after == 0) {
			t.Errorf("%s: %d devices are left", name, left)
		}
		// It goes on as any other, for years.
		for range 40 {
			for back.Expire(now) > 0 {
			}
			for range 3 {
				if o := back.Put(now, device("192.0.2.3:1"), outside); o != syncthing.Stored {
					t.Fatalf("%s: at %v: %d", name, now, o)
				}
			}
			now = now.AddDate(1, 0, 0)
		}
	}
	// Without any clock nobody knows how long ago it was.
	b = slices.Concat(b[:len(stateHead)], b[len(stateHead)+len(clock(0, start)):len(b)-len(clock(0, start))])
	back, _ := restored(t, saved.AddDate(1, 0, 0), b)
	if got := back.Get(saved.AddDate(1, 0, 0), id(anID), nil); !slices.Equal(got, both) {
		t.Errorf("without a clock: %v", got)
	}
}

// The announcements of a device that count are limited after a restart as before.
func TestRestoredDevicesAreWelcome(t *testing.T) {
	b := append([]byte(stateHead), clock(1<<31+7, start)...)
	var d syncthing.Directory
	if _, err := d.Restore(start, bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
	d.Put(start, device("192.0.2.1:1"), outside)
	var back syncthing.Directory
	if _, err := back.Restore(start, bytes.NewReader(state(&d, start))); err != nil {
		t.Fatal(err)
	}
	for n := range 12 {
		want := syncthing.Stored
		if n >= 10 {
			want = syncthing.Limited
		}
		if o := back.Put(start, device("192.0.2.1:1"), outside); o != want {
			t.Errorf("announcement %d: %d", n, o)
		}
	}
}

// What doesn't fit any more is counted.
func TestRestoreIntoLessRoom(t *testing.T) {
	b, now := some(t, 18)
	d := syncthing.Directory{MaxDevices: 10}
	got, err := d.Restore(now, bytes.NewReader(b))
	if err != nil || got.Devices != 10 || got.Full != 8 || d.Len() != 10 {
		t.Errorf("%+v, %v", got, err)
	}
}

// A tail hands out each device once, however often it was announced, and nothing twice.
func TestTailHandsOutWhatIsNew(t *testing.T) {
	var d syncthing.Directory
	d.Unlimited = true
	var mu sync.Mutex
	log, whole := d.Tails(&mu)
	log.Rewind()
	count := func(b []byte, from []byte) syncthing.Restored {
		t.Helper()
		_, got := restored(t, start, append(bytes.Clone(from), b...))
		return got
	}
	put := func(i uint32) {
		d.Put(start, &syncthing.Device{ID: numbered(i), Addresses: addresses("sender:1")}, outside)
	}
	for i := range uint32(1000) {
		put(i)
	}
	first := log.Append(start, nil)
	if n := count(first, nil).Records; n == 0 || n > 200 {
		t.Errorf("%d records at once", n)
	}
	for range 5 { // what wasn't handed out yet, what was, and what is next
		put(999)
		put(0)
		put(uint32(count(first, nil).Records))
	}
	rest := drain(log, start)
	if n := count(append(first, rest...), nil); n.Records != 1001 || n.Devices != 1000 {
		t.Errorf("%+v", n)
	}
	if b := drain(log, start.Add(time.Minute)); len(b) > 0 {
		t.Errorf("nothing is new, but %x", b)
	}
	put(5)
	if n := count(drain(log, start), []byte(stateHead)); n.Records != 1 {
		t.Errorf("%+v", n)
	}
	// The other one has nothing to do with that. Devices that are forgotten meanwhile are not handed out.
	whole.Rewind()
	b := whole.Append(start, nil)
	for d.Expire(start.Add(time.Hour)) > 0 {
	}
	put(7)
	b = append(b, drain(whole, start.Add(time.Hour))...)
	if n := count(b, nil); n.Records < 100 || n.Records > 201 {
		t.Errorf("%+v", n)
	}
	if n := count(drain(log, start), []byte(stateHead)); n.Records != 1 {
		t.Errorf("%+v", n)
	}
	put(8)
	log.Follow(whole)
	if n := count(drain(log, start), []byte(stateHead)); n.Records != 1 {
		t.Errorf("%+v", n)
	}
}

// A directory that is restarted now and then, from a file that is written anew now and then,
// answers as one that isn't.
func TestRestartChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		plain := &syncthing.Directory{Unlimited: true, Pin: true}
		kept := &syncthing.Directory{Unlimited: true, Pin: true}
		var mu sync.Mutex
		log, whole := kept.Tails(&mu)
		log.Rewind()
		var file, next []byte
		rewriting := false
		save := func(now time.Time) {
			file = append(file, drain(log, now)...)
			if rewriting {
				next = append(next, drain(whole, now)...)
			}
		}
		now := start
		froms := []netip.Addr{outside, netip.MustParseAddr("203.0.113.77"), netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8:0:1::1")}
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0:
				now = now.Add(time.Duration(rapid.IntRange(0, 40*60*10).Draw(t, "wait")) * 100 * time.Millisecond)
			case 1:
				for plain.Expire(now) > 0 || kept.Expire(now) > 0 {
				}
				if plain.Len() != kept.Len() || !plain.Next().Equal(kept.Next()) {
					t.Fatalf("%d devices until %v, and %d until %v", plain.Len(), plain.Next(), kept.Len(), kept.Next())
				}
			case 2:
				save(now)
			case 3:
				whole.Rewind()
				next, rewriting = whole.Append(now, nil), true
			case 4:
				if rewriting {
					file, rewriting = append(next, drain(whole, now)...), false
					log.Follow(whole)
				}
			case 5:
				save(now)
				now = now.Add(time.Duration(rapid.IntRange(0, 5*60*10).Draw(t, "away")) * 100 * time.Millisecond)
				var got syncthing.Restored
				if kept, got = restored(t, now, file); got.Size != int64(len(file)) || got.Damaged > 0 {
					t.Fatalf("%d bytes: %+v", len(file), got)
				}
				log, whole = kept.Tails(&mu)
				if len(file) == 0 {
					log.Rewind()
				}
				rewriting = false
			default:
				dev := syncthing.Device{ID: numbered(rapid.Uint32Range(0, 5).Draw(t, "device"))}
				for range rapid.IntRange(0, 5).Draw(t, "addresses") {
					dev.Addresses = append(dev.Addresses, netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, rapid.Byte().Draw(t, "host") % 32}), 1))
				}
				src := rapid.SampledFrom(froms).Draw(t, "from")
				if a, b := plain.Put(now, &dev, src), kept.Put(now, &dev, src); a != b {
					t.Fatalf("%v from %v: %d and %d", dev, src, a, b)
				}
			}
			for i := range uint32(6) {
				if a, b := plain.Get(now, numbered(i), nil), kept.Get(now, numbered(i), nil); !slices.Equal(a, b) {
					t.Fatalf("device %d: %v and %v", i, a, b)
				}
			}
		}
	})
}

// stateSeeds are states, whole and broken.
func stateSeeds(t testing.TB) [][]byte {
	b, now := some(t, 18)
	flipped := bytes.Clone(b)
	flipped[len(b)/2] ^= 4
	return [][]byte{
		nil, []byte(stateHead), []byte("lanfolk syncthing state 2\n"), b, flipped, b[:len(b)-9],
		slices.Concat(b, make([]byte, 9), clock(1<<31, now), b[len(stateHead):]),
	}
}

func FuzzRestore(f *testing.F) {
	for _, b := range stateSeeds(f) {
		f.Add(b)
	}
	now := start.Add(3 * time.Minute)
	f.Fuzz(func(t *testing.T, b []byte) {
		var d syncthing.Directory
		got, err := d.Restore(now, bytes.NewReader(b))
		if err != nil {
			return
		}
		if got.Size+got.Torn != int64(len(b)) || got.Devices != d.Len() || got.Lost > got.Size || got.Records < got.Devices+got.Full {
			t.Fatalf("%d bytes: %+v, %d devices", len(b), got, d.Len())
		}
		// What was read can be written, and that is read as the same.
		again := state(&d, now)
		back, _ := restored(t, now, again)
		if more := state(back, now); !bytes.Equal(again, more) {
			t.Fatalf("\n%x\n%x", again, more)
		}
		for n := 0; d.Expire(d.Next()) > 0; n++ {
			if n > len(b) {
				t.Fatal("it never ends")
			}
		}
		if d.Len() != 0 {
			t.Errorf("%d devices are never forgotten", d.Len())
		}
	})
}
