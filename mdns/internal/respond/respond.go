package respond

import (
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/packet"
)

const (
	// maxMessage is the longest message that may be sent, with its IP and UDP
	// headers, in bytes (RFC 6762 §17).
	maxMessage = 9000
	// Bursts of packets are spread, so that they don't overrun the buffers of
	// those who listen.
	burstPackets = 32
	burstGap     = 5 * time.Millisecond
	// maxOut bounds the packets that wait for their burst.
	maxOut = 1 << 14
)

// Counters count what a Responder did. Several may share them; they may be read
// at any time.
type Counters struct {
	Answered   atomic.Uint64 // records sent as answers
	Suppressed atomic.Uint64 // answers not sent: known, given by another host, or sent a moment ago
	Conflicts  atomic.Uint64 // another host had one of our names, or other data for it
	Deferred   atomic.Uint64 // tie-breaks lost
	Refused    atomic.Uint64 // queries not answered: from elsewhere, or too many
}

// Responder answers for the claims of one zone: one link and one address family.
// It is told the time and does no I/O. Not safe for concurrent use.
type Responder struct {
	// Headers is the length of the IP and UDP headers and MTU what the link
	// carries, both in bytes.
	Headers, MTU int
	// Unicast says that probes may ask for unicast answers (RFC 6762 §5.4): no
	// other program on this host would get them (§15.1).
	Unicast bool

	book  *Book
	count *Counters
	open  bool

	names   map[string]*name
	records int
	past    map[pastKey]time.Time // when what was just taken out was last multicast
	claims  map[*Claim]struct{}
	series  []*series
	events  []Event

	pending []*response
	common  *response // the multicast response that collects answers
	mend    *response // the one that mends what others have in their caches
	items   int       // in all pending responses
	tokens  bucket
	lastQU  time.Time // when a probe last asked for unicast answers

	out      []packet.Datagram
	burst    int
	burstAt  time.Time
	goodbyes []dnswire.RR

	listing uint64 // number of the message that is being put together
	builder dnswire.Builder
	buffer  []byte
	key     []byte
	fold    []byte
	hits    []hit
	known   map[*record]struct{}
	units   []unit
	extras  []*record
}

// New returns a Responder without claims, closed.
func New(b *Book, count *Counters) *Responder {
	return &Responder{
		book: b, count: count, MTU: 1500, Headers: 48,
		names: map[string]*name{}, claims: map[*Claim]struct{}{}, known: map[*record]struct{}{},
		past: map[pastKey]time.Time{},
	}
}

// Open is called when there is a socket, when the link came back and when the
// host woke up: all names are probed and announced anew (RFC 6762 §8).
func (r *Responder) Open(now time.Time) {
	r.Close()
	r.open = true
	for c := range r.claims {
		c.state = Idle
		if len(c.entries) > 0 {
			r.begin(now, c)
		}
	}
}

// Close is called when the socket is gone: nothing is sent any more, and nothing
// is ours any more.
func (r *Responder) Close() {
	r.open = false
	r.quiet()
	r.out, r.burst = nil, 0
	for _, n := range r.names {
		for _, s := range n.sets {
			s.mended = false
			for _, x := range s.records {
				x.queued, x.mended = false, false
			}
		}
	}
}

// Goodbye takes back all that is live (RFC 6762 §10.1). The responder is
// to be closed when its packets are sent.
func (r *Responder) Goodbye() {
	for _, n := range r.names {
		for _, s := range n.sets {
			for _, x := range s.records {
				if x.live > 0 {
					r.goodbyes = append(r.goodbyes, x.wire())
				}
			}
		}
	}
	r.quiet()
	r.sendGoodbyes()
}

// quiet makes all claims idle and forgets what was to be sent.
func (r *Responder) quiet() {
	for c := range r.claims {
		c.probe, c.told = nil, nil
		r.reset(c)
		c.state = Idle
	}
	r.series, r.pending, r.common, r.mend, r.items = nil, nil, nil, nil, 0
}

// sendGoodbyes multicasts the goodbyes that were collected.
func (r *Responder) sendGoodbyes() {
	if len(r.goodbyes) == 0 || !r.open {
		r.goodbyes = r.goodbyes[:0]
		return
	}
	w := r.writer(packetTo{})
	for _, rr := range r.goodbyes {
		rr.TTL = 0
		w.answer(rr)
	}
	w.flush()
	clear(r.goodbyes)
	r.goodbyes = r.goodbyes[:0]
}

// Next returns when Advance or Take is to be called, the zero time for never.
func (r *Responder) Next() time.Time {
	var next time.Time
	earlier := func(t time.Time) {
		if next.IsZero() || t.Before(next) {
			next = t
		}
	}
	for _, s := range r.series {
		earlier(s.at)
	}
	for _, p := range r.pending {
		earlier(p.at)
	}
	if len(r.out) > 0 {
		earlier(r.burstAt.Add(burstGap))
	}
	return next
}

// Advance does what is due at now.
func (r *Responder) Advance(now time.Time) {
	if !r.open {
		return
	}
	r.advanceSeries(now)
	r.advanceResponses(now)
}

// Take returns the packets that may be sent now. A zero Dst means the group.
func (r *Responder) Take(now time.Time) []packet.Datagram {
	if len(r.out) == 0 {
		return nil
	}
	if now.Sub(r.burstAt) >= burstGap || r.burstAt.After(now) {
		r.burst, r.burstAt = 0, now
	}
	n := min(len(r.out), burstPackets-r.burst)
	r.burst += n
	out := slices.Clone(r.out[:n])
	clear(r.out[:n])
	if r.out = r.out[n:]; len(r.out) == 0 {
		r.out = nil
	}
	return out
}

// Waiting says whether there are packets that Take held back.
func (r *Responder) Waiting() bool { return len(r.out) > 0 }

// News says whether Events would return something.
func (r *Responder) News() bool { return len(r.events) > 0 }

// Events returns what happened to the claims since the last call.
func (r *Responder) Events() []Event {
	ev := r.events
	r.events = nil
	return ev
}

// Size returns the number of records and how many claims are announced.
func (r *Responder) Size() (records, announced int) {
	for c := range r.claims {
		if c.state == Announced {
			announced++
		}
	}
	return r.records, announced
}

// Message is a message of another host.
type Message struct {
	Src, Dst netip.AddrPort
	Time     time.Time
	// Unicast says that it was sent to our address and not to the group.
	Unicast bool
	// OnLink says of a query that its source lies in one of the link's subnets.
	OnLink bool
	// Local says of a query that another program on this host sent it. With it we
	// share port 5353, and what is sent there by unicast (RFC 6762 §15.1).
	Local bool
	*dnswire.Message
}

// find returns what is published under the name, nil if nothing is.
func (r *Responder) find(v dnswire.NameView) *name {
	r.key = v.AppendFolded(r.key[:0])
	return r.names[string(r.key)]
}
