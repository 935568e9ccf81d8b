package mdns_test

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/mdns"
	"github.com/lanfolk/lanfolk/packet"
)

func srv(instance, host string, port uint16) dnswire.RR {
	return dnswire.NewSRV(name(instance), dnswire.SRV{Port: port, Target: name(host)}, 0)
}

func txt(instance string, strings ...string) dnswire.RR {
	rr, err := dnswire.NewTXT(name(instance), 0, strings...)
	if err != nil {
		panic(err)
	}
	return rr
}

// unique returns the record as another host announces it.
func unique(rr dnswire.RR, ttl uint32) dnswire.RR {
	rr.Flush, rr.TTL = true, ttl
	return rr
}

// web is a publication of one service.
func web(label string) mdns.Publication {
	return mdns.Publication{Label: label, Records: func(_ mdns.Zone, _ packet.Link, label string) []mdns.Record {
		instance := label + "._http._tcp.local"
		return []mdns.Record{
			{RR: ptr("_http._tcp.local", instance, 0)},
			{RR: ptr("_services._dns-sd._udp.local", "_http._tcp.local", 0)},
			{RR: srv(instance, "dut.local", 80), Unique: true},
			{RR: txt(instance, "path=/"), Unique: true},
		}
	}}
}

// host is a publication of the host's addresses on each link.
func host(label string) mdns.Publication {
	return mdns.Publication{Label: label, Rename: mdns.RenameHost, Records: func(_ mdns.Zone, l packet.Link, label string) []mdns.Record {
		var out []mdns.Record
		for _, p := range l.Prefixes {
			out = append(out, mdns.Record{RR: dnswire.NewAddr(name(label+".local"), p.Addr(), 0), Unique: true})
		}
		return out
	}}
}

// lines returns a message's records as text, a line each: section, name, type,
// class with flush bit, TTL and data.
func (s sent) lines() []string {
	var out []string
	for v := range s.msg.Records() {
		rr := v.RR()
		flush := ""
		if rr.Flush {
			flush = " flush"
		}
		out = append(out, fmt.Sprintf("%s %s %s%s %d %s", v.Section, rr.Name, rr.Type, flush, rr.TTL, rr.DataString()))
	}
	return out
}

func (s sent) String() string {
	return fmt.Sprintf("%v to %v, %d bytes: %q %q", s.at, s.dst, s.size, s.questions(), s.lines())
}

func (s sent) has(part string) bool {
	return slices.ContainsFunc(s.lines(), func(l string) bool { return strings.Contains(l, part) })
}

// responses returns what of the packets are responses, probes the queries with
// records in their authority section.
func responses(all []sent) []sent {
	return slices.DeleteFunc(slices.Clone(all), func(s sent) bool { return !s.msg.Response })
}

func probes(all []sent) []sent {
	return slices.DeleteFunc(slices.Clone(all), func(s sent) bool { return s.msg.Response || s.msg.NSCount == 0 })
}

// ask sends a query from a port of the tester.
func (r *rig) ask(src string, questions ...mdns.Question) {
	r.inject(src, group4, message(dnswire.Header{}, questions))
}

// packetOf is a message that a test puts together.
type packetOf struct {
	header dnswire.Header
	qu     bool
	ask    []mdns.Question
	answer []dnswire.RR
	auth   []dnswire.RR
}

func (p packetOf) bytes() []byte {
	var b dnswire.Builder
	b.Reset(nil, p.header, 9000)
	ok := true
	for _, q := range p.ask {
		ok = ok && b.Question(q.Name, q.Type, dnswire.ClassIN, p.qu)
	}
	for _, rr := range p.answer {
		ok = ok && b.Answer(rr)
	}
	for _, rr := range p.auth {
		ok = ok && b.Authority(rr)
	}
	if !ok {
		panic("message doesn't fit")
	}
	return slices.Clone(b.Bytes())
}

// probeBy has it hear a probe.
func (r *rig) probeBy(src string, rrs ...dnswire.RR) {
	var ask []mdns.Question
	for _, rr := range rrs {
		ask = append(ask, mdns.Question{Name: rr.Name, Type: dnswire.TypeANY})
	}
	r.inject(src, group4, packetOf{qu: true, ask: ask, auth: rrs}.bytes())
}

// publish publishes and waits until all is announced and ten seconds have gone by.
func (r *rig) publish(pubs ...mdns.Publication) []*mdns.Published {
	r.t.Helper()
	var out []*mdns.Published
	for _, p := range pubs {
		out = append(out, r.engine.Publish(p))
	}
	for _, p := range out {
		if _, err := p.Established(r.t.Context()); err != nil {
			r.t.Fatal(err)
		}
	}
	time.Sleep(10 * time.Second)
	r.queries()
	r.start = time.Now()
	return out
}

// alone makes the host under test the only program on port 5353.
func (r *rig) alone() { r.engine.AskUnicast = func(packet.Link) bool { return true } }

func TestPublicationIsProbedAnnouncedAndTakenBack(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		p := r.engine.Publish(web("Web"))
		if label, err := p.Established(r.t.Context()); err != nil || label != "Web" {
			t.Fatal(label, err)
		}
		time.Sleep(5 * time.Second)
		all := r.queries()
		if n := len(probes(all)); n != 3 {
			t.Errorf("%d probes, want 3", n)
		}
		if n := len(responses(all)); n != 2 {
			t.Errorf("%d announcements, want 2", n)
		}
		r.ask("10.0.0.2:5353", q("_http._tcp.local", dnswire.TypePTR))
		time.Sleep(time.Second)
		if all = r.queries(); len(all) != 1 || !all[0].has("answer _http._tcp.local PTR 4500 Web._http._tcp.local") {
			t.Errorf("answers %v", all)
		}
		p.Withdraw()
		<-p.Done()
		synctest.Wait()
		if all = r.queries(); len(all) != 1 || !all[0].has("answer _http._tcp.local PTR 0 Web._http._tcp.local") {
			t.Errorf("goodbyes %v", all)
		}
		if _, err := p.Established(r.t.Context()); err != mdns.ErrWithdrawn {
			t.Errorf("error %v", err)
		}
	})
}

func TestPublicationTellsThatAZoneIsGone(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		var states []mdns.PublicationState
		w := web("Web")
		var gone atomic.Bool
		records := w.Records
		w.Records = func(z mdns.Zone, l packet.Link, label string) []mdns.Record {
			if gone.Load() {
				return nil
			}
			return records(z, l, label)
		}
		w.Changed = func(ev mdns.PublicationEvent) { states = append(states, ev.State) }
		p := r.engine.Publish(w)
		time.Sleep(2 * time.Second)
		r.nic.SetCarrier(false)
		time.Sleep(2 * time.Second)
		r.nic.SetCarrier(true)
		time.Sleep(2 * time.Second)
		gone.Store(true)
		p.Update()
		synctest.Wait()
		want := []mdns.PublicationState{
			mdns.PublicationProbing, mdns.PublicationAnnounced, mdns.PublicationWithdrawn,
			mdns.PublicationProbing, mdns.PublicationAnnounced, mdns.PublicationWithdrawn,
		}
		if !slices.Equal(states, want) {
			t.Errorf("states %v, want %v", states, want)
		}
	})
}
