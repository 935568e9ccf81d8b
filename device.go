package lanfolk

import (
	"net/netip"
	"time"
)

// Device is a host or appliance as the inventory sees it: all sightings that
// belong together by their identifiers. A *Device that a Registry hands out is
// never changed again.
type Device struct {
	ID string `json:"id"`
	// Aliases are the ids of devices that turned out to be this one.
	Aliases   []string     `json:"aliases"`
	Names     []string     `json:"names"` // what a person said first, then what it calls itself
	MACs      []MAC        `json:"macs"`
	Addresses []netip.Addr `json:"addresses"`
	Vendor    string       `json:"vendor"` // the maker by its MAC, "" if that isn't known or tells none
	// Model, OS and Class are what a person said with the tags "model=…", "os=…" and
	// "class=…", or what a Classifier makes of all signals; "" for unknown. The
	// confidence is 1 for a person's word, less for a conclusion, 0 for none.
	Model           string  `json:"model"`
	ModelConfidence float64 `json:"model_confidence"`
	OS              string  `json:"os"`
	OSConfidence    float64 `json:"os_confidence"`
	Class           string  `json:"class"` // "printer", "camera", "phone", …
	ClassConfidence float64 `json:"class_confidence"`

	State     State      `json:"state"`
	Protocols []string   `json:"protocols"`
	Services  []*Service `json:"services"`
	Gateway   string     `json:"gateway"`
	Tags      []string   `json:"tags"` // what a person said
	// Separated are the identifiers that a person separated: those that the
	// person said of this device or one of its aliases, and those that its
	// sightings hold and the person said of another device. So both sides of
	// a split show it, and Rejoin takes it back from either.
	Separated []Identifier `json:"separated"`
	// RandomMAC says that every MAC is locally administered: the device may
	// come back under another one.
	RandomMAC bool      `json:"random_mac"`
	FirstSeen time.Time `json:"first_seen"`
	LastSeen  time.Time `json:"last_seen"`
}

// Service is something that a device offers, as one protocol tells it on one
// link. A *Service that a Registry hands out is never changed again.
type Service struct {
	ID         string            `json:"id"`
	Name       string            `json:"name"`
	Type       string            `json:"type"`
	Protocol   string            `json:"protocol"`
	Host       string            `json:"host"`
	Addresses  []netip.Addr      `json:"addresses"`
	Port       uint16            `json:"port"`
	Attributes map[string]string `json:"attributes"`
	State      State             `json:"state"`
	Device     string            `json:"device"` // the id of the device, "" if not known
	Interface  string            `json:"interface"`
	Gateway    string            `json:"gateway"`
	FirstSeen  time.Time         `json:"first_seen"`
	LastSeen   time.Time         `json:"last_seen"`
	Expires    time.Time         `json:"expires"`
}

// Evidence is one fact behind a device, and why it was taken to be about it.
type Evidence struct {
	Time        time.Time    `json:"time"`
	Protocol    string       `json:"protocol"`
	Interface   string       `json:"interface"`
	What        string       `json:"what"`
	Identifiers []Identifier `json:"identifiers"`
	WhyJoined   string       `json:"why_joined"`
}

// Op says what happened to a device or service.
type Op string

// The operations of a stream of changes. OpSynced ends the first picture and
// follows a resynchronisation; it carries no object.
const (
	OpAdd    Op = "add"
	OpUpdate Op = "update"
	OpRemove Op = "remove"
	OpSynced Op = "synced"
)

// Event is one change of the inventory. Just one of Device and Service is set,
// but for OpSynced, which has neither. An OpRemove carries the last picture.
type Event struct {
	Op      Op
	Device  *Device
	Service *Service
}
