package node

import (
	"errors"
	"os/user"
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk/internal/config"
)

// A program runs as the user of its section, or says why it can't.
func TestUsersOfPrograms(t *testing.T) {
	users := []user.User{
		{Username: "root", Uid: "0", Gid: "0"}, {Username: "toor", Uid: "0", Gid: "0"},
		{Username: "lanfolk", Uid: "990", Gid: "991"}, {Username: "backup", Uid: "34", Gid: "35"}, {Username: "odd", Uid: "S-1-5", Gid: "1"},
	}
	byName := func(name string) (*user.User, error) {
		for _, u := range users {
			if u.Username == name {
				return &u, nil
			}
		}
		return nil, user.UnknownUserError(name)
	}
	byID := func(id string) (*user.User, error) {
		for _, u := range users {
			if u.Uid == id {
				return &u, nil
			}
		}
		return nil, user.UnknownUserIdError(1)
	}
	for _, c := range []struct {
		user, more string
		own        int
		others     bool
		uid, gid   uint32
		want       string
	}{
		{"backup", "", 0, true, 34, 35, ""},
		{"34", "", 0, true, 34, 35, ""},
		{"4711", "", 0, true, 4711, 4711, ""},
		{"lanfolk", "", 990, false, 0, 0, ""},
		{"backup", "", 990, true, 34, 35, ""},
		{"backup", "", 990, false, 34, 35, "lanfolk isn't root, so that it can't become user backup"},
		{"gone", "", 0, true, 0, 0, "user: unknown user gone"},
		{"toor", "", 0, true, 0, 0, "user toor is root by another name"},
		{"toor", "allow_root = true", 0, true, 0, 0, ""},
		{"toor", "allow_root = true", 990, true, 0, 0, ""},
		{"odd", "", 0, true, 0, 0, "user odd: "},
	} {
		parsed, err := config.Parse("lanfolk.toml", []byte("[[gateway.program]]\nname = \"p\"\npath = \"/bin/p\"\nuser = \""+c.user+"\"\n"+c.more))
		if err != nil {
			t.Fatal(err)
		}
		p, err := program(parsed.Gateway.Programs[0], c.own, c.others, byName, byID)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s for %d: %v; want %q", c.user, c.own, err, c.want)
			continue
		}
		own := c.uid == 0 && c.own == 0 || c.user == "lanfolk" // no change of user
		if err == nil && (p.User == nil) != own {
			t.Errorf("%s for %d: runs as %+v", c.user, c.own, p.User)
		}
		if err == nil && p.User != nil && (p.User.UID != c.uid || p.User.GID != c.gid) {
			t.Errorf("%s for %d: runs as %+v", c.user, c.own, p.User)
		}
	}
}

func TestReasonsAreOneLine(t *testing.T) {
	var all []error
	for range 7 {
		all = append(all, errors.New("ended"))
	}
	if got, want := inLine(all).Error(), "ended; ended; ended; ended; and 3 more"; got != want {
		t.Errorf("%q; want %q", got, want)
	}
}
