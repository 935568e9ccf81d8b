package test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/test/lab"
)

const (
	registryZone = "studio.test"
	studioSecret = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"
)

// updatable is a name server that takes updates by RFC 2136 from the key "up".
type updatable struct {
	name string
	// start serves the zone studio.test. names are those that the key may update,
	// none means all.
	start func(h *lab.Host, names, records []string) *lab.Process
}

func updatables() []updatable {
	keys := map[string]string{"up": studioSecret}
	return []updatable{
		{"BIND", func(h *lab.Host, names, records []string) *lab.Process {
			policy := []string{"grant up zonesub ANY;"}
			if len(names) > 0 {
				policy = nil
			}
			for _, n := range names {
				policy = append(policy, fmt.Sprintf("grant up name %s.%s ANY;", n, registryZone))
			}
			return h.BIND(lab.BIND{Keys: keys, Zones: []lab.Zone{{Name: registryZone, Records: records, UpdatePolicy: policy}}})
		}},
		{"Knot", func(h *lab.Host, names, records []string) *lab.Process {
			return h.Knot(lab.Knot{Keys: keys, Zones: []lab.Zone{{Name: registryZone, Records: records}}, Grants: map[string][]string{"up": names}})
		}},
	}
}

// eachUpdatable runs a test with every server that takes updates.
func eachUpdatable(t *testing.T, f func(t *testing.T, s *publishing)) {
	t.Parallel()
	for _, u := range updatables() {
		t.Run(u.name, func(t *testing.T) {
			t.Parallel()
			lab.Require(t, "root", "ip", "dig")
			l := lab.New(t)
			a := l.Subnet("a", "10.99.1.0/24")
			s := &publishing{Lab: l, updatable: u, a: a}
			s.server, s.desk, s.other = l.Host("server").Join(a), l.Host("desk").Join(a), l.Host("other").Join(a)
			s.key = s.writeKey(t, "up.key", "up", studioSecret)
			f(t, s)
		})
	}
}

// publishing is a subnet with a name server and two machines that register.
type publishing struct {
	*lab.Lab
	updatable
	a                   *lab.Subnet
	server, desk, other *lab.Host
	key                 string // the file
}

func (s *publishing) writeKey(t *testing.T, file, name, secret string) string {
	t.Helper()
	path := filepath.Join(s.Dir(), file)
	if err := os.WriteFile(path, fmt.Appendf(nil, "key %q { algorithm hmac-sha256; secret %q; };\n", name, secret), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// zone returns what the server holds, without SOA and NS, TTLs and the domain.
func (s *publishing) zone(t *testing.T) []string {
	t.Helper()
	var out []string
	lab.Eventually(t, 20*time.Second, "the zone", func() error {
		r := s.server.Run("dig", "+noall", "+answer", "@127.0.0.1", registryZone, "AXFR")
		out = nil
		ends := 0
		for line := range strings.Lines(r.Stdout) {
			f := strings.Fields(line)
			if len(f) < 5 || strings.HasPrefix(line, ";") {
				continue
			}
			switch f[3] {
			case "SOA":
				ends++
			case "NS":
			default:
				text := f[0] + " " + strings.Join(f[3:], " ")
				out = append(out, strings.ReplaceAll(text, "."+registryZone+".", ""))
			}
		}
		if ends != 2 { // a transfer begins with that record, and ends with it (RFC 5936 §2.2)
			return fmt.Errorf("exit %d: %s%s", r.Exit, r.Stdout, r.Stderr)
		}
		return nil
	})
	slices.Sort(out)
	return out
}

// advertise starts lanfolk nmos advertise for an API of the host.
func (s *publishing) advertise(h *lab.Host, name string, args ...string) *lab.Process {
	return h.Lanfolk(append([]string{"nmos", "advertise", name, "8080", "--type", "register", "--api-version", "v1.2,v1.3", "--host", h.Name, "--address", h.Links[0].V4.String(),
		"--domain", registryZone, "--server", s.server.Links[0].V4.String(), "--tsig-file", s.key, "--no-mdns", "--state", s.Dir() + "/" + h.Name, "-o", "jsonl"}, args...)...).Start()
}

// registered waits until a command says that it is in the domain.
func registered(p *lab.Process, name string) {
	p.WaitLine(30*time.Second, "registration of "+name, func(line string) bool {
		return strings.Contains(line, `"event":"announced"`) && strings.Contains(line, `"via":"unicast"`) && strings.Contains(line, fmt.Sprintf("%q", name))
	})
}

// names are those that a key needs for an API of the desk, without its lease.
func (s *publishing) names(instance string) []string {
	return []string{instance, instance[strings.Index(instance, ".")+1:], "_services._dns-sd._udp", s.desk.Name}
}

// documented starts the server with the policy that docs/protocols/nmos-advertise.md
// shows for it.
func (s *publishing) documented(t *testing.T, records []string) {
	t.Helper()
	text, err := os.ReadFile("../docs/protocols/nmos-advertise.md")
	if err != nil {
		t.Fatal(err)
	}
	var policy, names []string
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "grant ") {
			policy = append(policy, strings.ReplaceAll(strings.ReplaceAll(line, "reg-1-key", "up"), "example.com", registryZone))
		}
		if list, ok := strings.CutPrefix(line, "update-owner-name: ["); ok {
			names = strings.Split(strings.Trim(list, " ]"), ", ")
		}
	}
	if len(policy) != 6 || len(names) != 6 {
		t.Fatalf("the document has the policies %q and %q", policy, names)
	}
	if s.name == "Knot" {
		s.start(s.server, names, records)
		return
	}
	s.server.BIND(lab.BIND{Keys: map[string]string{"up": studioSecret}, Zones: []lab.Zone{{Name: registryZone, Records: records, UpdatePolicy: policy}}})
}

// A key that may update nothing but the names of its API is enough. An old TXT
// record is replaced and not joined by a second one, and nothing is left.
func TestAdvertiseInADomain(t *testing.T) {
	eachUpdatable(t, func(t *testing.T, s *publishing) {
		lab.Require(t, "avahi-daemon", "avahi-browse", "dbus-daemon", "nsupdate")
		const instance = "reg-1._nmos-register._tcp"
		avahi := s.other.Avahi(lab.Avahi{DBus: true})
		s.documented(t, []string{
			instance + ` 60 TXT "api_proto=http" "api_ver=v1.0" "pri=5"`, instance + " 60 SRV 0 0 8080 reg-1", "_nmos-register._tcp 60 PTR " + instance,
		})
		p := s.desk.Lanfolk("nmos", "advertise", "reg-1", "8080", "--type", "register", "--api-version", "v1.3,v1.2", "--pri", "10", "--host", "reg-1", "--address", "10.99.1.11",
			"--domain", registryZone, "--server", "10.99.1.10", "--tsig-file", s.key, "--state", s.Dir(), "-o", "jsonl").Start()
		registered(p, "reg-1")
		announced(p, "reg-1")
		got := s.zone(t)
		leases := slices.DeleteFunc(slices.Clone(got), func(r string) bool { return !strings.HasPrefix(r, "_lease.") })
		got = slices.DeleteFunc(got, func(r string) bool { return strings.HasPrefix(r, "_lease.") })
		want := []string{
			"_nmos-register._tcp PTR " + instance, "_services._dns-sd._udp PTR _nmos-register._tcp", "reg-1 A 10.99.1.11",
			instance + " SRV 0 0 8080 reg-1", instance + ` TXT "api_proto=http" "api_ver=v1.2,v1.3" "api_auth=false" "pri=10"`,
		}
		if !slices.Equal(got, want) || len(leases) != 2 {
			t.Errorf("the zone has %q and %q, want %q", got, leases, want)
		}
		finds(t, avahi, "_nmos-register._tcp", true, ";10.99.1.11;8080;", `"pri=10"`, `"api_ver=v1.2,v1.3"`)
		// That key can do nothing else.
		c := s.desk.Command("nsupdate", "-k", s.key)
		c.Stdin = "server 10.99.1.10\nzone " + registryZone + "\nupdate add other." + registryZone + " 60 A 192.0.2.1\nsend\n"
		if r := c.Run(); r.Exit == 0 {
			t.Errorf("the key may update another name: %s%s", r.Stdout, r.Stderr)
		}
		if code := p.Stop(); code != 0 {
			t.Errorf("stopped with %d: %s", code, p.Stderr())
		}
		if got := s.zone(t); len(got) > 0 {
			t.Errorf("left in the zone: %q", got)
		}
	})
}

// Where the policy knows nothing of lease records, the API is registered without one.
func TestAdvertiseWithoutALease(t *testing.T) {
	eachUpdatable(t, func(t *testing.T, s *publishing) {
		s.start(s.server, s.names("reg-1._nmos-register._tcp"), nil)
		p := s.advertise(s.desk, "reg-1", "--lease", "4s")
		registered(p, "reg-1")
		time.Sleep(5 * time.Second) // two renewals
		if got := s.zone(t); len(got) != 5 {
			t.Errorf("the zone has %q", got)
		}
		if n := strings.Count(p.Stderr(), "takes no lease record"); n != 2 {
			t.Errorf("said %d times, want once for the API and once for its host: %s", n, p.Stderr())
		}
		if code := p.Stop(); code != 0 {
			t.Errorf("stopped with %d: %s", code, p.Stderr())
		}
		if got := s.zone(t); len(got) > 0 {
			t.Errorf("left in the zone: %q", got)
		}
	})
}

// What dies is removed by the others when its lease has run out; they live on.
func TestAdvertiserThatDiesIsRemoved(t *testing.T) {
	eachUpdatable(t, func(t *testing.T, s *publishing) {
		s.start(s.server, nil, nil)
		short := []string{"--lease", "6s", "--lease-grace", "4s"}
		dies := s.advertise(s.desk, "dies", append(short, "--subtype", "_main")...)
		registered(dies, "dies")
		first := s.advertise(s.other, "first", short...)
		second := s.advertise(s.other, "second", append(short, "--legacy")...)
		registered(first, "first")
		registered(second, "second")
		second.WaitLine(15*time.Second, "registration by the former name", func(line string) bool {
			return strings.Contains(line, `"event":"announced"`) && strings.Contains(line, "_nmos-registration._tcp")
		})

		look := func() []string {
			got := s.zone(t)
			for _, want := range []string{
				"first._nmos-register._tcp SRV 0 0 8080 other", "second._nmos-registration._tcp SRV 0 0 8080 other", "other A " + s.other.Links[0].V4.String(),
			} {
				if !slices.Contains(got, want) {
					t.Errorf("something of a living one is gone, %s: %q", want, got)
				}
			}
			return got
		}
		for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
			if got := look(); !slices.Contains(got, "dies._nmos-register._tcp SRV 0 0 8080 desk") { // it is renewed meanwhile
				t.Fatalf("removed while it lived: %q", got)
			}
		}
		dies.Kill()
		var until time.Time // of its lease, by what stands in the zone
		lab.Eventually(t, 40*time.Second, "removal of the dead", func() (err error) {
			for _, r := range look() {
				if _, text, ok := strings.Cut(r, `"until=`); ok && strings.HasPrefix(r, "_lease.dies.") {
					if until, err = time.Parse(time.RFC3339, text[:strings.Index(text, `"`)]); err != nil {
						t.Fatal(err)
					}
				}
				if strings.Contains(r, "dies") || strings.HasPrefix(r, "desk") {
					err = fmt.Errorf("there is still %s", r)
				}
			}
			return err
		})
		if late := time.Since(until); until.IsZero() || late < 4*time.Second {
			t.Errorf("removed %v after the end of its lease, %v; there are 4 s of grace", late, until)
		}
		for _, p := range []*lab.Process{first, second} {
			if code := p.Stop(); code != 0 {
				t.Errorf("stopped with %d: %s", code, p.Stderr())
			}
		}
		if got := s.zone(t); len(got) > 0 {
			t.Errorf("left in the zone: %q", got)
		}
	})
}

func TestAdvertiseWhileTheServerIsAway(t *testing.T) {
	eachUpdatable(t, func(t *testing.T, s *publishing) {
		p := s.advertise(s.desk, "reg-1", "--lease", "4s")
		p.WaitLine(20*time.Second, "failure", func(line string) bool { return strings.Contains(line, "no answer") })
		server := s.start(s.server, nil, nil)
		registered(p, "reg-1")
		if code := server.Stop(); code != 0 {
			t.Fatalf("the server stopped with %d", code)
		}
		time.Sleep(3 * time.Second)
		s.start(s.server, nil, nil) // it has forgotten everything
		lab.Eventually(t, 20*time.Second, "registration with the new server", func() error {
			if n := len(s.zone(t)); n != 7 {
				return fmt.Errorf("%d records", n)
			}
			return nil
		})
		if code := p.Stop(); code != 0 {
			t.Errorf("stopped with %d: %s", code, p.Stderr())
		}
		if got := s.zone(t); len(got) > 0 {
			t.Errorf("left in the zone: %q", got)
		}
		// A key that the server doesn't know, and one with another secret.
		for name, secret := range map[string]string{"nobody": studioSecret, "up": "d3Jvbmd3cm9uZ3dyb25nd3Jvbmd3cm9u"} {
			key := s.writeKey(t, "wrong.key", name, secret)
			p := s.advertise(s.desk, "reg-2", "--tsig-file", key)
			if code := p.Wait(20 * time.Second); code != 4 || !strings.Contains(p.Stderr(), "refuses the update") {
				t.Errorf("key %s: exit %d: %s", name, code, p.Stderr())
			}
			t.Logf("key %s: %s", name, p.Stderr())
		}
		if got := s.zone(t); len(got) > 0 {
			t.Errorf("there with a wrong key: %q", got)
		}
	})
}

// lateClock is a library that lets a program's clock be ten minutes ahead until
// the file that AHEAD names is gone.
const lateClock = `
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static int ahead(void) { const char *f = getenv("AHEAD"); return f && access(f, F_OK) == 0 ? 600 : 0; }
int clock_gettime(clockid_t c, struct timespec *t) {
	int r = syscall(SYS_clock_gettime, c, t);
	if (r == 0 && (c == CLOCK_REALTIME || c == CLOCK_REALTIME_COARSE)) t->tv_sec += ahead();
	return r;
}
int gettimeofday(struct timeval *t, void *z) {
	struct timespec s;
	clock_gettime(CLOCK_REALTIME, &s);
	t->tv_sec = s.tv_sec; t->tv_usec = s.tv_nsec / 1000;
	return 0;
}
time_t time(time_t *t) {
	struct timespec s;
	clock_gettime(CLOCK_REALTIME, &s);
	if (t) *t = s.tv_sec;
	return s.tv_sec;
}
`

// A server whose clock is wrong refuses every signature; when it is right, the API
// is registered by itself.
func TestAdvertiseWithClocksThatDiffer(t *testing.T) {
	t.Parallel()
	lab.Require(t, "root", "ip", "dig", "gcc")
	l := lab.New(t)
	a := l.Subnet("a", "10.99.1.0/24")
	s := &publishing{Lab: l, a: a}
	s.server, s.desk = l.Host("server").Join(a), l.Host("desk").Join(a)
	s.key = s.writeKey(t, "up.key", "up", studioSecret)
	library, source, ahead := filepath.Join(l.Dir(), "late.so"), filepath.Join(l.Dir(), "late.c"), filepath.Join(l.Dir(), "ahead")
	for file, text := range map[string]string{source: lateClock, ahead: ""} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if r := s.server.Run("gcc", "-shared", "-fPIC", "-o", library, source); r.Exit != 0 {
		t.Fatalf("gcc: %s", r.Stderr)
	}
	s.server.BIND(lab.BIND{
		Keys: map[string]string{"up": studioSecret}, Env: []string{"LD_PRELOAD=" + library, "AHEAD=" + ahead},
		Zones: []lab.Zone{{Name: registryZone, UpdatePolicy: []string{"grant up zonesub ANY;"}}},
	})
	p := s.advertise(s.desk, "reg-1")
	p.WaitLine(20*time.Second, "refusal", func(line string) bool {
		return strings.Contains(line, "BADTIME: its clock and this machine's differ by more than five minutes")
	})
	if err := os.Remove(ahead); err != nil {
		t.Fatal(err)
	}
	registered(p, "reg-1")
	if code := p.Stop(); code != 0 {
		t.Errorf("stopped with %d: %s", code, p.Stderr())
	}
	if got := s.zone(t); len(got) > 0 {
		t.Errorf("left in the zone: %q", got)
	}
}

// This machine's addresses are followed, without a new start.
func TestAddressesAreFollowedInADomain(t *testing.T) {
	eachUpdatable(t, func(t *testing.T, s *publishing) {
		s.start(s.server, nil, nil)
		p := s.desk.Lanfolk("announce", "web", "_http._tcp", "80", "--domain", registryZone, "--server", "10.99.1.10", "--tsig-file", s.key, "--state", s.Dir(), "-o", "jsonl").Start()
		registered(p, "web")
		s.desk.Link(s.a).AddAddresses(netip.MustParseAddr("10.99.1.77"))
		lab.Eventually(t, 20*time.Second, "the new address", func() error {
			if got := s.zone(t); !slices.ContainsFunc(got, func(r string) bool { return strings.HasSuffix(r, " A 10.99.1.77") }) || !slices.ContainsFunc(got, func(r string) bool { return strings.HasSuffix(r, " A 10.99.1.11") }) {
				return fmt.Errorf("%q", got)
			}
			return nil
		})
		if code := p.Stop(); code != 0 {
			t.Errorf("stopped with %d: %s", code, p.Stderr())
		}
		if got := s.zone(t); len(got) > 0 {
			t.Errorf("left in the zone: %q", got)
		}
	})
}

// The API is in no way advertised while it doesn't work.
func TestAdvertiseWhatWorks(t *testing.T) {
	eachUpdatable(t, func(t *testing.T, s *publishing) {
		lab.Require(t, "avahi-daemon", "avahi-browse", "dbus-daemon")
		s.start(s.server, nil, nil)
		avahi := s.other.Avahi(lab.Avahi{DBus: true})
		p := s.desk.Lanfolk("nmos", "advertise", "q", "8080", "--type", "query", "--api-version", "v1.3", "--health", "tcp", "--health-interval", "500ms",
			"--domain", registryZone, "--server", "10.99.1.10", "--tsig-file", s.key, "--state", s.Dir(), "-o", "jsonl").Start()
		for _, via := range []string{"mdns", "unicast"} {
			p.WaitLine(20*time.Second, "death by "+via, func(line string) bool {
				return strings.Contains(line, `"event":"withdrawn"`) && strings.Contains(line, `"via":"`+via+`"`)
			})
		}
		if got := s.zone(t); len(got) > 0 {
			t.Errorf("in the zone though it is dead: %q", got)
		}
		api := s.desk.Mosquitto("listener 8080", "allow_anonymous true") // anything that listens
		registered(p, "q")
		announced(p, "q")
		finds(t, avahi, "_nmos-query._tcp", false, ";q;")
		if got := s.zone(t); !slices.ContainsFunc(got, func(r string) bool { return strings.HasPrefix(r, "q._nmos-query._tcp TXT") }) {
			t.Errorf("the zone has %q", got)
		}
		api.Kill()
		lab.Eventually(t, 20*time.Second, "withdrawal in both ways", func() error {
			out := browse(t, avahi, "_nmos-query._tcp", false)
			if got := s.zone(t); len(got) > 0 || slices.ContainsFunc(out, has(";q;")) {
				return fmt.Errorf("there are %q and %q", got, out)
			}
			return nil
		})
		if code := p.Stop(); code != 0 {
			t.Errorf("stopped with %d: %s", code, p.Stderr())
		}
	})
}

// A node advertises what its config says, by mDNS and in a domain, and its status
// tells how each way stands.
func TestNodeAdvertises(t *testing.T) {
	eachUpdatable(t, func(t *testing.T, s *publishing) {
		lab.Require(t, "avahi-daemon", "avahi-browse", "dbus-daemon")
		s.start(s.server, nil, []string{"taken._nmos-query._tcp 60 SRV 0 0 1 elsewhere"})
		avahi := s.other.Avahi(lab.Avahi{DBus: true})
		open := filepath.Join(s.Dir(), "open.key")
		if err := os.WriteFile(open, fmt.Appendf(nil, "up:hmac-sha256:%s\n", studioSecret), 0o644); err != nil {
			t.Fatal(err)
		}
		domain := "[[nmos.advertise.domain]]\nname = \"" + registryZone + "\"\nserver = \"10.99.1.10\"\nkey_file = %q\n"
		n := s.desk.Up(lab.Node{Config: "name = \"gw\"\n[http]\nenabled = false\n" +
			"[[nmos.advertise]]\nname = \"{host} registry\"\nkind = \"register\"\nport = 8080\nversions = [\"v1.3\", \"v1.2\"]\nlegacy = true\n" + fmt.Sprintf(domain, s.key) +
			"[[nmos.advertise]]\nname = \"taken\"\nkind = \"query\"\nport = 8081\nversions = [\"v1.3\"]\nmdns = false\n" + fmt.Sprintf(domain, s.key) +
			"[[nmos.advertise]]\nname = \"dead\"\nkind = \"system\"\nport = 9\nversions = [\"v1.0\"]\nhealth.check = \"tcp\"\n" + fmt.Sprintf(domain, s.key) +
			"[[nmos.advertise]]\nname = \"open\"\nkind = \"netctrl\"\nport = 8082\nversions = [\"v1.0\"]\nmdns = false\n" + fmt.Sprintf(domain, open)})
		type way struct{ Via, Instance, State, Error, Expires string }
		want := []string{
			`gw registry mdns announced gw registry._nmos-register._tcp.local`, `gw registry mdns announced gw registry._nmos-registration._tcp.local`,
			`gw registry unicast registered gw registry._nmos-register._tcp.` + registryZone, `gw registry unicast registered gw registry._nmos-registration._tcp.` + registryZone,
			`taken unicast registered taken (2)._nmos-query._tcp.` + registryZone,
			"dead mdns dead dead._nmos-system._tcp.local", "dead unicast dead dead._nmos-system._tcp." + registryZone,
			"open unicast failed open._nmos-netctrl._tcp." + registryZone,
		}
		lab.Eventually(t, 20*time.Second, "advertisement in every way", func() error {
			var status struct {
				Advertised []struct {
					Name string
					Ways []way
				} `json:"nmos_advertised"`
			}
			if err := n.JSON(&status, "status"); err != nil {
				return err
			}
			var got []string
			for _, a := range status.Advertised {
				for _, w := range a.Ways {
					got = append(got, strings.Join([]string{a.Name, w.Via, w.State, w.Instance}, " "))
					if (w.State == "registered") != (w.Expires != "") || (w.State == "dead" || w.State == "failed") != (w.Error != "") {
						return fmt.Errorf("%+v", w)
					}
				}
			}
			if !slices.Equal(got, want) {
				return fmt.Errorf("%q, want %q", got, want)
			}
			return nil
		})
		out := n.Run("status").Stdout
		for _, want := range []string{"advertises", "chmod 640 it", "lease until"} {
			if !strings.Contains(out, want) {
				t.Errorf("status doesn't say %q: %s", want, out)
			}
		}
		got := s.zone(t)
		for _, want := range []string{`gw\032registry._nmos-register._tcp TXT "api_proto=http" "api_ver=v1.2,v1.3" "api_auth=false" "pri=0"`, "gw A 10.99.1.11"} {
			if !slices.Contains(got, want) {
				t.Errorf("the zone has no %s: %q", want, got)
			}
		}
		finds(t, avahi, "_nmos-registration._tcp", false, `;gw\032registry;`)
		if code := n.Stop(); code != 0 {
			t.Errorf("stopped with %d", code)
		}
		if got := s.zone(t); len(got) != 1 {
			t.Errorf("left in the zone: %q", got)
		}
		if strings.Contains(n.Stderr()+n.Stdout(), studioSecret) {
			t.Error("the key's secret is in the log")
		}
	})
}
