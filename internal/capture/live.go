package capture

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/passive"
	"github.com/lanfolk/lanfolk/passive/pcapfilter"
)

// Live captures on one link. Run it once; Stats may be called meanwhile.
type Live struct {
	Link packet.Link
	// Filter lets frames through, nil all that the decoder can use.
	Filter      *pcapfilter.Filter
	Promiscuous bool
	// BufferSize is that of lan.CaptureOptions.
	BufferSize int
	// Pause, if not nil, is called whenever some frames have been read, and returns in how long it is to be called again if
	// no more come; 0: not before.
	Pause func() time.Duration

	open atomic.Pointer[opened]
}

type opened struct {
	capture *lan.Capture
	decoder *passive.Decoder
}

// Stats are what came in on a link, what became of it, and how many frames came
// faster than they were read.
type Stats struct {
	passive.Stats
	lan.CaptureStats
}

// Run gives every fact to emit until ctx ends; then it returns nil. A missing
// right to capture is an error that errors.Is os.ErrPermission.
func (l *Live) Run(ctx context.Context, emit func(*passive.Fact)) error {
	var g gate
	filter, err := g.filter(l.Link)
	if err != nil {
		return err
	}
	c, err := lan.OpenCapture(l.Link, lan.CaptureOptions{Promiscuous: l.Promiscuous, Filter: filter, BufferSize: l.BufferSize})
	if err != nil {
		return err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	g.capture = c
	d := passive.NewDecoder(passive.Options{OnLink: func(_ string, a netip.Addr) bool { return l.Link.OnLink(a) }})
	l.open.Store(&opened{c, d})
	// The person's filter is applied here and not in the kernel, where the VLAN
	// tag isn't part of the frame any more.
	var matcher *pcapfilter.Matcher
	if l.Filter != nil {
		matcher = l.Filter.Matcher()
	}
	said := false
	hear := func(f *passive.Fact) {
		said = true
		emit(f)
	}
	var failed error
	take := func(frame packet.Frame) {
		if matcher != nil {
			if ok, err := matcher.Match(frame); err != nil {
				failed = err
				return
			} else if !ok {
				return
			}
		}
		said = false
		d.Decode(frame, hear)
		if !said {
			g.silent(frame.Length)
		}
	}
	var again time.Time
	for {
		err := c.ReadBlock(again, take)
		if err == nil {
			err = failed
		}
		if err != nil {
			if ctx.Err() != nil && (errors.Is(err, os.ErrClosed) || errors.Is(err, net.ErrClosed)) {
				return nil
			}
			return err
		}
		if err := g.watch(time.Now()); err != nil {
			return err
		}
		if l.Pause != nil {
			again = time.Time{}
			if wait := l.Pause(); wait > 0 {
				again = time.Now().Add(wait)
			}
		}
	}
}

// Open says whether it hears by now.
func (l *Live) Open() bool { return l.open.Load() != nil }

// Stats returns the counters since Run began.
func (l *Live) Stats() Stats {
	o := l.open.Load()
	if o == nil {
		return Stats{}
	}
	s := Stats{Stats: o.decoder.Stats()}
	s.CaptureStats, _ = o.capture.Stats() // after the end its last ones
	return s
}
