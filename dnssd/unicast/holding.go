package unicast

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
)

// leaseRetry is when a server that refused a lease record is asked again.
const leaseRetry = time.Hour

// holding is a name in a zone, and what is ours there.
type holding struct {
	zone dnswire.Name
	ours bool
	// left are prerequisites, each of them for the name as we may have left it,
	// the newest last: more than one while an answer is lost.
	left [][]dnswire.RR
	// expires is until when the lease record says that we live. leaseErr is why
	// there is none, and leaseNext when to try again.
	expires   time.Time
	leaseErr  error
	leaseNext time.Time
}

// maxLeft bounds the states that a name may have been left in.
const maxLeft = 8

// may notes that the name may be as these prerequisites say.
func (h *holding) may(as []dnswire.RR) {
	h.left = slices.DeleteFunc(h.left, func(s []dnswire.RR) bool { return slices.Equal(s, as) })
	if h.left = append(h.left, as); len(h.left) > maxLeft {
		h.left = slices.Delete(h.left, 0, 1)
	}
}

// claim is what makes a name ours.
type claim struct {
	free dnswire.RR   // requires that the name is in nobody's use
	as   []dnswire.RR // requires that it is as the claim makes it
	// change makes it so. was is what was required of the name, nil if it is free.
	change func(was []dnswire.RR) []dnswire.RR
	lease  []dnswire.RR // changes that renew the lease record
	until  time.Time    // what it says
}

// put carries out a claim: it requires one after the other what the name may
// be like. What is ours most likely still is; what is new is most likely free.
// taken says that the name is somebody else's.
func (g *registration) put(ctx context.Context, h *holding, c claim) (granted time.Duration, taken bool, err error) {
	whole, cancel := unbroken(ctx)
	defer cancel()
	states := [][]dnswire.RR{c.as}
	for _, s := range slices.Backward(h.left) {
		if !slices.Equal(s, c.as) {
			states = append(states, s)
		}
	}
	if h.ours && len(h.left) > 0 && !slices.Equal(h.left[len(h.left)-1], c.as) {
		states[0], states[1] = states[1], states[0] // it was changed
	}
	if h.ours {
		// Where the server has lost it, and then its answer is: what was sent twice finds it there.
		states = append(states, nil, c.as)
	} else {
		states = slices.Insert(states, 0, nil)
	}
	for _, was := range states {
		if err := ctx.Err(); err != nil {
			return 0, false, err // nothing more is begun
		}
		u := update{zone: h.zone, require: was, change: c.change(was), lease: g.lease}
		if was == nil {
			u.require = []dnswire.RR{c.free}
		}
		granted, err := g.sendWithLease(whole, h, u, c.lease)
		if err == nil {
			h.ours, h.left, h.expires = true, [][]dnswire.RR{c.as}, time.Time{}
			switch {
			case granted > 0:
				h.expires = time.Now().Add(granted)
			case h.leaseErr == nil:
				h.expires = c.until
			}
			return granted, false, nil
		}
		if !prerequisite(err) {
			// One whose answer was lost may have been carried out. If it is taken
			// back in vain no harm is done.
			if whole.Err() != nil || errors.Is(err, ErrNoAnswer) {
				h.ours = true
				h.may(c.as)
			}
			return 0, false, err
		}
	}
	h.ours, h.left = false, nil
	return 0, true, nil
}

// unbroken gives what is under way when ctx ends a second to finish. An update that is cut off may be
// carried out after the one that takes its records back.
func unbroken(ctx context.Context) (context.Context, context.CancelFunc) {
	whole, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-time.After(time.Second):
			cancel()
		case <-whole.Done():
		}
	})
	return whole, func() { stop(); cancel() }
}

// sendWithLease sends an update together with changes of a lease record. A
// server whose policy doesn't let us write that gets the update without it.
func (g *registration) sendWithLease(ctx context.Context, h *holding, u update, lease []dnswire.RR) (time.Duration, error) {
	if len(lease) == 0 || time.Now().Before(h.leaseNext) {
		return g.pool.send(ctx, u, g.Key)
	}
	whole := u
	whole.change = slices.Concat(u.change, lease)
	granted, err := g.pool.send(ctx, whole, g.Key)
	if err == nil {
		h.leaseErr = nil
	}
	if err == nil || !policy(err) {
		return granted, err
	}
	refused := err
	granted, err = g.pool.send(ctx, u, g.Key)
	if err != nil && !prerequisite(err) {
		return 0, err
	}
	if h.leaseErr == nil {
		g.Log.Warn("the server takes no lease record: if this program dies, the service stays registered",
			"name", lease[0].Name.String(), "err", refused)
	}
	h.leaseErr, h.leaseNext = refused, time.Now().Add(leaseRetry)
	return granted, err
}

// noLease notes that no lease record can be written at all.
func (g *registration) noLease(h *holding, err error) {
	if h.leaseErr == nil {
		g.Log.Warn("a lease record can't be written: if this program dies, the service stays registered", "err", err)
	}
	h.leaseErr = err
}

// policy says whether a server may refuse an update for one of its names. Knot says
// then that it doesn't know the key.
func policy(err error) bool {
	var e *RcodeError
	return errors.As(err, &e) && (e.Rcode == rcodeRefused || e.Rcode == rcodeNotAuth || e.TSIG && e.Rcode == rcodeBadKey)
}

// prerequisite says whether an update failed because the name isn't as it was
// required to be.
func prerequisite(err error) bool {
	var e *RcodeError
	return errors.As(err, &e) && (e.Rcode == rcodeYXDomain || e.Rcode == rcodeYXRRSet || e.Rcode == rcodeNXRRSet || e.Rcode == rcodeNXDomain)
}

// records asks the server for the records of a name, none if there are none. At
// most n are returned.
func (p *pool) records(ctx context.Context, name dnswire.Name, t dnswire.Type, n int) ([]dnswire.RR, error) {
	a, err := p.ask(ctx, name, t)
	if err != nil {
		return nil, err
	}
	if a.verdict != found {
		return nil, nil
	}
	return a.records[:min(len(a.records), n)], nil
}

// requireAll requires that these are all the records of a name and type, or that
// there are none.
func requireAll(n dnswire.Name, t dnswire.Type, records []dnswire.RR) []dnswire.RR {
	if len(records) == 0 {
		return []dnswire.RR{absent(n, t)}
	}
	var out []dnswire.RR
	for _, rr := range records {
		rr.Name = n
		out = append(out, exactly(rr))
	}
	return out
}
