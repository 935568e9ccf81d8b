package reverse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/lanfolk/lanfolk/reverse/lanfolkpb"
)

// Bounds of what is received at once.
const (
	maxReceipts = 64               // results of a gateway that are open
	maxAhead    = 16               // chunks that may come before the one that is wanted
	aheadFor    = 10 * time.Second // how long they wait for it
)

// A receipt is a result while it comes. Its chunks are taken one at a time, in
// order; one that overtook others on its way waits.
type receipt struct {
	server  *Server
	peer    Peer
	command string

	// Guarded by server.mu.
	users int
	over  bool // nothing more to come: goes when nobody uses it

	turn chan struct{} // who has put something in may touch what follows

	result   Result
	assembly *Assembly
	whole    bool          // the last chunk was written, and not yet finished
	moved    chan struct{} // closed, and made anew, at each change
	faults   int           // chunks that could not be kept
	failed   error         // for good
}

// receipt returns the receipt of a command's result; release gives it back.
func (s *Server) receipt(p Peer, command string) (*receipt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := s.receipts[p.Gateway]
	r := of[command]
	switch {
	case r != nil:
	case len(of) >= maxReceipts:
		return nil, fmt.Errorf("%w: %d results of the gateway are on their way", ErrAway, len(of))
	default:
		r = &receipt{server: s, peer: p, command: command, turn: make(chan struct{}, 1), moved: make(chan struct{})}
		if s.receipts == nil {
			s.receipts = map[string]map[string]*receipt{}
		}
		if of == nil {
			of = map[string]*receipt{}
			s.receipts[p.Gateway] = of
		}
		of[command] = r
	}
	r.users++
	return r, nil
}

// release gives a receipt back. One that is over, or whose gateway is gone, is
// closed with its last user.
func (s *Server) release(r *receipt) {
	s.mu.Lock()
	ends := r.users == 1 && (r.over || s.sessions[r.peer.Gateway] == nil)
	if !ends {
		r.users--
	}
	s.mu.Unlock()
	if ends {
		s.shut(r)
	}
}

// forgetReceipts closes what a gateway that is gone left unfinished; it is opened
// anew when the gateway is back.
func (s *Server) forgetReceipts(gateway string) {
	var idle []*receipt
	s.mu.Lock()
	if s.sessions[gateway] == nil {
		for _, r := range s.receipts[gateway] {
			if r.users == 0 {
				r.users++
				idle = append(idle, r)
			}
		}
	}
	s.mu.Unlock()
	for _, r := range idle {
		s.shut(r)
	}
}

// shut closes the result of a receipt that the caller is a user of, and takes it
// off the list unless somebody came for it meanwhile; he opens it anew. So a
// result is never open twice.
func (s *Server) shut(r *receipt) {
	r.turn <- struct{}{}
	if r.result != nil {
		_ = r.result.Close()
		r.result = nil
	}
	r.unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	r.users--
	if r.users > 0 {
		return
	}
	of := s.receipts[r.peer.Gateway]
	delete(of, r.command)
	if len(of) == 0 {
		delete(s.receipts, r.peer.Gateway)
	}
}

// lock waits for the receipt's turn.
func (r *receipt) lock(ctx context.Context) error {
	select {
	case r.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (r *receipt) unlock() { <-r.turn }

// open opens the result, under the turn.
func (r *receipt) open(ctx context.Context) error {
	if r.failed != nil || r.result != nil {
		return r.failed
	}
	r.whole = false
	result, err := r.server.Results.Open(ctx, r.peer, r.command)
	if err != nil {
		if final(err) {
			r.end(err)
		}
		return err
	}
	a, err := resume(result)
	if err != nil {
		_ = result.Close()
		return fmt.Errorf("%w: %w", ErrAway, err)
	}
	r.result, r.assembly = result, a
	return nil
}

func resume(result Result) (*Assembly, error) {
	next, content, err := result.Held()
	if err != nil {
		return nil, err
	}
	if content == nil {
		content = io.NopCloser(eof{})
	}
	a, err := ResumeAssembly(result.Limit(), next, content)
	return a, errors.Join(err, content.Close())
}

type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.EOF }

// end makes err the receipt's last word.
func (r *receipt) end(err error) {
	r.failed = err
	r.server.mu.Lock()
	r.over = true
	r.server.mu.Unlock()
	r.stir()
}

// stir wakes the chunks that wait.
func (r *receipt) stir() {
	close(r.moved)
	r.moved = make(chan struct{})
}

// take takes one chunk, when it is its turn.
func (r *receipt) take(ctx context.Context, kind Type, m Meta, data []byte) error {
	if err := r.lock(ctx); err != nil {
		return err
	}
	defer r.unlock()
	if err := r.open(ctx); err != nil {
		return err
	}
	if err := r.await(ctx, m.Seq); err != nil {
		return err
	}
	m, err := r.assembly.seal(m, data) // for who keeps it
	if err == nil {
		err = r.assembly.Take(m, data, func(data []byte) error { return r.keep(ctx, kind, m, data) })
	}
	switch {
	case err == nil && r.assembly.Complete():
		r.end(ErrComplete) // for whoever sends some of it again
	case err == nil:
		r.stir()
	case final(err):
		r.result.Abort(err)
		r.end(err)
	default:
		r.faults++
		r.stir()
	}
	return err
}

// keep hands a chunk to the result. Whatever goes wrong there may be tried again,
// unless the result is too large.
func (r *receipt) keep(ctx context.Context, kind Type, m Meta, data []byte) error {
	if !r.whole {
		if err := r.result.Write(ctx, m, data); err != nil {
			return passing(err)
		}
		r.whole = m.Last
	}
	if m.Last {
		return passing(r.result.Finish(ctx, kind, m))
	}
	return nil
}

func passing(err error) error {
	if err == nil || errors.Is(err, ErrTooLarge) || errors.Is(err, ErrUnknown) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrAway, err)
}

// await lets the chunks before number seq go first. It gives the turn away
// meanwhile.
func (r *receipt) await(ctx context.Context, seq uint64) error {
	if r.assembly.Next() >= seq || seq-r.assembly.Next() > maxAhead {
		return nil // Take knows what to say
	}
	faults := r.faults
	late := time.NewTimer(aheadFor)
	defer late.Stop()
	for r.failed == nil && r.faults == faults && r.assembly.Next() < seq {
		moved := r.moved
		r.unlock()
		var err error
		select {
		case <-moved:
		case <-late.C:
			err = ErrGap
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		r.turn <- struct{}{} // whoever has it gives it back
		if err != nil {
			return err
		}
	}
	return r.failed
}

// progress says how far the result has come.
func (r *receipt) progress(ctx context.Context) (*lanfolkpb.ProgressReply, error) {
	if err := r.lock(ctx); err != nil {
		return nil, err
	}
	defer r.unlock()
	err := r.open(ctx)
	switch {
	case err == nil:
		return &lanfolkpb.ProgressReply{State: lanfolkpb.ProgressReply_OPEN, NextSeq: r.assembly.Next(), Offset: r.assembly.Size()}, nil
	case ctx.Err() != nil:
		return nil, err
	case errors.Is(err, ErrComplete):
		return &lanfolkpb.ProgressReply{State: lanfolkpb.ProgressReply_COMPLETE}, nil
	case !final(err):
		return &lanfolkpb.ProgressReply{State: lanfolkpb.ProgressReply_RETRY, Reason: err.Error()}, nil
	}
	return &lanfolkpb.ProgressReply{State: lanfolkpb.ProgressReply_REFUSED, Reason: err.Error()}, nil
}
