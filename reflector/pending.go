package reflector

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/mdns"
)

const (
	// Shared records wait for others to answer (RFC 6762 §6).
	sharedMin = 20 * time.Millisecond
	sharedMax = 120 * time.Millisecond
	// uniqueWait lets what one packet brought leave in one packet.
	uniqueWait = 5 * time.Millisecond
	// When more known answers are to come, answers wait for them (§7.2).
	truncatedMin = 400 * time.Millisecond
	truncatedMax = 500 * time.Millisecond
	// pause is the least time between two multicasts of a record on a link (§6).
	pause = time.Second
	// maxPending bounds the records that wait on one route.
	maxPending = 4096
)

// pending is what waits to be told on one route.
type pending struct {
	timer *time.Timer
	due   time.Time // when the timer goes off
	items []item
}

// item is a record that is to be told.
type item struct {
	k   *known
	due time.Time
	// asker is who asked for it, alone; the zero Addr if that was anybody else, too.
	asker   netip.Addr
	goodbye bool
}

// answer has a record told to somebody who asked for it.
func (p *Proxy) answer(now time.Time, r route, k *known, pk *mdns.Packet) {
	due := now.Add(uniqueWait)
	switch {
	case pk.Message.Truncated:
		due = now.Add(truncatedMin + rand.N(truncatedMax-truncatedMin))
	case !k.rr.Flush:
		due = now.Add(sharedMin + rand.N(sharedMax-sharedMin))
	}
	p.schedule(now, r, item{k: k, due: due, asker: pk.Src.Addr()})
}

// announce has a record told that is new.
func (p *Proxy) announce(now time.Time, r route, k *known) {
	due := now.Add(uniqueWait)
	if !k.rr.Flush {
		due = now.Add(sharedMin + rand.N(sharedMax-sharedMin))
	}
	p.schedule(now, r, item{k: k, due: due})
}

// goodbye has it told that a record is gone (RFC 6762 §10.1).
func (p *Proxy) goodbye(now time.Time, r route, k *known) {
	p.schedule(now, r, item{k: k, due: now.Add(uniqueWait), goodbye: true})
}

func (p *Proxy) schedule(now time.Time, r route, it item) {
	x := p.pending[r]
	if x == nil {
		x = &pending{}
		x.timer = time.AfterFunc(it.due.Sub(now), func() { p.send(r, x) })
		x.due = it.due
		p.pending[r] = x
	}
	for i := range x.items {
		if old := &x.items[i]; old.k == it.k {
			if old.asker != it.asker {
				old.asker = netip.Addr{}
			}
			old.goodbye = it.goodbye
			return // it goes out soon enough
		}
	}
	if len(x.items) >= maxPending {
		return
	}
	x.items = append(x.items, it)
	if it.due.Before(x.due) {
		x.due = it.due
		x.timer.Reset(it.due.Sub(now))
	}
}

// withdraw takes answers back that turn out to be known to the only one who asked.
func (x *pending) withdraw(now time.Time, asker netip.Addr, heard map[dnswire.RR]uint32) {
	x.items = slices.DeleteFunc(x.items, func(it item) bool {
		ttl, ok := heard[it.k.key]
		return ok && it.asker == asker && time.Duration(ttl)*time.Second*2 >= it.k.expires.Sub(now)
	})
}

// send tells what is due.
func (p *Proxy) send(r route, x *pending) {
	now := time.Now()
	p.mu.Lock()
	if p.pending[r] != x {
		p.mu.Unlock()
		return
	}
	var ready []item
	var next time.Time
	x.items = slices.DeleteFunc(x.items, func(it item) bool {
		if !it.due.After(now) {
			ready = append(ready, it)
			return true
		}
		if next.IsZero() || it.due.Before(next) {
			next = it.due
		}
		return false
	})
	if next.IsZero() {
		delete(p.pending, r)
	} else {
		x.due = next
		x.timer.Reset(next.Sub(now))
	}
	packets := p.write(now, r, ready)
	refl := p.reflector
	p.mu.Unlock()
	if refl != nil {
		refl.emit(r, packets)
	}
}

// write makes packets of what is told, as if the zone that has the records had sent
// them: rules and edits follow as for any other.
func (p *Proxy) write(now time.Time, r route, ready []item) []mdns.Packet {
	m := p.mirrors[r.from]
	w := responseWriter{now: now, route: r, apart: p.reflector != nil && p.reflector.Rules.aboutMACs()}
	in := map[*known]bool{}
	for _, it := range ready {
		if it.goodbye {
			rr := it.k.rr
			rr.TTL = 0
			w.add(dnswire.Answer, rr, it.k)
			continue
		}
		if it.k.lives(now) && !it.k.lately(now, r.to) && !in[it.k] {
			in[it.k] = true
			w.add(dnswire.Answer, it.k.left(now), it.k)
		}
	}
	if m != nil {
		for _, it := range ready {
			if !in[it.k] {
				continue
			}
			for _, k := range m.additionals(now, it.k) {
				if !in[k] && !k.lately(now, r.to) {
					in[k] = true
					w.add(dnswire.Additional, k.left(now), k)
				}
			}
		}
	}
	w.flush()
	for k := range in {
		if k.told == nil {
			k.told = map[mdns.Zone]telling{}
		}
		k.told[r.to] = telling{at: now, expires: k.expires}
		p.refreshAt(now, k.refresh())
	}
	return w.packets
}

// lately says whether the record was told within the last second.
func (k *known) lately(now time.Time, z mdns.Zone) bool {
	t, ok := k.told[z]
	return ok && now.Sub(t.at) < pause
}

// responseWriter writes responses, as many as it takes.
type responseWriter struct {
	now     time.Time
	route   route
	builder dnswire.Builder
	apart   bool // records of different senders have different packets: rules ask for their MACs
	open    bool
	src     netip.Addr
	packets []mdns.Packet
}

// add adds a record.
func (w *responseWriter) add(s dnswire.Section, rr dnswire.RR, k *known) {
	if w.open && w.apart && k.source != w.src {
		w.flush()
	}
	for range 2 {
		if !w.open {
			w.builder.Reset(nil, dnswire.Header{Response: true, Authoritative: true}, maxPacket-48)
			w.open, w.src = true, k.source
		}
		put := w.builder.Answer
		if s == dnswire.Additional {
			put = w.builder.Additional
		}
		if put(rr) {
			return
		}
		w.flush()
	}
}

func (w *responseWriter) flush() {
	if !w.open {
		return
	}
	w.open = false
	if w.builder.Empty() {
		return
	}
	data := slices.Clone(w.builder.Bytes())
	m, err := dnswire.Parse(data)
	if err != nil {
		return // can't be: the Builder wrote it
	}
	w.packets = append(w.packets, mdns.Packet{
		Zone: w.route.from, Src: netip.AddrPortFrom(w.src, mdns.Port), Dst: w.route.from.Family.Group(),
		Time: w.now, Message: m, Data: data,
	})
}
