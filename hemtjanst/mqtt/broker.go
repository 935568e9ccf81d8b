package mqtt

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"github.com/lanfolk/lanfolk/hemtjanst"
)

// DefaultKeepAlive is how long a connection is silent before it is tried; a broker takes one and a half
// times as long to see that a client is gone.
const DefaultKeepAlive = 15 * time.Second

// Version is a version of MQTT.
type Version uint8

// The versions of MQTT.
const (
	Auto Version = iota // 5, or 3.1.1 if the broker refuses 5; that is remembered
	V5
	V311
)

// Broker is where a broker is and how to get in. URL and Dial must be set; no field may be changed once
// Connect was called.
type Broker struct {
	// URL is mqtt://host[:1883], mqtts://host[:8883], ws://host[:80][/path] or wss://host[:443][/path],
	// with user:password@ before the host if that is how to get in.
	URL string
	// Dial opens a connection to host:port, as net.Dialer's DialContext does.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// TLS has the CAs and the client's certificate; nil is the machine's CAs and none. The server's name is
	// the URL's unless one is set.
	TLS *tls.Config
	// User and Password, if either is set, go before those in URL.
	User, Password string
	Version        Version

	old     atomic.Bool // the broker refused MQTT 5
	skipped atomic.Uint64
}

// Skipped returns how many messages were too large to be read: of more than a MiB. MQTT 5 brokers don't
// even send them.
func (b *Broker) Skipped() uint64 { return b.skipped.Load() }

var _ hemtjanst.Transport = (*Broker)(nil)

// errVersion means that a broker doesn't seem to speak a version.
var errVersion = errors.New("mqtt: the broker refuses the protocol version")

// Check says what is wrong with the URL.
func (b *Broker) Check() error {
	_, err := b.target()
	return err
}

// Address returns the broker's host and port, "" if the URL is none.
func (b *Broker) Address() string {
	t, err := b.target()
	if err != nil {
		return ""
	}
	return t.address
}

// target is a URL that was read.
type target struct {
	url            *url.URL
	secure, ws     bool
	address, host  string
	user, password string
}

func (b *Broker) target() (target, error) {
	u, err := url.Parse(b.URL)
	if err != nil {
		// url's own error has the whole URL, and in it the password.
		return target{}, fmt.Errorf("%w: it can't be read", hemtjanst.ErrBroker)
	}
	t := target{url: u, host: u.Hostname(), user: b.User, password: b.Password}
	var port string
	switch strings.ToLower(u.Scheme) {
	case "mqtt":
		port = "1883"
	case "mqtts":
		port, t.secure = "8883", true
	case "ws":
		port, t.ws = "80", true
	case "wss":
		port, t.secure, t.ws = "443", true, true
	default:
		return target{}, fmt.Errorf("%w: %q is none of mqtt, mqtts, ws and wss", hemtjanst.ErrBroker, u.Scheme)
	}
	if t.host == "" {
		return target{}, fmt.Errorf("%w: it names no host", hemtjanst.ErrBroker)
	}
	if !t.ws && u.Path != "" && u.Path != "/" {
		return target{}, fmt.Errorf("%w: %s has no path", hemtjanst.ErrBroker, u.Scheme)
	}
	if p := u.Port(); p != "" {
		port = p
	}
	t.address = net.JoinHostPort(t.host, port)
	if t.user == "" && t.password == "" && u.User != nil {
		t.user = u.User.Username()
		t.password, _ = u.User.Password()
	}
	return t, nil
}

// Connect connects to the broker.
func (b *Broker) Connect(ctx context.Context, s hemtjanst.Session) (hemtjanst.Conn, error) {
	t, err := b.target()
	if err != nil {
		return nil, err
	}
	if s.KeepAlive == 0 {
		s.KeepAlive = DefaultKeepAlive
	}
	if b.speaks311() {
		c, err := b.connect(ctx, t, s, connect311)
		if err != nil && b.Version == Auto && errors.Is(err, errVersion) {
			b.old.Store(false) // another broker than before
		}
		return c, err
	}
	c, err := b.connect(ctx, t, s, connect5)
	if b.Version != Auto || !errors.Is(err, errVersion) || ctx.Err() != nil {
		return c, err
	}
	c, old := b.connect(ctx, t, s, connect311)
	if old != nil {
		return nil, old
	}
	b.old.Store(true)
	return c, nil
}

func (b *Broker) speaks311() bool { return b.Version == V311 || b.Version == Auto && b.old.Load() }

// Speaks returns the version of the connections that were made last, or else the one that is tried first.
func (b *Broker) Speaks() Version {
	if b.speaks311() {
		return V311
	}
	return V5
}

// String returns "auto", "5" or "3.1.1".
func (v Version) String() string { return [...]string{"auto", "5", "3.1.1"}[v] }

// connect opens a connection and speaks one version on it.
func (b *Broker) connect(ctx context.Context, t target, s hemtjanst.Session, speak func(context.Context, *pipe, target, hemtjanst.Session) (hemtjanst.Conn, error)) (hemtjanst.Conn, error) {
	raw, err := b.open(ctx, t)
	if err != nil {
		return nil, err
	}
	p := newPipe(raw, &b.skipped)
	stop := context.AfterFunc(ctx, func() { _ = p.Close() })
	c, err := speak(ctx, p, t, s)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = p.Close()
		return nil, err
	}
	return c, nil
}

// open opens the connection on which MQTT is spoken.
func (b *Broker) open(ctx context.Context, t target) (net.Conn, error) {
	if b.Dial == nil {
		return nil, fmt.Errorf("%w: nothing given to dial with", hemtjanst.ErrBroker)
	}
	conf := b.TLS
	if conf == nil {
		conf = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if conf.ServerName == "" {
		conf = conf.Clone()
		conf.ServerName = t.host
	}
	if t.ws {
		return b.openWebSocket(ctx, t, conf)
	}
	raw, err := b.Dial(ctx, "tcp", t.address)
	if err != nil || !t.secure {
		return raw, err
	}
	c := tls.Client(raw, conf)
	if err := c.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, err
	}
	return c, nil
}

func (b *Broker) openWebSocket(ctx context.Context, t target, conf *tls.Config) (net.Conn, error) {
	var raw net.Conn
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		var err error
		if raw, err = b.Dial(ctx, network, addr); err != nil {
			return nil, err
		}
		return belowWebSocket{raw}, nil
	}
	d := websocket.Dialer{NetDialContext: dial, TLSClientConfig: conf, Subprotocols: []string{"mqtt"}}
	u := *t.url
	u.User = nil // that is for MQTT, not for HTTP
	c, resp, err := d.DialContext(ctx, u.String(), http.Header{})
	if resp != nil {
		_ = resp.Body.Close() // gorilla has read what is of interest
	}
	if err != nil {
		if resp != nil {
			return nil, fmt.Errorf("%w: HTTP %s", err, resp.Status)
		}
		return nil, err
	}
	c.SetReadLimit(maxFrame)
	return &wsConn{Conn: c, raw: raw}, nil
}
