package capture

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync/atomic"

	"golang.org/x/net/bpf"

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
	filter, err := l.rawFilter()
	if err != nil {
		return err
	}
	c, err := lan.OpenCapture(l.Link, lan.CaptureOptions{Promiscuous: l.Promiscuous, Filter: filter})
	if err != nil {
		return err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	d := passive.NewDecoder(passive.Options{OnLink: func(_ string, a netip.Addr) bool { return l.Link.OnLink(a) }})
	l.open.Store(&opened{c, d})
	for {
		frame, err := c.Read()
		if err != nil {
			if ctx.Err() != nil && (errors.Is(err, os.ErrClosed) || errors.Is(err, net.ErrClosed)) {
				return nil
			}
			return err
		}
		d.Decode(frame, emit)
	}
}

// rawFilter is made for what the link's frames begin with.
func (l *Live) rawFilter() ([]bpf.RawInstruction, error) {
	link, err := lan.CaptureType(l.Link)
	if err != nil {
		return nil, err
	}
	switch {
	case l.Filter != nil:
		return l.Filter.Raw(link)
	case link == packet.LinkEthernet:
		return passive.Filter(), nil
	}
	return nil, nil // what comes by a tunnel is little
}

// Stats returns the counters since Run began.
func (l *Live) Stats() Stats {
	o := l.open.Load()
	if o == nil {
		return Stats{}
	}
	s := Stats{Stats: o.decoder.Stats()}
	if n, err := o.capture.Stats(); err == nil {
		s.CaptureStats = n
	}
	return s
}
