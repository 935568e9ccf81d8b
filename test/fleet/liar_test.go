package fleet

import (
	"context"
	"crypto/tls"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"

	"github.com/lanfolk/lanfolk/internal/enrol"
	"github.com/lanfolk/lanfolk/reverse"
	"github.com/lanfolk/lanfolk/reverse/lanfolkpb"
	"github.com/lanfolk/lanfolk/reverse/reversepb"
	"github.com/lanfolk/lanfolk/test/lab"
)

// A liar is an enrolled gateway that says what a test wants, by generated code alone.
type liar struct {
	t *testing.T
	reversepb.ReverserClient
	lanfolkpb.ControlClient
	cc *grpc.ClientConn
	id string
}

// credentials returns what a gateway shows to its hub.
func (g *gate) credentials(t *testing.T) (config *tls.Config, id string) {
	t.Helper()
	who, err := enrol.Open(g.identityFile())
	if err != nil {
		t.Fatal(err)
	}
	if config, err = who.TLS(); err != nil {
		t.Fatal(err)
	}
	return config, who.Status().Gateway
}

// dial connects from a host to an address, with TLS.
func dial(t *testing.T, h *lab.Host, address string, config *tls.Config) *grpc.ClientConn {
	t.Helper()
	cc, err := grpc.NewClient("passthrough:///hub", grpc.WithTransportCredentials(credentials.NewTLS(config)),
		grpc.WithContextDialer(func(context.Context, string) (c net.Conn, err error) {
			err = h.Do(func() error { c, err = net.DialTimeout("tcp", address, patience); return err })
			return c, err
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close() })
	return cc
}

// liar enrols a gateway of that name and connects as it.
func (s *site) liar(name string) *liar {
	s.t.Helper()
	g := s.join(s.Host(name).Join(s.net), name, "")
	config, id := g.credentials(s.t)
	return s.lie(g.host, config, id)
}

func (s *site) lie(h *lab.Host, config *tls.Config, id string) *liar {
	s.t.Helper()
	cc := dial(s.t, h, s.address, config)
	return &liar{t: s.t, ReverserClient: reversepb.NewReverserClient(cc), ControlClient: lanfolkpb.NewControlClient(cc), cc: cc, id: id}
}

// listen says hello and subscribes.
func (l *liar) listen() grpc.ServerStreamingClient[reversepb.CommandReply] {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), patience)
	defer cancel()
	if _, err := l.Hello(ctx, &lanfolkpb.HelloRequest{Version: "liar"}); err != nil {
		l.t.Fatal(err)
	}
	stream, err := l.SubscribeCommand(l.t.Context(), &reversepb.CommandRequest{Id: l.id})
	if err != nil {
		l.t.Fatal(err)
	}
	return stream
}

// send sends a resource, and returns its status and why it wasn't accepted.
func (l *liar) send(kind reverse.Type, meta string, data []byte) (status uint32, why string, err error) {
	ctx, cancel := context.WithTimeout(l.t.Context(), patience)
	defer cancel()
	var trailer metadata.MD
	reply, err := l.SendResource(ctx, &reversepb.ResourceRequest{Type: uint32(kind), Meta: meta, Data: data}, grpc.Trailer(&trailer))
	if v := trailer.Get(reverse.ReasonKey); len(v) > 0 {
		why = v[0]
	}
	return reply.GetStatus(), why, err
}
