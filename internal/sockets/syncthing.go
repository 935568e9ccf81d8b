package sockets

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/syncthing"
)

// SyncthingListener returns a listener to Syncthing's local announcements on the chosen links, which
// can also be an Announcer's.
func SyncthingListener(s Selection, log *slog.Logger) *syncthing.Listener {
	var held atomic.Bool // by whom was said: it costs a look at all programs, and the port is tried again and again
	return &syncthing.Listener{
		Links: s.Watch,
		Broadcast: func(l packet.Link, port uint16) (syncthing.Conn, error) {
			c, err := lan.ListenBroadcast(l, port)
			switch {
			case err == nil:
				if port != 0 {
					held.Store(false)
				}
				return c, nil
			case errors.Is(err, syscall.EADDRINUSE) && !held.Swap(true):
				err = heldBy(port, err)
			}
			return nil, err
		},
		Multicast: func(l packet.Link, group netip.AddrPort) (syncthing.Conn, error) {
			return lan.ListenMulticast(l, group)
		},
		Log: log,
	}
}

// heldBy adds to an error who holds a port.
func heldBy(port uint16, err error) error {
	holders, herr := lan.PortHolders(port)
	var names []string
	for _, h := range holders {
		if !h.Self {
			names = append(names, h.String())
		}
	}
	if herr != nil || len(names) == 0 {
		return err
	}
	return fmt.Errorf("%w: %s", err, strings.Join(names, ", "))
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
			err = heldBy(a.Port(), err)
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
