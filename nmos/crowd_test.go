package nmos_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/lanfolk/lanfolk/dnssd/unicast"
	"github.com/lanfolk/lanfolk/nmos"
)

// What a crowd's registries do.
type health int

const (
	works health = iota
	refuses
	silent
	overloaded
)

// A client that has no registry though one works is left without for at most
// this long: it may have to find two others silent, and to wait for its next try.
const longestWithout = 45 * time.Second

// crowd is a studio in virtual time: nodes that each keep to one of three equal
// registries, with a heartbeat every five seconds.
type crowd struct {
	t     *testing.T
	nodes int
	most  int // queries that a node may ask in a minute
	// find gives the ith node's client its source.
	find func(i int, c *nmos.Client)
	// changed is called when a registry's health changes.
	changed func(r int, h health)
	count   func() // counts the queries since it was last called

	mu      sync.Mutex
	health  []health  // of the registries
	since   time.Time // when the first of them began to work, zero while none does
	queries []int     // of the nodes, in this minute
	calls   []int
	served  []time.Time       // when the nodes last found a registry that works
	at      []int             // which that was
	burst   map[time.Time]int // calls in a second

	noDNS                bool // the DNS server is silent
	asked, called, worst int  // in all minutes, and the most queries of a node in one
}

const crowdType = "_nmos-register._tcp"

func newCrowd(t *testing.T, nodes, registries int) *crowd {
	c := &crowd{
		t: t, nodes: nodes, health: make([]health, registries), since: time.Now(),
		queries: make([]int, nodes), calls: make([]int, nodes), served: make([]time.Time, nodes), at: make([]int, nodes), burst: map[time.Time]int{},
	}
	for i := range c.served {
		c.served[i] = time.Now()
	}
	return c
}

// unicast has the nodes ask a DNS server.
func (c *crowd) unicast() {
	var records []dns.RR
	add := func(format string, args ...any) {
		rr, err := dns.NewRR(fmt.Sprintf("$ORIGIN studio.example.\n$TTL 120\n"+format, args...))
		if err != nil {
			c.t.Fatal(err)
		}
		records = append(records, rr)
	}
	for i := range c.health {
		add("%[2]s PTR r%[1]d.%[2]s", i, crowdType)
		add("r%d.%s SRV 0 0 8080 host%d", i, crowdType, i)
		add(`r%d.%s TXT "api_proto=http" "api_ver=v1.3" "api_auth=false" "pri=10"`, i, crowdType)
		add("host%d A 192.0.2.%d", i, i+1)
	}
	// While nothing works the pauses before asking again grow to half a minute:
	// that is ten times in the first one, and in five of them for each record
	// and the addresses that aren't there.
	c.most = 10 + 6*(len(records)+len(c.health))
	c.find = func(i int, client *nmos.Client) {
		client.Domains = []string{"studio.example"}
		client.Unicast = &unicast.Source{Servers: unicast.Servers{Addrs: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.53:53")}, Dial: c.dial(i, records)}}
	}
}

// dial returns what connects the ith node with the DNS server.
func (c *crowd) dial(i int, records []dns.RR) unicast.DialFunc {
	return func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() {
			defer theirs.Close()
			b := make([]byte, 4096)
			for {
				n, err := theirs.Read(b)
				var q, a dns.Msg
				if err != nil || q.Unpack(b[:n]) != nil {
					return
				}
				c.mu.Lock()
				c.queries[i]++
				silent := c.noDNS
				c.mu.Unlock()
				if silent {
					continue
				}
				a.SetReply(&q)
				a.Authoritative = true
				for _, rr := range records {
					if h := rr.Header(); h.Name == q.Question[0].Name && h.Rrtype == q.Question[0].Qtype {
						a.Answer = append(a.Answer, rr)
					}
				}
				out, err := a.Pack()
				if err != nil {
					return
				}
				if _, err := theirs.Write(out); err != nil {
					return
				}
			}
		}()
		return ours, nil
	}
}

// heartbeat is the ith node's call of a registry.
func (c *crowd) heartbeat(ctx context.Context, i int, s nmos.Selection) error {
	r := int(s.Name[1] - '0')
	now := time.Now()
	c.mu.Lock()
	h := c.health[r]
	c.calls[i]++
	c.burst[now.Truncate(time.Second)]++
	if h == works {
		c.served[i], c.at[i] = now, r
	}
	c.mu.Unlock()
	switch h {
	case works:
		return nil
	case refuses:
		return errors.New("refused")
	case overloaded:
		return errors.New("503 Service Unavailable")
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	<-ctx.Done()
	return ctx.Err()
}

// node runs the ith node until ctx ends.
func (c *crowd) node(ctx context.Context, i int) error {
	k, _ := nmos.KindOf(crowdType)
	k.With = ""
	client := nmos.Client{
		Kind: k, Needs: nmos.Needs{Versions: []nmos.Version{{Major: 1, Minor: 3}}}, Rand: rand.New(rand.NewPCG(uint64(i), 1)),
		Check: func(ctx context.Context, s nmos.Selection) error { return c.heartbeat(ctx, i, s) }, CheckEvery: 5 * time.Second,
	}
	c.find(i, &client)
	return client.Run(ctx)
}

// set has a registry work, or not.
func (c *crowd) set(r int, h health) {
	if c.changed != nil {
		c.changed(r, h)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.health[r] = h
	switch any := slices.Contains(c.health, works); {
	case !any:
		c.since = time.Time{}
	case c.since.IsZero():
		c.since = time.Now()
	}
}

// minute checks what happened in the minute that ends now.
func (c *crowd) minute() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.count != nil {
		c.count()
	}
	now := time.Now()
	for i := range c.nodes {
		if c.queries[i] > c.most {
			c.t.Errorf("node %d: %d DNS queries in a minute", i, c.queries[i])
		}
		if c.calls[i] > 12+8*len(c.health) {
			c.t.Errorf("node %d: %d calls in a minute", i, c.calls[i])
		}
		c.asked, c.called, c.worst = c.asked+c.queries[i], c.called+c.calls[i], max(c.worst, c.queries[i])
		c.queries[i], c.calls[i] = 0, 0
		from := c.served[i]
		if c.since.After(from) {
			from = c.since
		}
		if without := now.Sub(from); !c.since.IsZero() && without > longestWithout {
			c.t.Errorf("node %d: without a registry for %v, while one works", i, without)
		}
	}
}

// spreads checks that the nodes are spread over the registries.
func (c *crowd) spreads(when string) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	n := make([]int, len(c.health))
	for _, r := range c.at {
		n[r]++
	}
	c.t.Logf("%s: nodes at each registry %v", when, n)
	// Six standard deviations are a matter of one run in ten million.
	k := float64(len(n))
	fair, off := float64(c.nodes)/k, 6*math.Sqrt(float64(c.nodes)*(k-1))/k
	if slices.Min(n) == 0 || float64(slices.Min(n)) < fair-off || float64(slices.Max(n)) > fair+off {
		c.t.Errorf("%s: nodes at each registry %v", when, n)
	}
}

// run lets the nodes meet an outage of all registries, and then registries that
// die and recover, each by itself.
func (c *crowd) run(life time.Duration, outage health) {
	begin := time.Now()
	ctx, cancel := context.WithCancel(c.t.Context())
	var group sync.WaitGroup
	for i := range c.nodes {
		group.Go(func() {
			if err := c.node(ctx, i); err != nil {
				c.t.Error(err)
			}
		})
	}
	defer group.Wait()
	defer cancel()
	time.Sleep(30 * time.Second)
	c.spreads("at first")
	for r := range c.health {
		c.set(r, outage)
	}
	for range 5 {
		time.Sleep(time.Minute)
		c.minute()
	}
	for r := range c.health {
		c.set(r, works)
	}
	back := time.Now()
	time.Sleep(longestWithout)
	c.minute()
	c.spreads("after an outage of all")
	c.mu.Lock()
	calls := maps.Clone(c.burst)
	c.mu.Unlock()
	for at, n := range calls {
		if n > c.nodes*3/4 && at.After(back) {
			c.t.Errorf("%d calls in a second, %v after the outage", n, at.Sub(back))
		}
	}

	for r := range c.health {
		group.Go(func() { live(ctx, rand.New(rand.NewPCG(uint64(r), 2)), func(h health) { c.set(r, h) }) })
	}
	group.Go(func() {
		live(ctx, rand.New(rand.NewPCG(99, 2)), func(h health) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.noDNS = h != works
		})
	})
	for time.Since(begin) < life {
		time.Sleep(time.Minute)
		c.minute()
	}
	c.t.Logf("DNS queries a node and minute: %.1f, at most %d; heartbeats %.1f",
		float64(c.asked)/float64(c.nodes)/life.Minutes(), c.worst, float64(c.called)/float64(c.nodes)/life.Minutes())
}

// Thirty nodes, and three registries and a DNS server that die and recover, for
// minutes of virtual time, under LANFOLK_SOAK more nodes and for hours: nobody is
// left without a registry while one works, nobody asks or calls more than a
// little in any minute, when all registries come back at once the nodes don't, and
// they spread over those that work.
func TestCrowd(t *testing.T) {
	life, nodes := 12*time.Minute, 30
	if os.Getenv("LANFOLK_SOAK") != "" {
		life, nodes = 4*time.Hour, 50
	}
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, nodes, 3)
		c.unicast()
		c.run(life, refuses)
	})
}

// live lets something die and recover until ctx ends.
func live(ctx context.Context, chance *rand.Rand, set func(health)) {
	for h := works; ; {
		span := time.Duration(chance.IntN(600)+30) * time.Second
		if h != works {
			span /= 2
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(span):
		}
		if h == works {
			h = health(1 + chance.IntN(3))
		} else {
			h = works
		}
		set(h)
	}
}
