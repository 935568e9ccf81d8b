package enrol

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc"
)

// When a Renewer asks. It looks at the clock at least once in a while, since that of
// a machine without a battery jumps when it hears of the time.
const (
	spread      = time.Hour // gateways that enrolled together renew apart, by so much at most
	firstPause  = time.Minute
	longPause   = 6 * time.Hour
	lookAgain   = time.Hour
	renewWithin = time.Minute
)

// A Renewer keeps an Identity's certificate new. The fields are set before Run is
// called.
type Renewer struct {
	Identity *Identity
	// Conn returns the connection to the hub, when there is one: reverse.Client's
	// Conn as a rule.
	Conn func(ctx context.Context) (grpc.ClientConnInterface, error)
	// Renewed is called when there is a new certificate. The connection still shows
	// the old one, and the hub ends it when that expires: it should be made anew.
	Renewed func()
	Log     *slog.Logger   // nil is silent
	Chance  func() float64 // in [0, 1); nil is math/rand's
}

// Run renews the certificate each time two thirds of its life are over, until ctx is
// done; then it returns nil. What fails is tried again, for as long as it takes.
func (r *Renewer) Run(ctx context.Context) error {
	plan := plan{chance: r.chance()}
	for {
		s := r.Identity.Status()
		if wait := plan.wait(time.Now(), s); wait > 0 {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(wait):
			}
			continue
		}
		conn, err := r.Conn(ctx)
		if err == nil && plan.wait(time.Now(), r.Identity.Status()) > 0 {
			continue // there was no connection until it joined again: it has a new one
		}
		if err == nil {
			err = r.renew(ctx, conn)
		}
		if ctx.Err() != nil {
			return nil
		}
		plan.done(time.Now(), err == nil, r.chance())
		if err != nil {
			r.log().Warn("the hub's certificate for this gateway can't be renewed", slog.Any("err", err),
				slog.Time("expires", s.Expires), slog.Int("n", plan.failed))
			continue
		}
		r.log().Info("the hub renewed this gateway's certificate", slog.Time("expires", r.Identity.Status().Expires))
		if r.Renewed != nil {
			r.Renewed()
		}
	}
}

func (r *Renewer) renew(ctx context.Context, hub grpc.ClientConnInterface) error {
	ctx, cancel := context.WithTimeout(ctx, renewWithin)
	defer cancel()
	return r.Identity.Renew(ctx, hub)
}

func (r *Renewer) chance() float64 {
	if r.Chance != nil {
		return r.Chance()
	}
	return rand.Float64()
}

func (r *Renewer) log() *slog.Logger {
	if r.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return r.Log
}

// A plan says when to renew. It is told the time.
type plan struct {
	chance float64   // for the spread, and for pauses
	failed int       // attempts, one after another
	pause  time.Time // not before this, after one that failed
}

// wait returns how long to wait before looking again; 0 is to renew now.
func (p *plan) wait(now time.Time, s Status) time.Duration {
	if s.Gateway == "" {
		return lookAgain
	}
	apart := min(spread, s.Expires.Sub(s.RenewAfter)/4)
	due := s.RenewAfter.Add(time.Duration(p.chance * float64(apart)))
	// A pause that lies far ahead is of a clock that was set back since.
	if p.pause.After(due) && p.pause.Sub(now) <= longPause {
		due = p.pause
	}
	return max(0, min(due.Sub(now), lookAgain))
}

// done is told how an attempt ended.
func (p *plan) done(now time.Time, ok bool, chance float64) {
	p.chance = chance
	if ok {
		p.failed, p.pause = 0, time.Time{}
		return
	}
	pause := min(firstPause<<min(p.failed, 16), longPause)
	p.pause = now.Add(pause/2 + time.Duration(chance*float64(pause/2)))
	p.failed++
}
