package find

import (
	"net/netip"
	"time"
)

// The questions for a studio's APIs (AMWA NMOS), in the words that commands and
// the API of lanfolk share.

// SelectRequest says which API of a studio is needed. The zero values of all
// fields are useful; see nmos.Client.
type SelectRequest struct {
	Kind     string   // "netctrl", which "" means, too
	Versions []string // that the client speaks: "v1.3"; none means any
	Proto    string   // "http"; "" means any
	Auth     *bool    // whether it must insist on authorization, or must not; nil means any
	Mode     string   // "both", which "" means, too, "unicast" or "mdns"
	// Domains are where to look by unicast DNS, and Servers whom to ask,
	// ADDRESS[:PORT]; none means those that the machine uses.
	Domains, Servers []string
	URL              string // where the API is: then nothing is looked for
	Development      bool   // take those for development, too
	FallBack         bool   // ask by mDNS where DNS knows some, but none that fits
	Merge            bool   // ask both in any case
	Return           bool   // go back to a better one when it comes
	Seed             *uint64
	CheckEvery       time.Duration // between two tries of the chosen one
	Timeout          time.Duration // of a try
	CA               string        // PEM certificates that sign those of the APIs; "" means the system's
}

// Advert is an API that is advertised.
type Advert struct {
	Instance    string       `json:"instance"`
	Domain      string       `json:"domain"`
	Via         string       `json:"via"` // "mdns", "unicast"; "" where it was given
	Host        string       `json:"host"`
	Port        uint16       `json:"port"`
	Addresses   []netip.Addr `json:"addresses"`
	Proto       string       `json:"api_proto"`
	Versions    []string     `json:"api_ver"`
	Auth        bool         `json:"api_auth"`
	Priority    int          `json:"pri"`
	SRVPriority uint16       `json:"srv_priority"`
	SRVWeight   uint16       `json:"srv_weight"`
	URL         string       `json:"url"`
}

// Reason is why an advertisement isn't the one that is selected.
type Reason struct {
	Instance string `json:"instance"`
	Reason   string `json:"reason"`
	Domain   string `json:"domain"`
	Via      string `json:"via"`
}

// Selection is an API that was chosen, and why.
type Selection struct {
	// Groups are those that fit, in order of preference; the members of a group
	// are equal.
	Groups    [][]Advert `json:"groups"`
	Selected  *Advert    `json:"selected"` // null if none fits
	Discarded []Reason   `json:"discarded"`
	// Reason says why the one that is selected is, or why none is.
	Reason string `json:"reason"`
	// Others says of those that fit why they aren't selected.
	Others []Reason `json:"others"`
	// Steps say what was asked, and what came of it.
	Steps []string `json:"steps"`
}

// What can happen to a selection.
const (
	SelectionMade   = "selected"
	SelectionNone   = "none"   // nothing is chosen any more, or yet
	SelectionUpdate = "update" // only the others changed
)

// SelectionChange is what happened to a selection.
type SelectionChange struct {
	Event string    `json:"event" enum:"selected,none,update"`
	Time  time.Time `json:"time"`
	Selection
}

// KeptSelection is a selection that the configuration asks for.
type KeptSelection struct {
	Name    string    `json:"name"`
	Type    string    `json:"type"`  // "netctrl"
	Since   time.Time `json:"since"` // of the last change of what is selected
	Changes uint64    `json:"changes"`
	Error   string    `json:"error"` // why nothing can be looked for
	Selection
}
