package access

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lanfolk/lanfolk/store/fleet"
)

// What may be wrong with a call, for errors.Is, besides ErrDenied and package fleet's
// errors.
var (
	// ErrUnrecognised: whoever asks isn't who he says, or not any more.
	ErrUnrecognised = errors.New("not signed in")
	// ErrTooMany: too many tries, or too many of a kind.
	ErrTooMany = errors.New("too many")
	// ErrInUse: it can't go while it is used.
	ErrInUse = errors.New("in use")
	// ErrOff: this hub doesn't do that.
	ErrOff = errors.New("not at this hub")
)

// Registrar makes what lets a gateway join; an adapter of ca.Registrar's Invite, which
// audits itself.
type Registrar interface {
	Invite(ctx context.Context, r JoinRequest) (join string, t fleet.Token, err error)
}

// A JoinRequest is what a join token is made of.
type JoinRequest struct {
	Name    string        // what the gateway will be called; "" leaves it open
	Gateway string        // the id of one with a record, that is to join again; "" is whoever comes
	TTL     time.Duration // 0 is the registrar's choice
	// NoAddress leaves out where the hub is: the gateway looks for it by DNS-SD.
	NoAddress bool
	By        string // who asks; set by the Desk
}

// Revocations ends what a gateway's certificates are good for; *ca.Revocations, which
// audits itself.
type Revocations interface {
	Revoke(ctx context.Context, gateway, by, why string) error
}

// A Desk recognises people, and looks after them and what they say of gateways. Each
// method that changes something asks whether the caller may, and writes the intent to
// the audit first: what can't be audited isn't done. The fields are set before use; all
// methods may be called at once.
type Desk struct {
	Accounts    fleet.Accounts
	Audit       fleet.Audit
	Gateways    fleet.Sessions
	Tokens      fleet.Once
	Registrar   Registrar          // nil: this hub enrols nobody
	Revocations Revocations        // nil: this hub revokes nobody
	SealKey     ed25519.PrivateKey // signs the audit's head; nil: nothing does
	// Changed hears of a gateway after its record was changed, Forgotten after it was
	// dropped. nil: nobody does.
	Changed   func(ctx context.Context, g fleet.Standing)
	Forgotten func(ctx context.Context, id string)

	Log *slog.Logger     // nil is silent
	Now func() time.Time // nil is time.Now

	guesses  guesses
	refused  refused
	labels   sync.Mutex  // held while labels are read and written
	accounts atomic.Bool // there was an account
}

// do does what e says for who: it goes into the audit first, and how it ended after.
// act returns the id of what it made, "" for e's.
func (d *Desk) do(ctx context.Context, who Who, e fleet.Entry, act func() (ref string, err error)) error {
	e.Time, e.Who = d.now(), who.Name
	if from := who.from(); from != "" {
		e.Detail += " (" + from + ")"
	}
	if _, err := d.Audit.Append(ctx, e); err != nil {
		return fmt.Errorf("access: %s isn't done, as the audit can't be written: %w", e.What, err)
	}
	ref, err := act()
	if ref != "" {
		e.Ref = ref
	}
	e.Time, e.Outcome = d.now(), "ok"
	if err != nil {
		e.Outcome = err.Error()
	}
	// It is done: whoever asked may have gone meanwhile.
	if _, failed := d.Audit.Append(context.WithoutCancel(ctx), e); failed != nil {
		d.log().Error("how something ended isn't in the audit", slog.String("what", e.What), slog.String("ref", e.Ref), slog.Any("err", failed))
	}
	if err != nil {
		return fmt.Errorf("access: %s: %w", e.What, err)
	}
	return nil
}

// manage is do for admins only.
func (d *Desk) manage(ctx context.Context, who Who, e fleet.Entry, act func() (ref string, err error)) error {
	if err := who.MayManage(); err != nil {
		return fmt.Errorf("access: %s: %w", e.What, err)
	}
	return d.do(ctx, who, e, act)
}

func (d *Desk) now() time.Time {
	if d.Now != nil {
		return d.Now()
	}
	return time.Now()
}

func (d *Desk) log() *slog.Logger {
	if d.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return d.Log
}

// invalid says what is wrong with what somebody typed.
func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", fleet.ErrInvalid, fmt.Sprintf(format, args...))
}
