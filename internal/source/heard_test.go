package source_test

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/source"
	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/passive"
)

// goldenFrames are those that the passive package is tested with.
func goldenFrames(t testing.TB) [][]byte {
	t.Helper()
	files, err := filepath.Glob("../../passive/testdata/*.hex")
	if err != nil || len(files) == 0 {
		t.Fatal("no frames", err)
	}
	var frames [][]byte
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(text), "\n")
		for part := range strings.SplitSeq(strings.TrimSpace(rest), "\n\n") {
			f, err := hex.DecodeString(strings.Join(strings.Fields(part), ""))
			if err != nil {
				t.Fatal(file, err)
			}
			frames = append(frames, f)
		}
	}
	return frames
}

// ledger keeps rows and sightings as a database and an inventory would.
type ledger struct {
	rows      map[lanfolk.ObservationKey]lanfolk.Observation
	sightings map[lanfolk.ID]lanfolk.Sighting
	told      []lanfolk.Sighting
	calls     int
}

func newLedger() *ledger {
	return &ledger{rows: map[lanfolk.ObservationKey]lanfolk.Observation{}, sightings: map[lanfolk.ID]lanfolk.Sighting{}}
}

func (l *ledger) record(rows ...lanfolk.Observation) {
	l.calls++
	for _, o := range rows {
		have := l.rows[o.ObservationKey]
		have.ObservationKey = o.ObservationKey
		have.Merge(o)
		l.rows[o.ObservationKey] = have
	}
}

func (l *ledger) observe(sightings ...lanfolk.Sighting) {
	l.told = append(l.told, sightings...)
	for _, s := range sightings {
		l.sightings[s.ID()] = s
	}
}

func (l *ledger) heard(from *source.Passive) *source.Heard {
	return &source.Heard{From: from, Record: l.record, Observe: l.observe}
}

// TestHeardKeepsAll: in the end the database and the inventory hold what they would
// if each fact were handed over by itself, in its order.
func TestHeardKeepsAll(t *testing.T) {
	frames := goldenFrames(t)
	direct, gathered := newLedger(), newLedger()
	from := &source.Passive{}
	h := gathered.heard(&source.Passive{})
	r := rand.New(rand.NewPCG(3, 4))
	d := passive.NewDecoder(passive.Options{})
	now := noon
	for n := range 6_000 {
		now = now.Add(time.Duration(r.IntN(int(3 * time.Millisecond))))
		b := frames[r.IntN(1+r.IntN(len(frames)))] // some much more often
		d.Decode(packet.Frame{Data: b, Length: len(b), LinkType: packet.LinkEthernet, Interface: "eth0", Time: now}, func(f *passive.Fact) {
			if o, ok := from.Observation(f); ok {
				direct.record(o)
			}
			from.Sightings(f, func(s lanfolk.Sighting) { direct.observe(s) })
			h.Fact(f)
		})
		if n%50 == 0 {
			h.Pause()
		}
	}
	h.End()
	addrs := cmp.Options{cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateEmpty()}
	if diff := cmp.Diff(direct.rows, gathered.rows, addrs); diff != "" || len(direct.rows) < 50 {
		t.Errorf("%d rows (- by themselves, + gathered):\n%s", len(direct.rows), diff)
	}
	if diff := cmp.Diff(direct.sightings, gathered.sightings, addrs); diff != "" || len(direct.sightings) < 20 {
		t.Errorf("%d sightings (- by themselves, + gathered):\n%s", len(direct.sightings), diff)
	}
	if len(gathered.told) > len(direct.told)/5 {
		t.Errorf("%d sightings of %d were handed over", len(gathered.told), len(direct.told))
	}
}

// fact makes facts that the decoder knows by heart.
type fact struct {
	passive.Fact
	again passive.Again
}

func claims(host string, gone bool) *fact {
	f := &fact{Fact: passive.Fact{
		Interface: "eth0", Protocol: passive.ProtoMDNS, Response: true, SrcMAC: printer, DstMAC: group, Query: host,
		Claims: []passive.Claim{{MAC: printer, IP: address, Host: host, Gone: gone}},
	}}
	f.Again = &f.again
	return f
}

func TestHeardTellsNewsAtOnceAndRepeatsLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger()
		h := l.heard(&source.Passive{})
		here, gone := claims("printer.local", false), claims("printer.local", true)
		start := time.Now()
		say := func(f *fact) {
			f.Time = time.Now()
			h.Fact(&f.Fact)
		}
		expect := func(when string, want ...string) {
			t.Helper()
			h.Pause()
			var got []string
			for _, s := range l.told {
				got = append(got, fmt.Sprint(s.Time.Sub(start), " ", s.Gone))
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s:\n%s", when, diff)
			}
			l.told = nil
		}
		say(here)
		expect("at first", "0s false")
		time.Sleep(300 * time.Millisecond)
		say(here)
		say(here)
		expect("said again")
		time.Sleep(300 * time.Millisecond)
		say(gone)
		expect("goodbye", "600ms true")
		say(here)
		expect("back", "600ms false")
		time.Sleep(100 * time.Millisecond)
		say(here)
		wait := h.Pause()
		for range 20 { // nothing else comes
			if wait == 0 {
				break
			}
			time.Sleep(wait)
			wait = h.Pause()
		}
		if wait != 0 {
			t.Errorf("still waits for %v", wait)
		}
		expect("the last word", "700ms false")
		if took := time.Since(start); took > 1900*time.Millisecond {
			t.Errorf("it came only after %v", took)
		}
		// What is held back gives way to what is said in another way.
		time.Sleep(2 * time.Second)
		say(here)
		say(here)
		once := claims("printer.local", true)
		once.Again = nil
		time.Sleep(100 * time.Millisecond)
		say(once)
		time.Sleep(2 * time.Second)
		h.Pause()
		if last := l.told[len(l.told)-1]; !last.Gone {
			t.Errorf("the last word was no goodbye: %+v", l.told)
		}
		l.told = nil
		// Who says one thing and the opposite of it all the time is heard now and then.
		time.Sleep(2 * time.Second)
		for range 500 {
			say(gone)
			say(here)
			h.Pause()
			time.Sleep(time.Millisecond)
		}
		h.End()
		if n := len(l.told); n > 8 || l.told[n-1].Gone {
			t.Errorf("%d times, the last %+v", n, l.told[n-1])
		}
	})
}

func TestHeardCountsWithoutDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger()
		h := l.heard(&source.Passive{})
		f := claims("printer.local", false)
		count := func() (n uint64) {
			for _, o := range l.rows {
				n += o.Count
			}
			return n
		}
		say := func() {
			f.Time = time.Now()
			h.Fact(&f.Fact)
		}
		say()
		h.Pause()
		if count() != 1 {
			t.Errorf("the first counts %d times", count())
		}
		time.Sleep(time.Minute)
		say()
		if h.Pause(); count() != 2 {
			t.Errorf("two count %d times", count())
		}
		say()
		if wait := h.Pause(); count() != 2 || wait != 100*time.Millisecond {
			t.Errorf("a third at once counts %d times, and waits %v", count(), wait)
		}
		time.Sleep(100 * time.Millisecond)
		if h.Pause(); count() != 3 {
			t.Errorf("three count %d times", count())
		}
		for _, o := range l.rows {
			if o.Last.Sub(o.First) != time.Minute {
				t.Errorf("%+v", o)
			}
		}
	})
}

// TestHeardIsBounded: what is known of things that are never heard of again goes.
func TestHeardIsBounded(t *testing.T) {
	l := newLedger()
	h := l.heard(&source.Passive{})
	const many = 20_000
	first := claims("host-0.local", false)
	for i := range many {
		f := claims(fmt.Sprintf("host-%d.local", i), false)
		if i == 0 {
			f = first
		}
		f.Time = noon
		h.Fact(&f.Fact)
		h.Fact(&f.Fact)
	}
	first.Time = noon.Add(time.Minute)
	h.Fact(&first.Fact)
	h.End()
	if n := len(l.sightings); n != many {
		t.Errorf("%d sightings, want %d", n, many)
	}
	if n := l.rows; len(n) != many {
		t.Errorf("%d rows, want %d", len(n), many)
	}
	for id, s := range l.sightings {
		if strings.Contains(id.Key, "host-0.local") && !s.Time.Equal(first.Time) {
			t.Errorf("the first is of %v", s.Time)
		}
	}
}

// TestHeardLooksOnce: what may not be made of a fact is not, however often it comes.
func TestHeardLooksOnce(t *testing.T) {
	l := newLedger()
	h := l.heard(&source.Passive{})
	looks := 0
	h.Look = func(f *passive.Fact) (*passive.Fact, bool) {
		looks++
		c := f.Clone()
		c.Query = "hidden"
		return c, f.Query != "secret.local"
	}
	secret, other := claims("secret.local", false), claims("printer.local", false)
	for range 10 {
		h.Fact(&secret.Fact)
		h.Fact(&other.Fact)
	}
	other.Interface = "eth1" // a file's other link
	h.Fact(&other.Fact)
	h.End()
	if looks != 3 {
		t.Errorf("looked %d times, want 3", looks)
	}
	for k, o := range l.rows {
		if k.Query != "hidden" || k.Link == "eth0" && o.Count != 10 || k.Link == "eth1" && o.Count != 1 {
			t.Errorf("%+v", o)
		}
	}
	if len(l.rows) != 2 {
		t.Errorf("%d rows, want 2", len(l.rows))
	}
}
