package reverse

import (
	"errors"
	"sync/atomic"
)

// Stats are what a Server counted since it began.
type Stats struct {
	Commands uint64 // sent
	Chunks   uint64 // resources that came, refused ones too
	Bytes    uint64 // of their data
	Results  uint64 // complete
	Replaced uint64 // sessions that a newer one ended
	Overdue  uint64 // answers of foreign clients that did not come in time

	// What was refused.
	Handshake  uint64 // connections: no TLS 1.3, or a certificate that isn't good
	Identity   uint64 // calls: nobody knows who it is, or it claims to be another
	Oversize   uint64 // messages that are too large
	Meta       uint64 // meta that is junk, and types that don't exist
	Order      uint64 // chunks out of order
	TooLarge   uint64 // chunks and results over their limit
	Mismatch   uint64 // results that don't match their hash or length
	Unexpected uint64 // answers to nothing
	Storage    uint64 // what could not be kept just then
	Other      uint64
}

type counters struct {
	Commands, Chunks, Bytes, Results, Replaced, Overdue                                        atomic.Uint64
	Handshake, Identity, Oversize, Meta, Order, TooLarge, Mismatch, Unexpected, Storage, Other atomic.Uint64
}

// refused counts a resource that wasn't accepted.
func (c *counters) refused(err error) {
	for _, kind := range []struct {
		err error
		n   *atomic.Uint64
	}{
		{errMeta, &c.Meta}, {errType, &c.Meta}, {ErrGap, &c.Order}, {ErrTooLarge, &c.TooLarge}, {ErrChunk, &c.TooLarge},
		{ErrMismatch, &c.Mismatch}, {errNothing, &c.Unexpected}, {ErrUnknown, &c.Unexpected}, {ErrReplaced, &c.Unexpected},
		{ErrOffline, &c.Unexpected}, {ErrAway, &c.Storage},
	} {
		if errors.Is(err, kind.err) {
			kind.n.Add(1)
			return
		}
	}
	c.Other.Add(1)
}

// Stats returns what was counted.
func (s *Server) Stats() Stats {
	c := &s.count
	return Stats{
		Commands: c.Commands.Load(), Chunks: c.Chunks.Load(), Bytes: c.Bytes.Load(), Results: c.Results.Load(),
		Replaced: c.Replaced.Load(), Overdue: c.Overdue.Load(),
		Handshake: c.Handshake.Load(), Identity: c.Identity.Load(), Oversize: c.Oversize.Load(), Meta: c.Meta.Load(), Order: c.Order.Load(),
		TooLarge: c.TooLarge.Load(), Mismatch: c.Mismatch.Load(), Unexpected: c.Unexpected.Load(),
		Storage: c.Storage.Load(), Other: c.Other.Load(),
	}
}
