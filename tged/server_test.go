package tged_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/tged"
)

const invalid = "TGED INVALID 1.0\r\nRP: INVALID\r\n\r\n"

// spoof puts a datagram on the wire as if a host had sent it.
func (r *rig) spoof(src, dst, data string) {
	r.office.Inject(packet.Datagram{Data: []byte(data), Src: netip.MustParseAddrPort(src), Dst: netip.MustParseAddrPort(dst), TTL: 64})
}

// sent returns what the server has sent since c was made.
func (r *rig) sent(do func()) []string {
	c := r.office.Capture()
	do()
	time.Sleep(100 * time.Millisecond)
	synctest.Wait()
	var out []string
	for _, s := range c.Packets() {
		if s.Host == "server" {
			out = append(out, fmt.Sprintf("%s > %s %d", s.Src, s.Dst, len(s.Data)))
		}
	}
	return out
}

func TestWhoIsAnswered(t *testing.T) {
	long := "TGED DISCOVERY 1.0\r\nRQ:SQL\r\nX-PAD:x\r\n\r\n" // 39 bytes, and the reply has 96
	for name, c := range map[string]struct {
		server         *tged.Server
		src, dst, data string
		want           string
	}{
		"on the link":                     {&tged.Server{}, "10.0.0.9:1024", "10.0.0.1:4745", canonical, "10.0.0.1:4745 > 10.0.0.9:1024 96"},
		"a broadcast":                     {&tged.Server{}, "10.0.0.9:1024", "255.255.255.255:4745", canonical, "10.0.0.1:4745 > 10.0.0.9:1024 96"},
		"a broadcast to the second net":   {&tged.Server{}, "10.1.0.9:1024", "255.255.255.255:4745", canonical, "10.1.0.1:4745 > 10.1.0.9:1024 96"},
		"across the link's nets":          {&tged.Server{}, "10.1.0.9:1024", "10.0.0.1:4745", canonical, "10.0.0.1:4745 > 10.1.0.9:1024 96"},
		"from another server's port":      {&tged.Server{}, "10.0.0.9:4745", "10.0.0.1:4745", canonical, "10.0.0.1:4745 > 10.0.0.9:4745 96"},
		"off the link":                    {&tged.Server{}, "192.0.2.9:1024", "10.0.0.1:4745", canonical, ""},
		"off the link, allowed":           {&tged.Server{OffLink: true}, "192.0.2.9:1024", "10.0.0.1:4745", long, "10.0.0.1:4745 > 192.0.2.9:1024 96"},
		"off the link, too short":         {&tged.Server{OffLink: true}, "192.0.2.9:1024", "10.0.0.1:4745", "TGED DISCOVERY 1\nRQ:SQL", ""},
		"off the link, INVALID":           {&tged.Server{OffLink: true}, "192.0.2.9:1024", "10.0.0.1:4745", "TGED FOO ", "10.0.0.1:4745 > 192.0.2.9:1024 33"},
		"off the link, too short for it":  {&tged.Server{OffLink: true}, "192.0.2.9:1024", "10.0.0.1:4745", "TGED FOO", ""},
		"from the broadcast address":      {&tged.Server{OffLink: true}, "10.0.0.255:4745", "10.0.0.1:4745", canonical, ""},
		"from everywhere":                 {&tged.Server{OffLink: true}, "255.255.255.255:4745", "10.0.0.1:4745", canonical, ""},
		"from nowhere":                    {&tged.Server{OffLink: true}, "0.0.0.0:68", "255.255.255.255:4745", canonical, ""},
		"from a group":                    {&tged.Server{OffLink: true}, "224.0.0.1:4745", "10.0.0.1:4745", canonical, ""},
		"from port 0":                     {&tged.Server{OffLink: true}, "10.0.0.9:0", "10.0.0.1:4745", canonical, ""},
		"to the one address":              {&tged.Server{Address: netip.MustParseAddr("10.1.0.1")}, "10.0.0.9:9", "10.1.0.1:4745", canonical, "10.1.0.1:4745 > 10.0.0.9:9 96"},
		"to the one address by broadcast": {&tged.Server{Address: netip.MustParseAddr("10.1.0.1")}, "10.0.0.9:9", "10.0.0.255:4745", canonical, "10.1.0.1:4745 > 10.0.0.9:9 96"},
		"not to the one address":          {&tged.Server{Address: netip.MustParseAddr("10.1.0.1")}, "10.0.0.9:9", "10.0.0.1:4745", canonical, ""},
		"another port":                    {&tged.Server{Port: 4000}, "10.0.0.9:9", "10.0.0.1:4000", canonical, "10.0.0.1:4000 > 10.0.0.9:9 96"},
		"4,097 bytes":                     {&tged.Server{}, "10.0.0.9:9", "10.0.0.1:4745", "TGED DISCOVERY 1.0\r\nRQ:SQL\r\nX:" + strings.Repeat("A", 4067), ""},
		"a REPLY in lower case":           {&tged.Server{}, "10.0.0.9:9", "10.0.0.1:4745", "TGED reply 2.0", ""},
		"an INVALID":                      {&tged.Server{}, "10.0.0.9:9", "10.0.0.1:4745", invalid, ""},
		"the last of several services":    {&tged.Server{}, "10.0.0.9:9", "10.0.0.1:4745", "TGED DISCOVERY 1.0\r\nRQ:NOPE\r\nRQ:sql\r\n\r\n", "10.0.0.1:4745 > 10.0.0.9:9 96"},
		"no version":                      {&tged.Server{}, "10.0.0.9:9", "10.0.0.1:4745", "TGED DISCOVERY\r\nRQ:SQL\r\n\r\n", "10.0.0.1:4745 > 10.0.0.9:9 33"},
		"a name of 4,000 bytes":           {&tged.Server{}, "10.0.0.9:9", "10.0.0.1:4745", "TGED DISCOVERY 1.0\r\nRQ:" + strings.Repeat("A", 4000), "10.0.0.1:4745 > 10.0.0.9:9 33"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.serverNIC.SetAddresses("10.0.0.1/24", "10.1.0.1/24", "fe80::1/64")
				s := c.server
				s.Services = services(t)
				r.serve(s)
				got := strings.Join(r.sent(func() { r.spoof(c.src, c.dst, c.data) }), ", ")
				if got != c.want {
					t.Errorf("%d bytes: sent %q, want %q", len(c.data), got, c.want)
				}
				st := s.Stats()
				sum := st.Replies + st.Invalids + st.NotTGED + st.TooLong + st.Answers + st.OffLink + st.Amplified
				if st.Received != 1 || sum != 1 {
					t.Errorf("%+v", st)
				}
			})
		})
	}
}

// TestNoEndlessExchange: one spoofed packet must not keep two servers busy.
func TestNoEndlessExchange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		a, b := &tged.Server{Services: services(t)}, &tged.Server{Services: services(t)}
		r.serve(a)
		r.server = r.asking
		r.serve(b)
		c := r.office.Capture()
		r.spoof("10.0.0.2:4745", "10.0.0.1:4745", "TGED nonsense")
		time.Sleep(time.Minute)
		if n := len(c.Packets()); n != 2 {
			t.Errorf("%d packets, want the spoofed one and its INVALID", n)
		}
		if st := b.Stats(); st.Answers != 1 || st.Invalids != 0 {
			t.Errorf("%+v", st)
		}
	})
}

func TestRates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		s := &tged.Server{Services: services(t), PerSource: 5, Total: 12}
		r.serve(s)
		flood := func(n int) func() {
			return func() {
				for range n {
					for host := 10; host < 13; host++ {
						r.spoof(fmt.Sprintf("10.0.0.%d:9", host), "10.0.0.1:4745", canonical)
					}
				}
			}
		}
		if got := r.sent(flood(10)); len(got) != 12 {
			t.Errorf("%d answers at once, want 12 for all", len(got))
		}
		time.Sleep(time.Minute)
		if got := r.sent(func() {
			for range 20 {
				r.spoof("10.0.0.10:9", "10.0.0.1:4745", canonical)
			}
		}); len(got) != 5 {
			t.Errorf("%d answers at once, want 5 for one source", len(got))
		}
		time.Sleep(300 * time.Millisecond) // 0.4 s after: two more
		if got := r.sent(flood(1)); len(got) != 3 {
			t.Errorf("%d answers, want 3", len(got))
		}
		if st := s.Stats(); st.SourceLimit == 0 || st.TotalLimit == 0 || st.Replies != 20 {
			t.Errorf("%+v", st)
		}
		off := &tged.Server{Services: services(t), PerSource: -1, Total: -1, Port: 4000}
		r.serve(off)
		if got := r.sent(func() {
			for range 900 {
				r.spoof("10.0.0.10:9", "10.0.0.1:4000", canonical)
			}
		}); len(got) != 900 {
			t.Errorf("%d answers without limits, want 900", len(got))
		}
	})
}

func TestLinksComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		var opened []string
		s := &tged.Server{Services: services(t), Opened: func(names []string) { opened = append(opened, strings.Join(names, " ")) }}
		r.serve(s)
		lab := r.network.Wire("lab")
		nic := r.server.Attach(lab, "eth1", "10.9.0.1/24")
		far := r.network.Host("far").Attach(lab, "eth0", "10.9.0.2/24")
		askFar := func() int {
			time.Sleep(5 * time.Second)
			c, err := r.network.Host("far").ListenBroadcast(far.Link(), 0)
			if err != nil {
				t.Fatal(err)
			}
			return len(exchange(t, c, canonical, "255.255.255.255:4745"))
		}
		if n := askFar(); n != 1 {
			t.Errorf("%d answers on a link that came", n)
		}
		nic.SetAddresses("10.8.0.1/24")
		far.SetAddresses("10.8.0.2/24")
		if n := askFar(); n != 1 {
			t.Errorf("%d answers after the addresses changed", n)
		}
		nic.Remove()
		if n := askFar(); n != 0 {
			t.Errorf("%d answers on a link that is gone", n)
		}
		if got := r.ask(canonical, "10.0.0.1:4745"); len(got) != 1 {
			t.Errorf("%d answers on the other link", len(got))
		}
		if diff := cmp.Diff([]string{"eth0 lo", "eth0 eth1 lo"}, opened); diff != "" {
			t.Error(diff)
		}
	})
}

// TestLinkThatCannotBeOpened is tried again, unless it is all there is at the start.
func TestLinkThatCannotBeOpened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		var taken atomic.Bool
		s := &tged.Server{Services: services(t), Links: r.server.WatchLinks, Listen: func(l packet.Link, port uint16) (tged.Conn, error) {
			if taken.Load() {
				return nil, errors.New("port taken")
			}
			return r.server.ListenBroadcast(l, port)
		}}
		taken.Store(true)
		if err := s.Run(t.Context()); err == nil || err.Error() != "tged: no link could be opened: port taken\nport taken" {
			t.Error(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		taken.Store(false)
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		synctest.Wait()
		taken.Store(true)
		lab := r.network.Wire("lab")
		r.server.Attach(lab, "eth1", "10.9.0.1/24")
		time.Sleep(time.Minute)
		taken.Store(false)
		time.Sleep(3 * time.Second)
		c, err := r.network.Host("far").ListenBroadcast(r.network.Host("far").Attach(lab, "eth0", "10.9.0.2/24").Link(), 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := exchange(t, c, canonical, "10.9.0.1:4745"); len(got) != 1 {
			t.Errorf("%d answers on a link that could be opened later", len(got))
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// waiting is Services whose answers take a while.
type waiting struct {
	*tged.Set
	takes time.Duration
	now   atomic.Int32
	most  atomic.Int32
}

func (w *waiting) Lookup([]byte) (*tged.Service, error) { return nil, tged.ErrPending }

func (w *waiting) Fetch(ctx context.Context, name string) (*tged.Service, error) {
	w.most.Store(max(w.most.Load(), w.now.Add(1)))
	defer w.now.Add(-1)
	select {
	case <-time.After(w.takes):
		return w.Set.Lookup([]byte(name))
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func TestWhatHasToBeFetched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		w := &waiting{Set: services(t), takes: 200 * time.Millisecond}
		s := &tged.Server{Services: w}
		r.serve(s)
		if got := r.ask(canonical, "10.0.0.1:4745"); len(got) != 1 || !strings.HasPrefix(string(got[0].Data), "TGED REPLY") {
			t.Errorf("%d answers", len(got))
		}
		if got := r.ask("TGED DISCOVERY 1.0\nRQ:NOPE", "10.0.0.1:4745"); len(got) != 1 || string(got[0].Data) != invalid {
			t.Errorf("%d answers", len(got))
		}
		for range 200 {
			r.spoof("10.0.0.9:9", "10.0.0.1:4745", canonical)
		}
		time.Sleep(time.Second)
		if st := s.Stats(); st.Crowded != 200-64 || w.most.Load() != 64 || st.Replies != 65 {
			t.Errorf("%d at once: %+v", w.most.Load(), st)
		}
		// What can't be found out isn't answered, and keeps nobody.
		w.takes = time.Hour
		if got := r.ask(canonical, "10.0.0.1:4745"); len(got) != 0 {
			t.Errorf("%d answers", len(got))
		}
		time.Sleep(2 * time.Second)
		if st := s.Stats(); st.Unavailable != 1 || w.now.Load() != 0 {
			t.Errorf("%d wait: %+v", w.now.Load(), st)
		}
	})
}

func TestLinksCannotBeListed(t *testing.T) {
	s := &tged.Server{Links: func(context.Context) (<-chan []packet.Link, error) { return nil, errors.New("no netlink") }}
	if err := s.Run(t.Context()); err == nil || err.Error() != "tged: list links: no netlink" {
		t.Error(err)
	}
	s.Links = func(context.Context) (<-chan []packet.Link, error) {
		c := make(chan []packet.Link)
		close(c)
		return c, nil
	}
	if err := s.Run(t.Context()); err == nil || err.Error() != "tged: links are no longer watched" {
		t.Error(err)
	}
}

// TestHears: a server without services says nothing, and tells of the requests that it
// would have answered, but for what names no service.
func TestHears(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		var heard []string
		s := &tged.Server{Heard: func(q tged.Request) {
			heard = append(heard, fmt.Sprintf("%s %s > %s %q", q.Link.Name, q.Src, q.Dst, q.Service))
		}}
		r.serve(s)
		for _, data := range []string{canonical, "TGED DISCOVERY 1.0\nrq: a\x00\xff", "TGED DISCOVERY 1.0\r\n\r\n", "TGED DISCOVERY 2.0\r\nRQ:SQL\r\n\r\n", invalid, "hello"} {
			r.spoof("10.0.0.9:1024", "255.255.255.255:4745", data)
		}
		if out := r.sent(func() { r.spoof("192.0.2.9:1024", "10.0.0.1:4745", canonical) }); len(out) > 0 {
			t.Errorf("it said %q", out)
		}
		want := []string{`eth0 10.0.0.9:1024 > 255.255.255.255:4745 "SQL"`, `eth0 10.0.0.9:1024 > 255.255.255.255:4745 "a\x00\xff"`}
		if diff := cmp.Diff(want, heard); diff != "" {
			t.Error(diff)
		}
		if st := s.Stats(); st.Received != 7 || st.Heard != 4 || st.Answers != 1 || st.NotTGED != 1 || st.OffLink != 1 {
			t.Errorf("%+v", st)
		}
		heard = nil
		for range 1000 {
			r.spoof("10.0.0.9:1024", "10.0.0.1:4745", canonical)
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if n := len(heard); n < 490 || n > 510 {
			t.Errorf("%d of 1000 requests in an instant are told of", n)
		}
	})
}

// TestPatient: a port that other programs hold is tried again, and said once, whoever holds it.
func TestPatient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		log := &record{}
		s := &tged.Server{Patient: true, Links: r.server.WatchLinks, Log: slog.New(slog.NewTextHandler(log, nil))}
		var held atomic.Bool
		held.Store(true)
		var tries atomic.Int32
		s.Listen = func(l packet.Link, port uint16) (tged.Conn, error) {
			if held.Load() {
				return nil, fmt.Errorf("address already in use by pid %d", tries.Add(1))
			}
			return r.server.ListenBroadcast(l, port)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		time.Sleep(time.Minute)
		latest := fmt.Sprintf("address already in use by pid %d", tries.Load())
		if names, err := s.Listening(); len(names) > 0 || err == nil || !strings.Contains(err.Error(), latest) || tries.Load() < 50 {
			t.Errorf("listens on %q, %v", names, err)
		}
		held.Store(false)
		time.Sleep(3 * time.Second)
		if names, err := s.Listening(); len(names) != 2 || err != nil {
			t.Errorf("listens on %q, %v", names, err)
		}
		if n := len(log.lines("WARN")); n != 2 {
			t.Errorf("said %d times for eth0 and lo", n)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if names, err := s.Listening(); len(names) > 0 || err != nil {
			t.Errorf("at its end it listens on %q, %v", names, err)
		}
	})
}

// TestNear: an asker in whose subnet the service has an address is told that one.
func TestNear(t *testing.T) {
	service := func(ip string) *tged.Service {
		s, err := tged.NewService("SQL", []tged.Field{{Key: "IP", Value: ip}})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := service("192.0.2.1").Near(netip.MustParseAddr("10.1.0.7"), service("10.1.0.7")).
		Near(netip.MustParseAddr("10.1.0.8"), service("10.1.0.8")).Near(netip.MustParseAddr("10.0.0.7"), service("10.0.0.7"))
	set, err := tged.NewSet(s)
	if err != nil {
		t.Fatal(err)
	}
	for src, want := range map[string]string{"10.0.0.9:9": "10.0.0.7", "10.1.0.9:9": "10.1.0.7", "10.2.0.9:9": "192.0.2.1", "192.0.2.9:9": "192.0.2.1"} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.serverNIC.SetAddresses("10.0.0.1/24", "10.1.0.1/24", "10.2.0.1/24")
			r.serve(&tged.Server{Services: set, OffLink: true})
			c := r.office.Capture()
			r.spoof(src, "10.0.0.1:4745", "TGED DISCOVERY 1.0\r\nRQ:SQL\r\n\r\n")
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
			got := ""
			for _, p := range c.Packets() {
				if p.Host == "server" {
					got = string(p.Data)
				}
			}
			if got != "TGED REPLY 1.0\r\nIP: "+want+"\r\n\r\n" {
				t.Errorf("%s is told %q, want %s", src, got, want)
			}
		})
	}
}
