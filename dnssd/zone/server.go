package zone

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of a Server.
const (
	// MaxConns is how many TCP connections there are at a time, and MaxConnsPerHost how
	// many of them one address has.
	MaxConns        = 256
	MaxConnsPerHost = 16
	// maxTransfers is how many zones are sent at a time.
	maxTransfers = 8
	// idleTime is how long a connection may wait for a query, and how long one may
	// take to come or its answer to go (RFC 7766 §6.2.3).
	idleTime = 10 * time.Second
	// maxConnTime bounds a connection with a transfer: a slow reader is cut off.
	maxTransferTime = 5 * time.Minute
	// maxQuery is how long a query may be, in bytes, before it counts as hostile.
	maxQuery = 4096
)

// Server answers queries about zones on connections that it is handed. Its fields
// aren't changed while it serves.
type Server struct {
	Zones   []*Zone
	Limiter *Limiter // nil for no limit
	Log     *slog.Logger

	verdicts  [verdicts]atomic.Uint64
	tcp       atomic.Uint64
	transfers atomic.Uint64
	refused   atomic.Uint64 // connections over a bound
	sendErrs  atomic.Uint64

	sending atomic.Int32 // transfers now
	mu      sync.Mutex
	conns   map[netip.Addr]int
	total   int
}

// Stats counts what a Server did.
type Stats struct {
	// Verdicts are the queries by what became of them.
	Verdicts map[Verdict]uint64
	// TCP counts the queries by TCP, among them; Transfers the zones that were sent
	// whole.
	TCP, Transfers uint64
	// Connections counts those that were over a bound and closed at once.
	Connections uint64
	// SendErrors counts the answers that couldn't be sent.
	SendErrors uint64
}

// Stats returns the counters.
func (s *Server) Stats() Stats {
	out := Stats{
		Verdicts: make(map[Verdict]uint64, verdicts), TCP: s.tcp.Load(), Transfers: s.transfers.Load(),
		Connections: s.refused.Load(), SendErrors: s.sendErrs.Load(),
	}
	for v := range verdicts {
		out.Verdicts[v] = s.verdicts[v].Load()
	}
	return out
}

func (s *Server) log() *slog.Logger {
	if s.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.Log
}

// addrPortConn is what *net.UDPConn has to read and write without garbage.
type addrPortConn interface {
	ReadFromUDPAddrPort([]byte) (int, netip.AddrPort, error)
	WriteToUDPAddrPort([]byte, netip.AddrPort) (int, error)
}

// ServePacket answers what comes to a UDP socket until ctx ends, then closes it
// and returns nil. Several goroutines may serve one socket. The socket should be
// bound to one address, from which its answers then leave.
func (s *Server) ServePacket(ctx context.Context, c net.PacketConn) error {
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	defer c.Close()
	a := Answerer{Zones: s.Zones, Limiter: s.Limiter}
	in, out := make([]byte, maxQuery+1), make([]byte, 0, 2*payloadSize)
	direct, _ := c.(addrPortConn)
	for {
		n, from, err := readFrom(c, direct, in)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("zone: read: %w", err)
		case err != nil: // what became of an answer that nobody wanted
			time.Sleep(time.Millisecond) // should it be something else, and stay
			continue
		}
		if n > maxQuery {
			s.verdicts[Ignored].Add(1)
			continue
		}
		answer, v := a.Answer(out, Asked{Query: in[:n], From: from, Time: time.Now()})
		s.verdicts[v].Add(1)
		if answer == nil {
			continue
		}
		out = answer[:0]
		if direct != nil {
			_, err = direct.WriteToUDPAddrPort(answer, from)
		} else {
			_, err = c.WriteTo(answer, net.UDPAddrFromAddrPort(from))
		}
		if err != nil {
			s.sendErrs.Add(1)
		}
	}
}

func readFrom(c net.PacketConn, direct addrPortConn, b []byte) (int, netip.AddrPort, error) {
	if direct != nil {
		return direct.ReadFromUDPAddrPort(b)
	}
	n, addr, err := c.ReadFrom(b)
	if err != nil {
		return 0, netip.AddrPort{}, err
	}
	return n, addrPort(addr), nil
}

// addrPort reads the address of a connection's end, the zero AddrPort if it has none.
func addrPort(a net.Addr) netip.AddrPort {
	if x, ok := a.(interface{ AddrPort() netip.AddrPort }); ok {
		return x.AddrPort()
	}
	return netip.AddrPort{}
}

// Serve answers what comes to a TCP listener until ctx ends, then closes it and
// all its connections and returns nil.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	defer l.Close()
	var conns sync.WaitGroup
	defer conns.Wait()
	for pause := 5 * time.Millisecond; ; {
		c, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				c.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("zone: accept: %w", err)
		case err != nil: // no file descriptor left, say
			select {
			case <-time.After(pause):
			case <-ctx.Done():
			}
			pause = min(2*pause, time.Second)
			continue
		}
		pause = 5 * time.Millisecond
		from := addrPort(c.RemoteAddr())
		if !s.admit(from.Addr()) {
			s.refused.Add(1)
			c.Close()
			continue
		}
		conns.Go(func() {
			defer s.leave(from.Addr())
			s.serveConn(ctx, c, from)
		})
	}
}

func (s *Server) admit(from netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.total >= MaxConns || s.conns[from] >= MaxConnsPerHost {
		return false
	}
	if s.conns == nil {
		s.conns = map[netip.Addr]int{}
	}
	s.total++
	s.conns[from]++
	return true
}

func (s *Server) leave(from netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total--
	if s.conns[from]--; s.conns[from] == 0 {
		delete(s.conns, from)
	}
}

// serveConn answers the queries of one connection, each behind its length
// (RFC 1035 §4.2.2), in the order in which they come.
func (s *Server) serveConn(ctx context.Context, c net.Conn, from netip.AddrPort) {
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	defer c.Close()
	a := Answerer{Zones: s.Zones}
	in := make([]byte, maxQuery)
	var out []byte
	for {
		if c.SetDeadline(time.Now().Add(idleTime)) != nil {
			return
		}
		var size [2]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return
		}
		n := int(binary.BigEndian.Uint16(size[:]))
		if n > maxQuery {
			s.verdicts[Ignored].Add(1)
			return
		}
		if _, err := io.ReadFull(c, in[:n]); err != nil {
			return
		}
		asked := Asked{Query: in[:n], From: from, TCP: true, Time: time.Now()}
		answer, v := a.Answer(out, asked)
		s.verdicts[v].Add(1)
		s.tcp.Add(1)
		switch {
		case v == Transfer:
			if !s.transfer(c, &a, asked) {
				return
			}
		case answer == nil:
			return
		default:
			out = answer[:0]
			if !s.send(c, answer) {
				return
			}
		}
	}
}

// send sends a message behind its length, both at once.
func (s *Server) send(c net.Conn, msg []byte) bool {
	both := net.Buffers{binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg}
	if _, err := both.WriteTo(c); err != nil {
		s.sendErrs.Add(1)
		return false
	}
	return true
}

// transfer sends a whole zone.
func (s *Server) transfer(c net.Conn, a *Answerer, asked Asked) bool {
	defer s.sending.Add(-1)
	if s.sending.Add(1) > maxTransfers {
		s.refused.Add(1)
		return false // the secondary tries again
	}
	end := time.Now().Add(maxTransferTime)
	for msg := range a.Transfer(asked) {
		deadline := time.Now().Add(idleTime)
		if deadline.After(end) {
			deadline = end
		}
		if c.SetDeadline(deadline) != nil || !s.send(c, msg) {
			s.log().Info("a zone transfer was cut off", "addr", asked.From)
			return false
		}
	}
	s.transfers.Add(1)
	s.log().Debug("zone transferred", "addr", asked.From)
	return true
}
