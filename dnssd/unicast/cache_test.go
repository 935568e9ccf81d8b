package unicast

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/mdns"
)

// ear keeps what it is told: the records that it takes to be there.
type ear struct {
	there map[dnswire.RR]bool
	bad   []string
}

func (e *ear) refreshes() bool { return true }

func (e *ear) receive(ev mdns.Event) {
	id := identity(ev.RR)
	switch ev.Op {
	case mdns.OpAdd:
		if e.there[id] {
			e.bad = append(e.bad, "added twice: "+ev.RR.Name.String())
		}
		e.there[id] = true
	case mdns.OpRemove, mdns.OpUpdate:
		if !e.there[id] {
			e.bad = append(e.bad, ev.Op.String()+" of what isn't there: "+ev.RR.Name.String())
		}
		if ev.Op == mdns.OpRemove {
			delete(e.there, id)
		}
	}
}

func question(n int) mdns.Question {
	name, err := dnswire.NameOf(fmt.Sprintf("h%d", n), "example")
	if err != nil {
		panic(err)
	}
	return mdns.Question{Name: name, Type: dnswire.TypeA}
}

func at(n int, addresses ...byte) answer {
	a := answer{verdict: noData, ttl: time.Minute, server: netip.MustParseAddrPort("192.0.2.53:53")}
	for _, b := range addresses {
		a.verdict = found
		a.records = append(a.records, dnswire.NewAddr(question(n).Name, netip.AddrFrom4([4]byte{192, 0, 2, b}), 60))
	}
	return a
}

// check holds the cache's counts against its entries.
func (c *cache) check() error {
	idle, bytes, flights := 0, 0, 0
	ready := map[*entry]bool{}
	for _, e := range c.ready {
		ready[e] = true
	}
	for _, e := range c.entries {
		if len(e.users) == 0 {
			idle++
		}
		if e.flying {
			flights++
		}
		bytes += e.size
		if e.ready && (e.flying || len(e.users) == 0 || !ready[e]) {
			return fmt.Errorf("%s: flying: %v, %d users; its turn can't have come", e.name, e.flying, len(e.users))
		}
		waits := !e.due().IsZero()
		if waits != (e.place >= 0) || waits && c.queue[e.place] != e {
			return fmt.Errorf("%s is in the queue: %v, and waits: %v", e.name, e.place >= 0, waits)
		}
		if len(e.users) == 0 && !e.known && !e.flying {
			return fmt.Errorf("%s is kept for nothing", e.name)
		}
	}
	if idle != c.idle || bytes != c.bytes || flights != c.flights || len(c.queue) > len(c.entries) {
		return fmt.Errorf("counts %d idle, %d bytes, %d flights; want %d, %d, %d", c.idle, c.bytes, c.flights, idle, bytes, flights)
	}
	for i, e := range c.queue {
		if i > 0 && e.due().Before(c.queue[(i-1)/2].due()) {
			return fmt.Errorf("the queue is out of order")
		}
	}
	return nil
}

// Whatever is asked, answered and forgotten, and whenever: the counts hold, and
// who asked all the time knows just what is there.
func TestCacheStaysInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newCache(0, time.Minute)
		now := time.Unix(1_700_000_000, 0)
		var users []*ear
		for range 3 {
			users = append(users, &ear{there: map[dnswire.RR]bool{}})
		}
		var flying []*entry
		wanted := map[int]bool{} // by user 0, who never forgets
		t.Repeat(map[string]func(*rapid.T){
			"want": func(t *rapid.T) {
				u, n := rapid.IntRange(0, 2).Draw(t, "user"), rapid.IntRange(0, 4).Draw(t, "name")
				q := question(n)
				q.Tries = rapid.SampledFrom([]int{0, 3}).Draw(t, "tries")
				q.FollowUp = rapid.Bool().Draw(t, "follow up")
				q.Family = rapid.SampledFrom([]mdns.Family{0, mdns.IPv4}).Draw(t, "family")
				c.want(now, users[u], q)
				if u == 0 {
					wanted[n] = true
				}
			},
			"forget": func(t *rapid.T) {
				q := question(rapid.IntRange(0, 4).Draw(t, "name"))
				q.Family = rapid.SampledFrom([]mdns.Family{0, mdns.IPv4}).Draw(t, "family")
				q.FollowUp = rapid.Bool().Draw(t, "follow up")
				u := users[rapid.IntRange(1, 2).Draw(t, "user")]
				c.forget(u, q)
				if e := c.entries[key{q.Name, q.Type}]; e == nil || e.users[u] == nil {
					for rr := range u.there {
						if rr.Name == q.Name {
							delete(u.there, rr)
						}
					}
				}
			},
			"advance": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(0, 100).Draw(t, "seconds")) * time.Second)
				ask, wake := c.advance(now)
				if !wake.IsZero() && !wake.After(now) {
					t.Fatalf("wakes at %v, in the past", now.Sub(wake))
				}
				flying = append(flying, ask...)
			},
			"land": func(t *rapid.T) {
				if len(flying) == 0 {
					return
				}
				i := rapid.IntRange(0, len(flying)-1).Draw(t, "flight")
				e := flying[i]
				flying = slices.Delete(flying, i, i+1)
				now = now.Add(time.Duration(rapid.IntRange(0, 20).Draw(t, "seconds")) * time.Second)
				var n int
				fmt.Sscanf(e.name.String(), "h%d", &n)
				switch rapid.IntRange(0, 5).Draw(t, "how") {
				case 0:
					c.failed(now, e, ErrNoAnswer)
				case 1:
					c.aborted(now, e)
				default:
					c.answered(now, e, at(n, rapid.SliceOfN(rapid.ByteRange(1, 4), 0, 4).Draw(t, "addresses")...))
				}
			},
			"along": func(t *rapid.T) {
				n := rapid.IntRange(0, 4).Draw(t, "name")
				a := at(n, rapid.SliceOfN(rapid.ByteRange(1, 4), 0, 4).Draw(t, "addresses")...)
				c.takeAlong(now, a.server, along{
					key: key{question(n).Name, dnswire.TypeA}, name: question(n).Name, records: a.records, ttl: a.ttl, denial: len(a.records) == 0,
				})
			},
			"requery": func(t *rapid.T) {
				c.requery(now, question(rapid.IntRange(0, 4).Draw(t, "name")))
			},
			"doubt": func(t *rapid.T) {
				n := rapid.IntRange(0, 4).Draw(t, "name")
				c.reconfirm(now, at(n, 1).records[0])
			},
			"": func(t *rapid.T) {
				if err := c.check(); err != nil {
					t.Fatal(err)
				}
				for n := range wanted {
					e := c.entries[key{question(n).Name, dnswire.TypeA}]
					if e == nil {
						t.Fatalf("%d is wanted and forgotten", n)
					}
					for _, rr := range e.records {
						// Of what came along only who asked because of an answer.
						if told := !e.users[users[0]].waits; users[0].there[identity(rr)] != told {
							t.Fatalf("told of %v: %v", rr, !told)
						}
					}
					if e.known && e.origin == direct && e.users[users[0]].waits {
						t.Fatalf("%d is known and not told", n)
					}
				}
				for i, u := range users {
					if len(u.bad) > 0 {
						t.Fatalf("user %d: %q", i, u.bad)
					}
				}
			},
		})
	})
}

func TestCacheIsBounded(t *testing.T) {
	c := newCache(0, time.Minute)
	now := time.Unix(1_700_000_000, 0)
	u := &ear{there: map[dnswire.RR]bool{}}
	for n := range maxQuestions + 100 {
		c.want(now, u, question(n))
	}
	if len(c.entries) != maxQuestions || c.refused != 100 {
		t.Errorf("%d questions, %d refused", len(c.entries), c.refused)
	}
	// An answer that nobody wants makes room.
	ask, _ := c.advance(now)
	if len(ask) != maxFlights {
		t.Fatalf("%d queries under way, want %d", len(ask), maxFlights)
	}
	c.answered(now, ask[0], at(0))
	c.leave(ask[0], u)
	c.want(now, u, question(maxQuestions))
	if len(c.entries) != maxQuestions || c.refused != 100 {
		t.Errorf("%d questions, %d refused; want one to make room", len(c.entries), c.refused)
	}
	if err := c.check(); err != nil {
		t.Error(err)
	}
}

func TestCacheIsBoundedInBytes(t *testing.T) {
	c := newCache(0, time.Minute)
	now := time.Unix(1_700_000_000, 0)
	u := &ear{there: map[dnswire.RR]bool{}}
	text := slices.Repeat([]string{strings.Repeat("x", 255)}, 250)
	for n := range 600 {
		q := question(n)
		q.Type = dnswire.TypeTXT
		c.want(now, u, q)
		ask, _ := c.advance(now)
		rr, err := dnswire.NewTXT(q.Name, 60, text...)
		if err != nil || len(ask) != 1 {
			t.Fatal(err, len(ask))
		}
		c.answered(now, ask[0], answer{verdict: found, ttl: time.Hour, records: []dnswire.RR{rr}, server: netip.MustParseAddrPort("192.0.2.53:53")})
	}
	if c.bytes > maxBytes || c.bytes < maxBytes/2 || c.refused == 0 {
		t.Errorf("%d bytes, %d refused", c.bytes, c.refused)
	}
	if err := c.check(); err != nil {
		t.Error(err)
	}
}

func TestQueriesArePaced(t *testing.T) {
	c := newCache(0, time.Minute)
	now := time.Unix(1_700_000_000, 0)
	u := &ear{there: map[dnswire.RR]bool{}}
	for n := range 20000 {
		c.want(now, u, question(n))
	}
	run := func(d time.Duration) (count int) {
		for end := now.Add(d); now.Before(end); now = now.Add(time.Millisecond) {
			for {
				ask, _ := c.advance(now)
				if len(ask) == 0 {
					break
				}
				for _, e := range ask {
					count++
					a := at(0)
					a.ttl = time.Hour
					c.answered(now, e, a)
				}
			}
		}
		return count
	}
	if n := run(time.Second); n < burst || n > burst+perSecond+1 {
		t.Errorf("%d queries in the first second", n)
	}
	if n := run(10 * time.Second); n < 10*perSecond-20 || n > 10*perSecond+20 {
		t.Errorf("%d queries in 10 s, want %d a second", n, perSecond)
	}
}
