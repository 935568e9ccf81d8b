package access_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/internal/access"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// changes is everything that a Desk changes, by what the audit calls it.
func changes(t *testing.T, d *desk) map[string]func(who access.Who) error {
	t.Helper()
	ctx := t.Context()
	d.user(t, "ann", fleet.Admin)
	d.user(t, "ben", fleet.Viewer)
	if _, err := d.fleet.Sessions.Enrol(ctx, fleet.Gateway{ID: "g1", Key: [32]byte{1}, Enrolled: d.time.now()}); err != nil {
		t.Fatal(err)
	}
	if err := d.fleet.Sessions.MarkRevoked(ctx, "g1", d.time.now()); err != nil {
		t.Fatal(err)
	}
	g, err := d.Grant(ctx, root(), "ben", "exec", nil)
	if err != nil {
		t.Fatal(err)
	}
	_, token, err := d.CreateAPIToken(ctx, root(), access.NewAPIToken{User: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	_, join, err := d.Invite(ctx, root(), access.JoinRequest{})
	if err != nil {
		t.Fatal(err)
	}
	north := "north"
	return map[string]func(who access.Who) error{
		"user.create": func(who access.Who) error {
			_, err := d.CreateUser(ctx, who, access.NewUser{Name: "eve"})
			return err
		},
		"user.role":     func(who access.Who) error { return d.SetRole(ctx, who, "ben", fleet.Operator) },
		"user.password": func(who access.Who) error { return d.SetPassword(ctx, who, "ann", "", "another one") },
		"user.remove":   func(who access.Who) error { return d.RemoveUser(ctx, who, "ben") },
		"grant.create": func(who access.Who) error {
			_, err := d.Grant(ctx, who, "ben", "get", map[string]string{"site": "north"})
			return err
		},
		"grant.remove": func(who access.Who) error { return d.RemoveGrant(ctx, who, g.ID) },
		"api-token.create": func(who access.Who) error {
			_, _, err := d.CreateAPIToken(ctx, who, access.NewAPIToken{User: "ann"})
			return err
		},
		"api-token.revoke": func(who access.Who) error { return d.RevokeAPIToken(ctx, who, token.ID) },
		"token.remove":     func(who access.Who) error { return d.RemoveJoinToken(ctx, who, join.ID) },
		"gateway.label": func(who access.Who) error {
			_, err := d.ChangeGateway(ctx, who, "g1", access.Change{Labels: map[string]*string{"site": &north}})
			return err
		},
		"gateway.name": func(who access.Who) error {
			_, err := d.ChangeGateway(ctx, who, "g1", access.Change{Name: &north})
			return err
		},
		"gateway.forget": func(who access.Who) error { return d.ForgetGateway(ctx, who, "g1") },
	}
}

// state is everything that changes could have changed, as text.
func (d *desk) state(t *testing.T) string {
	t.Helper()
	ctx := t.Context()
	users, err1 := d.fleet.Accounts.Users(ctx)
	grants, err2 := d.fleet.Accounts.Grants(ctx, "")
	tokens, err3 := d.fleet.Accounts.APITokens(ctx, "")
	joins, err4 := d.fleet.Once.Tokens(ctx)
	gateways, err5 := d.fleet.Sessions.Gateways(ctx, fleet.GatewayFilter{}, d.time.now())
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, u := range users {
		b.WriteString(u.Name + " " + string(u.Role) + "\n")
		if _, err := d.Accounts.CheckPassword(ctx, u.Name, password); err != nil {
			b.WriteString("with another password\n")
		}
	}
	for _, g := range grants {
		b.WriteString("grant " + g.ID + "\n")
	}
	for _, x := range tokens {
		b.WriteString("token " + x.ID + "\n")
	}
	for _, x := range joins {
		b.WriteString("join " + x.ID + "\n")
	}
	for _, g := range gateways {
		b.WriteString("gateway " + g.ID + " " + g.Name + " " + fleet.SelectorText(g.Labels) + "\n")
	}
	return b.String()
}

func TestWhatCannotBeAuditedIsNotDone(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	all := changes(t, d)
	before := d.state(t)
	d.audit.failing = errors.New("the disk is full")
	for what, change := range all {
		if err := change(root()); err == nil || !strings.Contains(err.Error(), "the disk is full") {
			t.Errorf("%s without an audit: %v", what, err)
		}
	}
	if _, err := d.SignIn(t.Context(), "ann", password, "192.0.2.1:1"); err == nil {
		t.Error("somebody signs in without an audit")
	}
	if after := d.state(t); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

func TestEveryChangeIsForAdminsAndAudited(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	all := changes(t, d)
	before := d.state(t)
	for what, change := range all {
		for _, who := range []access.Who{{}, {Name: "ben", Role: fleet.Viewer, Via: access.ViaSession}, {Name: "ben", Role: fleet.Operator, Via: access.ViaSession}} {
			err := change(who)
			if !errors.Is(err, access.ErrDenied) && !(what == "api-token.revoke" && errors.Is(err, fleet.ErrUnknown)) {
				t.Errorf("%s by a %s: %v", what, who.Role, err)
			}
		}
	}
	if after := d.state(t); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	order := []string{"user.create", "user.role", "user.password", "grant.create", "grant.remove", "api-token.create", "api-token.revoke", "token.remove", "gateway.label", "gateway.name", "gateway.forget", "user.remove"}
	if len(order) != len(all) {
		t.Fatalf("%d changes in order, %d in all", len(order), len(all))
	}
	was := len(d.entries(t))
	for _, what := range order {
		if err := all[what](root()); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	got := d.entries(t)[was:]
	if len(got) != 2*len(order) {
		t.Fatalf("%d entries for %d changes:\n%s", len(got), len(order), strings.Join(got, "\n"))
	}
	for i, what := range order {
		intent, outcome := strings.Split(got[2*i], "|"), strings.Split(got[2*i+1], "|")
		if intent[0] != "uid:0" || intent[1] != what || intent[3] != "" || outcome[1] != what || outcome[2] == "" || outcome[3] != "ok" {
			t.Errorf("%s: %v, then %v", what, intent, outcome)
		}
	}
	if n, _, err := fleet.Verify(t.Context(), d.fleet.Audit); err != nil || n == 0 {
		t.Errorf("%d entries: %v", n, err)
	}
}

func TestSignInsAreAuditedAndStrangersFillNothing(t *testing.T) {
	t.Parallel()
	d, ctx := newDesk(t), t.Context()
	d.user(t, "ann", fleet.Admin)
	was := len(d.entries(t))
	s, err := d.SignIn(ctx, "ann", password, "192.0.2.1:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := d.SignOut(ctx, s.Secret, "192.0.2.1:1"); err != nil {
		t.Fatal(err)
	}
	want := []string{"ann|sign-in|ann|", "ann|sign-in|ann|ok", "ann|sign-out|ann|", "ann|sign-out|ann|ok"}
	if got := d.entries(t)[was:]; !slices.Equal(got, want) {
		t.Errorf("%q; want %q", got, want)
	}
	was += len(want)
	for range 500 { // each within its own time, so that no limit but the audit's counts
		_, err := d.Token(ctx, "guess", "192.0.2.66:1")
		wantErr(t, err, access.ErrUnrecognised)
	}
	if got := len(d.entries(t)) - was; got != 60 {
		t.Errorf("500 guesses of a token make %d entries; want 60", got)
	}
	d.time.move(time.Minute)
	_, err = d.SignIn(ctx, "eve\n"+strings.Repeat("x", 200), password, "192.0.2.66:1")
	wantErr(t, err, access.ErrUnrecognised)
	list, err := d.Entries(ctx, root(), fleet.AuditFilter{What: "sign-in", Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	e := list[0]
	if e.Who != "" || !strings.HasPrefix(e.Detail, `name "eve\nxxx`) || !strings.HasSuffix(e.Detail, "; before it 440 more, which aren't listed") ||
		!strings.HasPrefix(e.Outcome, "denied: ") || len(e.Detail) > 200 {
		t.Errorf("%+v", e)
	}
}
