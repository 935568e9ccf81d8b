package find

import "net/netip"

// The questions of DNS-SD and mDNS alone, with answers as they were given, past
// the inventory. The types are also what commands print and the API sends, so
// that an answer looks the same whoever asked.

// BrowseRequest says which services to look for.
type BrowseRequest struct {
	// Type is "_http._tcp", perhaps with a subtype before it,
	// "_printer._sub._http._tcp"; "" looks for types.
	Type    string
	Also    []string // other types of the same function, less preferred; names are told once
	Resolve bool     // ask for host, port, addresses and TXT, too
	Once    bool     // end when things have settled
}

// Instance is a service instance on one link or, without a name, a type.
type Instance struct {
	// Event is what happened; "" in the answer to a question for this instance.
	Event     string   `json:"event,omitempty" enum:"add,update,remove"`
	Name      string   `json:"name"`
	Type      string   `json:"type"`
	Domain    string   `json:"domain"`
	Subtypes  []string `json:"subtypes"`
	*Location          // nil if it was not asked for
	Interface string   `json:"interface"`
	Via       string   `json:"via"`
	TTL       uint32   `json:"ttl" format:"int64"` // seconds
}

// Location is what resolving adds. In TXT a key without a value is null; TXTRaw
// holds the record's strings as they came, in base64.
type Location struct {
	Host      string             `json:"host" required:"false"`
	Port      uint16             `json:"port" required:"false"`
	Priority  uint16             `json:"priority,omitempty" required:"false"` // of the SRV record, as is Weight
	Weight    uint16             `json:"weight,omitempty" required:"false"`
	Addresses []netip.Addr       `json:"addresses" required:"false"`
	TXT       map[string]*string `json:"txt" required:"false"`
	TXTRaw    []string           `json:"txt_raw" required:"false"`
	// Targets are all places of a service that has several, by priority, the
	// heavier first.
	Targets []Target `json:"targets,omitempty" required:"false"`
	// Broken says why a TXT record can't be read.
	Broken string `json:"broken,omitempty" required:"false"`
}

// Target is one of the places where a service is: an SRV record.
type Target struct {
	Host      string       `json:"host"`
	Port      uint16       `json:"port"`
	Priority  uint16       `json:"priority"`
	Weight    uint16       `json:"weight"`
	Addresses []netip.Addr `json:"addresses"`
}

// HostAddress is one address that a host says it has.
type HostAddress struct {
	Host      string     `json:"host"`
	Address   netip.Addr `json:"address"`
	Interface string     `json:"interface"`
	Via       string     `json:"via"`
	TTL       uint32     `json:"ttl" format:"int64"` // seconds
}
