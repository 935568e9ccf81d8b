package fleet

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/lanfolk/lanfolk/store"
	"github.com/lanfolk/lanfolk/store/internal/text"
)

// accounts is the Accounts in a database.
type accounts struct {
	db        *store.DB
	group     *group
	passwords *passwords
}

const userColumns = `u.name, u.role, u.created, u.made_by`

func scanUser(row scanner, more ...any) (u User, err error) {
	var created int64
	err = row.Scan(append([]any{&u.Name, &u.Role, &created, &u.By}, more...)...)
	u.Name, u.By, u.Created = text.Decode(u.Name), text.Decode(u.By), fromNanos(created)
	return u, err
}

func onlyUser(row scanner) (User, error) { return scanUser(row) }

func (r Role) check() error {
	if r != Viewer && r != Operator && r != Admin {
		return fmt.Errorf("%w: role %q: want viewer, operator or admin", ErrInvalid, r)
	}
	return nil
}

// maxName bounds a user's name, in bytes.
const maxName = 128

// hash is passwords.hash; "" stays "", which nobody can type.
func (a *accounts) hash(ctx context.Context, password string) (string, error) {
	switch {
	case password == "":
		return "", nil
	case len(password) > maxPassword:
		return "", fmt.Errorf("%w: a password of more than %d bytes", ErrInvalid, maxPassword)
	}
	return a.passwords.hash(ctx, password)
}

func (a *accounts) CreateUser(ctx context.Context, u User, password string) error {
	err := u.Role.check()
	if u.Name == "" || len(u.Name) > maxName {
		err = fmt.Errorf("%w: a name of %d bytes; want 1 to %d", ErrInvalid, len(u.Name), maxName)
	}
	var hash string
	if err == nil {
		hash, err = a.hash(ctx, password)
	}
	if err != nil {
		return fmt.Errorf("fleet: create user: %w", err)
	}
	return a.group.do(ctx, "create user "+u.Name, func(ctx context.Context, tx *txn) error {
		return change(ctx, tx, ErrExists, `INSERT INTO fleet_user (name, role, password, created, made_by) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING`,
			text.Encode(u.Name), string(u.Role), hash, nanos(u.Created), text.Encode(u.By))
	})
}

func (a *accounts) SetPassword(ctx context.Context, name, password string) error {
	hash, err := a.hash(ctx, password)
	if err != nil {
		return fmt.Errorf("fleet: set password: %w", err)
	}
	return a.group.do(ctx, "set the password of "+name, func(ctx context.Context, tx *txn) error {
		if err := change(ctx, tx, ErrUnknown, `UPDATE fleet_user SET password = $2 WHERE name = $1`, text.Encode(name), hash); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM fleet_sign_in WHERE owner = $1`, text.Encode(name))
		return err
	})
}

func (a *accounts) SetRole(ctx context.Context, name string, role Role) error {
	if err := role.check(); err != nil {
		return fmt.Errorf("fleet: set role: %w", err)
	}
	return a.group.do(ctx, "set the role of "+name, func(ctx context.Context, tx *txn) error {
		if role != Admin {
			if err := keepAnAdmin(ctx, tx, name); err != nil {
				return err
			}
		}
		return change(ctx, tx, ErrUnknown, `UPDATE fleet_user SET role = $2 WHERE name = $1`, text.Encode(name), string(role))
	})
}

func (a *accounts) RemoveUser(ctx context.Context, name string) error {
	return a.group.do(ctx, "remove user "+name, func(ctx context.Context, tx *txn) error {
		if err := keepAnAdmin(ctx, tx, name); err != nil {
			return err
		}
		return change(ctx, tx, ErrUnknown, `DELETE FROM fleet_user WHERE name = $1`, text.Encode(name))
	})
}

// keepAnAdmin refuses to go on without name if nobody else is admin.
func keepAnAdmin(ctx context.Context, tx *txn, name string) error {
	// An update that changes nothing, so that no other hub takes an admin away
	// meanwhile.
	if _, err := tx.ExecContext(ctx, `UPDATE fleet_user SET role = role WHERE role = $1`, string(Admin)); err != nil {
		return err
	}
	var among, others int
	err := tx.QueryRowContext(ctx, `
SELECT coalesce(sum(CASE WHEN name = $1 THEN 1 ELSE 0 END), 0), coalesce(sum(CASE WHEN name = $1 THEN 0 ELSE 1 END), 0)
FROM fleet_user WHERE role = $2`, text.Encode(name), string(Admin)).Scan(&among, &others)
	if err == nil && among > 0 && others == 0 {
		return ErrLastAdmin
	}
	return err
}

// change changes a row that must be there.
func (a *accounts) change(ctx context.Context, doing, statement string, args ...any) error {
	return a.group.do(ctx, doing, func(ctx context.Context, tx *txn) error {
		return change(ctx, tx, ErrUnknown, statement, args...)
	})
}

func (a *accounts) Users(ctx context.Context) ([]User, error) {
	return list(ctx, a.db, "read users", onlyUser, `SELECT `+userColumns+` FROM fleet_user AS u ORDER BY u.name`)
}

func (a *accounts) User(ctx context.Context, name string) (User, error) {
	return one(ctx, a.db, "read user "+strconv.Quote(name), onlyUser, `SELECT `+userColumns+` FROM fleet_user AS u WHERE u.name = $1`, text.Encode(name))
}

func (a *accounts) CheckPassword(ctx context.Context, name, password string) (User, error) {
	var kept string
	u, err := one(ctx, a.db, "check a password", func(row scanner) (User, error) { return scanUser(row, &kept) },
		`SELECT `+userColumns+`, u.password FROM fleet_user AS u WHERE u.name = $1`, text.Encode(name))
	if err != nil && !errors.Is(err, ErrUnknown) {
		return User{}, err
	}
	if len(password) > maxPassword {
		password, kept = "", ""
	}
	right, checkErr := a.passwords.check(ctx, password, kept)
	if checkErr != nil {
		return User{}, fmt.Errorf("fleet: check a password: %w", checkErr)
	}
	if err != nil || !right {
		return User{}, fmt.Errorf("fleet: %w", ErrPassword)
	}
	return u, nil
}

func (a *accounts) SignIn(ctx context.Context, name string, now, expires time.Time) (string, SignIn, error) {
	secret, s := NewSecret(), SignIn{CSRF: NewSecret(), Created: now.UTC(), Expires: expires.UTC()}
	err := a.group.do(ctx, "sign in "+name, func(ctx context.Context, tx *txn) (err error) {
		if s.User, err = onlyUser(tx.QueryRowContext(ctx, `SELECT `+userColumns+` FROM fleet_user AS u WHERE u.name = $1`, text.Encode(name))); err != nil {
			return unknown(err)
		}
		hash := HashSecret(secret)
		_, err = tx.ExecContext(ctx, `INSERT INTO fleet_sign_in (hash, owner, csrf, created, expires) VALUES ($1, $2, $3, $4, $5)`,
			hash[:], text.Encode(name), s.CSRF, nanos(now), nanos(expires))
		return err
	})
	if err != nil {
		return "", SignIn{}, err
	}
	return secret, s, nil
}

func (a *accounts) SignedIn(ctx context.Context, secret string, now time.Time) (SignIn, error) {
	hash := HashSecret(secret)
	s, err := one(ctx, a.db, "read a sign-in", func(row scanner) (s SignIn, err error) {
		var created, expires int64
		s.User, err = scanUser(row, &s.CSRF, &created, &expires)
		s.Created, s.Expires = fromNanos(created), fromNanos(expires)
		return s, err
	}, `SELECT `+userColumns+`, s.csrf, s.created, s.expires FROM fleet_sign_in AS s JOIN fleet_user AS u ON u.name = s.owner WHERE s.hash = $1`, hash[:])
	if err == nil && !now.Before(s.Expires) {
		return SignIn{}, fmt.Errorf("fleet: read a sign-in: %w", ErrExpired)
	}
	return s, err
}

func (a *accounts) SignOut(ctx context.Context, secret string) error {
	hash := HashSecret(secret)
	return a.change(ctx, "sign out", `DELETE FROM fleet_sign_in WHERE hash = $1`, hash[:])
}

func (a *accounts) CreateAPIToken(ctx context.Context, t APIToken) (string, APIToken, error) {
	secret := NewSecret()
	t.ID, t.Used = newID(), time.Time{}
	hash := HashSecret(secret)
	err := a.group.do(ctx, "create an API token", func(ctx context.Context, tx *txn) error {
		return change(ctx, tx, ErrUnknown, `
INSERT INTO fleet_api_token (id, hash, owner, name, created, expires, used)
SELECT $1, $2, name, $3, $4, $5, 0 FROM fleet_user WHERE name = $6`,
			t.ID, hash[:], text.Encode(t.Name), nanos(t.Created), nanos(t.Expires), text.Encode(t.User))
	})
	if err != nil {
		return "", APIToken{}, err
	}
	return secret, t, nil
}

// newID returns the id of a token or a grant, which people type.
func newID() string { return NewSecret()[:12] }

const apiTokenColumns = `t.id, t.owner, t.name, t.created, t.expires, t.used`

type apiTokenRow struct {
	t                      APIToken
	created, expires, used int64
}

func (r *apiTokenRow) into() []any {
	return []any{&r.t.ID, &r.t.User, &r.t.Name, &r.created, &r.expires, &r.used}
}

func (r *apiTokenRow) token() APIToken {
	t := r.t
	t.User, t.Name = text.Decode(t.User), text.Decode(t.Name)
	t.Created, t.Expires, t.Used = fromNanos(r.created), fromNanos(r.expires), fromNanos(r.used)
	return t
}

// usedEvery is how exactly it is known when a token was used last: a write for each
// call would cost more than the call.
const usedEvery = time.Minute

func (a *accounts) CheckAPIToken(ctx context.Context, secret string, now time.Time) (User, APIToken, error) {
	hash := HashSecret(secret)
	var r apiTokenRow
	u, err := one(ctx, a.db, "read an API token", func(row scanner) (User, error) { return scanUser(row, r.into()...) },
		`SELECT `+userColumns+`, `+apiTokenColumns+` FROM fleet_api_token AS t JOIN fleet_user AS u ON u.name = t.owner WHERE t.hash = $1`, hash[:])
	if err != nil {
		return User{}, APIToken{}, err
	}
	t := r.token()
	if !t.Expires.IsZero() && !now.Before(t.Expires) {
		return User{}, APIToken{}, fmt.Errorf("fleet: API token %s: %w at %s", t.ID, ErrExpired, t.Expires.Format(time.RFC3339))
	}
	if now.Sub(t.Used) >= usedEvery {
		err := a.change(ctx, "use an API token", `UPDATE fleet_api_token SET used = $2 WHERE id = $1`, t.ID, nanos(now))
		if err != nil && !isState(err) { // revoked since; a full disk keeps nobody out
			return User{}, APIToken{}, err
		}
	}
	return u, t, nil
}

func (a *accounts) APITokens(ctx context.Context, user string) ([]APIToken, error) {
	var c conditions
	if user != "" {
		c.add("t.owner = ?", text.Encode(user))
	}
	return list(ctx, a.db, "read API tokens", func(row scanner) (APIToken, error) {
		var r apiTokenRow
		err := row.Scan(r.into()...)
		return r.token(), err
	}, `SELECT `+apiTokenColumns+` FROM fleet_api_token AS t`+c.where()+` ORDER BY t.owner, t.created, t.id`, c.args...)
}

func (a *accounts) RevokeAPIToken(ctx context.Context, id string) error {
	return a.change(ctx, "revoke API token "+id, `DELETE FROM fleet_api_token WHERE id = $1`, text.Encode(id))
}

func (a *accounts) Grant(ctx context.Context, g Grant) (Grant, error) {
	if g.Verb != "exec" && g.Verb != "get" && g.Verb != "capture" {
		return Grant{}, fmt.Errorf("fleet: grant: %w: verb %q: want exec, get or capture", ErrInvalid, g.Verb)
	}
	g.ID = newID()
	err := a.change(ctx, "grant", `
INSERT INTO fleet_grant (id, owner, verb, selector, made_by, created)
SELECT $1, name, $2, $3, $4, $5 FROM fleet_user WHERE name = $6`,
		g.ID, g.Verb, labelsText(g.Selector), text.Encode(g.By), nanos(g.Created), text.Encode(g.User))
	if err != nil {
		return Grant{}, err
	}
	return g, nil
}

func (a *accounts) Grants(ctx context.Context, user string) ([]Grant, error) {
	var c conditions
	if user != "" {
		c.add("owner = ?", text.Encode(user))
	}
	return list(ctx, a.db, "read grants", func(row scanner) (g Grant, err error) {
		var created int64
		var selector string
		if err = row.Scan(&g.ID, &g.User, &g.Verb, &selector, &g.By, &created); err != nil {
			return g, err
		}
		g.User, g.By, g.Created = text.Decode(g.User), text.Decode(g.By), fromNanos(created)
		g.Selector, err = toLabels(selector)
		return g, err
	}, `SELECT id, owner, verb, selector, made_by, created FROM fleet_grant`+c.where()+` ORDER BY owner, created, id`, c.args...)
}

func (a *accounts) RemoveGrant(ctx context.Context, id string) error {
	return a.change(ctx, "remove grant "+id, `DELETE FROM fleet_grant WHERE id = $1`, text.Encode(id))
}

func (a *accounts) Forget(ctx context.Context, now time.Time) error {
	return a.group.do(ctx, "forget sign-ins", func(ctx context.Context, tx *txn) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM fleet_sign_in WHERE expires <= $1`, nanos(now))
		return err
	})
}
