package reflector

import "github.com/lanfolk/lanfolk/mdns"

// Rules say which messages, and which records of them, may pass between links.
// They don't change once they are made. A nil *Rules lets everything pass.
type Rules struct{}

// editor holds what changing messages needs, so that it allocates nothing.
// There is one for each side that packets are passed on to; calls of apply
// with one editor never overlap.
type editor struct {
	// more are further messages that the last call of apply made of its
	// message, because it was too large for the link (RFC 6762 §17).
	more [][]byte
}

// reset begins a new batch of packets: what apply returned since the last
// reset is no longer needed.
func (e *editor) reset() { e.more = e.more[:0] }

// apply says what becomes of one message on its way from one side to another.
// data is p.Data itself if nothing changes (the common case: nothing is copied
// nor allocated), memory of the editor's that stays valid until its next
// reset, or nil when the message is stopped. It must not change p.
func (r *Rules) apply(e *editor, from, to *side, p *mdns.Packet) (data []byte, why verdict) {
	return p.Data, passed
}
