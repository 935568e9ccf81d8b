package mdns

import (
	"sync/atomic"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/mdns/internal/respond"
)

// drop says why a packet or a record had no effect.
type drop uint8

const (
	dropSize        drop = iota // larger than RFC 6762 §17 allows
	dropQueue                   // the engine had no time for it
	dropOwn                     // our own packet, come back
	dropDestination             // sent to neither the group nor an address
	dropOffLink                 // unicast from outside the link's subnets (§11)
	dropPort                    // a response that didn't come from port 5353 (§6)
	dropUnasked                 // a unicast response to no question of ours (§6)
	dropOpcode                  // opcode not 0 (§18.3)
	dropRcode                   // rcode not 0 (§18.11)
	dropClass                   // a record whose class is not IN
	dropNSEC                    // an NSEC record that can't be read (§6.1)
	dropCacheFull               // no room for a record in the zone's cache
	dropSourceFull              // one host sent more records than it may hold
	dropSend                    // a query that found the send queue full
	dropHint                    // a record to reconfirm, while too many were
	numDrops
)

// String returns the reason as a short constant phrase.
func (d drop) String() string {
	switch d {
	case dropSize:
		return "too large"
	case dropQueue:
		return "queue full"
	case dropOwn:
		return "own packet"
	case dropDestination:
		return "wrong destination"
	case dropOffLink:
		return "off-link unicast"
	case dropPort:
		return "wrong port"
	case dropUnasked:
		return "unasked unicast"
	case dropOpcode:
		return "opcode"
	case dropRcode:
		return "rcode"
	case dropClass:
		return "record of another class"
	case dropNSEC:
		return "unreadable NSEC"
	case dropCacheFull:
		return "cache full"
	case dropSourceFull:
		return "cache full for one source"
	case dropSend:
		return "send queue full"
	case dropHint:
		return "too many to reconfirm"
	}
	return "unknown"
}

// maxReason bounds the table of reasons for which dnswire rejects a message.
const maxReason = 32

type counters struct {
	received, responses, queries, sent, sendErrors, suppressed, evicted atomic.Uint64
	unconfirmed, unanswered                                             atomic.Uint64
	dropped                                                             [numDrops]atomic.Uint64
	malformed                                                           [maxReason]atomic.Uint64
	respond                                                             respond.Counters
	renamed                                                             atomic.Uint64
}

func (c *counters) drop(d drop, n int) { c.dropped[d].Add(uint64(n)) }

func (c *counters) bad(r dnswire.Reason) {
	if int(r) >= maxReason {
		r = 0
	}
	c.malformed[r].Add(1)
}

// Stats are an engine's counters since it began, and the state of its zones.
type Stats struct {
	Received   uint64 // packets read
	Responses  uint64 // responses that were used
	Queries    uint64 // others' queries that were used
	Sent       uint64 // packets sent
	SendErrors uint64
	Suppressed uint64 // questions not asked because another host just did
	Evicted    uint64 // records that made room for others in a full cache
	// Unconfirmed counts records that went because they didn't work for
	// somebody and nobody confirmed them (RFC 6762 §10.4), Unanswered those that
	// went because others asked for them in vain (§10.5).
	Unconfirmed, Unanswered uint64

	Answered        uint64 // own records sent as answers or announced
	AnswersWithheld uint64 // answers that the asker knew, another host gave, or that were sent a moment ago
	QueriesRefused  uint64 // queries that could not be answered: from elsewhere, or too many at once
	Conflicts       uint64 // another host had an own name, or other data for one
	TieBreaksLost   uint64 // names put off because another host probed for them, too
	Renamed         uint64 // publications that took another label after a conflict
	// Dropped counts packets and records that had no effect, by reason. A
	// reason that begins with "malformed: " is one of dnswire's.
	Dropped map[string]uint64
	Zones   []ZoneStats
}

// ZoneStats is the state of one zone.
type ZoneStats struct {
	Zone    Zone
	Open    bool   // it has a socket
	Error   string // why not, when it should have
	Records int    // in the cache
	Asking  int    // questions that are being asked
	// Published is how many own records there are, and Announced how many
	// publications own their names.
	Published, Announced int
}

func (c *counters) snapshot() Stats {
	s := Stats{
		Received: c.received.Load(), Responses: c.responses.Load(), Queries: c.queries.Load(), Sent: c.sent.Load(),
		SendErrors: c.sendErrors.Load(), Suppressed: c.suppressed.Load(), Evicted: c.evicted.Load(),
		Unconfirmed: c.unconfirmed.Load(), Unanswered: c.unanswered.Load(),
		Answered: c.respond.Answered.Load(), AnswersWithheld: c.respond.Suppressed.Load(), QueriesRefused: c.respond.Refused.Load(),
		Conflicts: c.respond.Conflicts.Load(), TieBreaksLost: c.respond.Deferred.Load(), Renamed: c.renamed.Load(),
		Dropped: map[string]uint64{},
	}
	for i := range c.dropped {
		if n := c.dropped[i].Load(); n > 0 {
			s.Dropped[drop(i).String()] = n
		}
	}
	for i := range c.malformed {
		if n := c.malformed[i].Load(); n > 0 {
			s.Dropped["malformed: "+dnswire.Reason(i).String()] += n
		}
	}
	return s
}
