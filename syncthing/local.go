package syncthing

import (
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/lanfolk/lanfolk/packet"
)

const (
	// A link's first announcement waits for so long at most, by chance: hosts whose switch
	// was off begin together.
	startWithin = 250 * time.Millisecond
	// When a device is new, all others announce themselves. They spread that over a
	// millisecond for each of them, and a second at most.
	spreadEach = time.Millisecond
	spreadMost = time.Second
	// Announcements that are brought forward keep a second's distance to the last one, and
	// each time twice as much if no regular one comes between.
	firstGap = time.Second
)

// voice is when a device is announced on a link. It is told the time.
//
// However many devices appear, real or made up, two hosts never answer each other for ever: the
// gap grows until what is brought forward comes as often as it would anyway.
type voice struct {
	link  packet.Link
	every time.Duration // the longest time between two announcements
	next  time.Time
	last  time.Time // zero: none was sent
	gap   time.Duration
	early bool // next was brought forward
	known map[DeviceID]int
}

func newVoice(now time.Time, link packet.Link, every time.Duration) *voice {
	return &voice{
		link: link, every: every, next: now.Add(upTo(min(startWithin, every))), gap: min(firstGap, every/2), known: map[DeviceID]int{},
	}
}

// hasten brings the next announcement forward: to now plus a delay, but not too near to the last.
func (v *voice) hasten(now time.Time, delay time.Duration) {
	at := now.Add(delay)
	if soonest := v.last.Add(v.gap); !v.last.IsZero() && at.Before(soonest) {
		at = soonest
	}
	if at.Before(v.next) {
		v.next, v.early = at, true
	}
}

// hear takes in what happens on the link. A device that is new has the announcement
// hastened; what is only said of one doesn't.
func (v *voice) hear(now time.Time, e Event) {
	if e.Heard.Extra {
		return
	}
	id := e.Heard.ID
	switch e.Kind {
	case Appeared:
		v.known[id]++
		if v.known[id] == 1 {
			v.hasten(now, upTo(min(time.Duration(len(v.known))*spreadEach, spreadMost)))
		}
	case Gone:
		if v.known[id] > 0 {
			subtract(v.known, id)
		}
	}
}

// spoken plans the next announcement when one was sent.
func (v *voice) spoken(now time.Time) {
	switch {
	case !v.early:
		v.gap = min(firstGap, v.every/2)
	case !v.last.IsZero():
		v.gap = min(2*v.gap, v.every/2)
	}
	v.early, v.last = false, now
	v.next = now.Add(v.every/2 + upTo(v.every/2))
}

// upTo returns a duration by chance, from 0 to most.
func upTo(most time.Duration) time.Duration { return rand.N(most + 1) }

// speaking is what a Listener announces, if it is an Announcer's. The Listener's goroutine owns it.
type speaking struct {
	announcer *Announcer
	changed   <-chan struct{}
	voices    map[int]*voice // by the link's index
	timer     *time.Timer
}

// due is the channel that says when to call speak; nil is never.
func (s *speaking) due() <-chan time.Time {
	if s == nil || s.timer == nil {
		return nil
	}
	return s.timer.C
}

func (s *speaking) changes() <-chan struct{} {
	if s == nil {
		return nil
	}
	return s.changed
}

// follow brings the voices in line with the links: one for each that has an open conn.
func (s *speaking) follow(now time.Time, links []packet.Link, ears map[earKey]*ear) {
	if s == nil {
		return
	}
	for _, l := range links {
		if ears[earKey{l.Index, false}] == nil && ears[earKey{l.Index, true}] == nil {
			continue
		}
		v := s.voices[l.Index]
		if v == nil {
			s.voices[l.Index] = newVoice(now, l, s.every())
			continue
		}
		if !slices.Equal(v.link.Prefixes, l.Prefixes) {
			v.hasten(now, 0)
		}
		v.link = l
	}
	for index, v := range s.voices {
		if !slices.ContainsFunc(links, func(l packet.Link) bool { return l.Index == index }) {
			delete(s.voices, index)
			s.announcer.forget(func(t Target) bool { return t.Link == v.link.Name })
		}
	}
	s.plan(now)
}

func (s *speaking) every() time.Duration {
	if s.announcer.LocalEvery > 0 {
		return s.announcer.LocalEvery
	}
	return DefaultLocalEvery
}

// plan sets the timer.
func (s *speaking) plan(now time.Time) {
	var next time.Time
	for _, v := range s.voices {
		if next.IsZero() || v.next.Before(next) {
			next = v.next
		}
	}
	switch {
	case next.IsZero():
		if s.timer != nil {
			s.timer.Stop()
		}
	case s.timer == nil:
		s.timer = time.NewTimer(next.Sub(now))
	default:
		s.timer.Reset(next.Sub(now))
	}
}

// hear takes in what the Listener heard.
func (s *speaking) hear(now time.Time, events []Event) {
	if s == nil || len(events) == 0 {
		return
	}
	for _, e := range events {
		if v := s.voices[e.Heard.Link.Index]; v != nil {
			v.hear(now, e)
		}
	}
	s.plan(now)
}

// hasten has all links told as soon as may be.
func (s *speaking) hasten(now time.Time) {
	for _, v := range s.voices {
		v.hasten(now, 0)
	}
	s.plan(now)
}

// speak announces the device on each link where it is due.
func (s *speaking) speak(now time.Time, ears map[earKey]*ear) {
	data := s.announcer.packet()
	for _, v := range s.voices {
		if v.next.After(now) {
			continue
		}
		for _, v6 := range []bool{false, true} {
			e := ears[earKey{v.link.Index, v6}]
			if e == nil {
				continue
			}
			if all := v.destinations(v6); len(all) > 0 {
				sent := now
				err := send(e.conn, all, data)
				if err != nil {
					sent = time.Time{}
				}
				s.announcer.record(v.link.Name, "", all[0].Dst, sent, err)
			}
		}
		v.spoken(now)
	}
	s.plan(now)
}

// said says whether each link was told once.
func (s *speaking) said() bool {
	for _, v := range s.voices {
		if v.last.IsZero() {
			return false
		}
	}
	return true
}

// failed returns why no link was told; nil if any was.
func (s *speaking) failed() error {
	var errs []error
	for _, t := range s.announcer.Status() {
		switch {
		case t.Link == "":
		case t.Err == nil:
			return nil
		default:
			errs = append(errs, t.Err)
		}
	}
	if len(errs) == 0 {
		return errors.New("syncthing: no link to announce on")
	}
	return errors.Join(errs...)
}

// send sends the same to several destinations. It fails if it can't reach one.
func send(c Conn, to []packet.Datagram, data []byte) error {
	var errs []error
	for _, d := range to {
		d.Data = data
		if _, err := c.WriteBatch([]packet.Datagram{d}); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// destinations are where an announcement goes on the link by a family.
//
// By IPv4 that is everyone on the wire. To those in further subnets of the link it goes a second
// time, to their own broadcast address and from ours there: an address without an IP
// stands for the source, and they may have no way to the first.
func (v *voice) destinations(v6 bool) []packet.Datagram {
	l := v.link
	switch {
	case v6 && l.Flags&net.FlagMulticast != 0:
		return []packet.Datagram{{Dst: LocalGroup()}}
	case v6 || l.Flags&(net.FlagBroadcast|net.FlagLoopback) == 0:
		return nil // the loopback, or a tunnel without multicast or broadcast
	}
	var out []packet.Datagram
	var subnets []netip.Prefix
	for _, p := range l.Prefixes {
		if !p.Addr().Is4() || slices.Contains(subnets, p.Masked()) {
			continue
		}
		subnets = append(subnets, p.Masked())
		switch to := lastOf(p); {
		case l.Flags&net.FlagLoopback != 0: // it knows only its subnet's broadcast
			out = append(out, packet.Datagram{Dst: netip.AddrPortFrom(to, LocalPort)})
		case len(subnets) == 1:
			out = append(out, packet.Datagram{Dst: netip.AddrPortFrom(broadcast(), LocalPort)})
		case p.Bits() <= 30: // smaller ones have no broadcast
			out = append(out, packet.Datagram{Src: netip.AddrPortFrom(p.Addr(), 0), Dst: netip.AddrPortFrom(to, LocalPort)})
		}
	}
	return out
}

// lastOf is the last address of an IPv4 subnet: its broadcast address.
func lastOf(p netip.Prefix) netip.Addr {
	a := p.Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		a[bit/8] |= 0x80 >> (bit % 8)
	}
	return netip.AddrFrom4(a)
}
