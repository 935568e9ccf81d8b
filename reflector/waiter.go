package reflector

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/mdns"
	"github.com/lanfolk/lanfolk/packet"
)

// DefaultMaxPending is how many askers may wait for answers at a time.
const DefaultMaxPending = 8192

const (
	// waitTime is how long an asker waits for answers: two seconds is for how
	// long one takes unicast answers (RFC 6762 §6).
	waitTime = 2000
	// legacyTTL is the longest TTL that the asker of a one-shot query gets, in
	// seconds (§6.7).
	legacyTTL = 10
)

// waiter is a query whose asker may get answers that are sent to him alone.
type waiter struct {
	zone      mdns.Zone // where he is
	asker     netip.AddrPort
	at        clock
	legacy    bool   // a one-shot query (RFC 6762 §6.7)
	id        uint16 // of his query
	crossing  uint16 // of our copies of it
	count     uint16 // questions
	questions []byte // as they stand in his query, behind the header
	items     []atom
	got       []uint64 // answers that he was sent, by what they say
}

// maxAnswers is how many answers one asker gets.
const maxAnswers = 128

// give says whether the asker is to get the answer: not if he has had it. An
// asker may be another reflector, which passes the answer on to whom it asked for, which may be
// us.
func (w *waiter) give(answer uint64) bool {
	if len(w.got) >= maxAnswers || slices.Contains(w.got, answer) {
		return false
	}
	w.got = append(w.got, answer)
	return true
}

// waiters are those that wait, in order of their time and by what they ask for.
type waiters struct {
	max   int
	count atomic.Int32

	mu     sync.Mutex
	queue  []*waiter
	byName map[uint64][]*waiter
}

func (w *waiters) init(limit int) { w.max, w.byName = limit, map[uint64][]*waiter{} }

// any says whether anybody waits.
func (w *waiters) any() bool { return w.count.Load() > 0 }

// add puts a query's asker in the queue. Where it is full the oldest goes.
func (w *waiters) add(now clock, z mdns.Zone, p *mdns.Packet, c *content, legacy bool) *waiter {
	n := &waiter{
		zone: z, asker: p.Src, at: now, legacy: legacy,
		id: p.Message.ID, crossing: uint16(1 + rand.N(0xffff)), count: p.Message.QDCount,
		questions: slices.Clone(p.Data[headerLen:eachQuestion(p.Data, func([]byte) {})]),
	}
	// A probe's questions are those for the names that it wants.
	n.items = slices.Clone(c.items)
	if c.form == formProbe {
		for i := range n.items {
			n.items[i].typ = dnswire.TypeANY
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.expire(now)
	if len(w.queue) >= w.max {
		w.drop()
	}
	w.queue = append(w.queue, n)
	for _, it := range n.items {
		w.byName[it.name] = append(w.byName[it.name], n)
	}
	w.count.Store(int32(len(w.queue)))
	return n
}

func (w *waiters) expire(now clock) {
	for len(w.queue) > 0 && now.since(w.queue[0].at) > waitTime {
		w.drop()
	}
}

// drop takes the oldest out.
func (w *waiters) drop() {
	old := w.queue[0]
	w.queue[0] = nil
	w.queue = w.queue[1:]
	for _, it := range old.items {
		l := slices.DeleteFunc(w.byName[it.name], func(x *waiter) bool { return x == old })
		if len(l) == 0 {
			delete(w.byName, it.name)
		} else {
			w.byName[it.name] = l
		}
	}
	w.count.Store(int32(len(w.queue)))
}

// find appends those on other links than the given one that wait for one of
// the items. What came to the group reaches whoever asked from port 5353 anyway.
func (w *waiters) find(dst []*waiter, now clock, link int, items []atom, group bool) []*waiter {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.expire(now)
	start, answer := len(dst), uint64(0)
	for i := range items {
		answer += items[i].key // in whatever order
	}
	for i := range items {
		for _, x := range w.byName[items[i].name] {
			if x.zone.Link != link && (x.legacy || !group) && x.wants(&items[i]) && !slices.Contains(dst[start:], x) && x.give(answer) {
				dst = append(dst, x)
			}
		}
	}
	return dst
}

// wants says whether a record answers one of the questions (RFC 6762 §6). An
// NSEC record says that there is no answer (§6.1).
func (w *waiter) wants(it *atom) bool {
	return slices.ContainsFunc(w.items, func(q atom) bool {
		return q.name == it.name && (q.typ == it.typ || q.typ == dnswire.TypeANY || it.typ == dnswire.TypeCNAME || it.typ == dnswire.TypeNSEC)
	})
}

// answer sends a response to those on the side that wait for it.
func (r *Reflector) answer(to *side, j *job, data []byte) {
	for _, w := range j.waiters {
		if w.zone != to.zone {
			continue
		}
		b := data
		if w.legacy {
			if b = w.response(data, messageLimit(to)); b == nil {
				continue
			}
		} else if j.packet.Message.ID != w.id {
			b = slices.Clone(data)
			binary.BigEndian.PutUint16(b, w.id)
		}
		to.out.grams = append(to.out.grams, packet.Datagram{Data: b, Dst: w.asker})
	}
}

// response makes of a multicast response one to a one-shot query, nil if it
// can't be (RFC 6762 §6.7): with the query's ID and question, short TTLs and no
// cache-flush bits. Additional records go first if it is too long.
func (w *waiter) response(data []byte, limit int) []byte {
	m, err := dnswire.Parse(data)
	if err != nil {
		return nil
	}
	var b dnswire.Builder
	b.Legacy = true
	b.Reset(nil, dnswire.Header{ID: w.id, Response: true, Authoritative: true}, limit)
	asked, err := dnswire.Parse(w.message())
	if err != nil {
		return nil
	}
	for q := range asked.Questions() {
		if !b.Question(q.Name.Name(), q.Type, q.Class, q.Unicast) {
			return nil
		}
	}
	for rr := range m.Records() {
		if rr.Type == dnswire.TypeOPT || rr.Malformed {
			continue
		}
		x := rr.RR()
		x.TTL, x.Flush = min(x.TTL, legacyTTL), false
		switch rr.Section {
		case dnswire.Answer:
			if !b.Answer(x) {
				b.SetTruncated(true)
			}
		case dnswire.Additional:
			b.Additional(x)
		}
	}
	return b.Bytes()
}

// message is the asker's query again, without records.
func (w *waiter) message() []byte {
	m := make([]byte, headerLen, headerLen+len(w.questions))
	binary.BigEndian.PutUint16(m[4:], w.count)
	return append(m, w.questions...)
}
