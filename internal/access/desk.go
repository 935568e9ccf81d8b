package access

import (
	"context"
	"crypto/ed25519"
	"errors"
	"log/slog"
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
	By      string        // who asks
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
	Log         *slog.Logger       // nil is silent
	Now         func() time.Time   // nil is time.Now
}

// A Session is a user that signed in with name and password.
type Session struct {
	Who     Who
	Secret  string // for the browser's cookie; set by SignIn only
	CSRF    string // what each request that changes something brings along
	Expires time.Time
}
