package sockets

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/lan/lantest/nstest"
)

func closeAll(conns []*lan.UDPConn) {
	for _, c := range conns {
		c.Close()
	}
}

func addresses(conns []*lan.UDPConn) string {
	var out []netip.AddrPort
	for _, c := range conns {
		out = append(out, c.LocalAddr())
	}
	return fmt.Sprint(out)
}

func TestListenUDP(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		port := netip.AddrPortFrom(netip.Addr{}, 22026)
		both, err := ListenUDP(port, 2, lan.UDPOptions{ReceiveBuffer: 4096}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := addresses(both), "[0.0.0.0:22026 0.0.0.0:22026 [::]:22026 [::]:22026]"; got != want {
			t.Errorf("opened %s, want %s", got, want)
		}
		// Nothing stays open of what fails half-way.
		closeAll(both[:2])
		if _, err := ListenUDP(port, 2, lan.UDPOptions{}, nil); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("a port that is held: %v", err)
		}
		one, err := ListenUDP(netip.MustParseAddrPort("127.0.0.1:22026"), 1, lan.UDPOptions{}, nil)
		if err != nil || addresses(one) != "[127.0.0.1:22026]" {
			t.Errorf("one address: %s, %v", addresses(one), err)
		}
		closeAll(one)
		closeAll(both[2:])
	})
}

func TestListenUDPOnAFreePort(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		// The port is found to be held by IPv6 at first.
		var blocked *lan.UDPConn
		open := func(a netip.AddrPort, n int, o lan.UDPOptions) ([]*lan.UDPConn, error) {
			if a.Addr().Is6() && blocked == nil {
				var err error
				if blocked, err = lan.ListenUDP(a, lan.UDPOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			return lan.ListenUDPs(a, n, o)
		}
		conns, err := listenUDP(netip.AddrPort{}, 1, lan.UDPOptions{}, nil, open)
		if err != nil || len(conns) != 2 || conns[0].LocalAddr().Port() != conns[1].LocalAddr().Port() {
			t.Fatalf("%s, %v", addresses(conns), err)
		}
		closeAll(append(conns, blocked))
	})
}

func TestListenUDPSaysWhatIsLess(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		var said bytes.Buffer
		log := slog.New(slog.NewTextHandler(&said, nil))
		open := func(a netip.AddrPort, n int, o lan.UDPOptions) ([]*lan.UDPConn, error) {
			if a.Addr().Is6() {
				return nil, fmt.Errorf("lan: listen: %w", syscall.EAFNOSUPPORT)
			}
			o.ReceiveBuffer = 8 << 10 // as if no more were allowed
			return lan.ListenUDPs(a, n, o)
		}
		conns, err := listenUDP(netip.AddrPort{}, 1, lan.UDPOptions{}, log, open)
		if err != nil || len(conns) != 1 || !conns[0].LocalAddr().Addr().Is4() {
			t.Fatalf("%s, %v", addresses(conns), err)
		}
		closeAll(conns)
		for _, want := range []string{"no IPv6 on this machine", "net.core.rmem_max", "bytes=8192 wanted=4194304"} {
			if !strings.Contains(said.String(), want) {
				t.Errorf("nothing of %q in %s", want, said.String())
			}
		}
	})
}
