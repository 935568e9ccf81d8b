package api

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/access"
	"github.com/lanfolk/lanfolk/internal/api/token"
	"github.com/lanfolk/lanfolk/internal/api/web"
	"github.com/lanfolk/lanfolk/internal/find"
)

// prefix is where the API lies.
const prefix = "/api/v1"

const (
	maxBody    = 64 << 10 // bytes of a request's body
	maxHeaders = 32 << 10 // bytes
	// maxConns bounds the connections of one listener.
	maxConns = 1024
	// maxStreams bounds the event streams and searches that run at once.
	maxStreams = 128
	// maxFleetStreams is the same of a hub, where who waits for a result has one.
	maxFleetStreams = 512
	// writeTimeout bounds one answer, and one write of a stream: a client that
	// takes nothing for so long is cut off.
	writeTimeout = 30 * time.Second
	// heartbeat is how often a quiet stream says that it lives.
	heartbeat = 15 * time.Second
	// shutdownTimeout is how long running requests may go on after the end.
	shutdownTimeout = 5 * time.Second
)

// Inventory is what is known of the network: a *lanfolk.Registry. What it
// hands out is never changed again.
type Inventory interface {
	Devices(f lanfolk.Filter) []*lanfolk.Device
	Services(f lanfolk.Filter) []*lanfolk.Service
	Device(ref string) (*lanfolk.Device, error)
	Explain(ref string) (*lanfolk.Device, []lanfolk.Evidence, error)
	Reasons(ref string) ([]lanfolk.Conclusion, error)
	// Watch's channel is closed after ctx has ended.
	Watch(ctx context.Context, f lanfolk.Filter) <-chan lanfolk.Event
	Editor
}

// Editor keeps what a person says. A method returns when the word is durable.
type Editor interface {
	SetNames(ctx context.Context, ref string, names ...string) (*lanfolk.Device, error)
	SetTags(ctx context.Context, ref string, tags ...string) (*lanfolk.Device, error)
	Separate(ctx context.Context, ref string, id lanfolk.Identifier) (*lanfolk.Device, error)
	Rejoin(ctx context.Context, ref string, id lanfolk.Identifier) (*lanfolk.Device, error)
}

// Finder asks the network now: a find.Finder.
type Finder interface {
	Find(ctx context.Context, r find.Request, emit func(find.Answer)) error
}

// DNSSD asks by DNS-SD and mDNS alone: a source.DNSSD. Errors that match those of
// package find, or lanfolk.ErrInvalid for a wrong question, have a status of
// their own.
type DNSSD interface {
	// Browse ends without an error when ctx does.
	Browse(ctx context.Context, r find.BrowseRequest) iter.Seq2[find.Instance, error]
	Resolve(ctx context.Context, name, serviceType string, timeout time.Duration) ([]find.Instance, error)
	// Reconfirm takes up to twelve seconds.
	Reconfirm(ctx context.Context, name, serviceType string) ([]find.Instance, error)
	Lookup(ctx context.Context, host string, timeout time.Duration) ([]find.HostAddress, error)
}

// Options say what a Server serves. Only Inventory is needed; what is left out
// answers 501 (Not Implemented).
type Options struct {
	Inventory    Inventory
	Fingerprints Fingerprints
	Finder       Finder
	DNSSD        DNSSD
	NMOS         NMOS
	Zones        Zones
	// Fleet is what a hub has of gateways; nil: this is a node.
	Fleet *Fleet
	// Selections returns those that the configuration asks for.
	Selections func() []find.KeptSelection
	// Status returns what `lanfolk status` shows, encoded as it is.
	Status func() any
	// StatusType is a zero value of what Status returns: the OpenAPI document
	// describes it.
	StatusType any
	// Metrics answers /metrics, to those who are signed in.
	Metrics http.Handler
	// Healthy returns what is wrong, nil if nothing is: /healthz.
	Healthy func() error
	Version string

	// Access knows people and what they may do: a hub's. nil is a node, where
	// whoever may call may do everything.
	Access *access.Desk

	// AllowedHosts are names by which browsers may call this host beside
	// localhost and its addresses: "nas.example.com".
	AllowedHosts []string
	// Tokens may call over TCP.
	Tokens token.List
	// SessionKey signs the cookies of the page, 32 random bytes. The same key
	// after a restart keeps browsers signed in; nil takes a new one.
	SessionKey []byte
	Log        *slog.Logger
}

// Server serves the API and the page. Make it with New.
type Server struct {
	o        Options
	log      *slog.Logger
	tokens   token.List
	hosts    map[string]bool
	signIns  signIns
	sessions sessions
	streams  places
	roster   *roster // nil at a node
	handler  http.Handler
	api      huma.API
}

// New makes a server. It serves nothing until Serve is called.
func New(o Options) (*Server, error) {
	if o.Inventory == nil {
		return nil, errors.New("api: no inventory")
	}
	switch len(o.SessionKey) {
	case 0:
		o.SessionKey = make([]byte, 32)
		rand.Read(o.SessionKey) // never fails
	case 32:
	default:
		return nil, fmt.Errorf("api: the session key has %d bytes; want 32", len(o.SessionKey))
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		o: o, log: o.Log, tokens: o.Tokens,
		hosts:    make(map[string]bool),
		sessions: sessions{key: o.SessionKey},
		streams:  places{most: maxStreams},
	}
	if o.Fleet != nil {
		s.roster = newRoster(o.Fleet.Gateways)
		s.streams.most = maxFleetStreams
	}
	for _, h := range o.AllowedHosts {
		s.hosts[strings.ToLower(strings.TrimSuffix(h, "."))] = true
	}
	page, err := web.Handler()
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	s.api = humago.NewWithPrefix(mux, prefix, s.config())
	s.api.UseMiddleware(s.authorise)
	s.routes()
	strictLists(s.api.OpenAPI())
	mux.HandleFunc("GET /healthz", s.healthz)
	if o.Metrics != nil {
		mux.Handle("GET /metrics", o.Metrics)
	}
	mux.HandleFunc("/api/", func(w http.ResponseWriter, r *http.Request) {
		problem(w, http.StatusNotFound, "there is nothing at this address; "+prefix+"/openapi.json says what there is")
	})
	mux.Handle("/", page)
	s.handler = s.guard(mux)
	return s, nil
}

// routes lists what the API answers.
func (s *Server) routes() {
	s.deviceRoutes()
	s.serviceRoutes()
	s.eventRoutes()
	s.fingerprintRoutes()
	s.findRoutes()
	s.dnssdRoutes()
	s.nmosRoutes()
	s.zoneRoutes()
	s.statusRoutes()
	s.sessionRoutes()
	s.userRoutes()
	s.tokenRoutes()
	s.registrarRoutes()
	s.auditRoutes()
	s.gatewayRoutes()
	s.gatewayChangeRoutes()
	s.commandRoutes()
}

// Serve answers on ln until ctx ends, then ends streams at once, lets other
// requests finish for a few seconds, and returns nil. It closes ln. Several
// may run at once.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	streams, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	socket := ln.Addr().Network() == "unix"
	open := &conns{}
	hs := &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    maxHeaders,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			conn := connection{socket: socket, streams: streams}
			if socket {
				conn.uid, conn.pid, conn.known = peerOf(c)
			}
			return context.WithValue(ctx, connectionKey, conn)
		},
		ConnState: open.state,
	}
	hs.RegisterOnShutdown(open.closeFresh)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-ctx.Done():
		case <-streams.Done(): // the listener failed
		}
		stop()
		limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		if err := hs.Shutdown(limit); err != nil {
			hs.Close()
		}
	}()
	err := hs.Serve(ln)
	stop()
	<-ended
	if ctx.Err() != nil && errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("api: serve %s: %w", ln.Addr(), err)
}

// conns counts a listener's connections and holds the ones that have not asked
// for anything yet: browsers open some in advance, and net/http would wait five
// seconds for them at the end.
type conns struct {
	mu    sync.Mutex
	open  int
	fresh map[net.Conn]bool
}

// state follows a connection, and closes a new one when there are too many. (A
// listener that counts would hide from net/http that a connection is TLS.)
func (c *conns) state(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.fresh, conn)
	switch state {
	case http.StateNew:
		if c.open++; c.open > maxConns {
			conn.Close()
			return
		}
		if c.fresh == nil {
			c.fresh = make(map[net.Conn]bool)
		}
		c.fresh[conn] = true
	case http.StateClosed, http.StateHijacked:
		c.open--
	}
}

func (c *conns) closeFresh() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.fresh {
		conn.Close()
	}
}

// Handler answers as Serve does, for callers over TCP.
func (s *Server) Handler() http.Handler { return s.handler }

// SignInPath makes a sign-in token and returns the path that a browser opens
// to use it, "/signin#TOKEN". It works once and for 15 minutes.
func (s *Server) SignInPath() string {
	token, _ := s.signIns.create(time.Now())
	return signInPath(token)
}

func signInPath(token string) string { return "/signin#" + token }

// stream takes a place among the streams and returns a context that also ends
// when the server does. The caller calls done.
func (s *Server) stream(ctx context.Context) (_ context.Context, done func(), err error) {
	leave, err := s.streams.take(callerOf(ctx))
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	unwatch := func() bool { return true }
	if streams := connectionOf(ctx).streams; streams != nil {
		unwatch = context.AfterFunc(streams, cancel)
	}
	if c := callerOf(ctx); c.again != nil {
		go s.recheck(ctx, cancel, c)
	}
	return ctx, func() {
		unwatch()
		cancel()
		leave()
	}, nil
}

// audit logs that somebody changed something.
func (s *Server) audit(ctx context.Context, what string, args ...any) {
	who := callerOf(ctx)
	args = append(args, "via", who.via)
	if who.addr != "" {
		args = append(args, "addr", who.addr)
	}
	if who.name != "" {
		args = append(args, "token", who.name)
	}
	if who.known {
		args = append(args, "uid", who.uid, "pid", who.pid)
	}
	s.log.InfoContext(ctx, what, args...)
}

func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	if s.o.Healthy != nil {
		if err := s.o.Healthy(); err != nil {
			problem(w, http.StatusServiceUnavailable, "a part of the node fails: see lanfolk status")
			return
		}
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	// An error means that the client has gone.
	_, _ = w.Write([]byte("ok\n"))
}
