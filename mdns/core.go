package mdns

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lanfolk/lanfolk/mdns/internal/respond"
	"github.com/lanfolk/lanfolk/packet"
)

const (
	// A socket that can't be opened is tried again after a second, then after
	// twice as long each time.
	retryMin = time.Second
	retryMax = time.Minute
	// clockJump is how far the wall clock must run ahead of the monotonic one
	// to mean that the host slept.
	clockJump = 10 * time.Second
)

// core is the state of a running engine. One goroutine owns it.
type core struct {
	engine *Engine
	log    *slog.Logger
	places map[placeKey]*place
	subs   map[*Subscription]struct{}
	own    map[netip.Addr]bool // addresses of this host's links
	echo   echo
	pubs   []*Published // in the order in which they came
	late   []*Published // whose update was put off
	leave  []*Published // withdrawn, goodbyes under way
	book   *respond.Book

	relayOnly   atomic.Bool  // see listen
	busyReaders atomic.Int32 // that keep a processor while they wait

	queue chan *batch
	fails chan portError
	tasks sync.WaitGroup

	began time.Time
	skew  time.Duration // wall clock minus monotonic clock since the beginning
	first time.Time     // when first queries go out that are being collected
}

type placeKey struct {
	link   int
	family Family
}

// place is a zone and its socket.
type place struct {
	zone    *zone
	answers *respond.Responder
	shared  bool  // another program of this host was heard since the socket was opened
	port    *port // nil while closed
	up      bool  // the link can be used
	err     error // why the socket isn't open
	retry   time.Time
	backoff time.Duration
}

func newCore(e *Engine) *core {
	log := e.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &core{
		engine: e, log: log,
		places: map[placeKey]*place{}, subs: map[*Subscription]struct{}{}, own: map[netip.Addr]bool{},
		echo:  echo{seed: maphash.MakeSeed(), sends: map[uint64]echoed{}},
		book:  respond.NewBook(),
		queue: make(chan *batch, 256), fails: make(chan portError),
		began: time.Now(),
	}
}

func (c *core) run(ctx context.Context) error {
	if c.engine.Links == nil || c.engine.Listen == nil {
		return errors.New("mdns: Engine without Links or Listen")
	}
	links, err := c.engine.Links(ctx)
	if err != nil {
		return fmt.Errorf("mdns: watch the links: %w", err)
	}
	defer c.farewell()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		if d := c.advance(time.Now()); d >= 0 {
			timer.Reset(d)
		} else {
			timer.Stop()
		}
		select {
		case <-ctx.Done():
			return nil
		case set, ok := <-links:
			if !ok {
				if ctx.Err() != nil {
					return nil
				}
				return errors.New("mdns: the watch of the links ended")
			}
			c.setLinks(time.Now(), set)
		case b := <-c.queue:
			c.hear(b)
		case f := <-c.fails:
			c.failed(time.Now(), f)
		case <-c.engine.wake:
			for _, f := range c.engine.takeInbox() {
				f(c)
			}
		case <-timer.C:
		}
	}
}

func (c *core) close() {
	for _, p := range c.places {
		c.shut(p)
	}
	c.tasks.Wait()
}

// advance does what is due and returns how long until more is, -1 for never.
func (c *core) advance(now time.Time) time.Duration {
	c.checkClock(now)
	c.listen()
	var next time.Time
	earlier := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	for k, p := range c.places {
		if p.up && p.port == nil && !p.retry.After(now) {
			c.open(now, p)
		}
		if at := p.zone.nextAlarm(); !at.IsZero() && !at.After(now) {
			p.zone.advance(now)
			c.transmit(now, p)
		}
		if at := p.answers.Next(); p.answers.News() || !at.IsZero() && !at.After(now) {
			c.settle(now, p)
		}
		if !p.up && len(p.zone.records) == 0 {
			c.unpublish(now, p)
			delete(c.places, k)
			continue
		}
		if p.up && p.port == nil {
			earlier(p.retry)
		}
		earlier(p.zone.nextAlarm())
		earlier(p.answers.Next())
	}
	earlier(c.updateLate(now))
	c.departed()
	if next.IsZero() {
		return -1
	}
	return max(next.Sub(now), 0)
}

// checkClock notices that the host slept: the monotonic clock stood still, so
// records look younger than they are (RFC 6762 §10.3).
func (c *core) checkClock(now time.Time) {
	skew := now.Round(0).Sub(c.began.Round(0)) - now.Sub(c.began)
	if skew-c.skew > clockJump {
		c.log.Info("clock jumped, asking again", "dur", skew-c.skew)
		for _, p := range c.places {
			p.zone.doubt(now)
			if p.port != nil {
				p.zone.restart(now)
				p.answers.Open(now) // others may have taken our names meanwhile
				c.settle(now, p)
			}
		}
	}
	c.skew = skew
}

// setLinks takes over the links that there are now.
func (c *core) setLinks(now time.Time, links []packet.Link) {
	clear(c.own)
	want := map[placeKey]packet.Link{}
	for _, l := range links {
		for _, a := range l.Prefixes {
			c.own[a.Addr().Unmap().WithZone("")] = true
		}
		if !l.Up() || l.Flags&net.FlagMulticast == 0 {
			continue
		}
		for _, f := range [...]Family{IPv4, IPv6} {
			if (c.engine.Family == 0 || c.engine.Family == f) && slices.ContainsFunc(l.Prefixes, f.has) {
				want[placeKey{l.Index, f}] = l
			}
		}
	}
	for k, p := range c.places {
		l, ok := want[k]
		switch {
		case !ok && p.up:
			c.log.Info("link left", "if", p.zone.id.Interface, "family", k.family.String())
			c.shut(p)
			p.up, p.err = false, nil
			p.zone.doubt(now)
		case ok && l.Name != p.zone.id.Interface: // the index was given to another link
			c.shut(p)
			p.zone.forget(now)
			c.unpublish(now, p)
			delete(c.places, k)
		}
	}
	for _, k := range sortedPlaces(want) {
		l := want[k]
		p := c.places[k]
		if p == nil {
			p = c.newPlace(now, k, l)
			c.places[k] = p
		}
		gained := slices.ContainsFunc(l.Prefixes, func(a netip.Prefix) bool {
			return k.family.has(a) && !slices.Contains(p.zone.link.Prefixes, a)
		})
		changed := !l.Equal(p.zone.link)
		p.zone.link = l
		if changed {
			c.publish(now, p)
		}
		if changed && p.port != nil {
			c.relayOpened(p)
		}
		switch {
		case !p.up:
			p.up, p.retry, p.backoff = true, now, 0
			c.open(now, p)
		case gained && p.port != nil:
			p.zone.restart(now)
		}
	}
	c.reckon()
}

func sortedPlaces[T any](m map[placeKey]T) []placeKey {
	keys := make([]placeKey, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b placeKey) int {
		return cmp.Or(cmp.Compare(a.link, b.link), cmp.Compare(a.family, b.family))
	})
	return keys
}

// has says whether the prefix is of the family.
func (f Family) has(p netip.Prefix) bool { return p.Addr().Unmap().Is4() == (f == IPv4) }

func (c *core) newPlace(now time.Time, k placeKey, l packet.Link) *place {
	e := c.engine
	id := Zone{Link: l.Index, Interface: l.Name, Family: k.family}
	z := newZone(now, id, l, &e.stats, cmp.Or(e.MaxRecords, DefaultMaxRecords), cmp.Or(e.MaxRecordsPerSource, DefaultMaxRecordsPerSource))
	z.silent, z.first = e.Silent, &c.first
	if len(e.Observers) > 0 {
		z.observe = func(ev Event) {
			for _, o := range e.Observers {
				o.Changed(ev)
			}
		}
	}
	for s := range c.subs {
		for _, w := range s.wants {
			if w.q.in(id) {
				z.attach(now, w)
			}
		}
	}
	p := &place{zone: z, answers: respond.New(c.book, &e.stats.respond)}
	z.own = p.answers.Each
	c.publish(now, p)
	return p
}

// open opens the place's socket, or sees to it that it is tried again.
func (c *core) open(now time.Time, p *place) {
	z := p.zone
	conn, err := c.engine.Listen(z.link, z.id.Family.Group())
	if err != nil {
		c.retryLater(now, p, err)
		return
	}
	if p.err != nil {
		c.log.Info("link works again", "if", z.id.Interface, "family", z.id.Family.String())
	}
	p.err, p.backoff = nil, 0
	z.unicast = c.engine.AskUnicast != nil && c.engine.AskUnicast(z.link)
	startPort(c, p, conn)
	c.ignoreLocal(p)
	z.restart(now)
	p.answers.Unicast, p.shared = z.unicast, false
	p.answers.Open(now)
	c.settle(now, p)
	c.reckon()
}

func (c *core) retryLater(now time.Time, p *place, err error) {
	if p.err == nil {
		c.log.Warn("no mDNS on a link", "if", p.zone.id.Interface, "family", p.zone.id.Family.String(), "err", err)
	}
	p.err = err
	p.backoff = min(max(2*p.backoff, retryMin), retryMax)
	p.retry = now.Add(p.backoff + rand.N(p.backoff/8))
}

// shut closes the place's socket, if it is open.
func (c *core) shut(p *place) {
	if p.port != nil {
		p.port.close()
		p.port = nil
		p.zone.stop()
		c.closePlace(time.Now(), p)
		for _, r := range c.engine.Relays {
			r.Closed(p.zone.id)
		}
	}
}

// failed is called when a socket can't be read any more.
func (c *core) failed(now time.Time, f portError) {
	p := f.port.place
	if p.port != f.port {
		return // closed meanwhile
	}
	c.shut(p)
	c.reckon()
	c.retryLater(now, p, f.err)
}

// transmit hands the zone's packets to its socket.
func (c *core) transmit(now time.Time, p *place) {
	for i, b := range p.zone.out {
		p.zone.out[i] = nil
		if p.port == nil {
			continue
		}
		c.send(now, p, packet.Datagram{Data: b})
	}
	p.zone.out = p.zone.out[:0]
}

// send hands a packet to the place's socket.
func (c *core) send(now time.Time, p *place, d packet.Datagram) {
	if c.engine.Silent {
		return
	}
	c.echo.sent(now, p, d.Data)
	select {
	case p.port.out <- d:
	default:
		c.engine.stats.drop(dropSend, 1)
	}
}

// hear applies a batch of packets to its zone and gives the batch back.
func (c *core) hear(b *batch) {
	p := b.port.place
	if p.port == b.port {
		for i := range b.packets {
			c.hearPacket(p, &b.packets[i])
		}
	}
	select {
	case b.port.free <- b:
	default: // one that was made beside the reader's own
	}
}

func (c *core) hearPacket(from *place, p *Packet) {
	if c.own[p.Src.Addr()] {
		if on, ok := c.echo.heard(p.Time, p.Data); ok {
			c.engine.stats.drop(dropOwn, 1)
			if on != from && on.zone.id.Family == from.zone.id.Family {
				from.answers.OwnElsewhere(p.Time, &p.Message)
			}
			return
		}
		c.beside(p.Time, from)
	}
	z := from.zone
	why, ok := z.accept(p)
	if !ok && !(why == dropUnasked && from.answers.Expects(p.Time, &p.Message)) {
		c.engine.stats.drop(why, 1)
		return
	}
	for _, o := range c.engine.Observers {
		o.Heard(p)
	}
	if ok {
		z.hear(p)
	}
	c.answer(from, p)
}

// beside is called when another program of this host is heard. What may be
// published beside it is asked for once, before it gets an answer (RFC 6762 §15).
func (c *core) beside(now time.Time, p *place) {
	if p.shared {
		return
	}
	p.shared = true
	for _, x := range c.pubs {
		c.publishOne(now, p, x)
	}
	c.settle(now, p)
}

func (c *core) zoneStats() []ZoneStats {
	var out []ZoneStats
	for _, p := range c.places {
		s := ZoneStats{Zone: p.zone.id, Open: p.port != nil, Records: len(p.zone.records), Asking: p.zone.asking}
		s.Published, s.Announced = p.answers.Size()
		if p.err != nil {
			s.Error = p.err.Error()
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b ZoneStats) int {
		return cmp.Or(cmp.Compare(a.Zone.Link, b.Zone.Link), cmp.Compare(a.Zone.Family, b.Zone.Family))
	})
	return out
}

// echo remembers what was sent lately. Our own multicasts come back to us, also
// over a bridge between two links; packets of another program on this host
// have the same source but must be heard.
type echo struct {
	seed  maphash.Seed
	sends map[uint64]echoed // by the packet's hash
	ring  [2048]uint64      // in the order in which they were sent
	next  int
}

type echoed struct {
	at   time.Time
	on   *place
	ring int // where its hash stands in the ring
}

// echoTime is how long a packet of ours can take to come back.
const echoTime = 2 * time.Second

func (e *echo) sent(now time.Time, on *place, b []byte) {
	if old := e.ring[e.next]; e.sends[old].ring == e.next {
		delete(e.sends, old)
	}
	h := maphash.Bytes(e.seed, b)
	e.ring[e.next] = h
	e.sends[h] = echoed{now, on, e.next}
	e.next = (e.next + 1) % len(e.ring)
}

// heard says whether the packet was sent by us lately, and on which link.
func (e *echo) heard(now time.Time, b []byte) (on *place, ok bool) {
	s, ok := e.sends[maphash.Bytes(e.seed, b)]
	if !ok || now.Sub(s.at) > echoTime {
		return nil, false
	}
	return s.on, true
}
