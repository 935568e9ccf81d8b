package syncthing

import (
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/lanfolk/lanfolk/packet"
)

// serveBatch is how many datagrams are read and answered at once.
const serveBatch = 64

// desk is what a reader works with. All of it is used again for each batch.
type desk struct {
	in    [serveBatch]packet.Datagram
	count [reasons]uint64

	said      [serveBatch]Device // announcements
	announced []sought           // their devices
	sources   [serveBatch]netip.Addr
	extra     Device // is read, but doesn't count

	asked []sought                     // queries
	from  [serveBatch]*packet.Datagram // in

	out     []packet.Datagram
	answers [serveBatch][]byte // what out's data lie in
}

func newDesk() *desk {
	return &desk{
		announced: make([]sought, 0, serveBatch),
		asked:     make([]sought, 0, serveBatch),
		out:       make([]packet.Datagram, 0, serveBatch),
	}
}

// read serves one conn until it is closed.
func (r *serving) read(c Conn) error {
	k := newDesk()
	for {
		if err := r.batch(k, c); err != nil {
			return err
		}
	}
}

// batch serves what there is on a conn.
func (r *serving) batch(k *desk, c Conn) error {
	n, err := c.ReadBatch(k.in[:])
	if err != nil {
		return err
	}
	now := time.Now()
	k.announced, k.asked, k.out = k.announced[:0], k.asked[:0], k.out[:0]
	for i := range k.in[:n] {
		r.sort(k, now, &k.in[i])
	}
	r.store(k, now)
	r.answer(k, now)
	r.send(k, c)
	r.stats.add(uint64(n), &k.count)
	return nil
}

// sort puts a datagram to the others of its kind, unless it is to be dropped.
func (r *serving) sort(k *desk, now time.Time, d *packet.Datagram) {
	if !fromHost(d.Src) || toAll(d.Dst.Addr()) {
		k.count[noHost]++
		return
	}
	p := reader{rest: d.Data}
	switch p.word() {
	case magicQuery:
		id := p.id()
		switch {
		case p.failed():
			k.count[invalid]++
		case !r.limit.request(now.UnixNano(), d.Src.Addr()):
			k.count[prefixLimit]++
		default:
			k.from[len(k.asked)] = d
			k.asked = append(k.asked, sought{id: id})
		}
	case magicAnnouncement:
		n := len(k.announced)
		said := &k.said[n]
		p.said(said, &k.extra)
		switch {
		case p.failed():
			k.count[invalid]++
		case r.server.Allowed != nil && !r.server.Allowed(said.ID):
			k.count[denied]++
		case !r.limit.request(now.UnixNano(), d.Src.Addr()):
			k.count[prefixLimit]++
		case len(said.Addresses) == 0:
			k.count[nothing]++
		default:
			k.sources[n] = d.Src.Addr()
			k.announced = append(k.announced, sought{id: said.ID})
		}
	default:
		k.count[foreign]++
	}
}

// store takes in what devices announced of themselves. What they say of others counts for nothing.
func (r *serving) store(k *desk, now time.Time) {
	if len(k.announced) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	d := r.directory
	d.setTime(now)
	d.find(d.now, k.announced)
	for i := range k.announced {
		s, src := &k.announced[i], k.sources[i]
		if s.number == 0 {
			s.number = d.number(s.hash, &s.id) // it may have come twice
		}
		if s.number == 0 && !r.limit.fresh(now.UnixNano(), src) {
			k.count[newLimit]++
			continue
		}
		k.count[d.put(&k.said[i], src, s.hash, s.number).reason()]++
	}
	r.stats.devices.Store(uint64(d.Len()))
}

func (o Outcome) reason() reason {
	switch o {
	case Nothing:
		return nothing
	case Limited:
		return deviceLimit
	case Full:
		return full
	case Conflict:
		return conflict
	}
	return stored
}

// answer makes the answers for devices that are known.
func (r *serving) answer(k *desk, now time.Time) {
	if len(k.asked) == 0 {
		return
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	t := r.directory.ticks(now)
	r.directory.find(t, k.asked)
	for i := range k.asked {
		s := &k.asked[i]
		if s.first == 0 {
			k.count[unknown]++
			continue
		}
		answer := &k.answers[len(k.out)]
		*answer = r.directory.appendAnswer((*answer)[:0], t, s)
		// It leaves from the address that was asked.
		reply := packet.Datagram{Data: *answer, Dst: k.from[i].Src, Link: k.from[i].Link}
		if ours := k.from[i].Dst.Addr(); ours.IsValid() {
			reply.Src = netip.AddrPortFrom(ours, 0)
		}
		k.out = append(k.out, reply)
	}
}

// send sends the answers; one that can't be sent doesn't keep the others back.
func (r *serving) send(k *desk, c Conn) {
	for out := k.out; len(out) > 0; {
		n, err := c.WriteBatch(out)
		k.count[answered] += uint64(n)
		if err == nil || n >= len(out) {
			return
		}
		k.count[failed]++
		if !errors.Is(err, net.ErrClosed) {
			r.logged.Do(func() { r.log.Warn("Syncthing answer not sent", "addr", out[n].Dst, "err", err) })
		}
		out = out[n+1:]
	}
}
