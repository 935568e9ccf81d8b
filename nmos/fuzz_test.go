package nmos_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/nmos"
)

var txtSeeds = []string{
	"api_proto=http\napi_ver=v1.0,v1.1\napi_auth=false\npri=10",
	"api_proto=https\napi_ver=v1.12, v1.5,,banana,v1\napi_auth=true\npri=99999999999999999999",
	"PRI=60\npri=0\n=pri=1\n\napi_proto=mqtt", "api_ver\npri=-1", "",
}

// Whatever a TXT record says, an advertisement that is accepted says all that its
// kind needs, and means the same when it is written again.
func FuzzParse(f *testing.F) {
	for i, s := range txtSeeds {
		f.Add(s, uint8(i))
	}
	f.Fuzz(func(t *testing.T, txt string, kind uint8) {
		k := nmos.Kinds()[int(kind)%len(nmos.Kinds())]
		found := nmos.Found{
			Instance: dnssd.Instance{Name: "A", Service: k.Service, Domain: "local"},
			Targets:  []nmos.Target{{Host: "a.local", Port: 80}}, TXT: []dnssd.TXT{strings.Split(txt, "\n")},
		}
		a, err := nmos.Parse(k, found)
		if err != nil {
			return
		}
		if a.Priority < 0 || !slices.Contains(k.Protos, a.Proto) || k.HasVersion != (len(a.Versions) > 0) {
			t.Fatalf("accepted %+v", a)
		}
		if again := nmos.ParseVersions(nmos.FormatVersions(a.Versions)); !slices.Equal(again, a.Versions) {
			t.Fatalf("versions %v, written and read again %v", a.Versions, again)
		}
	})
}

func TestFuzzSeeds(t *testing.T) {
	if len(txtSeeds) == 0 {
		t.Error("no seeds")
	}
}
