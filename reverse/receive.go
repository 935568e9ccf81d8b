package reverse

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"unicode/utf8"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/lanfolk/lanfolk/reverse/reversepb"
)

// ReasonKey is the key of the trailer that tells people why a resource was not
// accepted. Programs ask Control.Progress.
const ReasonKey = "lanfolk-reason"

// errNothing refuses an answer to nothing.
var errNothing = errors.New("reverse: no command is outstanding here, and the meta doesn't say which one this answers")

// receive is reverse_access.Reverser's SendResource.
func (s *Server) receive(ctx context.Context, req *reversepb.ResourceRequest) (*reversepb.ResourceReply, error) {
	p, c, err := s.who(ctx, "")
	if err != nil {
		return nil, err
	}
	s.count.Chunks.Add(1)
	s.count.Bytes.Add(uint64(len(req.GetData())))
	if err := s.resource(ctx, p, c, req); err != nil {
		if ctx.Err() != nil {
			return nil, status.FromContextError(ctx.Err()).Err()
		}
		s.count.refused(err)
		s.log().Debug("resource refused", slog.String("gateway", p.Gateway), slog.Any("addr", p.Address), slog.Any("err", err))
		_ = grpc.SetTrailer(ctx, metadata.Pairs(ReasonKey, header(err.Error())))
		return &reversepb.ResourceReply{Status: Refused}, nil
	}
	return &reversepb.ResourceReply{Status: Accepted}, nil
}

// header makes text fit for a header: printable ASCII.
func header(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, text)
}

// resource takes a resource. An error means that it isn't accepted.
func (s *Server) resource(ctx context.Context, p Peer, c *connection, req *reversepb.ResourceRequest) error {
	kind := Type(req.GetType())
	if kind > TypeFingerprints {
		return fmt.Errorf("%w: %s", errType, kind)
	}
	m, err := ParseMeta(req.GetMeta())
	if err == nil && !p.Native && kind.Answers() && CheckID(m.ID) != nil {
		err = ErrForeign // JSON with an "id" of its own
	}
	switch {
	case errors.Is(err, ErrForeign) && kind.Answers() && !p.Native:
		return s.answer(ctx, c, p.Gateway, kind, req)
	case err != nil:
		return fmt.Errorf("%w: %w", errMeta, err)
	case !kind.Answers():
		return s.feed(ctx, p, c, kind, m, req.GetData())
	case m.Last && m.Status == "":
		return fmt.Errorf("%w: the last chunk has no status", errMeta)
	}
	if !p.Native {
		return s.labelled(ctx, p, c, kind, m, req.GetData())
	}
	if err := s.current(c, p.Gateway); err != nil {
		return err
	}
	_, err = s.chunk(ctx, p, kind, m, req.GetData())
	return err
}

// Why a resource isn't accepted, beside what Assembly and Results say.
var (
	errType = errors.New("reverse: no such type of resource")
	errMeta = errors.New("reverse: meta refused")
	errFeed = errors.New("reverse: this hub takes no such feed")
)

func (s *Server) feed(ctx context.Context, p Peer, c *connection, kind Type, m Meta, data []byte) error {
	if s.Feeds == nil || !p.Native {
		return fmt.Errorf("%w: %s", errFeed, kind)
	}
	if len(data) > MaxChunk {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrChunk, len(data), MaxChunk)
	}
	if err := s.current(c, p.Gateway); err != nil {
		return err
	}
	return s.Feeds.Take(ctx, p, kind, m, data)
}

// labelled takes a chunk of a client that doesn't know lanfolk.v1 but says in its
// meta what it answers.
func (s *Server) labelled(ctx context.Context, p Peer, c *connection, kind Type, m Meta, data []byte) error {
	at, o, err := s.answering(c, p.Gateway)
	if err == nil && o.id != m.ID {
		s.answered(at, o, false)
		o = nil
	}
	switch {
	case o != nil:
		p = o.session.Peer
	case p.Gateway == "":
		only := c.only()
		if only == nil {
			return errNothing
		}
		p = only.Peer
	}
	over, err := s.chunk(ctx, p, kind, m, data)
	if o != nil {
		s.answered(at, o, over)
	}
	return err
}

// answer takes what a foreign client sends, as the whole answer to the command
// that is outstanding.
func (s *Server) answer(ctx context.Context, c *connection, gateway string, kind Type, req *reversepb.ResourceRequest) error {
	c, o, err := s.answering(c, gateway)
	if err != nil {
		return err
	}
	over := false
	defer func() { s.answered(c, o, over) }()
	data := req.GetData()
	if len(data) > MaxForeign {
		over = true
		return fmt.Errorf("%w: %d bytes in one message, at most %d", ErrTooLarge, len(data), MaxForeign)
	}
	sum := sha256.Sum256(data)
	last := Meta{
		ID: o.id, Last: true, Status: StatusOK, SHA256: hex.EncodeToString(sum[:]), Total: uint64(len(data)),
	}
	if kind == TypeError {
		last.Status, last.Error = StatusError, clipTo(strings.ToValidUTF8(req.GetMeta(), "\uFFFD"), MaxError)
	}
	for len(data) > MaxChunk {
		if over, err = s.chunk(ctx, o.session.Peer, kind, Meta{ID: o.id, Seq: last.Seq}, data[:MaxChunk]); err != nil {
			return err
		}
		data = data[MaxChunk:]
		last.Seq++
	}
	over, err = s.chunk(ctx, o.session.Peer, kind, last, data)
	return err
}

// clipTo cuts text at a character's end.
func clipTo(text string, most int) string {
	if len(text) <= most {
		return text
	}
	for most > 0 && !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most]
}

// chunk puts one chunk where it belongs. Over says that the command wants no
// more.
func (s *Server) chunk(ctx context.Context, p Peer, kind Type, m Meta, data []byte) (over bool, err error) {
	r, err := s.receipt(p, m.ID)
	if err != nil {
		return false, err
	}
	defer s.release(r)
	err = r.take(ctx, kind, m, data)
	switch {
	case errors.Is(err, ErrComplete):
		return true, nil // again, since the reply was lost
	case err == nil && m.Last:
		s.count.Results.Add(1)
		return true, nil
	case err != nil && final(err):
		if !errors.Is(err, ErrUnknown) {
			s.log().Warn("result refused", slog.String("gateway", p.Gateway), slog.String("command", m.ID), slog.Any("err", err))
		}
		return true, err
	}
	return false, err
}

// final says whether it is of no use to send a result again after err.
func final(err error) bool {
	for _, passing := range []error{ErrGap, ErrChunk, ErrAway, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, passing) {
			return false
		}
	}
	return true
}
