package reverse

import "time"

// Bounds of the time between attempts to reach the hub.
const (
	minBackoff = time.Second
	maxBackoff = time.Minute
	// A connection that lasted as long counts as a success: after it the first
	// attempt comes soon.
	steady = time.Minute
)

// pause returns how long to wait before the next attempt, after n that failed:
// a random part of a ceiling that doubles with each (exponential backoff with
// full jitter), so that all the gateways that lost a hub at once don't come back
// at once. Chance is in [0, 1).
func pause(n int, chance float64) time.Duration {
	ceiling := maxBackoff
	if n < 6 { // 2^6 s is more than a minute
		ceiling = minBackoff << n
	}
	return time.Duration(chance * float64(ceiling))
}
