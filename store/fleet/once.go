package fleet

import (
	"context"
	"time"
)

// A Token lets one gateway enrol. Its secret isn't kept, only its hash.
type Token struct {
	ID      string
	Hash    [32]byte // of the secret; see HashSecret
	Name    string   // what the gateway will be called
	By      string   // who made it
	Created time.Time
	Expires time.Time
	// Gateway is who may use it: for one that has a record already, to join again.
	// "" is a new one.
	Gateway string
	// Used is when a key used it, Key which one, and Answer what it got. Zero
	// before.
	Used   time.Time
	Key    [32]byte
	Answer []byte
}

// A Revocation ends what a gateway's certificates are good for.
type Revocation struct {
	Subject string // a gateway's id
	When    time.Time
	By      string
	Why     string
	// Position rises with each revocation.
	Position uint64
}

// Once keeps what may happen once only. All of its methods may be called at once.
type Once interface {
	// AddToken keeps a token that nobody used. ErrExists.
	AddToken(ctx context.Context, t Token) error
	// Tokens returns all, the newest first.
	Tokens(ctx context.Context) ([]Token, error)
	// Token returns the one with a secret, whether used or not. ErrUnknown;
	// ErrExpired.
	Token(ctx context.Context, hash [32]byte, now time.Time) (Token, error)
	// UseToken binds a token to a key and keeps the answer, if nobody used it yet;
	// if the same key did, it returns the answer of that time instead: so a lost
	// answer strands nobody. ErrUsed for another key; ErrUnknown; ErrExpired.
	UseToken(ctx context.Context, hash, key [32]byte, answer []byte, now time.Time) (Token, error)
	// RemoveToken drops one, and ForgetTokens those that expired before a moment.
	RemoveToken(ctx context.Context, id string) error
	ForgetTokens(ctx context.Context, before time.Time) (int, error)

	// Revoke revokes a subject; one that is revoked stays as it was.
	Revoke(ctx context.Context, r Revocation) error
	// Revoked says whether a subject is.
	Revoked(ctx context.Context, subject string) (bool, error)
	// Revocations returns those above a position, in its order; all for 0.
	Revocations(ctx context.Context, after uint64) ([]Revocation, error)
}
