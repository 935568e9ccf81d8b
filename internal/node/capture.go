package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/thejerf/suture/v4"

	"github.com/lanfolk/lanfolk/internal/capture"
	"github.com/lanfolk/lanfolk/internal/config"
	"github.com/lanfolk/lanfolk/internal/source"
	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/passive/pcapfilter"
)

// gainOfCapture is what the right to capture would add.
const gainOfCapture = "would hear devices that never announce themselves (ARP, NDP, DHCP), who asks for what, and every MAC"

// addCaptures adds a part that captures on each link that is used.
func (n *Node) addCaptures(s *suture.Supervisor) {
	n.add(s, &part{name: "capture", run: func(ctx context.Context) error { return n.runCaptures(ctx, s) }})
}

// runCaptures starts and ends a part for each link as links come and go.
func (n *Node) runCaptures(ctx context.Context, s *suture.Supervisor) error {
	c := n.Config.Passive
	if c.Enabled == config.Off {
		return unavailable{errors.New("the config says passive.enabled = false"), ""}
	}
	if err := lan.CanCapture(); err != nil {
		if errors.Is(err, os.ErrPermission) && c.Enabled != config.On {
			return unavailable{err, gainOfCapture}
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
			n.drop(s, r)
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
				n.drop(s, r)
				delete(running, index)
			}
		}
		for index, l := range now {
			if _, ok := running[index]; !ok {
				p := n.capturePart(l, filter)
				running[index] = capturing{l, p, n.add(s, p)}
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
	link  packet.Link
	part  *part
	token suture.ServiceToken
}

// drop ends a capture and takes it out of the status.
func (n *Node) drop(s *suture.Supervisor, r capturing) {
	if err := s.Remove(r.token); err != nil {
		n.Log.Debug("capture not ended", "if", r.link.Name, "err", err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for i, p := range n.parts {
		if p == r.part {
			n.parts = append(n.parts[:i:i], n.parts[i+1:]...)
			return
		}
	}
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
func (n *Node) capturePart(l packet.Link, filter *pcapfilter.Filter) *part {
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
	return &part{
		name: "capture " + l.Name,
		run: func(ctx context.Context) error {
			defer heard.End()
			return untilDropped(ctx, live.Run(ctx, heard.Fact))
		},
		detail: func() string {
			s := live.Stats()
			text := fmt.Sprintf("%d frames, %d facts", s.Frames, s.Facts)
			if s.Dropped > 0 {
				text += fmt.Sprintf(", %d frames lost", s.Dropped)
			}
			return text
		},
		counters: func() map[string]uint64 {
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
