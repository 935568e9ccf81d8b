package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestOwnHub(t *testing.T) {
	proc := t.TempDir()
	if err := os.Mkdir(filepath.Join(proc, "7"), 0o700); err != nil {
		t.Fatal(err)
	}
	limits := "Limit                     Soft Limit           Hard Limit           Units     \nMax open files            1024                 1024                 files     \n"
	if err := os.WriteFile(filepath.Join(proc, "7", "limits"), []byte(limits), 0o600); err != nil {
		t.Fatal(err)
	}
	const fine = `"gateways":{"total":512,"online":10},"pid":7`
	for _, c := range []struct{ name, status, want string }{
		{"fine", `{` + fine + `}`, "own hub good running; 10 of 512 gateways are online"},
		{"too few files", `{"gateways":{"total":513},"pid":7}`,
			"own hub good running; 0 of 513 gateways are online, own hub files warning it may open 1024 files, and each gateway's connection is one"},
		{"all at once", `{"store":{"healthy":false,"error":"disk full"},"insecure_grpc":"127.0.0.1:8514","results":{"bytes":100000000,"max_bytes":104857600},
			"audit":{"error":"no such folder"},"parts":[{"name":"grpc","state":"running"},{"name":"announcer","state":"failed","error":"no link"}]}`,
			"own hub good running; 0 of 0 gateways are online, own hub store problem disk full, own hub announcer problem no link, own hub audit problem no such folder, " +
				"own hub security warning at 127.0.0.1:8514 clients are believed what they say they are, and nothing is encrypted, own hub results warning 95 MiB of results, of 100"},
	} {
		var s OwnHubStatus
		if err := json.Unmarshal([]byte(c.status), &s); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range ownHub(s, proc) {
			got = append(got, fmt.Sprintf("%s %s %s", f.Check, f.Grade, f.Found))
			if f.Grade != Good && f.Advice == "" {
				t.Errorf("%s: no advice for %s", c.name, f.Check)
			}
		}
		if text := strings.Join(got, ", "); text != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, text, c.want)
		}
	}
	away := Doctor{OwnHub: func(context.Context) (s OwnHubStatus, err error) { return s, errors.New("nothing listens") }}
	if f := away.checkOwnHub(t.Context()); len(f) != 1 || f[0].Grade != Notice || f[0].Found != "nothing listens" {
		t.Errorf("a hub that doesn't run: %+v", f)
	}
	if f := (Doctor{}).checkOwnHub(t.Context()); f != nil {
		t.Errorf("no hub: %+v", f)
	}
}
