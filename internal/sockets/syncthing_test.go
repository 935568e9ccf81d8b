package sockets

import (
	"context"
	"errors"
	"net/netip"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/lan/lantest/nstest"
	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/syncthing"
)

// TestSyncthingServerConns asks a server by both families, on the sockets that are opened for it.
func TestSyncthingServerConns(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		conns, err := SyncthingServerConns([]netip.AddrPort{netip.AddrPortFrom(netip.Addr{}, 22026)}, nil)
		if err != nil || len(conns) != 2*runtime.GOMAXPROCS(0) {
			t.Fatalf("%d sockets, %v", len(conns), err)
		}
		// Of two addresses the second is held: nothing stays open of the first.
		both := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:22027"), netip.MustParseAddrPort("127.0.0.1:22026")}
		for range 2 {
			if _, err := SyncthingServerConns(both, nil); !errors.Is(err, syscall.EADDRINUSE) {
				t.Fatal(err)
			}
		}
		s := &syncthing.Server{Conns: conns}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		defer func() {
			stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}()
		id := syncthing.CertificateID(nil)
		a := &syncthing.Announcer{
			ID: id, Addresses: []netip.AddrPort{netip.AddrPortFrom(netip.Addr{}, 22000)},
			Servers: []string{"127.0.0.1", "::1"}, Listen: SyncthingConn, Once: true,
		}
		if err := a.Run(t.Context()); err != nil {
			t.Error(err)
		}
		l := &syncthing.Lookup{Servers: []netip.AddrPort{netip.MustParseAddrPort("[::1]:22026")}, Listen: SyncthingConn}
		if got, err := l.Ask(t.Context(), id); err != nil || len(got) != 2 {
			t.Error(got, err)
		}
	})
}

// TestSyncthingPortIsShared with ourselves, and not with who keeps it to himself.
func TestSyncthingPortIsShared(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		links, err := lan.Links()
		if err != nil {
			t.Fatal(err)
		}
		var lo packet.Link
		for _, l := range links {
			if l.Name == "lo" {
				lo = l
			}
		}
		l := SyncthingListener(Selection{}, nil)
		for range 2 {
			c, err := l.Broadcast(lo, syncthing.LocalPort)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
		}
		python, err := exec.LookPath("python3")
		if err != nil {
			nstest.Missing(t, err.Error())
		}
		// As the old programs do it.
		old := exec.Command(python, "-c", "import socket, sys; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 21035)); print('bound', flush=True); sys.stdin.read()")
		in, err := old.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := old.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := old.Start(); err != nil {
			t.Fatal(err)
		}
		defer old.Wait()
		defer in.Close()
		if _, err := out.Read(make([]byte, 16)); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if c, err := l.Broadcast(lo, 21035); !errors.Is(err, syscall.EADDRINUSE) || c != nil || !strings.Contains(err.Error(), "python3 (pid ") {
				t.Error(c, err)
			}
		}
	})
}
