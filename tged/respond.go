package tged

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/lanfolk/lanfolk/packet"
)

var limitedBroadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// readBatch is how many datagrams are read and answered at once.
const readBatch = 32

// maxAmplification is how many times its own bytes a request from off the link
// is worth at most.
const maxAmplification = 4

// responder decides what is answered and with what. It is used by the readers of all
// links.
type responder struct {
	ctx    context.Context
	server *Server
	log    *slog.Logger
	stats  *counters

	invalid [2][]byte // INVALID as sent, by Style
	waiting chan struct{}
	logged  sync.Once // that sending failed

	tasks sync.WaitGroup

	mu    sync.Mutex
	limit *limiter
}

func (s *Server) responder(ctx context.Context) *responder {
	rate := func(given, otherwise int) int {
		switch {
		case given == 0:
			return otherwise
		case given < 0:
			return 0
		}
		return given
	}
	r := &responder{
		ctx: ctx, server: s, log: s.Log, stats: &s.stats, waiting: make(chan struct{}, maxFetches),
		limit: newLimiter(rate(s.PerSource, DefaultPerSource), rate(s.Total, DefaultTotal)),
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	m := Message{Method: Invalid, Version: V1, Fields: []Field{{"RP", Invalid}}}
	for style := range r.invalid {
		r.invalid[style] = m.Append(nil, Style(style))
	}
	return r
}

// read answers what comes in on a link until it is closed.
func (r *responder) read(l *listener) error {
	var in [readBatch]packet.Datagram
	out := make([]packet.Datagram, 0, readBatch)
	for {
		n, err := l.conn.ReadBatch(in[:])
		if err != nil {
			return err
		}
		r.stats.received.Add(uint64(n))
		out = out[:0]
		link := l.link.Load()
		now := time.Now().UnixNano()
		for i := range in[:n] {
			if d, ok := r.answer(now, l, link, &in[i]); ok {
				out = append(out, d)
			}
		}
		r.send(l, out)
	}
}

// send sends answers; one that can't be sent doesn't keep the others back.
func (r *responder) send(l *listener, out []packet.Datagram) {
	for len(out) > 0 {
		n, err := l.conn.WriteBatch(out)
		if err == nil || n >= len(out) {
			return
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
		r.stats.by[failed].Add(1)
		r.logged.Do(func() {
			r.log.Warn("TGED answer not sent", "if", l.link.Load().Name, "addr", out[n].Dst, "err", err)
		})
		out = out[n+1:]
	}
}

// asked is a request that is to be answered.
type asked struct {
	name  []byte          // of the service; a part of the request
	reply packet.Datagram // with its way back, but no data
	room  int             // how many bytes it may have
	// subnet is the link's that the asker is in, the zero Prefix if there is none.
	subnet netip.Prefix
}

// judge says whether a datagram is to be answered.
func (r *responder) judge(now int64, link *packet.Link, d *packet.Datagram) (asked, bool) {
	from, subnet, onLink, ok := r.route(link, d)
	if !ok {
		return r.drop(offLink)
	}
	name, why := request(d.Data)
	if why != replied {
		return r.drop(why)
	}
	if why := r.admit(now, d.Src.Addr(), link.Flags&net.FlagLoopback != 0); why != replied {
		return r.drop(why)
	}
	if r.server.Heard != nil && len(name) > 0 {
		r.server.Heard(Request{Link: link, Src: d.Src, Dst: d.Dst, Service: name})
	}
	if r.server.Services == nil {
		return r.drop(onlyHeard)
	}
	q := asked{name: name, subnet: subnet, reply: packet.Datagram{Src: netip.AddrPortFrom(from, 0), Dst: d.Src}, room: MaxReply}
	if !onLink {
		q.room = min(q.room, maxAmplification*len(d.Data))
	}
	return q, true
}

func (r *responder) drop(why reason) (asked, bool) {
	r.stats.by[why].Add(1)
	return asked{}, false
}

// answer returns the answer to a datagram, if there is one to be sent now.
func (r *responder) answer(now int64, l *listener, link *packet.Link, d *packet.Datagram) (packet.Datagram, bool) {
	q, ok := r.judge(now, link, d)
	if !ok {
		return packet.Datagram{}, false
	}
	s, err := r.server.Services.Lookup(q.name)
	if f, ok := r.server.Services.(Fetcher); ok && errors.Is(err, ErrPending) {
		r.later(f, l, q)
		return packet.Datagram{}, false
	}
	q.reply.Data, ok = r.reply(s, err, q)
	return q.reply, ok
}

// later answers a request once its service was fetched.
func (r *responder) later(f Fetcher, l *listener, q asked) {
	select {
	case r.waiting <- struct{}{}:
	default:
		r.drop(crowded)
		return
	}
	name := string(q.name)
	r.tasks.Go(func() {
		defer func() { <-r.waiting }()
		s, err := r.fetch(f, name)
		if data, ok := r.reply(s, err, q); ok {
			q.reply.Data = data
			r.send(l, []packet.Datagram{q.reply})
		}
	})
}

func (r *responder) fetch(f Fetcher, name string) (*Service, error) {
	ctx, cancel := context.WithTimeout(r.ctx, fetchTimeout)
	defer cancel()
	return f.Fetch(ctx, name)
}

// route returns the address that an answer leaves from, the link's subnet that the asker
// is in, and whether he is on the link. It returns false for what isn't to be answered at all.
func (r *responder) route(link *packet.Link, d *packet.Datagram) (from netip.Addr, subnet netip.Prefix, onLink, ok bool) {
	src, dst, own := d.Src.Addr(), d.Dst.Addr(), r.server.Address
	if d.Src.Port() == 0 || !src.Is4() || src.IsUnspecified() || src.IsMulticast() || isBroadcast(link, src) {
		return from, subnet, false, false // no host's address
	}
	toAll := isBroadcast(link, dst)
	if own.IsValid() && dst != own && !toAll {
		return from, subnet, false, false
	}
	for _, p := range link.Prefixes {
		if p.Addr().Is4() && p.Contains(src) {
			subnet = p
			break
		}
	}
	// On the loopback link every source is the machine itself.
	onLink = subnet.IsValid() || link.Flags&net.FlagLoopback != 0
	switch {
	case !toAll:
		from = dst
	case own.IsValid():
		from = own
	default:
		from = subnet.Addr()
	}
	return from, subnet, onLink, onLink || r.server.OffLink
}

// isBroadcast says whether a means all hosts on the link.
func isBroadcast(link *packet.Link, a netip.Addr) bool {
	if a == limitedBroadcast {
		return true
	}
	for _, p := range link.Prefixes {
		if b, ok := broadcastOf(p); ok && a == b {
			return true
		}
	}
	return false
}

// broadcastOf returns the last address of an IPv4 subnet. A /31 and a /32 have
// no broadcast address.
func broadcastOf(p netip.Prefix) (netip.Addr, bool) {
	if !p.Addr().Is4() || p.Bits() > 30 || p.Bits() < 0 {
		return netip.Addr{}, false
	}
	a := p.Addr().As4()
	n := binary.BigEndian.Uint32(a[:]) | ^uint32(0)>>p.Bits()
	binary.BigEndian.PutUint32(a[:], n)
	return netip.AddrFrom4(a), true
}

// admit asks the limiter.
func (r *responder) admit(now int64, src netip.Addr, own bool) reason {
	r.mu.Lock()
	v := r.limit.allow(now, src, own)
	r.mu.Unlock()
	switch v {
	case sourceLimit:
		return bySource
	case totalLimit:
		return byTotal
	}
	return replied
}

// reply returns what is sent.
func (r *responder) reply(s *Service, err error, q asked) ([]byte, bool) {
	data, why := r.invalid[r.server.Style], invalid
	switch {
	case err == nil:
		data, why = s.reply(r.server.Style, q.subnet), replied
	case !errors.Is(err, ErrUnknown):
		r.drop(unavailable)
		return nil, false
	}
	if len(data) > q.room {
		r.drop(amplified)
		return nil, false
	}
	r.stats.by[why].Add(1)
	return data, true
}

// request returns the name of the service that a datagram asks for, or why it is not to
// be answered. A request that must be answered with INVALID asks for the empty name,
// which no service has.
func request(b []byte) (name []byte, why reason) {
	if len(b) > MaxRequest {
		return nil, tooLong
	}
	r := reader{rest: b}
	method, version, ok := r.status()
	switch {
	case !ok:
		return nil, notTGED
	case is(method, Reply), is(method, Invalid):
		return nil, answer
	case !is(method, Discovery) || version.Major != V1.Major:
		return nil, replied
	}
	for {
		key, value, ok := r.field()
		if !ok {
			return name, replied
		}
		if is(key, "RQ") {
			name = value
		}
	}
}

// is compares a word with one in capitals.
func is(b []byte, want string) bool {
	if len(b) != len(want) {
		return false
	}
	var room [16]byte
	return string(fold(room[:0], b)) == want
}
