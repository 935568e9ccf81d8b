package wire

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/test/lab"
)

// announced is a line of `lanfolk announce --json`.
type announced struct {
	Event string `json:"event"`
	Name  string `json:"name"`
	Host  string `json:"host"`
}

// announce runs `lanfolk announce` with a memory of its own.
func (r *rig) announce(h *lab.Host, args ...string) *lab.Process {
	r.t.Helper()
	return h.Lanfolk(append(append([]string{"announce", "--json", "--state", r.t.TempDir()}, args...), "a=1")...).Start()
}

// says waits for an event of the command that ok is true of.
func says(p *lab.Process, what string, ok func(announced) bool) announced {
	var found announced
	p.WaitLine(patience, what, func(line string) bool {
		var e announced
		if json.Unmarshal([]byte(line), &e) == nil && ok(e) {
			found = e
			return true
		}
		return false
	})
	return found
}

// peer is a host with avahi-daemon on the rig's link.
type peer struct {
	*lab.Host
	daemon *lab.AvahiDaemon
}

func (r *rig) peer(hostName string, services ...lab.Service) peer {
	r.t.Helper()
	lab.Require(r.t, "avahi-daemon", "avahi-browse", "dbus-daemon")
	h := r.Host("peer").Join(r.net)
	return peer{h, h.Avahi(lab.Avahi{HostName: hostName, Services: services, DBus: true})}
}

// sees waits until avahi resolves an instance at a host's name.
func (p peer) sees(t *testing.T, typ, instance, host string) {
	t.Helper()
	want := parsable(instance)
	lab.Eventually(t, patience, "avahi sees "+instance, func() error {
		out := p.daemon.Command("avahi-browse", "--resolve", "--parsable", "--terminate", typ).Run()
		for line := range strings.Lines(out.Stdout) {
			f := strings.Split(strings.TrimSpace(line), ";")
			if len(f) > 6 && f[0] == "=" && f[3] == want && f[6] == host {
				return nil
			}
		}
		return fmt.Errorf("%s%s", out.Stdout, out.Stderr)
	})
}

// parsable writes a name as avahi-browse --parsable does.
func parsable(name string) string {
	var b strings.Builder
	for _, c := range []byte(name) {
		switch {
		case c == '.' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c == '-' || c == '_' || '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, `\%03d`, c)
		}
	}
	return b.String()
}

// Each finds what the other publishes, and sees it go.
func TestAvahiAndLanfolkFindEachOther(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.peer("peer", lab.Service{Name: "Theirs", Type: "_http._tcp", Subtypes: []string{"_printer"}, Port: 81, TXT: []string{"b=2"}})
	a := r.announce(r.d, "Ours, v1.0", "_http._tcp", "80", "--subtype", "_printer", "--host", "ours", "--address", "10.99.1.10")
	says(a, "announcement", func(e announced) bool { return e.Event == "announced" })
	p.sees(t, "_http._tcp", "Ours, v1.0", "ours.local")
	p.sees(t, "_printer._sub._http._tcp", "Ours, v1.0", "ours.local")
	b := browser{r.Host("desk").Join(r.net).Lanfolk("browse", "_http._tcp", "--resolve", "--json").Start(), t}
	for _, name := range []string{"Ours, v1.0", "Theirs"} {
		b.waitFor(name, func(e event) bool { return e.Name == name && e.Port != 0 && len(e.Addresses) > 0 })
	}
	// Goodbyes, of both kinds of program.
	r.judge.Stopped = time.Now()
	a.Signal(syscall.SIGTERM)
	b.wait("remove", "Ours, v1.0")
	p.daemon.Stop()
	b.wait("remove", "Theirs")
	r.judge.DefaultTTLs = true
	// A name that --address gives to another machine is claimed unprobed (§8.1).
	r.verdict("probe first")
}

// machineLabel is what lanfolk calls this machine in .local.
func machineLabel(t *testing.T) string {
	t.Helper()
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	return dnssd.HostLabel(name)
}

// Who comes second takes another name, whoever it is.
func TestAvahiAndLanfolkQuarrel(t *testing.T) {
	t.Parallel()
	first := func(e announced) bool { return e.Event == "announced" }
	for _, ours := range []string{"after", "before"} {
		t.Run("ours "+ours+" theirs", func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			web := lab.Service{Name: "Web", Type: "_http._tcp", Port: 81}
			// Both want the name of the machine that the tests run on.
			nas := machineLabel(t)
			args := []string{"Web", "_http._tcp", "80"}
			var a *lab.Process
			var p peer
			if ours == "after" {
				p = r.peer(nas, web)
				a = r.announce(r.d, args...)
			} else {
				a = r.announce(r.d, args...)
				says(a, "announcement", first)
				time.Sleep(1500 * time.Millisecond)
				p = r.peer(nas)
				p.daemon.WaitLine(patience, "conflict", func(line string) bool { return strings.Contains(line, nas+"-2.local") })
				p.daemon.Publish(web)
			}
			desk := r.Host("desk").Join(r.net)
			want := map[string]uint16{"Web (2)": 80, "Web": 81}
			hosts := map[string]string{"Web (2)": nas + "-2.local", "Web": nas + ".local"}
			if ours == "before" {
				want = map[string]uint16{"Web": 80, "Web #2": 81}
				hosts = map[string]string{"Web": nas + ".local", "Web #2": nas + "-2.local"}
			}
			b := browser{desk.Lanfolk("browse", "_http._tcp", "--resolve", "--json").Start(), t}
			for name, port := range want {
				b.waitFor(fmt.Sprintf("%s on port %d", name, port), func(e event) bool {
					return e.Name == name && e.Port == port && strings.TrimSuffix(e.Host, ".") == hosts[name]
				})
			}
			if ours == "after" {
				says(a, "new name", func(e announced) bool { return e.Name == "Web (2)" && strings.HasPrefix(e.Host, nas+"-2") })
				p.sees(t, "_http._tcp", "Web (2)", nas+"-2.local")
			}
			lab.Eventually(t, patience, "the two alone", func() error {
				if all := b.there(); len(all) != 2 {
					return fmt.Errorf("%d services: %+v", len(all), all)
				}
				return nil
			})
			r.verdict()
		})
	}
}

// Both on one host share port 5353: both find, and both are found.
func TestAvahiAndLanfolkOnOneHost(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.peer("other", lab.Service{Name: "Elsewhere", Type: "_http._tcp", Port: 82})
	// Both publish the machine's own name.
	machine := machineLabel(t)
	here := r.d.Avahi(lab.Avahi{HostName: machine, DBus: true, Services: []lab.Service{{Name: "Theirs", Type: "_http._tcp", Port: 81}}})
	a := r.announce(r.d, "Ours", "_http._tcp", "80")
	says(a, "announcement", func(e announced) bool { return e.Event == "announced" })
	for _, name := range []string{"Ours", "Theirs"} {
		p.sees(t, "_http._tcp", name, machine+".local")
	}
	peer{r.d, here}.sees(t, "_http._tcp", "Elsewhere", "other.local")
	peer{r.d, here}.sees(t, "_http._tcp", "Ours", machine+".local")
	b := r.browse("_http._tcp", "--resolve")
	for _, name := range []string{"Ours", "Theirs", "Elsewhere"} {
		b.waitFor(name, func(e event) bool { return e.Name == name && e.Port != 0 && len(e.Addresses) > 0 })
	}
	// Nobody was taken for a rival.
	for _, out := range []string{a.Stdout() + a.Stderr(), here.Stderr()} {
		if strings.Contains(out, "renamed") || strings.Contains(out, "conflict") {
			t.Errorf("%s", out)
		}
	}
}
