package syncthing_test

import (
	"bytes"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk/syncthing"
)

// journal keeps in memory what it is handed out.
type journal struct {
	mu    sync.Mutex
	b     []byte
	calls atomic.Int32
	fails atomic.Bool
	hangs chan struct{} // if set, Save waits for it
}

func (j *journal) Save(now time.Time, log, _ *syncthing.Tail) error {
	if j.hangs != nil {
		<-j.hangs
	}
	if j.calls.Add(1) == 1 {
		log.Rewind()
	}
	if j.fails.Load() {
		return errors.New("no paper left")
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.b = append(j.b, drain(log, now)...)
	return nil
}

// kept is what it has.
func (j *journal) kept() []byte {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b
}

// A server that is started again, each time eleven minutes later, knows what it knew when it ended.
func TestServerRemembers(t *testing.T) {
	j := &journal{}
	for run := range uint32(8) {
		synctest.Test(t, func(t *testing.T) { // time begins anew in each
			time.Sleep(time.Duration(run) * 11 * time.Minute)
			d := &syncthing.Directory{}
			if _, err := d.Restore(time.Now(), bytes.NewReader(j.kept())); err != nil {
				t.Fatal(err)
			}
			r := serve(t, &syncthing.Server{Directory: d, Journal: j})
			for n := range run {
				var want []netip.AddrPort
				if run-n < 6 {
					want = addresses("192.0.2.7:22000")
				}
				if got := r.found(numbered(n), "203.0.113.9:1"); !slices.Equal(got, want) {
					t.Errorf("device %d in run %d: %v, want %v", n, run, got, want)
				}
				if got := r.found(numbered(n+100), "203.0.113.9:1"); !slices.Equal(got, want) {
					t.Errorf("device %d, announced just before the end of its run, in run %d: %v, want %v", n, run, got, want)
				}
			}
			r.say(announcement(numbered(run), "sender:22000"), "192.0.2.7:1234")
			before := len(j.kept())
			time.Sleep(600 * time.Millisecond)
			synctest.Wait()
			if len(j.kept()) == before {
				t.Error("nothing is kept within half a second")
			}
			r.say(announcement(numbered(run+100), "sender:22000"), "192.0.2.7:1234")
		})
	}
}

// A journal that fails or hangs keeps nobody waiting; what it missed it gets later.
func TestServerOutlivesItsJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{hangs: make(chan struct{})}
		var said bytes.Buffer
		r := serve(t, &syncthing.Server{Journal: j, Log: slog.New(slog.NewTextHandler(&said, nil))})
		know := func(n uint32) {
			t.Helper()
			r.say(announcement(numbered(n), "sender:22000"), "192.0.2.7:1234")
			if r.found(numbered(n), "203.0.113.9:1") == nil {
				t.Error("no answer")
			}
			time.Sleep(2 * time.Second)
			synctest.Wait()
		}
		know(0)
		j.fails.Store(true)
		close(j.hangs)
		know(1)
		if n := r.server.Stats().Unsaved; n < 3 {
			t.Errorf("%d failures", n)
		}
		j.fails.Store(false)
		know(2)
		if n := strings.Count(said.String(), "no paper left"); n != 1 || strings.Count(said.String(), "saved again") != 1 {
			t.Errorf("said %s", said.String())
		}
		if _, got := restored(t, time.Now(), j.kept()); got.Devices != 3 {
			t.Errorf("%+v", got)
		}
	})
}

// With Pin a device is where it was announced first, for each family, until it is forgotten.
func TestServerPins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := serve(t, &syncthing.Server{Pin: true})
		say := func(src string, want uint64) {
			t.Helper()
			r.say(announcement(id(anID), "sender:22000"), src)
			if st := r.server.Stats(); st.Conflict != want {
				t.Errorf("from %s: %d conflicts, want %d", src, st.Conflict, want)
			}
		}
		is := func(all ...string) {
			t.Helper()
			if got, want := r.found(id(anID), "203.0.113.9:1"), addresses(all...); !slices.Equal(got, want) {
				t.Errorf("%v, want %v", got, want)
			}
		}
		say("192.0.2.7:1", 0)
		say("192.0.3.7:1", 1)
		is("192.0.2.7:22000")
		say("192.0.2.99:1", 1) // of the same /24
		is("192.0.2.99:22000", "192.0.2.7:22000")
		for range 30 { // they don't use up what the device may announce
			say("198.51.100.1:1", r.server.Stats().Conflict+1)
		}
		say("192.0.2.7:1", 31)
		is("192.0.2.7:22000", "192.0.2.99:22000")
		time.Sleep(time.Hour) // forgotten
		say("192.0.3.7:1", 31)
		is("192.0.3.7:22000")
		say("192.0.2.7:1", 32)
	})
}

func TestDirectoryPinsEachFamily(t *testing.T) {
	d := syncthing.Directory{Pin: true}
	now := start
	for _, c := range []struct {
		from string
		want syncthing.Outcome
	}{
		{"2001:db8:0:1::1", syncthing.Stored}, {"2001:db8:0:2::1", syncthing.Conflict}, {"2001:db8:0:1:ffff::", syncthing.Stored},
		{"192.0.2.1", syncthing.Stored}, {"192.0.3.1", syncthing.Conflict}, {"::ffff:192.0.2.200", syncthing.Stored}, {"::ffff:192.0.3.2", syncthing.Conflict},
		{"2001:db8:0:2::1", syncthing.Conflict},
	} {
		if o := d.Put(now, device("192.0.2.1:1"), netip.MustParseAddr(c.from)); o != c.want {
			t.Errorf("from %s: %d, want %d", c.from, o, c.want)
		}
	}
	if o := (&syncthing.Directory{}).Put(now, device("192.0.2.1:1"), netip.MustParseAddr("192.0.3.1")); o != syncthing.Stored {
		t.Errorf("without Pin: %d", o)
	}
	// One that is too old is as good as forgotten, and so is what its place is used for next.
	late := now.Add(time.Hour)
	if o := d.Put(late, device("192.0.2.1:1"), netip.MustParseAddr("192.0.3.1")); o != syncthing.Stored {
		t.Errorf("an hour later: %d", o)
	}
	for d.Expire(late.Add(time.Hour)) > 0 {
	}
	other := syncthing.Device{ID: id(theirID), Addresses: addresses("sender:1")}
	if o := d.Put(late.Add(time.Hour), &other, netip.MustParseAddr("198.51.100.1")); o != syncthing.Stored {
		t.Errorf("another device: %d", o)
	}
}

// No answer is 11 times as long as its query.
func TestServerDoesNotAmplify(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := serve(t, &syncthing.Server{})
		var all []string
		for n := range 20 {
			all = append(all, netip.AddrPortFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: byte(n)}), 65535).String())
		}
		a := syncthing.Announcement{Device: *device(all[:16]...), Extra: []syncthing.Device{{ID: id(theirID), Addresses: addresses(all[:16]...)}}}
		r.say(a.Append(nil), "192.0.2.7:1")
		r.say(announcement(id(anID), all[16:]...), "192.0.2.7:1")
		q := syncthing.Query{ID: id(anID)}.Append(nil)
		got := r.say(q, "203.0.113.9:1")
		if len(got) == 0 || len(got) >= 11*len(q) {
			t.Errorf("%d bytes are answered with %d", len(q), len(got))
		}
		want := append(addresses(all[16:]...), addresses(all[:12]...)...)
		if found := r.found(id(anID), "203.0.113.9:1"); !slices.Equal(found, want) {
			t.Errorf("%v, want the newest 16: %v", found, want)
		}
	})
}
