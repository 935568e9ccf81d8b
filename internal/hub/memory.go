package hub

import (
	"context"
	"runtime/debug"
	"time"
)

// What ten thousand gateways that come at once, or answer a command, leave behind
// lies between what stays, and Go keeps it for the next time: half as much again as
// all idle gateways need. So it is given back when they are done.
const (
	lookEvery = 5 * time.Second
	// herd is how many arrivals and chunks of results make it worth while, and
	// stillness how many in one lookEvery count as calm.
	herd      = 1000
	stillness = 100
)

// giveBack returns memory to the system after each herd.
func (h *Hub) giveBack(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var r rush
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if r.over(h.roll.Count(), h.wire.Stats().Chunks) {
			debug.FreeOSMemory() // a collection; nobody waits for it
		}
	}
}

// rush is how much happened since memory was given back.
type rush struct {
	gateways int
	chunks   uint64
	since    uint64
}

// over says whether a herd has come to rest. It is told how many gateways listen, and
// how many chunks came so far.
func (r *rush) over(gateways int, chunks uint64) bool {
	news := chunks - r.chunks + uint64(max(gateways-r.gateways, r.gateways-gateways))
	r.gateways, r.chunks = gateways, chunks
	r.since += news
	if r.since < herd || news > stillness {
		return false
	}
	r.since = 0
	return true
}
