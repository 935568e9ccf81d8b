package unicast

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
)

// register puts the records there, or finds that they are. It returns the lease
// that the server grants, 0 if it grants none.
func (g *registration) register(ctx context.Context) (time.Duration, error) {
	if err := g.zoneOf(ctx, &g.service, g.names.service); err != nil {
		return 0, err
	}
	granted, err := g.registerOnce(ctx)
	if err != nil || g.granted == (granted > 0) {
		return granted, err
	}
	g.granted = granted > 0 // lease records aren't needed any more, or are again
	return g.registerOnce(ctx)
}

func (g *registration) registerOnce(ctx context.Context) (time.Duration, error) {
	if len(g.offer.Addresses) > 0 {
		if err := g.claimHost(ctx); err != nil {
			return 0, err
		}
	}
	named := g.names.instance
	granted, err := g.claimInstance(ctx)
	if err != nil {
		return 0, err
	}
	if len(g.offer.Addresses) > 0 && !named.Equal(g.names.instance) {
		// The lease of the host is to name the instance as it is called now.
		if err := g.claimHost(ctx); err != nil {
			return 0, err
		}
	}
	if len(g.offer.Addresses) == 0 && g.host.ours {
		if err := g.takeBackHost(ctx, g.host); err != nil {
			return 0, err
		}
	}
	return granted, g.takeBackFormer(ctx)
}

func (g *registration) srv() dnswire.RR {
	return dnswire.NewSRV(g.names.instance, dnswire.SRV{Priority: g.offer.Priority, Weight: g.offer.Weight, Port: g.offer.Port, Target: g.host.name}, g.ttl)
}

// claimInstance makes the instance ours, under another name if somebody else has it.
func (g *registration) claimInstance(ctx context.Context) (time.Duration, error) {
	wanted := g.names.instance
	for range maxRenames {
		granted, taken, err := g.putInstance(ctx)
		if taken && err == nil && g.removeIfDead(ctx, g.names.instance, g.service.zone) {
			granted, taken, err = g.putInstance(ctx)
		}
		if err != nil {
			return 0, err
		}
		if !taken {
			g.keep(g.wantedInstance(), g.names.instance)
			return granted, nil
		}
		g.instance.Name = nextName(g.instance.Name)
		if err := g.rename(); err != nil {
			return 0, err
		}
		g.tell(Renamed, nil, time.Time{})
	}
	return 0, errTaken(wanted)
}

// wantedInstance is the instance's name as it was asked for.
func (g *registration) wantedInstance() dnswire.Name {
	n, err := g.Instance.FullName()
	if err != nil { // begin has seen that it is right
		return g.names.instance
	}
	return n
}

func (g *registration) putInstance(ctx context.Context) (time.Duration, bool, error) {
	n := g.names
	c := claim{free: notInUse(n.instance), as: []dnswire.RR{exactly(g.srv())}}
	if !g.service.ours {
		// After a crash there may be subtypes of which only the lease knows.
		for _, l := range g.leasesOf(ctx, n.instance) {
			g.leftSubtypes(l.subtypes)
		}
	}
	txt, err := dnswire.NewTXT(n.instance, g.ttl, g.offer.TXT...)
	if err != nil {
		return 0, false, fmt.Errorf("unicast: register: %w", err)
	}
	c.change = func(was []dnswire.RR) []dnswire.RR {
		var out []dnswire.RR
		if was != nil {
			out = append(out, withoutAll(n.instance, dnswire.TypeTXT))
			if !slices.Equal(was, c.as) {
				out = append(out, withoutAll(n.instance, dnswire.TypeSRV))
			}
		}
		out = append(out, g.staleSubtypes()...)
		out = append(out, txt, g.srv(), dnswire.NewPTR(n.types, n.service, g.ttl))
		return append(out, g.pointers()...)
	}
	c.lease, c.until = g.instanceLease()
	granted, taken, err := g.put(ctx, &g.service, c)
	if err == nil && !taken {
		clear(g.subtypes)
	}
	g.leftSubtypes(g.offer.Subtypes)
	return granted, taken, err
}

// instanceLease returns the changes that renew the instance's lease record.
func (g *registration) instanceLease() ([]dnswire.RR, time.Time) {
	until := time.Now().Add(g.lease)
	l := lease{until: until, subtypes: g.offer.Subtypes}
	for _, h := range g.former {
		if h.ours {
			l.hosts = append(l.hosts, h.name.String())
		}
	}
	rr, err := l.record(g.names.instance, g.ttl)
	if err != nil {
		g.noLease(&g.service, err)
		return nil, time.Time{}
	}
	out := []dnswire.RR{withoutAll(rr.Name, dnswire.TypeTXT)}
	if !g.granted {
		out = append(out, rr)
	}
	return out, until
}

// leftSubtypes notes that the instance may be found by these subtypes.
func (g *registration) leftSubtypes(subtypes []string) {
	for _, s := range subtypes {
		if n, err := g.names.subtype(s); err == nil {
			g.subtypes[n.Fold()] = struct{}{}
		}
	}
}

// staleSubtypes takes back what leads to the instance by subtypes that it doesn't
// have any more.
func (g *registration) staleSubtypes() []dnswire.RR {
	var out []dnswire.RR
	for s := range g.subtypes {
		if !slices.ContainsFunc(g.names.subtypes, s.Equal) {
			out = append(out, without(dnswire.NewPTR(s, g.names.instance, 0)))
		}
	}
	return out
}

// pointers are the PTR records that lead to the instance.
func (g *registration) pointers() []dnswire.RR {
	out := []dnswire.RR{dnswire.NewPTR(g.names.service, g.names.instance, g.ttl)}
	for _, s := range g.names.subtypes {
		out = append(out, dnswire.NewPTR(s, g.names.instance, g.ttl))
	}
	return out
}

// takeBackAll removes all that is ours.
func (g *registration) takeBackAll(ctx context.Context) error {
	// The hosts first: if that is as far as we get, the instance's lease still leads
	// to what is left.
	errs := []error{g.takeBackFormer(ctx)}
	if g.host.ours {
		errs = append(errs, g.takeBackHost(ctx, g.host))
	}
	if err := errors.Join(errs...); err != nil && !policy(err) {
		return err
	}
	if g.service.ours {
		errs = append(errs, g.takeBack(ctx))
	}
	return errors.Join(errs...)
}

// takeBack removes the instance, and its type from the list of types if it was
// the last of it.
func (g *registration) takeBack(ctx context.Context) error {
	n := g.names
	change := append(g.staleSubtypes(), withoutAll(n.instance, dnswire.TypeSRV), withoutAll(n.instance, dnswire.TypeTXT))
	for _, rr := range g.pointers() {
		change = append(change, without(rr))
	}
	var leases []dnswire.RR
	if at, err := leaseName(n.instance); err == nil {
		leases = []dnswire.RR{withoutAll(at, dnswire.TypeTXT)}
	}
	for _, was := range slices.Backward(g.service.left) {
		_, err := g.sendWithLease(ctx, &g.service, update{zone: g.service.zone, require: was, change: change}, leases)
		if prerequisite(err) {
			continue // it is somebody else's now, or gone, or as an earlier update left it
		}
		if err != nil {
			return err
		}
		break
	}
	if err := g.unlist(ctx, g.service.zone, n.types, n.service); err != nil {
		return err
	}
	g.service.ours, g.service.left = false, nil
	clear(g.subtypes)
	return nil
}

// unlist takes a type out of the list of types if there is nothing of it any more.
func (g *registration) unlist(ctx context.Context, zone, types, service dnswire.Name) error {
	u := update{
		zone:    zone,
		require: []dnswire.RR{absent(service, dnswire.TypePTR)},
		change:  []dnswire.RR{without(dnswire.NewPTR(types, service, 0))},
	}
	if _, err := g.pool.send(ctx, u, g.Key); err != nil && !prerequisite(err) {
		return err
	}
	return nil
}
