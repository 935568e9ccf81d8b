package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/lanfolk/lanfolk/internal/daemon"
	"github.com/lanfolk/lanfolk/internal/globalserver"
	"github.com/lanfolk/lanfolk/internal/sockets"
	"github.com/lanfolk/lanfolk/internal/source"
	"github.com/lanfolk/lanfolk/syncthing"
)

// syncthingSpeaker is what speaks Syncthing's discovery.
type syncthingSpeaker struct {
	own      string // the ID of the device that is announced, "" for none
	heard    source.Syncthing
	listener *syncthing.Listener // nil if nothing is heard or announced on links
	// These announce on links, by the listener's sockets, and to servers; nil unless the
	// config wants it.
	local, global *syncthing.Announcer

	server globalserver.Server

	mu    sync.Mutex
	taken error // why no link can be heard now
}

// openSyncthing makes what hears and announces.
func (n *Node) openSyncthing() error {
	c, s := n.Config.Syncthing, &n.syncthing
	s.server.Config, s.server.Folder, s.server.Log = c.Server, n.State, n.Log
	s.heard.Gateway, s.heard.MAC = n.Config.Name, n.reflection.macs.of
	announce := c.Announce.On()
	if c.Listen || announce && c.Announce.Local {
		s.listener = sockets.SyncthingListener(n.selection, n.Log)
		s.listener.Refreshes = true
	}
	if !announce {
		return nil
	}
	id := c.Announce.ID.DeviceID
	if path := c.Announce.CertFile; path != "" {
		var err error
		if id, err = readCertificate(path); err != nil {
			return fmt.Errorf("node: syncthing.announce.cert_file: %w", err)
		}
	}
	s.own = id.String()
	announcer := func() *syncthing.Announcer {
		a := &syncthing.Announcer{ID: id, LocalEvery: c.Announce.Interval.Duration(), GlobalEvery: c.Announce.ServerInterval.Duration(), Log: n.Log}
		for _, x := range c.Announce.Addresses {
			a.Addresses = append(a.Addresses, x.AddrPort)
		}
		return a
	}
	if s.listener != nil {
		s.listener.Own = []syncthing.DeviceID{id}
	}
	if c.Announce.Local {
		s.local = announcer()
		s.local.Local = s.listener
	}
	if len(c.Announce.Servers) > 0 {
		s.global = announcer()
		s.global.Resolve, s.global.Listen, s.global.Links = lookupHost, sockets.SyncthingConn, n.selection.Watch
		for _, x := range c.Announce.Servers {
			s.global.Servers = append(s.global.Servers, x.String())
		}
	}
	return nil
}

// readCertificate reads the ID of a certificate's device.
func readCertificate(path string) (syncthing.DeviceID, error) {
	const most = 1 << 20 // bytes
	f, err := os.Open(path)
	if err != nil {
		return syncthing.DeviceID{}, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return syncthing.DeviceID{}, err
	}
	id, err := syncthing.ParseCertificate(text)
	if err != nil {
		return id, fmt.Errorf("%s: %w", path, err)
	}
	return id, nil
}

// lookupHost asks the system's DNS servers for a host's addresses of both families.
func lookupHost(ctx context.Context, host string) ([]netip.Addr, error) {
	return (&net.Resolver{}).LookupNetIP(ctx, "ip", host)
}

// syncthingAsker looks for devices, false if the config leaves nothing to look at.
func (n *Node) syncthingAsker() (source.AskSyncthing, bool) {
	c := n.Config.Syncthing
	a := source.AskSyncthing{Gateway: n.Config.Name}
	if c.Listen {
		a.Syncthing = &n.syncthing.heard
	}
	if len(c.Servers) > 0 {
		servers := source.SyncthingServers{Resolve: lookupHost, Listen: sockets.SyncthingConn}
		for _, s := range c.Servers {
			servers.Names = append(servers.Names, s.String())
		}
		a.Lookup = servers.Lookup
	}
	return a, a.Syncthing != nil || a.Lookup != nil
}

// syncthingParts are the parts that speak Syncthing's discovery.
func (n *Node) syncthingParts() []*daemon.Task {
	s := &n.syncthing
	parts := []*daemon.Task{{Name: "syncthing", Run: n.runSyncthing, Detail: n.syncthingDetail, Counters: s.counters}}
	if s.global != nil {
		parts = append(parts, &daemon.Task{
			Name: "syncthing announcer", Run: s.global.Run,
			Detail: func() string { return targets(s.global) }, Counters: func() map[string]uint64 { return map[string]uint64{"sent": sent(s.global)} },
		})
	}
	if t, ok := s.server.Task(); ok {
		parts = append(parts, t)
	}
	return parts
}

// syncthingAgain is how long is waited for a port that another program holds.
const syncthingAgain = 10 * time.Second

// runSyncthing hears who announces itself on the links, and announces there. That another
// program holds the port is nothing that the node could mend: it waits.
func (n *Node) runSyncthing(ctx context.Context) error {
	s := &n.syncthing
	if s.listener == nil {
		return daemon.Unavailable{Reason: errors.New("the config says syncthing.listen = false")}
	}
	for {
		err := s.heard.Feed(func(event func(syncthing.Event)) error {
			if n.Config.Syncthing.Listen {
				s.listener.Event = event
			}
			if s.local != nil {
				return s.local.Run(ctx)
			}
			return s.listener.Run(ctx)
		}, n.registry.Observe)
		if ctx.Err() != nil || !errors.Is(err, syscall.EADDRINUSE) {
			return err
		}
		s.hold(err)
		select {
		case <-time.After(syncthingAgain):
		case <-ctx.Done():
			return nil
		}
		s.hold(nil)
	}
}

func (s *syncthingSpeaker) hold(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken = err
}

func (n *Node) syncthingDetail() string {
	s := &n.syncthing
	s.mu.Lock()
	defer s.mu.Unlock()
	var parts []string
	switch unheard := s.listener.Unheard(); {
	case s.taken != nil:
		return "waits for its port: " + s.taken.Error()
	case !n.Config.Syncthing.Listen:
	default:
		parts = append(parts, fmt.Sprintf("hears %d devices", s.heard.Len()))
		if len(unheard) > 0 {
			parts = append(parts, "can't hear on "+strings.Join(unheard, "; "))
		}
	}
	if s.local != nil {
		parts = append(parts, targets(s.local))
	}
	return strings.Join(parts, "; ")
}

func (s *syncthingSpeaker) counters() map[string]uint64 {
	if s.listener == nil {
		return map[string]uint64{}
	}
	x := s.listener.Stats()
	c := map[string]uint64{
		"received": x.Received, "announcements": x.Announcements, "own": x.Own,
		"dropped: not of version 2": x.Foreign, "dropped: malformed": x.Invalid, "dropped: off link": x.OffLink,
		"dropped: crowded": x.Crowded, "dropped: no room": x.Full,
	}
	if s.local != nil {
		c["sent"] = sent(s.local)
	}
	return c
}

// targets says where a device is announced, and where that fails and why.
func targets(a *syncthing.Announcer) string {
	var good, bad []string
	for _, t := range a.Status() {
		name := cmp.Or(t.Link, t.Server)
		switch {
		case t.Err != nil:
			bad = append(bad, name+": "+t.Err.Error())
		case !slices.Contains(good, name):
			good = append(good, name)
		}
	}
	text := "announces " + a.ID.Short()
	if len(good) > 0 {
		text += " to " + strings.Join(good, ", ")
	}
	if len(bad) > 0 {
		text += "; not to " + strings.Join(bad, "; ")
	}
	return text
}

// sent counts announcements.
func sent(a *syncthing.Announcer) (n uint64) {
	for _, t := range a.Status() {
		n += t.Sent
	}
	return n
}

// targets counts where the device is announced.
func (s *syncthingSpeaker) targets() (good, failing int) {
	for _, a := range []*syncthing.Announcer{s.local, s.global} {
		if a == nil {
			continue
		}
		for _, t := range a.Status() {
			if t.Err == nil {
				good++
			} else {
				failing++
			}
		}
	}
	return good, failing
}
