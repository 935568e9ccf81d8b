package reflector

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/mdns"
	"github.com/lanfolk/lanfolk/packet"
)

const (
	// interestKeep is how long a question is kept asked after it was last heard:
	// queries of one that waits are an hour apart at most (RFC 6762 §5.2).
	interestKeep = 90 * time.Minute
	// maxInterests bounds the questions that are kept asked; one host may ask
	// half of them.
	maxInterests = 16384
	// probeKeep is how long after a probe its answers are passed on: a
	// prober listens for 250 ms after each of three (§8.1).
	probeKeep = time.Second
	maxProbes = 1024
	// beginTime is for how long after its start the proxy doesn't know who waits
	// for what: some who asked before it began ask again an hour later (§5.2).
	beginTime = time.Hour
	// freshTime is how long after a record was heard nobody's doubt is followed.
	freshTime = 5 * time.Second
	// doubtLeft: a question for a record that has more than a fourth of its TTL
	// left, as told, means that somebody doubts it. With less left, hosts ask to
	// keep it (§5.2).
	doubtLeft = 4
)

// Proxy makes a Reflector answer from what the engine knows of the other links,
// with the TTL that is left, instead of passing queries on. What isn't known is
// asked for by the engine; answers, changes and goodbyes cross where somebody
// has asked. Probes and one-shot queries are passed on as ever.
//
// The engine needs it among its Observers, the Reflector in its field Proxy.
// Run must run while the engine does.
type Proxy struct {
	once sync.Once
	mu   sync.Mutex // guards what follows

	reflector *Reflector
	sub       *mdns.Subscription
	engine    *mdns.Engine
	mirrors   map[mdns.Zone]*mirror
	events    uint64 // how many came
	interests map[interestKey]*interest
	askers    map[netip.Addr]int         // interests by who asked first
	probes    map[dnswire.Name]time.Time // names, folded, that somebody probes for
	reaches   map[mdns.Zone][]mdns.Zone  // where each zone's records go
	links     map[mdns.Zone]packet.Link
	began     time.Time
	pending   map[route]*pending
	alarm     *time.Timer // goes off when records are to be asked for again
	due       time.Time   // when, zero for never
}

// interestKey is a question in the zone that may have the answers. The name is folded.
type interestKey struct {
	zone mdns.Zone
	name dnswire.Name
	typ  dnswire.Type
}

// interest is where it was asked, and when. host asked first.
type interest struct {
	asked map[mdns.Zone]time.Time
	host  netip.Addr
}

// route is from the zone that has records to the one that hears of them.
type route struct{ from, to mdns.Zone }

func (p *Proxy) init() {
	p.once.Do(func() {
		p.mirrors, p.interests, p.pending = map[mdns.Zone]*mirror{}, map[interestKey]*interest{}, map[route]*pending{}
		p.askers, p.probes, p.reaches = map[netip.Addr]int{}, map[dnswire.Name]time.Time{}, map[mdns.Zone][]mdns.Zone{}
		p.links = map[mdns.Zone]packet.Link{}
		p.began = time.Now()
	})
}

// Run asks the engine for what hosts want to know, until ctx or the engine ends.
func (p *Proxy) Run(ctx context.Context, e *mdns.Engine) error {
	p.init()
	sub := e.Subscribe(mdns.SubscribeOptions{})
	defer sub.Close()
	p.mu.Lock()
	p.engine, p.sub = e, sub
	var asked []mdns.Question
	for k := range p.interests {
		asked = append(asked, k.question())
	}
	p.mu.Unlock()
	sub.Ask(asked...)
	defer p.stop()
	ctx, cancel := context.WithCancel(ctx)
	var tidier sync.WaitGroup
	defer tidier.Wait()
	defer cancel()
	tidier.Go(func() {
		tick := time.NewTicker(interestKeep / 10)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case now := <-tick.C:
				p.tidy(now)
			}
		}
	})
	for {
		// What happens is told to Changed; these events only must not pile up.
		if _, err := sub.Next(ctx); err != nil {
			if ctx.Err() != nil || errors.Is(err, mdns.ErrStopped) {
				return nil
			}
			return err
		}
	}
}

// stop forgets what was to be sent.
func (p *Proxy) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sub, p.engine = nil, nil
	if p.alarm != nil {
		p.alarm.Stop()
		p.due = time.Time{}
	}
	for r, x := range p.pending {
		x.timer.Stop()
		delete(p.pending, r)
	}
}

// tidy takes questions back that nobody has asked for long.
func (p *Proxy) tidy(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var gone []mdns.Question
	for k, i := range p.interests {
		if now.Sub(i.last()) > interestKeep {
			p.drop(k)
			gone = append(gone, k.question())
		}
	}
	if p.sub != nil {
		p.sub.Forget(gone...)
	}
}

func (i *interest) last() (t time.Time) {
	for _, at := range i.asked {
		if at.After(t) {
			t = at
		}
	}
	return t
}

func (k interestKey) question() mdns.Question {
	return mdns.Question{Name: k.name, Type: k.typ, Link: k.zone.Link, Family: k.zone.Family}
}

// takes deals with a packet from one side, unless it is one that is passed on
// as ever. r's sides don't change meanwhile.
func (p *Proxy) takes(r *Reflector, from *side, pk *mdns.Packet) bool {
	p.init()
	m := &pk.Message
	switch {
	case pk.Malformed != nil:
		return false
	case m.Response:
		return !p.defends(pk)
	case m.NSCount > 0:
		p.probed(pk)
		return false
	case pk.Src.Port() != mdns.Port:
		return false
	default:
		for _, o := range from.outs {
			p.query(r, from, o.to, pk)
		}
	}
	return true
}

// probed remembers the names that a probe is for.
func (p *Proxy) probed(pk *mdns.Packet) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for q := range pk.Message.Questions() {
		if len(p.probes) >= maxProbes {
			for n, at := range p.probes {
				if pk.Time.Sub(at) > probeKeep {
					delete(p.probes, n)
				}
			}
			if len(p.probes) >= maxProbes {
				return
			}
		}
		p.probes[q.Name.Name().Fold()] = pk.Time
	}
}

// defends says whether a response holds records of a name that somebody probes
// for on whatever link: its owner must be heard. The proxy doesn't speak for him,
// who may have moved to the prober's link and be the prober.
func (p *Proxy) defends(pk *mdns.Packet) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.probes) == 0 {
		return false
	}
	for rr := range pk.Message.Records() {
		if rr.Section != dnswire.Answer {
			break
		}
		n := rr.Name.Name().Fold()
		if at, ok := p.probes[n]; ok {
			if pk.Time.Sub(at) <= probeKeep {
				return true
			}
			delete(p.probes, n)
		}
	}
	return false
}

// connect takes over where records go. r's sides don't change meanwhile.
func (p *Proxy) connect(r *Reflector) {
	p.init()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reflector = r
	clear(p.reaches)
	clear(p.links)
	for z, s := range r.side {
		p.links[z] = s.link
		for _, o := range s.outs {
			p.reaches[z] = append(p.reaches[z], o.to.zone)
		}
	}
}

// emit passes on what the proxy made.
func (r *Reflector) emit(x route, packets []mdns.Packet) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	from := r.side[x.from]
	if from == nil || len(packets) == 0 {
		return
	}
	i := slices.IndexFunc(from.outs, func(o out) bool { return o.to.zone == x.to })
	if i < 0 {
		return
	}
	now := r.guard.clock(packets[0].Time)
	in := reader{seed: r.guard.seed}
	jobs := make([]job, len(packets))
	for k := range packets {
		jobs[k] = job{packet: &packets[k]}
		r.guard.made(now, from.zone, in.read(&packets[k].Message))
	}
	r.pass(now, from, from.outs[i], jobs)
}

// query deals with a query on its way from one side to another: it answers
// what is known and sees to it that the rest is asked for.
func (p *Proxy) query(r *Reflector, from, to *side, pk *mdns.Packet) {
	questions := r.allowed(from, to, pk)
	heard := knownAnswers(&pk.Message)
	now := pk.Time
	p.mu.Lock()
	defer p.mu.Unlock()
	back := route{from: to.zone, to: from.zone}
	if len(questions) == 0 {
		// More known answers of somebody who asked before (RFC 6762 §7.2).
		if x := p.pending[back]; x != nil {
			x.withdraw(now, pk.Src.Addr(), heard)
		}
		return
	}
	var ask []mdns.Question
	var doubts []dnswire.RR
	for _, q := range questions {
		k := q.in(to.zone)
		if p.want(now, k, from.zone, pk.Src.Addr()) {
			ask = append(ask, mdns.Question{Name: q.name, Type: q.typ, Link: to.zone.Link, Family: to.zone.Family})
		}
		m := p.mirrors[to.zone]
		if m == nil {
			continue
		}
		for _, x := range m.answering(now, k) {
			if !p.genuine(now, to.zone, x) {
				continue
			}
			if ttl, ok := heard[x.key]; ok && time.Duration(ttl)*time.Second*2 >= x.expires.Sub(now) {
				continue // §7.1
			}
			t, told := x.toldTo(now, from.zone)
			if told && now.Sub(t.at) > time.Second && now.Sub(x.seen) > freshTime && t.expires.Sub(now)*doubtLeft > t.expires.Sub(t.at) {
				// Who listened has it, and yet asks: it may have failed (§10.4, §10.5).
				doubts = append(doubts, x.rr)
			}
			p.answer(now, back, x, pk)
		}
	}
	if p.sub != nil && len(ask) > 0 {
		p.sub.Ask(ask...)
	}
	if p.engine != nil {
		for _, rr := range doubts {
			p.engine.Reconfirm(to.zone, rr)
		}
	}
}

// asked is a question, its name as it was spelt.
type asked struct {
	name dnswire.Name
	typ  dnswire.Type
}

func (q asked) in(z mdns.Zone) interestKey { return interestKey{z, q.name.Fold(), q.typ} }

// allowed returns the questions of a query that rules let cross.
func (r *Reflector) allowed(from, to *side, pk *mdns.Packet) (out []asked) {
	to.mu.Lock()
	defer to.mu.Unlock()
	to.editor.reset()
	data, _ := r.Rules.apply(&to.editor, from, to, pk)
	for _, b := range append([][]byte{data}, to.editor.more...) {
		m, err := dnswire.Parse(b)
		if err != nil {
			continue // nothing was let through
		}
		for q := range m.Questions() {
			if q.Class == dnswire.ClassIN || q.Class == dnswire.ClassANY {
				out = append(out, asked{q.Name.Name(), q.Type})
			}
		}
	}
	return out
}

// knownAnswers returns the TTLs of a query's known answers.
func knownAnswers(m *dnswire.Message) map[dnswire.RR]uint32 {
	if m.ANCount == 0 {
		return nil
	}
	out := make(map[dnswire.RR]uint32, m.ANCount)
	for r := range m.Records() {
		if r.Section != dnswire.Answer {
			break
		}
		rr := r.RR()
		out[keyOf(rr)] = rr.TTL
	}
	return out
}

// want notes that a zone asked, and says whether the question is new.
func (p *Proxy) want(now time.Time, k interestKey, by mdns.Zone, host netip.Addr) bool {
	i := p.interests[k]
	if i == nil {
		if p.askers[host] >= maxInterests/2 {
			return false
		}
		if len(p.interests) >= maxInterests {
			p.evict()
		}
		i = &interest{asked: map[mdns.Zone]time.Time{by: now}, host: host}
		p.interests[k] = i
		p.askers[host]++
		return true
	}
	i.asked[by] = now
	return false
}

// drop forgets a question.
func (p *Proxy) drop(k interestKey) {
	host := p.interests[k].host
	if p.askers[host]--; p.askers[host] <= 0 {
		delete(p.askers, host)
	}
	delete(p.interests, k)
}

// evict takes back the question that was asked longest ago, of a few.
func (p *Proxy) evict() {
	const sample = 16
	var oldest interestKey
	var at time.Time
	n := 0
	for k, i := range p.interests {
		if t := i.last(); n == 0 || t.Before(at) {
			oldest, at = k, t
		}
		if n++; n == sample {
			break
		}
	}
	p.drop(oldest)
	if p.sub != nil {
		p.sub.Forget(oldest.question())
	}
}

// Heard implements mdns.Observer.
func (p *Proxy) Heard(*mdns.Packet) {}

// Changed implements mdns.Observer: it keeps the mirrors and tells who has asked.
func (p *Proxy) Changed(ev mdns.Event) {
	p.init()
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.mirrors[ev.Zone]
	if m == nil {
		m = &mirror{}
		p.mirrors[ev.Zone] = m
	}
	p.events++
	switch ev.Op {
	case mdns.OpAdd:
		if k := m.put(ev, p.events); k != nil && p.genuine(ev.Time, ev.Zone, k) {
			for _, z := range p.interested(ev.Time, m, ev.Zone, k) {
				p.announce(ev.Time, route{ev.Zone, z}, k)
			}
		}
	case mdns.OpUpdate:
		k := m.put(ev, p.events)
		if k == nil || !p.genuine(ev.Time, ev.Zone, k) {
			return
		}
		// Who was told that it lives less than half as long hears that it lives on.
		for z, t := range k.told {
			if left := t.expires.Sub(ev.Time); left > 0 && left*2 < k.expires.Sub(ev.Time) {
				p.announce(ev.Time, route{ev.Zone, z}, k)
			}
		}
	case mdns.OpRemove:
		k := m.remove(ev.RR)
		if k == nil {
			return
		}
		p.elsewhere(ev.Zone, func(z mdns.Zone, other *mirror) {
			if x := other.find(k.key); x != nil && p.original(ev.Zone, m, k, z, other, x) {
				other.remove(k.rr) // it stands for what is gone
			}
		})
		for z, t := range k.told {
			if t.expires.Sub(ev.Time) > time.Second { // else it is forgotten there, too
				p.goodbye(ev.Time, route{ev.Zone, z}, k)
			}
		}
	}
	if m.count == 0 {
		delete(p.mirrors, ev.Zone)
	}
}

// interested returns the zones where somebody asked for the record, or was told
// of others of its name and type.
func (p *Proxy) interested(now time.Time, m *mirror, z mdns.Zone, k *known) []mdns.Zone {
	zones := map[mdns.Zone]bool{}
	for _, t := range [...]dnswire.Type{k.rr.Type, dnswire.TypeANY} {
		if i := p.interests[interestKey{z, k.key.Name, t}]; i != nil {
			for by, at := range i.asked {
				if now.Sub(at) <= interestKeep {
					zones[by] = true
				}
			}
		}
	}
	if k.rr.Type == dnswire.TypePTR && now.Sub(p.began) < beginTime {
		for _, by := range p.reaches[z] {
			zones[by] = true
		}
	}
	for _, x := range m.names[k.key.Name] {
		if x.rr.Type == k.rr.Type && x != k {
			for by := range x.told {
				if _, ok := x.toldTo(now, by); ok {
					zones[by] = true
				}
			}
		}
	}
	out := make([]mdns.Zone, 0, len(zones))
	for by := range zones {
		out = append(out, by)
	}
	slices.SortFunc(out, func(a, b mdns.Zone) int {
		return cmp.Or(cmp.Compare(a.Link, b.Link), cmp.Compare(a.Family, b.Family))
	})
	return out
}
