package respond

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
)

func parseName(s string) dnswire.Name {
	n, err := dnswire.ParseName(s)
	if err != nil {
		panic(err)
	}
	return n
}

func text(s string) dnswire.RR {
	rr, err := dnswire.NewTXT(parseName("x.local"), 4500, s)
	if err != nil {
		panic(err)
	}
	return rr
}

func service(port uint16, host string) dnswire.RR {
	return dnswire.NewSRV(parseName("x.local"), dnswire.SRV{Port: port, Target: parseName(host)}, 120)
}

func address(s string) dnswire.RR {
	return dnswire.NewAddr(parseName("x.local"), netip.MustParseAddr(s), 120)
}

func flushed(rr dnswire.RR) dnswire.RR {
	rr.Flush = true
	return rr
}

// probeOf returns a probe for x.local, as another host sends it.
func probeOf(rrs ...dnswire.RR) *dnswire.Message {
	var b dnswire.Builder
	b.Reset(nil, dnswire.Header{}, 9000)
	b.Question(parseName("x.local"), dnswire.TypeANY, dnswire.ClassIN, true)
	for _, rr := range rrs {
		b.Authority(rr)
	}
	m, err := dnswire.Parse(slices.Clone(b.Bytes()))
	if err != nil {
		panic(err)
	}
	return &m
}

func TestTieBreakComparesSortedSets(t *testing.T) {
	other := func(rr dnswire.RR, class dnswire.Class) dnswire.RR {
		rr.Class = class
		return rr
	}
	for _, c := range []struct {
		what         string
		ours, theirs []dnswire.RR
		lost         bool
	}{
		{"equal", []dnswire.RR{text("a"), service(80, "h.local")}, []dnswire.RR{service(80, "h.local"), text("a")}, false},
		{"equal but for the flush bit", []dnswire.RR{text("a")}, []dnswire.RR{flushed(text("a"))}, false},
		{"theirs goes on", []dnswire.RR{text("a")}, []dnswire.RR{text("a"), service(80, "h.local")}, true},
		{"ours goes on", []dnswire.RR{text("a"), service(80, "h.local")}, []dnswire.RR{text("a")}, false},
		{"a later type first", []dnswire.RR{service(80, "h.local")}, []dnswire.RR{text("z"), service(80, "h.local")}, false},
		{"class before type", []dnswire.RR{service(80, "h.local")}, []dnswire.RR{other(text("a"), dnswire.ClassCH)}, true},
		{"bytes are unsigned", []dnswire.RR{address("10.0.0.127")}, []dnswire.RR{address("10.0.0.128")}, true},
		{"data that goes on is later", []dnswire.RR{text("ab")}, []dnswire.RR{text("b")}, false}, // its length comes first
		{"names count uncompressed", []dnswire.RR{service(80, "a.local")}, []dnswire.RR{service(80, "x.local")}, true},
		{"and with their case", []dnswire.RR{service(80, "h.local")}, []dnswire.RR{service(80, "G.local")}, false},
	} {
		r := New(NewBook(), new(Counters))
		now := time.Unix(1e9, 0)
		r.Open(now)
		claim := r.NewClaim(nil)
		var records []Record
		for _, rr := range c.ours {
			records = append(records, Record{RR: rr, Unique: true})
		}
		if bad := r.Set(now, claim, records, false); bad != 0 {
			t.Fatalf("%s: %d bad records", c.what, bad)
		}
		now = r.Next()
		r.Advance(now)
		m := Message{Src: netip.MustParseAddrPort("10.0.0.9:5353"), Dst: netip.MustParseAddrPort("224.0.0.251:5353"), Time: now, OnLink: true, Message: probeOf(c.theirs...)}
		r.Query(&m)
		if lost := r.count.Deferred.Load() == 1; lost != c.lost {
			t.Errorf("%s: lost %v, want %v", c.what, lost, c.lost)
		}
		want := now.Add(probeGap)
		if c.lost {
			want = now.Add(deferWait)
		}
		if at := claim.probe.at; !at.Equal(want) {
			t.Errorf("%s: the next probe comes after %v, want %v", c.what, at.Sub(now), want.Sub(now))
		}
		if claim.State() != Probing {
			t.Errorf("%s: state %v", c.what, claim.State())
		}
	}
}
