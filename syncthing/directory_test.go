package syncthing_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/lanfolk/lanfolk/syncthing"
)

var (
	start    = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	loopback = netip.MustParseAddr("127.0.0.1")
	outside  = netip.MustParseAddr("203.0.113.9")
)

// exchange is what a server does with a packet: nil is silence.
func exchange(d *syncthing.Directory, now time.Time, b []byte, src netip.Addr) []byte {
	m, err := syncthing.Parse(b)
	if err != nil {
		return nil
	}
	switch m := m.(type) {
	case *syncthing.Announcement:
		d.Put(now, &m.Device, src)
	case syncthing.Query:
		if found := d.Get(now, m.ID, nil); len(found) > 0 {
			return (&syncthing.Announcement{Device: syncthing.Device{ID: m.ID, Addresses: found}}).Append(nil)
		}
	}
	return nil
}

// globalReply is the answer to a made-up packet's query: that of the real servers, but
// where they don't agree or the protocol's rules are stricter than they.
func globalReply(t testing.TB, id string, replies map[string]*struct{ Hex raw }) []byte {
	const all, postgres = "all four servers", "discosrv 2f14623 (2015-05, PostgreSQL)"
	from := all
	switch id {
	case "x24", // an IP with two ports is two addresses
		"x44": // ::ffff:192.0.2.1 is IPv4
		from = postgres
	case "x26", "x28", // ports beyond 65,535
		"x30", "x32", "x36", // IPs of 3, 8 and 5 bytes
		"x38", "x40", "x42", // no host's address
		"x46", "x48", "x60": // IDs of less than 32 bytes
		return nil
	}
	r, ok := replies[from]
	if !ok {
		t.Fatalf("%s: no reply of %s", id, from)
	}
	if r == nil {
		return nil
	}
	return r.Hex
}

// What the real servers answered to made-up packets.
func TestGlobalPackets(t *testing.T) {
	var d syncthing.Directory
	answered := 0
	for _, c := range readVectors(t).Global {
		if c.Announce != nil {
			if got := exchange(&d, start, c.Announce, netip.MustParseAddr(c.Src)); got != nil {
				t.Errorf("%s, %s: the announcement is answered with %x", c.ID, c.Name, got)
			}
		}
		want := globalReply(t, c.ID, c.Reply)
		got := exchange(&d, start, c.Query, loopback)
		if !bytes.Equal(got, want) {
			t.Errorf("%s, %s:\n got %x\nwant %x", c.ID, c.Name, got, want)
		}
		if got != nil {
			answered++
		}
	}
	if answered < 7 {
		t.Errorf("only %d queries answered", answered)
	}
}

// What was captured between real clients and servers: each answer follows from the
// announcements, whatever address family the asker has.
func TestCapturedAnswers(t *testing.T) {
	var d syncthing.Directory
	sources := map[string]string{ // those whose announcement isn't among the captured ones
		"4aeb83f6a0a5c46a843bc3f2f41803941da63f8aade398eff589c13083e79083": "192.0.2.7:22001",
	}
	for h, a := range sources {
		d.Put(start, &syncthing.Device{ID: id(h), Addresses: addresses(a)}, loopback)
	}
	answers := 0
	for _, c := range readVectors(t).Captured {
		if c.Mode != "global" {
			continue
		}
		src, _, _ := bytes.Cut([]byte(c.Src), []byte(" "))
		m, err := syncthing.Parse(c.Hex)
		if err != nil {
			t.Fatal(err)
		}
		switch a, ok := m.(*syncthing.Announcement); {
		case bytes.Contains([]byte(c.Src), []byte("port 22026")): // a server's answer
			if len(a.Addresses) == 2 { // alpha was announced from another address in between
				d.Put(start, &syncthing.Device{ID: a.ID, Addresses: a.Addresses}, loopback)
			}
			answers++
			if got := exchange(&d, start, syncthing.Query{ID: a.ID}.Append(nil), outside); !bytes.Equal(got, c.Hex) {
				t.Errorf("%s, %s:\n got %x\nwant %x", c.ID, c.Description, got, []byte(c.Hex))
			}
		case ok:
			exchange(&d, start, c.Hex, netip.MustParseAddr(string(src)))
		}
	}
	if answers < 9 {
		t.Errorf("%d answers", answers)
	}
	for _, name := range []string{"noaddr", "nobody"} {
		if got := exchange(&d, start, syncthing.Query{ID: id(readVectors(t).DeviceIDs[name])}.Append(nil), loopback); got != nil {
			t.Errorf("%s: %x", name, got)
		}
	}
}

func device(all ...string) *syncthing.Device {
	return &syncthing.Device{ID: id(anID), Addresses: addresses(all...)}
}

// The directory, step by step: what is put at which time from where, and what is there then.
func TestDirectory(t *testing.T) {
	type step struct {
		at      time.Duration
		put     []string // nil: only look
		from    string   // "": outside
		outcome syncthing.Outcome
		want    []string
	}
	many := func(first, n int) (out []string) {
		for i := range n {
			out = append(out, netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(first + i)}), 22000).String())
		}
		return out
	}
	for name, steps := range map[string][]step{
		"the newest come first, in the announced order": {
			{put: []string{"192.0.2.1:1", "192.0.2.2:1"}, want: []string{"192.0.2.1:1", "192.0.2.2:1"}},
			{at: time.Minute, put: []string{"192.0.2.3:1", "192.0.2.2:1"}, want: []string{"192.0.2.3:1", "192.0.2.2:1", "192.0.2.1:1"}},
			{at: time.Minute, put: []string{"192.0.2.1:2"}, want: []string{"192.0.2.1:2", "192.0.2.3:1", "192.0.2.2:1", "192.0.2.1:1"}},
		},
		"the newest 16 stay": {
			{put: many(0, 16), want: many(0, 16)},
			{at: time.Second, put: many(100, 3), want: append(many(100, 3), many(0, 13)...)},
			{at: 2 * time.Second, put: many(0, 16), want: many(0, 16)},
		},
		"each address has an age of its own": {
			{put: []string{"192.0.2.1:1", "192.0.2.2:1"}, want: []string{"192.0.2.1:1", "192.0.2.2:1"}},
			{at: 30 * time.Minute, put: []string{"192.0.2.2:1"}, want: []string{"192.0.2.2:1", "192.0.2.1:1"}},
			{at: 60*time.Minute - 1, want: []string{"192.0.2.2:1", "192.0.2.1:1"}},
			{at: 60 * time.Minute, want: []string{"192.0.2.2:1"}},
			{at: 89 * time.Minute, put: []string{"192.0.2.3:1"}, want: []string{"192.0.2.3:1", "192.0.2.2:1"}},
			{at: 90 * time.Minute, want: []string{"192.0.2.3:1"}},
			{at: 149 * time.Minute, want: nil},
			{at: 150 * time.Minute, put: []string{"192.0.2.1:1"}, want: []string{"192.0.2.1:1"}},
		},
		"what is no host's address is left out": {
			{put: []string{"0.0.0.0:1", "[::]:1", "224.0.0.1:1", "[ff32::5222]:1", "255.255.255.255:1", "127.0.0.1:1", "127.3.2.1:1", "[::1]:1"}, outcome: syncthing.Nothing},
			{put: []string{"224.0.0.1:1", "192.0.2.1:1"}, want: []string{"192.0.2.1:1"}},
		},
		"loopback addresses of a loopback source stay": {
			{put: []string{"127.0.0.1:1", "[::1]:1", "sender:2"}, from: "::1", want: []string{"127.0.0.1:1", "[::1]:1", "[::1]:2"}},
		},
		"an address without an IP is the source's": {
			{put: []string{"sender:1", "203.0.113.9:1", "sender:2"}, want: []string{"203.0.113.9:1", "203.0.113.9:2"}},
			{put: []string{"sender:1"}, from: "2001:db8::1", want: []string{"[2001:db8::1]:1", "203.0.113.9:1", "203.0.113.9:2"}},
			{put: []string{"sender:1"}, from: "::ffff:203.0.113.9", want: []string{"203.0.113.9:1", "[2001:db8::1]:1", "203.0.113.9:2"}},
		},
		"IPv4 in IPv6 form is the same address": {
			{put: []string{"[::ffff:192.0.2.1]:1", "192.0.2.1:1"}, want: []string{"192.0.2.1:1"}},
		},
		"no addresses change nothing": {
			{put: []string{}, outcome: syncthing.Nothing},
			{put: []string{"192.0.2.1:1"}, want: []string{"192.0.2.1:1"}},
			{at: time.Minute, put: []string{}, outcome: syncthing.Nothing, want: []string{"192.0.2.1:1"}},
		},
		"ten announcements at once, then one a second": {
			{put: many(0, 1), want: many(0, 1)},
			{put: many(0, 1), want: many(0, 1)},
			{put: many(0, 1), want: many(0, 1)},
			{put: many(0, 1), want: many(0, 1)},
			{put: many(0, 1), want: many(0, 1)},
			{put: many(0, 1), want: many(0, 1)},
			{put: many(0, 1), want: many(0, 1)},
			{put: many(0, 1), want: many(0, 1)},
			{put: many(0, 1), want: many(0, 1)},
			{put: many(0, 1), want: many(0, 1)},
			{put: many(1, 1), outcome: syncthing.Limited, want: many(0, 1)},
			{at: 900 * time.Millisecond, put: many(1, 1), outcome: syncthing.Limited, want: many(0, 1)},
			{at: time.Second, put: many(2, 1), want: []string{"192.0.2.2:22000", "192.0.2.0:22000"}},
			{at: time.Second, put: many(1, 1), outcome: syncthing.Limited, want: []string{"192.0.2.2:22000", "192.0.2.0:22000"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var d syncthing.Directory
			for n, s := range steps {
				now := start.Add(s.at)
				if s.put != nil {
					src := outside
					if s.from != "" {
						src = netip.MustParseAddr(s.from)
					}
					if got := d.Put(now, device(s.put...), src); got != s.outcome {
						t.Errorf("step %d: outcome %d, want %d", n, got, s.outcome)
					}
				}
				if got, want := d.Get(now, id(anID), nil), addresses(s.want...); !slices.EqualFunc(got, want, func(a, b netip.AddrPort) bool {
					return a == netip.AddrPortFrom(b.Addr().Unmap(), b.Port())
				}) {
					t.Errorf("step %d: %v, want %v", n, got, want)
				}
			}
		})
	}
}

func numbered(n uint32) (id syncthing.DeviceID) {
	binary.BigEndian.PutUint32(id[:], n*2654435761)
	return id
}

// Devices are forgotten in the order in which they were announced, when Next says.
func TestDirectoryForgets(t *testing.T) {
	var d syncthing.Directory
	if !d.Next().IsZero() || d.Expire(start) != 0 {
		t.Error("an empty directory has something to forget")
	}
	const n = 3000
	put := func(at time.Duration, i uint32) {
		if o := d.Put(start.Add(at), &syncthing.Device{ID: numbered(i), Addresses: addresses("sender:1", "sender:2")}, outside); o != syncthing.Stored {
			t.Fatal(o)
		}
	}
	for i := range uint32(n) {
		put(time.Duration(i)*time.Second/10, i)
	}
	put(n*time.Second/10, 0)
	if got, want := d.Next(), start.Add(time.Hour+100*time.Millisecond); !got.Equal(want) {
		t.Errorf("next at %v, want %v", got, want)
	}
	if n := d.Expire(d.Next().Add(-1)); n != 0 {
		t.Errorf("%d forgotten too early", n)
	}
	if n := d.Expire(d.Next()); n != 1 || d.Has(numbered(1)) || !d.Has(numbered(0)) {
		t.Errorf("%d forgotten", n)
	}
	late := start.Add(2 * time.Hour)
	var at []int
	for !d.Next().IsZero() && len(at) < 9 {
		at = append(at, d.Expire(late))
	}
	if want := []int{1024, 1024, n - 1 - 2048}; !slices.Equal(at, want) || d.Len() != 0 {
		t.Errorf("forgot %v, want %v; %d left", at, want, d.Len())
	}
	// What they took is used again.
	put(3*time.Hour, 7)
	if got := d.Get(start.Add(3*time.Hour), numbered(7), nil); len(got) != 2 {
		t.Error(got)
	}
}

// A full directory keeps whom it knows.
func TestDirectoryIsFull(t *testing.T) {
	now := start
	for name, d := range map[string]*syncthing.Directory{
		"devices": {MaxDevices: 10}, "addresses": {MaxAddresses: 20},
	} {
		two := func(i uint32, src string) syncthing.Outcome {
			return d.Put(now, &syncthing.Device{ID: numbered(i), Addresses: addresses("sender:1", "sender:2")}, netip.MustParseAddr(src))
		}
		for i := range uint32(10) {
			if o := two(i, "192.0.2.1"); o != syncthing.Stored {
				t.Fatal(name, i, o)
			}
		}
		if o := two(10, "192.0.2.1"); o != syncthing.Full {
			t.Error(name, o)
		}
		if o := two(3, "192.0.2.2"); o != syncthing.Stored || d.Get(now, numbered(3), nil)[0] != netip.MustParseAddrPort("192.0.2.2:1") {
			t.Error(name, o, d.Get(now, numbered(3), nil))
		}
		d.Expire(now.Add(time.Hour))
		now = now.Add(time.Hour)
		if o := two(10, "192.0.2.1"); o != syncthing.Stored {
			t.Error(name, "once there is room:", o)
		}
	}
}

// The directory does what a simple one with no thought of memory does.
func TestDirectoryAgainstAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type known struct {
			address netip.AddrPort
			seen    time.Duration
		}
		d := syncthing.Directory{Unlimited: true}
		model := map[uint32][]known{}
		now := time.Duration(0)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now += time.Duration(rapid.IntRange(0, 20*60*10).Draw(t, "wait")) * 100 * time.Millisecond
			n := rapid.Uint32Range(0, 3).Draw(t, "device")
			if rapid.Bool().Draw(t, "expire") {
				for d.Expire(start.Add(now)) > 0 {
				}
			}
			dev := syncthing.Device{ID: numbered(n)}
			var next []known
			for range rapid.IntRange(0, 16).Draw(t, "addresses") {
				a := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, rapid.Byte().Draw(t, "host") % 32}), 1)
				dev.Addresses = append(dev.Addresses, a)
				if !slices.ContainsFunc(next, func(k known) bool { return k.address == a }) {
					next = append(next, known{a, now})
				}
			}
			d.Put(start.Add(now), &dev, outside)
			for _, k := range model[n] {
				if !slices.ContainsFunc(next, func(o known) bool { return k.address == o.address }) {
					next = append(next, k)
				}
			}
			model[n] = next[:min(len(next), 16)]
			for i := range uint32(4) {
				var want []netip.AddrPort
				for _, k := range model[i] {
					if now-k.seen < time.Hour {
						want = append(want, k.address)
					}
				}
				if got := d.Get(start.Add(now), numbered(i), nil); !slices.Equal(got, want) {
					t.Fatalf("device %d at %v: %v, want %v", i, now, got, want)
				}
			}
		}
	})
}

// A directory that has run for decades.
func TestDirectoryCountsTimeAnew(t *testing.T) {
	var d syncthing.Directory
	for now := start; now.Before(start.AddDate(40, 0, 0)); now = now.Add(200 * 24 * time.Hour) {
		for d.Expire(now) > 0 {
		}
		if o := d.Put(now, device("192.0.2.1:1"), outside); o != syncthing.Stored || d.Len() != 1 {
			t.Fatal(now, o, d.Len())
		}
		if got := d.Next(); got.Before(now.Add(time.Hour-time.Second)) || got.After(now.Add(time.Hour)) {
			t.Fatal(now, got)
		}
		if len(d.Get(now.Add(59*time.Minute), id(anID), nil)) != 1 || len(d.Get(now.Add(time.Hour), id(anID), nil)) != 0 {
			t.Fatal(now)
		}
	}
}

// A million devices with two addresses each: what that costs is the rise of what Go got from the system.
func TestMemoryOfAMillionDevices(t *testing.T) {
	inUse := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.Sys - m.HeapReleased
	}
	before := inUse()
	var d syncthing.Directory
	dev := syncthing.Device{Addresses: addresses("sender:22000", "[2001:db8::1]:22000")}
	for i := range uint32(1_000_000) {
		dev.ID = numbered(i)
		if o := d.Put(start, &dev, outside); o != syncthing.Stored {
			t.Fatal(i, o)
		}
	}
	got := inUse() - before
	t.Logf("%d devices: %d MB", d.Len(), got>>20)
	if got > 300<<20 {
		t.Errorf("%d MB", got>>20)
	}
	runtime.KeepAlive(&d)
}

func BenchmarkDirectoryGet(b *testing.B) {
	d := syncthing.Directory{Unlimited: true}
	dev := syncthing.Device{Addresses: addresses("sender:22000")}
	const n = 200_000
	for i := range uint32(n) {
		dev.ID = numbered(i)
		d.Put(start, &dev, outside)
	}
	var out []netip.AddrPort
	b.ReportAllocs()
	for i := uint32(0); b.Loop(); i++ {
		if out = d.Get(start, numbered(i%n), out[:0]); len(out) != 1 {
			b.Fatal("lost")
		}
	}
}

func BenchmarkDirectoryPut(b *testing.B) {
	d := syncthing.Directory{Unlimited: true}
	dev := syncthing.Device{Addresses: addresses("sender:22000")}
	const n = 200_000
	b.ReportAllocs()
	for i := uint32(0); b.Loop(); i++ {
		dev.ID = numbered(i % n)
		d.Put(start, &dev, outside)
	}
}
