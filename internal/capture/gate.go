package capture

import (
	"time"

	"golang.org/x/net/bpf"

	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/passive"
)

// gate keeps in the kernel what the decoder can't use. The kernel's filter has no
// memory, so it can't tell the middle of a ClientHello in three segments or more
// from an upload. As long as hardly anybody uploads both pass; while somebody does
// neither does.
type gate struct {
	capture *lan.Capture
	on      bool // there is a filter
	narrow  bool
	count   int // frames that may be an upload's, since
	since   time.Time
}

const (
	// maxUploaded is how many frames a second may be of uploads.
	maxUploaded = 500
	// narrowTime is for how long they stay out then.
	narrowTime = 30 * time.Second
	// uploadSize is what a frame of an upload has at least, in bytes.
	uploadSize = 590
)

// filter is what a capture of the link begins with, nil where there is none: what
// comes by a tunnel has another form, and is little.
func (g *gate) filter(l packet.Link) ([]bpf.RawInstruction, error) {
	t, err := lan.CaptureType(l)
	if err != nil || t != packet.LinkEthernet {
		return nil, err
	}
	g.on = true
	return passive.WideFilter(), nil
}

// silent takes note of a frame that said nothing.
func (g *gate) silent(length int) {
	if length >= uploadSize {
		g.count++
	}
}

// watch is called every now and then, and changes the filter.
func (g *gate) watch(now time.Time) error {
	switch since := now.Sub(g.since); {
	case !g.on:
	case g.since.IsZero():
		g.since = now
	case !g.narrow && g.count > maxUploaded:
		return g.set(now, true, passive.Filter())
	case g.narrow && since > narrowTime:
		return g.set(now, false, passive.WideFilter())
	case !g.narrow && (since > time.Second || since < 0):
		g.count, g.since = 0, now
	}
	return nil
}

func (g *gate) set(now time.Time, narrow bool, filter []bpf.RawInstruction) error {
	g.narrow, g.count, g.since = narrow, 0, now
	return g.capture.SetFilter(filter)
}
