package hemtjanst_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk/hemtjanst"
)

func TestNamesThatBrokersOrReadersWouldMisreadAreRefused(t *testing.T) {
	for name, why := range map[string]string{
		"lamp-7": "", "u1/light/1": "", "Küche": "", "a b": "", strings.Repeat("x", 65000): "",
		"": "empty", "a+": "wildcard", "#": "wildcard", "$SYS": "a $", "a/$b": "a $", "/a": "level", "a/": "level", "a//b": "level", "/": "level",
		"a\x00": "control", "a\n": "control", "a\x7f": "control", "a\u0085": "control", "a\ufffe": "control", "\U0001ffff": "control",
		"\xff": "UTF-8", strings.Repeat("x", 65001): "too long",
	} {
		err := hemtjanst.CheckName(name)
		switch {
		case why == "" && err != nil:
			t.Errorf("%.20q: %v", name, err)
		case why != "" && (!errors.Is(err, hemtjanst.ErrName) || !strings.Contains(err.Error(), why)):
			t.Errorf("%.20q: %v, want %s", name, err, why)
		}
	}
}

func TestMetadataKeepsWhatItDoesNotKnow(t *testing.T) {
	const doc = "{ \"x\" : 1.0e2 ,\n\t\"root\":\"old\", \"providerID\":\"P0\", \"y\":[ ] }"
	m := must(hemtjanst.ParseMetadata([]byte(doc)))
	if got, want := string(m.With("root", "new").With("providerID", "P1").JSON()), "{\"x\" : 1.0e2,\"y\":[ ],\"root\":\"new\",\"providerID\":\"P1\" }"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if m.Name() != "" || m.Type() != "" || m.Root() != "old" || m.Provider() != "P0" || m.Features() != nil {
		t.Error("members are read wrongly")
	}
	if got := string((hemtjanst.Metadata{}).With("root", "r").JSON()); got != `{"root":"r"}` {
		t.Error(got)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
