package api

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/lanfolk/lanfolk/internal/access"
)

// caller is who sent a request.
type caller struct {
	via   string // "socket", "token", "session", "sign-in"
	addr  string // "host:port" of a TCP connection
	name  string // the token's
	uid   int    // the peer's, on a socket
	pid   int
	known bool // uid and pid are
	who   access.Who
	// session is what a cookie named at a hub.
	session access.Session
	// again asks once more who it is; nil where that never changes.
	again func(ctx context.Context) (access.Who, error)
}

// connection is what is known of a request's connection.
type connection struct {
	socket   bool // a unix socket
	uid, pid int
	known    bool
	// streams ends when the server shuts down: what runs without an end of its
	// own watches it.
	streams context.Context
}

type contextKey int

const (
	connectionKey contextKey = iota
	callerKey
	requestKey
)

func connectionOf(ctx context.Context) connection {
	c, _ := ctx.Value(connectionKey).(connection)
	return c
}

func callerOf(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey).(caller)
	return c
}

// guard lets through what may come in, and sets what every answer carries.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn := connectionOf(r.Context())
		setHeaders(w.Header())
		if !conn.socket && !s.hostAllowed(r) {
			problem(w, http.StatusMisdirectedRequest, "the Host header names another host than this one; see allowed_hosts")
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, bodyLimit(r))
		if public(r) {
			if !conn.socket && !sameOrigin(r) {
				problem(w, http.StatusForbidden, "the request comes from another web page")
				return
			}
			who := caller{via: "sign-in", addr: r.RemoteAddr}
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey, who)))
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		who, refused := s.admit(w, r, conn)
		if refused != nil {
			if refused.status == http.StatusUnauthorized {
				w.Header().Set("WWW-Authenticate", `Bearer realm="lanfolk"`)
			}
			refused.write(w)
			return
		}
		ctx := context.WithValue(r.Context(), callerKey, who)
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// bodyLimit is how long a request's body may be, in bytes.
func bodyLimit(r *http.Request) int64 {
	if r.URL.Path == prefix+"/commands" {
		return maxCommandBody
	}
	return maxBody
}

// admit says who the caller is, or how he is sent away.
func (s *Server) admit(w http.ResponseWriter, r *http.Request, conn connection) (caller, *refusal) {
	if s.o.Access != nil {
		return s.recognise(r, conn)
	}
	c, status, detail := s.admitToNode(w, r, conn)
	if status != 0 {
		return caller{}, &refusal{status: status, detail: detail}
	}
	c.who = anybody(c)
	return c, nil
}

// admitToNode is admit of a node, which knows no people.
func (s *Server) admitToNode(w http.ResponseWriter, r *http.Request, conn connection) (who caller, status int, detail string) {
	if conn.socket {
		return caller{via: "socket", uid: conn.uid, pid: conn.pid, known: conn.known}, 0, ""
	}
	if !sameOrigin(r) {
		return caller{}, http.StatusForbidden, "the request comes from another web page"
	}
	if token, ok := bearer(r); ok {
		name, ok := s.tokens.Name(token)
		if !ok {
			return caller{}, http.StatusUnauthorized, "the API token is not known here"
		}
		return caller{via: "token", name: name, addr: r.RemoteAddr}, 0, ""
	}
	cookie, err := r.Cookie(cookieName(r.Host))
	if err != nil {
		return caller{}, http.StatusUnauthorized, "sign in, or send an API token"
	}
	now := time.Now()
	expires, ok := s.sessions.check(cookie.Value, now)
	if !ok {
		return caller{}, http.StatusUnauthorized, "the session has ended: sign in again"
	}
	if expires.Sub(now) < sessionLifetime-sessionRenewal {
		http.SetCookie(w, sessionCookie(r, first(s.sessions.create(now)), now.Add(sessionLifetime)))
	}
	return caller{via: "session", addr: r.RemoteAddr}, 0, ""
}

func first[A, B any](a A, _ B) A { return a }

// public says whether a request needs nobody to be signed in: the page's own
// files, which hold nothing secret, what signs in, and the API's description.
func public(r *http.Request) bool {
	switch {
	case r.URL.Path == prefix+"/session":
		return r.Method == http.MethodPost || r.Method == http.MethodDelete
	case strings.HasPrefix(r.URL.Path, prefix+"/openapi"):
		return true
	}
	return !strings.HasPrefix(r.URL.Path, "/api/") && r.URL.Path != "/metrics"
}

// setHeaders sets what every answer carries. The page loads nothing from
// elsewhere, runs no inline script or style, and stands in no frame.
func setHeaders(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "+
		"manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
}

// hostAllowed says whether the Host header names this host: localhost, the
// address that the request came in on, or what the config allows: a name, or an
// address that a router translates into this host's. Any
// other name may be one that a stranger's DNS lets point here. The port makes
// no difference: a tunnel may change it.
func (s *Server) hostAllowed(r *http.Request) bool {
	host := strings.ToLower(strings.TrimSuffix(hostname(r.Host), "."))
	if host == "localhost" {
		return true
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.IsLoopback() || addr.WithZone("") == localAddr(r) || s.hosts[host]
	}
	return s.hosts[host]
}

func localAddr(r *http.Request) netip.Addr {
	a, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return a.AddrPort().Addr().Unmap().WithZone("")
}

// hostname is a Host header without its port and brackets.
func hostname(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		return h
	}
	return strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
}

// sameOrigin says whether a request comes from our own page or from no page at
// all. A browser says where a request comes from in Sec-Fetch-Site, in all
// that it sends to localhost and by TLS, and in Origin, in all that could
// change something. Another port of this host is another origin, though the
// cookie goes there, too.
func sameOrigin(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none":
	default:
		// A link from another page may open the page itself.
		return r.Header.Get("Sec-Fetch-Mode") == "navigate" && public(r) && r.Method == http.MethodGet
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, r.Host)
}

func bearer(r *http.Request) (string, bool) {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return "", false
	}
	return strings.TrimSpace(token), true
}
