package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
)

// Listener is one address at which clients come in.
type Listener struct {
	net.Listener
	// TLS has the clients speak TLS, nil for plain text. To ask for their
	// certificates, it has ClientAuth and ClientCAs.
	TLS *tls.Config
	// WebSocket has them speak WebSockets, subprotocol mqtt, at any path.
	WebSocket bool
	// Origins are web pages' origins ("https://panel.example") that may connect
	// by WebSocket, besides those that this machine itself serves. A browser
	// connects to anything on its machine that a page names.
	Origins []string
}

// kind is the scheme of the URL that a client has for it.
func (l Listener) kind() string {
	switch {
	case l.WebSocket && l.TLS != nil:
		return "wss"
	case l.WebSocket:
		return "ws"
	case l.TLS != nil:
		return "mqtts"
	}
	return "mqtt"
}

func isShared(filter string) bool { return mqtt.IsSharedFilter(filter) }

// listen accepts clients until ctx is done.
func (b *Broker) listen(ctx context.Context, l Listener, id string, conns *sync.WaitGroup) error {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	defer l.Close()
	if l.WebSocket {
		return b.listenWeb(ctx, l, id, conns)
	}
	for {
		c, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			if errors.Is(err, net.ErrClosed) {
				return err
			}
			b.log.Warn("a connection can't be accepted", "err", err) // no file descriptors: for a moment
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		if !b.enter() {
			c.Close()
			continue
		}
		conns.Go(func() {
			defer b.connected.Add(-1)
			if l.TLS == nil {
				b.serve(newConn(c, b.limits, b.stalled), id, nil)
				return
			}
			t := tls.Server(c, l.TLS)
			ctx, cancel := context.WithTimeout(ctx, b.limits.ConnectTimeout)
			err := t.HandshakeContext(ctx)
			cancel()
			if err != nil {
				b.count.refusedConnections.Add(1)
				b.log.Debug("TLS handshake", "addr", c.RemoteAddr(), "err", err)
				c.Close()
				return
			}
			state := t.ConnectionState()
			b.serve(newConn(t, b.limits, b.stalled), id, &state)
		})
	}
}

// enter says whether one more connection may come in.
func (b *Broker) enter() bool {
	if b.connected.Add(1) > int64(b.limits.Clients+unknownClients) || b.closing.Load() {
		b.connected.Add(-1)
		b.count.refusedConnections.Add(1)
		return false
	}
	return true
}

func (b *Broker) stalled() {
	b.count.stalled.Add(1)
	b.log.Debug("a client takes nothing and is cut off")
}

// serve speaks MQTT with a client until one of both has enough.
func (b *Broker) serve(c *conn, listener string, state *tls.ConnectionState) {
	if state != nil && len(state.VerifiedChains) > 0 {
		c.verified, c.name = true, state.PeerCertificates[0].Subject.CommonName
	}
	if err := b.hand(c, listener); err != nil {
		b.log.Debug("connection over", "addr", c.RemoteAddr(), "err", err)
	}
	c.Close()
	if s := c.session.Load(); s != nil {
		// Where CONNACK couldn't be sent, or mochi fell over a packet, it has neither
		// said that the client left nor forgotten it.
		b.left(s.client)
		if now, there := b.server.Clients.Get(s.id); there && now == s.client && s.expiry == 0 {
			b.forget(s)
		}
		close(s.ended)
	}
	<-c.done
}

// hand lets mochi serve a connection. Its decoder reads beyond the end of some
// packets, which must not end the whole program.
func (b *Broker) hand(c *conn, listener string) (err error) {
	defer func() {
		if p := recover(); p != nil {
			b.count.malformed.Add(1)
			err = fmt.Errorf("malformed packet: %v", p)
		}
	}()
	return b.server.EstablishConnection(listener, c)
}

// certificate returns the common name of the client's certificate.
func (c *conn) certificate() (name string, has bool) { return c.name, c.verified }

// fromLoopback says whether the client is on this machine.
func (c *conn) fromLoopback() bool {
	ap, err := netip.ParseAddrPort(c.RemoteAddr().String())
	return err == nil && ap.Addr().Unmap().IsLoopback()
}

// sameSite says whether a WebSocket handshake comes from no page at all, from
// one that this host served, or from one that is let in. A host's name proves
// nothing: a page can have its own point at this machine.
func (l Listener) sameSite(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" || slices.Contains(l.Origins, origin) {
		return true
	}
	u, err := url.Parse(origin)
	if err != nil || u.Host != r.Host {
		return false
	}
	_, err = netip.ParseAddr(u.Hostname())
	return err == nil || u.Hostname() == "localhost"
}
