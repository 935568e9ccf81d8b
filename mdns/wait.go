package mdns

import (
	"runtime"
	"sync/atomic"
	"time"

	"github.com/lanfolk/lanfolk/packet"
)

// busyGap is the gap between packets below which a reader that relays keeps its
// processor while it waits for the next, which makes waking up several times as
// cheap.
const busyGap = 2 * time.Millisecond

// poller is what a Conn may have beside ReadBatch: the same, but it keeps the
// processor while it waits, and returns 0 when nothing came in a few milliseconds.
type poller interface {
	PollBatch([]packet.Datagram) (int, error)
}

// waiter reads a socket, in the way that is cheapest for how busy it is.
type waiter struct {
	conn   Conn
	relays bool
	busy   *atomic.Int32 // readers of all sockets that keep a processor
	dense  bool          // packets come in short gaps
}

func (w *waiter) read(grams []packet.Datagram) (int, error) {
	p, ok := w.conn.(poller)
	if !ok || !w.relays {
		return w.conn.ReadBatch(grams)
	}
	if w.dense {
		var n int
		var err error
		if int(w.busy.Add(1)) < runtime.GOMAXPROCS(0) {
			n, err = p.PollBatch(grams)
		}
		w.busy.Add(-1)
		if n > 0 || err != nil {
			return n, err
		}
	}
	began := time.Now()
	n, err := w.conn.ReadBatch(grams)
	w.dense = time.Since(began) < busyGap
	return n, err
}
