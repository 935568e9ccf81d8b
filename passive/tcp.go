package passive

import (
	"net/netip"
	"time"

	"github.com/lanfolk/lanfolk/passive/internal/hello"
)

// Bounds of the reassembly of DNS over TCP and, beside it, of ClientHellos.
const (
	maxFlows       = 256     // held at once, each direction of a connection is one
	maxFlowsOfOne  = 64      // of one source
	maxLooked      = 32      // flows looked at to find one to push out
	maxFlowBytes   = 4 << 20 // held by all together
	maxWaiting     = 8       // segments of a flow that came too early
	maxAhead       = 1 << 16 // how far ahead such a segment may lie, in bytes
	flowLifetime   = 60 * time.Second
	helloLifetime  = 10 * time.Second // of a flow that began a ClientHello
	maxTCPMessages = 1024             // in one segment
)

// TCP flags.
const (
	tcpFIN = 1
	tcpSYN = 2
	tcpRST = 4
	tcpPSH = 8
	tcpACK = 16
)

type flowKey struct {
	src, dst netip.AddrPort
	vlan     uint16
	iface    string
}

// flow is one direction of a connection.
type flow struct {
	last    time.Time
	next    uint32 // sequence number of the next byte
	part    []byte // an unfinished message with its length
	waiting []segment
	started bool          // next is known
	dead    bool          // no DNS: the rest is ignored
	hello   *hello.Stream // of a flow that began a ClientHello; nil for DNS
	quic    *quicBegin    // the same by QUIC
}

type segment struct {
	seq  uint32
	data []byte
}

// streams holds the flows and what they keep.
type streams struct {
	flows map[flowKey]*flow
	ofOne map[netip.Addr]int // flows of one source
	bytes int
	swept time.Time // when old flows were last looked for
}

// tcp reads a TCP segment (RFC 9293 §3.1).
func (d *Decoder) tcp(c *context, b []byte) drop {
	d.memo.forget()
	if len(b) < 20 {
		return dropTCPHeader
	}
	header := int(b[12]>>4) * 4
	if header < 20 || header > len(b) {
		return dropTCPHeader
	}
	seq, flags := be.Uint32(b[4:]), b[13]
	if flags&(tcpSYN|tcpRST|tcpFIN) == tcpSYN {
		d.tcpOpen(c, b[:header])
	}
	if c.src.Port() == portDNS || c.dst.Port() == portDNS {
		return d.tcpDNS(c, seq, flags, b[header:])
	}
	return d.tcpData(c, seq, flags, b[header:])
}

// tcpDNS reads a segment with DNS messages, each behind its length (RFC 1035
// §4.2.2).
func (d *Decoder) tcpDNS(c *context, seq uint32, flags uint8, data []byte) drop {
	key := flowKey{c.src, c.dst, c.vlan, c.iface}
	f := d.streams.flows[key]
	if f != nil && (flags&tcpSYN != 0 || c.time.Sub(f.last).Abs() > flowLifetime) {
		d.streams.remove(key, f)
		f = nil
	}
	if flags&tcpRST != 0 || flags&tcpSYN == 0 && len(data) == 0 {
		if f != nil && flags&(tcpRST|tcpFIN) != 0 {
			d.streams.remove(key, f)
		}
		return dropNone
	}
	why := dropNone
	if f == nil {
		var lost bool
		if f, lost = d.streams.add(key, c.time); lost {
			why = dropTCPLimit
		}
		if f == nil {
			return why
		}
	}
	f.last = c.time
	if flags&tcpSYN != 0 {
		f.next, f.started = seq+1, true
		seq++ // data may come with it (RFC 7413)
	}
	if !f.started {
		// The connection is older than the capture: taken to begin a message here.
		f.next, f.started = seq, true
	}
	if w := d.segment(c, &d.streams, f, seq, data); w != dropNone {
		why = w
	}
	if !c.whole && len(data) > 0 && why == dropNone {
		d.streams.kill(f) // the rest of the segment was not captured
		why = dropTCPStream
	}
	if flags&tcpFIN != 0 && len(f.waiting) == 0 {
		d.streams.remove(key, f)
	}
	return why
}

// segment takes a segment's data, and after it what waited for it.
func (d *Decoder) segment(c *context, s *streams, f *flow, seq uint32, data []byte) drop {
	if f.dead || len(data) == 0 {
		return dropNone
	}
	ahead := int32(seq - f.next)
	if ahead > 0 {
		return s.wait(f, seq, data, int(ahead))
	}
	if int(-ahead) >= len(data) {
		return dropNone // said before
	}
	data = data[-ahead:]
	f.next += uint32(len(data))
	why := d.inOrder(c, f, data)
	for i := 0; i < len(f.waiting) && why == dropNone; {
		w := f.waiting[i]
		ahead := int32(w.seq - f.next)
		if ahead > 0 {
			i++
			continue
		}
		f.waiting = append(f.waiting[:i], f.waiting[i+1:]...)
		s.bytes -= len(w.data)
		if int(-ahead) < len(w.data) {
			data := w.data[-ahead:]
			f.next += uint32(len(data))
			why = d.inOrder(c, f, data)
			i = 0
		}
	}
	return why
}

// inOrder takes the next bytes of a flow.
func (d *Decoder) inOrder(c *context, f *flow, data []byte) drop {
	if f.hello != nil {
		return d.helloBytes(c, f, data)
	}
	return d.messages(c, f, data)
}

// messages takes bytes in order and hands out the messages in them.
func (d *Decoder) messages(c *context, f *flow, data []byte) drop {
	for range maxTCPMessages {
		if len(f.part) == 0 {
			// The usual case needs no copy.
			if len(data) < 2 || len(data) < 2+int(be.Uint16(data)) {
				return d.streams.keep(f, data)
			}
			n := 2 + int(be.Uint16(data))
			if why := d.streamMessage(c, f, data[2:n]); why != dropNone {
				return why
			}
			data = data[n:]
			if len(data) == 0 {
				return dropNone
			}
			continue
		}
		want := 2
		if len(f.part) >= 2 {
			want = 2 + int(be.Uint16(f.part))
		}
		n := min(want-len(f.part), len(data))
		if why := d.streams.keep(f, data[:n]); why != dropNone {
			return why
		}
		data = data[n:]
		if len(f.part) == 2 && be.Uint16(f.part) > 0 && len(data) > 0 {
			continue
		}
		if len(f.part) < 2 || len(f.part) < 2+int(be.Uint16(f.part)) {
			return dropNone
		}
		why := d.streamMessage(c, f, f.part[2:])
		if !f.dead {
			d.streams.bytes -= len(f.part)
			if f.part = f.part[:0]; cap(f.part) > 4096 {
				f.part = nil
			}
		}
		if why != dropNone || len(data) == 0 {
			return why
		}
	}
	d.streams.kill(f)
	return dropTCPStream
}

// streamMessage reads one message. A flow whose messages are no DNS is given up.
func (d *Decoder) streamMessage(c *context, f *flow, b []byte) drop {
	whole := c.whole
	c.whole, c.tcp = true, true
	why := d.dnsMessage(c, protoDNS, b)
	c.whole = whole
	if why != dropNone {
		d.streams.kill(f)
	}
	return why
}

// keep adds bytes to a flow's unfinished message.
func (s *streams) keep(f *flow, data []byte) drop {
	if s.bytes+len(data) > maxFlowBytes {
		s.kill(f)
		return dropTCPLimit
	}
	s.bytes += len(data)
	f.part = append(f.part, data...)
	return dropNone
}

// wait keeps a segment that came too early.
func (s *streams) wait(f *flow, seq uint32, data []byte, ahead int) drop {
	for _, w := range f.waiting {
		if w.seq == seq && len(w.data) >= len(data) {
			return dropNone
		}
	}
	if len(f.waiting) >= maxWaiting || ahead+len(data) > maxAhead || s.bytes+len(data) > maxFlowBytes {
		s.kill(f)
		return dropTCPStream
	}
	s.bytes += len(data)
	f.waiting = append(f.waiting, segment{seq, append([]byte(nil), data...)})
	return dropNone
}

// kill gives a flow up: what it keeps is freed, what follows is ignored.
func (s *streams) kill(f *flow) {
	s.release(f)
	f.part, f.waiting, f.hello, f.dead = nil, nil, nil, true
}

func (s *streams) release(f *flow) {
	s.bytes -= len(f.part)
	if f.hello != nil {
		s.bytes -= f.hello.Len()
	}
	if f.quic != nil {
		s.bytes -= f.quic.size
	}
	for _, w := range f.waiting {
		s.bytes -= len(w.data)
	}
}

func (s *streams) remove(key flowKey, f *flow) {
	s.release(f)
	delete(s.flows, key)
	if n := s.ofOne[key.src.Addr()]; n > 1 {
		s.ofOne[key.src.Addr()] = n - 1
	} else {
		delete(s.ofOne, key.src.Addr())
	}
}

// add starts a flow; nil if there is no room. Where a bound is reached it pushes
// out the stalest of a few flows, picked at random so that the work is bounded:
// one of the same source where that has too many. It says whether a flow was
// lost by that.
func (s *streams) add(key flowKey, now time.Time) (f *flow, lost bool) {
	if s.flows == nil {
		s.flows, s.ofOne = make(map[flowKey]*flow), make(map[netip.Addr]int)
	}
	src := key.src.Addr()
	tooMany := s.ofOne[src] >= maxFlowsOfOne
	if tooMany || len(s.flows) >= maxFlows {
		var staleKey flowKey
		var stale *flow
		looked := 0
		for k, f := range s.flows {
			if looked++; looked > maxLooked {
				break
			}
			if (!tooMany || k.src.Addr() == src) && (stale == nil || f.last.Before(stale.last)) {
				staleKey, stale = k, f
			}
		}
		if stale == nil {
			return nil, true
		}
		lost = now.Sub(stale.last).Abs() <= flowLifetime
		s.remove(staleKey, stale)
	}
	f = &flow{last: now}
	s.flows[key] = f
	s.ofOne[src]++
	return f, lost
}
