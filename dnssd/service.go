package dnssd

import (
	"net/netip"
	"slices"
	"time"
)

// Op says what happened.
type Op string

// What can happen.
const (
	Add    Op = "add"
	Update Op = "update"
	Remove Op = "remove"
	// Settled comes once: everything that is there has most likely been heard
	// and resolved. It carries no service.
	Settled Op = "settled"
)

// Event is one change of what is there. A Remove carries the last picture.
type Event struct {
	Op Op
	Service
}

// Service is an instance on one link, or, with an empty Name, a type on one link.
type Service struct {
	Instance
	// Subtypes are those by which the instance was found (RFC 6763 §7.1).
	Subtypes []string
	// Host, Port, Addresses, TXT, Priority and Weight are only set if the
	// Browser resolves. Addresses have no zone: Link says where they hold.
	// Host is "nas.local": as dnswire.Name prints it, without a dot at the end, in the
	// letters' case that the SRV record has.
	Host             string
	Port             uint16
	Priority, Weight uint16 // of the SRV record
	Addresses        []netip.Addr
	TXT              TXT
	// TXTs are all the TXT records of an instance that has several, in the order
	// of their bytes, for that of an answer changes. TXT is the newest, of those
	// that came together the first one. It is empty for an instance with one
	// (RFC 6763 §6.8).
	TXTs []TXT
	// Broken says why a TXT record of the instance can't be read, nil if there is
	// none such. It isn't in TXT, nor in TXTs.
	Broken error
	// Targets are all the places where a service is that has several SRV
	// records, by priority, the heavier first; Host and the like are the first
	// one's. It is empty for a service with one. Order says which to try.
	Targets []Target
	// Resolved says that a host, a port and an address are known now. If it
	// turned false, the host no longer says so: the service is there by name
	// but can't be reached, and the fields hold what was last known.
	Resolved  bool
	Link      int // index, 0 for what isn't on a link
	Interface string
	Via       string     // "mdns"
	Source    netip.Addr // who said it first
	TTL       uint32     // seconds, of the PTR record, or the SRV record where none was asked for
	// Expires is when this stops to hold if nothing is heard again.
	Expires time.Time
}

func sameError(a, b error) bool {
	return a == nil && b == nil || a != nil && b != nil && a.Error() == b.Error()
}

// same says whether two pictures are the same to a person.
func (s *Service) same(o *Service) bool {
	return s.Host == o.Host && s.Port == o.Port && s.Priority == o.Priority && s.Weight == o.Weight && s.Resolved == o.Resolved &&
		slices.Equal(s.Addresses, o.Addresses) && s.TXT.equal(o.TXT) && slices.Equal(s.Subtypes, o.Subtypes) &&
		slices.EqualFunc(s.Targets, o.Targets, Target.same) && slices.EqualFunc(s.TXTs, o.TXTs, TXT.equal) &&
		sameError(s.Broken, o.Broken)
}
