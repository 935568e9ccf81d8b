package lan_test

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/lan/lantest/nstest"
	"github.com/lanfolk/lanfolk/packet"
)

// listenOn opens a conn in the host.
func listenOn(t testing.TB, h *nstest.Host, link packet.Link) *lan.Conn {
	t.Helper()
	var c *lan.Conn
	var err error
	h.Do(t, func() { c, err = lan.ListenMulticast(link, group4) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestBusyReaders(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		p := newPair(t)
		a, b := listenOn(t, p.a, findLink(t, p.a, "eth0")), listenOn(t, p.b, findLink(t, p.b, "eth0"))
		grams := make([]packet.Datagram, 8)
		say := func(c *lan.Conn, text string) {
			t.Helper()
			if n, err := c.TryWriteBatch([]packet.Datagram{{Data: []byte(text)}}); n != 1 || err != nil {
				t.Fatalf("TryWriteBatch: %d, %v", n, err)
			}
		}

		// PollBatch gives up soon, and returns what comes meanwhile.
		start := time.Now()
		if n, err := b.PollBatch(grams); n != 0 || err != nil {
			t.Errorf("PollBatch with nothing there: %d, %v", n, err)
		}
		if d := time.Since(start); d > patience {
			t.Errorf("it waited %v", d)
		}
		say(a, "one")
		waitFor(t, "a datagram by PollBatch", func() bool {
			n, err := b.PollBatch(grams)
			return err == nil && n == 1 && string(grams[0].Data) == "one" && grams[0].TTL == 255
		})

		// TryReadBatch doesn't wait, not even for a ReadBatch that does.
		if n, err := b.TryReadBatch(grams); n != 0 || err != nil {
			t.Errorf("TryReadBatch with nothing there: %d, %v", n, err)
		}
		got := make(chan string, 4)
		go func() {
			own := make([]packet.Datagram, 1)
			for {
				n, err := b.ReadBatch(own)
				if err != nil {
					close(got)
					return
				}
				got <- string(own[:n][0].Data)
			}
		}()
		say(a, "two")
		waitFor(t, "a datagram by either", func() bool {
			if n, _ := b.TryReadBatch(grams); n == 1 {
				got <- string(grams[0].Data)
			}
			return len(got) == 1
		})
		if s := <-got; s != "two" {
			t.Errorf("got %q", s)
		}
		b.Close()
		for range got {
		}
		if _, err := b.TryReadBatch(grams); !errors.Is(err, net.ErrClosed) {
			t.Errorf("TryReadBatch on a closed conn: %v", err)
		}
		if _, err := b.PollBatch(grams); !errors.Is(err, net.ErrClosed) {
			t.Errorf("PollBatch on a closed conn: %v", err)
		}
	})
}

func TestIgnoreLocal(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		p := newPair(t)
		link := findLink(t, p.a, "eth0")
		a, other, b := listenOn(t, p.a, link), listenOn(t, p.a, link), listenOn(t, p.b, findLink(t, p.b, "eth0"))
		hears := func(want ...string) {
			t.Helper()
			for _, w := range want {
				grams := make([]packet.Datagram, 1)
				var n int
				waitFor(t, w, func() bool { n, _ = a.TryReadBatch(grams); return n > 0 })
				if s := string(grams[0].Data); s != w {
					t.Fatalf("heard %q, want %q", s, w)
				}
			}
		}
		say := func(c *lan.Conn, text string) {
			t.Helper()
			if err := c.WriteTo([]byte(text), netip.AddrPort{}); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			if err := a.IgnoreLocal(true); err != nil {
				t.Fatal(err)
			}
			say(a, "own")
			say(other, "another program's")
			say(b, "another host's")
			// All three have come when the other program has heard them, in whatever order.
			grams, heard := make([]packet.Datagram, 4), 0
			waitFor(t, "all three", func() bool { n, _ := other.TryReadBatch(grams); heard += n; return heard == 3 })
			hears("another host's")
			if err := errors.Join(a.IgnoreLocal(false), a.IgnoreLocal(false)); err != nil {
				t.Fatal(err)
			}
			say(other, "another program's again")
			hears("another program's again")
			waitFor(t, "its own", func() bool { n, _ := other.TryReadBatch(grams); return n == 1 })
		}
		a.Close()
		if err := a.IgnoreLocal(true); !errors.Is(err, net.ErrClosed) {
			t.Errorf("on a closed conn: %v", err)
		}
	})
}
