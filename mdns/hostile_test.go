package mdns_test

import (
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/mdns"
	"github.com/lanfolk/lanfolk/packet"
)

// A reflector of somebody else joins two links that we are on, so that we hear
// on each what we said on the other, from its address and with other addresses
// than we have there.
func TestCopiesOfOwnRecordsFromAnotherLinkAreNoConflict(t *testing.T) {
	inBubble(t, func(r *rig) {
		other := r.net.Wire("other")
		r.host.Attach(other, "eth1", "10.1.0.1/24")
		reflected := other.Capture()
		r.run()
		h, w := r.engine.Publish(host("dut")), r.engine.Publish(web("Web"))
		copies := 0
		for time.Since(r.start) < 20*time.Second {
			time.Sleep(3 * time.Millisecond)
			for _, p := range reflected.Take() {
				if p.Host == "dut" {
					r.wire.Inject(packet.Datagram{Src: netip.MustParseAddrPort("10.0.0.200:5353"), Dst: group4, Data: p.Data})
					copies++
				}
			}
			for _, p := range r.capture.Take() {
				if p.Host == "dut" {
					other.Inject(packet.Datagram{Src: netip.MustParseAddrPort("10.1.0.200:5353"), Dst: group4, Data: p.Data})
					copies++
				}
			}
		}
		synctest.Wait()
		if h.Label() != "dut" || w.Label() != "Web" {
			t.Errorf("labels %q and %q", h.Label(), w.Label())
		}
		s := r.engine.Stats()
		if s.Conflicts != 0 || s.TieBreaksLost != 0 {
			t.Errorf("%d conflicts and %d lost tie-breaks", s.Conflicts, s.TieBreaksLost)
		}
		if copies < 10 || copies > 40 {
			t.Errorf("%d packets of two links in 20 s", copies)
		}
	})
}

// ownCopies is a relay that passes everything on between two links and keeps
// the copies that come back from the engine, as a reflector in this process does.
type ownCopies struct {
	ports map[mdns.Zone]mdns.RelayPort
	mu    sync.Mutex // guards sent: each link has a reader of its own
	sent  map[string]bool
}

func (o *ownCopies) Opened(p mdns.RelayPort) { o.ports[p.Zone] = p }
func (o *ownCopies) Closed(mdns.Zone)        {}
func (o *ownCopies) Relay(z mdns.Zone, packets []mdns.Packet) []mdns.Packet {
	var left []mdns.Packet
	for _, p := range packets {
		o.mu.Lock()
		again := o.sent[string(p.Data)]
		o.sent[string(p.Data)] = true
		o.mu.Unlock()
		if again {
			continue
		}
		for to, port := range o.ports {
			if to != z {
				port.Send([]packet.Datagram{{Data: p.Data}})
			}
		}
		left = append(left, p)
	}
	return left
}

func TestOwnReflectorIsNoRival(t *testing.T) {
	inBubble(t, func(r *rig) {
		other := r.net.Wire("other")
		r.host.Attach(other, "eth1", "10.1.0.1/24")
		r.engine.Family = mdns.IPv4
		r.engine.Relays = []mdns.Relay{&ownCopies{ports: map[mdns.Zone]mdns.RelayPort{}, sent: map[string]bool{}}}
		r.run()
		h, w := r.engine.Publish(host("dut")), r.engine.Publish(web("Web"))
		time.Sleep(20 * time.Second)
		if h.Label() != "dut" || w.Label() != "Web" {
			t.Errorf("labels %q and %q", h.Label(), w.Label())
		}
		if s := r.engine.Stats(); s.Conflicts != 0 {
			t.Errorf("%d conflicts", s.Conflicts)
		}
		r.queries()
		r.start = time.Now()
		r.ask(one, q("_http._tcp.local", dnswire.TypePTR))
		if all := r.answers(time.Second); len(all) == 0 {
			t.Error("no answer")
		}
	})
}

func TestBothFamiliesOfALinkShareALabel(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.nic.SetAddresses("10.0.0.1/24", "fe80::1/64")
		r.run()
		p := r.engine.Publish(host("dut"))
		for time.Since(r.start) < 300*time.Millisecond { // both have begun to probe
			time.Sleep(time.Millisecond)
		}
		r.queries()
		r.respond(addr("dut.local", "10.0.0.9", 120)) // on IPv4 alone
		label, err := p.Established(r.t.Context())
		if err != nil || label != "dut-2" {
			t.Fatal(label, err)
		}
		for _, z := range r.engine.Stats().Zones {
			if z.Published != 2 || z.Announced != 1 {
				t.Errorf("%v: %d records, %d announced", z.Zone, z.Published, z.Announced)
			}
		}
		for _, s := range responses(r.queries()) {
			if s.has(" dut.local") {
				t.Errorf("announced %v", s)
			}
		}
	})
}

// Whatever comes, what waits stays bounded, and so does what is sent.
func TestFloodOfQueriesIsAnsweredWithinBounds(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		var pubs []mdns.Publication
		for i := range 50 {
			pubs = append(pubs, web(fmt.Sprintf("Web %d", i)))
		}
		r.publish(pubs...)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		browse := []mdns.Question{q("_http._tcp.local", dnswire.TypePTR)}
		start := time.Now()
		for i := range 20_000 {
			src := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), uint16(5353+i%3*i))
			p := packetOf{ask: browse}
			switch i % 5 {
			case 0:
				p.header.Truncated = true
			case 1:
				p.qu = true
			case 2:
				p = packetOf{ask: []mdns.Question{q(fmt.Sprintf("x%d.local", i), dnswire.TypeANY)}, auth: []dnswire.RR{addr(fmt.Sprintf("x%d.local", i), "10.0.0.9", 120)}}
			case 3:
				p.ask = []mdns.Question{q(fmt.Sprintf("web %d._http._tcp.local", i%50), dnswire.TypeAAAA)}
			}
			r.wire.Inject(packet.Datagram{Src: src, Dst: group4, Data: p.bytes()})
			if i%50 == 0 {
				time.Sleep(10 * time.Millisecond)
			}
		}
		time.Sleep(2 * time.Second)
		multicasts, unicasts := 0, 0
		for _, s := range r.queries() {
			if s.dst == group4 {
				multicasts++
			} else {
				unicasts++
			}
		}
		took := time.Since(start).Seconds()
		// Fifty services with their negative answers fit ten packets or so.
		if multicasts > int(took+1)*80 || unicasts > 2000+int(took*2000) {
			t.Errorf("%d multicasts and %d unicasts in %.0f s", multicasts, unicasts, took)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 8<<20 {
			t.Errorf("%d MB more after the flood", grown>>20)
		}
		// Afterwards it answers as before.
		r.start = time.Now()
		r.ask(one, q("_http._tcp.local", dnswire.TypePTR))
		n := 0
		for _, s := range r.answers(time.Second) {
			n += int(s.msg.ANCount)
		}
		if n != 50 {
			t.Errorf("%d answers after the flood, want 50", n)
		}
	})
}
