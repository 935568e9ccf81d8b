package mqtt

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/test/lab"
)

// A bridge whose link is cut for longer than its keep alive is marked, and says
// everything again when it is back. So is one that was stopped for as long.
func TestCutOff(t *testing.T) {
	t.Parallel()
	for _, name := range slices.Sorted(maps.Keys(brokers())) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lab.Require(t, "root", "ip", "mosquitto")
			l := lab.New(t)
			net := l.Subnet("lan", "10.88.0.0/24")
			near, far := l.Host("near").Join(net), l.Host("far").Join(net)
			m := brokers()[name]
			s := &site{t: t, lab: l, host: near, broker: near.MQTT(m), document: []byte(`{"type":"light"}`)}
			url := fmt.Sprintf("mqtt://%s", near.Link(net).V4)
			start := func(h *lab.Host, args ...string) *lab.Process {
				t.Helper()
				p := h.Lanfolk(append(args, "--broker", url, "--keep-alive", "2s")...).Start()
				p.WaitLine(becomesReady, "ready", func(line string) bool { return line == "ready" })
				return p
			}
			file := func(i int) string {
				return s.file(fmt.Sprintf("b%d.jsonl", i), fmt.Sprintf(`{"id":"lamp-%d","root":"home/lamp/%d","meta":{},"reachable":true}`+"\n", i, i))
			}
			start(near, "mqtt", "janitor", "--grace", "300ms")
			start(far, "mqtt", "bridge", "--provider", "far", "--client-id", "far", "--devices", file(1))
			stopped := start(near, "mqtt", "bridge", "--provider", "near", "--client-id", "near", "--devices", file(2))
			are := func(what, state string) {
				t.Helper()
				lab.Eventually(t, 60*time.Second, what, func() error {
					got, err := retained(near.DialContext, "current/#")
					if err == nil && (got[lamp1] != state || got["current/home/lamp/2/reachable"] != state) {
						err = fmt.Errorf("retained %v", got)
					}
					return err
				})
			}
			are("both announced", "1")
			far.Link(net).Down()
			stopped.Signal(syscall.SIGSTOP)
			are("both cut off", "0")
			time.Sleep(time.Second) // more than twice the keep alive altogether
			far.Link(net).Up()
			stopped.Signal(syscall.SIGCONT)
			are("both back", "1")
			time.Sleep(time.Second)
			are("both still there", "1")
		})
	}
}

// A broker that understands 3.1.1 alone is one, whichever way it says so; and so
// is one that answers very slowly.
func TestOldAndSlowBrokers(t *testing.T) {
	for name, r := range map[string]func() *relay{
		"refuses MQTT 5":    func() *relay { return &relay{only311: true} },
		"hangs up on it":    func() *relay { return &relay{only311: true, hangsUp: true} },
		"takes its time":    func() *relay { return &relay{pace: 5 * time.Millisecond} },
		"sends what it may": func() *relay { return &relay{inject: packets(bad())} },
	} {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(s *site) {
				r := s.newRelay(r())
				run := func(args ...string) *lab.Command { return s.host.Lanfolk(append(args, "--broker", r.url)...) }
				start := func(args ...string) *lab.Process {
					s.t.Helper()
					p := run(args...).Start()
					p.WaitLine(becomesReady, "ready", func(line string) bool { return line == "ready" })
					return p
				}
				const n = 500
				var lines strings.Builder
				for i := range n {
					fmt.Fprintf(&lines, `{"id":"bulk-%d","root":"bulk/%d","meta":{},"reachable":true}`+"\n", i, i)
				}
				start("mqtt", "janitor", "--grace", "300ms")
				b := start("mqtt", "bridge", "--provider", "P", "--devices", s.file("b.jsonl", lines.String()))
				watch := func(reachable string) {
					s.t.Helper()
					// Who was sent what may not be connects again, and can't be reached until then.
					lab.Eventually(s.t, 30*time.Second, "all devices with "+reachable, func() error {
						out := run("mqtt", "watch", "--once", "-o", "jsonl").Run()
						if got := strings.Count(out.Stdout, `"reachable":`+reachable+`,"said"`); out.Exit != 0 || got != n {
							return fmt.Errorf("a watcher sees %d of %d (exit %d): %s", got, n, out.Exit, out.Stderr)
						}
						return nil
					})
				}
				lab.Eventually(s.t, 60*time.Second, "all that may not be sent", func() error {
					if n := len(r.inject); n > 0 {
						return fmt.Errorf("%d left", n)
					}
					return nil
				})
				watch("true")
				b.Kill()
				lab.Eventually(s.t, 30*time.Second, "marks", func() error {
					return s.checkAll(&allUnder{Prefix: "current/bulk", Payload: "0", Count: n})
				})
				watch("false")
			})
		})
	}
}

// bad are packets that no broker may send, or none that is well.
func bad() []string {
	return []string{
		string(text("device/+")) + `{"root":"a"}`,
		string(text("device/#")) + `{"root":"b"}`,
		string(text("current/a\x00b/reachable")) + "1",
		string(text("current/\xff\xfe/reachable")) + "1",
		string(text("provider/\xed\xa0\x80")) + "{}",
		string(text("device/"+strings.Repeat("x/", 32000))) + `{}`,
	}
}

// packets makes packets of bodies.
func packets(bodies []string) chan []byte {
	all := make(chan []byte, len(bodies))
	for _, b := range bodies {
		all <- append(binary.AppendUvarint([]byte{publish}, uint64(len(b))), b...)
	}
	return all
}

// Two programs with one client id take the session from each other, but not all
// the time.
func TestTwoWithOneClientID(t *testing.T) {
	onBoth(t, func(s *site) {
		r := s.newRelay(&relay{})
		begin := time.Now()
		for _, id := range []string{"a", "b"} {
			s.host.Lanfolk("mqtt", "announce", "--broker", r.url, "--id", id, "--root", id, "--client-id", "same").Start().
				WaitLine(becomesReady, "ready", func(line string) bool { return line == "ready" })
		}
		time.Sleep(5 * time.Second)
		n, took := r.connect.Load(), time.Since(begin)
		if most := int64(2 * took.Seconds()); n > most {
			s.t.Errorf("%d connections in %v, want %d at most", n, took, most)
		} else {
			s.t.Logf("%d connections in %v", n, took)
		}
	})
}

// Where nobody may come in, that is said, and the broker isn't stormed.
func TestRefusals(t *testing.T) {
	t.Parallel()
	s := newSite(t, lab.MQTT{Passwords: map[string]string{"lamp": "right"}})
	r := s.newRelay(&relay{})
	for _, args := range [][]string{
		{"announce", "--id", "x", "--root", "x"},
		{"watch"}, {"janitor"}, {"purge", "x"},
		{"bridge", "--devices", s.file("none.jsonl", "")},
	} {
		for _, version := range []string{"5", "3.1.1"} {
			before := r.connect.Load()
			c := s.host.Lanfolk(append([]string{"mqtt"}, append(args, "--broker", r.url, "--user", "lamp", "--mqtt-version", version)...)...)
			c.Env = []string{"LANFOLK_MQTT_PASSWORD=wrong"}
			p := c.Start()
			code := p.Wait(60 * time.Second)
			if n := r.connect.Load() - before; code != 1 || n > 2 || !strings.Contains(strings.ToLower(p.Stderr()), "not authori") {
				t.Errorf("mqtt %s, MQTT %s: exit %d after %d connections: %s", args[0], version, code, n, p.Stderr())
			}
		}
	}
}

// impostor answers TLS on a port with a certificate of its own, and nothing after
// that. It returns the certificate's file, and what counts its connections.
func (s *site) impostor(port string, until time.Time) (file string, accepted *atomic.Int64) {
	t := s.t
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "broker"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: until.Add(-24 * time.Hour), NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	var l net.Listener
	if err := s.host.Do(func() (err error) {
		l, err = tls.Listen("tcp", "127.0.0.1:"+port, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	accepted = new(atomic.Int64)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted.Add(1)
			go func() {
				defer c.Close()
				_, _ = c.Read(make([]byte, 1)) // the handshake
			}()
		}
	}()
	return s.file(port+".pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))), accepted
}

// A certificate that has expired, and one that nobody trusts, are refused; that
// is said once, and the broker that shows it isn't stormed.
func TestBadCertificates(t *testing.T) {
	t.Parallel()
	lab.Require(t, "root", "ip")
	l := lab.New(t)
	s := &site{t: t, lab: l, host: l.Host("broker")}
	expired, first := s.impostor("1001", time.Now().Add(-time.Hour))
	_, second := s.impostor("1002", time.Now().Add(time.Hour))
	for _, x := range []struct {
		url, ca, says string
		accepted      *atomic.Int64
	}{
		{"mqtts://127.0.0.1:1001", expired, "expired", first},
		{"wss://127.0.0.1:1001", expired, "expired", first},
		{"mqtts://127.0.0.1:1002", expired, "unknown authority", second},
		{"wss://127.0.0.1:1002", "", "unknown authority", second},
	} {
		before := x.accepted.Load()
		args := []string{"mqtt", "watch", "--broker", x.url}
		if x.ca != "" {
			args = append(args, "--ca", x.ca)
		}
		p := s.host.Lanfolk(args...).Start()
		p.WaitText(becomesReady, x.says)
		begin := time.Now()
		lab.Eventually(t, 30*time.Second, "a third connection", func() error {
			if n := x.accepted.Load() - before; n < 3 {
				return fmt.Errorf("%d", n)
			}
			return nil
		})
		p.Kill()
		// The waits are at random, and at first for a fraction of a second.
		if n, most := x.accepted.Load()-before, 12+int64(6*time.Since(begin).Seconds()); n > most {
			t.Errorf("%s with --ca %q: %d connections in %v, want %d at most", x.url, x.ca, n, time.Since(begin), most)
		}
		if n := strings.Count(p.Stderr(), "level=WARN"); n != 1 {
			t.Errorf("%s with --ca %q: it is said %d times:\n%s", x.url, x.ca, n, p.Stderr())
		}
	}
}
