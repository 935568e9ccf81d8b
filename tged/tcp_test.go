package tged_test

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/tged"
)

// pipes is a listener in memory.
type pipes struct {
	in     chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.in:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// from is a connection's end with the addresses that it says it has.
type from struct {
	net.Conn
	src, dst string
}

func (f from) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(f.src)) }
func (f from) LocalAddr() net.Addr  { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(f.dst)) }

// dial returns the client's end of a new connection.
func (p *pipes) dial(src, dst string) net.Conn {
	ours, theirs := net.Pipe()
	p.in <- from{theirs, src, dst}
	return ours
}

func serveTCP(t *testing.T, s *tged.Server) *pipes {
	t.Helper()
	p := &pipes{in: make(chan net.Conn), closed: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	s.Services = services(t)
	s.Links = func(ctx context.Context) (<-chan []packet.Link, error) {
		c := make(chan []packet.Link, 1)
		links := []packet.Link{{Index: 2, Name: "eth0", Flags: net.FlagUp | net.FlagRunning | net.FlagBroadcast, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24")}}}
		// Who asks before the links are known waits.
		time.AfterFunc(time.Second, func() { c <- links })
		context.AfterFunc(ctx, func() { close(c) })
		return c, nil
	}
	done := make(chan error)
	go func() { done <- s.ServeTCP(ctx, p) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	synctest.Wait()
	return p
}

func framed(s string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(s))), s...)
}

func TestTCP(t *testing.T) {
	raw, err := os.ReadFile("testdata/cases.json")
	ok(t, err)
	var file struct {
		TCPCases []struct {
			Hex string `json:"send_hex"`
		} `json:"tcp_cases"`
	}
	ok(t, json.Unmarshal(raw, &file))
	p01, err := hex.DecodeString(file.TCPCases[0].Hex)
	ok(t, err)
	reply := "TGED REPLY 1.0\r\nHOST: test\r\nFQDN: test.example.com\r\nIP: 192.168.0.34\r\nPORT: 3306\r\nUSER: john\r\n\r\n"
	for name, c := range map[string]struct {
		src, send, want string
	}{
		"the old server's case": {"10.0.0.2:9", string(p01), reply},
		"unknown service":       {"10.0.0.2:9", string(framed("TGED DISCOVERY 1.0\nRQ:NOPE\n\n")), invalid},
		"an answer":             {"10.0.0.2:9", string(framed(invalid)), ""},
		"another protocol":      {"10.0.0.2:9", string(framed("GET / HTTP/1.1\r\n\r\n")), ""},
		"off the link":          {"192.0.2.2:9", string(p01), ""},
		"too long":              {"10.0.0.2:9", "\xff\xff\xff\xff", ""},
		"cut short":             {"10.0.0.2:9", "\x00\x00\x00\x1eTGED", ""},
		"nothing":               {"10.0.0.2:9", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &tged.Server{}
				conn := serveTCP(t, s).dial(c.src, "10.0.0.1:4745")
				go func() { _, _ = conn.Write([]byte(c.send)) }()
				start := time.Now()
				got, err := io.ReadAll(conn)
				if err != nil && !errors.Is(err, io.ErrClosedPipe) || time.Since(start) > 5*time.Second {
					t.Errorf("%v after %v", err, time.Since(start))
				}
				want := ""
				if c.want != "" {
					want = string(framed(c.want))
				}
				if string(got) != want {
					t.Errorf("got %q, want %q", got, want)
				}
				if st := s.Stats(); st.Connections != 1 {
					t.Errorf("%+v", st)
				}
			})
		})
	}
}

// TestTCPIsBounded: connections that say nothing end, and don't keep others out for long.
func TestTCPIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &tged.Server{}
		p := serveTCP(t, s)
		for range 70 {
			p.dial("10.0.0.2:9", "10.0.0.1:4745")
		}
		synctest.Wait()
		if st := s.Stats(); st.Connections != 64 || st.Crowded != 6 {
			t.Errorf("%+v", st)
		}
		time.Sleep(6 * time.Second)
		conn := p.dial("10.0.0.2:9", "10.0.0.1:4745")
		go func() { _, _ = conn.Write(framed(canonical)) }()
		if got, _ := io.ReadAll(conn); !strings.Contains(string(got), "TGED REPLY 1.0") {
			t.Errorf("%q", got)
		}
	})
}
