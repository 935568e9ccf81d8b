package lanfolk

import (
	"net/netip"
	"time"
)

// Kind says what a Sighting is about.
type Kind string

// The kinds of thing that discovery protocols speak of.
const (
	KindDevice   Kind = "device"   // a host or appliance
	KindService  Kind = "service"  // something that it offers
	KindProvider Kind = "provider" // what announces devices for others: a bridge
	KindGateway  Kind = "gateway"  // a lanfolk node
)

// State says whether a thing can be reached, as far as is known.
type State string

// The states of devices and services.
const (
	Unknown     State = "unknown"
	Reachable   State = "reachable"
	Unreachable State = "unreachable"
	// Lost is for sightings alone: who tells of the thing doesn't know how it is, or can't be heard any
	// more. Where nobody else hears the thing it is shown as Unknown. One whose sighting is
	// Unknown was heard, at least, and is shown as Reachable.
	Lost State = "lost"
)

// TypeAnswer is the type of a device's sighting by which a MAC answers for an address,
// which may be another's: who answers for many is a proxy, and they aren't its own.
const TypeAnswer = "answer"

// Origin says who told us a fact, by which protocol, on which link.
type Origin struct {
	Protocol string `json:"protocol"` // "mdns", "arp", "dhcp", …
	Gateway  string `json:"gateway"`  // the node that heard it, "" for this one
	Link     string `json:"interface"`
	Source   string `json:"source"` // the speaker's address, "" if there is none
	Self     bool   `json:"self"`   // lanfolk said it itself
}

// Sighting is one fact heard by one means. A later sighting with the same
// protocol, gateway, link, kind and key replaces the earlier one.
type Sighting struct {
	Origin Origin
	// Key names the fact within its protocol, link and kind, and stays the
	// same when the fact is heard again: an instance name, a MAC, a device id.
	Key  string
	Kind Kind
	// Name is what people call the thing, "" if the fact holds no name.
	Name string
	// Type is the protocol's own: "_http._tcp", "SQL", "light".
	Type string
	// Identifiers say which device this is about.
	Identifiers []Identifier
	Host        string // the host name that offers the service, "" if unknown
	Addresses   []netip.Addr
	Port        uint16
	Attributes  map[string]string
	// What is the evidence in a line for people: "answer A nas.local 10.0.0.5".
	What  string
	State State
	Time  time.Time
	// Lifetime is how long the fact holds after Time. 0 means that the
	// protocol names no end; then DefaultLifetime holds.
	Lifetime time.Duration
	// Gone says that the fact was taken back: a goodbye, a withdrawal.
	Gone bool
}

// DefaultLifetime is how long a sighting without a lifetime of its own holds.
const DefaultLifetime = time.Hour

// ID is what makes a sighting the same fact as an earlier one.
type ID struct {
	Protocol, Gateway, Link string
	Kind                    Kind
	Key                     string
}

// ID returns the sighting's identity.
func (s *Sighting) ID() ID {
	return ID{s.Origin.Protocol, s.Origin.Gateway, s.Origin.Link, s.Kind, s.Key}
}

// Expires returns the time at which the sighting stops to hold.
func (s *Sighting) Expires() time.Time {
	if s.Lifetime <= 0 {
		return s.Time.Add(DefaultLifetime)
	}
	return s.Time.Add(s.Lifetime)
}
