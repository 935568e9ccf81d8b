package unicast

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
)

const (
	// maxSwept bounds the instances that are looked at in one sweep; they are
	// chosen at random, so that the others have their turn.
	maxSwept  = 1000
	sweepTime = 10 * time.Second
	// maxDead bounds what is read of one instance or host.
	maxDead = 64
)

// sweepEvery is the average time between sweeps.
func (g *registration) sweepEvery() time.Duration {
	if g.Sweep > 0 {
		return g.Sweep
	}
	return g.lease
}

// sweep looks at the instances of the type and removes those whose lease ran out:
// what had them registered has died. Every Registrar does, at random times, so that one
// that lives is enough. A lease that can't be read is left alone.
func (g *registration) sweep(ctx context.Context) {
	every := g.sweepEvery()
	g.sweepAt = time.Now().Add(every/2 + rand.N(every))
	if g.service.zone == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, sweepTime)
	defer cancel()
	pointers, err := g.pool.records(ctx, g.names.service, dnswire.TypePTR, 1<<16)
	if err != nil {
		return // who renews tells
	}
	rand.Shuffle(len(pointers), func(i, j int) { pointers[i], pointers[j] = pointers[j], pointers[i] })
	for _, rr := range pointers[:min(len(pointers), maxSwept)] {
		if to, ok := rr.PTR(); ok && to.Parent().Equal(g.names.service) && !to.Equal(g.names.instance) {
			g.removeIfDead(ctx, to, g.service.zone)
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// leasesOf returns the leases of a name, none if there are none or it can't be asked.
func (g *registration) leasesOf(ctx context.Context, n dnswire.Name) []lease {
	_, all := g.leaseRecords(ctx, n)
	return all
}

func (g *registration) leaseRecords(ctx context.Context, n dnswire.Name) (records []dnswire.RR, all []lease) {
	at, err := leaseName(n)
	if err != nil {
		return nil, nil
	}
	records, err = g.pool.records(ctx, at, dnswire.TypeTXT, maxLeases)
	if err != nil {
		return nil, nil
	}
	for _, rr := range records {
		if l, ok := parseLease(rr); ok {
			all = append(all, l)
		}
	}
	return records, all
}

// dead returns the lease records of a name that all ran out, nil if there are none
// or one holds.
func (g *registration) dead(ctx context.Context, n dnswire.Name) ([]dnswire.RR, []lease) {
	records, all := g.leaseRecords(ctx, n)
	now := time.Now()
	if len(all) == 0 || len(all) != len(records) || slices.ContainsFunc(all, func(l lease) bool { return !l.ranOut(now, g.grace) }) {
		return nil, nil
	}
	return records, all
}

// removeIfDead removes an instance whose lease ran out, and the hosts that it kept
// if nobody else does. It says whether the instance is gone. Nothing happens to one
// that was renewed meanwhile: its records must be just those that were read.
func (g *registration) removeIfDead(ctx context.Context, instance, zone dnswire.Name) bool {
	if _, ok := g.cannot[instance.Fold()]; ok {
		return false
	}
	records, all := g.dead(ctx, instance)
	if records == nil {
		return false
	}
	srv, err := g.pool.records(ctx, instance, dnswire.TypeSRV, maxDead)
	if err != nil {
		return false
	}
	// The hosts first: nothing leads to them any more when the instance is gone.
	for _, h := range hostsOf(srv, all) {
		if !g.release(ctx, h, holderOf(instance)) {
			return false
		}
	}
	service := instance.Parent()
	at := records[0].Name
	u := update{zone: zone, require: slices.Concat(requireAll(at, dnswire.TypeTXT, records), requireAll(instance, dnswire.TypeSRV, srv))}
	u.change = append(u.change, withoutAll(instance, dnswire.TypeSRV), withoutAll(instance, dnswire.TypeTXT), withoutAll(at, dnswire.TypeTXT),
		without(dnswire.NewPTR(service, instance, 0)))
	for _, l := range all {
		for _, s := range l.subtypes {
			if n, err := (names{service: service}).subtype(s); err == nil {
				u.change = append(u.change, without(dnswire.NewPTR(n, instance, 0)))
			}
		}
	}
	if !g.remove(ctx, u, instance) {
		return false
	}
	g.unlist(ctx, zone, g.names.types, service) //nolint:errcheck // it is only a list; the next one who leaves does it
	return true
}

// hostsOf are the hosts that an instance led to, by its SRV records and its leases.
func hostsOf(srv []dnswire.RR, all []lease) []dnswire.Name {
	var out []dnswire.Name
	add := func(n dnswire.Name) {
		if !slices.ContainsFunc(out, n.Equal) && len(out) < maxDead && n != dnswire.Root {
			out = append(out, n)
		}
	}
	for _, rr := range srv {
		if s, ok := rr.SRV(); ok {
			add(s.Target)
		}
	}
	for _, l := range all {
		for _, h := range l.hosts {
			if n, err := dnswire.ParseName(h); err == nil {
				add(n)
			}
		}
	}
	return out
}

// release ends that a dead instance keeps a host: its lease goes and, if it was
// the last, the host's addresses. It says whether there is nothing left to do, now
// or later: a host without a lease was never to be removed, nor is one that the server
// keeps from us.
func (g *registration) release(ctx context.Context, host dnswire.Name, holder string) bool {
	if _, ok := g.cannot[host.Fold()]; ok || Multicast(host) {
		return true
	}
	at, err := leaseName(host)
	if err != nil {
		return true
	}
	records, err := g.pool.records(ctx, at, dnswire.TypeTXT, maxLeases)
	if err != nil {
		return false
	}
	var stale []dnswire.RR
	for _, rr := range records {
		if l, ok := parseLease(rr); ok && l.holder == holder && !rr.SameData(g.host.lease) {
			if !l.ranOut(time.Now(), g.grace) {
				return false // it was renewed after the instance's
			}
			stale = append(stale, rr)
		}
	}
	if len(stale) == 0 {
		return true
	}
	zone, err := g.pool.zoneOf(ctx, host)
	if err != nil {
		return false
	}
	if g.removeHostIfDead(ctx, host, zone) {
		return true
	}
	u := update{zone: zone, require: requireAll(at, dnswire.TypeTXT, records)}
	for _, rr := range stale {
		u.change = append(u.change, without(rr))
	}
	done, err := g.sendIf(ctx, u)
	return done || policy(err)
}

// removeHostIfDead removes a host's addresses if all its leases ran out, and says
// whether they are gone.
func (g *registration) removeHostIfDead(ctx context.Context, host, zone dnswire.Name) bool {
	if _, ok := g.cannot[host.Fold()]; ok {
		return false
	}
	records, _ := g.dead(ctx, host)
	if records == nil {
		return false
	}
	at := records[0].Name
	u := update{zone: zone, require: requireAll(at, dnswire.TypeTXT, records)}
	for _, t := range [...]dnswire.Type{dnswire.TypeA, dnswire.TypeAAAA} {
		addresses, err := g.pool.records(ctx, host, t, maxDead)
		if err != nil {
			return false
		}
		u.require = append(u.require, requireAll(host, t, addresses)...)
		u.change = append(u.change, withoutAll(host, t))
	}
	u.change = append(u.change, withoutAll(at, dnswire.TypeTXT))
	return g.remove(ctx, u, host)
}

// remove has a server remove what somebody who died has left.
func (g *registration) remove(ctx context.Context, u update, n dnswire.Name) bool {
	done, err := g.sendIf(ctx, u)
	switch {
	case done:
		g.Log.Info("removed what a program left that died", "name", n.String())
	case policy(err):
		if len(g.cannot) >= maxSwept {
			clear(g.cannot)
		}
		g.cannot[n.Fold()] = struct{}{}
		g.Log.Info("the server doesn't let us remove what another program left that died", "name", n.String(), "err", err)
	}
	return done
}
