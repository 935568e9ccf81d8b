package dnssd

import (
	"context"
	"errors"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/mdns"
)

// ErrNoRequery says that a Source is no Requerier.
var ErrNoRequery = errors.New("dnssd: the source can't be told to ask again")

// Requery has a source ask now for the instances of a type, or a subtype of it,
// or with an empty type for the types of a domain, while a Browser looks for
// them. Its Looked tells how that ended. What is known of the instances stays as it is: Reconfirm has that of one
// asked for again. It may be called as often as one likes: a question is
// asked once a second at most. The error is one in the name, or
// ErrNoRequery.
func Requery(src Source, service, subtype, domain string) error {
	r, ok := src.(Requerier)
	if !ok {
		return ErrNoRequery
	}
	if domain == "" {
		domain = DefaultDomain
	}
	n, err := browseName(service, subtype, domain)
	if err == nil {
		r.Requery(mdns.Question{Name: n, Type: dnswire.TypePTR})
	}
	return err
}

// ErrNoReconfirm says that a Source is no Reconfirmer.
var ErrNoReconfirm = errors.New("dnssd: the source can't be told that a record didn't work")

// recheckMax bounds ResolveAgain: the ten seconds that a record has to be
// confirmed, what may delay them, and time for the answer (RFC 6762 §10.4).
const recheckMax = 12 * time.Second

// Reconfirm tells a source that a service didn't work for who used it. What is
// known of it is asked for again, from the PTR record that leads to it over the
// SRV record to the addresses, and what nobody confirms is removed ten seconds
// later: browsers then get a Remove (RFC 6762 §10.4). It returns at once and
// may be called as often as one likes.
//
// Only the instance's name, the subtypes and the link of s count; link 0 stands for all.
// Without a name s is a type. The error is one in the name, or ErrNoReconfirm.
func Reconfirm(src Source, s Service) error {
	r, ok := src.(Reconfirmer)
	if !ok {
		return ErrNoReconfirm
	}
	t, err := typeName(s.Service, s.Domain)
	if err != nil {
		return err
	}
	domain := s.Domain
	if domain == "" {
		domain = DefaultDomain
	}
	z := mdns.Zone{Link: s.Link}
	if s.Name == "" {
		meta, err := browseName("", "", domain)
		if err != nil {
			return err
		}
		r.Reconfirm(z, dnswire.NewPTR(meta, t, 0))
		return nil
	}
	name, err := t.Prepend(s.Name)
	if err != nil {
		return err
	}
	r.Reconfirm(z, dnswire.NewPTR(t, name, 0))
	for _, sub := range s.Subtypes {
		if n, err := subtypeName(sub, t); err == nil {
			r.Reconfirm(z, dnswire.NewPTR(n, name, 0))
		}
	}
	// Where the PTR record isn't known, these may be.
	for _, of := range [...]dnswire.Type{dnswire.TypeSRV, dnswire.TypeTXT} {
		r.Reconfirm(z, dnswire.RR{Name: name, Type: of, Class: dnswire.ClassIN})
	}
	return nil
}

// ResolveAgain is Resolve for an instance that didn't work: it says Reconfirm and returns
// what was confirmed or is new. That takes up to twelve seconds where what is
// known is no longer true. The error may be ErrTimeout, ErrNone or ErrNoReconfirm.
func ResolveAgain(ctx context.Context, src Source, in Instance) ([]Service, error) {
	r, ok := src.(Reconfirmer)
	if !ok {
		return nil, ErrNoReconfirm
	}
	return resolve(ctx, src, in, &recheck{source: r, open: map[recordKey]struct{}{}})
}

// recheck waits until what was cached is confirmed or gone. Its methods do
// nothing on nil.
type recheck struct {
	source Reconfirmer
	open   map[recordKey]struct{} // neither yet
}

func (r *recheck) begin(in Instance) {
	_ = Reconfirm(r.source, Service{Instance: in}) // the name was checked, and the source
}

func (r *recheck) waits() bool { return r != nil && len(r.open) > 0 }

func (r *recheck) hear(ev *mdns.Event) {
	if r == nil {
		return
	}
	key := recordKey{ev.Zone, ev.RR.Fold()}
	key.rr.TTL, key.rr.Flush = 0, false
	switch ev.Op {
	case mdns.OpAdd:
		// One that was heard a moment ago needs no confirmation.
		if ttl := time.Duration(ev.RR.TTL) * time.Second; ev.Expires.Sub(ev.Time) < ttl-time.Second {
			r.open[key] = struct{}{}
			r.source.Reconfirm(ev.Zone, ev.RR) // perhaps nothing known led there
		}
	case mdns.OpUpdate, mdns.OpRemove:
		delete(r.open, key)
	case mdns.OpReset:
		clear(r.open)
	}
}

// forgetLost drops the services of which no SRV record is left.
func (c *catalog) forgetLost() {
	for _, s := range c.services {
		if s.self == nil || len(s.self.of(dnswire.TypeSRV)) == 0 {
			c.drop(s)
		}
	}
}
