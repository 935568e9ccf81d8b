package tged

import "sync/atomic"

// Stats counts what a Server heard and what became of it. Every request is in
// Received and in just one of the others up to Unavailable, unless it still waits.
type Stats struct {
	Received uint64
	// Replies and Invalids were answered.
	Replies, Invalids uint64
	// NotTGED and TooLong were no requests, and Answers were others' REPLY or
	// INVALID: none is ever answered.
	NotTGED, TooLong, Answers uint64
	// OffLink came from outside of the link's subnets, or from what is no
	// host's address, or to an address that isn't served. Amplified were too short
	// for the answer (see Server.OffLink).
	OffLink, Amplified uint64
	// SourceLimit and TotalLimit were more than are answered in a second.
	SourceLimit, TotalLimit uint64
	// Crowded came while too many others waited for what has to be fetched.
	Crowded uint64
	// Heard were only heard: the server has no Services.
	Heard uint64
	// Unavailable could not be looked up.
	Unavailable uint64
	// Failed counts Replies and Invalids that could not be sent.
	Failed uint64
	// Connections counts those over TCP, but for those that were Crowded out.
	Connections uint64
}

// reason is where a datagram is counted.
type reason uint8

const (
	replied reason = iota
	invalid
	notTGED
	tooLong
	answer
	offLink
	amplified
	bySource
	byTotal
	crowded
	onlyHeard
	unavailable
	failed
	reasons
)

type counters struct {
	received, connections atomic.Uint64
	by                    [reasons]atomic.Uint64
}

func (c *counters) stats() Stats {
	at := func(r reason) uint64 { return c.by[r].Load() }
	return Stats{
		Received: c.received.Load(), Connections: c.connections.Load(),
		Replies: at(replied), Invalids: at(invalid),
		NotTGED: at(notTGED), TooLong: at(tooLong), Answers: at(answer),
		OffLink: at(offLink), Amplified: at(amplified), SourceLimit: at(bySource), TotalLimit: at(byTotal),
		Crowded: at(crowded), Heard: at(onlyHeard), Unavailable: at(unavailable), Failed: at(failed),
	}
}
