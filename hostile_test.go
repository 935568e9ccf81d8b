package lanfolk

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// flood takes many sightings in batches, lets them run out over a minute, and
// holds how many sightings had to be joined anew to a bound: the work for one
// must not grow with how many there are.
func flood(t *testing.T, n int, make func(int) Sighting) {
	t.Helper()
	c := testCore()
	c.watching = false
	c.sightings = 1 << 20
	start := time.Now()
	var batch []Sighting
	for k := range n {
		if batch = append(batch, make(k)); len(batch) == 256 {
			c.observe(t0, batch...)
			batch = batch[:0]
		}
	}
	c.observe(t0, batch...)
	filled := time.Since(start)
	for s := range 60 {
		c.expire(t0.Add(time.Duration(s+1) * time.Second))
	}
	t.Logf("%d sightings taken in %v, ended in %v, %d rejoins of %d in all", n, filled, time.Since(start)-filled, c.stats.Rejoins, c.reached)
	if c.stats.Expired != uint64(n) {
		t.Fatalf("%d of %d ended", c.stats.Expired, n)
	}
	if c.reached > 200*n {
		t.Errorf("%d sightings were joined anew for %d", c.reached, n)
	}
}

func TestFloods(t *testing.T) {
	const n = 6000
	mac := func(k int) string { return fmt.Sprintf("mac=00:00:5e:%02x:%02x:%02x", k>>16, k>>8&255, k&255) }
	ip := func(k int) string { return fmt.Sprintf("ip=10.%d.%d.%d", k>>16, k>>8&255, k&255) }
	life := func(k int) string { return fmt.Sprintf("life=%ds", 1+k%60) }
	for name, make := range map[string]func(k int) Sighting{
		"one name for all MACs": func(k int) Sighting { return sight(fmt.Sprint("a/", k), mac(k), "host=x.local", life(k)) },
		"one name for all addresses": func(k int) Sighting {
			return sight(fmt.Sprint("a/", k), ip(k), "host=x.local", life(k))
		},
		"one address for all names": func(k int) Sighting {
			return sight(fmt.Sprint("a/", k), fmt.Sprintf("host=%d.local", k), "ip=10.0.0.1", life(k))
		},
		"one MAC with all addresses": func(k int) Sighting {
			return sight(fmt.Sprint("a/", k), "mac=00:00:5e:00:53:01", ip(k), life(k))
		},
		"one MAC answers for all addresses": func(k int) Sighting {
			return answerFor(fmt.Sprint("a/", k), "mac=00:00:5e:00:53:01", fmt.Sprintf("10.%d.%d.%d", k>>16, k>>8&255, k&255))
		},
		"one MAC that is a proxy now and then": func(k int) Sighting {
			n := fmt.Sprintf("10.%d.%d.%d", k>>16, k>>8&255, k&255)
			if k%2 == 0 {
				return sight(fmt.Sprint("a/", k), "mac=00:00:5e:00:53:01", fmt.Sprintf("ip=10.0.%d.%d", k>>9&255, k>>1&255), life(k))
			}
			return answerFor(fmt.Sprint("a/", k), "mac=00:00:5e:00:53:01", n)
		},
		"one id with all MACs": func(k int) Sighting { return sight(fmt.Sprint("a/", k), mac(k), "id=p:1", life(k)) },
		"one MAC with all ids": func(k int) Sighting {
			return sight(fmt.Sprint("a/", k), "mac=00:00:5e:00:53:01", fmt.Sprint("id=duid:", k), life(k))
		},
		"a chain of ids and MACs": func(k int) Sighting {
			return sight(fmt.Sprint("a/", k), mac(k), fmt.Sprint("id=duid:", k), fmt.Sprint("id=duid:", k+1), life(k))
		},
		"few MACs with few ids": func(k int) Sighting {
			return sight(fmt.Sprint("a/", k), mac(k%40), fmt.Sprint("id=duid:", k/40%40), life(k))
		},
		"one id with a MAC and nobody": func(k int) Sighting {
			if k%2 == 0 {
				return sight(fmt.Sprint("a/", k), "id=duid:1", ip(k), life(k))
			}
			return sight(fmt.Sprint("a/", k), mac(k), "id=duid:1", life(k))
		},
		"a chain of short links":     func(k int) Sighting { return sight(fmt.Sprint("a/", k), ip(k), ip(k+1), life(k)) },
		"many services of one thing": func(k int) Sighting { return sight(fmt.Sprint("a/", k), "host=x.local", "type=_x._tcp", life(k)) },
	} {
		t.Run(name, func(t *testing.T) { flood(t, n, make) })
	}
}

// TestCrowd holds the rule about identifiers that too many sightings have, on
// both sides of the bound.
func TestCrowd(t *testing.T) {
	c := testCore()
	c.watching = false
	for k := range crowd {
		c.observe(t0, sight(fmt.Sprint("mdns/", k), "host=x.local", fmt.Sprintf("id=p:%d", k)))
	}
	if got := len(c.groups()); got != 1 {
		t.Fatalf("%d devices of %d sightings with one name, want 1", got, crowd)
	}
	c.observe(t0, sight("mdns/more", "host=x.local", "id=p:more"))
	if got := len(c.groups()); got != crowd+1 {
		t.Fatalf("%d devices of %d sightings with one name, want as many", got, crowd+1)
	}
	bye := sight("mdns/more")
	bye.Gone = true
	c.observe(t0, bye)
	if got := len(c.groups()); got != 1 {
		t.Fatalf("%d devices after one has gone, want 1", got)
	}
}

func TestBounds(t *testing.T) {
	t.Run("one speaker", func(t *testing.T) {
		c := testCore()
		c.perSource = 10
		for k := range 20 {
			s := sight(fmt.Sprint("a/", k), fmt.Sprintf("ip=10.0.0.%d", k))
			s.Origin.Source = "10.9.9.9"
			c.observe(t0, s)
		}
		if c.facts.used != 10 || c.stats.DroppedSource != 10 {
			t.Errorf("%d sightings kept, %d dropped", c.facts.used, c.stats.DroppedSource)
		}
		c.expire(t0.Add(time.Hour))
		if len(c.sources) != 0 {
			t.Errorf("%d speakers remembered that said nothing that holds", len(c.sources))
		}
	})
	t.Run("all sightings", func(t *testing.T) {
		c := testCore()
		c.sightings, c.limits.devices = 50, 60
		for k := range 500 {
			c.observe(t0.Add(time.Duration(k)*time.Millisecond), at(sight(fmt.Sprint("a/", k), fmt.Sprintf("mac=00:00:5e:00:%02x:%02x", k>>8, k&255)), time.Duration(k)*time.Millisecond))
			if k == 3 {
				d, err := c.resolve("00:00:5e:00:00:03")
				if err != nil {
					t.Fatal(err)
				}
				c.hear(d.change(func(s *Said) { s.Names = []string{"mine"} }))
			}
			c.check(t)
		}
		if c.facts.used != 50 || c.stats.Evicted != 450 || len(c.order)-c.holes > 60 {
			t.Errorf("%d sightings, %d evicted, %d devices", c.facts.used, c.stats.Evicted, len(c.order)-c.holes)
		}
		if _, err := c.resolve("mine"); err != nil {
			t.Errorf("what a person named was forgotten: %v", err)
		}
	})
	t.Run("all sightings, by made-up MACs", func(t *testing.T) {
		c := testCore()
		c.sightings, c.limits.devices = 50, 60
		residents := make([]string, 10)
		for k := range residents {
			residents[k] = fmt.Sprintf("00:00:5e:00:00:%02x", k)
			for _, after := range []time.Duration{0, 2 * time.Hour} {
				s := at(sight(fmt.Sprint("a/", k), "mac="+residents[k]), after)
				s.Lifetime = 24 * time.Hour
				c.observe(t0.Add(after), s)
			}
		}
		// Five of them ended, and are remembered.
		for k := range 5 {
			s := at(sight(fmt.Sprint("a/", k), "mac="+residents[k]), 2*time.Hour)
			s.Gone = true
			c.observe(t0.Add(2*time.Hour), s)
		}
		for k := range 5000 {
			now := 3*time.Hour + time.Duration(k)*time.Millisecond
			s := at(sight(fmt.Sprint("b/", k), fmt.Sprintf("mac=02:00:5e:01:%02x:%02x", k>>8, k&255)), now)
			s.Lifetime = time.Duration(1+k%3) * 100 * time.Millisecond
			c.observe(t0.Add(now), s)
		}
		c.check(t)
		if c.facts.used > 50 || len(c.order)-c.holes > 120 {
			t.Errorf("%d sightings, %d devices", c.facts.used, len(c.order)-c.holes)
		}
		for _, mac := range residents {
			if _, err := c.resolve(mac); err != nil {
				t.Errorf("a flood of made-up MACs pushed out who was there for hours: %v", err)
			}
		}
	})
	t.Run("timers", func(t *testing.T) {
		c := testCore()
		for k := range 20000 { // ever shorter lifetimes, each of which needs an earlier timer
			s := at(sight("a/1", "ip=10.0.0.1"), time.Duration(k))
			s.Lifetime = time.Hour - time.Duration(k)*time.Millisecond
			c.observe(t0.Add(time.Duration(k)), s)
		}
		if len(c.timers) > 2048 {
			t.Errorf("%d timers for one sighting", len(c.timers))
		}
	})
	t.Run("one sighting", func(t *testing.T) {
		c := testCore()
		s := sight("a/1", "ip=10.0.0.1", "ip=10.0.0.1")
		s.Name, s.What = strings.Repeat("é", 1000), strings.Repeat("w", 1<<20)
		s.Attributes = map[string]string{}
		for k := range 1000 {
			s.Attributes[fmt.Sprintf("%04d", k)] = strings.Repeat("v", 5000)
		}
		for k := range 100 {
			s.Identifiers = append(s.Identifiers, Identifier{Kind: IDHost, Value: fmt.Sprint(k)})
		}
		c.observe(t0, s)
		f := c.facts.items[0]
		if len(f.blob) > 8<<10 || len(f.ids) != maxIdentifiers || c.stats.Clipped != 1 {
			t.Errorf("%d bytes, %d identifiers kept, %d clipped", len(f.blob), len(f.ids), c.stats.Clipped)
		}
		c.observe(t0.Add(1), at(s, 1))
		if c.stats.Refreshed != 1 {
			t.Error("the same oversized sighting again was taken for another one")
		}
		long := sight(strings.Repeat("k", maxKey+1))
		c.observe(t0, long, Sighting{Kind: KindDevice}, Sighting{Key: "x"})
		if c.stats.Refused != 3 {
			t.Errorf("%d refused, want 3", c.stats.Refused)
		}
	})
}
