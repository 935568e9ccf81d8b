package access

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/lanfolk/lanfolk/store/fleet"
)

// sessionLifetime is how long a sign-in lasts, whatever happens in it.
const sessionLifetime = 12 * time.Hour

// Socket returns who a process is that opened the hub's unix socket.
func Socket(uid int, known bool) Who {
	name := "uid:unknown"
	if known {
		name = "uid:" + strconv.Itoa(uid)
	}
	return Who{Name: name, Role: fleet.Admin, Via: ViaSocket}
}

// SignIn begins a session. addr is where the request came from.
func (d *Desk) SignIn(ctx context.Context, name, password, addr string) (Session, error) {
	u, err := d.Accounts.CheckPassword(ctx, name, password)
	if err != nil {
		return Session{}, unrecognised(err)
	}
	now := d.now()
	secret, s, err := d.Accounts.SignIn(ctx, u.Name, now, now.Add(sessionLifetime))
	if err != nil {
		return Session{}, unrecognised(err)
	}
	session, err := d.session(ctx, s, addr)
	session.Secret = secret
	return session, err
}

// Session returns the session of a cookie's secret: ErrUnrecognised if there is none, or
// not any more.
func (d *Desk) Session(ctx context.Context, secret, addr string) (Session, error) {
	s, err := d.Accounts.SignedIn(ctx, secret, d.now())
	if err != nil {
		return Session{}, unrecognised(err)
	}
	return d.session(ctx, s, addr)
}

func (d *Desk) session(ctx context.Context, s fleet.SignIn, addr string) (Session, error) {
	who, err := d.who(ctx, s.User, Who{Via: ViaSession, Addr: addr})
	return Session{Who: who, CSRF: s.CSRF, Expires: s.Expires}, err
}

// SignOut ends the session of a cookie's secret. It is no error if there is none.
func (d *Desk) SignOut(ctx context.Context, secret, addr string) error {
	err := d.Accounts.SignOut(ctx, secret)
	if errors.Is(err, fleet.ErrUnknown) {
		return nil
	}
	return err
}

// Token returns whose API token it is: ErrUnrecognised if it is nobody's, or not any
// more.
func (d *Desk) Token(ctx context.Context, secret, addr string) (Who, error) {
	u, t, err := d.Accounts.CheckAPIToken(ctx, secret, d.now())
	if err != nil {
		return Who{}, unrecognised(err)
	}
	return d.who(ctx, u, Who{Via: ViaToken, Token: t.ID, Addr: addr})
}

// who completes a Who of a user.
func (d *Desk) who(ctx context.Context, u fleet.User, w Who) (Who, error) {
	grants, err := d.Accounts.Grants(ctx, u.Name)
	if err != nil {
		return Who{}, err
	}
	w.Name, w.Role, w.Grants = u.Name, u.Role, grants
	return w, nil
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

func (d *Desk) now() time.Time {
	if d.Now != nil {
		return d.Now()
	}
	return time.Now()
}
