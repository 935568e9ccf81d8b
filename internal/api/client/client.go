// Package client calls a node's API, over its unix socket or over HTTP.
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/find"
)

const prefix = "/api/v1"

// dialTimeout bounds the wait for a connection.
const dialTimeout = 5 * time.Second

// maxAnswer bounds what is read of an answer that is no stream, in bytes:
// 100,000 devices with ten services each take less.
const maxAnswer = 2 << 30

// Client calls one node or hub. Make it with Unix or HTTP.
type Client struct {
	http  *http.Client
	base  string // "http://host:port", without a last slash
	token string
	where string // for people
}

// Unix returns a client for the socket at path.
func Unix(path string) *Client {
	t := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "unix", path)
		},
		DisableCompression: true,
	}
	return &Client{http: httpClient(t), base: "http://lanfolk", where: path}
}

// HTTP returns a client for a node or hub at address, "https://nas:4747", that
// shows an API token. Over plain HTTP everyone on the way can read the token. roots
// vouch for its certificate; nil are those of the system.
func HTTP(address, token string, roots *x509.CertPool) (*Client, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("client: %q is no address of an API; want http://HOST:PORT or https://HOST:PORT", address)
	}
	t := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSHandshakeTimeout:    dialTimeout,
		TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		MaxResponseHeaderBytes: 64 << 10,
	}
	base := u.Scheme + "://" + u.Host + strings.TrimSuffix(u.Path, "/")
	return &Client{http: httpClient(t), base: base, token: strings.TrimSpace(token), where: base}, nil
}

// httpClient follows no redirects: the token is for this host alone.
func httpClient(t *http.Transport) *http.Client {
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Devices lists the devices that f chooses. Filter.Kind means nothing here.
func (c *Client) Devices(ctx context.Context, f lanfolk.Filter) ([]*lanfolk.Device, error) {
	var out []*lanfolk.Device
	return out, c.get(ctx, "/devices", filterQuery(f), &out)
}

// Services lists the services that f chooses.
func (c *Client) Services(ctx context.Context, f lanfolk.Filter) ([]*lanfolk.Service, error) {
	var out []*lanfolk.Service
	return out, c.get(ctx, "/services", filterQuery(f), &out)
}

// Device returns the device that ref names: an id, an alias, a name, a MAC or
// an IP address.
func (c *Client) Device(ctx context.Context, ref string) (*lanfolk.Device, error) {
	out := new(lanfolk.Device)
	return out, c.get(ctx, devicePath(ref), nil, out)
}

// Explanation is a device and every piece of evidence for it.
type Explanation struct {
	Device   *lanfolk.Device      `json:"device"`
	Evidence []lanfolk.Evidence   `json:"evidence"`
	Reasons  []lanfolk.Conclusion `json:"reasons"`
}

// Explain returns a device and why it is what it is.
func (c *Client) Explain(ctx context.Context, ref string) (Explanation, error) {
	var out Explanation
	return out, c.get(ctx, devicePath(ref)+"/evidence", nil, &out)
}

// SetNames sets what a person calls a device; no names takes them back.
func (c *Client) SetNames(ctx context.Context, ref string, names []string) (*lanfolk.Device, error) {
	return c.change(ctx, http.MethodPatch, devicePath(ref), map[string][]string{"names": notNil(names)})
}

// SetTags sets a device's tags; none takes them back.
func (c *Client) SetTags(ctx context.Context, ref string, tags []string) (*lanfolk.Device, error) {
	return c.change(ctx, http.MethodPatch, devicePath(ref), map[string][]string{"tags": notNil(tags)})
}

// Separate lets id join no sightings of the device any more.
func (c *Client) Separate(ctx context.Context, ref string, id lanfolk.Identifier) (*lanfolk.Device, error) {
	return c.change(ctx, http.MethodPost, devicePath(ref)+"/separate", id)
}

// Rejoin takes a separation back.
func (c *Client) Rejoin(ctx context.Context, ref string, id lanfolk.Identifier) (*lanfolk.Device, error) {
	return c.change(ctx, http.MethodPost, devicePath(ref)+"/rejoin", id)
}

// Resolve asks through the node where the instance of a service type is. It
// fails with ErrNoAnswer when nobody answered, with ErrNotFound when its owner
// said that there is none.
func (c *Client) Resolve(ctx context.Context, name, serviceType string, timeout time.Duration) ([]find.Instance, error) {
	var out []find.Instance
	q := url.Values{"name": {name}, "type": {serviceType}, "timeout": {timeout.String()}}
	return out, c.get(ctx, "/resolve", q, &out)
}

// Reconfirm tells the node that the instance of a service type didn't work, and
// returns what was confirmed, after up to twelve seconds. It fails as Resolve does.
func (c *Client) Reconfirm(ctx context.Context, name, serviceType string) ([]find.Instance, error) {
	var out []find.Instance
	return out, c.call(ctx, http.MethodPost, "/reconfirm", url.Values{"name": {name}, "type": {serviceType}}, nil, &out)
}

// Lookup asks through the node for a host's addresses, or for the name behind
// the address that host is. It fails as Resolve does.
func (c *Client) Lookup(ctx context.Context, host string, timeout time.Duration) ([]find.HostAddress, error) {
	var out []find.HostAddress
	q := url.Values{"host": {host}, "timeout": {timeout.String()}}
	return out, c.get(ctx, "/lookup", q, &out)
}

// Status reads the node's status into v, a pointer to a struct or to a
// json.RawMessage.
func (c *Client) Status(ctx context.Context, v any) error {
	return c.get(ctx, "/status", nil, v)
}

// SignIn makes a sign-in token for the page; only the unix socket may. path is
// what to open behind the page's address: it works once, until expires.
func (c *Client) SignIn(ctx context.Context) (path string, expires time.Time, err error) {
	var out struct {
		Path    string    `json:"path"`
		Expires time.Time `json:"expires"`
	}
	err = c.call(ctx, http.MethodPost, "/sign-ins", nil, nil, &out)
	return out.Path, out.Expires, err
}

// Zones lists the DNS-SD zones that the node publishes services in.
func (c *Client) Zones(ctx context.Context) ([]find.Zone, error) {
	var out []find.Zone
	return out, c.get(ctx, "/zones", nil, &out)
}

// ZoneFile writes a zone as a zone file, or with include the part of it that another
// one can include. It fails with ErrNotFound where there is no such zone.
func (c *Client) ZoneFile(ctx context.Context, domain string, include bool, w io.Writer) error {
	q := url.Values{}
	setFlag(q, "include", include)
	resp, err := c.send(ctx, http.MethodGet, "/zones/"+url.PathEscape(domain)+"/file", q, nil, "text/dns")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(w, io.LimitReader(resp.Body, maxAnswer)); err != nil {
		return fmt.Errorf("client: the answer of %s: %w", c.where, c.why(ctx, err))
	}
	return nil
}

func (c *Client) change(ctx context.Context, method, path string, body any) (*lanfolk.Device, error) {
	out := new(lanfolk.Device)
	return out, c.call(ctx, method, path, nil, body, out)
}

func (c *Client) get(ctx context.Context, path string, query url.Values, out any) error {
	return c.call(ctx, http.MethodGet, path, query, nil, out)
}

func (c *Client) call(ctx context.Context, method, path string, query url.Values, body, out any) error {
	_, err := c.callWithHeader(ctx, method, path, query, body, out)
	return err
}

// callWithHeader also returns the answer's header.
func (c *Client) callWithHeader(ctx context.Context, method, path string, query url.Values, body, out any) (http.Header, error) {
	resp, err := c.send(ctx, method, path, query, body, "application/json")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(out); err != nil {
		return nil, fmt.Errorf("client: the answer of %s: %w", c.where, c.why(ctx, err))
	}
	return resp.Header, nil
}

// send returns an answer of 2xx, or an error that says what went wrong.
func (c *Client) send(ctx context.Context, method, path string, query url.Values, body any, accept string) (*http.Response, error) {
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("client: %w", err)
		}
		r = bytes.NewReader(b)
	}
	address := c.base + prefix + path
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, address, r)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	req.Header.Set("Accept", accept)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.why(ctx, err)
	}
	if resp.StatusCode/100 != 2 {
		defer resp.Body.Close()
		return nil, problemOf(resp)
	}
	return resp, nil
}

func devicePath(ref string) string { return "/devices/" + url.PathEscape(ref) }

func filterQuery(f lanfolk.Filter) url.Values {
	v := url.Values{}
	set(v, "protocol", f.Protocol)
	set(v, "type", f.Type)
	set(v, "gateway", f.Gateway)
	set(v, "state", string(f.State))
	set(v, "q", f.Text)
	setTime(v, "since", f.Since)
	return v
}

func set(v url.Values, key, value string) {
	if value != "" {
		v.Set(key, value)
	}
}

func setFlag(v url.Values, key string, on bool) {
	if on {
		v.Set(key, "true")
	}
}

func setTime(v url.Values, key string, t time.Time) {
	if !t.IsZero() {
		v.Set(key, t.UTC().Format(time.RFC3339Nano))
	}
}

func notNil(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}
