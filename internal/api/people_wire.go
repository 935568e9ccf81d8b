package api

import (
	"github.com/lanfolk/lanfolk/internal/api/wire"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// each makes a list of what f makes of each; it is never null.
func each[A, B any](from []A, f func(A) B) []B {
	to := make([]B, len(from))
	for i, a := range from {
		to[i] = f(a)
	}
	return to
}

func wireUser(u fleet.User) wire.User {
	return wire.User{Name: u.Name, Role: string(u.Role), Created: u.Created.UTC(), By: u.By}
}

func wireGrants(g []fleet.Grant) []wire.Grant { return each(g, wireGrant) }

func wireGrant(g fleet.Grant) wire.Grant {
	if g.Selector == nil {
		g.Selector = map[string]string{}
	}
	return wire.Grant{ID: g.ID, User: g.User, Verb: g.Verb, Selector: g.Selector, By: g.By, Created: g.Created.UTC()}
}

func wireAPIToken(t fleet.APIToken) wire.APIToken {
	return wire.APIToken{ID: t.ID, User: t.User, Name: t.Name, Created: t.Created.UTC(), Expires: moment(t.Expires), Used: moment(t.Used)}
}

func wireJoinToken(t fleet.Token) wire.JoinToken {
	return wire.JoinToken{
		ID: t.ID, Name: t.Name, Gateway: t.Gateway, By: t.By,
		Created: t.Created.UTC(), Expires: t.Expires.UTC(), Used: moment(t.Used),
	}
}

func wireRevocation(r fleet.Revocation) wire.Revocation {
	return wire.Revocation{Gateway: r.Subject, Time: r.When.UTC(), By: r.By, Why: r.Why}
}
