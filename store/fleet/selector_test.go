package fleet_test

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk/store/fleet"
)

func TestSelectorsAreReadAsTheyAreWritten(t *testing.T) {
	for _, c := range []struct {
		text string
		want map[string]string
	}{
		{"", map[string]string{}},
		{"site=north", map[string]string{"site": "north"}},
		{"empty=,site=north hall", map[string]string{"empty": "", "site": "north hall"}},
		{"a=b=c", map[string]string{"a": "b=c"}},
	} {
		got, err := fleet.ParseSelector(c.text)
		if err != nil || !maps.Equal(got, c.want) || fleet.SelectorText(got) != c.text {
			t.Errorf("%q: %v, %v", c.text, got, err)
		}
	}
	for _, c := range []struct{ text, want string }{
		{"site", `label "site": want key=value`},
		{"=north", `label "=north": want key=value`},
		{"a=1,", `label "": want key=value`},
		{"a=1,a=2", `label "a" is there twice`},
	} {
		if got, err := fleet.ParseSelector(c.text); !errors.Is(err, fleet.ErrInvalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, %v; want an error with %q", c.text, got, err, c.want)
		}
	}
}
