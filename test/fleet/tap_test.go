package fleet

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/test/lab"
)

// A direction is where a record goes.
type direction int

const (
	up   direction = iota // to the hub
	down                  // to the gateway
)

func (d direction) String() string { return [...]string{"up", "down"}[d] }

// A tap stands between a gateway and its hub, and passes on what they say: whole
// records of TLS (RFC 8446 §5.1), whose lengths it sees and nothing else. It can stop
// everything before a certain one.
type tap struct {
	address string // where gateways dial
	dial    func() (net.Conn, error)
	l       net.Listener

	mu    sync.Mutex
	conns map[net.Conn]bool
	armed bool
	dir   direction // which record to stop at
	left  int       // how many more of them go through
	held  chan struct{}
	seen  [2]int // since it was armed
	gate  chan struct{}
}

// newTap makes one that gateways at a host reach, and that dials from the hub's host.
func newTap(t *testing.T, gates, hub *lab.Host, address string) *tap {
	t.Helper()
	p := &tap{conns: make(map[net.Conn]bool), held: make(chan struct{}), gate: make(chan struct{})}
	close(p.gate)
	if err := gates.Do(func() (err error) { p.l, err = net.Listen("tcp", "127.0.0.1:0"); return err }); err != nil {
		t.Fatal(err)
	}
	p.address = p.l.Addr().String()
	p.dial = func() (c net.Conn, err error) {
		err = hub.Do(func() error { c, err = net.DialTimeout("tcp", address, patience); return err })
		return c, err
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := p.l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { p.serve(c) })
		}
	})
	t.Cleanup(func() {
		p.l.Close()
		p.cut()
		all.Wait()
	})
	return p
}

func (p *tap) serve(gateway net.Conn) {
	hub, err := p.dial()
	if err != nil {
		gateway.Close()
		return
	}
	p.mu.Lock()
	p.conns[gateway], p.conns[hub] = true, true
	p.mu.Unlock()
	var both sync.WaitGroup
	end := func() { gateway.Close(); hub.Close() }
	both.Go(func() { defer end(); p.pass(up, hub, gateway) })
	both.Go(func() { defer end(); p.pass(down, gateway, hub) })
	both.Wait()
	p.mu.Lock()
	delete(p.conns, gateway)
	delete(p.conns, hub)
	p.mu.Unlock()
}

func (p *tap) pass(d direction, to io.Writer, from io.Reader) {
	record := make([]byte, 5+1<<16)
	for {
		if _, err := io.ReadFull(from, record[:5]); err != nil {
			return
		}
		n := 5 + int(binary.BigEndian.Uint16(record[3:]))
		if _, err := io.ReadFull(from, record[5:n]); err != nil {
			return
		}
		p.wait(d)
		if _, err := to.Write(record[:n]); err != nil {
			return
		}
	}
}

// wait returns when a record may pass.
func (p *tap) wait(d direction) {
	p.mu.Lock()
	if p.armed {
		p.seen[d]++
		if p.dir == d {
			if p.left == 0 {
				p.armed, p.gate = false, make(chan struct{})
				close(p.held)
			}
			p.left--
		}
	}
	gate := p.gate
	p.mu.Unlock()
	<-gate
}

// stopBefore has the tap stop all there is when the nth record from now on, 0 is the
// next one, wants to go that way. It returns a channel that is closed then.
func (p *tap) stopBefore(d direction, n int) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.armed, p.dir, p.left, p.seen, p.held = true, d, n, [2]int{}, make(chan struct{})
	return p.held
}

// cut ends all connections, with what was stopped, and lets new ones through.
func (p *tap) cut() {
	p.mu.Lock()
	p.armed = false
	conns := make([]net.Conn, 0, len(p.conns))
	for c := range p.conns {
		conns = append(conns, c)
	}
	gate := p.gate
	p.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
	}
	select {
	case <-gate:
	default:
		close(gate)
	}
}

// TestTapStopsBetweenRecords: the tap itself, with records that anybody can read.
func TestTapStopsBetweenRecords(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	here, there := l.Host("here"), l.Host("there")
	var hub net.Listener
	if err := there.Do(func() (err error) { hub, err = net.Listen("tcp", "127.0.0.1:0"); return err }); err != nil {
		t.Fatal(err)
	}
	defer hub.Close()
	p := newTap(t, here, there, hub.Addr().String())
	var gateway net.Conn
	if err := here.Do(func() (err error) { gateway, err = net.Dial("tcp", p.address); return err }); err != nil {
		t.Fatal(err)
	}
	defer gateway.Close()
	far, err := hub.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	record := func(s string) []byte { return append([]byte{23, 3, 3, 0, byte(len(s))}, s...) }
	held := p.stopBefore(up, 1)
	for _, s := range []string{"one", "two"} {
		if _, err := gateway.Write(record(s)); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-held:
	case <-time.After(patience):
		t.Fatal("the second record isn't stopped")
	}
	got := make([]byte, 100)
	n, err := io.ReadFull(far, got[:8])
	if err != nil || string(got[5:n]) != "one" {
		t.Fatalf("got %q, %v", got[:n], err)
	}
	if err := far.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	var timeout net.Error
	if n, err := far.Read(got); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Fatalf("got %q, %v; want nothing", got[:n], err)
	}
	p.cut()
	if err := far.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if n, err := far.Read(got); n > 0 || err == nil || errors.As(err, &timeout) && timeout.Timeout() {
		t.Fatalf("got %q, %v; want the end", got[:n], err)
	}
}
