package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
)

// listenWeb accepts clients by WebSocket, MQTT 5 §6.
func (b *Broker) listenWeb(ctx context.Context, l Listener, id string, conns *sync.WaitGroup) error {
	up := websocket.Upgrader{
		HandshakeTimeout: b.limits.ConnectTimeout, ReadBufferSize: 4 << 10, WriteBufferSize: 4 << 10,
		Subprotocols: []string{"mqtt", "mqttv3.1"}, CheckOrigin: l.sameSite,
	}
	srv := &http.Server{
		ReadHeaderTimeout: b.limits.ConnectTimeout, MaxHeaderBytes: 16 << 10, TLSConfig: l.TLS,
		ErrorLog: slog.NewLogLogger(b.log.Handler(), slog.LevelDebug),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !b.enter() {
				http.Error(w, "too many connections", http.StatusServiceUnavailable)
				return
			}
			conns.Add(1)
			defer conns.Done()
			defer b.connected.Add(-1)
			ws, err := up.Upgrade(w, r, nil)
			if err != nil {
				b.count.refusedConnections.Add(1)
				return // Upgrade has answered
			}
			ws.SetReadLimit(int64(b.limits.Message) + maxConnect)
			b.serve(newConn(&webConn{Conn: ws.NetConn(), ws: ws}, b.limits, b.stalled), id, r.TLS)
		}),
	}
	defer srv.Close()
	var in net.Listener = limited{l.Listener, make(chan struct{}, b.limits.Clients+unknownClients)}
	if l.TLS != nil {
		in = tls.NewListener(in, l.TLS)
	}
	err := srv.Serve(in)
	if ctx.Err() != nil || errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// limited bounds the connections that an HTTP server has open.
type limited struct {
	net.Listener
	slots chan struct{}
}

func (l limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case l.slots <- struct{}{}:
			return &slotConn{Conn: c, free: sync.OnceFunc(func() { <-l.slots })}, nil
		default:
			c.Close()
		}
	}
}

type slotConn struct {
	net.Conn
	free func()
}

func (c *slotConn) Close() error {
	c.free()
	return c.Conn.Close()
}

// webConn makes a stream of bytes of a WebSocket's binary messages, whose
// borders mean nothing.
type webConn struct {
	net.Conn
	ws   *websocket.Conn
	rest io.Reader // of the message in hand
	// until is the deadline for writing. ws takes one only from who writes, and puts it
	// on the connection before it does.
	until atomic.Pointer[time.Time]
}

var errText = errors.New("a WebSocket message that isn't binary")

func (c *webConn) Read(p []byte) (int, error) {
	for {
		if c.rest == nil {
			kind, r, err := c.ws.NextReader()
			if err != nil {
				return 0, err
			}
			if kind != websocket.BinaryMessage { // MQTT 5 §6.0
				return 0, errText
			}
			c.rest = r
		}
		n, err := c.rest.Read(p)
		if errors.Is(err, io.EOF) {
			c.rest, err = nil, nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

func (c *webConn) Write(p []byte) (int, error) {
	if t := c.until.Load(); t != nil {
		_ = c.ws.SetWriteDeadline(*t) // never fails
	}
	if err := c.ws.WriteMessage(websocket.BinaryMessage, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (c *webConn) SetReadDeadline(t time.Time) error { return c.ws.SetReadDeadline(t) }

// SetWriteDeadline may be called while Write runs.
func (c *webConn) SetWriteDeadline(t time.Time) error {
	c.until.Store(&t)
	return c.Conn.SetWriteDeadline(t)
}
