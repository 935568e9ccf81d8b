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

func TestTwoAnnouncementsASecondApartAndNoneLater(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		r.engine.Publish(web("Web"))
		time.Sleep(5 * time.Minute)
		all := responses(r.queries())
		if len(all) != 2 || all[1].at-all[0].at != time.Second {
			t.Fatalf("%d announcements in five minutes: %v", len(all), all)
		}
		if !slices.Equal(all[0].lines(), all[1].lines()) {
			t.Errorf("announced %q, then %q", all[0].lines(), all[1].lines())
		}
	})
}

func TestFlushBitOnUniqueRecordsOnly(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		r.engine.Publish(web("Web"))
		r.engine.Publish(host("dut"))
		time.Sleep(5 * time.Second)
		r.ask("10.0.0.2:5353", q("_http._tcp.local", dnswire.TypePTR))
		time.Sleep(time.Second)
		all := responses(r.queries())
		if len(all) != 3 {
			t.Fatalf("%d responses, want 3", len(all))
		}
		for _, s := range all {
			for rr := range s.msg.Records() {
				if want := rr.Type != dnswire.TypePTR; rr.Flush != want {
					t.Errorf("%s %s: flush bit %v", rr.Name, rr.Type, rr.Flush)
				}
			}
		}
	})
}

// changing is a publication whose records a test changes.
func changing(records *atomic.Pointer[[]mdns.Record]) mdns.Publication {
	return mdns.Publication{Label: "Web", Records: func(mdns.Zone, packet.Link, string) []mdns.Record { return *records.Load() }}
}

func TestChangedDataIsAnnouncedWithoutProbing(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		var records atomic.Pointer[[]mdns.Record]
		text := func(s string) mdns.Record { return mdns.Record{RR: txt("Web._http._tcp.local", s), Unique: true} }
		records.Store(&[]mdns.Record{text("a=1")})
		p := r.publish(changing(&records))[0]
		records.Store(&[]mdns.Record{text("a=2")})
		p.Update()
		time.Sleep(10 * time.Second)
		all := r.queries()
		want := []string{`answer Web._http._tcp.local TXT flush 4500 "a=2"`}
		if len(all) != 2 || all[0].at != 0 || all[1].at != time.Second || !slices.Equal(all[0].lines(), want) || !slices.Equal(all[1].lines(), want) {
			t.Errorf("%v, want the new record twice, with no goodbye for the old", all)
		}
	})
}

func TestSharedRecordIsTakenBackBeforeItsNewDataIsAnnounced(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		var records atomic.Pointer[[]mdns.Record]
		subtype := func(s string) []mdns.Record {
			return []mdns.Record{
				{RR: ptr(s+"._sub._http._tcp.local", "Web._http._tcp.local", 0)},
				{RR: txt("Web._http._tcp.local"), Unique: true},
			}
		}
		one, two := subtype("_one"), subtype("_two")
		records.Store(&one)
		p := r.publish(changing(&records))[0]
		records.Store(&two)
		p.Update()
		time.Sleep(10 * time.Second)
		var got []string
		for _, s := range r.queries() {
			got = append(got, s.at.String()+" "+strings.Join(s.lines(), ", "))
		}
		want := []string{
			"0s answer _one._sub._http._tcp.local PTR 0 Web._http._tcp.local",
			"0s answer _two._sub._http._tcp.local PTR 4500 Web._http._tcp.local",
			"1s answer _two._sub._http._tcp.local PTR 4500 Web._http._tcp.local",
		}
		if !slices.Equal(got, want) {
			t.Errorf("got\n%q, want\n%q", got, want)
		}
	})
}

func TestNewUniqueNameOfAnUpdateIsProbed(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		var records atomic.Pointer[[]mdns.Record]
		one := []mdns.Record{{RR: txt("a.local"), Unique: true}}
		two := append(slices.Clone(one), mdns.Record{RR: txt("b.local"), Unique: true})
		records.Store(&one)
		p := r.publish(changing(&records))[0]
		records.Store(&two)
		p.Update()
		r.ask("10.0.0.2:5353", q("a.local", dnswire.TypeTXT), q("b.local", dnswire.TypeTXT))
		time.Sleep(130 * time.Millisecond)
		if all := responses(r.queries()); len(all) != 1 || !all[0].has("a.local TXT") || all[0].has("b.local") {
			t.Errorf("answers while the new name is probed: %v", all)
		}
		time.Sleep(5 * time.Second)
		all := r.queries()
		if ann := responses(all); len(ann) != 2 || !ann[0].has("b.local TXT flush") || ann[0].has("a.local") {
			t.Errorf("announced %v", ann)
		}
		r.start = time.Now()
		records.Store(&one)
		p.Update()
		time.Sleep(time.Second)
		if all := r.queries(); len(all) != 1 || !slices.Equal(all[0].lines(), []string{`answer b.local TXT flush 0 ""`}) {
			t.Errorf("taken back %v", all)
		}
	})
}

func TestNoMoreThanTenUpdatesAMinute(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		var records atomic.Pointer[[]mdns.Record]
		text := func(i int) {
			records.Store(&[]mdns.Record{{RR: txt("Web._http._tcp.local", fmt.Sprint(i)), Unique: true}})
		}
		text(0)
		p := r.publish(changing(&records))[0]
		for i := range 59 {
			text(i + 1)
			p.Update()
			time.Sleep(time.Second)
		}
		seen := map[string]bool{}
		for _, s := range r.queries() {
			seen[s.lines()[0]] = true
		}
		if len(seen) != 10 {
			t.Errorf("%d different announcements in a minute, want 10", len(seen))
		}
		time.Sleep(2 * time.Second)
		if all := r.queries(); len(all) == 0 || !all[0].has(`"59"`) {
			t.Errorf("the last update came as %v", all)
		}
	})
}

func TestNewAddressIsAnnounced(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		r.publish(host("dut"))
		r.nic.SetAddresses("10.0.0.1/24", "10.0.0.77/24")
		time.Sleep(5 * time.Second)
		all := r.queries()
		if len(all) != 2 || len(all[0].lines()) != 2 || !all[0].has("A flush 120 10.0.0.77") || !all[0].has("A flush 120 10.0.0.1") {
			t.Fatalf("announced %v, want the whole set twice", all)
		}
		r.nic.SetAddresses("10.0.0.77/24")
		time.Sleep(5 * time.Second)
		if all := r.queries(); len(all) != 2 || !slices.Equal(all[0].lines(), []string{"answer dut.local A flush 120 10.0.0.77"}) {
			t.Errorf("announced %v, want the set that is left, twice", all)
		}
	})
}

func TestGoodbyeForEveryRecordWhenTheEngineEnds(t *testing.T) {
	inBubble(t, func(r *rig) {
		stop := r.runUntil()
		p := r.publish(web("Web"), host("dut"))
		stop()
		all := r.queries()
		var lines []string
		for _, s := range all {
			lines = append(lines, s.lines()...)
		}
		slices.Sort(lines)
		want := []string{
			`answer Web._http._tcp.local SRV flush 0 0 0 80 dut.local`,
			`answer Web._http._tcp.local TXT flush 0 "path=/"`,
			`answer _http._tcp.local PTR 0 Web._http._tcp.local`,
			`answer _services._dns-sd._udp.local PTR 0 _http._tcp.local`,
			`answer dut.local A flush 0 10.0.0.1`,
		}
		if !slices.Equal(lines, want) {
			t.Errorf("goodbyes\n%q, want\n%q", lines, want)
		}
		<-p[0].Done()
	})
}

func TestNoGoodbyeForWhatWasNotAnnounced(t *testing.T) {
	inBubble(t, func(r *rig) {
		stop := r.runUntil()
		r.engine.Publish(web("Web"))
		time.Sleep(400 * time.Millisecond)
		r.queries()
		stop()
		if all := r.queries(); len(all) != 0 {
			t.Errorf("sent %q", all[0].lines())
		}
	})
}

func TestSharedRecordStaysWhileAnotherPublicationHasIt(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		p := r.publish(web("Web"), web("Other"))
		p[0].Withdraw()
		synctest.Wait()
		all := r.queries()
		if len(all) != 1 || len(all[0].lines()) != 3 || all[0].has("_services") {
			t.Errorf("goodbyes %v, want none for the type that is still there", all)
		}
		r.ask("10.0.0.2:5353", q("_services._dns-sd._udp.local", dnswire.TypePTR))
		time.Sleep(time.Second)
		if all := r.queries(); len(all) != 1 || all[0].msg.ANCount != 1 {
			t.Errorf("types %v, want each once", all)
		}
	})
}

func TestRecordThatComesBackAtOnceIsNotMulticastTwiceWithinASecond(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		shared := records(mdns.Record{RR: ptr("_x._udp.local", "y._x._udp.local", 0)})
		p := r.publish(shared)[0]
		r.ask(one, q("_x._udp.local", dnswire.TypePTR))
		answered := r.answers(130 * time.Millisecond)
		p.Withdraw()
		r.engine.Publish(shared)
		time.Sleep(10 * time.Second)
		var at []time.Duration
		for _, s := range r.queries() {
			if s.has("PTR 4500") {
				at = append(at, s.at)
			}
		}
		if len(answered) != 1 || len(at) != 2 || at[0]-answered[0].at < time.Second || at[1]-at[0] < time.Second {
			t.Errorf("answered %v, then announced at %v", answered, at)
		}
	})
}

func TestDefaultTTLs(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		r.engine.Publish(web("Web"))
		r.engine.Publish(host("dut"))
		r.engine.Publish(mdns.Publication{Label: "dut", Records: func(mdns.Zone, packet.Link, string) []mdns.Record {
			return []mdns.Record{
				{RR: ptr("1.0.0.10.IN-ADDR.arpa", "dut.local", 0), Unique: true, NoProbe: true},
				{RR: ptr("1.0.8.b.d.0.1.0.0.2.ip6.arpa", "dut.local", 0), Unique: true, NoProbe: true},
				{RR: dnswire.RR{Name: name("dut.local"), Type: dnswire.TypeHINFO, Data: "\x03ARM\x05Linux"}, Unique: true},
				{RR: ptr("_x._udp.local", "y._x._udp.local", 75)},
			}
		}})
		time.Sleep(5 * time.Second)
		for _, s := range responses(r.queries()) {
			for rr := range s.msg.Records() {
				want := uint32(4500)
				switch n := rr.Name.String(); {
				case rr.Type == dnswire.TypeA, rr.Type == dnswire.TypeSRV, rr.Type == dnswire.TypeHINFO, strings.HasSuffix(n, "arpa"):
					want = 120
				case n == "_x._udp.local":
					want = 75
				}
				if rr.TTL != want {
					t.Errorf("%s %s has TTL %d, want %d", rr.Name, rr.Type, rr.TTL, want)
				}
			}
		}
	})
}
