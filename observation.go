package lanfolk

import (
	"net/netip"
	"time"
)

// Observation is what passive monitoring keeps: who asked or announced what,
// towards whom, on which link, when first, when last and how often. The fields
// of ObservationKey tell rows apart; the rest is merged.
type Observation struct {
	ObservationKey
	SrcIP netip.Addr `json:"src_ip"` // of the last packet; invalid if it had none
	DstIP netip.Addr `json:"dst_ip"`
	First time.Time  `json:"first_seen"`
	Last  time.Time  `json:"last_seen"`
	Count uint64     `json:"count"` // packets
}

// ObservationKey is what one row of the fingerprint database is about.
type ObservationKey struct {
	Gateway     string   `json:"gateway"` // the node that heard it, "" for this one
	Link        string   `json:"interface"`
	VLAN        uint16   `json:"vlan"`
	Protocol    string   `json:"protocol"`
	Response    bool     `json:"response"` // an answer or announcement, not a question
	Query       string   `json:"query"`    // the name asked for or announced
	Fingerprint string   `json:"fingerprint"`
	SrcMAC      MAC      `json:"src_mac"`
	DstMAC      MAC      `json:"dst_mac"`
	DstClass    DstClass `json:"dst_class"`
}

// Owner is the MAC on whose account the row is kept: who asked, in a question and
// in what a server answers to it alone; else who sent. So a flood of made-up
// questions counts for the one that asks, and not for the router that answers.
func (k *ObservationKey) Owner() MAC {
	if k.Response && k.DstClass == Unicast {
		return k.DstMAC
	}
	return k.SrcMAC
}

// DstClass says what sort of address a frame went to.
type DstClass string

// The classes of destination.
const (
	Unicast   DstClass = "unicast"
	Multicast DstClass = "multicast"
	Broadcast DstClass = "broadcast"
)

// Merge adds o, an observation with the same key, to this one.
func (x *Observation) Merge(o Observation) {
	if x.First.IsZero() || (!o.First.IsZero() && o.First.Before(x.First)) {
		x.First = o.First
	}
	if !o.Last.Before(x.Last) {
		x.Last, x.SrcIP, x.DstIP = o.Last, o.SrcIP, o.DstIP
	}
	x.Count += o.Count
}
