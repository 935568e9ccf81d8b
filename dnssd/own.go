package dnssd

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/mdns"
)

// Include returns a source that asks src and knows, beside its answers, what
// the publisher announces itself: an engine doesn't hear itself. The network
// isn't asked for what only the publisher can know.
func (p *Publisher) Include(src Source) Source { return including{src, p} }

type including struct {
	Source
	publisher *Publisher
}

// Reconfirm implements Reconfirmer.
func (i including) Reconfirm(z mdns.Zone, rr dnswire.RR) {
	if r, ok := i.Source.(Reconfirmer); ok {
		r.Reconfirm(z, rr)
	}
}

func (i including) Feed(refreshes bool) Feed {
	f := &ownFeed{Feed: i.Source.Feed(refreshes), publisher: i.publisher, asked: map[mdns.Question]bool{}, told: map[ownRecord]struct{}{}}
	p := i.publisher
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.feeds == nil {
		p.feeds = map[*ownFeed]struct{}{}
	}
	p.feeds[f] = struct{}{}
	return f
}

// ownRecord is a record that is published in a zone.
type ownRecord struct {
	zone mdns.Zone
	rr   dnswire.RR
}

// ownFeed is a feed with what a publisher announces itself.
type ownFeed struct {
	Feed
	publisher *Publisher

	stale atomic.Bool // the publisher's records changed
	wake  atomic.Pointer[context.CancelFunc]

	mu      sync.Mutex             // taken before the publisher's
	asked   map[mdns.Question]bool // whether the network is asked, too
	told    map[ownRecord]struct{}
	pending []mdns.Event
}

func (f *ownFeed) Ask(questions ...mdns.Question) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, q := range questions {
		q.Name = q.Name.Fold()
		if f.asked[q] {
			f.Feed.Ask(q) // asks it anew
		} else {
			f.asked[q] = false
		}
	}
	f.nudge()
}

func (f *ownFeed) Forget(questions ...mdns.Question) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, q := range questions {
		q.Name = q.Name.Fold()
		if f.asked[q] {
			f.Feed.Forget(q)
		}
		delete(f.asked, q)
	}
	f.nudge()
}

func (f *ownFeed) Close() {
	f.publisher.mu.Lock()
	delete(f.publisher.feeds, f)
	f.publisher.mu.Unlock()
	f.Feed.Close()
}

// nudge has Next look at the publisher's records again.
func (f *ownFeed) nudge() {
	f.stale.Store(true)
	if wake := f.wake.Load(); wake != nil {
		(*wake)()
	}
}

func (f *ownFeed) Next(ctx context.Context) ([]mdns.Event, error) {
	for {
		if f.stale.Swap(false) {
			f.refresh(time.Now())
		}
		if out := f.take(); len(out) > 0 {
			return out, nil
		}
		wait, cancel := context.WithCancel(ctx)
		f.wake.Store(&cancel)
		if f.stale.Load() { // meanwhile
			cancel()
		}
		events, err := f.Feed.Next(wait)
		f.wake.Store(nil)
		cancel()
		if errors.Is(err, context.Canceled) && ctx.Err() == nil {
			continue
		}
		if slices.ContainsFunc(events, func(ev mdns.Event) bool { return ev.Op == mdns.OpReset }) {
			f.mu.Lock()
			clear(f.told) // the subscriber forgets what it knows
			f.mu.Unlock()
			f.stale.Store(true)
		}
		return events, err
	}
}

func (f *ownFeed) take() []mdns.Event {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.pending
	f.pending = nil
	return out
}

// refresh works out which of the publisher's records answer the questions, and
// which questions are left for the network.
func (f *ownFeed) refresh(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	current := make(map[ownRecord]struct{}, len(f.told))
	var ask, forget []mdns.Question
	for q, asking := range f.asked {
		records, owned := f.publisher.answers(q)
		for _, r := range records {
			current[r] = struct{}{}
		}
		if owned == asking {
			f.asked[q] = !owned
			if owned {
				forget = append(forget, q)
			} else {
				ask = append(ask, q)
			}
		}
	}
	event := func(op mdns.Op, r ownRecord) {
		ttl := time.Duration(r.rr.TTL) * time.Second
		f.pending = append(f.pending, mdns.Event{Op: op, Zone: r.zone, RR: r.rr, Time: now, Expires: now.Add(ttl)})
	}
	for r := range current {
		if _, known := f.told[r]; !known {
			event(mdns.OpAdd, r)
		}
	}
	for r := range f.told {
		if _, still := current[r]; !still {
			event(mdns.OpRemove, r)
		}
	}
	f.told = current
	if len(forget) > 0 {
		f.Feed.Forget(forget...)
	}
	if len(ask) > 0 {
		f.Feed.Ask(ask...)
	}
}

// nudge tells the feeds that the publisher's records changed. p.mu is held.
func (p *Publisher) nudge() {
	p.own = nil
	for f := range p.feeds {
		f.nudge()
	}
}

// published is a record with how it is published, in a zone.
type published struct {
	zone mdns.Zone
	mdns.Record
}

// answers returns the publisher's own records that answer a question, and
// whether the name is its own, so that nobody else can know more.
func (p *Publisher) answers(q mdns.Question) (records []ownRecord, owned bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.own == nil {
		p.own = p.live()
	}
	for _, x := range p.own[q.Name] {
		if q.Link != 0 && q.Link != x.zone.Link || q.Family != 0 && q.Family != x.zone.Family {
			continue
		}
		owned = owned || x.Unique
		if q.Type == x.RR.Type || q.Type == dnswire.TypeANY {
			rr := x.RR
			rr.TTL, rr.Flush = ownTTL(rr.Type), x.Unique
			records = append(records, ownRecord{x.zone, rr})
		}
	}
	return records, owned
}

// ownTTL is the TTL that own records are told with, in seconds: the default of
// RFC 6762 §10.
func ownTTL(t dnswire.Type) uint32 {
	if t == dnswire.TypePTR || t == dnswire.TypeTXT {
		return 4500
	}
	return 120
}

// live lists all records that are announced now, by the folded name of their
// owner.
func (p *Publisher) live() map[dnswire.Name][]published {
	out := map[dnswire.Name][]published{}
	add := func(z mdns.Zone, records []mdns.Record) {
		for _, r := range records {
			n := r.RR.Name.Fold()
			out[n] = append(out[n], published{z, r})
		}
	}
	for _, h := range p.hosts {
		for z, state := range h.zones {
			if state == mdns.PublicationAnnounced {
				add(z, h.records(h.links[z], h.label, h.shared[z]))
			}
		}
		for s := range h.users {
			for z, state := range s.zones {
				if state == mdns.PublicationAnnounced {
					add(z, s.offer.records(s.label, h.full()))
				}
			}
		}
	}
	return out
}
