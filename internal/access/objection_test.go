package access_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/internal/access"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// awayAccounts can't be read.
type awayAccounts struct {
	fleet.Accounts
	err error
}

func (a awayAccounts) User(context.Context, string) (fleet.User, error) {
	return fleet.User{}, a.err
}

// What somebody asked for is looked at again before it is sent.
func TestRightsThatGoWhileACommandWaits(t *testing.T) {
	t.Parallel()
	d, ctx := newDesk(t), t.Context()
	d.user(t, "ann", fleet.Admin)
	d.user(t, "ben", fleet.Operator)
	if _, err := d.fleet.Sessions.Enrol(ctx, fleet.Gateway{ID: "g1", Key: [32]byte{1}, Enrolled: d.time.now()}); err != nil {
		t.Fatal(err)
	}
	label := func(value string) {
		t.Helper()
		if _, err := d.ChangeGateway(ctx, root(), "g1", access.Change{Labels: map[string]*string{"site": &value}}); err != nil {
			t.Fatal(err)
		}
	}
	label("north")
	g, err := d.Grant(ctx, root(), "ben", "exec", map[string]string{"site": "north"})
	if err != nil {
		t.Fatal(err)
	}
	command := fleet.Command{Gateway: "g1", By: "ben", Created: d.time.now()}
	objects := func(verb, want string) {
		t.Helper()
		why, err := d.Objection(ctx, verb, command)
		if err != nil || (why == "") != (want == "") || !strings.Contains(why, want) {
			t.Errorf("%s: the objection is %q, %v; want %q", verb, why, err, want)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	objects("status", "")
	objects("exec", "")
	objects("get", "ben may not have it run any more: denied: get takes a grant")
	label("south")
	objects("exec", "takes a grant for this gateway's labels")
	label("north")
	objects("exec", "")
	must(d.RemoveGrant(ctx, root(), g.ID))
	objects("exec", "takes a grant")
	must(d.SetRole(ctx, root(), "ben", fleet.Viewer))
	objects("status", "takes an operator")
	must(d.SetRole(ctx, root(), "ben", fleet.Admin))
	objects("exec", "")
	must(d.RemoveUser(ctx, root(), "ben"))
	objects("status", `the account of "ben" who asked for it is gone`)
	d.time.move(time.Second)
	d.user(t, "ben", fleet.Admin) // another one of that name
	objects("status", "is gone")
	command.Gateway, command.Created = "forgotten", d.time.now()
	objects("exec", "")
	must(d.SetRole(ctx, root(), "ben", fleet.Operator))
	objects("exec", "takes a grant")
	objects("status", "")

	command.By = "uid:1000"
	objects("exec", "")
	command.By = ""
	objects("status", "is gone")
	failing := errors.New("the database is away")
	command.By, d.Accounts = "ann", awayAccounts{d.Accounts, failing}
	if _, err := d.Objection(ctx, "status", command); !errors.Is(err, failing) {
		t.Errorf("while nobody knows: %v", err)
	}
}
