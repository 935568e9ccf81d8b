package tged

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/lanfolk/lanfolk/packet"
)

const (
	maxConnections = 64
	tcpTimeout     = 5 * time.Second // for a request and its answer
)

// ServeTCP answers over TCP as one old server does: a message of either
// side follows its length as four bytes, big endian, and a connection carries one request. Nothing in
// the document asks for it. It returns nil when ctx is done, and closes l.
//
// Who is answered, and how many requests a second, is as for Run; the two count apart.
func (s *Server) ServeTCP(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	r := s.responder(ctx)
	defer r.tasks.Wait()
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	watched, err := s.Links(ctx)
	if err != nil {
		return fmt.Errorf("tged: list links: %w", err)
	}
	// Nobody is on a link before the links are known: the first asker would be
	// turned away.
	first, ok := <-watched
	if !ok {
		return nil // ctx has ended
	}
	var links atomic.Pointer[[]packet.Link]
	links.Store(&first)
	r.tasks.Go(func() {
		for now := range watched {
			links.Store(&now)
		}
	})
	room := make(chan struct{}, maxConnections)
	for {
		conn, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("tged: accept: %w", err)
		case err != nil: // too many open files, say
			select {
			case <-time.After(100 * time.Millisecond):
				continue
			case <-ctx.Done():
				return nil
			}
		}
		select {
		case room <- struct{}{}:
		default:
			r.stats.by[crowded].Add(1)
			_ = conn.Close()
			continue
		}
		r.stats.connections.Add(1)
		r.tasks.Go(func() {
			defer func() { <-room }()
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
			r.converse(conn, *links.Load())
		})
	}
}

// converse answers the one request of a connection.
func (r *responder) converse(conn net.Conn, links []packet.Link) {
	_ = conn.SetDeadline(time.Now().Add(tcpTimeout)) // fails on a closed one, as reading will
	var head [4]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return
	}
	n := binary.BigEndian.Uint32(head[:])
	r.stats.received.Add(1)
	if n > MaxRequest {
		r.drop(tooLong)
		return
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(conn, b); err != nil {
		r.drop(notTGED)
		return
	}
	src, dst := addrPort(conn.RemoteAddr()), addrPort(conn.LocalAddr())
	i := slices.IndexFunc(links, func(l packet.Link) bool {
		return l.Has(dst.Addr()) || l.Flags&net.FlagLoopback != 0 && l.OnLink(dst.Addr())
	})
	if i < 0 {
		r.drop(offLink)
		return
	}
	d := packet.Datagram{Data: b, Src: src, Dst: dst}
	q, ok := r.judge(time.Now().UnixNano(), &links[i], &d)
	if !ok {
		return
	}
	service, err := r.server.Services.Lookup(q.name)
	if f, ok := r.server.Services.(Fetcher); ok && errors.Is(err, ErrPending) {
		service, err = r.fetch(f, string(q.name))
	}
	data, ok := r.reply(service, err, q)
	if !ok {
		return
	}
	if _, err := conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(data))), data...)); err != nil {
		r.stats.by[failed].Add(1)
	}
}

func addrPort(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	p := t.AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}
