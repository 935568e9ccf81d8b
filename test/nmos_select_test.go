package test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
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
	if r.Exit != 0 || names(got) != "first one > second > third" || len(got.Discarded) != 1 || r.Alone > time.Second {
		t.Errorf("exit %d after %v, %v with others: %s%s", r.Exit, r.Alone, r.Took, r.Stdout, r.Stderr)
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
	p := desk.Lanfolk("nmos", "select", "--domain", "example.test", "--server", "10.99.1.10", "--watch", "--json").Start()
	change(t, p, 20*time.Second, "choice", chose("first one"))
	const port = ":14E9 " // 5353
	if open := desk.Run("cat", "/proc/net/udp", "/proc/net/udp6").Stdout; open == "" || strings.Contains(open, port) {
		t.Errorf("a socket of multicast DNS is open:\n%s", open)
	}
	for _, p := range heard.MDNS() {
		t.Errorf("multicast DNS was used: from %v", p.Src)
		break
	}
}

// web is an HTTP server in a host that can die.
func web(t *testing.T, h *lab.Host, port int, status int) (die func()) {
	t.Helper()
	var ln net.Listener
	if err := h.Do(func() (err error) {
		ln, err = net.Listen("tcp", fmt.Sprintf(":%d", port))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })}
	go func() { _ = s.Serve(ln) }()
	die = func() {
		ln.Close() // the server may not know of it yet
		s.Close()
	}
	t.Cleanup(die)
	return die
}

// registryTXT is that of a registry, with its priority.
func registryTXT(pri int) []string {
	return []string{"api_proto=http", "api_ver=v1.2,v1.3", "api_auth=false", fmt.Sprintf("pri=%d", pri)}
}

// change reads one line of a watch.
func change(t *testing.T, p *lab.Process, d time.Duration, what string, ok func(answer.SelectionChange) bool) answer.SelectionChange {
	t.Helper()
	var got answer.SelectionChange
	p.WaitLine(d, what, func(line string) bool {
		var ch answer.SelectionChange
		if err := json.Unmarshal([]byte(line), &ch); err != nil {
			t.Errorf("%v in %s", err, line)
			return true
		}
		if ok(ch) {
			got = ch
			return true
		}
		return false
	})
	return got
}

func chose(name string) func(answer.SelectionChange) bool {
	return func(ch answer.SelectionChange) bool {
		return ch.Event == "selected" && ch.Selected != nil && ch.Selected.Instance == name
	}
}

// Where no server knows one, mDNS is asked: by the node if one runs, or with
// sockets of the command's own.
func TestNMOSSelectByMulticastBesideANodeAndAlone(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	a := l.Subnet("a", "10.99.1.0/24", "fd99:1::/64")
	studio, desk := l.Host("studio").Join(a), l.Host("desk").Join(a)
	studio.Avahi(lab.Avahi{Services: []lab.Service{
		{Name: "Registry A", Type: "_nmos-register._tcp", Port: 8080, TXT: registryTXT(10)},
		{Name: "Registry B", Type: "_nmos-register._tcp", Port: 8081, TXT: registryTXT(0)},
		{Name: "For tests", Type: "_nmos-register._tcp", Port: 8082, TXT: registryTXT(100)},
	}})
	die := web(t, studio, 8081, http.StatusOK)
	web(t, studio, 8080, http.StatusOK)
	n := desk.Up(lab.Node{})
	conf := filepath.Join(l.Dir(), "resolv.conf")
	if err := os.WriteFile(conf, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	nowhere := []lab.Mount{{Source: conf, Target: "/etc/resolv.conf"}}
	check := func(what string, run func() lab.Result) {
		t.Helper()
		lab.Eventually(t, 30*time.Second, what, func() error {
			r := run()
			got := selection(t, r.Stdout)
			if r.Exit != 0 || names(got) != "Registry B > Registry A" || got.Selected.Instance != "Registry B" || got.Selected.Via != "mdns" ||
				got.Selected.URL != "http://studio.local:8081" || len(got.Selected.Addresses) < 2 || len(got.Discarded) != 1 ||
				got.Discarded[0].Reason != "pri 100 is for development, 0 to 99 is live" {
				return fmt.Errorf("exit %d after %v: %s%s", r.Exit, r.Took, r.Stdout, r.Stderr)
			}
			t.Logf("%s: %v", what, r.Took)
			return nil
		})
	}
	check("beside a node", func() lab.Result {
		return n.Run("nmos", "select", "--type", "register", "--mode", "mdns", "-o", "json")
	})
	alone := func(args ...string) func() lab.Result {
		return func() lab.Result {
			c := desk.Lanfolk(append([]string{"nmos", "select", "--type", "register"}, args...)...)
			c.Mounts = nowhere
			return c.Run()
		}
	}
	check("alone", alone("-o", "json", "--direct"))
	check("on one interface", alone("--api-version", "v1.3,v1.4", "-i", "eth0", "--json"))

	watch := func(args ...string) *lab.Process {
		return desk.Lanfolk(append([]string{"nmos", "select", "--type", "register", "--mode", "mdns", "--watch", "--json", "--check-every", "200ms"}, args...)...).Start()
	}
	watches := []*lab.Process{watch("--state", n.State), watch("--direct")}
	for _, p := range watches {
		change(t, p, 20*time.Second, "choice", chose("Registry B"))
	}
	die()
	for i, p := range watches {
		ch := change(t, p, 20*time.Second, "next choice", chose("Registry A"))
		if !strings.Contains(ch.Reason, "Registry B failed: ") {
			t.Errorf("watch %d says why: %s", i, ch.Reason)
		}
		if !slices.ContainsFunc(ch.Others, func(o answer.Reason) bool {
			return o.Instance == "Registry B" && strings.Contains(o.Reason, "marked invalid for ")
		}) {
			t.Errorf("watch %d says of the others: %+v", i, ch.Others)
		}
	}
	for _, p := range watches {
		if code := p.Stop(); code != 130 {
			t.Errorf("interrupted, it exits with %d: %s", code, p.Stderr())
		}
	}
	// A watch ends with its node, and says so.
	p := watch("--state", n.State)
	change(t, p, 20*time.Second, "choice", func(ch answer.SelectionChange) bool { return ch.Selected != nil })
	n.Stop()
	if code := p.Wait(20 * time.Second); code != 3 {
		t.Errorf("without its node it exits with %d: %s", code, p.Stderr())
	}
}

// A node keeps what its configuration asks for, and says why.
func TestNMOSSelectionsOfANode(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	a := l.Subnet("a", "10.99.1.0/24")
	server, studio, desk := l.Host("server").Join(a), l.Host("studio").Join(a), l.Host("desk").Join(a)
	server.BIND(lab.BIND{Zones: []lab.Zone{studioZone("netctrl",
		control{name: "main", host: "b", port: 8080, pri: 0}, control{name: "spare", host: "b", port: 8081, pri: 10},
		control{name: "secure", host: "b", port: 8082, pri: 0, more: `"api_proto=https" "api_ver=v1.0" "api_auth=false"`},
	)}})
	die := web(t, studio, 8080, http.StatusOK)
	web(t, studio, 8081, http.StatusNotImplemented) // which is a good answer
	n := desk.Up(lab.Node{Config: `
[[nmos.select]]
kind = "netctrl"
proto = "http"
mode = "unicast"
domains = ["example.test"]
servers = ["10.99.1.10"]
check_every = "200ms"

[[nmos.select]]
name = "the registry"
kind = "register"
url = "http://10.99.1.11:8081"
check_every = "200ms"
`})
	type status struct{ NMOS []answer.KeptSelection }
	kept := func(d time.Duration, want string) answer.KeptSelection {
		t.Helper()
		var s status
		lab.Eventually(t, d, want, func() error {
			if err := n.JSON(&s, "status"); err != nil {
				return err
			}
			if len(s.NMOS) != 2 || s.NMOS[0].Selected == nil || s.NMOS[0].Selected.Instance != want {
				return fmt.Errorf("it keeps %+v", s.NMOS)
			}
			return nil
		})
		if k := s.NMOS[1]; k.Name != "the registry" || k.Selected == nil || k.Selected.URL != "http://10.99.1.11:8081" {
			t.Errorf("the configured one: %+v", k)
		}
		return s.NMOS[0]
	}
	k := kept(20*time.Second, "main")
	if k.Name != "netctrl" || k.Type != "netctrl" || len(k.Others) != 1 || k.Others[0].Instance != "spare" ||
		len(k.Discarded) != 1 || k.Discarded[0].Reason != "api_proto is https: this client needs http" {
		t.Errorf("it keeps %+v", k)
	}
	die()
	k = kept(20*time.Second, "spare")
	if !strings.Contains(k.Reason, "main failed: ") || k.Changes != 2 {
		t.Errorf("it changed %d times: %s", k.Changes, k.Reason)
	}
	out := n.Run("status").Stdout
	for _, say := range []string{"http://b.example.test:8081", "spare", "not main: ", "not secure: api_proto is https: this client needs http", "_nmos-netctrl._tcp in example.test"} {
		if !strings.Contains(out, say) {
			t.Errorf("the status doesn't say %q:\n%s", say, out)
		}
	}
	for name, want := range map[string]string{
		`lanfolk_nmos_selected{name="netctrl",type="netctrl"}`:                "1",
		`lanfolk_nmos_adverts{fit="no",name="netctrl",type="netctrl"}`:        "1",
		`lanfolk_part_events_total{event="changes",part="nmos netctrl"}`:      "2",
		`lanfolk_nmos_adverts{fit="yes",name="the registry",type="register"}`: "1",
	} {
		if got := metric(t, n, name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	// A node that is named is asked, though DNS alone needs none.
	r := n.Run("nmos", "select", "--mode", "unicast", "--domain", "example.test", "--server", "10.99.1.10", "--proto", "http", "--json")
	if got := selection(t, r.Stdout); r.Exit != 0 || names(got) != "main > spare" {
		t.Errorf("the node chooses: exit %d: %s%s", r.Exit, r.Stdout, r.Stderr)
	}
	c := desk.Lanfolk("nmos", "select", "--mode", "unicast", "--domain", "example.test", "--server", "10.99.1.10", "--state", filepath.Join(l.Dir(), "nowhere"))
	if r := c.Run(); r.Exit != 3 {
		t.Errorf("a node that isn't there was named: exit %d: %s%s", r.Exit, r.Stdout, r.Stderr)
	}
	lab.Eventually(t, 10*time.Second, "three changes in the log", func() error {
		if got := strings.Count(n.Stderr(), "NMOS API selected"); got != 3 {
			return fmt.Errorf("%d:\n%s", got, n.Stderr())
		}
		return nil
	})
}

// A machine that moves gets another resolv.conf; its node, and who watches alone, look
// there anew.
func TestNMOSSelectionFollowsResolvConf(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	a := l.Subnet("a", "10.99.1.0/24")
	first, second, desk := l.Host("first").Join(a), l.Host("second").Join(a), l.Host("desk").Join(a)
	first.BIND(lab.BIND{Zones: []lab.Zone{studioZone("query", control{name: "old", host: "a", port: 80, pri: 0})}})
	moved := studioZone("query", control{name: "new", host: "b", port: 80, pri: 0})
	moved.Name = "moved.test"
	second.BIND(lab.BIND{Zones: []lab.Zone{moved}})
	conf, settings, state := filepath.Join(l.Dir(), "resolv.conf"), filepath.Join(l.Dir(), "lanfolk.toml"), filepath.Join(l.Dir(), "state")
	for file, text := range map[string]string{
		conf:     "nameserver 10.99.1.10\nsearch example.test\n",
		settings: "[[nmos.select]]\nkind = \"query\"\nmode = \"unicast\"\ncheck_every = \"1h\"\ntimeout = \"1s\"\n",
	} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	web(t, first, 80, http.StatusOK)
	web(t, second, 80, http.StatusOK)
	up := desk.Lanfolk("up", "--state", state, "--config", settings)
	up.Mounts = []lab.Mount{{Source: conf, Target: "/etc/resolv.conf"}}
	up.Start().WaitLine(20*time.Second, "ready", func(line string) bool { return strings.HasPrefix(line, "ready") })
	keeps := func(d time.Duration, want string) {
		t.Helper()
		lab.Eventually(t, d, want, func() error {
			r := desk.Lanfolk("status", "--state", state, "--json").Run()
			if !strings.Contains(r.Stdout, `"url": "`+want+`"`) {
				return fmt.Errorf("exit %d: %s%s", r.Exit, r.Stdout, r.Stderr)
			}
			return nil
		})
	}
	c := desk.Lanfolk("nmos", "select", "--type", "query", "--mode", "unicast", "--watch", "--json")
	c.Mounts = up.Mounts
	alone := c.Start()
	change(t, alone, 20*time.Second, "choice", chose("old"))
	keeps(20*time.Second, "http://a.example.test:80")
	if err := os.WriteFile(conf, []byte("nameserver 10.99.1.11\nsearch moved.test\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	change(t, alone, 20*time.Second, "choice elsewhere", chose("new"))
	keeps(20*time.Second, "http://b.moved.test:80")
}
