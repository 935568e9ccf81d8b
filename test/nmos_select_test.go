package test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	answer "github.com/lanfolk/lanfolk/internal/find"
	"github.com/lanfolk/lanfolk/test/lab"
)

// control is a Network Control API on a host of a zone of its own.
type control struct {
	name, host string
	port, pri  int
	more       string // of the TXT record
}

// studioZone advertises APIs of a kind in example.test.
func studioZone(kind string, all ...control) lab.Zone {
	z := lab.Zone{Name: "example.test", Records: []string{"a A 10.99.1.10", "b A 10.99.1.11", "c A 10.99.1.12"}}
	for _, c := range all {
		if c.more == "" {
			c.more = `"api_proto=http" "api_ver=v1.0" "api_auth=false"`
		}
		full := strings.ReplaceAll(c.name, " ", `\ `) + "._nmos-" + kind + "._tcp"
		z.Records = append(z.Records, fmt.Sprintf("_nmos-%s._tcp PTR %s", kind, full),
			fmt.Sprintf("%s SRV 0 0 %d %s", full, c.port, c.host), fmt.Sprintf(`%s TXT %s "pri=%d"`, full, c.more, c.pri))
	}
	return z
}

func selection(t *testing.T, text string) answer.Selection {
	t.Helper()
	var s answer.Selection
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return s
}

// names are the instances of the groups.
func names(s answer.Selection) string {
	var groups []string
	for _, g := range s.Groups {
		var in []string
		for _, a := range g {
			in = append(in, a.Instance)
		}
		groups = append(groups, strings.Join(in, "="))
	}
	return strings.Join(groups, " > ")
}

func TestNMOSSelectByUnicastNeedsNoRightsAndNoMulticast(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	a := l.Subnet("a", "10.99.1.0/24")
	server, desk := l.Host("server").Join(a), l.Host("desk").Join(a)
	server.BIND(lab.BIND{Zones: []lab.Zone{studioZone("netctrl",
		control{name: "third", host: "c", port: 8080, pri: 30}, control{name: "first one", host: "a", port: 80, pri: 0},
		control{name: "second", host: "b", port: 80, pri: 10}, control{name: `bad\027[31m`, host: "b", port: 81, pri: 0, more: `"api_proto=HTTP"`},
	)}})
	heard := a.Capture()
	run := func(args ...string) lab.Result {
		c := desk.Lanfolk(append([]string{"nmos", "select"}, args...)...)
		c.User = lab.Nobody
		return c.Run()
	}
	r := run("--domain", "example.test", "--server", "10.99.1.10", "-o", "jsonl")
	got := selection(t, r.Stdout)
	if r.Exit != 0 || names(got) != "first one > second > third" || len(got.Discarded) != 1 || r.Took > time.Second {
		t.Errorf("exit %d after %v: %s%s", r.Exit, r.Took, r.Stdout, r.Stderr)
	}
	want := `"selected":{"instance":"first one","domain":"example.test","via":"unicast","host":"a.example.test","port":80,"addresses":["10.99.1.10"],` +
		`"api_proto":"http","api_ver":["v1.0"],"api_auth":false,"pri":0,"srv_priority":0,"srv_weight":0,"url":"http://a.example.test:80"}`
	if !strings.HasPrefix(r.Stdout, `{"groups":[[{"instance":"first one",`) || !strings.Contains(r.Stdout, want) ||
		!strings.Contains(r.Stdout, `"discarded":[{"instance":"bad\u001b[31m","reason":"api_proto is \"HTTP\": want http or https"`) {
		t.Errorf("it prints %s", r.Stdout)
	}
	t.Logf("took %v", r.Took)

	// The machine's own server and domain.
	conf := filepath.Join(l.Dir(), "resolv.conf")
	if err := os.WriteFile(conf, []byte("nameserver 10.99.1.10\nsearch example.test\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c := desk.Lanfolk("nmos", "select", "--mode", "unicast")
	c.User, c.Mounts = lab.Nobody, []lab.Mount{{Source: conf, Target: "/etc/resolv.conf"}}
	r = c.Run()
	for _, say := range []string{"* ", "http://a.example.test:80", "pri 10: after 0 of first one", `bad\u001b[31m`, `api_proto is "HTTP"`, "_nmos-netctrl._tcp in example.test"} {
		if !strings.Contains(r.Stdout, say) {
			t.Errorf("for people it doesn't say %q: exit %d\n%s%s", say, r.Exit, r.Stdout, r.Stderr)
		}
	}
	if strings.Contains(r.Stdout, "\x1b") {
		t.Errorf("an escape character reaches the terminal: %q", r.Stdout)
	}
	if r = run("--domain", "example.test", "--server", "10.99.1.10", "-o", "name"); r.Stdout != "http://a.example.test:80\n" {
		t.Errorf("the name is %q", r.Stdout)
	}
	// Nothing fits: what was discarded is told all the same.
	r = run("--domain", "example.test", "--server", "10.99.1.10", "--proto", "https", "-o", "json")
	if got = selection(t, r.Stdout); r.Exit != 5 || got.Selected != nil || len(got.Groups) != 0 || len(got.Discarded) != 4 || !strings.Contains(r.Stdout, `"selected": null`) {
		t.Errorf("nothing fits: exit %d: %s%s", r.Exit, r.Stdout, r.Stderr)
	}
	if r = run("--domain", "example.test", "--server", "10.99.1.10", "--type", "query", "--mode", "unicast"); r.Exit != 5 {
		t.Errorf("nothing is there: exit %d: %s%s", r.Exit, r.Stdout, r.Stderr)
	}
	for _, p := range heard.MDNS() {
		t.Errorf("multicast DNS was used: from %v", p.Src)
		break
	}
}
