package reflector

import (
	"errors"
	"net"
	"sync/atomic"

	"github.com/lanfolk/lanfolk/packet"
)

// outgoing is what a side keeps of the packets that are passed on to it.
type outgoing struct {
	bucket  bucket
	grams   []packet.Datagram
	edits   []byte // messages that were changed
	failing bool   // the last packet couldn't be sent
	passed  atomic.Uint32
}

// pass passes packets of one side on to another.
func (r *Reflector) pass(now clock, from *side, o out, jobs []job) {
	to := o.to
	to.mu.Lock()
	defer to.mu.Unlock()
	to.out.grams, to.out.edits = to.out.grams[:0], to.out.edits[:0]
	to.editor.reset()
	for i := range jobs {
		o.counts.add(r.passOne(now, from, to, &jobs[i]))
	}
	if len(to.out.grams) == 0 {
		return
	}
	to.out.passed.Add(uint32(len(to.out.grams)))
	if !r.DryRun {
		if failed := r.transmit(to); failed > 0 {
			o.counts.n[stoppedSend].Add(uint64(failed))
		}
	}
	clear(to.out.grams)
}

// passOne puts what becomes of a packet into to.out.grams.
func (r *Reflector) passOne(now clock, from, to *side, j *job) verdict {
	if j.packet.Malformed != nil {
		if r.Rules != nil && !r.Rules.pair(from.link.Name, to.link.Name).open {
			return stoppedMalformed
		}
		return r.queue(now, to, j.packet.Data, passed)
	}
	waited := false
	for _, w := range j.waiters {
		waited = waited || w.zone == to.zone
	}
	if j.why != passed && !waited {
		return j.why
	}
	data, why := r.Rules.apply(&to.editor, from, to, j.packet)
	if data == nil {
		return why
	}
	if waited {
		r.answer(to, j, data)
		if j.why != passed {
			return answered
		}
	}
	if !j.packet.Message.Response {
		data = to.query(data, j)
	}
	why = r.queue(now, to, data, why)
	for _, more := range to.editor.more {
		if why == stoppedLink {
			break
		}
		r.queue(now, to, more, why)
	}
	return why
}

// queue has a message sent to the group, if the link's limit allows it.
func (r *Reflector) queue(now clock, to *side, data []byte, why verdict) verdict {
	if !to.out.bucket.take(now, rate(r.LinkRate, DefaultLinkRate), rate(r.LinkBurst, DefaultLinkBurst)) {
		return stoppedLink
	}
	to.out.grams = append(to.out.grams, packet.Datagram{Data: data})
	return why
}

// query makes the changes to a query that its way to the side needs: one that
// doesn't come from port 5353 gets an ID of ours and asks us to be answered by
// unicast, if such an answer would reach us; and what is said to be known is
// left out where another asked the same.
func (s *side) query(data []byte, j *job) []byte {
	if !j.legacy && !j.strip && (!j.qu || s.unicast) {
		return data
	}
	at := len(s.out.edits)
	s.out.edits = append(s.out.edits, data...)
	b := s.out.edits[at:len(s.out.edits):len(s.out.edits)]
	end := eachQuestion(b, func(class []byte) {
		switch {
		case !s.unicast:
			class[0] &^= 0x80
		case j.legacy:
			class[0] |= 0x80
		}
	})
	if j.legacy && j.waiter != nil {
		b[0], b[1] = byte(j.waiter.crossing>>8), byte(j.waiter.crossing)
		b[2] &^= 0x01 // RD
		b[3] = 0      // RA, Z, AD, CD; the rcode is 0
	}
	if j.strip {
		b = b[:end]
		b[2] &^= 0x02 // TC
		clear(b[6:headerLen])
	}
	return b
}

const headerLen = 12 // bytes, RFC 1035 §4.1.1

// eachQuestion calls f with the class field of each question of a well-formed
// message and returns the offset behind the last.
func eachQuestion(b []byte, f func(class []byte)) int {
	off := headerLen
	for range int(b[4])<<8 | int(b[5]) {
		for off < len(b) && b[off] != 0 && b[off] < 0xC0 {
			off += 1 + int(b[off])
		}
		if off < len(b) && b[off] >= 0xC0 {
			off++
		}
		off++
		if off+4 > len(b) {
			return len(b)
		}
		f(b[off+2 : off+4])
		off += 4
	}
	return off
}

// transmit sends to.out.grams and returns how many couldn't be sent.
func (r *Reflector) transmit(to *side) (failed int) {
	var first error
	for grams := to.out.grams; len(grams) > 0; {
		n, err := to.send(grams)
		if err == nil {
			break
		}
		if first == nil {
			first = err
		}
		failed++
		if n == 0 && failed > 1 || errors.Is(err, net.ErrClosed) {
			return r.failed(to, first, failed+len(grams)-n-1)
		}
		grams = grams[n+1:]
	}
	return r.failed(to, first, failed)
}

// failed logs the first failure on a side since one succeeded.
func (r *Reflector) failed(to *side, err error, n int) int {
	if n > 0 && !to.out.failing && !errors.Is(err, net.ErrClosed) {
		r.log.Warn("packet not passed on", "if", to.zone.Interface, "family", to.zone.Family.String(), "err", err)
	}
	to.out.failing = n > 0
	return n
}
