// Package globalserver runs a global server of Syncthing's discovery, as the
// configuration describes it: in the node or in the hub.
package globalserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync"

	"github.com/lanfolk/lanfolk/internal/config"
	"github.com/lanfolk/lanfolk/internal/daemon"
	"github.com/lanfolk/lanfolk/internal/sockets"
	"github.com/lanfolk/lanfolk/store/directory"
	"github.com/lanfolk/lanfolk/syncthing"
)

// A Server is one that the configuration asks for. The fields are set before use.
type Server struct {
	Config config.SyncthingServer
	// Folder is the daemon's state folder: what the server knows lies in it, unless the
	// configuration says where.
	Folder string
	Log    *slog.Logger

	mu     sync.Mutex
	server *syncthing.Server // the one that runs, or ran last
	state  *directory.State
}

// Task returns what runs the server; ok is false if the configuration wants none.
func (s *Server) Task() (t *daemon.Task, ok bool) {
	if len(s.Config.Listen) == 0 {
		return nil, false
	}
	return &daemon.Task{Name: "syncthing server", Run: s.run, Detail: s.detail, Counters: s.counters}, true
}

// Size returns how many devices the server knows, and how many bytes the file has that
// holds them; ok is false while there was no server yet.
func (s *Server) Size() (devices uint64, bytes int64, ok bool) {
	server, state := s.now()
	if server == nil {
		return 0, 0, false
	}
	return server.Stats().Devices, state.Stats().Size, true
}

func (s *Server) run(ctx context.Context) error {
	c := s.Config
	var at []netip.AddrPort
	for _, l := range c.Listen {
		at = append(at, netip.AddrPortFrom(l.Addr, l.Port))
	}
	server := &syncthing.Server{PerPrefix: c.RateLimit, Pin: c.Pin, Log: s.Log}
	if c.RateLimit == 0 {
		server.PerPrefix = -1
	}
	if len(c.Allow) > 0 {
		allowed := make(map[syncthing.DeviceID]bool, len(c.Allow))
		for _, id := range c.Allow {
			allowed[id.DeviceID] = true
		}
		server.Allowed = func(id syncthing.DeviceID) bool { return allowed[id] }
	}
	var err error
	if server.Conns, err = sockets.SyncthingServerConns(at, s.Log); err != nil {
		return err
	}
	state, err := directory.Open(cmp.Or(c.State, filepath.Join(s.Folder, "syncthing")), directory.Options{Log: s.Log})
	if err != nil {
		for _, conn := range server.Conns {
			_ = conn.Close() // nothing is left to lose
		}
		return err
	}
	server.Directory, server.Journal = state.Directory, state
	s.serves(server, state)
	return errors.Join(server.Run(ctx), state.Close())
}

func (s *Server) serves(server *syncthing.Server, state *directory.State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.server, s.state = server, state
}

func (s *Server) now() (*syncthing.Server, *directory.State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.server, s.state
}

func (s *Server) detail() string {
	server, state := s.now()
	if server == nil {
		return ""
	}
	text := fmt.Sprintf("knows %d devices", server.Stats().Devices)
	if err := state.Stats().Err; err != nil {
		text += "; in memory alone: " + err.Error()
	}
	return text
}

func (s *Server) counters() map[string]uint64 {
	server, _ := s.now()
	if server == nil {
		return map[string]uint64{}
	}
	x := server.Stats()
	return map[string]uint64{
		"received": x.Received, "answered": x.Answered, "unknown": x.Unknown, "stored": x.Stored,
		"send_errors": x.Failed, "state_failures": x.Unsaved,
		"dropped: not of version 2": x.Foreign, "dropped: malformed": x.Invalid, "dropped: no host": x.NoHost, "dropped: no address": x.Nothing,
		"dropped: rate of a prefix": x.PrefixLimit, "dropped: rate of a device": x.DeviceLimit, "dropped: new devices of a prefix": x.NewLimit,
		"dropped: not allowed": x.Denied, "dropped: no room": x.Full, "dropped: pinned elsewhere": x.Conflict,
		"dropped: receive buffer full": x.Overflow,
	}
}
