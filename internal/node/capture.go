package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/lanfolk/lanfolk/internal/capture"
	"github.com/lanfolk/lanfolk/internal/config"
	"github.com/lanfolk/lanfolk/internal/daemon"
	"github.com/lanfolk/lanfolk/internal/source"
	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/passive/pcapfilter"
)

// gainOfCapture is what the right to capture would add.
const gainOfCapture = "would hear devices that never announce themselves (ARP, NDP, DHCP), who asks for what, and every MAC"

// runCaptures starts and ends a part for each link as links come and go.
func (n *Node) runCaptures(ctx context.Context, s *daemon.Supervisor) error {
	c := n.Config.Passive
	if c.Enabled == config.Off {
		return daemon.Unavailable{Reason: errors.New("the config says passive.enabled = false")}
	}
	if err := lan.CanCapture(); err != nil {
		if errors.Is(err, os.ErrPermission) && c.Enabled != config.On {
			return daemon.Unavailable{Reason: err, Gain: gainOfCapture}
		}
		return err
	}
	filter, err := captureFilter(c.Filter)
	if err != nil {
		return err
	}
	changes, err := n.selection.Watch(ctx)
	if err != nil {
		return err
	}
	running := make(map[int]capturing)
	defer func() {
		for _, r := range running {
			r.drop()
		}
	}()
	for links := range changes {
		now := make(map[int]packet.Link, len(links))
		for _, l := range links {
			now[l.Index] = l
		}
		for index, r := range running {
			// Its addresses say what is on the link: a change starts it anew.
			if l, ok := now[index]; !ok || !l.Equal(r.link) {
				r.drop()
				delete(running, index)
			}
		}
		for index, l := range now {
			if _, ok := running[index]; !ok {
				running[index] = capturing{l, s.Add(n.capturePart(l, filter))}
			}
		}
	}
	return nil
}

// captureFilter is the config's filter, nil for the decoder's own.
func captureFilter(text string) (*pcapfilter.Filter, error) {
	if text == "" {
		return nil, nil
	}
	return pcapfilter.Parse(text)
}

// capturing is a running capture.
type capturing struct {
	link packet.Link
	drop func() // ends it and takes it out of the status
}

// droppedSoon is how long it takes at most until runCaptures knows that a link is gone.
const droppedSoon = 5 * time.Second

// untilDropped returns the error of a capture. That its link is gone is no failure: it
// is dropped then, for which it waits.
func untilDropped(ctx context.Context, err error) error {
	if errors.Is(err, lan.ErrLinkGone) {
		select {
		case <-ctx.Done():
		case <-time.After(droppedSoon):
		}
	}
	return err
}

// capturePart captures on one link.
func (n *Node) capturePart(l packet.Link, filter *pcapfilter.Filter) *daemon.Task {
	heard := &source.Heard{
		From: &source.Passive{
			Gateway: n.Config.Name, Link: l, Device: n.syncthing.own, TGED: n.Config.TGED.Enabled && n.Config.TGED.Listen,
			Tells: n.classifier.Tells,
		},
		Look:   n.privacy().Fact,
		Record: n.recorder.Record, Observe: n.registry.Observe,
	}
	c := n.Config.Passive
	live := &capture.Live{Link: l, Promiscuous: c.Promiscuous, Filter: filter, BufferSize: c.Buffer << 20, Pause: heard.Pause}
	return &daemon.Task{
		Name: "capture " + l.Name,
		Run: func(ctx context.Context) error {
			defer heard.End()
			return untilDropped(ctx, live.Run(ctx, heard.Fact))
		},
		Detail: func() string {
			s := live.Stats()
			text := fmt.Sprintf("%d frames, %d facts", s.Frames, s.Facts)
			if s.Dropped > 0 {
				text += fmt.Sprintf(", %d frames lost", s.Dropped)
			}
			return text
		},
		Counters: func() map[string]uint64 {
			s := live.Stats()
			c := map[string]uint64{"frames": s.Frames, "facts": s.Facts, "lost": s.Dropped}
			for protocol, count := range s.Packets {
				c["packets: "+protocol] = count
			}
			for reason, count := range s.Drops {
				c["dropped: "+reason] = count
			}
			return c
		},
	}
}
