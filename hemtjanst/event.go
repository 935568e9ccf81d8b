package hemtjanst

import (
	"strings"
	"time"
)

// State says whether a device can be reached.
type State uint8

// The states of a device.
const (
	Unknown     State = iota // nothing is retained that says so
	Reachable                // "1"
	Unreachable              // "0", or its provider is gone
)

// String returns "unknown", "reachable" or "unreachable".
func (s State) String() string { return [...]string{"unknown", "reachable", "unreachable"}[s] }

// Problem is what keeps a device from being what the protocol wants; several may be set.
type Problem uint8

// The problems of devices. They are listed and left alone.
const (
	Malformed     Problem = 1 << iota // the metadata is no JSON object
	TooLarge                          // the metadata is larger than is read, or than there is room for
	NoRoot                            // there is no root in it that is a string
	UnusableRoot                      // CheckName refuses the root
	BadProvider                       // providerID is no string, or CheckName refuses it
	DuplicateRoot                     // other devices have the same root
	Collision                         // a device and a provider have the same id
)

// String returns the problems' names, joined by commas.
func (p Problem) String() string {
	var names []string
	for i, name := range [...]string{"malformed metadata", "metadata too large", "no root", "unusable root", "unusable providerID", "root of several devices", "id of a device and a provider"} {
		if p&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// Device is what the broker says about a device.
type Device struct {
	ID       string
	Root     string // "" if there is none that can be used
	Provider string // "" means that it is its own
	Metadata Metadata
	State    State // what is so, as far as can be known
	Said     State // what the reachable topic says; State differs if the provider is gone
	Problem  Problem
}

// Provider is what the broker says about a provider.
type Provider struct {
	ID      string
	Present bool   // its topic is there
	Payload string // of its topic; "" if it is larger than MaxMetadata
	// Since is when it came or went, or when that was found out.
	Since   time.Time
	Devices int // how many devices name it
}

// EventKind says what happened.
type EventKind uint8

// The kinds of events.
const (
	DeviceAdded EventKind = iota
	DeviceChanged
	DeviceRemoved
	ProviderAdded
	ProviderChanged
	ProviderRemoved
	// Complete means that all that was retained is known. What comes after it are changes.
	Complete
	// Lost means that the broker can't be heard any more. What is known stays, and what has changed
	// meanwhile is told when the state is complete again.
	Lost
)

// String returns the kind in words, as "device added".
func (k EventKind) String() string {
	return [...]string{"device added", "device changed", "device removed", "provider added", "provider changed", "provider removed", "complete", "lost"}[k]
}

// Event is a change of what the broker says.
type Event struct {
	Kind     EventKind
	Device   Device   // of device events
	Provider Provider // of provider events
	// Unconfirmed is set in Complete if the broker may have left out a part of what is retained: the
	// sentinel didn't come back, or there was no room for everything.
	Unconfirmed bool
	// Err is set in Lost: why.
	Err error
}
