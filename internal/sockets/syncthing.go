package sockets

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/syncthing"
)

// SyncthingListener returns a listener to Syncthing's local announcements on the chosen links, which
// can also be an Announcer's.
func SyncthingListener(s Selection, log *slog.Logger) *syncthing.Listener {
	var who holding
	return &syncthing.Listener{
		Links: s.Watch,
		Broadcast: func(l packet.Link, port uint16) (syncthing.Conn, error) {
			c, err := lan.ListenBroadcast(l, port)
			if errors.Is(err, syscall.EADDRINUSE) {
				return nil, who.holds(port, err)
			} else if err != nil {
				return nil, err
			}
			return c, nil
		},
		Multicast: func(l packet.Link, group netip.AddrPort) (syncthing.Conn, error) {
			return lan.ListenMulticast(l, group)
		},
		Log: log,
	}
}

// holding is who holds a port. To find that out costs a look at all programs, and a port is tried
// again and again: once a minute must do.
type holding struct {
	mu    sync.Mutex
	names string
	at    time.Time
}

// holds adds to an error who holds the port.
func (h *holding) holds(port uint16, err error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.at.IsZero() || time.Since(h.at) > time.Minute {
		h.names, h.at = holders(port), time.Now()
	}
	return heldBy(h.names, err)
}

func heldBy(names string, err error) error {
	if names == "" {
		return err
	}
	return fmt.Errorf("%w: %s", err, names)
}

// holders says which other programs hold a port, "" if that can't be said.
func holders(port uint16) string {
	all, err := lan.PortHolders(port)
	if err != nil {
		return ""
	}
	var names []string
	for _, h := range all {
		if !h.Self {
			names = append(names, h.String())
		}
	}
	return strings.Join(names, ", ")
}

// SyncthingConn opens a socket on a free port from which a global server can be reached: for
// a Lookup and an Announcer.
func SyncthingConn(server netip.AddrPort) (syncthing.Conn, error) {
	at := netip.IPv4Unspecified()
	if server.Addr().Is6() {
		at = netip.IPv6Unspecified()
	}
	return lan.ListenUDP(netip.AddrPortFrom(at, 0), lan.UDPOptions{ReceiveBuffer: askingBuffer})
}

// askingBuffer holds some hundred answers.
const askingBuffer = 64 << 10

// SyncthingServerConns opens the sockets of a global server: for each address one a core. A zero
// Addr means all addresses of the machine.
func SyncthingServerConns(at []netip.AddrPort, log *slog.Logger) ([]syncthing.Conn, error) {
	var conns []syncthing.Conn
	for _, a := range at {
		opened, err := ListenUDP(a, runtime.GOMAXPROCS(0), lan.UDPOptions{}, log)
		if errors.Is(err, syscall.EADDRINUSE) {
			err = heldBy(holders(a.Port()), err)
		}
		if err != nil {
			for _, c := range conns {
				_ = c.Close() // nothing is left to lose
			}
			return nil, err
		}
		for _, c := range opened {
			conns = append(conns, c)
		}
	}
	return conns, nil
}
