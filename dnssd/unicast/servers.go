package unicast

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
)

// DefaultPort is where DNS servers listen.
const DefaultPort = 53

const (
	// DefaultTimeout is how long a server has for its first try. Each round
	// doubles it. So it takes three seconds to learn that a server is silent, and
	// a quarter of a second more for each other one.
	DefaultTimeout = time.Second
	// DefaultAttempts is how often each server is tried.
	DefaultAttempts = 2
	// firstPenalty is how long a server that failed comes last; it doubles with
	// each failure in a row, up to maxPenalty.
	firstPenalty = 10 * time.Second
	maxPenalty   = 5 * time.Minute
	maxAttempts  = 5
	maxTimeout   = 30 * time.Second
)

// Servers says which DNS servers are asked, and how. The zero values of all
// fields but Addrs and Dial are useful.
type Servers struct {
	// Addrs are asked in this order until one knows. One that fails comes last
	// for a while. One that is silent for a quarter of Timeout gets company from the next.
	Addrs []netip.AddrPort
	// Dial opens the connections.
	Dial DialFunc
	// Timeout is for the first try of a server, 0 for DefaultTimeout.
	Timeout time.Duration
	// Attempts is how often each server is tried, 0 for DefaultAttempts.
	Attempts int
	Rotate   bool // begin with another server each time
	TCP      bool // never UDP
	NoEDNS   bool
}

// pool is Servers with what is known about them.
type pool struct {
	Servers
	conns *conns

	mu     sync.Mutex
	health map[netip.AddrPort]*health
	turn   int
}

type health struct {
	failures int
	until    time.Time // last until then
	plain    bool      // takes no EDNS
}

func newPool(s Servers) *pool {
	p := &pool{Servers: s, conns: newConns(s.Dial), health: make(map[netip.AddrPort]*health, len(s.Addrs))}
	if p.Timeout <= 0 {
		p.Timeout = DefaultTimeout
	}
	p.Timeout = min(p.Timeout, maxTimeout)
	if p.Attempts <= 0 {
		p.Attempts = DefaultAttempts
	}
	p.Attempts = min(p.Attempts, maxAttempts)
	for _, a := range s.Addrs {
		p.health[a] = &health{}
	}
	return p
}

// order returns the servers, those that work first.
func (p *pool) order(now time.Time) []netip.AddrPort {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := slices.Clone(p.Addrs)
	if p.Rotate && len(out) > 1 {
		p.turn = (p.turn + 1) % len(out)
		out = append(out[p.turn:len(out):len(out)], out[:p.turn]...)
	}
	slices.SortStableFunc(out, func(a, b netip.AddrPort) int {
		return penalty(p.health[a], now).Compare(penalty(p.health[b], now))
	})
	return out
}

func penalty(h *health, now time.Time) time.Time {
	if h.until.After(now) {
		return h.until
	}
	return time.Time{}
}

// note remembers whether a server did its work.
func (p *pool) note(server netip.AddrPort, now time.Time, worked bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.health[server]
	if worked {
		h.failures, h.until = 0, time.Time{}
		return
	}
	if h.until.After(now) {
		return // of many queries at a time the first one's failure counts
	}
	h.failures = min(h.failures+1, 10)
	h.until = now.Add(min(firstPenalty<<(h.failures-1), maxPenalty))
}

func (p *pool) edns(server netip.AddrPort) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.NoEDNS && !p.health[server].plain
}

func (p *pool) noEDNS(server netip.AddrPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.health[server].plain = true
}

// resolve asks for a name and what it is an alias of: as it is first, in UTF-8,
// and after a negative answer with A-labels (RFC 6763 §4.1.3).
func (p *pool) resolve(ctx context.Context, name dnswire.Name, t dnswire.Type) (answer, error) {
	first, err := p.follow(ctx, name, t)
	if err != nil || first.verdict == found {
		return first, err
	}
	for _, n := range withALabels(name) {
		a, err := p.follow(ctx, n, t)
		if err != nil {
			return answer{}, err
		}
		if a.verdict == found {
			for i := range a.records {
				a.records[i].Name = name
			}
			return a, nil
		}
	}
	return first, nil
}

// follow asks for a name, and for those that it is an alias of where the
// answers don't hold their records.
func (p *pool) follow(ctx context.Context, name dnswire.Name, t dnswire.Type) (answer, error) {
	at, links, ttl := name, 0, longest
	for {
		a, err := p.ask(ctx, at, t)
		if err != nil {
			return answer{}, err
		}
		links += a.links
		a.ttl = min(a.ttl, ttl)
		if a.verdict == another && links < maxAliases {
			at, ttl = a.alias, a.ttl
			continue
		}
		if a.verdict == another {
			a.verdict, a.ttl = noData, noSOATTL
		}
		for i := range a.records {
			a.records[i].Name = name
		}
		return a, nil
	}
}

// ask puts one question to the servers until one knows.
func (p *pool) ask(ctx context.Context, name dnswire.Name, t dnswire.Type) (answer, error) {
	servers := p.order(time.Now())
	switch len(servers) {
	case 0:
		return answer{}, errors.New("unicast: no DNS server is known")
	case 1:
		return p.askAlone(ctx, servers[0], name, t)
	}
	r := race{pool: p, name: name, typ: t, servers: servers, running: map[netip.AddrPort]time.Time{}, ended: make(chan outcome, p.Attempts*len(servers))}
	return r.run(ctx)
}

// askAlone puts one question to the only server.
func (p *pool) askAlone(ctx context.Context, s netip.AddrPort, name dnswire.Name, t dnswire.Type) (answer, error) {
	var first error
	for round := range p.Attempts {
		a, err := p.askOne(ctx, s, name, t, p.timeout(round))
		if ctx.Err() != nil {
			return answer{}, fmt.Errorf("unicast: %w", ctx.Err())
		}
		p.note(s, time.Now(), err == nil)
		if err == nil {
			a.server = s
			return a, nil
		}
		first = telling(first, err)
	}
	return answer{}, first
}

// timeout is how long a server has in a round.
func (p *pool) timeout(round int) time.Duration { return min(p.Timeout<<round, maxTimeout) }

// telling returns the error that says more: the first word from a server rather
// than silence.
func telling(a, b error) error {
	if a == nil || errors.Is(a, ErrNoAnswer) && !errors.Is(b, ErrNoAnswer) {
		return b
	}
	return a
}

func (p *pool) askOne(ctx context.Context, server netip.AddrPort, name dnswire.Name, t dnswire.Type, timeout time.Duration) (answer, error) {
	edns := p.edns(server)
	m, err := p.exchange(ctx, server, name, t, edns, timeout)
	if err != nil {
		return answer{}, err
	}
	// A server from before EDNS takes the OPT record for a mistake (RFC 6891 §7).
	if code := rcode(&m); edns && (code == rcodeFormErr || code == rcodeNotImp || code == rcodeBadVers) {
		if m, err = p.exchange(ctx, server, name, t, false, timeout); err != nil {
			return answer{}, err
		}
		if c := rcode(&m); c == rcodeNoError || c == rcodeNXDomain {
			p.noEDNS(server)
		}
	}
	if code := rcode(&m); code != rcodeNoError && code != rcodeNXDomain {
		return answer{}, &RcodeError{Server: server, Rcode: code}
	}
	a := read(&m, name, t)
	if a.verdict == lame {
		return answer{}, fmt.Errorf("unicast: %s %w", server, errLame)
	}
	return a, nil
}

func (p *pool) exchange(ctx context.Context, server netip.AddrPort, name dnswire.Name, t dnswire.Type, edns bool, timeout time.Duration) (dnswire.Message, error) {
	q, err := newQuery(name, t, edns)
	if err != nil {
		return dnswire.Message{}, err
	}
	r, err := p.conns.exchange(ctx, server, q, p.TCP, timeout)
	return r.Message, err
}
