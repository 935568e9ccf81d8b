package access_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/internal/access"
	"github.com/lanfolk/lanfolk/store"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// desk is a Desk over SQLite, whose time stands still until a test moves it.
type desk struct {
	*access.Desk
	fleet *fleet.Fleet
	audit *audit
	time  *clock
}

type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// audit is a fleet.Audit that fails when it is told to.
type audit struct {
	fleet.Audit
	failing error
}

func (a *audit) Append(ctx context.Context, entries ...fleet.Entry) (fleet.Head, error) {
	if a.failing != nil {
		return fleet.Head{}, a.failing
	}
	return a.Audit.Append(ctx, entries...)
}

// registry stands in for the authority: it makes tokens and revokes, without certificates.
type registry struct{ f *fleet.Fleet }

func (r registry) Invite(ctx context.Context, q access.JoinRequest) (string, fleet.Token, error) {
	t := fleet.Token{ID: "t1", Hash: fleet.HashSecret("secret"), Name: q.Name, By: q.By, Expires: time.Now().Add(time.Hour)}
	return "lanfolk1.x", t, r.f.Once.AddToken(ctx, t)
}

func (r registry) Revoke(ctx context.Context, gateway, by, why string) error {
	if _, err := r.f.Sessions.Gateway(ctx, gateway, time.Now()); err != nil {
		return err
	}
	if err := r.f.Once.Revoke(ctx, fleet.Revocation{Subject: gateway, When: time.Now(), By: by, Why: why}); err != nil {
		return err
	}
	return r.f.Sessions.MarkRevoked(ctx, gateway, time.Now())
}

// accounts keeps passwords as they are: a real one takes its time.
type accounts struct {
	fleet.Accounts
	mu        sync.Mutex
	passwords map[string]string
}

func (a *accounts) CreateUser(ctx context.Context, u fleet.User, password string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	err := a.Accounts.CreateUser(ctx, u, "")
	if err == nil {
		a.passwords[u.Name] = password
	}
	return err
}

func (a *accounts) SetPassword(ctx context.Context, name, password string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	err := a.Accounts.SetPassword(ctx, name, "")
	if err == nil {
		a.passwords[name] = password
	}
	return err
}

func (a *accounts) CheckPassword(ctx context.Context, name, password string) (fleet.User, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	u, err := a.User(ctx, name)
	if err != nil || password == "" || a.passwords[name] != password {
		return fleet.User{}, fleet.ErrPassword
	}
	return u, nil
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "hub.db"), store.Options{Node: "hub"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	f, err := fleet.Open(t.Context(), db, fleet.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c, a := &clock{t: time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)}, &audit{Audit: f.Audit}
	return &desk{&access.Desk{
		Accounts: &accounts{Accounts: f.Accounts, passwords: map[string]string{}}, Audit: a, Gateways: f.Sessions, Tokens: f.Once, Registrar: registry{f}, Revocations: registry{f}, Now: c.now,
	}, f, a, c}
}

// root is who opened the hub's socket.
func root() access.Who { return access.Socket(0, true) }

const password = "correct horse"

// user makes an account and returns who it is when it is signed in.
func (d *desk) user(t *testing.T, name string, role fleet.Role) access.Who {
	t.Helper()
	if _, err := d.CreateUser(t.Context(), root(), access.NewUser{Name: name, Role: role, Password: password}); err != nil {
		t.Fatal(err)
	}
	return access.Who{Name: name, Role: role, Via: access.ViaSession, Addr: "192.0.2.1:4000"}
}

// entries returns what of the audit after a number, as "who what ref outcome".
func (d *desk) entries(t *testing.T) (all []string) {
	t.Helper()
	list, err := d.Entries(t.Context(), root(), fleet.AuditFilter{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(list)
	for _, e := range list {
		all = append(all, strings.Join([]string{e.Who, e.What, e.Ref + e.Gateway, e.Outcome}, "|"))
	}
	return all
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error %v; want %v", err, want)
	}
}

func TestTheFirstAccountIsAnAdmins(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	if there, err := d.HasAccounts(t.Context()); there || err != nil {
		t.Fatalf("accounts before the first: %t %v", there, err)
	}
	for i, want := range []fleet.Role{fleet.Admin, fleet.Viewer} {
		u, err := d.CreateUser(t.Context(), root(), access.NewUser{Name: fmt.Sprintf("u%d", i)})
		if err != nil || u.Role != want || u.By != "uid:0" {
			t.Errorf("account %d: %+v %v; want a %s", i, u, err, want)
		}
	}
	if there, err := d.HasAccounts(t.Context()); !there || err != nil {
		t.Fatalf("accounts after the first: %t %v", there, err)
	}
}

func TestNamesThatCouldBeTakenForOthersAreRefused(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for _, name := range []string{"", "Ann", "hub", "gateway", "uid:0", "a b", "-a", ".a", "ann\n", "ann\x00", "ànn", "аnn", "ann\u202e", "a/b", strings.Repeat("a", 65), "a\xff"} {
		_, err := d.CreateUser(t.Context(), root(), access.NewUser{Name: name, Password: password})
		wantErr(t, err, fleet.ErrInvalid)
	}
	for _, name := range []string{"a", "ann.b-c_d@example.com+x", "0", strings.Repeat("a", 64)} {
		if _, err := d.CreateUser(t.Context(), root(), access.NewUser{Name: name}); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, p := range []string{"short", "1234567", strings.Repeat("x", 1025), "bad\xff bytes"} {
		_, err := d.CreateUser(t.Context(), root(), access.NewUser{Name: "x", Password: p})
		wantErr(t, err, fleet.ErrInvalid)
	}
}

func TestASessionLivesUntilItsEnd(t *testing.T) {
	t.Parallel()
	d, ctx := newDesk(t), t.Context()
	d.user(t, "ann", fleet.Admin)
	a, err := d.SignIn(ctx, "Ann", password, "192.0.2.1:4000") // as a phone writes it
	if err != nil {
		t.Fatal(err)
	}
	b, err := d.SignIn(ctx, "ann", password, "192.0.2.1:4001")
	if err != nil || a.Secret == b.Secret || a.CSRF == b.CSRF || a.CSRF == a.Secret {
		t.Fatalf("two sessions share a secret: %v", err)
	}
	s, err := d.Session(ctx, a.Secret, "192.0.2.1:4002")
	if err != nil || s.Who.Name != "ann" || s.Who.Role != fleet.Admin || s.CSRF != a.CSRF || s.Who.Via != access.ViaSession {
		t.Fatalf("session %+v: %v", s, err)
	}
	if err := d.SignOut(ctx, a.Secret, ""); err != nil {
		t.Fatal(err)
	}
	_, err = d.Session(ctx, a.Secret, "")
	wantErr(t, err, access.ErrUnrecognised)
	if err := d.SignOut(ctx, a.Secret, ""); err != nil {
		t.Errorf("signing out twice: %v", err)
	}
	d.time.move(12 * time.Hour)
	_, err = d.Session(ctx, b.Secret, "")
	wantErr(t, err, access.ErrUnrecognised)
	for _, guess := range []string{"", "x", strings.Repeat("x", 1<<16), "\x00"} {
		_, err = d.Session(ctx, guess, "")
		wantErr(t, err, access.ErrUnrecognised)
	}
}

func TestANewPasswordEndsSignIns(t *testing.T) {
	t.Parallel()
	d, ctx := newDesk(t), t.Context()
	d.user(t, "ann", fleet.Admin)
	ben := d.user(t, "ben", fleet.Viewer)
	s, err := d.SignIn(ctx, "ben", password, "192.0.2.1:1")
	if err != nil {
		t.Fatal(err)
	}
	wantErr(t, d.SetPassword(ctx, ben, "ann", password, "another one"), access.ErrDenied)
	wantErr(t, d.SetPassword(ctx, ben, "ben", "not that one", "another one"), access.ErrDenied)
	if err := d.SetPassword(ctx, ben, "ben", password, "another one"); err != nil {
		t.Fatal(err)
	}
	_, err = d.Session(ctx, s.Secret, "")
	wantErr(t, err, access.ErrUnrecognised)
	_, err = d.SignIn(ctx, "ben", password, "192.0.2.1:1")
	wantErr(t, err, access.ErrUnrecognised)
	if err := d.SetPassword(ctx, root(), "ben", "", password); err != nil {
		t.Fatal(err)
	}
	if _, err = d.SignIn(ctx, "ben", password, "192.0.2.1:1"); err != nil {
		t.Error(err)
	}
}

func TestWhatBelongsToARemovedUserEnds(t *testing.T) {
	t.Parallel()
	d, ctx := newDesk(t), t.Context()
	d.user(t, "ann", fleet.Admin)
	ben := d.user(t, "ben", fleet.Operator)
	s, err := d.SignIn(ctx, "ben", password, "192.0.2.1:1")
	if err != nil {
		t.Fatal(err)
	}
	secret, token, err := d.CreateAPIToken(ctx, ben, access.NewAPIToken{Name: "ci", Expires: d.time.now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	short, _, err := d.CreateAPIToken(ctx, ben, access.NewAPIToken{Expires: d.time.now().Add(time.Minute)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Grant(ctx, root(), "ben", "exec", map[string]string{"site": "north"}); err != nil {
		t.Fatal(err)
	}
	who, err := d.Token(ctx, secret, "192.0.2.9:1")
	if err != nil || who.Name != "ben" || who.Token != token.ID || who.Via != access.ViaToken || len(who.Grants) != 1 {
		t.Fatalf("%+v %v", who, err)
	}
	d.time.move(time.Minute)
	_, err = d.Token(ctx, short, "")
	wantErr(t, err, access.ErrUnrecognised)
	if err := d.RemoveUser(ctx, root(), "ben"); err != nil {
		t.Fatal(err)
	}
	_, err = d.Session(ctx, s.Secret, "")
	wantErr(t, err, access.ErrUnrecognised)
	_, err = d.Token(ctx, secret, "")
	wantErr(t, err, access.ErrUnrecognised)
	// The name's next owner has nothing of the last one's.
	ben = d.user(t, "ben", fleet.Viewer)
	_, err = d.Token(ctx, secret, "")
	wantErr(t, err, access.ErrUnrecognised)
	if grants, err := d.Grants(ctx, ben, "ben"); len(grants) != 0 || err != nil {
		t.Errorf("grants %v: %v", grants, err)
	}
}

func TestSomebodyStaysAdmin(t *testing.T) {
	t.Parallel()
	d, ctx := newDesk(t), t.Context()
	ann, ben := d.user(t, "ann", fleet.Admin), d.user(t, "ben", fleet.Admin)
	errs := make(chan error)
	go func() { errs <- d.RemoveUser(ctx, ann, "ben") }()
	go func() { errs <- d.RemoveUser(ctx, ben, "ann") }()
	one, other := <-errs, <-errs
	if (one == nil) == (other == nil) {
		t.Fatalf("two who remove each other: %v, %v", one, other)
	}
	wantErr(t, errors.Join(one, other), fleet.ErrLastAdmin)
	users, err := d.Users(ctx, root())
	if err != nil || len(users) != 1 {
		t.Fatalf("%v %v", users, err)
	}
	wantErr(t, d.SetRole(ctx, root(), users[0].Name, fleet.Operator), fleet.ErrLastAdmin)
}

func TestATokenMakesNoOther(t *testing.T) {
	t.Parallel()
	d, ctx := newDesk(t), t.Context()
	d.user(t, "ann", fleet.Admin)
	ben := d.user(t, "ben", fleet.Operator)
	byToken := ben
	byToken.Via = access.ViaToken
	_, _, err := d.CreateAPIToken(ctx, byToken, access.NewAPIToken{})
	wantErr(t, err, access.ErrDenied)
	_, _, err = d.CreateAPIToken(ctx, ben, access.NewAPIToken{User: "ann"})
	wantErr(t, err, access.ErrDenied)
	_, _, err = d.CreateAPIToken(ctx, access.Who{Name: "ben"}, access.NewAPIToken{User: "ben"})
	wantErr(t, err, access.ErrDenied)
	_, _, err = d.CreateAPIToken(ctx, root(), access.NewAPIToken{})
	wantErr(t, err, fleet.ErrInvalid) // uid:0 has no account
	_, _, err = d.CreateAPIToken(ctx, ben, access.NewAPIToken{Expires: d.time.now()})
	wantErr(t, err, fleet.ErrInvalid)
	_, _, err = d.CreateAPIToken(ctx, ben, access.NewAPIToken{Name: "a\nb"})
	wantErr(t, err, fleet.ErrInvalid)
	_, anns, err := d.CreateAPIToken(ctx, root(), access.NewAPIToken{User: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	wantErr(t, d.RevokeAPIToken(ctx, ben, anns.ID), fleet.ErrUnknown)
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if _, _, err := d.fleet.Accounts.CreateAPIToken(ctx, fleet.APIToken{User: "ben"}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	_, _, err = d.CreateAPIToken(ctx, ben, access.NewAPIToken{})
	wantErr(t, err, access.ErrTooMany)
}

func TestLabels(t *testing.T) {
	t.Parallel()
	d, ctx := newDesk(t), t.Context()
	if _, err := d.fleet.Sessions.Enrol(ctx, fleet.Gateway{ID: "g1", Key: [32]byte{1}, Enrolled: d.time.now()}); err != nil {
		t.Fatal(err)
	}
	var heard []map[string]string
	d.Changed = func(_ context.Context, g fleet.Standing) { heard = append(heard, g.Labels) }
	north, lab, name := "north", "lab", "Lab 1"
	g, err := d.ChangeGateway(ctx, root(), "g1", access.Change{Name: &name, Labels: map[string]*string{"site": &north, "kind": &lab, "gone": nil}})
	if err != nil || g.Name != name || fleet.SelectorText(g.Labels) != "kind=lab,site=north" {
		t.Fatalf("%+v %v", g, err)
	}
	g, err = d.ChangeGateway(ctx, root(), "g1", access.Change{Labels: map[string]*string{"kind": nil}})
	if err != nil || g.Name != name || fleet.SelectorText(g.Labels) != "site=north" || len(heard) != 2 {
		t.Fatalf("%+v %v, heard %v", g, err, heard)
	}
	long, comma, line := strings.Repeat("x", 129), "a,b", "a\nb"
	for key, value := range map[string]*string{
		"": &north, "-a": &north, "a-": &north, "a b": &north, "a=b": &north, "é": &north, strings.Repeat("k", 64): &north,
		"long": &long, "comma": &comma, "line": &line,
	} {
		_, err := d.ChangeGateway(ctx, root(), "g1", access.Change{Labels: map[string]*string{key: value}})
		wantErr(t, err, fleet.ErrInvalid)
	}
	many := make(map[string]*string)
	for i := range 65 {
		many[fmt.Sprintf("k%d", i)] = &north
	}
	_, err = d.ChangeGateway(ctx, root(), "g1", access.Change{Labels: many})
	wantErr(t, err, fleet.ErrInvalid)
	_, err = d.ChangeGateway(ctx, root(), "g1", access.Change{Name: &line})
	wantErr(t, err, fleet.ErrInvalid)
	_, err = d.ChangeGateway(ctx, root(), "g2", access.Change{Name: &name})
	wantErr(t, err, fleet.ErrUnknown)
	_, err = d.Grant(ctx, root(), "ann", "get", map[string]string{"a b": "c"})
	wantErr(t, err, fleet.ErrInvalid)

	d.Changed = nil
	// Two who label at once lose nothing of each other's.
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if _, err := d.ChangeGateway(ctx, root(), "g1", access.Change{Labels: map[string]*string{fmt.Sprintf("n%d", i): &lab}}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if g, err := d.fleet.Sessions.Gateway(ctx, "g1", d.time.now()); err != nil || len(g.Labels) != 21 {
		t.Errorf("labels %v: %v", g.Labels, err)
	}
}

func TestOnlyWhoNeverComesBackIsForgotten(t *testing.T) {
	t.Parallel()
	d, ctx := newDesk(t), t.Context()
	for i, id := range []string{"g1", "g2"} {
		if _, err := d.fleet.Sessions.Enrol(ctx, fleet.Gateway{ID: id, Key: [32]byte{byte(i + 1)}, Enrolled: d.time.now()}); err != nil {
			t.Fatal(err)
		}
	}
	run, err := d.fleet.Sessions.Attend(ctx, "hub", d.time.now(), d.time.now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	s, _, err := d.fleet.Sessions.Begin(ctx, fleet.Session{Gateway: "insecure/x", Hub: "hub", Run: run, Since: d.time.now()})
	if err != nil {
		t.Fatal(err)
	}
	wantErr(t, d.ForgetGateway(ctx, root(), "g1"), access.ErrInUse)
	wantErr(t, d.ForgetGateway(ctx, root(), "insecure/x"), access.ErrInUse)
	wantErr(t, d.RevokeGateway(ctx, root(), "insecure/x", ""), fleet.ErrInvalid)
	wantErr(t, d.RevokeGateway(ctx, root(), "g3", ""), fleet.ErrUnknown)
	var gone []string
	d.Forgotten = func(_ context.Context, id string) { gone = append(gone, id) }
	if err := d.RevokeGateway(ctx, root(), "g1", "stolen"); err != nil {
		t.Fatal(err)
	}
	if err := d.ForgetGateway(ctx, root(), "g1"); err != nil {
		t.Error(err)
	}
	if _, err := d.fleet.Sessions.End(ctx, "insecure/x", s.Epoch, d.time.now(), ""); err != nil {
		t.Fatal(err)
	}
	if err := d.ForgetGateway(ctx, root(), "insecure/x"); err != nil {
		t.Error(err)
	}
	if !slices.Equal(gone, []string{"g1", "insecure/x"}) {
		t.Errorf("told of %v", gone)
	}
	if r, err := d.Revoked(ctx, root()); err != nil || len(r) != 1 || r[0].Why != "stolen (the hub's socket)" {
		t.Errorf("%+v %v", r, err)
	}
}
