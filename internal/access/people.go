package access

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/lanfolk/lanfolk/store/fleet"
)

// Bounds of accounts.
const (
	maxUsers     = 10000
	maxUserName  = 64 // characters
	minPassword  = 8  // characters, as NIST SP 800-63B asks
	maxPassword  = 1024
	maxGrants    = 1000 // of one user
	maxAPITokens = 100  // of one user
)

// A NewUser is an account to make.
type NewUser struct {
	Name     string
	Role     fleet.Role // "" is admin for the first account, viewer for others
	Password string     // "" is one that can use API tokens only
}

// CreateUser makes an account: fleet.ErrExists, fleet.ErrInvalid.
func (d *Desk) CreateUser(ctx context.Context, who Who, n NewUser) (fleet.User, error) {
	users, err := d.Users(ctx, who)
	if err != nil {
		return fleet.User{}, err
	}
	if n.Role == "" {
		n.Role = fleet.Viewer
		if len(users) == 0 {
			n.Role = fleet.Admin
		}
	}
	if err = checkUserName(n.Name); err == nil && n.Password != "" {
		err = CheckPassword(n.Password)
	}
	if err == nil && len(users) >= maxUsers {
		err = fmt.Errorf("%w users: at most %d", ErrTooMany, maxUsers)
	}
	if err != nil {
		return fleet.User{}, fmt.Errorf("access: create a user: %w", err)
	}
	u := fleet.User{Name: n.Name, Role: n.Role, Created: d.now().UTC(), By: who.Name}
	e := fleet.Entry{What: "user.create", Ref: u.Name, Detail: "role " + string(u.Role)}
	if n.Password == "" {
		e.Detail += ", API tokens only"
	}
	err = d.manage(ctx, who, e, func() (string, error) { return "", d.Accounts.CreateUser(ctx, u, n.Password) })
	if err != nil {
		return fleet.User{}, err
	}
	return u, nil
}

// Users lists accounts by name.
func (d *Desk) Users(ctx context.Context, who Who) ([]fleet.User, error) {
	if err := who.MayManage(); err != nil {
		return nil, fmt.Errorf("access: list users: %w", err)
	}
	return d.Accounts.Users(ctx)
}

// SetRole changes what a user may do everywhere. The last admin stays one:
// fleet.ErrLastAdmin.
func (d *Desk) SetRole(ctx context.Context, who Who, name string, role fleet.Role) error {
	return d.manage(ctx, who, fleet.Entry{What: "user.role", Ref: name, Detail: "role " + string(role)}, func() (string, error) {
		return "", d.Accounts.SetRole(ctx, name, role)
	})
}

// SetPassword gives a user a new password, which ends all of the user's sign-ins. Users
// change their own by the one they have; admins need none.
func (d *Desk) SetPassword(ctx context.Context, who Who, name, current, password string) error {
	e := fleet.Entry{What: "user.password", Ref: name}
	if err := CheckPassword(password); err != nil {
		return fmt.Errorf("access: %s: %w", e.What, err)
	}
	set := func() (string, error) { return "", d.Accounts.SetPassword(ctx, name, password) }
	if who.MayManage() == nil {
		return d.manage(ctx, who, e, set)
	}
	if who.Name != name || who.MayRead() != nil {
		return fmt.Errorf("access: %s: %w: it takes an admin to change somebody else's", e.What, ErrDenied)
	}
	if current == "" {
		return fmt.Errorf("access: %s: %w: it takes your current password, or an admin", e.What, ErrDenied)
	}
	_, err := d.checkPassword(ctx, name, current, who.Addr)
	if errors.Is(err, ErrUnrecognised) {
		err = fmt.Errorf("%w: your current password is another", ErrDenied)
	}
	if err != nil {
		if errors.Is(err, ErrDenied) || errors.Is(err, ErrTooMany) {
			d.refuse(ctx, e.What, "user "+name+" from "+who.Addr, err)
		}
		return fmt.Errorf("access: %s: %w", e.What, err)
	}
	return d.do(ctx, who, e, set)
}

// RemoveUser drops an account with its sign-ins, API tokens and grants:
// fleet.ErrUnknown, fleet.ErrLastAdmin.
func (d *Desk) RemoveUser(ctx context.Context, who Who, name string) error {
	return d.manage(ctx, who, fleet.Entry{What: "user.remove", Ref: name}, func() (string, error) {
		return "", d.Accounts.RemoveUser(ctx, name)
	})
}

// checkUserName keeps names apart that look the same, and from the audit's own.
func checkUserName(name string) error {
	const marks = "._-@+"
	for i, r := range name {
		letter := 'a' <= r && r <= 'z' || '0' <= r && r <= '9'
		if !letter && (i == 0 || !strings.ContainsRune(marks, r)) {
			return invalid("the name %s: want lower-case letters a to z, digits, and after the first any of %s", quoted(name), marks)
		}
	}
	switch {
	case name == "" || len(name) > maxUserName:
		return invalid("the name %s: want 1 to %d characters", quoted(name), maxUserName)
	case name == "hub" || name == "gateway": // what the hub does of its own accord, and what gateways ask for
		return invalid("the name %q means something else in the audit", name)
	}
	return nil
}

// CheckPassword says what is wrong with a new password: fleet.ErrInvalid.
func CheckPassword(password string) error {
	switch {
	case !utf8.ValidString(password):
		return invalid("the password isn't UTF-8")
	case utf8.RuneCountInString(password) < minPassword:
		return invalid("the password is too short: want at least %d characters", minPassword)
	case len(password) > maxPassword:
		return invalid("the password is too long: at most %d bytes", maxPassword)
	}
	return nil
}
