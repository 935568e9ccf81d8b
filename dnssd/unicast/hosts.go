package unicast

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
)

// hostHolding is the host that an instance leads to.
type hostHolding struct {
	holding
	wanted, name dnswire.Name // as it was asked for, and at present
	lease        dnswire.RR   // as it was written last
}

func (g *registration) newHost(wanted dnswire.Name) *hostHolding {
	h := &hostHolding{wanted: wanted, name: wanted}
	if label := g.kept(wanted); label != "" {
		if n, err := wanted.Parent().Prepend(label); err == nil {
			h.name = n
		}
	}
	return h
}

// claimHost makes the host ours, under another name if somebody else has it.
func (g *registration) claimHost(ctx context.Context) error {
	h := g.host
	for range maxRenames {
		if err := g.zoneOf(ctx, &h.holding, h.name); err != nil {
			return err
		}
		taken, err := g.putHost(ctx, h)
		if taken && err == nil && g.removeHostIfDead(ctx, h.name, h.zone) {
			taken, err = g.putHost(ctx, h)
		}
		if err != nil {
			return err
		}
		if !taken {
			g.keep(h.wanted, h.name)
			return nil
		}
		labels := slices.Collect(h.name.Labels())
		labels[0] = nextHost(labels[0])
		if h.name, err = dnswire.NameOf(labels...); err != nil {
			return fmt.Errorf("unicast: register: %w", err)
		}
		g.tell(Renamed, nil, time.Time{})
	}
	return errTaken(h.wanted)
}

func (g *registration) putHost(ctx context.Context, h *hostHolding) (taken bool, err error) {
	addresses := hostRecords(h.name, g.offer.Addresses, g.ttl)
	c := claim{free: notInUse(h.name), as: exactHost(h.name, addresses)}
	c.change = func(was []dnswire.RR) []dnswire.RR {
		if was == nil || slices.Equal(was, c.as) {
			return addresses
		}
		return append([]dnswire.RR{withoutAll(h.name, dnswire.TypeA), withoutAll(h.name, dnswire.TypeAAAA)}, addresses...)
	}
	var record dnswire.RR
	if c.lease, record, c.until, err = g.hostLease(ctx, h); err != nil {
		return false, err
	}
	_, taken, err = g.put(ctx, &h.holding, c)
	if h.ours {
		h.lease = record
	}
	return taken, err
}

// hostLease returns the changes that renew the host's lease record for the
// instance, and that record; those for others stay.
func (g *registration) hostLease(ctx context.Context, h *hostHolding) ([]dnswire.RR, dnswire.RR, time.Time, error) {
	if time.Now().Before(h.leaseNext) {
		return nil, dnswire.RR{}, time.Time{}, nil
	}
	until := time.Now().Add(g.lease)
	rr, err := lease{until: until, holder: holderOf(g.names.instance)}.record(h.name, g.ttl)
	if err != nil {
		g.noLease(&h.holding, err)
		return nil, dnswire.RR{}, time.Time{}, nil
	}
	there, err := g.hostLeases(ctx, h)
	if err != nil {
		return nil, dnswire.RR{}, time.Time{}, err
	}
	var out []dnswire.RR
	for _, m := range there.mine {
		out = append(out, without(m))
	}
	if !g.granted {
		out = append(out, rr)
	}
	return out, rr, until, nil
}

// leases are the lease records of a host.
type leases struct {
	at   dnswire.Name
	all  []dnswire.RR
	mine []dnswire.RR // for this instance
	held bool         // for another one, and they hold
}

// hostLeases asks for the host's lease records.
func (g *registration) hostLeases(ctx context.Context, h *hostHolding) (l leases, err error) {
	if l.at, err = leaseName(h.name); err != nil {
		return l, err
	}
	if l.all, err = g.pool.records(ctx, l.at, dnswire.TypeTXT, maxLeases); err != nil {
		return l, err
	}
	holder := holderOf(g.names.instance)
	for _, rr := range l.all {
		switch one, ok := parseLease(rr); {
		// The instance may have had another name when the lease was written.
		case ok && (one.holder == holder || rr.SameData(h.lease)):
			l.mine = append(l.mine, rr)
		case !ok || !one.ranOut(time.Now(), g.grace):
			l.held = true
		}
	}
	return l, nil
}

// hostRecords are a host's addresses.
func hostRecords(host dnswire.Name, addresses []netip.Addr, ttl uint32) []dnswire.RR {
	var out []dnswire.RR
	for _, a := range addresses {
		if rr := dnswire.NewAddr(host, a, ttl); !slices.Contains(out, rr) {
			out = append(out, rr)
		}
	}
	return out
}

// exactHost requires that the host has these addresses and no others.
func exactHost(host dnswire.Name, addresses []dnswire.RR) []dnswire.RR {
	var out []dnswire.RR
	has := map[dnswire.Type]bool{}
	for _, rr := range addresses {
		has[rr.Type] = true
		out = append(out, exactly(rr))
	}
	for _, t := range [...]dnswire.Type{dnswire.TypeA, dnswire.TypeAAAA} {
		if !has[t] {
			out = append(out, absent(host, t))
		}
	}
	return out
}

// takeBackFormer removes the hosts that the instance led to before.
func (g *registration) takeBackFormer(ctx context.Context) error {
	var errs []error
	g.former = slices.DeleteFunc(g.former, func(h *hostHolding) bool {
		if !h.ours {
			return true
		}
		err := g.takeBackHost(ctx, h)
		errs = append(errs, err)
		return err == nil
	})
	return errors.Join(errs...)
}

// takeBackHost removes the host's addresses, if no other instance keeps them.
func (g *registration) takeBackHost(ctx context.Context, h *hostHolding) error {
	const tries = 3 // somebody else may write a lease in between
	for range tries {
		done, err := g.takeBackHostOnce(ctx, h)
		if err != nil {
			return err
		}
		if done {
			break
		}
	}
	h.ours, h.left = false, nil
	return nil
}

// takeBackHostOnce says whether the host is as it should be; if not, its leases
// changed meanwhile, or it isn't ours any more.
func (g *registration) takeBackHostOnce(ctx context.Context, h *hostHolding) (bool, error) {
	var l leases
	var same, drop []dnswire.RR // that the leases are as they were read; what goes of them
	if h.leaseErr == nil {
		var err error
		if l, err = g.hostLeases(ctx, h); err != nil {
			return false, err
		}
		same, drop = requireAll(l.at, dnswire.TypeTXT, l.all), []dnswire.RR{withoutAll(l.at, dnswire.TypeTXT)}
	}
	if l.held {
		if len(l.mine) == 0 {
			return true, nil
		}
		u := update{zone: h.zone, require: same}
		for _, rr := range l.mine {
			u.change = append(u.change, without(rr))
		}
		return g.sendIf(ctx, u)
	}
	for _, was := range slices.Backward(h.left) {
		u := update{zone: h.zone, require: slices.Concat(was, same)}
		u.change = append(drop, withoutAll(h.name, dnswire.TypeA), withoutAll(h.name, dnswire.TypeAAAA))
		if done, err := g.sendIf(ctx, u); done || err != nil {
			return done, err
		}
	}
	return false, nil
}

// sendIf says whether the update's prerequisites were met.
func (g *registration) sendIf(ctx context.Context, u update) (bool, error) {
	_, err := g.pool.send(ctx, u, g.Key)
	if prerequisite(err) {
		return false, nil
	}
	return err == nil, err
}
