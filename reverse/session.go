package reverse

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lanfolk/lanfolk/reverse/reversepb"
)

// A session is a gateway's SubscribeCommand, from its beginning to its end.
type session struct {
	Session
	conn     *connection
	commands chan order
	once     sync.Once
	done     chan struct{} // closed when it shall end
	why      error         // why, once done is closed
}

// An order is a command on its way to the stream.
type order struct {
	reply *reversepb.CommandReply
	sent  chan<- error
}

// end makes the session end. A stream that nobody reads can keep it from that:
// then its connection is closed.
func (s *session) end(why error) {
	s.once.Do(func() {
		s.why = why
		close(s.done)
	})
}

// subscribe is reverse_access.Reverser's SubscribeCommand.
func (s *Server) subscribe(req *reversepb.CommandRequest, stream grpc.ServerStreamingServer[reversepb.CommandReply]) error {
	ss, err := s.begin(stream.Context(), req.GetId())
	if err != nil {
		return err
	}
	return s.finish(ss, ss.serve(stream, s.Listening))
}

// begin makes the gateway that calls one that listens.
func (s *Server) begin(ctx context.Context, id string) (*session, error) {
	p, c, err := s.who(ctx, id)
	if err != nil {
		return nil, err
	}
	if p.Gateway == "" {
		s.count.Identity.Add(1)
		return nil, status.Error(codes.InvalidArgument, "reverse: the id is empty")
	}
	epoch, err := s.Sessions.Begin(ctx, p)
	if err != nil {
		return nil, refusal(err)
	}
	ss := &session{
		Session: Session{Peer: p, Epoch: epoch, Since: time.Now()}, conn: c,
		commands: make(chan order), done: make(chan struct{}),
	}
	if why := s.enter(ss); why != nil {
		s.Sessions.End(ss.Session, why)
		return nil, refusal(why)
	}
	return ss, nil
}

// finish takes the session off, and returns what the gateway is told.
func (s *Server) finish(ss *session, why error) error {
	s.leave(ss)
	s.Sessions.End(ss.Session, why)
	return refusal(why)
}

// enter makes ss the gateway's session, unless a newer one is there.
func (s *Server) enter(ss *session) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.sessions[ss.Gateway]
	switch {
	case s.closed:
		return ErrClosed
	case old != nil && old.Epoch >= ss.Epoch:
		return ErrReplaced
	case !ss.conn.add(ss):
		return errClosing
	}
	if s.sessions == nil {
		s.sessions = map[string]*session{}
	}
	s.sessions[ss.Gateway] = ss
	if old != nil {
		s.count.Replaced.Add(1)
		s.log().Warn("gateway connected again: the earlier connection ends", slog.String("gateway", ss.Gateway),
			slog.Any("addr", ss.Address), slog.Any("earlier", old.Address))
		old.end(ErrReplaced)
		go old.see()
	}
	return nil
}

// leave takes ss off, unless a newer session has its place.
func (s *Server) leave(ss *session) {
	ss.end(ErrOffline) // whoever hands it a command now learns that it is gone
	ss.conn.remove(ss)
	s.mu.Lock()
	last := s.sessions[ss.Gateway] == ss
	if last {
		delete(s.sessions, ss.Gateway)
	}
	s.mu.Unlock()
	if last {
		s.forgetReceipts(ss.Gateway)
	}
}

// see closes the connection of a session that doesn't end when told to: its
// gateway reads nothing.
func (s *session) see() {
	time.Sleep(farewell)
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	for _, still := range s.conn.sessions {
		if still == s {
			_ = s.conn.raw.Close()
		}
	}
}

// serve sends what is handed to it until the session ends, and returns why.
func (s *session) serve(stream grpc.ServerStreamingServer[reversepb.CommandReply], listening func(Session)) error {
	ctx := stream.Context()
	// The gateway learns that it is listed before there is a command.
	if err := stream.SendHeader(nil); err != nil {
		return err
	}
	if listening != nil {
		listening(s.Session)
	}
	for {
		select {
		case <-s.done:
			return s.why
		case <-ctx.Done():
			return ended(ctx)
		case o := <-s.commands:
			err := stream.Send(o.reply)
			o.sent <- err
			if err != nil {
				return ended(ctx)
			}
		}
	}
}

var errLost = errors.New("reverse: the connection broke")

func ended(ctx context.Context) error {
	return fmt.Errorf("%w: %w", errLost, context.Cause(ctx))
}

var errClosing = errors.New("reverse: this connection is being closed: connect anew")

// refusal returns an error as it goes to the gateway. One that package status
// made stays as it is.
func refusal(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	code := codes.Unavailable // it may come again
	switch {
	case errors.Is(err, ErrReplaced):
		code = codes.Aborted
	case errors.Is(err, ErrOverdue):
		code = codes.DeadlineExceeded
	case errors.Is(err, ErrUnknown):
		code = codes.NotFound
	case errors.Is(err, context.Canceled):
		code = codes.Canceled
	}
	return status.Error(code, err.Error())
}
