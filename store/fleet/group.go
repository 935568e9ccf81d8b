package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/lanfolk/lanfolk/store"
)

// A group commits what several callers ask for at the same time in one
// transaction: ten thousand gateways that answer at once wait for a few dozen syncs of
// the disk and not for ten thousand.
type group struct {
	db *store.DB

	mu      sync.Mutex
	waiting []*step
	busy    bool // somebody commits
}

// A step is what one caller asks for. Its run may be called more than once.
type step struct {
	doing string
	run   func(ctx context.Context, tx *txn) error
	err   error
	done  chan struct{}
}

// A txn is the transaction of a group's steps.
type txn struct {
	*store.Tx
	tail *tail // of the audit; nil until something is to be put on record
}

// maxSteps bounds a transaction, and so how long others wait for it.
const maxSteps = 512

// do runs a step in a transaction, perhaps with others, and returns when it is
// committed. An error of this package that run returns, having changed nothing, is
// the caller's alone; undo makes one of a run that did change something. With any
// other error nothing of the transaction stays.
func (g *group) do(ctx context.Context, doing string, run func(ctx context.Context, tx *txn) error) error {
	s := &step{doing: doing, run: run, done: make(chan struct{})}
	g.mu.Lock()
	if err := ctx.Err(); err != nil {
		g.mu.Unlock()
		return fmt.Errorf("fleet: %s: %w", doing, err)
	}
	g.waiting = append(g.waiting, s)
	if !g.busy {
		g.busy = true
		go g.commitAll(context.WithoutCancel(ctx))
	}
	g.mu.Unlock()
	select {
	case <-s.done:
	case <-ctx.Done():
		if g.withdraw(s) {
			return fmt.Errorf("fleet: %s: %w", doing, ctx.Err())
		}
		<-s.done // under way: what came of it is known soon
	}
	if isRule(s.err) {
		return fmt.Errorf("fleet: %s: %w", doing, s.err)
	}
	return s.err
}

// withdraw takes back a step that nobody has begun.
func (g *group) withdraw(s *step) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.Index(g.waiting, s)
	if i < 0 {
		return false
	}
	g.waiting = slices.Delete(g.waiting, i, i+1)
	return true
}

// commitAll commits until nobody waits.
func (g *group) commitAll(ctx context.Context) {
	for {
		g.mu.Lock()
		n := min(len(g.waiting), maxSteps)
		steps := slices.Clone(g.waiting[:n])
		g.waiting = slices.Delete(g.waiting, 0, n)
		g.busy = n > 0
		g.mu.Unlock()
		if n == 0 {
			return
		}
		g.commit(ctx, steps)
		for _, s := range steps {
			close(s.done)
		}
	}
}

// commit commits steps at once or, if one of them spoils it for the others, each alone.
func (g *group) commit(ctx context.Context, steps []*step) {
	err := g.db.Write(ctx, steps[0].doing, func(ctx context.Context, all *store.Tx) error {
		tx := &txn{Tx: all}
		for _, s := range steps {
			if s.err = s.run(ctx, tx); s.err != nil && !isRule(s.err) {
				return s.err
			}
		}
		return tx.recordAll(ctx)
	})
	if err == nil {
		return
	}
	if len(steps) > 1 && !isState(err) {
		for _, s := range steps {
			g.commit(ctx, []*step{s})
		}
		return
	}
	for _, s := range steps {
		s.err = err
		if u, ok := errors.AsType[undo](err); ok {
			s.err = u.rule
		}
	}
}

// isState says whether an error tells of the database and not of what was asked of it.
func isState(err error) bool {
	for _, kind := range []error{store.ErrFull, store.ErrLocked, store.ErrDamaged, store.ErrReadOnly, store.ErrRefused, store.ErrAway, store.ErrTaken, store.ErrSuspended} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// undo is an error of this package after which the transaction must not be
// committed.
type undo struct{ rule error }

func (u undo) Error() string { return u.rule.Error() }

// isRule says whether err is one of this package's, which undo hides.
func isRule(err error) bool {
	for _, rule := range []error{ErrUnknown, ErrExists, ErrConflict, ErrState, ErrFenced, ErrGap, ErrEpoch, ErrExpired, ErrUsed, ErrQuota, ErrMismatch, ErrPassword, ErrLastAdmin, ErrInvalid} {
		if errors.Is(err, rule) {
			return true
		}
	}
	return false
}
