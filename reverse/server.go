package reverse

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"

	"github.com/lanfolk/lanfolk/reverse/lanfolkpb"
	"github.com/lanfolk/lanfolk/reverse/reversepb"
)

// A Server is the hub's side: gateways listen to it, it sends them commands and
// takes their answers. It keeps nothing but what is going on; what lasts belongs
// to what it is handed. The fields are set before GRPC is called.
type Server struct {
	// Authenticate returns the id of the gateway that a certificate belongs to,
	// which the TLS handshake has verified. It is asked at each call, so that
	// one that was revoked is refused from then on; Drop ends what goes on.
	Authenticate func(ctx context.Context, cert *x509.Certificate) (gateway string, err error)
	Sessions     Sessions
	Control      Control
	Results      Results
	Feeds        Feeds // nil refuses them
	// Listening is called when a gateway listens, so that commands reach it. It must
	// not block. Nil is nobody.
	Listening func(Session)
	Log       *slog.Logger // nil is silent

	count       counters
	connections atomic.Uint64

	mu       sync.Mutex
	closed   bool
	sessions map[string]*session            // by gateway
	receipts map[string]map[string]*receipt // by gateway and command
	stale    map[string]uint64              // up to which connection a gateway's answers may belong to an earlier command
}

// GRPC returns a server with the services registered, to be served on a
// listener. With a config it speaks TLS, 1.3 at least; the config says which
// client certificates are good, and may let clients without one in, who then can
// call nothing of what this package registers, and are sent away after a minute. Without one it is the bare
// reverse_access.Reverser for clients that know nothing of lanfolk, whose word is
// taken for who they are: their gateways are insecure/NAME.
func (s *Server) GRPC(config *tls.Config, options ...grpc.ServerOption) *grpc.Server {
	most := MaxChunk + maxEnvelope
	if config == nil {
		most = MaxForeign + maxEnvelope
	} else {
		config = config.Clone()
		config.MinVersion = max(config.MinVersion, tls.VersionTLS13)
		config.NextProtos = []string{"h2"}
	}
	all := append(serverOptions(most), grpc.Creds(handshake{config, &s.connections, &s.count.Handshake, &gate{}}), grpc.StatsHandler(oversize{&s.count.Oversize}))
	g := grpc.NewServer(append(all, options...)...)
	reversepb.RegisterReverserServer(g, reverser{s: s})
	if config != nil {
		lanfolkpb.RegisterControlServer(g, control{s: s})
	}
	return g
}

// reverser and control keep the methods of the services out of Server's.
type reverser struct {
	reversepb.UnimplementedReverserServer
	s *Server
}

func (r reverser) SubscribeCommand(req *reversepb.CommandRequest, stream grpc.ServerStreamingServer[reversepb.CommandReply]) error {
	return r.s.subscribe(req, stream)
}

func (r reverser) SendResource(ctx context.Context, req *reversepb.ResourceRequest) (*reversepb.ResourceReply, error) {
	return r.s.receive(ctx, req)
}

// Online returns the gateways that listen, in order of their ids.
func (s *Server) Online() []Session {
	s.mu.Lock()
	all := make([]Session, 0, len(s.sessions))
	for _, ss := range s.sessions {
		all = append(all, ss.Session)
	}
	s.mu.Unlock()
	slices.SortFunc(all, func(a, b Session) int { return strings.Compare(a.Gateway, b.Gateway) })
	return all
}

// Session returns the gateway's session, if it listens.
func (s *Server) Session(gateway string) (Session, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ss := s.sessions[gateway]; ss != nil {
		return ss.Session, true
	}
	return Session{}, false
}

// Drop ends a gateway's session and its connection: because it was revoked, as a
// rule. The gateway is told why; an error of package status goes to it as it is.
func (s *Server) Drop(gateway string, why error) {
	s.mu.Lock()
	ss := s.sessions[gateway]
	s.mu.Unlock()
	if ss != nil {
		ss.end(why)
		ss.conn.closeSoon()
	}
}

// Close ends all sessions and refuses new ones. The gateways try again.
func (s *Server) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, ss := range s.sessions {
		ss.end(ErrClosed)
	}
}

func (s *Server) log() *slog.Logger {
	if s.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.Log
}

// current says whether c is the connection on which the gateway listens.
func (s *Server) current(c *connection, gateway string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch ss := s.sessions[gateway]; {
	case ss == nil:
		return fmt.Errorf("%w: %s", ErrOffline, gateway)
	case ss.Native && ss.conn != c:
		return ErrReplaced
	}
	return nil
}
