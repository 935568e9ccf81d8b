package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/internal/config"
	"github.com/lanfolk/lanfolk/internal/daemon"
	"github.com/lanfolk/lanfolk/internal/find"
	"github.com/lanfolk/lanfolk/internal/source"
)

// selected is one API of a studio that the config wants, and what is chosen.
type selected struct {
	config config.NMOSSelect

	mu   sync.Mutex
	last find.KeptSelection
}

// nmosSource chooses APIs for those who ask the node.
func (n *Node) nmosSource() source.NMOS {
	return source.NMOS{
		Unicast: n.resolver.Ask, Moved: n.resolver.Moved,
		Multicast: func() dnssd.Source {
			if !n.Config.MDNS.Enabled {
				return nil
			}
			return source.Late{Open: func() (dnssd.Source, error) {
				if src := n.mdns.source(); src != nil {
					return src, nil
				}
				return nil, fmt.Errorf("mDNS %w", find.ErrOff) // it is started again
			}}
		},
		Dial: (&net.Dialer{}).DialContext,
	}
}

// selectParts are those that keep the selections of the config.
func (n *Node) selectParts() []*daemon.Task {
	var out []*daemon.Task
	for _, c := range n.Config.NMOS.Select {
		s := &selected{config: c, last: find.KeptSelection{Name: c.Title(), Type: c.Kind.Name, Selection: noSelection("nothing was looked for yet")}}
		n.selections = append(n.selections, s)
		out = append(out, &daemon.Task{
			Name: "nmos " + c.Title(), Run: func(ctx context.Context) error { return n.runSelect(ctx, s) },
			Detail: s.detail, Counters: s.counters,
		})
	}
	return out
}

func noSelection(why string) find.Selection {
	return find.Selection{Groups: [][]find.Advert{}, Discarded: []find.Reason{}, Others: []find.Reason{}, Steps: []string{}, Reason: why}
}

// runSelect keeps one selection.
func (n *Node) runSelect(ctx context.Context, s *selected) error {
	c := s.config
	if c.Mode == config.NMOSMDNS && c.URL == "" && !n.Config.MDNS.Enabled {
		return daemon.Unavailable{Reason: errors.New("the config says mdns.enabled = false")}
	}
	by := n.nmosSource()
	by.Log = n.Log.With("part", "nmos "+c.Title())
	r, err := selectRequest(c)
	if err != nil {
		s.failed(err)
		return err
	}
	for ch, err := range by.WatchSelection(ctx, r) {
		if err != nil {
			s.failed(err)
			return err
		}
		s.set(ch)
	}
	return nil
}

// selectRequest is what a section of the config asks for.
func selectRequest(c config.NMOSSelect) (find.SelectRequest, error) {
	r := find.SelectRequest{
		Kind: c.Kind.Name, Proto: c.Proto, Auth: c.Auth.Must, Mode: string(c.Mode), URL: c.URL, Development: c.Development,
		FallBack: c.FallBack, Merge: c.Merge, Return: c.Return, CheckEvery: c.CheckEvery.Duration(), Timeout: c.Timeout.Duration(),
	}
	for _, v := range c.Versions {
		r.Versions = append(r.Versions, v.String())
	}
	for _, d := range c.Domains {
		r.Domains = append(r.Domains, d.String())
	}
	for _, a := range c.Servers {
		r.Servers = append(r.Servers, a.String())
	}
	if c.CAFile != "" {
		b, err := os.ReadFile(c.CAFile)
		if err != nil {
			return r, fmt.Errorf("node: nmos: %w", err)
		}
		r.CA = string(b)
	}
	return r, nil
}

func (s *selected) set(ch find.SelectionChange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last.Selection, s.last.Error = ch.Selection, ""
	if ch.Event != find.SelectionUpdate {
		s.last.Since = ch.Time
		s.last.Changes++
	}
}

func (s *selected) failed(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last.Error, s.last.Selection = err.Error(), noSelection("nothing can be looked for")
}

func (s *selected) kept() find.KeptSelection {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// detail says what is chosen, and why.
func (s *selected) detail() string {
	k := s.kept()
	if k.Selected == nil {
		return "none: " + k.Reason
	}
	return fmt.Sprintf("%s %s: %s", k.Selected.URL, k.Selected.Instance, k.Reason)
}

func (s *selected) counters() map[string]uint64 {
	return map[string]uint64{"changes": s.kept().Changes}
}

// kept returns the selections, as the config lists them.
func (n *Node) kept() []find.KeptSelection {
	out := make([]find.KeptSelection, len(n.selections))
	for i, s := range n.selections {
		out[i] = s.kept()
	}
	return out
}
