package reverse

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/lanfolk/lanfolk/reverse/reversepb"
)

// An outstanding is the command to which the next answer on a connection belongs
// that doesn't say what it answers. While there is one, no other command goes
// to a foreign client on that connection.
type outstanding struct {
	session *session
	id      string
	timeout time.Duration
	timer   *time.Timer
	busy    int // answers that are being received
}

// defaultTimeout is for commands to foreign clients that name none.
const defaultTimeout = time.Minute

// Send sends a command to a gateway and returns when it is on its way: whether it
// arrived only an answer tells. It returns an error that is ErrOffline if the
// gateway isn't listening here, and that is ErrUnsent, too, if nothing of the command
// went out. A gateway that doesn't know lanfolk.v1 has one
// command at a time: Send waits for the answer to the one before.
func (s *Server) Send(ctx context.Context, gateway string, cmd Command) error {
	if err := CheckID(cmd.ID); err != nil {
		return err
	}
	if _, err := Split(cmd.Line); err != nil {
		return err
	}
	s.mu.Lock()
	ss := s.sessions[gateway]
	s.mu.Unlock()
	if ss == nil {
		return unsent{fmt.Errorf("%w: %s", ErrOffline, gateway)}
	}
	if !ss.Native {
		if err := s.occupy(ctx, ss, cmd); err != nil {
			return unsent{err}
		}
	}
	sent := make(chan error, 1)
	o := order{&reversepb.CommandReply{Command: cmd.Line, Id: cmd.ID}, sent}
	select {
	case ss.commands <- o:
	case <-ss.done:
		ss.conn.vacate(cmd.ID)
		return unsent{offline(ss)}
	case <-ctx.Done():
		ss.conn.vacate(cmd.ID)
		return unsent{fmt.Errorf("reverse: send to %s: %w", gateway, context.Cause(ctx))}
	}
	s.count.Commands.Add(1)
	// From here on it may have arrived.
	select {
	case err := <-sent:
		if err != nil {
			return fmt.Errorf("%w: %s: %w", ErrOffline, gateway, err)
		}
		return nil
	case <-ss.done:
		select {
		case err := <-sent:
			if err == nil {
				return nil
			}
		default:
		}
		return offline(ss)
	case <-ctx.Done():
		return fmt.Errorf("reverse: send to %s: %w", gateway, context.Cause(ctx))
	}
}

// unsent is an error of Send before anything went out.
type unsent struct{ error }

func (u unsent) Unwrap() error        { return u.error }
func (u unsent) Is(target error) bool { return target == ErrUnsent }

func offline(ss *session) error {
	return fmt.Errorf("%w: %s: %w", ErrOffline, ss.Gateway, ss.why)
}

// occupy waits for the slot of the session's connection and takes it for cmd.
func (s *Server) occupy(ctx context.Context, ss *session, cmd Command) error {
	c := ss.conn
	select {
	case c.slot <- struct{}{}:
	case <-ss.done:
		return offline(ss)
	case <-ctx.Done():
		return fmt.Errorf("reverse: send to %s: %w", ss.Gateway, context.Cause(ctx))
	}
	o := &outstanding{session: ss, id: cmd.ID, timeout: cmd.Timeout}
	if o.timeout <= 0 {
		o.timeout = defaultTimeout
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	o.timer = time.AfterFunc(o.timeout, func() { s.overdue(c, o) })
	c.outstanding = o
	return nil
}

// vacate frees the slot if the command has it.
func (c *connection) vacate(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if o := c.outstanding; o != nil && o.id == id && !c.closing {
		o.timer.Stop()
		c.outstanding = nil
		<-c.slot
	}
}

// overdue ends a connection on which an answer didn't come in time. Nothing but
// the connection's end makes sure that the answer, if it comes late, isn't taken
// for the next command's.
func (s *Server) overdue(c *connection, o *outstanding) {
	c.mu.Lock()
	late := c.outstanding == o && o.busy == 0 && !c.closing
	c.mu.Unlock()
	if !late {
		return
	}
	s.count.Overdue.Add(1)
	s.log().Warn("no answer in time: the connection ends", slog.String("gateway", o.session.Gateway),
		slog.String("command", o.id), slog.Duration("dur", o.timeout))
	s.mu.Lock()
	if len(s.stale) >= maxStale {
		clear(s.stale) // a stranger's many names; what is lost is a precaution
	}
	if s.stale == nil {
		s.stale = map[string]uint64{}
	}
	s.stale[o.session.Gateway] = s.connections.Load()
	s.mu.Unlock()
	o.session.end(ErrOverdue)
	c.closeSoon()
}

// maxStale bounds the gateways of which the server remembers that an answer is
// overdue.
const maxStale = 4096

// Abandon gives up the command that is outstanding at a gateway that doesn't know
// lanfolk.v1, as if its time were over. Others are told by Control.Follow.
func (s *Server) Abandon(gateway, command string) {
	s.mu.Lock()
	ss := s.sessions[gateway]
	s.mu.Unlock()
	if ss == nil || ss.Native {
		return
	}
	ss.conn.mu.Lock()
	o := ss.conn.outstanding
	ss.conn.mu.Unlock()
	if o != nil && o.session == ss && o.id == command {
		s.overdue(ss.conn, o)
	}
}

// answering returns the command that an answer on c belongs to, which doesn't
// say so itself, and keeps it from becoming overdue until answered is called.
// The gateway is who sent it, if that is known.
func (s *Server) answering(c *connection, gateway string) (*connection, *outstanding, error) {
	if gateway != "" {
		s.mu.Lock()
		ss, stale := s.sessions[gateway], s.stale[gateway]
		s.mu.Unlock()
		if ss != nil && ss.conn != c {
			if c.number <= stale {
				c.closeSoon()
				return nil, nil, fmt.Errorf("%w: it comes on a connection from before an earlier answer was overdue", errNothing)
			}
			c = ss.conn
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.outstanding
	if o == nil || c.closing || gateway != "" && o.session.Gateway != gateway {
		return nil, nil, errNothing
	}
	o.busy++
	o.timer.Stop()
	return c, o, nil
}

// answered is called after each answering that returned no error. Over says that
// nothing more is wanted for the command.
func (s *Server) answered(c *connection, o *outstanding, over bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o.busy--
	switch {
	case c.outstanding != o || c.closing:
	case over:
		c.outstanding = nil
		<-c.slot
	case o.busy == 0:
		o.timer.Reset(o.timeout)
	}
}
