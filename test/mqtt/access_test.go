package mqtt

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/test/lab"
)

// ways are how a client comes in, by name: the scheme, its flags, and its environment.
type way struct {
	scheme string
	args   []string
	env    []string
}

// TestWaysIn announces a device over each transport with each kind of
// credentials, and is refused with the wrong ones.
func TestWaysIn(t *testing.T) {
	t.Parallel()
	for _, name := range slices.Sorted(maps.Keys(brokers())) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := brokers()[name]
			m.Passwords = map[string]string{"lamp": "correct horse"}
			m.TLS, m.WebSocket = true, true
			s := newSite(t, m)
			ca := s.broker.Authority().CA
			secret := s.file("secret", "correct horse\n")
			wrong := s.file("wrong", "battery staple\n")
			password := []string{"--user", "lamp", "--password-file", secret}
			for _, w := range []way{
				{"mqtt", password, nil},
				{"mqtts", append([]string{"--ca", ca}, password...), nil},
				{"ws", password, nil},
				{"wss", append([]string{"--ca", ca}, password...), nil},
				{"mqtts", nil, []string{"LANFOLK_MQTT_CA=" + ca, "LANFOLK_MQTT_USER=lamp", "LANFOLK_MQTT_PASSWORD=correct horse"}},
				{"mqtt", append([]string{"--mqtt-version", "3.1.1"}, password...), nil},
				{"wss", append([]string{"--mqtt-version", "3.1.1", "--ca", ca}, password...), nil},
			} {
				s.comesIn(w)
			}
			s.isRefused("a wrong password", "mqtt", "--user", "lamp", "--password-file", wrong)
			s.isRefused("no password", "mqtt")
		})
	}
}

// TestCertificates lets in by client certificates: the common name is the user.
func TestCertificates(t *testing.T) {
	t.Parallel()
	for _, name := range slices.Sorted(maps.Keys(brokers())) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := brokers()[name]
			m.TLS, m.WebSocket, m.Certificates = true, true, true
			m.ACL = "user lamp\ntopic readwrite #\n"
			s := newSite(t, m)
			ca := s.broker.Authority()
			cert, key := ca.Issue("lamp")
			foreign, foreignKey := lab.NewAuthority(t, t.TempDir()).Issue("lamp")
			s.comesIn(way{"mqtts", []string{"--ca", ca.CA, "--cert", cert, "--key", key}, nil})
			s.comesIn(way{"wss", []string{"--ca", ca.CA, "--cert", cert, "--key", key}, nil})
			s.comesIn(way{"mqtts", nil, []string{"LANFOLK_MQTT_CA=" + ca.CA, "LANFOLK_MQTT_CERT=" + cert, "LANFOLK_MQTT_KEY=" + key}})
			s.isRefused("no certificate", "mqtts", "--ca", ca.CA)
			s.isRefused("a stranger's certificate", "mqtts", "--ca", ca.CA, "--cert", foreign, "--key", foreignKey)
			s.isRefused("a broker of a stranger", "mqtts", "--cert", cert, "--key", key)
		})
	}
}

// comesIn announces a device, sees it by the same way, and takes it back.
func (s *site) comesIn(w way) {
	t := s.t
	t.Helper()
	what := fmt.Sprintf("%s %s %s", w.scheme, strings.Join(w.args, " "), strings.Join(w.env, " "))
	common := append([]string{"--broker", s.broker.URL(w.scheme)}, w.args...)
	run := func(args ...string) *lab.Command {
		c := s.host.Lanfolk(append(append([]string{"mqtt"}, args...), common...)...)
		c.Env = w.env
		return c
	}
	p := run("announce", "--id", "lamp", "--root", "lamp").Start()
	p.WaitLine(becomesReady, "ready", func(line string) bool { return line == "ready" })
	watch := func(want string) {
		t.Helper()
		r := run("watch", "--once").Run()
		if r.Exit != 0 || !strings.Contains(r.Stdout, "lamp  lamp  "+want) {
			t.Errorf("%s: a watcher sees (exit %d)\n%s%s", what, r.Exit, r.Stdout, r.Stderr)
		}
	}
	watch("reachable")
	if code := p.Stop(); code != 0 {
		t.Errorf("%s: exit %d", what, code)
	}
	watch("unreachable")
}

// isRefused sees an announcer fail: it ends, or says why and tries again.
func (s *site) isRefused(what, scheme string, args ...string) {
	t := s.t
	t.Helper()
	p := s.host.Lanfolk(append([]string{"mqtt", "announce", "--id", "x", "--root", "x", "--broker", s.broker.URL(scheme)}, args...)...).Start()
	p.WaitLine(becomesReady, "failure", func(line string) bool {
		return line == "ready" || strings.HasPrefix(line, "lanfolk: ") || strings.Contains(line, "level=WARN")
	})
	p.Kill()
	if strings.Contains(p.Stdout(), "ready") {
		t.Errorf("with %s it comes in", what)
	}
}

// TestTopicRules keeps a device to its own topics.
func TestTopicRules(t *testing.T) {
	t.Parallel()
	for _, name := range slices.Sorted(maps.Keys(brokers())) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := brokers()[name]
			m.Passwords = map[string]string{"lamp": "a", "radio": "b", "reader": "c"}
			// What the embedded broker does of itself.
			m.ACL = "user reader\ntopic read #\npattern read #\npattern write current/+\npattern write device/%u\npattern write current/%u/#\n"
			s := newSite(t, m)
			announce := func(user, id string) *lab.Process {
				c := s.host.Lanfolk("mqtt", "announce", "--broker", s.broker.URL("mqtt"), "--user", user,
					"--id", id, "--root", id, "--client-id", user+id)
				c.Env = []string{"LANFOLK_MQTT_PASSWORD=" + m.Passwords[user]}
				return c.Start()
			}
			announce("lamp", "lamp").WaitLine(becomesReady, "ready", func(line string) bool { return line == "ready" })
			announce("lamp", "radio")
			time.Sleep(500 * time.Millisecond)
			c := s.host.Lanfolk("mqtt", "watch", "--once", "--broker", s.broker.URL("mqtt"), "--user", "reader")
			c.Env = []string{"LANFOLK_MQTT_PASSWORD=c"}
			out := c.Run().Stdout
			if !strings.Contains(out, "lamp  lamp  reachable") || strings.Contains(out, "radio") {
				t.Errorf("a watcher sees\n%s", out)
			}
		})
	}
}

// TestBrokerSurvivesKill is about lanfolk's broker alone: with nobody there to
// say anything again, what was retained is there after a kill, and a bridge that
// died with the broker is declared dead.
func TestBrokerSurvivesKill(t *testing.T) {
	t.Parallel()
	s := newSite(t, lab.MQTT{Lanfolk: true, Persistent: true, WillGrace: time.Second})
	s.document = []byte(`{"type":"light"}`)
	const n = 5000
	b := s.startBridge(step{As: "b", Provider: "P"}, bulk(n))
	before, err := retained(s.host.DialContext, "#")
	if err != nil || len(before) != 2*n+1 {
		t.Fatalf("%d retained: %v", len(before), err)
	}
	waitJournal(t, s.broker.Path("mqtt/mqtt.journal"), "all of it on disk", func(j journal) bool {
		return maps.Equal(before, j.retained) && j.hasWill("provider/P")
	})
	s.broker.Stop(syscall.SIGKILL)
	b.kill()
	started := time.Now()
	s.broker.Start()
	after, err := retained(s.host.DialContext, "#")
	if time.Since(started) >= s.broker.WillGrace { // it may have been spoken
		delete(before, "provider/P")
		delete(after, "provider/P")
	}
	if err != nil || !maps.Equal(before, after) {
		t.Errorf("%d retained before the kill, %d after, or others: %v", len(before), len(after), err)
	}
	lab.Eventually(t, 30*time.Second, "the bridge's will", func() error {
		got, err := retained(s.host.DialContext, "provider/#")
		if err == nil && len(got) > 0 {
			err = fmt.Errorf("retained %v", got)
		}
		return err
	})
	if log := s.broker.Log(); !strings.Contains(log, "state restored") {
		t.Errorf("it doesn't say so:\n%s", log)
	}
}

func bulk(n int) []device {
	var all []device
	for i := range n {
		all = append(all, device{ID: fmt.Sprintf("bulk-%d", i), Root: fmt.Sprintf("bulk/%d", i), Reachable: true})
	}
	return all
}
