package test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnssd/unicast"
	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/test/lab"
)

const (
	tsigName   = "up.example.test"
	tsigSecret = "c2VjcmV0IG9mIHRoZSB0ZXN0IG9ubHk="
)

// exampleZone has services as RFC 6763 lays them out.
func exampleZone() lab.Zone {
	z := lab.Zone{Name: "example.test", UpdatePolicy: []string{"grant " + tsigName + " zonesub ANY;"}, Records: []string{
		`b._dns-sd._udp PTR example.test.`, `db._dns-sd._udp PTR example.test.`, `lb._dns-sd._udp PTR example.test.`, `r._dns-sd._udp PTR example.test.`,
		`_services._dns-sd._udp PTR _http._tcp`, `_services._dns-sd._udp PTR _ipp._tcp`,
		`_http._tcp PTR Build\ v1\.2\ B\195\188ro\\1._http._tcp`,
		`Build\ v1\.2\ B\195\188ro\\1._http._tcp SRV 0 0 8080 www`,
		`Build\ v1\.2\ B\195\188ro\\1._http._tcp TXT "path=/" "ro" "empty="`,
		`_admin._sub._http._tcp PTR Build\ v1\.2\ B\195\188ro\\1._http._tcp`,
		`www A 10.99.1.77`, `www AAAA fd99:1::77`,
	}}
	for i := range 90 {
		z.Records = append(z.Records, fmt.Sprintf("_ipp._tcp PTR A\\ printer\\ with\\ a\\ long\\ name\\ %d._ipp._tcp", i))
	}
	return z
}

func exampleServer(h *lab.Host) *lab.Process {
	return h.BIND(lab.BIND{
		Zones: []lab.Zone{
			exampleZone(),
			{Name: "1.99.10.in-addr.arpa", Records: []string{"77 PTR www.example.test.", "b._dns-sd._udp.0 PTR floor1.example.test."}},
		},
		Keys:    map[string]string{tsigName: tsigSecret},
		Options: []string{"querylog yes;", "max-udp-size 1232;"},
	})
}

// queries returns when a link's host sent DNS queries over UDP, by "name type" in lower
// and upper case; but for those that it sent again because no answer had come.
func queries(wire *lab.Capture, of *lab.Link) map[string][]time.Time {
	const soon = 100 * time.Millisecond // nobody gives up an answer that early
	all, open := make(map[string][]time.Time), make(map[string]time.Time)
	for _, f := range wire.Frames() {
		payload, src, dst, ok := f.UDP()
		var m dns.Msg
		if !ok || src != 53 && dst != 53 || m.Unpack(payload) != nil {
			continue
		}
		for _, q := range m.Question {
			key := strings.ToLower(q.Name) + " " + dns.TypeToString[q.Qtype]
			if m.Response {
				delete(open, key)
				continue
			}
			if !sentBy(f, of) {
				continue
			}
			if at, again := open[key]; !again || f.Time.Sub(at) < soon {
				all[key] = append(all[key], f.Time)
			}
			open[key] = f.Time
		}
	}
	return all
}

func TestUnicastDNSSD(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	a := l.Subnet("a", "10.99.1.0/24", "fd99:1::/64")
	server, desk := l.Host("server").Join(a), l.Host("desk").Join(a)
	bind := exampleServer(server)
	run := func(args ...string) lab.Result {
		c := desk.Lanfolk(append(args, "--server", "10.99.1.10")...)
		c.User = lab.Nobody // it needs no rights
		return c.Run()
	}

	r := run("browse", "_http._tcp", "--once", "--resolve", "--json", "--domain", "example.test")
	got := events(t, r.Stdout)
	if r.Exit != 0 || len(got) != 1 || r.Alone > 2*time.Second {
		t.Fatalf("browse: exit %d after %v: %s%s", r.Exit, r.Took, r.Stdout, r.Stderr)
	}
	e := got[0]
	if e.Name != `Build v1.2 Büro\1` || e.Host != "www.example.test" || e.Port != 8080 || e.Via != "unicast" || e.Domain != "example.test" || e.Interface != "" ||
		!slices.Equal(e.Addresses, []netip.Addr{netip.MustParseAddr("10.99.1.77"), netip.MustParseAddr("fd99:1::77")}) || len(e.TXT) != 3 || e.TXT["ro"] != nil {
		t.Errorf("browse: %s", r.Stdout)
	}
	r = run("browse", "--once", "--json", "--domain", "example.test.")
	if got = events(t, r.Stdout); len(got) != 2 || !strings.Contains(r.Stdout, `"_ipp._tcp"`) {
		t.Errorf("types: exit %d: %s%s", r.Exit, r.Stdout, r.Stderr)
	}
	r = run("browse", "_admin._sub._http._tcp", "--once", "--json", "--domain", "example.test")
	if got = events(t, r.Stdout); len(got) != 1 || !strings.Contains(r.Stdout, `"subtypes":["_admin"]`) {
		t.Errorf("subtype: exit %d: %s%s", r.Exit, r.Stdout, r.Stderr)
	}
	// 90 names are more than fit into a packet of 1232 bytes.
	r = run("browse", "_ipp._tcp", "--once", "--json", "--domain", "example.test")
	if got = events(t, r.Stdout); len(got) != 90 {
		t.Errorf("%d of 90 printers: exit %d: %s", len(got), r.Exit, r.Stderr)
	}
	bind.WaitText(20*time.Second, "query: _ipp._tcp.example.test IN PTR +E(0)T") // by TCP
	r = run("browse", "_nothing._tcp", "--once", "--json", "--domain", "example.test")
	if r.Exit != 0 || r.Stdout != "" || r.Alone > 2*time.Second {
		t.Errorf("nothing: exit %d after %v: %s%s", r.Exit, r.Took, r.Stdout, r.Stderr)
	}
	if r = run("browse", "_http._tcp", "--once", "--domain", "example.org"); r.Exit != 1 || !strings.Contains(r.Stderr, "10.99.1.10:53 says REFUSED") {
		t.Errorf("a zone that the server doesn't serve: exit %d: %s", r.Exit, r.Stderr)
	}

	r = run("resolve", `Build v1.2 Büro\1`, "_http._tcp", "--json", "--domain", "example.test")
	if r.Exit != 0 || !strings.Contains(r.Stdout, `"www.example.test"`) || r.Alone > 2*time.Second {
		t.Errorf("resolve: exit %d after %v: %s%s", r.Exit, r.Took, r.Stdout, r.Stderr)
	}
	if r = run("resolve", "Nobody", "_http._tcp", "--domain", "example.test"); r.Exit != 5 || r.Alone > 2*time.Second {
		t.Errorf("resolve of nobody: exit %d after %v: %s", r.Exit, r.Took, r.Stderr)
	}
	for _, host := range []string{"www", "www.example.test", "10.99.1.77"} {
		if r = run("lookup", host, "--json", "--domain", "example.test"); r.Exit != 0 || !strings.Contains(r.Stdout, `"10.99.1.77"`) || !strings.Contains(r.Stdout, "www.example.test") {
			t.Errorf("lookup %s: exit %d: %s%s", host, r.Exit, r.Stdout, r.Stderr)
		}
	}
	if r = run("lookup", "nobody", "--domain", "example.test"); r.Exit != 5 {
		t.Errorf("lookup of nobody: exit %d: %s", r.Exit, r.Stderr)
	}

	// A server that isn't there comes first.
	r = desk.Lanfolk("browse", "_http._tcp", "--once", "--json", "--domain", "example.test", "--server", "10.99.1.99", "--server", "10.99.1.10:53").Run()
	if got = events(t, r.Stdout); len(got) != 1 || r.Alone > 4*time.Second {
		t.Errorf("fail-over: exit %d after %v: %s%s", r.Exit, r.Took, r.Stdout, r.Stderr)
	}
	r = desk.Lanfolk("browse", "_http._tcp", "--once", "--domain", "example.test", "--server", "10.99.1.99").Run()
	if r.Exit != 6 {
		t.Errorf("no server: exit %d: %s", r.Exit, r.Stderr)
	}
}

// Domain enumeration (RFC 6763 §11): in the domain that is searched, in that of
// the host's address, and in .local; link-local addresses are no help.
func TestDomainEnumeration(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	a := l.Subnet("a", "10.99.1.0/24", "fd99:1::/64")
	server, desk := l.Host("server").Join(a), l.Host("desk").Join(a)
	bind := exampleServer(server)
	r := desk.Lanfolk("domains", "--search", "example.test", "--server", "10.99.1.10", "--json").Run()
	var got []struct {
		Name        string
		Kinds, From []string
	}
	if err := json.Unmarshal([]byte(r.Stdout), &got); err != nil || r.Exit != 0 {
		t.Fatalf("exit %d, %v: %s%s", r.Exit, err, r.Stdout, r.Stderr)
	}
	want := `[{example.test [b db r lb] [example.test]} {floor1.example.test [b] [0.1.99.10.in-addr.arpa]}]`
	if s := fmt.Sprint(got); s != want {
		t.Errorf("%s, want %s", s, want)
	}
	for _, line := range strings.Split(bind.Stderr(), "\n") {
		if strings.Contains(line, "query: ") && (strings.Contains(line, ".local ") || strings.Contains(line, "8.e.f.ip6.arpa")) {
			t.Errorf("asked by unicast DNS: %s", line)
		}
	}
}

func TestUnicastAnswersAreCached(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	a := l.Subnet("a", "10.99.1.0/24")
	server, masq, desk := l.Host("server").Join(a), l.Host("masq").Join(a), l.Host("desk").Join(a)
	wire := desk.Link(a).Capture()
	bind := exampleServer(server)
	// dnsmasq answers with TTL 0, and in lower case.
	masq.Dnsmasq("--local=/home.test/", "--ptr-record=_http._tcp.home.test,Web._http._tcp.home.test",
		"--srv-host=Web._http._tcp.home.test,www.home.test,80", "--txt-record=Web._http._tcp.home.test,path=/", "--host-record=www.home.test,10.99.1.77")
	none := desk.Lanfolk("browse", "_nothing._tcp", "--domain", "example.test", "--server", "10.99.1.10").Start()
	some := desk.Lanfolk("browse", "_http._tcp", "--resolve", "--json", "--domain", "home.test", "--server", "10.99.1.11").Start()
	some.WaitLine(20*time.Second, "service with TTL 0", func(line string) bool {
		return strings.Contains(line, `"name":"web"`) && strings.Contains(line, `"10.99.1.77"`)
	})
	bind.WaitText(20*time.Second, "query: _nothing._tcp.example.test IN PTR ")
	time.Sleep(7 * time.Second)
	// What isn't there, and what has TTL 0, holds for 10 s.
	all := queries(wire, desk.Link(a))
	for q, times := range all {
		for i := 1; i < len(times); i++ {
			if d := times[i].Sub(times[i-1]); d < 9*time.Second {
				t.Errorf("%s asked again after %v", q, d)
			}
		}
	}
	// The address came along with the SRV record, so the other family was asked for later.
	want := []string{
		"_http._tcp.home.test. PTR", "_nothing._tcp.example.test. PTR", "web._http._tcp.home.test. SRV", "web._http._tcp.home.test. TXT", "www.home.test. AAAA",
	}
	if got := slices.Sorted(maps.Keys(all)); !slices.Equal(got, want) {
		t.Errorf("asked for %q, want %q", got, want)
	}
	for _, p := range []*lab.Process{none, some} {
		if code := p.Stop(); code != 0 && code != 130 {
			t.Errorf("stopped with %d", code)
		}
	}
}

// dialIn opens a host's connections.
func dialIn(h *lab.Host) unicast.DialFunc {
	return func(_ context.Context, network, address string) (c net.Conn, err error) {
		err = h.Do(func() error {
			c, err = net.DialTimeout(network, address, 5*time.Second)
			return err
		})
		return c, err
	}
}

func TestRegistrationByDynamicUpdate(t *testing.T) {
	t.Parallel()
	lab.Require(t, "dig")
	l := lab.New(t)
	a := l.Subnet("a", "10.99.1.0/24")
	server, nas, desk := l.Host("server").Join(a), l.Host("nas").Join(a), l.Host("desk").Join(a)
	exampleServer(server)
	secret, err := base64.StdEncoding.DecodeString(tsigSecret)
	if err != nil {
		t.Fatal(err)
	}
	keyName, err := dnswire.ParseName(tsigName)
	if err != nil {
		t.Fatal(err)
	}
	servers := unicast.Servers{Addrs: []netip.AddrPort{netip.MustParseAddrPort("10.99.1.10:53")}, Dial: dialIn(nas)}
	registrar := func(key unicast.Key) (*unicast.Registrar, chan unicast.RegistrationEvent) {
		states := make(chan unicast.RegistrationEvent, 100)
		return &unicast.Registrar{
			Servers: servers, Key: &key,
			Instance: dnssd.Instance{Name: `My. NAS\`, Service: "_smb._tcp", Domain: "example.test"},
			Offer: unicast.Offer{
				Subtypes: []string{"_disk"}, Port: 445, TXT: []string{"a=1", "b"}, Host: "nas.example.test",
				Addresses: []netip.Addr{netip.MustParseAddr("10.99.1.11"), netip.MustParseAddr("fd99:1::b")},
			},
			Changed: func(ev unicast.RegistrationEvent) { states <- ev },
		}, states
	}
	good := unicast.Key{Name: keyName, Algorithm: "hmac-sha256", Secret: secret}
	start := func(r *unicast.Registrar) (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.Run(ctx) }()
		stop = func() {
			cancel()
			select {
			case err := <-ended:
				if err != nil {
					t.Errorf("Run: %v", err)
				}
			case <-time.After(time.Minute):
				t.Error("Run doesn't end")
			}
		}
		return stop
	}
	await := func(states chan unicast.RegistrationEvent, what string, ok func(unicast.RegistrationEvent) bool) unicast.RegistrationEvent {
		t.Helper()
		for end := time.After(time.Minute); ; {
			select {
			case ev := <-states:
				if ok(ev) {
					return ev
				}
			case <-end:
				t.Fatalf("no %s", what)
			}
		}
	}
	registered := func(ev unicast.RegistrationEvent) bool { return ev.State == unicast.Registered }
	dig := func(name, typ string) string { return desk.Run("dig", "+short", "@10.99.1.10", name, typ).Stdout }

	// A wrong key is refused, and nothing is there.
	wrong, states := registrar(unicast.Key{Name: keyName, Algorithm: "hmac-sha256", Secret: []byte("wrong")})
	stop := start(wrong)
	ev := await(states, "refusal", func(ev unicast.RegistrationEvent) bool { return ev.Err != nil })
	if !unicast.Refused(ev.Err) {
		t.Errorf("a wrong key: %v", ev.Err)
	}
	stop()
	if out := dig("_smb._tcp.example.test", "PTR") + dig("nas.example.test", "A"); out != "" {
		t.Fatalf("there with a wrong key: %s", out)
	}

	r, states := registrar(good)
	stop = start(r)
	ev = await(states, "registration", registered)
	if ev.Zone != "example.test" || ev.Instance.Name != `My. NAS\` || ev.Host != "nas.example.test" {
		t.Errorf("registered: %+v", ev)
	}
	full := `My\.\032NAS\\._smb._tcp.example.test.`
	for q, want := range map[[2]string]string{
		{"_smb._tcp.example.test", "PTR"}:            full + "\n",
		{"_disk._sub._smb._tcp.example.test", "PTR"}: full + "\n",
		{full, "SRV"}:                "0 0 445 nas.example.test.\n",
		{full, "TXT"}:                "\"a=1\" \"b\"\n",
		{"nas.example.test", "A"}:    "10.99.1.11\n",
		{"nas.example.test", "AAAA"}: "fd99:1::b\n",
	} {
		if out := dig(q[0], q[1]); out != want {
			t.Errorf("%s %s: %q, want %q", q[0], q[1], out, want)
		}
	}
	if out := dig("_services._dns-sd._udp.example.test", "PTR"); !strings.Contains(out, "_smb._tcp.example.test.") {
		t.Errorf("types: %s", out)
	}
	watch := desk.Lanfolk("browse", "_smb._tcp", "--resolve", "--json", "--domain", "example.test", "--server", "10.99.1.10").Start()
	watch.WaitLine(20*time.Second, "service", func(line string) bool {
		return strings.Contains(line, `"event":"add"`) && strings.Contains(line, "nas.example.test")
	})

	// Another with the name and another port takes another name, and the host's.
	other, otherStates := registrar(good)
	other.Port, other.Addresses = 446, []netip.Addr{netip.MustParseAddr("10.99.1.12")}
	stopOther := start(other)
	ev = await(otherStates, "second registration", registered)
	if ev.Instance.Name != `My. NAS\ (2)` || ev.Host != "nas-2.example.test" {
		t.Errorf("the second: %+v", ev)
	}
	// One just like the first, as after a crash, takes the name over.
	again, againStates := registrar(good)
	stopAgain := start(again)
	if ev = await(againStates, "registration again", registered); ev.Instance.Name != `My. NAS\` || ev.Host != "nas.example.test" {
		t.Errorf("again: %+v", ev)
	}
	stopAgain()
	stop()
	if out := dig("_smb._tcp.example.test", "PTR"); strings.Contains(out, full) || !strings.Contains(out, "(2") {
		t.Errorf("after the end of the first: %s", out)
	}
	stopOther()
	for _, name := range []string{"_smb._tcp.example.test", "_disk._sub._smb._tcp.example.test", full, "nas.example.test", "nas-2.example.test"} {
		if out := desk.Run("dig", "+noall", "+answer", "@10.99.1.10", name, "ANY").Stdout; strings.TrimSpace(out) != "" {
			t.Errorf("left at the end: %s", out)
		}
	}
	if out := dig("_services._dns-sd._udp.example.test", "PTR"); strings.Contains(out, "_smb") {
		t.Errorf("types at the end: %s", out)
	}
}

// A service that is taken back is gone for who watches when the TTL has passed.
func TestUnicastRemovalIsSeen(t *testing.T) {
	t.Parallel()
	lab.Require(t, "nsupdate")
	l := lab.New(t)
	a := l.Subnet("a", "10.99.1.0/24")
	server, desk := l.Host("server").Join(a), l.Host("desk").Join(a)
	exampleServer(server)
	update := func(line string) {
		c := desk.Command("nsupdate", "-y", "hmac-sha256:"+tsigName+":"+tsigSecret)
		c.Stdin = "server 10.99.1.10\nzone example.test\nupdate " + line + "\nsend\n"
		if r := c.Run(); r.Exit != 0 {
			t.Fatalf("nsupdate: %s", r.Stderr)
		}
	}
	update("add _x._udp.example.test 4 PTR one._x._udp.example.test")
	p := desk.Lanfolk("browse", "_x._udp", "--json", "--domain", "example.test", "--server", "10.99.1.10").Start()
	line := func(what, name string) func(string) bool {
		return func(s string) bool {
			return strings.Contains(s, `"event":"`+what+`"`) && strings.Contains(s, `"name":"`+name+`"`)
		}
	}
	p.WaitLine(20*time.Second, "add", line("add", "one"))
	update("add _x._udp.example.test 4 PTR two._x._udp.example.test")
	update("delete _x._udp.example.test PTR one._x._udp.example.test")
	p.WaitLine(20*time.Second, "add of another", line("add", "two"))
	p.WaitLine(20*time.Second, "remove", line("remove", "one"))
}

// A node keeps the services of the domains that its config names, and of those
// that they recommend, beside what it hears by mDNS.
func TestNodeKeepsServicesOfUnicastDNS(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	a := l.Subnet("a", "10.99.1.0/24")
	server, desk := l.Host("server").Join(a), l.Host("desk").Join(a)
	server.BIND(lab.BIND{Zones: []lab.Zone{
		{Name: "example.test", Records: []string{
			"b._dns-sd._udp PTR example.test.", "_services._dns-sd._udp PTR _http._tcp", "_http._tcp PTR Web._http._tcp",
			"Web._http._tcp SRV 0 0 80 www", `Web._http._tcp TXT "path=/"`, "www A 10.99.1.77",
		}},
		{Name: "home.test", Records: []string{
			"_services._dns-sd._udp PTR _http._tcp", "_http._tcp PTR Web._http._tcp",
			"Web._http._tcp SRV 0 0 81 www", "Web._http._tcp TXT \"\"", "www A 10.99.1.78",
		}},
	}})
	n := desk.Up(lab.Node{Config: "[http]\nenabled = false\n[dns]\nservers = [\"10.99.1.10\"]\nbrowse = [\"home.test\"]\nsearch = [\"example.test\"]\n"})
	type found struct {
		Name, Type, Protocol, Host, State string
		Port                              uint16
	}
	var all []found
	lab.Eventually(t, 20*time.Second, "services of two domains", func() error {
		all = nil
		if err := n.JSON(&all, "services", "--protocol", "dns-sd"); err != nil {
			return err
		}
		if len(all) != 2 {
			return fmt.Errorf("%d services", len(all))
		}
		for _, s := range all {
			if s.Name != "Web" || s.Type != "_http._tcp" || s.State != "reachable" || s.Host != map[uint16]string{80: "www.example.test", 81: "www.home.test"}[s.Port] {
				return fmt.Errorf("%+v", s)
			}
		}
		return nil
	})
	if r := n.Run("find", "_http._tcp", "--via", "dns-sd", "-o", "jsonl"); r.Exit != 0 || strings.Count(r.Stdout, `"dns-sd"`) != 2 {
		t.Errorf("find: exit %d: %s%s", r.Exit, r.Stdout, r.Stderr)
	}
	if r := n.Run("find", "www.home.test"); r.Exit != 0 || !strings.Contains(r.Stdout, "10.99.1.78") {
		t.Errorf("find a host: exit %d: %s%s", r.Exit, r.Stdout, r.Stderr)
	}
	if r := n.Run("find", "nobody.home.test"); r.Exit != 5 {
		t.Errorf("find nobody: exit %d: %s%s", r.Exit, r.Stdout, r.Stderr)
	}
	if r := n.Run("status"); !strings.Contains(r.Stdout, "2 domains") {
		t.Errorf("status: %s", r.Stdout)
	}
}

// What a server sends along isn't asked for: BIND sends the addresses with an SRV
// record. A list too long for a packet is fetched by TCP once.
func TestUnicastAsksForNoMoreThanItMust(t *testing.T) {
	t.Parallel()
	const many = 60
	l := lab.New(t)
	a := l.Subnet("a", "10.99.1.0/24")
	server, desk := l.Host("server").Join(a), l.Host("desk").Join(a)
	z := lab.Zone{Name: "example.test", Records: []string{"one A 10.99.1.77", "one AAAA fd99:1::77", "two A 10.99.1.78"}}
	for i := range many {
		name := fmt.Sprintf("A\\ web\\ server\\ %d._http._tcp", i)
		z.Records = append(z.Records, "_http._tcp PTR "+name, name+" SRV 0 0 80 "+[]string{"one", "two"}[i%2], name+` TXT "path=/"`)
	}
	bind := server.BIND(lab.BIND{Zones: []lab.Zone{z}, Options: []string{"querylog yes;"}})
	wire := desk.Link(a).Capture()
	r := desk.Lanfolk("browse", "_http._tcp", "--once", "--resolve", "--json", "--domain", "Example.TEST.", "--server", "10.99.1.10").Run()
	if got := events(t, r.Stdout); r.Exit != 0 || len(got) != many || strings.Count(r.Stdout, `"one.example.test","port":80,"addresses":["10.99.1.77","fd99:1::77"]`) != many/2 {
		t.Fatalf("%d of %d: exit %d: %s%s", len(got), many, r.Exit, r.Stdout, r.Stderr)
	}
	count := map[string]int{}
	for q, times := range queries(wire, desk.Link(a)) {
		count[q[strings.LastIndexByte(q, ' ')+1:]] += len(times)
	}
	if want := map[string]int{"PTR": 1, "SRV": many, "TXT": many}; !maps.Equal(count, want) {
		t.Errorf("queries %v, want %v", count, want)
	}
	lab.Eventually(t, 20*time.Second, "one query by TCP in the log", func() error {
		if n := strings.Count(bind.Stderr(), "+E(0)T"); n != 1 {
			return fmt.Errorf("%d:\n%s", n, bind.Stderr())
		}
		return nil
	})
}

// A list of DNS servers the first of which is silent, or refuses, and one that
// comes back: how long a look takes then.
func TestUnicastServersFail(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	a := l.Subnet("a", "10.99.1.0/24")
	dead, other, server, desk := l.Host("dead").Join(a), l.Host("other").Join(a), l.Host("server").Join(a), l.Host("desk").Join(a)
	exampleServer(server)
	other.BIND(lab.BIND{Zones: []lab.Zone{{Name: "example.org"}}})
	dead.BIND(lab.BIND{Zones: []lab.Zone{exampleZone()}})
	dead.Pause()
	browse := func(servers ...string) lab.Result {
		args := []string{"browse", "_http._tcp", "--once", "--resolve", "--json", "--domain", "example.test"}
		for _, s := range servers {
			args = append(args, "--server", s)
		}
		return desk.Lanfolk(args...).Run()
	}
	for _, c := range []struct {
		servers []string
		exit    int
		least   time.Duration
	}{
		{[]string{"10.99.1.10", "10.99.1.12"}, 0, 250 * time.Millisecond},
		{[]string{"10.99.1.11", "10.99.1.12"}, 0, 0},
		{[]string{"10.99.1.11"}, 1, 0},
		{[]string{"10.99.1.10"}, 6, 3 * time.Second},
	} {
		r := browse(c.servers...)
		if r.Exit != c.exit || r.Took < c.least || r.Alone > c.least+2500*time.Millisecond {
			t.Errorf("%v: exit %d after %v, want %d after %v: %s", c.servers, r.Exit, r.Took, c.exit, c.least, r.Stderr)
		}
	}
	watch := desk.Lanfolk("browse", "_http._tcp", "--resolve", "--json", "--domain", "example.test", "--server", "10.99.1.10").Start()
	time.Sleep(4 * time.Second) // it has failed by then
	dead.Resume()
	watch.WaitLine(20*time.Second, "service of the server that is back", func(line string) bool { return strings.Contains(line, `"www.example.test"`) })
}
