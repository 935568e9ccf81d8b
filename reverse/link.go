package reverse

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/lanfolk/lanfolk/reverse/lanfolkpb"
	"github.com/lanfolk/lanfolk/reverse/reversepb"
)

// A link is one connection to the hub.
type link struct {
	cc       *grpc.ClientConn
	reverser reversepb.ReverserClient
	control  lanfolkpb.ControlClient
	foreign  bool
	done     chan struct{} // closed when it is of no more use
}

// seldom is how often a hub is pinged that isn't ours: more than once in five
// minutes counts as abuse by default (gRPC, Client-side Keepalive).
const seldom = 6 * time.Minute

// open makes a link; the first call on it dials.
func (c *Client) open(foreign bool) (*link, error) {
	creds := insecure.NewCredentials()
	if c.TLS != nil {
		creds = credentials.NewTLS(c.TLS)
	}
	var dialled atomic.Bool
	options := append(dialOptions(),
		grpc.WithTransportCredentials(creds),
		// grpc would dial again by itself; when, is for Run to say.
		grpc.WithConnectParams(grpc.ConnectParams{
			MinConnectTimeout: connectWithin, Backoff: backoff.Config{BaseDelay: time.Hour, Multiplier: 1, MaxDelay: time.Hour},
		}),
		grpc.WithChainUnaryInterceptor(c.nameUnary), grpc.WithChainStreamInterceptor(c.nameStream),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			if dialled.Swap(true) {
				return nil, errLost
			}
			return c.Dial(ctx)
		}))
	if foreign {
		options = append(options, grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: seldom, Timeout: pongWithin}))
	}
	name := "hub"
	if c.TLS != nil && c.TLS.ServerName != "" {
		name = c.TLS.ServerName
	}
	cc, err := grpc.NewClient("passthrough:///"+name, options...)
	if err != nil {
		return nil, fmt.Errorf("reverse: %w", err)
	}
	return &link{
		cc: cc, foreign: foreign, done: make(chan struct{}),
		reverser: reversepb.NewReverserClient(cc), control: lanfolkpb.NewControlClient(cc),
	}, nil
}

// nameUnary adds who calls.
func (c *Client) nameUnary(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	return invoke(c.named(ctx), method, req, reply, cc, opts...)
}

// nameStream adds who calls.
func (c *Client) nameStream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, stream grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return stream(c.named(ctx), desc, cc, method, opts...)
}

func (c *Client) named(ctx context.Context) context.Context {
	if c.ID == "" {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, ClientID, c.ID)
}

// hello says Hello, and returns whether the hub knows reverse_access only.
func (l *link) hello(ctx context.Context, h Handler) (foreign bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, connectWithin)
	defer cancel()
	w, err := l.control.Hello(ctx, h.Hello())
	switch {
	case status.Code(err) == codes.Unimplemented:
		return true, nil
	case err != nil:
		return false, err
	case !l.foreign:
		h.Welcome(w)
	}
	return false, nil
}

// subscribe begins to listen. A hub of ours answers at once that it has listed
// the gateway; others say nothing before their first command.
func (l *link) subscribe(ctx context.Context, id string) (grpc.ServerStreamingClient[reversepb.CommandReply], error) {
	stream, err := l.reverser.SubscribeCommand(ctx, &reversepb.CommandRequest{Id: id})
	if err != nil || l.foreign {
		return stream, err
	}
	late := time.AfterFunc(connectWithin, func() { _ = l.cc.Close() })
	defer late.Stop()
	if md, err := stream.Header(); err != nil || md == nil {
		_, err = stream.Recv() // says why there is no header
		return nil, err
	}
	return stream, nil
}

// put sends one resource. A refusal is an error that is errNotAccepted.
func (l *link) put(ctx context.Context, req *reversepb.ResourceRequest) error {
	var trailer metadata.MD
	reply, err := l.reverser.SendResource(ctx, req, grpc.Trailer(&trailer))
	switch {
	case err != nil:
		return err
	case reply.GetStatus() == Accepted:
		return nil
	}
	if reasons := trailer.Get(ReasonKey); len(reasons) > 0 {
		return fmt.Errorf("%w: %s", errNotAccepted, reasons[0])
	}
	return errNotAccepted
}

// errNotAccepted is for a resource that wasn't accepted, now or ever.
var errNotAccepted = errors.New("reverse: the hub did not accept it")
