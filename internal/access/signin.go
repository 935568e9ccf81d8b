package access

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/lanfolk/lanfolk/store/fleet"
)

// sessionLifetime is how long a sign-in lasts, whatever happens in it.
const sessionLifetime = 12 * time.Hour

// A Session is a user that signed in with name and password.
type Session struct {
	Who     Who
	Secret  string // for the browser's cookie; set by SignIn only
	CSRF    string // what each request that changes something brings along
	Expires time.Time
}

// uidPrefix begins the names of those who open the hub's socket; no user's name has a
// colon.
const uidPrefix = "uid:"

// Socket returns who a process is that opened the hub's unix socket. known says whether
// its uid is.
func Socket(uid int, known bool) Who {
	name := uidPrefix + "unknown"
	if known {
		name = uidPrefix + strconv.Itoa(uid)
	}
	return Who{Name: name, Role: fleet.Admin, Via: ViaSocket}
}

// HasAccounts says whether there is an account, and so whether anybody can sign in.
func (d *Desk) HasAccounts(ctx context.Context) (bool, error) {
	if d.accounts.Load() { // the last admin's stays
		return true, nil
	}
	users, err := d.Accounts.Users(ctx)
	if len(users) > 0 {
		d.accounts.Store(true)
	}
	return len(users) > 0, err
}

// SignIn begins a session. addr is where the request came from. ErrUnrecognised doesn't
// say whether there is such a user; ErrTooMany is a TooSoon.
func (d *Desk) SignIn(ctx context.Context, name, password, addr string) (Session, error) {
	name = strings.ToLower(name) // phones write a capital; names have none
	u, err := d.checkPassword(ctx, name, password, addr)
	if err == nil {
		err = d.guesses.signIn(u.Name, d.now())
	}
	if err != nil {
		if errors.Is(err, ErrUnrecognised) || errors.Is(err, ErrTooMany) {
			d.refuse(ctx, "sign-in", "name "+quoted(name)+" from "+addr, err)
		}
		return Session{}, fmt.Errorf("access: sign in: %w", err)
	}
	var secret string
	var s fleet.SignIn
	err = d.do(ctx, Who{Name: u.Name}, fleet.Entry{What: "sign-in", Ref: u.Name, Detail: "from " + addr}, func() (_ string, err error) {
		now := d.now()
		secret, s, err = d.Accounts.SignIn(ctx, u.Name, now, now.Add(sessionLifetime))
		return "", err
	})
	if err != nil {
		return Session{}, unrecognised(err) // removed meanwhile
	}
	session, err := d.session(ctx, s, addr)
	session.Secret = secret
	return session, err
}

// checkPassword is Accounts.CheckPassword for somebody who may guess.
func (d *Desk) checkPassword(ctx context.Context, name, password, addr string) (fleet.User, error) {
	end, err := d.guesses.begin(name, addr, d.now())
	if err != nil {
		return fleet.User{}, err
	}
	u, err := d.Accounts.CheckPassword(ctx, name, password)
	end(err == nil)
	return u, unrecognised(err)
}

// refuse puts somebody who wasn't recognised into the audit, as far as that has room for
// strangers.
func (d *Desk) refuse(ctx context.Context, what, detail string, why error) {
	unlisted, ok := d.refused.list(d.now())
	if !ok {
		return
	}
	if unlisted > 0 {
		detail += fmt.Sprintf("; before it %d more, which aren't listed", unlisted)
	}
	e := fleet.Entry{Time: d.now(), What: what, Detail: detail, Outcome: "denied: " + why.Error()}
	if _, err := d.Audit.Append(context.WithoutCancel(ctx), e); err != nil {
		d.log().Error("who was refused isn't in the audit", slog.String("what", what), slog.Any("err", err))
	}
}

// quoted is a stranger's word for the audit.
func quoted(s string) string {
	const most = 64
	if len(s) > most {
		return strconv.QuoteToASCII(s[:most]) + "…"
	}
	return strconv.QuoteToASCII(s)
}

// Session returns the session of a cookie's secret: ErrUnrecognised if there is none, or
// not any more.
func (d *Desk) Session(ctx context.Context, secret, addr string) (Session, error) {
	s, err := d.Accounts.SignedIn(ctx, secret, d.now())
	if err != nil {
		return Session{}, fmt.Errorf("access: %w", unrecognised(err))
	}
	return d.session(ctx, s, addr)
}

func (d *Desk) session(ctx context.Context, s fleet.SignIn, addr string) (Session, error) {
	who, err := d.who(ctx, s.User, Who{Via: ViaSession, Addr: addr})
	return Session{Who: who, CSRF: s.CSRF, Expires: s.Expires}, err
}

// SignOut ends the session of a cookie's secret. It is no error if there is none.
func (d *Desk) SignOut(ctx context.Context, secret, addr string) error {
	s, err := d.Session(ctx, secret, addr)
	if errors.Is(err, ErrUnrecognised) {
		return nil
	}
	if err != nil {
		return err
	}
	err = d.do(ctx, s.Who, fleet.Entry{What: "sign-out", Ref: s.Who.Name}, func() (string, error) {
		return "", d.Accounts.SignOut(ctx, secret)
	})
	if errors.Is(err, fleet.ErrUnknown) { // somebody else ended it
		return nil
	}
	return err
}

// Token returns whose API token it is: ErrUnrecognised if it is nobody's, or not any
// more.
func (d *Desk) Token(ctx context.Context, secret, addr string) (Who, error) {
	u, t, err := d.Accounts.CheckAPIToken(ctx, secret, d.now())
	if err != nil {
		err = unrecognised(err)
		if errors.Is(err, ErrUnrecognised) {
			d.refuse(ctx, "api-token.use", "from "+addr, err)
		}
		return Who{}, fmt.Errorf("access: %w", err)
	}
	return d.who(ctx, u, Who{Via: ViaToken, Token: t.ID, Addr: addr})
}

// Same says whether two are the same caller who may do the same.
func Same(a, b Who) bool { return reflect.DeepEqual(a, b) }

// who completes a Who of a user.
func (d *Desk) who(ctx context.Context, u fleet.User, w Who) (Who, error) {
	grants, err := d.Accounts.Grants(ctx, u.Name)
	if err != nil {
		return Who{}, fmt.Errorf("access: %w", err)
	}
	w.Name, w.Role, w.Since, w.Grants = u.Name, u.Role, u.Created, grants
	return w, nil
}

// from says for the audit by what way somebody came.
func (w Who) from() string {
	switch w.Via {
	case ViaToken:
		return "API token " + w.Token + " from " + w.Addr
	case ViaSession:
		return "signed in from " + w.Addr
	case ViaSocket:
		return "the hub's socket"
	}
	return ""
}

// unrecognised tells an answer that says no from a failure to ask.
func unrecognised(err error) error {
	for _, no := range []error{fleet.ErrUnknown, fleet.ErrExpired, fleet.ErrPassword} {
		if errors.Is(err, no) {
			return fmt.Errorf("%w: %w", ErrUnrecognised, err)
		}
	}
	return err
}
