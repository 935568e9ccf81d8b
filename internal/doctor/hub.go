package doctor

import (
	"fmt"
	"time"
)

// HubStatus is what a node's status says of the hub whose gateway it is.
type HubStatus struct {
	Gateway   string    `json:"gateway"` // "" if it is none
	Connected bool      `json:"connected"`
	Insecure  bool      `json:"insecure"`
	Address   string    `json:"address"`
	Error     string    `json:"error"`
	Expires   time.Time `json:"expires"` // zero without a certificate
	Renew     time.Time `json:"renew"`
	Clock     string    `json:"clock"` // how far the hub's is ahead, "" if that isn't known
	Impostors uint64    `json:"impostors"`
	Commands  struct {
		Failures    uint64 `json:"failures"`
		ResultBytes int64  `json:"result_bytes"`
		ResultRoom  int64  `json:"result_room"`
	} `json:"commands"`
	Feeds *struct {
		Fingerprints struct {
			Dropped uint64 `json:"dropped"`
		} `json:"fingerprints"`
	} `json:"feeds"`
}

const (
	// renewalLate is how long after its time a renewal is one that doesn't work.
	renewalLate = 24 * time.Hour
	// clocksDiffer is how much may lie between the clocks of the hub and the gateway. The
	// hub's certificates stand two hours.
	clocksDiffer = 10 * time.Minute
	crowded      = 0.9 // of the room for results
)

// checkHub tells how a node gets on with its hub.
func checkHub(h HubStatus, now time.Time) []Finding {
	if h.Gateway == "" {
		return nil
	}
	found := []Finding{{"hub", Good, "connected to " + h.Address + " as " + h.Gateway, ""}}
	if !h.Connected {
		found[0].Grade, found[0].Found = Problem, h.Gateway+" isn't connected: "+h.Error
		found[0].Advice = "see whether the hub runs, and can be reached from here; if it refuses this gateway, ask its admin, and join again"
	}
	add := func(check string, g Grade, advice, format string, args ...any) {
		found = append(found, Finding{check, g, fmt.Sprintf(format, args...), advice})
	}
	const again = "ask the hub's admin for a new token, and `lanfolk join` again: the gateway's id stays"
	switch left := h.Expires.Sub(now); {
	case h.Expires.IsZero():
	case left <= 0:
		add("hub certificate", Problem, again, "it ended %s ago", -left.Round(time.Minute))
	case now.Sub(h.Renew) > renewalLate:
		add("hub certificate", Warning, "connect the gateway to its hub, or "+again, "it ends in %s, and hasn't been renewed though it should have been", left.Round(time.Minute))
	}
	if skew, err := time.ParseDuration(h.Clock); err == nil && skew.Abs() > clocksDiffer {
		add("hub clock", Warning, "set the clock of the machine that is wrong: certificates depend on it", "the hub's clock and this one differ by %s", skew.Abs())
	}
	if h.Impostors > 0 {
		add("hub impostors", Warning, "see in the log at which address: another hub may be announced or have taken the address over, or somebody is in between",
			"%d times somebody else was where the hub should be", h.Impostors)
	}
	if h.Insecure {
		add("hub security", Warning, "use a hub that knows certificates: leave out gateway.insecure, and `lanfolk join` it", "nobody knows who the server is, and nothing is encrypted")
	}
	if h.Commands.Failures > 0 {
		add("hub journal", Problem, "make room on the disk of the state folder", "the journal of commands could not be written %d times; commands were refused", h.Commands.Failures)
	}
	if c := h.Commands; c.ResultRoom > 0 && float64(c.ResultBytes) > crowded*float64(c.ResultRoom) {
		add("hub results", Warning, "raise gateway.max_spool, or see why the hub takes no results", "%d MiB of results wait for the hub, of %d", c.ResultBytes>>20, c.ResultRoom>>20)
	}
	if f := h.Feeds; f != nil && f.Fingerprints.Dropped > 0 {
		add("hub feeds", Notice, "raise gateway.max_feeds", "%d fingerprint rows never went up, for want of room", f.Fingerprints.Dropped)
	}
	return found
}
