package reverse

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// A connection is one HTTP/2 connection of a gateway. grpc hands it to each call
// as what the handshake found out: so a call knows its connection.
type connection struct {
	number uint64 // in the order in which they were accepted
	raw    net.Conn
	secure bool
	cert   *x509.Certificate // that the gateway showed; nil if none
	native atomic.Bool       // a Hello came
	slot   chan struct{}     // holds the one command of foreign clients

	mu          sync.Mutex
	sessions    []*session   // that listen here
	outstanding *outstanding // what fills the slot
	closing     bool         // nothing new begins here
}

// AuthType implements credentials.AuthInfo.
func (c *connection) AuthType() string {
	if c.secure {
		return "tls"
	}
	return "insecure"
}

func (c *connection) address() netip.AddrPort {
	if tcp, ok := c.raw.RemoteAddr().(*net.TCPAddr); ok {
		a := tcp.AddrPort()
		return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
	}
	return netip.AddrPort{}
}

// farewell is how long a connection stays after its last word, so that the
// other side hears it.
const farewell = time.Second

// closeSoon lets nothing new begin, and closes the connection when what was said
// last has had time to arrive.
func (c *connection) closeSoon() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return
	}
	c.closing = true
	time.AfterFunc(farewell, func() { _ = c.raw.Close() })
}

// only returns the session that listens here, if it is the only one.
func (c *connection) only() *session {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.sessions) == 1 {
		return c.sessions[0]
	}
	return nil
}

func (c *connection) add(s *session) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return false
	}
	c.sessions = append(c.sessions, s)
	return true
}

func (c *connection) remove(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, other := range c.sessions {
		if other == s {
			c.sessions = append(c.sessions[:i], c.sessions[i+1:]...)
			return
		}
	}
}

// connectionOf returns the connection on which a call came.
func connectionOf(ctx context.Context) (*connection, error) {
	if p, ok := peer.FromContext(ctx); ok {
		if c, ok := p.AuthInfo.(*connection); ok {
			return c, nil
		}
	}
	return nil, errors.New("reverse: a call that did not come through Server.GRPC")
}

// Certificate returns what the caller of a gRPC method showed: its certificate,
// nil if none, and whether the connection has TLS. It is for the services that a
// hub registers beside its own on the server that Server.GRPC makes.
func Certificate(ctx context.Context) (cert *x509.Certificate, secure bool) {
	c, err := connectionOf(ctx)
	if err != nil {
		return nil, false
	}
	return c.cert, c.secure
}

// handshake makes connections out of what a listener accepts. A nil config is
// no TLS. In place of credentials.NewTLS: what that keeps of each handshake
// would take several kilobytes a gateway.
type handshake struct {
	config *tls.Config
	count  *atomic.Uint64 // of connections
	failed *atomic.Uint64 // that came to nothing
	gate   *gate
}

// strangerFor is for how long a connection stays whose client showed no certificate: it
// can only be about to enrol, and what it may send until then takes memory.
const strangerFor = time.Minute

// ServerHandshake implements credentials.TransportCredentials. grpc bounds its
// time with a deadline on the connection.
func (h handshake) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	c := &connection{number: h.count.Add(1), raw: raw, slot: make(chan struct{}, 1)}
	if h.config == nil {
		return raw, c, nil
	}
	conn, err := h.shake(raw)
	if err != nil {
		h.failed.Add(1)
		return nil, nil, fmt.Errorf("reverse: TLS with %v: %w", raw.RemoteAddr(), err)
	}
	c.secure = true
	if shown := conn.ConnectionState().PeerCertificates; len(shown) > 0 {
		c.cert = shown[0]
	} else {
		time.AfterFunc(strangerFor, func() { _ = raw.Close() })
	}
	return conn, c, nil
}

var (
	errCrowd = errors.New("too many connections whose handshake isn't done")
	errALPN  = errors.New("HTTP/2 was not agreed on (ALPN)")
)

// shake does TLS's handshake. With an error the connection is closed.
func (h handshake) shake(raw net.Conn) (*tls.Conn, error) {
	from := Source(raw.RemoteAddr())
	leave, ok := h.gate.admit(from)
	if !ok {
		_ = raw.Close()
		return nil, errCrowd
	}
	defer leave()
	// Who says nothing takes nobody's turn.
	begun := &begunConn{Conn: raw, first: make([]byte, tlsHeader)}
	n, err := raw.Read(begun.first)
	if err != nil {
		_ = raw.Close()
		return nil, err
	}
	begun.first = begun.first[:n]
	conn := tls.Server(begun, h.config)
	out := h.gate.enter(from)
	err = conn.Handshake()
	out()
	if err == nil && conn.ConnectionState().NegotiatedProtocol != "h2" {
		err = errALPN
	}
	if err != nil {
		_ = raw.Close()
		return nil, err
	}
	return conn, nil
}

// tlsHeader is what each record of TLS begins with (RFC 8446 §5.1).
const tlsHeader = 5

// A begunConn is a connection of which something was read.
type begunConn struct {
	net.Conn
	first []byte
}

// Read implements net.Conn.
func (c *begunConn) Read(b []byte) (int, error) {
	if len(c.first) == 0 {
		return c.Conn.Read(b)
	}
	n := copy(b, c.first)
	if c.first = c.first[n:]; len(c.first) == 0 {
		c.first = nil
	}
	return n, nil
}

// ClientHandshake implements credentials.TransportCredentials.
func (handshake) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("reverse: a server's credentials can't dial")
}

// Info implements credentials.TransportCredentials.
func (h handshake) Info() credentials.ProtocolInfo {
	if h.config == nil {
		return credentials.ProtocolInfo{SecurityProtocol: "insecure"}
	}
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

// Clone implements credentials.TransportCredentials.
func (h handshake) Clone() credentials.TransportCredentials { return h }

// OverrideServerName implements credentials.TransportCredentials.
func (handshake) OverrideServerName(string) error { return nil }
