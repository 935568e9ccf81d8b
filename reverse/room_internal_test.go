package reverse

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strconv"
	"sync/atomic"
	"testing"
)

// One source can't take all the room there is for connections that say nothing, and all
// together get no more than there is.
func TestRoomForSilentConnections(t *testing.T) {
	var g gate
	var leave func()
	fill := func(from string, want int) {
		t.Helper()
		for n := 0; ; n++ {
			l, ok := g.admit(from)
			if !ok {
				if n != want {
					t.Errorf("%s: %d; want %d", from, n, want)
				}
				return
			}
			leave = l
		}
	}
	fill("unknown", maxUnshakenOf)
	var count, failed atomic.Uint64
	here, there := net.Pipe()
	defer there.Close()
	h := handshake{&tls.Config{}, &count, &failed, &g}
	if _, _, err := h.ServerHandshake(nameless{here}); !errors.Is(err, errCrowd) || failed.Load() != 1 {
		t.Errorf("one more: %v, %d counted", err, failed.Load())
	}
	if _, err := there.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("its connection: %v; want it closed", err)
	}
	fill("b", maxUnshaken-maxUnshakenOf)
	for n := range 10 {
		fill("c"+strconv.Itoa(n), 0)
	}
	if len(g.sources) != 2 {
		t.Errorf("%d sources are kept", len(g.sources))
	}
	leave()
	fill("c", 1)
	leave()
	fill("b", 1)
	if len(g.sources) != 2 {
		t.Errorf("%d sources are kept", len(g.sources))
	}
}

// A nameless connection comes from nowhere.
type nameless struct{ net.Conn }

func (nameless) RemoteAddr() net.Addr { return nil }
