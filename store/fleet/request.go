package fleet

import "time"

// A Request is what somebody wants to have run at some gateways.
type Request struct {
	By       string // who asks, for the record
	Line     string
	Gateways []Gateway
	Timeout  time.Duration // from now on; 0 is the hub's default
	Queue    bool          // kept for those that aren't there, until the time is over
}
