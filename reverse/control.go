package reverse

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/lanfolk/lanfolk/reverse/lanfolkpb"
)

// control serves lanfolk.v1.Control, on connections with TLS only.
type control struct {
	lanfolkpb.UnimplementedControlServer
	s *Server
}

// Hello makes the connection a native one.
func (c control) Hello(ctx context.Context, req *lanfolkpb.HelloRequest) (*lanfolkpb.Welcome, error) {
	p, conn, err := c.s.who(ctx, "")
	if err != nil {
		return nil, err
	}
	p.Native = true
	w, err := c.s.Control.Hello(ctx, p, req)
	if err != nil {
		return nil, refusal(err)
	}
	conn.native.Store(true)
	w = proto.CloneOf(w)
	w.Now = time.Now().Unix()
	return w, nil
}

// native returns the caller, who must have said Hello and be listening on the
// connection.
func (c control) native(ctx context.Context) (Peer, error) {
	p, conn, err := c.s.who(ctx, "")
	if err != nil {
		return Peer{}, err
	}
	if !p.Native {
		return Peer{}, status.Error(codes.FailedPrecondition, "reverse: Hello comes first")
	}
	if err := c.s.current(conn, p.Gateway); err != nil {
		return Peer{}, refusal(err)
	}
	return p, nil
}

func (c control) Follow(req *lanfolkpb.FollowRequest, stream grpc.ServerStreamingServer[lanfolkpb.Terms]) error {
	ctx := stream.Context()
	p, err := c.native(ctx)
	if err != nil {
		return err
	}
	if err := CheckID(req.GetCommandId()); err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	return refusal(c.s.Control.Follow(ctx, p, req.GetCommandId(), stream.Send))
}

func (c control) Progress(ctx context.Context, req *lanfolkpb.ProgressRequest) (*lanfolkpb.ProgressReply, error) {
	p, err := c.native(ctx)
	if err != nil {
		return nil, err
	}
	kind := Type(req.GetType())
	switch {
	case kind > TypeFingerprints:
		return nil, status.Errorf(codes.InvalidArgument, "reverse: no such type of resource: %s", kind)
	case !kind.Answers():
		return c.feed(ctx, p, kind, req.GetId())
	}
	if err := CheckID(req.GetId()); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	r, err := c.s.receipt(p, req.GetId())
	if err != nil {
		return &lanfolkpb.ProgressReply{State: lanfolkpb.ProgressReply_RETRY, Reason: err.Error()}, nil
	}
	defer c.s.release(r)
	reply, err := r.progress(ctx)
	return reply, refusal(err)
}

func (c control) feed(ctx context.Context, p Peer, kind Type, epoch string) (*lanfolkpb.ProgressReply, error) {
	if c.s.Feeds == nil {
		return &lanfolkpb.ProgressReply{
			State: lanfolkpb.ProgressReply_REFUSED, Reason: fmt.Sprintf("%v: %s", errFeed, kind),
		}, nil
	}
	if epoch == "" || len(epoch) > maxID || !printable(epoch) {
		return nil, status.Errorf(codes.InvalidArgument, "reverse: the epoch %q: want 1 to %d printable ASCII characters", clip(epoch), maxID)
	}
	reply, err := c.s.Feeds.Progress(ctx, p, kind, epoch)
	return reply, refusal(err)
}
