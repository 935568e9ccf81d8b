package nmos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lanfolk/lanfolk/dnssd/unicast"
	"github.com/lanfolk/lanfolk/nmos"
	"github.com/lanfolk/lanfolk/test/lab"
)

// spread lets n fresh clients choose, each with a source of its own that asks
// the site's server, and counts what they chose.
func (s *site) spread(c testCase, n int, random func(i int) *rand.Rand) map[string]int {
	s.t.Helper()
	kind, _ := nmos.KindOf(c.Type)
	needs := nmos.Needs{Proto: c.Client.Proto, Auth: &c.Client.Auth}
	for _, text := range c.Client.Versions {
		v, err := nmos.ParseVersion(text)
		if err != nil {
			s.t.Fatal(err)
		}
		needs.Versions = append(needs.Versions, v)
	}
	dial := func(_ context.Context, network, address string) (conn net.Conn, err error) {
		err = s.desk.Do(func() error {
			conn, err = net.DialTimeout(network, address, 10*time.Second)
			return err
		})
		return conn, err
	}
	var mu sync.Mutex
	count := map[string]int{}
	var all errgroup.Group
	all.SetLimit(4)
	for i := range n {
		all.Go(func() error {
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
			defer cancel()
			for {
				client := &nmos.Client{
					Kind: kind, Needs: needs, Mode: nmos.UnicastOnly, Domains: []string{"example.com"}, Rand: random(i),
					Unicast: &unicast.Source{Servers: unicast.Servers{Addrs: []netip.AddrPort{dnsPort}, Dial: dial}},
				}
				st, err := client.Once(ctx)
				if ctx.Err() == nil && (err == nil || errors.Is(err, nmos.ErrNothing)) && len(st.Discarded) > 0 {
					continue // the server is too busy to answer everything in time
				}
				if err != nil {
					return err
				}
				mu.Lock()
				count[st.Selected.Name]++
				mu.Unlock()
				return nil
			}
		})
	}
	if err := all.Wait(); err != nil {
		s.t.Fatal(err)
	}
	return count
}

// Three equal advertisements, in answers of a fixed order: the choice follows
// neither that nor the names.
func TestEqualsAreChosenByChance(t *testing.T) {
	t.Parallel()
	c := loadCase(t, "equal-version-and-pri-random")
	s := newSite(t)
	s.bind(c, "rrset-order { order none; };")
	hold := func(what string, count map[string]int, least, most int) {
		t.Helper()
		t.Logf("%s: %v", what, count)
		for _, name := range c.Expect.Groups[0] {
			if n := count[name]; n < least || n > most {
				t.Errorf("%s: %s was chosen %d times, want %d to %d: %s", what, name, n, least, most, c.Why)
			}
		}
	}
	// With seeds, so that the narrow bounds hold always: by mere chance they would be
	// missed once in 10,000 runs.
	hold("200 clients with seeds", s.spread(c, 200, func(i int) *rand.Rand { return rand.New(rand.NewPCG(uint64(i), 0)) }), 40, 95)
	// By mere chance: 20 to 47 % of 400 are missed less than once in 10 million runs.
	hold("400 clients", s.spread(c, 400, func(int) *rand.Rand { return nil }), 80, 188)

	// Real programs: that 40 leave one of three out happens less than once in three million runs.
	chosen := func(args ...string) (name string) {
		t.Helper()
		lab.Eventually(t, 20*time.Second, "a choice", func() error {
			got, r := s.choose(append(c.unicastArgs(), args...)...)
			if err := c.holds(got, r, false); err != nil {
				return err
			}
			name = got.Selected.Instance
			return nil
		})
		return name
	}
	count := map[string]int{}
	for range 40 {
		count[chosen()]++
	}
	hold("40 programs", count, 1, 38)
	// The same seed makes the same choice; different ones make all.
	all := map[string]bool{}
	for seed := range 12 {
		var twice [2]string
		for i := range twice {
			twice[i] = chosen("--seed", fmt.Sprint(seed))
		}
		if twice[0] != twice[1] {
			t.Errorf("seed %d chose %q", seed, twice)
		}
		all[twice[0]] = true
	}
	if len(all) != 3 {
		t.Errorf("12 seeds chose %v only", all)
	}
}
