package zone_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/lanfolk/lanfolk/dnssd/zone"
)

// secondary is a server that is told of changes, in memory.
type secondary struct {
	t     *testing.T
	start time.Time
	key   bool
	deaf  int // how many messages it doesn't answer
	lie   func(*dns.Msg)

	mu   sync.Mutex
	told []string // when, and which serial
}

func (s *secondary) dial(_ context.Context, network, address string) (net.Conn, error) {
	if network != "udp" || address != "192.0.2.53:53" {
		return nil, fmt.Errorf("dialled %s %s", network, address)
	}
	here, there := net.Pipe()
	go s.answer(there)
	return here, nil
}

func (s *secondary) answer(c net.Conn) {
	b := make([]byte, 4096)
	n, err := c.Read(b)
	if err != nil {
		return
	}
	var m dns.Msg
	if err := m.Unpack(b[:n]); err != nil {
		s.t.Error(err)
		return
	}
	sig := m.IsTsig()
	if m.Opcode != dns.OpcodeNotify || !m.Authoritative || m.Response || len(m.Question) != 1 || m.Question[0].Qtype != dns.TypeSOA || len(m.Answer) != 1 || (sig != nil) != s.key {
		s.t.Errorf("told by %v", m.String())
		return
	}
	s.mu.Lock()
	s.told = append(s.told, fmt.Sprintf("%v %d", time.Since(s.start), m.Answer[0].(*dns.SOA).Serial))
	s.deaf--
	deaf := s.deaf >= 0
	s.mu.Unlock()
	if deaf {
		return
	}
	var r dns.Msg
	r.SetReply(&m)
	if s.lie != nil {
		s.lie(&r)
	}
	out, err := r.Pack()
	if s.key {
		r.SetTsig(sig.Hdr.Name, sig.Algorithm, 300, time.Now().Unix())
		out, _, err = dns.TsigGenerate(&r, testSecret, sig.MAC, false)
	}
	if err != nil {
		s.t.Error(err)
		return
	}
	_, _ = c.Write(out) // it may have given up
}

func notify(t *testing.T, s *secondary, change func(*zone.Zone)) (told, failed uint64) {
	synctest.Test(t, func(t *testing.T) {
		s.t, s.start = t, time.Now()
		z, err := zone.New(zone.Config{Domain: "lan.example.com", Secondaries: []zone.Secondary{
			{Address: netip.MustParseAddrPort("192.0.2.53:53")}, {Key: testKey()}, // the second wants to be told nothing
		}}, time.Now())
		if s.key {
			z, err = zone.New(zone.Config{Domain: "lan.example.com", Secondaries: []zone.Secondary{{Address: netip.MustParseAddrPort("192.0.2.53:53"), Key: testKey()}}}, time.Now())
		}
		if err != nil {
			t.Fatal(err)
		}
		n := &zone.Notifier{Zone: z, Dial: s.dial}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- n.Run(ctx) }()
		change(z)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		told, failed = n.Stats()
	})
	return told, failed
}

// first is the serial of a zone that begins when a bubble does.
const first = 946684800

func TestSecondariesAreToldOfChanges(t *testing.T) {
	for _, key := range []bool{false, true} {
		s := &secondary{key: key}
		told, failed := notify(t, s, func(z *zone.Zone) {
			time.Sleep(10 * time.Second)
			for i := range 100 { // in a moment: one message
				if err := z.Put(time.Now(), fmt.Sprint(i), web(i)); err != nil {
					t.Error(err)
				}
			}
			for i := range 30 { // one every 100 ms: one message a second
				time.Sleep(100 * time.Millisecond)
				z.Remove(time.Now(), fmt.Sprint(i))
			}
			time.Sleep(10 * time.Second)
		})
		want := []string{fmt.Sprint("0s ", first), fmt.Sprint("10.1s ", first+10), fmt.Sprint("11.1s ", first+11), fmt.Sprint("12.1s ", first+12), fmt.Sprint("13.1s ", first+13)}
		if !slices.Equal(s.told, want) || told != 5 || failed != 0 {
			t.Errorf("told %q, %d, %d; want %q", s.told, told, failed, want)
		}
	}
}

// One that doesn't answer is told again, less and less often, and of the next change
// from the beginning.
func TestSilentSecondaryIsToldAgain(t *testing.T) {
	s := &secondary{deaf: 8}
	told, failed := notify(t, s, func(z *zone.Zone) {
		time.Sleep(100 * time.Second)
		if err := z.Put(time.Now(), "1", web(1)); err != nil {
			t.Error(err)
		}
		time.Sleep(100 * time.Second)
	})
	var at []string
	for _, x := range s.told {
		at = append(at, x[:len(x)-10])
	}
	if want := []string{"0s", "1s", "3s", "7s", "15s", "31s", "1m40.1s", "1m41.1s", "1m43.1s"}; !slices.Equal(at, want) || told != 1 || failed != 1 {
		t.Errorf("told at %q, %d, %d; want %q", at, told, failed, want)
	}
}

func TestAnswersOfOthersDontCount(t *testing.T) {
	for name, lie := range map[string]func(*dns.Msg){
		"ID":     func(m *dns.Msg) { m.Id++ },
		"opcode": func(m *dns.Msg) { m.Opcode = dns.OpcodeQuery },
		"query":  func(m *dns.Msg) { m.Response = false },
	} {
		s := &secondary{lie: lie}
		if told, failed := notify(t, s, func(*zone.Zone) { time.Sleep(100 * time.Second) }); told != 0 || failed != 1 || len(s.told) != 6 {
			t.Errorf("another %s: %d, %d, %d messages", name, told, failed, len(s.told))
		}
	}
	// Nor one without the signature.
	synctest.Test(t, func(t *testing.T) {
		z, err := zone.New(zone.Config{Domain: "lan.example.com", Secondaries: []zone.Secondary{{Address: netip.MustParseAddrPort("192.0.2.53:53"), Key: testKey()}}}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		n := &zone.Notifier{Zone: z, Dial: func(context.Context, string, string) (net.Conn, error) {
			here, there := net.Pipe()
			go func() {
				b := make([]byte, 4096)
				size, err := there.Read(b)
				if err != nil {
					return
				}
				var m, r dns.Msg
				if err := m.Unpack(b[:size]); err != nil {
					t.Error(err)
				}
				out, err := r.SetReply(&m).Pack()
				if err != nil {
					t.Error(err)
				}
				_, _ = there.Write(out)
			}()
			return here, nil
		}}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
		defer cancel()
		if err := n.Run(ctx); err != nil {
			t.Error(err)
		}
		if told, failed := n.Stats(); told != 0 || failed != 1 {
			t.Errorf("told %d, failed %d", told, failed)
		}
	})
}

// A network that isn't there doesn't make it busy.
func TestNoWayToASecondary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z, err := zone.New(zone.Config{Domain: "lan.example.com", Secondaries: []zone.Secondary{{Address: netip.MustParseAddrPort("192.0.2.53:53")}}}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		dials := 0
		n := &zone.Notifier{Zone: z, Dial: func(context.Context, string, string) (net.Conn, error) {
			dials++
			return nil, errors.New("network is unreachable")
		}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := n.Run(ctx); err != nil {
			t.Error(err)
		}
		if dials != 6 {
			t.Errorf("%d tries", dials)
		}
	})
}
