package reflector

import (
	"net/netip"
	"slices"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/mdns"
)

// refreshGrid is the time on which the proxy asks again, so that one packet asks
// for many records.
const refreshGrid = time.Second

// refresh returns when the proxy asks for the record again: at three fourths of
// its TTL, before the many who were told of it begin to (RFC 6762 §5.2). One
// query and one answer then do for all of them.
func (k *known) refresh() time.Time {
	return k.seen.Add(k.expires.Sub(k.seen) * 3 / 4)
}

// refreshAt has the alarm go off no later than at.
func (p *Proxy) refreshAt(now, at time.Time) {
	at = at.Truncate(refreshGrid).Add(refreshGrid)
	if !p.due.IsZero() && !at.Before(p.due) || p.engine == nil {
		return
	}
	p.due = at
	if p.alarm == nil {
		p.alarm = time.AfterFunc(at.Sub(now), p.refresh)
	} else {
		p.alarm.Reset(at.Sub(now))
	}
}

// refresh asks for the records that somebody wants and that were last heard long ago.
func (p *Proxy) refresh() {
	now := time.Now()
	p.mu.Lock()
	p.due = time.Time{}
	asks := map[route][]interestKey{}
	var next time.Time
	for zone, m := range p.mirrors {
		for _, list := range m.names {
			for _, k := range list {
				if k.asked.After(k.seen) || !k.lives(now) {
					continue
				}
				q := interestKey{zone, k.key.Name, k.rr.Type}
				to, ok := p.wanted(now, q, k)
				if !ok || !p.genuine(now, zone, k) {
					continue
				}
				if at := k.refresh(); at.After(now) {
					if next.IsZero() || at.Before(next) {
						next = at
					}
					continue
				}
				k.asked = now
				if r := (route{to, zone}); !slices.Contains(asks[r], q) {
					asks[r] = append(asks[r], q)
				}
			}
		}
	}
	if !next.IsZero() {
		p.refreshAt(now, next)
	}
	packets := map[route][]mdns.Packet{}
	for r, qs := range asks {
		packets[r] = p.queries(now, r, qs)
	}
	refl := p.reflector
	p.mu.Unlock()
	if refl == nil {
		return
	}
	for r, list := range packets {
		refl.emit(r, list)
	}
}

// wanted returns a zone whose hosts have asked for the record and were told.
func (p *Proxy) wanted(now time.Time, q interestKey, k *known) (mdns.Zone, bool) {
	i := p.interests[q]
	if i == nil {
		return mdns.Zone{}, false
	}
	for z, at := range i.asked {
		if _, told := k.toldTo(now, z); told && now.Sub(at) <= interestKeep {
			return z, true
		}
	}
	return mdns.Zone{}, false
}

// queries makes packets of questions, with the known answers that hold for
// more than half of their time yet (RFC 6762 §7.1).
func (p *Proxy) queries(now time.Time, r route, qs []interestKey) (out []mdns.Packet) {
	var b dnswire.Builder
	for len(qs) > 0 {
		b.Reset(nil, dnswire.Header{}, maxPacket/2)
		n := 0
		for n < len(qs) && b.Question(p.spelt(qs[n]), qs[n].typ, dnswire.ClassIN, false) {
			n++
		}
		if n == 0 {
			return out // can't be: a question has at most 259 bytes
		}
		var host netip.Addr
		for _, q := range qs[:n] {
			if i := p.interests[q]; i != nil {
				host = i.host
			}
			for _, k := range p.mirrors[r.to].answering(now, q) {
				if left := k.expires.Sub(now); k.rr.Type == q.typ && left*2 > k.expires.Sub(k.seen) {
					rr := k.left(now)
					rr.Flush = false
					b.Answer(rr)
				}
			}
		}
		qs = qs[n:]
		data := slices.Clone(b.Bytes())
		if m, err := dnswire.Parse(data); err == nil {
			out = append(out, mdns.Packet{
				Zone: r.from, Src: netip.AddrPortFrom(host, mdns.Port), Dst: r.from.Family.Group(), Time: now, Message: m, Data: data,
			})
		}
	}
	return out
}

// spelt returns the name as its owner spells it.
func (p *Proxy) spelt(q interestKey) dnswire.Name {
	if m := p.mirrors[q.zone]; m != nil {
		for _, k := range m.names[q.name] {
			return k.rr.Name
		}
	}
	return q.name
}
