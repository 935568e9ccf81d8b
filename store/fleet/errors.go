package fleet

import "errors"

// What may be wrong with a call, for errors.Is, besides package store's errors.
var (
	// ErrUnknown: there is no such gateway, command, blob, token, user ….
	ErrUnknown = errors.New("unknown")
	// ErrExists: there is one of that name or id already.
	ErrExists = errors.New("exists already")
	// ErrConflict: somebody else changed it meanwhile; read it again.
	ErrConflict = errors.New("changed meanwhile")
	// ErrState: a command never goes from its state to that one.
	ErrState = errors.New("no such change of state")
	// ErrFenced: another run of the hub, or a newer session, took over.
	ErrFenced = errors.New("another one took over")
	// ErrGap: a batch or chunk is missing before this one.
	ErrGap = errors.New("something before it is missing")
	// ErrEpoch: the feed's epoch is unknown here; it begins anew with a snapshot.
	ErrEpoch = errors.New("unknown epoch")
	// ErrExpired: its time is over.
	ErrExpired = errors.New("expired")
	// ErrUsed: the token belongs to another key.
	ErrUsed = errors.New("used already")
	// ErrQuota: there is no room left of what results may take.
	ErrQuota = errors.New("quota used up")
	// ErrMismatch: the content isn't what its length or hash say.
	ErrMismatch = errors.New("content doesn't match")
	// ErrPassword: there is no such user, or the password is another.
	ErrPassword = errors.New("wrong user or password")
	// ErrLastAdmin: without that user nobody would be admin.
	ErrLastAdmin = errors.New("the last admin")
	// ErrInvalid: an argument can't be kept.
	ErrInvalid = errors.New("invalid")
)
