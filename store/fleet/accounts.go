package fleet

import (
	"context"
	"time"
)

// Role is what a user may do everywhere.
type Role string

// The roles, each of which may do what those before it may.
const (
	Viewer   Role = "viewer"   // reads
	Operator Role = "operator" // runs what only reads
	Admin    Role = "admin"    // the rest
)

// A User is a person or a program that has an account.
type User struct {
	Name    string
	Role    Role
	Created time.Time
	By      string // who made the account
}

// A SignIn is a session of a user at the hub's page or API.
type SignIn struct {
	User    User
	CSRF    string // what a form must bring along
	Created time.Time
	Expires time.Time
}

// An APIToken stands for a user in programs. Its secret isn't kept, only its hash.
type APIToken struct {
	ID      string
	User    string
	Name    string // what it is for
	Created time.Time
	Expires time.Time // zero: never
	Used    time.Time // last, to the minute; zero: never
}

// A Grant lets a user do more at some gateways.
type Grant struct {
	ID       string
	User     string
	Verb     string            // exec, get or capture
	Selector map[string]string // labels that the gateway has; empty is every gateway
	By       string
	Created  time.Time
}

// Accounts keeps who may sign in and what more they may do. There is no default
// account. All of its methods may be called at once.
type Accounts interface {
	// CreateUser makes an account; ErrExists. An empty password makes one that can
	// use API tokens only.
	CreateUser(ctx context.Context, u User, password string) error
	// SetPassword and SetRole change one; ErrUnknown. A new password ends all of
	// the user's sign-ins. The last admin stays one: ErrLastAdmin.
	SetPassword(ctx context.Context, name, password string) error
	SetRole(ctx context.Context, name string, role Role) error
	// RemoveUser drops an account with its sign-ins, API tokens and grants;
	// ErrUnknown, ErrLastAdmin.
	RemoveUser(ctx context.Context, name string) error
	// Users returns all by name.
	Users(ctx context.Context) ([]User, error)
	// User returns one; ErrUnknown.
	User(ctx context.Context, name string) (User, error)
	// CheckPassword returns the user whose password it is, else ErrPassword. It
	// takes as long for a name that there isn't.
	CheckPassword(ctx context.Context, name, password string) (User, error)

	// SignIn begins a session and returns the secret for the browser.
	SignIn(ctx context.Context, name string, now, expires time.Time) (secret string, s SignIn, err error)
	// SignedIn returns the session of a secret; ErrUnknown, ErrExpired.
	SignedIn(ctx context.Context, secret string, now time.Time) (SignIn, error)
	// SignOut ends it.
	SignOut(ctx context.Context, secret string) error

	// CreateAPIToken makes a token for t.User and returns its secret, which isn't
	// shown again; t.ID is made here.
	CreateAPIToken(ctx context.Context, t APIToken) (secret string, made APIToken, err error)
	// CheckAPIToken returns whose token it is; ErrUnknown, ErrExpired.
	CheckAPIToken(ctx context.Context, secret string, now time.Time) (User, APIToken, error)
	// APITokens returns a user's, or everybody's for "".
	APITokens(ctx context.Context, user string) ([]APIToken, error)
	RevokeAPIToken(ctx context.Context, id string) error

	// Grant keeps a grant, whose ID is made here.
	Grant(ctx context.Context, g Grant) (Grant, error)
	// Grants returns a user's, or everybody's for "".
	Grants(ctx context.Context, user string) ([]Grant, error)
	RemoveGrant(ctx context.Context, id string) error

	// Forget drops sign-ins that have expired.
	Forget(ctx context.Context, now time.Time) error
}
