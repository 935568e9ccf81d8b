package unicast

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
)

// race asks one of several servers, and another one, too, when that fails or is
// silent for a while. The first answer wins.
type race struct {
	pool    *pool
	name    dnswire.Name
	typ     dnswire.Type
	servers []netip.AddrPort
	started int // tries so far, round by round
	last    time.Time
	running map[netip.AddrPort]time.Time // since when
	ended   chan outcome
	err     error // the most telling so far
}

type outcome struct {
	server netip.AddrPort
	answer answer
	err    error
}

// patience is how long a silent server is waited for alone.
func (p *pool) patience() time.Duration { return p.Timeout / 4 }

func (r *race) run(ctx context.Context) (answer, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // of the others
	r.start(ctx)
	for len(r.running) > 0 {
		var company <-chan time.Time
		if r.idle() {
			company = time.After(time.Until(r.last.Add(r.pool.patience())))
		}
		select {
		case <-ctx.Done():
			return answer{}, fmt.Errorf("unicast: %w", ctx.Err())
		case <-company:
			r.start(ctx)
		case o := <-r.ended:
			if ctx.Err() != nil {
				return answer{}, fmt.Errorf("unicast: %w", ctx.Err())
			}
			now := time.Now()
			delete(r.running, o.server)
			r.pool.note(o.server, now, o.err == nil)
			if o.err == nil {
				r.outrun(now)
				o.answer.server = o.server
				return o.answer, nil
			}
			r.err = telling(r.err, o.err)
			if r.idle() {
				r.start(ctx)
			}
		}
	}
	return answer{}, r.err
}

// next returns the server whose turn it is.
func (r *race) next() netip.AddrPort { return r.servers[r.started%len(r.servers)] }

// idle says whether there is another try, with a server that isn't asked just now.
func (r *race) idle() bool {
	_, busy := r.running[r.next()]
	return !busy && r.started < r.pool.Attempts*len(r.servers)
}

func (r *race) start(ctx context.Context) {
	s, timeout := r.next(), r.pool.timeout(r.started/len(r.servers))
	r.started++
	r.last = time.Now()
	r.running[s] = r.last
	go func() {
		a, err := r.pool.askOne(ctx, s, r.name, r.typ, timeout)
		r.ended <- outcome{s, a, err}
	}()
}

// outrun notes the servers that were silent for so long that another one was
// faster: it is asked first for a while.
func (r *race) outrun(now time.Time) {
	for s, since := range r.running {
		if now.Sub(since) >= r.pool.patience() {
			r.pool.note(s, now, false)
		}
	}
}
