package dnssd

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/lanfolk/lanfolk/mdns"
	"github.com/lanfolk/lanfolk/packet"
)

// Published is an announcement that a Publisher works on.
type Published struct {
	publisher *Publisher
	handle    *mdns.Published
	host      *machine

	// What follows is guarded by publisher.mu.
	offer     offer
	label     string // at present
	zones     map[mdns.Zone]mdns.PublicationState
	withdrawn bool
	changed   chan struct{} // closed and made anew at each change
}

// Standing is how an announcement stands.
type Standing struct {
	// Instance has the name that the service has now: not the one that was
	// wanted, if another host had that.
	Instance Instance
	Host     string // the present name of its host, "nas.local"
	Port     uint16
	// Announced are the zones in which it can be found now, Probing those in
	// which it is still being found out whether its name and its host's are free.
	// Both are in order.
	Announced, Probing []mdns.Zone
	Withdrawn          bool
}

// Interfaces returns the names of the links where the service is announced.
func (s Standing) Interfaces() []string {
	var out []string
	for _, z := range s.Announced {
		if !slices.Contains(out, z.Interface) {
			out = append(out, z.Interface)
		}
	}
	return out
}

// records runs on the engine's goroutine.
func (s *Published) records(_ mdns.Zone, l packet.Link, label string) []mdns.Record {
	s.publisher.mu.Lock()
	defer s.publisher.mu.Unlock()
	if !s.offer.on(l.Name) {
		return nil
	}
	return s.offer.records(label, s.host.full())
}

// rename runs on the engine's goroutine.
func (s *Published) rename(label string) string {
	s.publisher.mu.Lock()
	defer s.publisher.mu.Unlock()
	for label = mdns.RenameService(label); s.publisher.taken(s, label); {
		label = mdns.RenameService(label)
	}
	return label
}

// heard runs on the engine's goroutine.
func (s *Published) heard(ev mdns.PublicationEvent) {
	p := s.publisher
	p.mu.Lock()
	defer p.mu.Unlock()
	note(s.zones, ev)
	p.nudge()
	if speaks(ev) && ev.Label != s.label {
		p.enlist(s, ev.Label)
		p.remember(s.offer.instance(s.offer.Name), ev.Label)
	}
	s.tell()
}

// tell wakes those who wait for a change. publisher.mu is held.
func (s *Published) tell() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// Standing returns how the announcement stands, and a channel that is closed
// when that changes.
func (s *Published) Standing() (Standing, <-chan struct{}) {
	p := s.publisher
	p.mu.Lock()
	defer p.mu.Unlock()
	now := Standing{
		Instance:  Instance{Name: s.label, Service: s.offer.Type, Domain: DefaultDomain},
		Host:      s.host.full().String(),
		Port:      s.offer.Port,
		Withdrawn: s.withdrawn,
	}
	for z, state := range s.zones {
		// A service whose host can't be found yet can't be used yet.
		host, speaks := s.host.zones[z]
		if state == mdns.PublicationAnnounced && (!speaks || host == mdns.PublicationAnnounced) {
			now.Announced = append(now.Announced, z)
		} else {
			now.Probing = append(now.Probing, z)
		}
	}
	for _, zones := range [][]mdns.Zone{now.Announced, now.Probing} {
		slices.SortFunc(zones, func(a, b mdns.Zone) int {
			return cmp.Or(cmp.Compare(a.Link, b.Link), cmp.Compare(a.Family, b.Family))
		})
	}
	return now, s.changed
}

// Established waits until the service can be found in all zones that there are,
// in one at least, and returns how it stands. The error is ctx's,
// mdns.ErrWithdrawn, or mdns.ErrStopped when the engine has ended.
func (s *Published) Established(ctx context.Context) (Standing, error) {
	for {
		if _, err := s.handle.Established(ctx); err != nil {
			now, _ := s.Standing()
			return now, err
		}
		now, changed := s.Standing()
		if len(now.Announced) > 0 && len(now.Probing) == 0 {
			return now, nil
		}
		select {
		case <-changed: // its host is ready, too, or the engine ends
		case <-ctx.Done():
			return now, ctx.Err()
		}
	}
}

// Update changes what is announced, of a service that keeps its name and type.
// Others hear of it at once, without a new probe; of more than ten changes in a
// minute some are passed over (RFC 6762 §8.4).
func (s *Published) Update(a Announcement) error {
	p := s.publisher
	o, err := newOffer(a, DefaultDomain, cmp.Or(p.MaxTXT, DefaultMaxTXT))
	if err != nil {
		return err
	}
	p.warn(a, &o)
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case s.withdrawn:
		return errors.New("dnssd: update of a service that was withdrawn")
	case o.Name != s.offer.Name || !strings.EqualFold(o.Type, s.offer.Type):
		return errors.New("dnssd: an update keeps name and type")
	case o.host != s.offer.host && !o.host.Equal(s.host.name):
		return errors.New("dnssd: an update keeps the host")
	}
	o.host = s.offer.host
	p.strike(s)
	was := s.offer.spots()
	s.offer = o
	p.enlist(s, s.label)
	p.spread(s.host, o.spots(), was)
	p.nudge()
	p.soon(s.handle)
	s.tell()
	return nil
}

// Withdraw takes the service back, with a goodbye (RFC 6762 §10.1). Done says
// when that was sent.
func (s *Published) Withdraw() {
	p := s.publisher
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.withdrawn {
		return
	}
	s.withdrawn = true
	p.strike(s)
	s.handle.Withdraw()
	p.leaveHost(s)
	p.nudge()
	s.tell()
}

// Done returns a channel that is closed when the service was withdrawn and its
// goodbye was sent, or the engine has ended.
func (s *Published) Done() <-chan struct{} { return s.handle.Done() }
