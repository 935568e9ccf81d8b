package access

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/lanfolk/lanfolk/store/fleet"
)

// Grant lets a user run exec, get or capture at gateways that have all labels of the
// selector; an empty one is every gateway.
func (d *Desk) Grant(ctx context.Context, who Who, user, verb string, selector map[string]string) (fleet.Grant, error) {
	g := fleet.Grant{User: user, Verb: verb, Selector: selector, By: who.Name, Created: d.now().UTC()}
	e := fleet.Entry{What: "grant.create", Detail: grantText(g)}
	err := who.MayManage()
	if err == nil {
		err = CheckLabels(selector)
	}
	if err == nil {
		var have []fleet.Grant
		if _, err = d.Accounts.User(ctx, user); err == nil {
			have, err = d.Accounts.Grants(ctx, user)
		}
		same := func(o fleet.Grant) bool { return grantText(o) == grantText(g) }
		switch {
		case err != nil:
		case slices.ContainsFunc(have, same):
			err = fmt.Errorf("%w: %s", fleet.ErrExists, grantText(g))
		case len(have) >= maxGrants:
			err = fmt.Errorf("%w grants of %s: at most %d", ErrTooMany, user, maxGrants)
		}
	}
	if err != nil {
		return fleet.Grant{}, fmt.Errorf("access: %s: %w", e.What, err)
	}
	err = d.manage(ctx, who, e, func() (string, error) {
		made, err := d.Accounts.Grant(ctx, g)
		g = made
		return made.ID, err
	})
	return g, err
}

func grantText(g fleet.Grant) string {
	where := "every gateway"
	if len(g.Selector) > 0 {
		where = fleet.SelectorText(g.Selector)
	}
	return g.User + ": " + g.Verb + " at " + where
}

// Grants lists a user's grants, everybody's for "". Users may see their own.
func (d *Desk) Grants(ctx context.Context, who Who, user string) ([]fleet.Grant, error) {
	if user != who.Name || who.MayRead() != nil {
		if err := who.MayManage(); err != nil {
			return nil, fmt.Errorf("access: list grants: %w", err)
		}
	}
	return d.Accounts.Grants(ctx, user)
}

// RemoveGrant takes a grant back.
func (d *Desk) RemoveGrant(ctx context.Context, who Who, id string) error {
	e := fleet.Entry{What: "grant.remove", Ref: id}
	if who.MayManage() == nil {
		all, err := d.Accounts.Grants(ctx, "")
		if err != nil {
			return fmt.Errorf("access: %s: %w", e.What, err)
		}
		for _, g := range all {
			if g.ID == id {
				e.Detail = grantText(g)
			}
		}
	}
	return d.manage(ctx, who, e, func() (string, error) { return "", d.Accounts.RemoveGrant(ctx, id) })
}

// A NewAPIToken is an API token to make.
type NewAPIToken struct {
	User    string // whose; "" is the caller's
	Name    string // what it is for
	Expires time.Time
}

// CreateAPIToken makes an API token and returns its secret, which nobody can see again.
// Users make their own when they are signed in, admins anybody's: who has found a token
// that ends soon shall not make one that doesn't.
func (d *Desk) CreateAPIToken(ctx context.Context, who Who, n NewAPIToken) (secret string, t fleet.APIToken, err error) {
	const what = "api-token.create"
	if n.User == "" && who.Via != ViaSocket {
		n.User = who.Name
	}
	if err := d.checkAPIToken(ctx, who, n); err != nil {
		return "", fleet.APIToken{}, fmt.Errorf("access: %s: %w", what, err)
	}
	t = fleet.APIToken{User: n.User, Name: n.Name, Created: d.now().UTC(), Expires: n.Expires}
	until := "for ever"
	if !t.Expires.IsZero() {
		until = "until " + t.Expires.UTC().Format(time.RFC3339)
	}
	e := fleet.Entry{What: what, Detail: fmt.Sprintf("of %s, name %q, %s", t.User, t.Name, until)}
	err = d.do(ctx, who, e, func() (_ string, err error) {
		secret, t, err = d.Accounts.CreateAPIToken(ctx, t)
		return t.ID, err
	})
	return secret, t, err
}

func (d *Desk) checkAPIToken(ctx context.Context, who Who, n NewAPIToken) error {
	if who.MayManage() != nil {
		switch {
		case n.User != who.Name || who.MayRead() != nil:
			return fmt.Errorf("%w: it takes an admin to make somebody else's", ErrDenied)
		case who.Via == ViaToken:
			return fmt.Errorf("%w: an API token makes no others; sign in", ErrDenied)
		}
	}
	switch {
	case n.User == "":
		return invalid("say whose token it is: the socket's callers have no account")
	case !printable(n.Name, 64):
		return invalid("the name %s: want at most 64 bytes that can be printed", quoted(n.Name))
	case !n.Expires.IsZero() && !n.Expires.After(d.now()):
		return invalid("it would have expired at once")
	}
	if _, err := d.Accounts.User(ctx, n.User); err != nil {
		return err
	}
	have, err := d.Accounts.APITokens(ctx, n.User)
	if err == nil && len(have) >= maxAPITokens {
		err = fmt.Errorf("%w API tokens of %s: at most %d", ErrTooMany, n.User, maxAPITokens)
	}
	return err
}

// APITokens lists a user's API tokens, for "" everybody's to admins and their own to
// others.
func (d *Desk) APITokens(ctx context.Context, who Who, user string) ([]fleet.APIToken, error) {
	if denied := who.MayManage(); denied != nil {
		if user == "" {
			user = who.Name
		}
		if user != who.Name || who.MayRead() != nil {
			return nil, fmt.Errorf("access: list API tokens: %w", denied)
		}
	}
	return d.Accounts.APITokens(ctx, user)
}

// RevokeAPIToken ends an API token: users' own, admins' any. To others a token that
// isn't theirs is unknown.
func (d *Desk) RevokeAPIToken(ctx context.Context, who Who, id string) error {
	e := fleet.Entry{What: "api-token.revoke", Ref: id}
	all, err := d.APITokens(ctx, who, "")
	if err != nil {
		return fmt.Errorf("access: %s: %w", e.What, err)
	}
	i := slices.IndexFunc(all, func(t fleet.APIToken) bool { return t.ID == id })
	if i < 0 {
		return fmt.Errorf("access: %s %s: %w", e.What, quoted(id), fleet.ErrUnknown)
	}
	e.Detail = fmt.Sprintf("of %s, name %q", all[i].User, all[i].Name)
	return d.do(ctx, who, e, func() (string, error) { return "", d.Accounts.RevokeAPIToken(ctx, id) })
}

// printable says whether people can read a text of at most so many bytes.
func printable(s string, most int) bool {
	return len(s) <= most && utf8.ValidString(s) && strings.TrimSpace(s) == s && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}
