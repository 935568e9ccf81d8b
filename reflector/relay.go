package reflector

import (
	"cmp"
	"sync"

	"github.com/lanfolk/lanfolk/mdns"
)

// incoming is what a side keeps of the hosts on its link and of the packets at hand.
type incoming struct {
	mu      sync.Mutex
	reader  reader
	sources sources
	jobs    []job
	wanted  []*waiter
}

// job is the work on one packet.
type job struct {
	packet *mdns.Packet
	// why is passed if the packet may go to all links, as far as the guard is
	// concerned.
	why     verdict
	strip   bool // without its known answers
	qu      bool // a question asks for unicast answers
	legacy  bool // it comes from another port than 5353
	waiter  *waiter
	waiters []*waiter // who waits for what is in it
}

// Relay implements mdns.Relay.
func (r *Reflector) Relay(z mdns.Zone, packets []mdns.Packet) []mdns.Packet {
	r.init()
	r.catchUp(z, packets)
	r.mu.RLock()
	defer r.mu.RUnlock()
	from := r.side[z]
	if from == nil || len(packets) == 0 {
		return packets
	}
	in := &from.in
	in.mu.Lock()
	defer in.mu.Unlock()
	now := r.guard.clock(packets[0].Time)
	heard := r.sort(now, from, packets)
	if r.Proxy != nil {
		r.proxy(from)
	}
	if len(in.jobs) > 0 {
		for _, o := range from.outs {
			r.pass(now, from, o, in.jobs)
		}
	}
	clear(in.jobs)
	clear(in.wanted)
	return heard
}

// suspicion is how long after a copy by another reflector its like is reckoned with.
const suspicion = 60_000

// catchUp deals first with what came to other links before these packets and
// waits there to be read: one of them may be the original of which these hold
// another reflector's copy. It costs a system call for each link, so it is done
// only where there is such a reflector, or a source is new.
func (r *Reflector) catchUp(z mdns.Zone, packets []mdns.Packet) {
	if len(packets) == 0 || !r.draining.CompareAndSwap(false, true) {
		return
	}
	defer r.draining.Store(false)
	var drain []func()
	r.mu.RLock()
	if from := r.side[z]; from != nil && r.doubtful(from, packets) {
		for _, o := range from.outs {
			if o.to.drain != nil {
				drain = append(drain, o.to.drain)
			}
		}
	}
	r.mu.RUnlock()
	for _, f := range drain {
		f()
	}
}

func (r *Reflector) doubtful(from *side, packets []mdns.Packet) bool {
	now := r.guard.clock(packets[0].Time)
	if c := r.guard.copies.Load(); c != 0 && now.since(clock(c)) < suspicion {
		return true
	}
	from.in.mu.Lock()
	defer from.in.mu.Unlock()
	for i := range packets {
		if !from.in.sources.knows(r.guard.seed, packets[i].Src.Addr()) {
			return true
		}
	}
	return false
}

// sort makes jobs of the packets that may concern other links, and returns
// those that the engine shall hear.
func (r *Reflector) sort(now clock, from *side, packets []mdns.Packet) []mdns.Packet {
	in := &from.in
	in.jobs, in.wanted, in.reader.items = in.jobs[:0], in.wanted[:0], in.reader.items[:0]
	g := r.guard
	g.mu.Lock()
	defer g.mu.Unlock()
	n := 0
	for i := range packets {
		j, hide := r.consider(now, from, &packets[i])
		if j.why != passed {
			from.heard.add(j.why)
		}
		if j.why == passed || len(j.waiters) > 0 || r.Proxy != nil && j.concerns() {
			in.jobs = append(in.jobs, j)
		}
		if hide {
			continue
		}
		if n != i {
			// The jobs point to where the packets are, so they change places.
			packets[n], packets[i] = packets[i], packets[n]
			for k := range in.jobs {
				switch in.jobs[k].packet {
				case &packets[i]:
					in.jobs[k].packet = &packets[n]
				case &packets[n]:
					in.jobs[k].packet = &packets[i]
				}
			}
		}
		n++
	}
	return packets[:n]
}

// consider decides about one packet, and whether to hide it from the engine.
func (r *Reflector) consider(now clock, from *side, p *mdns.Packet) (j job, hide bool) {
	g, in := r.guard, &from.in
	j = job{packet: p, why: passed}
	if p.Malformed != nil {
		if j.why = stoppedMalformed; r.ForwardMalformed && !r.own[p.Src.Addr()] {
			if j.why = stoppedRepeat; g.malformed(now, p.Data) {
				j.why = passed
			}
		}
		return j, false
	}
	s := sight{packet: p, link: int32(from.zone.Link), family: from.zone.Family}
	if r.own[p.Src.Addr()] {
		j.why = stoppedOwn
		if p.Src.Port() != mdns.Port {
			return j, false
		}
		// What we copied to this link is no news here; what else this host
		// says belongs to the link.
		s.content = in.reader.read(&p.Message)
		if copied, _ := g.copied(now, &s); copied {
			return j, true
		}
		g.own(now, &s)
		return j, false
	}
	passedOn := from.out.passed.Load()
	s.source = in.sources.of(now, g.seed, p.Src.Addr(), passedOn)
	if !s.source.bucket.take(now, rate(r.SourceRate, DefaultSourceRate), rate(r.SourceBurst, DefaultSourceBurst)) {
		j.why = stoppedSource
		return j, false
	}
	s.legacy = p.Src.Port() != mdns.Port
	switch m := &p.Message; {
	case m.Opcode != 0 || m.Rcode != 0 || m.Response && s.legacy:
		j.why = stoppedForm
		return j, false
	}
	group := p.Dst.Addr() == from.zone.Family.Group().Addr()
	if !group && (!p.Message.Response || !from.link.OnLink(p.Src.Addr())) {
		j.why = stoppedUnicast
		return j, false
	}
	if s.content = in.reader.read(&p.Message); !p.Message.Response {
		s.asker = g.asker(p.Src.Addr())
	}
	if r.Proxy != nil && p.Message.Response && g.echoes(now, &s) {
		j.why = stoppedCopy
		return j, true
	}
	if p.Message.Response && r.waiters.any() {
		at := len(in.wanted)
		in.wanted = r.waiters.find(in.wanted, now, from.zone.Link, s.content.items, group)
		j.waiters = in.wanted[at:]
	}
	if !group {
		j.why = stoppedUnicast
		return j, false
	}
	ruling := g.judge(now, &s, passedOn)
	j.why, j.strip = ruling.why, ruling.strip
	if j.why == stoppedCopy && !s.source.told && s.source.isReflector(passedOn) {
		s.source.told = true
		r.log.Info("another reflector on a link", "if", from.zone.Interface, "addr", p.Src.Addr())
	}
	if j.legacy, j.qu = s.legacy, s.content.qu; (j.legacy || j.qu) && !p.Message.Response && s.content.form != formKnown &&
		(j.why == passed || j.why == stoppedRepeat) {
		j.waiter = r.waiters.add(now, from.zone, p, &s.content, s.legacy)
	}
	return j, ruling.hidden
}

// concerns says whether a packet that isn't passed on is still something that
// somebody asks: a proxy answers those that ask again, or list what they know.
func (j *job) concerns() bool { return j.why == stoppedRepeat || j.why == stoppedChain }

// proxy takes the jobs that the proxy does; what is left is passed on.
func (r *Reflector) proxy(from *side) {
	for i := range from.in.jobs {
		j := &from.in.jobs[i]
		if (j.why == passed || j.concerns()) && r.Proxy.takes(r, from, j.packet) && j.why == passed {
			j.why = proxied
		}
	}
}

func rate(n, other int) float32 { return float32(cmp.Or(n, other)) }
