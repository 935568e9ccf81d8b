package tged_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lanfolk/lanfolk/tged"
)

func TestNewService(t *testing.T) {
	long := strings.Repeat("x", 1100)
	for want, c := range map[string]struct {
		name   string
		fields []tged.Field
	}{
		`tged: service "": the name is empty`:                                                             {"", nil},
		`tged: service "A\nB": name "A\nB" holds control characters or isn't UTF-8`:                       {"A\nB", nil},
		`tged: service "\xff": name "\xff" holds control characters or isn't UTF-8`:                       {"\xff", nil},
		`tged: service " A": name " A" begins or ends with white space`:                                   {" A", nil},
		`tged: service "A": a key is empty`:                                                               {"A", []tged.Field{{Key: "", Value: "v"}}},
		`tged: service "A": key "A:B" holds a colon, white space or control characters, or isn't UTF-8`:   {"A", []tged.Field{{Key: "a:b", Value: "v"}}},
		`tged: service "A": key "A B" holds a colon, white space or control characters, or isn't UTF-8`:   {"A", []tged.Field{{Key: "A B", Value: "v"}}},
		`tged: service "A": key "A\r\n" holds a colon, white space or control characters, or isn't UTF-8`: {"A", []tged.Field{{Key: "A\r\n", Value: "v"}}},
		`tged: service "A": the value of K holds control characters or isn't UTF-8: "v\r\nX: y"`:          {"A", []tged.Field{{Key: "K", Value: "v\r\nX: y"}}},
		`tged: service "A": the value of K holds control characters or isn't UTF-8: "v\u0085"`:            {"A", []tged.Field{{Key: "K", Value: "v\u0085"}}},
		`tged: service "A": key "K" is there twice`:                                                       {"A", []tged.Field{{Key: "K", Value: "v"}, {Key: "k", Value: "w"}}},
		`tged: service "A": the reply has 1123 bytes, of which clients read 1024`:                         {"A", []tged.Field{{Key: "K", Value: long}}},
	} {
		if _, err := tged.NewService(c.name, c.fields); err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
	if _, err := tged.NewService(strings.Repeat("n", 256), nil); err == nil || !strings.Contains(err.Error(), "the name has 256 bytes, at most 255 are allowed") {
		t.Error(err)
	}
	s, err := tged.NewService("Sql", []tged.Field{{Key: "host", Value: " räksmörgås\t"}, {Key: "user", Value: ""}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]tged.Field{{Key: "HOST", Value: "räksmörgås"}, {Key: "USER"}}, s.Fields()); diff != "" || s.Name() != "Sql" {
		t.Errorf("%s:\n%s", s.Name(), diff)
	}
}

func service(t testing.TB, name, host string) *tged.Service {
	t.Helper()
	s, err := tged.NewService(name, []tged.Field{{Key: "HOST", Value: host}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func set(t testing.TB, all ...*tged.Service) *tged.Set {
	t.Helper()
	s, err := tged.NewSet(all...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSet(t *testing.T) {
	s := set(t, service(t, "Sql", "a"), service(t, "INVALID", "b"), service(t, "Größe", "c"))
	for name, want := range map[string]string{"sql": "Sql", "SQL": "Sql", "größe": "Größe", "GRÖSSE": "", "GRÖße": "", "sq": "", "": "", "INVALID": "", "invalid": "", strings.Repeat("x", 5000): ""} {
		x, err := s.Lookup([]byte(name))
		switch {
		case want == "" && !errors.Is(err, tged.ErrUnknown):
			t.Errorf("%.20s: %v, %v", name, x, err)
		case want != "" && (err != nil || x.Name() != want):
			t.Errorf("%s: %v, %v", name, x, err)
		}
	}
	if _, err := tged.NewSet(service(t, "sql", "a"), service(t, "SQL", "b")); err == nil || err.Error() != `tged: service "SQL" is there twice` {
		t.Error(err)
	}
}

// broken is Services that can't say.
type broken struct{}

func (broken) Lookup([]byte) (*tged.Service, error) { return nil, errors.New("disk on fire") }

// slow is Services that has to fetch everything.
type slow struct{ *tged.Set }

func (slow) Lookup([]byte) (*tged.Service, error) { return nil, tged.ErrPending }
func (s slow) Fetch(_ context.Context, name string) (*tged.Service, error) {
	return s.Set.Lookup([]byte(name))
}

func TestJoin(t *testing.T) {
	a, b := set(t, service(t, "A", "first")), set(t, service(t, "A", "second"), service(t, "B", "second"))
	for n, c := range []struct {
		all  tged.Fetcher
		name string
		want string
	}{
		{tged.Join(a, b), "A", "first"}, {tged.Join(a, b), "B", "second"}, {tged.Join(a, b), "C", "tged: unknown service"},
		{tged.Join(broken{}, b), "A", "second"}, {tged.Join(broken{}, a), "B", "disk on fire"}, {tged.Join(a, broken{}), "B", "disk on fire"},
		{tged.Join(slow{a}, b), "A", "first"}, {tged.Join(slow{a}, b), "B", "second"}, {tged.Join(slow{a}, b), "C", "tged: unknown service"},
		{tged.Join(slow{a}, broken{}), "B", "disk on fire"},
		{tged.Join(), "A", "tged: unknown service"},
	} {
		s, err := c.all.Lookup([]byte(c.name))
		if errors.Is(err, tged.ErrPending) {
			s, err = c.all.Fetch(context.Background(), c.name)
		}
		got := fmt.Sprint(err)
		if err == nil {
			got = s.Fields()[0].Value
		}
		if got != c.want {
			t.Errorf("%d: %s is %s, want %s", n, c.name, got, c.want)
		}
	}
}
