package access_test

import (
	"errors"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/internal/access"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// TestWhoMayDoWhat goes through all roles and verbs. A line says which of the callers in
// its columns may: y or a dot.
func TestWhoMayDoWhat(t *testing.T) {
	north := map[string]string{"site": "north", "kind": "lab"}
	granted := func(role fleet.Role, verb string, selector map[string]string) access.Who {
		return access.Who{Name: "a", Role: role, Grants: []fleet.Grant{{User: "a", Verb: verb, Selector: selector}}}
	}
	callers := []access.Who{
		{Name: "nobody"},
		{Name: "stranger", Role: "root", Grants: []fleet.Grant{{Verb: "exec"}, {Verb: "get"}, {Verb: "capture"}}},
		{Name: "v", Role: fleet.Viewer},
		granted(fleet.Viewer, "exec", map[string]string{"site": "north"}),
		{Name: "o", Role: fleet.Operator},
		granted(fleet.Operator, "exec", map[string]string{"site": "north"}),
		granted(fleet.Operator, "exec", map[string]string{"site": "south"}),
		granted(fleet.Operator, "exec", map[string]string{"site": "north", "kind": "shop"}),
		granted(fleet.Operator, "get", nil),
		{Name: "c", Role: fleet.Operator, Grants: []fleet.Grant{{Verb: "capture", Selector: map[string]string{"kind": "shop"}}, {Verb: "capture", Selector: map[string]string{"kind": "lab"}}}},
		{Name: "admin", Role: fleet.Admin},
	}
	for _, c := range []struct{ what, may string }{
		{"read", "..yyyyyyyyy"},
		{"manage", "..........y"},
		{"list", "....yyyyyyy"},
		{"status", "....yyyyyyy"},
		{"devices", "....yyyyyyy"},
		{"services", "....yyyyyyy"},
		{"find", "....yyyyyyy"},
		{"fingerprints", "....yyyyyyy"},
		{"browse", "....yyyyyyy"},
		{"exec", "...y.y....y"},
		{"get", "........y.y"},
		{"capture", ".........yy"},
		{"reboot", "..........y"},
		{"EXEC", "..........y"},
		{"exec ", "..........y"},
		{"", "..........y"},
	} {
		for i, who := range callers {
			var err error
			switch c.what {
			case "read":
				err = who.MayRead()
			case "manage":
				err = who.MayManage()
			default:
				err = who.MayRun(c.what, north)
			}
			if err != nil && !errors.Is(err, access.ErrDenied) {
				t.Errorf("%q by caller %d: %v", c.what, i, err)
			}
			if may := err == nil; may != (c.may[i] == 'y') {
				t.Errorf("%q by caller %d (%s %s): may: %t; want %c", c.what, i, who.Name, who.Role, may, c.may[i])
			}
		}
	}
}

func TestAGrantForEveryGatewayNeedsNoLabels(t *testing.T) {
	who := access.Who{Role: fleet.Viewer, Grants: []fleet.Grant{{Verb: "get"}}}
	if err := who.MayRun("get", nil); err != nil {
		t.Error(err)
	}
	who.Grants[0].Selector = map[string]string{"site": ""}
	if err := who.MayRun("get", nil); !errors.Is(err, access.ErrDenied) {
		t.Errorf("a label that isn't there matches an empty value: %v", err)
	}
}

func TestAskedByTheUserOfNow(t *testing.T) {
	made := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	who := access.Who{Name: "ben", Role: fleet.Operator, Since: made}
	for _, c := range []struct {
		who  access.Who
		by   string
		when time.Time
		want bool
	}{
		{who, "ben", made, true},
		{who, "ben", made.Add(-1), false},
		{who, "ann", made, false},
		{access.Socket(0, true), "uid:0", made, true},
		{access.Who{}, "", made, false},
	} {
		if got := c.who.Asked(fleet.Command{By: c.by, Created: c.when}); got != c.want {
			t.Errorf("%s asked for what %s did at %s: %t", c.who.Name, c.by, c.when, got)
		}
	}
}
