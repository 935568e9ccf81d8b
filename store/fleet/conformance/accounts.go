package conformance

import (
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk/store/fleet"
)

func accounts(t *testing.T, open Opener) {
	h, ctx := opened(t, open, fleet.Options{}), t.Context()
	a := h.Accounts
	same(t, len(must[[]fleet.User](t)(a.Users(ctx))), 0) // no default account
	ann := fleet.User{Name: "ann", Role: fleet.Admin, Created: at(0), By: "uid:0"}
	bot := fleet.User{Name: "bot", Role: fleet.Viewer, Created: at(1), By: "ann"}
	noErr(t, a.CreateUser(ctx, ann, "correct horse"))
	noErr(t, a.CreateUser(ctx, bot, ""))
	wantErr(t, a.CreateUser(ctx, bot, ""), fleet.ErrExists)
	wantErr(t, a.CreateUser(ctx, fleet.User{Name: "x", Role: "root"}, ""), fleet.ErrInvalid)
	wantErr(t, a.CreateUser(ctx, fleet.User{Role: fleet.Admin}, ""), fleet.ErrInvalid)
	wantErr(t, a.CreateUser(ctx, fleet.User{Name: "x", Role: fleet.Admin}, strings.Repeat("x", 5000)), fleet.ErrInvalid)
	same(t, must[[]fleet.User](t)(a.Users(ctx)), []fleet.User{ann, bot})
	same(t, must[fleet.User](t)(a.CheckPassword(ctx, "ann", "correct horse")), ann)
	for name, password := range map[string]string{"ann": "wrong", "bot": "", "eve": "correct horse"} {
		_, err := a.CheckPassword(ctx, name, password)
		wantErr(t, err, fleet.ErrPassword)
	}

	secret, s, err := a.SignIn(ctx, "ann", at(0), at(60))
	noErr(t, err)
	same(t, must[fleet.SignIn](t)(a.SignedIn(ctx, secret, at(59))), s)
	_, err = a.SignedIn(ctx, secret, at(60))
	wantErr(t, err, fleet.ErrExpired)
	_, err = a.SignedIn(ctx, "guess", at(1))
	wantErr(t, err, fleet.ErrUnknown)
	_, _, err = a.SignIn(ctx, "eve", at(0), at(60))
	wantErr(t, err, fleet.ErrUnknown)
	noErr(t, a.SetPassword(ctx, "ann", "battery staple"))
	_, err = a.SignedIn(ctx, secret, at(1))
	wantErr(t, err, fleet.ErrUnknown)
	must[fleet.User](t)(a.CheckPassword(ctx, "ann", "battery staple"))
	secret, _, err = a.SignIn(ctx, "ann", at(0), at(60))
	noErr(t, err)
	noErr(t, a.SignOut(ctx, secret))
	wantErr(t, a.SignOut(ctx, secret), fleet.ErrUnknown)

	noErr(t, a.SetRole(ctx, "bot", fleet.Operator))
	bot.Role = fleet.Operator
	wantErr(t, a.SetRole(ctx, "eve", fleet.Operator), fleet.ErrUnknown)
	tokenSecret, token, err := a.CreateAPIToken(ctx, fleet.APIToken{User: "bot", Name: "ci", Created: at(0), Expires: at(600)})
	noErr(t, err)
	u, got, err := a.CheckAPIToken(ctx, tokenSecret, at(10))
	noErr(t, err)
	same(t, u, bot)
	same(t, got, token)
	token.Used = at(10)
	same(t, must[[]fleet.APIToken](t)(a.APITokens(ctx, "bot")), []fleet.APIToken{token})
	same(t, len(must[[]fleet.APIToken](t)(a.APITokens(ctx, "ann"))), 0)
	_, _, err = a.CheckAPIToken(ctx, tokenSecret, at(600))
	wantErr(t, err, fleet.ErrExpired)
	_, _, err = a.CreateAPIToken(ctx, fleet.APIToken{User: "eve"})
	wantErr(t, err, fleet.ErrUnknown)

	g := must[fleet.Grant](t)(a.Grant(ctx, fleet.Grant{User: "bot", Verb: "exec", Selector: map[string]string{"site": "north"}, By: "ann", Created: at(3)}))
	_, err = a.Grant(ctx, fleet.Grant{User: "bot", Verb: "status"})
	wantErr(t, err, fleet.ErrInvalid)
	_, err = a.Grant(ctx, fleet.Grant{User: "eve", Verb: "get"})
	wantErr(t, err, fleet.ErrUnknown)
	same(t, must[[]fleet.Grant](t)(a.Grants(ctx, "bot")), []fleet.Grant{g})
	noErr(t, a.RevokeAPIToken(ctx, token.ID))
	_, _, err = a.CheckAPIToken(ctx, tokenSecret, at(11))
	wantErr(t, err, fleet.ErrUnknown)
	noErr(t, a.RemoveUser(ctx, "bot"))
	same(t, len(must[[]fleet.Grant](t)(a.Grants(ctx, ""))), 0)
	wantErr(t, a.RemoveGrant(ctx, g.ID), fleet.ErrUnknown)
	wantErr(t, a.RemoveUser(ctx, "bot"), fleet.ErrUnknown)
	_, _, err = a.SignIn(ctx, "ann", at(0), at(60))
	noErr(t, err)
	noErr(t, a.Forget(ctx, at(60)))

	// Somebody stays admin, also when two hubs take one away at once.
	wantErr(t, a.RemoveUser(ctx, "ann"), fleet.ErrLastAdmin)
	wantErr(t, a.SetRole(ctx, "ann", fleet.Viewer), fleet.ErrLastAdmin)
	noErr(t, a.SetRole(ctx, "ann", fleet.Admin))
	other := opened(t, open, fleet.Options{}).Accounts
	noErr(t, a.CreateUser(ctx, fleet.User{Name: "ben", Role: fleet.Admin}, ""))
	for range 20 {
		noErr(t, a.SetRole(ctx, "ann", fleet.Admin))
		noErr(t, a.SetRole(ctx, "ben", fleet.Admin))
		errs, start := make(chan error), make(chan bool)
		for name, by := range map[string]fleet.Accounts{"ann": a, "ben": other} {
			go func() {
				<-start
				errs <- by.SetRole(ctx, name, fleet.Operator)
			}()
		}
		close(start)
		first, second := <-errs, <-errs
		if first == nil {
			first = second
		} else {
			noErr(t, second)
		}
		wantErr(t, first, fleet.ErrLastAdmin)
	}
}
