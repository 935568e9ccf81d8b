package nmos

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	// DefaultTimeout is how long an API may take to answer.
	DefaultTimeout = 5 * time.Second
	// maxBody and maxHeader bound what is read of an answer, in bytes.
	maxBody   = 1 << 20
	maxHeader = 64 << 10
)

// Probe finds out whether an API works, as Client.Check wants to know it.
type Probe struct {
	// DialContext opens the connections; it is needed.
	DialContext DialFunc
	// TLS is for APIs with https and secure-mqtt, nil for the system's roots. The name to
	// verify is the selection's.
	TLS *tls.Config
	// Timeout is for a whole request, 0 for DefaultTimeout.
	Timeout time.Duration
}

// ErrServer says that the API answered that it can't serve: 5xx, but for 501,
// which IS-06 uses for query parameters that an API doesn't know.
var ErrServer = errors.New("the API can't serve")

// Check asks for the API's base path, or connects to a broker of MQTT. An error says
// that the API doesn't work: it didn't answer in time, refused, failed TLS, or
// answered 5xx but for 501. Any other answer says that it works: what it means
// is not for a client to judge that has just found it.
func (p Probe) Check(ctx context.Context, s Selection) error {
	if s.Advert == nil {
		return errors.New("nmos: probe: nothing is selected")
	}
	ctx, cancel := p.limit(ctx)
	defer cancel()
	if s.Kind.Path == "" {
		return explain(ctx, p.connect(ctx, s))
	}
	target := s.Base()
	if s.Kind.HasSelector {
		target = strings.TrimSuffix(target, "/")
	}
	_, err := p.send(ctx, s, http.MethodGet, target, nil, nil)
	return explain(ctx, err)
}

// limit is for one request.
func (p Probe) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, p.timeout(), fmt.Errorf("no answer in %v: %w", p.timeout(), context.DeadlineExceeded))
}

func (p Probe) timeout() time.Duration {
	if p.Timeout <= 0 {
		return DefaultTimeout
	}
	return p.Timeout
}

// unable says whether an HTTP status means that an API can't serve: 5xx,
// but for 501.
func unable(status int) bool {
	return status >= 500 && status <= 599 && status != http.StatusNotImplemented
}

// statusLine never has text in it that came from the server.
func statusLine(code int) string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", code, http.StatusText(code)))
}

// connect connects to a broker, and does its TLS handshake.
func (p Probe) connect(ctx context.Context, s Selection) error {
	conn, err := race(ctx, p.DialContext, "tcp", s.endpoints())
	if err != nil {
		return err
	}
	defer conn.Close()
	if s.Proto != "secure-mqtt" {
		return nil
	}
	return tls.Client(conn, p.config(s)).HandshakeContext(ctx)
}

// Client returns an HTTP client for one selection. It connects to the addresses
// that DNS-SD told, verifies the certificate against the host name without its
// last dot, follows no redirects, uses no proxy, and gives up after Timeout. Its
// user calls CloseIdleConnections when the selection is another.
func (p Probe) Client(s Selection) *http.Client {
	return &http.Client{
		Timeout: p.timeout(),
		Transport: &http.Transport{
			DialContext:            s.Dial(p.DialContext),
			TLSClientConfig:        p.config(s),
			TLSHandshakeTimeout:    p.timeout(),
			IdleConnTimeout:        time.Minute,
			MaxIdleConns:           4,
			MaxResponseHeaderBytes: maxHeader,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// config is the TLS configuration for a selection.
func (p Probe) config(s Selection) *tls.Config {
	c := &tls.Config{}
	if p.TLS != nil {
		c = p.TLS.Clone()
	}
	c.MinVersion = max(c.MinVersion, tls.VersionTLS12) // BCP-003-01
	c.ServerName = s.TLSName()
	return c
}

// explain makes an error of a request one that a person reads beside the API's
// name: without the URL, and with the time-out in words.
func explain(ctx context.Context, err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	var timeout net.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return context.Cause(ctx)
	case errors.As(err, &timeout) && timeout.Timeout() && !errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no answer: %w", err)
	}
	return err
}
