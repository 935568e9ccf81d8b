package passive

import (
	"net/netip"
	"time"
)

// Bounds of the reassembly of IP fragments.
const (
	maxDatagrams      = 64       // held at once
	maxDatagramsOfOne = 4        // of one source
	maxDatagramBytes  = 16 << 10 // RFC 6762 §17 allows mDNS 9000
	maxPieces         = 64       // of one datagram
	fragmentLifetime  = 30 * time.Second
)

// fragKey says which fragments belong together (RFC 791 §3.2, RFC 8200 §4.5).
type fragKey struct {
	id       uint32
	vlan     uint16
	src, dst netip.Addr
	iface    string
}

// datagram is one that is being put together.
type datagram struct {
	key    fragKey
	since  time.Time
	proto  uint8 // what the first fragment says; 0 until it came
	data   []byte
	pieces [][2]int // from, to
	have   int      // bytes
	total  int      // 0 until the last fragment came
	ignore bool     // of no interest, or broken: later pieces are dropped, too
}

// fragments holds the datagrams that are being put together, oldest first.
type fragments struct {
	list []*datagram
	free []*datagram
}

// fragment adds a piece; with the last one that is missing it goes on to the
// transport header. Overlaps end a datagram (RFC 5722), exact repeats don't.
func (d *Decoder) fragment(c *context, key fragKey, proto uint8, offset int, more bool, b []byte) drop {
	d.memo.forget()
	if proto != ipUDP && proto != ipDestOpts {
		return dropNone
	}
	key.iface = c.iface
	to := offset + len(b)
	switch {
	case len(b) == 0, more && len(b)%8 != 0, to > 0xffff, !c.whole:
		return dropFragment
	}
	d.frags.expire(c.time)
	g := d.frags.find(key)
	if g == nil {
		var pushed bool
		g, pushed = d.frags.add(key, c.time)
		if pushed {
			d.count.drop(dropFragmentLimit)
		}
	}
	if g.ignore {
		return dropNone
	}
	if offset == 0 {
		g.proto = proto
		if proto == ipUDP && len(b) >= 4 {
			if _, ok := byPort(ipUDP, be.Uint16(b), be.Uint16(b[2:])); !ok {
				g.ignore = true
				return dropNone
			}
		}
	}
	if why := g.put(offset, to, more, b); why != dropNone {
		g.ignore = true
		return why
	}
	if g.total == 0 || g.have < g.total {
		return dropNone
	}
	d.frags.remove(g)
	c.whole = true
	if c.src.Addr().Is6() {
		return d.ipv6AfterFragment(c, g.proto, g.data[:g.total])
	}
	return d.transport(c, g.proto, g.data[:g.total])
}

// put stores a piece.
func (g *datagram) put(from, to int, more bool, b []byte) drop {
	if to > maxDatagramBytes {
		return dropFragmentLimit
	}
	for _, p := range g.pieces {
		if p[0] == from && p[1] == to {
			return dropNone
		}
		if from < p[1] && p[0] < to {
			return dropFragment
		}
		if !more && p[1] > to {
			return dropFragment
		}
	}
	if len(g.pieces) == maxPieces {
		return dropFragmentLimit
	}
	if !more {
		if g.total != 0 && g.total != to {
			return dropFragment
		}
		g.total = to
	} else if g.total != 0 && to > g.total {
		return dropFragment
	}
	for len(g.data) < to {
		g.data = append(g.data, make([]byte, to-len(g.data))...)
	}
	copy(g.data[from:], b)
	g.pieces = append(g.pieces, [2]int{from, to})
	g.have += to - from
	return dropNone
}

func (f *fragments) find(key fragKey) *datagram {
	for _, g := range f.list {
		if g.key == key {
			return g
		}
	}
	return nil
}

// add starts a datagram, and says whether it pushed out another.
func (f *fragments) add(key fragKey, now time.Time) (g *datagram, pushed bool) {
	ofOne, oldest := 0, (*datagram)(nil)
	for _, g := range f.list {
		if g.key.src == key.src {
			if ofOne == 0 {
				oldest = g
			}
			ofOne++
		}
	}
	switch {
	case ofOne >= maxDatagramsOfOne:
		f.remove(oldest)
		pushed = true
	case len(f.list) >= maxDatagrams:
		f.remove(f.list[0])
		pushed = true
	}
	if n := len(f.free); n > 0 {
		g = f.free[n-1]
		f.free = f.free[:n-1]
		*g = datagram{data: g.data[:0], pieces: g.pieces[:0]}
	} else {
		g = new(datagram)
	}
	g.key, g.since = key, now
	f.list = append(f.list, g)
	return g, pushed
}

// expire forgets datagrams that were not completed in time. Time may jump back
// in a file that was put together from several; then they go, too.
func (f *fragments) expire(now time.Time) {
	for len(f.list) > 0 {
		if age := now.Sub(f.list[0].since); age >= -fragmentLifetime && age <= fragmentLifetime {
			return
		}
		f.remove(f.list[0])
	}
}

// remove takes a datagram out. Its data stays untouched until the next add.
func (f *fragments) remove(g *datagram) {
	for i, x := range f.list {
		if x == g {
			f.list = append(f.list[:i], f.list[i+1:]...)
			f.free = append(f.free, g)
			return
		}
	}
}
