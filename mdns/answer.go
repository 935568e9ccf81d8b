package mdns

import (
	"time"

	"github.com/lanfolk/lanfolk/mdns/internal/respond"
)

// farewellTime bounds how long an engine that ends takes to say goodbye.
const farewellTime = time.Second

// answer gives a packet that may be used to the place's responder.
func (c *core) answer(from *place, p *Packet) {
	m := respond.Message{
		Src: p.Src, Dst: p.Dst, Time: p.Time, Message: &p.Message,
		Unicast: !p.Dst.Addr().IsMulticast(),
	}
	if p.Message.Response {
		from.answers.Response(&m)
	} else {
		m.OnLink = from.zone.link.OnLink(p.Src.Addr())
		m.Local = c.own[p.Src.Addr()]
		from.answers.Query(&m)
	}
	if at := from.answers.Next(); !at.IsZero() && !at.After(p.Time) || from.answers.News() {
		c.settle(p.Time, from)
	}
}

// settle does what is due in the place's responder, tells what happened there and
// hands its packets to the socket.
func (c *core) settle(now time.Time, p *place) {
	p.answers.Advance(now)
	for p.answers.News() {
		for _, ev := range p.answers.Events() {
			c.happened(now, p, ev)
		}
		p.answers.Advance(now)
	}
	for _, d := range p.answers.Take(now) {
		if p.port != nil {
			c.send(now, p, d)
		}
	}
}

// happened tells of a change of a publication's state in one place.
func (c *core) happened(now time.Time, p *place, ev respond.Event) {
	x, ok := ev.Claim.Owner.(*Published)
	if !ok || x.gone {
		return
	}
	e := PublicationEvent{Zone: p.zone.id, Label: x.label, Rival: ev.Rival, Time: now}
	switch ev.State {
	case respond.Probing:
		e.State = PublicationProbing
	case respond.Announced:
		e.State = PublicationAnnounced
	case respond.Conflicted:
		if ev.Claim.State() != respond.Conflicted {
			return // another zone's conflict has changed the label already
		}
		e.State = PublicationConflicted
	default:
		return
	}
	x.tell(e)
	if e.State == PublicationConflicted {
		c.rename(now, x)
	}
	c.reckonOne(x)
}

// farewell says goodbye for everything on every link (RFC 6762 §10.1), and
// waits until that is sent.
func (c *core) farewell() {
	began := time.Now()
	for _, x := range c.pubs {
		x.gone = true
		x.set(x.label, pending)
		for _, at := range x.claims {
			x.lost(began, at.place, at.claim.State(), respond.Idle)
		}
	}
	for _, p := range c.places {
		if p.port != nil {
			p.answers.Goodbye()
		}
	}
	for waiting := true; waiting && time.Since(began) < farewellTime; {
		waiting = false
		now := time.Now()
		for _, p := range c.places {
			if p.port == nil {
				continue
			}
			for _, d := range p.answers.Take(now) {
				c.send(now, p, d)
			}
			waiting = waiting || p.answers.Waiting()
		}
		if waiting {
			time.Sleep(time.Millisecond)
		}
	}
	timer := time.NewTimer(farewellTime)
	defer timer.Stop()
	for _, p := range c.places {
		if p.port == nil {
			continue
		}
		close(p.port.flush)
		select {
		case <-p.port.flushed:
		case <-timer.C:
			return
		}
	}
}
