package sockets

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"syscall"

	"github.com/lanfolk/lanfolk/lan"
)

// ListenUDP opens UDP sockets for a server: n for the address, among which the kernel shares
// out the load. A zero Addr means all of the machine's addresses, with n sockets for IPv4 and n for
// IPv6, of the same port; a machine without IPv6 does with the former. It logs what is less
// than was asked for.
func ListenUDP(addr netip.AddrPort, n int, o lan.UDPOptions, log *slog.Logger) ([]*lan.UDPConn, error) {
	return listenUDP(addr, n, o, log, lan.ListenUDPs)
}

// freeTries is how often a port that is free in one family is looked for in the other.
const freeTries = 8

type opener func(netip.AddrPort, int, lan.UDPOptions) ([]*lan.UDPConn, error)

func listenUDP(addr netip.AddrPort, n int, o lan.UDPOptions, log *slog.Logger, open opener) ([]*lan.UDPConn, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	var conns []*lan.UDPConn
	var err error
	if addr.Addr().IsValid() {
		conns, err = open(addr, n, o)
	} else {
		for range freeTries {
			conns, err = listenBoth(addr.Port(), n, o, log, open)
			if addr.Port() != 0 || !errors.Is(err, syscall.EADDRINUSE) {
				break
			}
		}
	}
	if err != nil {
		return nil, fmt.Errorf("sockets: %w", err)
	}
	if want := o.ReceiveBuffer; len(conns) > 0 {
		if want == 0 {
			want = lan.DefaultReceiveBuffer
		}
		if got, err := conns[0].ReceiveBuffer(); err == nil && got < want {
			log.Warn("small receive buffer: requests may get lost in a burst. Set the sysctl net.core.rmem_max to allow more",
				"addr", conns[0].LocalAddr(), "bytes", got, "wanted", want)
		}
	}
	return conns, nil
}

func listenBoth(port uint16, n int, o lan.UDPOptions, log *slog.Logger, open opener) ([]*lan.UDPConn, error) {
	four, err := open(netip.AddrPortFrom(netip.IPv4Unspecified(), port), n, o)
	if err != nil {
		return nil, err
	}
	if port == 0 && len(four) > 0 {
		port = four[0].LocalAddr().Port()
	}
	six, err := open(netip.AddrPortFrom(netip.IPv6Unspecified(), port), n, o)
	switch {
	case errors.Is(err, syscall.EAFNOSUPPORT):
		log.Warn("no IPv6 on this machine: served by IPv4 alone", "port", port)
	case err != nil:
		for _, c := range four {
			_ = c.Close() // nothing is left to lose
		}
		return nil, err
	}
	return append(four, six...), nil
}
