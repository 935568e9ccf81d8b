package syncthing

import (
	"encoding/base32"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lanfolk/lanfolk/test/lab"
)

// fake is a server that answers every query with the same packets.
type fake struct {
	mu    sync.Mutex
	asked [][]byte
	from  []netip.AddrPort
}

// newFake starts one: each of its answers is sent by the socket of that number.
func newFake(t *testing.T, h *lab.Host, address string, answers [][]byte, by ...string) *fake {
	t.Helper()
	f := &fake{}
	in := open(t, h, address)
	var out []*socket
	for _, a := range by {
		out = append(out, open(t, h, a))
	}
	go func() {
		b := make([]byte, 65_536)
		for {
			n, from, err := in.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			f.mu.Lock()
			f.asked = append(f.asked, slices.Clone(b[:n]))
			f.from = append(f.from, from)
			f.mu.Unlock()
			for i, answer := range answers {
				s := in
				if i < len(out) {
					s = out[i]
				}
				_, _ = s.WriteToUDPAddrPort(answer, from) // the asker may be gone
			}
		}
	}()
	return f
}

func (f *fake) questions() [][]byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.asked)
}

// place is what `syncthing query` prints.
type place struct {
	ID        string   `json:"device_id"`
	Addresses []string `json:"addresses"`
}

// ask runs `syncthing query`; sorted, since several servers answer in any order. Without a timeout in args it has time for a
// busy machine.
func ask(t *testing.T, h *lab.Host, name string, args ...string) (addresses []string, exit int, r lab.Result) {
	t.Helper()
	if !slices.Contains(args, "--timeout") {
		args = append(args, "--timeout", "20s")
	}
	r = h.Lanfolk(append([]string{"syncthing", "query", hexID(name), "-o", "json"}, args...)...).Run()
	if r.Exit != 0 {
		if r.Stdout != "" {
			t.Errorf("%q: exit %d and on stdout: %s", args, r.Exit, r.Stdout)
		}
		return nil, r.Exit, r
	}
	var p place
	d := json.NewDecoder(strings.NewReader(r.Stdout))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil || p.ID != textID(name) {
		t.Fatalf("%q: %v in %s", args, err, r.Stdout)
	}
	slices.Sort(p.Addresses)
	return p.Addresses, 0, r
}

// textID is an ID as Syncthing writes it, with check digits.
func textID(name string) string {
	id := deviceID(name)
	plain := strings.TrimRight(base32.StdEncoding.EncodeToString(id[:]), "=")
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	var all string
	for p := 0; p < len(plain); p += 13 {
		sum := 0
		for i, c := range plain[p : p+13] {
			n := strings.IndexRune(alphabet, c) * (1 + i%2)
			sum += n/32 + n%32
		}
		all += plain[p:p+13] + alphabet[(32-sum%32)%32:][:1]
	}
	var groups []string
	for p := 0; p < len(all); p += 7 {
		groups = append(groups, all[p:p+7])
	}
	return strings.Join(groups, "-")
}

// TestQueryReadsMadeUpAnswers: what old clients made of answers; the rules are stricter about
// two. The question is byte by byte that of the old clients.
func TestQueryReadsMadeUpAnswers(t *testing.T) {
	l := newLab(t)
	var tasks sync.WaitGroup
	defer tasks.Wait()
	for i, c := range readVectors(t).Lookup {
		h := l.Host(fmt.Sprintf("h%d", i))
		f := newFake(t, h, "127.0.0.1:22026", [][]byte{c.Hex})
		id := [32]byte(c.Hex[8:])
		good := c.Reply == "normal" || c.Reply == "trailing bytes"
		timeout := map[bool]string{true: "20s", false: "1s"}[good]
		r := h.Lanfolk("syncthing", "query", fmt.Sprintf("%x", id), "--server", "127.0.0.1", "--timeout", timeout, "-o", "json").Run()
		if good != (r.Exit == 0) || !good && r.Exit != 6 || good != strings.Contains(r.Stdout, `"192.0.2.1:7"`) {
			t.Errorf("%s: exit %d: %s%s", c.Reply, r.Exit, r.Stdout, r.Stderr)
		}
		lab.Eventually(t, 20*time.Second, c.Reply, func() error {
			if asked := f.questions(); len(asked) == 0 || !cmp.Equal(asked[0], query(id)) {
				return fmt.Errorf("asked %x", asked)
			}
			return nil
		})
	}
}

// TestQueryAmongStrangers: only the server that was asked is believed, and only about the
// device that it was asked for; nonsense doesn't end the wait.
func TestQueryAmongStrangers(t *testing.T) {
	l := newLab(t)
	net := l.Subnet("net", "10.77.0.0/24", "fd77::/64")
	h, s := l.Host("client").Join(net), l.Host("server").Join(net)
	stranger := netip.MustParseAddr("10.77.0.200")
	s.Link(net).AddAddresses(stranger)
	us := s.Link(net).V4.String()
	good := announcement(deviceID("alpha"), "192.0.2.1:7", "[2001:db8::1]:8")
	lies := announcement(deviceID("alpha"), "192.0.2.66:666")
	f := newFake(t, s, us+":22026", [][]byte{
		lies, lies, // by strangers
		announcement(deviceID("beta"), "192.0.2.66:666"), []byte("nonsense"), {}, query(deviceID("alpha")),
		announcement(deviceID("alpha")), announcement(deviceID("alpha"), ":1"), good[:len(good)-2], good,
	}, us+":4000", stranger.String()+":22026")
	got, exit, r := ask(t, h, "alpha", "--server", us)
	if want := []string{"192.0.2.1:7", "[2001:db8::1]:8"}; !slices.Equal(got, want) || exit != 0 {
		t.Errorf("%v, exit %d: %s", got, exit, r.Stderr)
	}
	// Once, and again only when no answer comes for a second, or for longer.
	if n, most := len(f.questions()), 1+int(r.Took.Seconds()); n < 1 || n > most {
		t.Errorf("asked %d times in %v", n, r.Took)
	}
}

// TestQuerySeveralServers: they are asked at once, and what they say is merged; those that are
// silent, away or unknown by name don't matter as long as one answers.
func TestQuerySeveralServers(t *testing.T) {
	l := newLab(t)
	net := l.Subnet("net", "10.77.0.0/24", "fd77::/64")
	h, s := l.Host("client").Join(net), l.Host("server").Join(net)
	v4, v6 := s.Link(net).V4.String(), s.Link(net).V6.String()
	newFake(t, s, v4+":22026", [][]byte{announcement(deviceID("alpha"), "192.0.2.1:1", "192.0.2.2:2")})
	newFake(t, s, v4+":4000", [][]byte{announcement(deviceID("alpha"), "192.0.2.2:2", "192.0.2.3:3")})
	newFake(t, s, "["+v6+"]:22026", [][]byte{announcement(deviceID("alpha"), "192.0.2.4:4")})
	newFake(t, s, v4+":4001", nil) // silent
	local := fmt.Sprintf("[%s%%%s]", s.Link(net).LinkLocal(), h.Link(net).Name)
	newFake(t, s, fmt.Sprintf("[%s%%%s]:4002", s.Link(net).LinkLocal(), s.Link(net).Name), [][]byte{announcement(deviceID("alpha"), "192.0.2.5:5")})
	for _, c := range []struct {
		servers []string
		timeout string
		want    []string
		exit    int
	}{
		{[]string{v4}, "20s", []string{"192.0.2.1:1", "192.0.2.2:2"}, 0},
		{[]string{v4 + ":22026"}, "20s", []string{"192.0.2.1:1", "192.0.2.2:2"}, 0},
		{[]string{v6}, "20s", []string{"192.0.2.4:4"}, 0},
		{[]string{"[" + v6 + "]"}, "20s", []string{"192.0.2.4:4"}, 0},
		{[]string{"[" + v6 + "]:22026"}, "20s", []string{"192.0.2.4:4"}, 0},
		{[]string{local + ":4002"}, "20s", []string{"192.0.2.5:5"}, 0},
		{[]string{v4, v4 + ":4000", "[" + v6 + "]:22026", v4 + ":4001", v4 + ":4003", "10.77.0.250", "nobody.invalid"}, "20s",
			[]string{"192.0.2.1:1", "192.0.2.2:2", "192.0.2.3:3", "192.0.2.4:4"}, 0},
		{[]string{v4 + ":4001", v4 + ":4003"}, "2s", nil, 6},
	} {
		args := []string{"--timeout", c.timeout}
		for _, a := range c.servers {
			args = append(args, "--server", a)
		}
		// Who answers half a second after the first is left out: then it is asked again.
		lab.Eventually(t, 15*time.Second, fmt.Sprint(c.servers), func() error {
			got, exit, r := ask(t, h, "alpha", args...)
			if !slices.Equal(got, c.want) || exit != c.exit {
				return fmt.Errorf("%v, exit %d: %s", got, exit, r.Stderr)
			}
			if r.Alone > 8*time.Second { // and not until the timeout, once one has answered
				t.Errorf("%v: it took %v", c.servers, r.Took)
			}
			return nil
		})
	}
}

// TestQueryArguments: what is printed in which form, and what can't be asked.
func TestQueryArguments(t *testing.T) {
	l := newLab(t)
	h := l.Host("h")
	newFake(t, h, "127.0.0.1:22026", [][]byte{announcement(deviceID("alpha"), "192.0.2.1:1", "[2001:db8::1]:2")})
	text := textID("alpha")
	plain := strings.ReplaceAll(text, "-", "")
	digits52 := plain[:13] + plain[14:27] + plain[28:41] + plain[42:55]
	for _, id := range []string{text, strings.ToLower(text), plain, digits52, hexID("alpha"), strings.ToUpper(hexID("alpha"))} {
		r := h.Lanfolk("syncthing", "query", id, "--server", "127.0.0.1", "--timeout", "20s", "-o", "json").Run()
		var got place
		if err := json.Unmarshal([]byte(r.Stdout), &got); err != nil || r.Exit != 0 {
			t.Errorf("%s: exit %d: %s%s", id, r.Exit, r.Stdout, r.Stderr)
		}
		if diff := cmp.Diff(place{text, []string{"192.0.2.1:1", "[2001:db8::1]:2"}}, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", id, diff)
		}
	}
	wrong := strings.Replace(text, text[:1], map[bool]string{true: "B", false: "A"}[text[0] == 'A'], 1)
	for _, c := range []struct {
		args []string
		exit int
		says string
	}{
		{[]string{wrong, "--server", "127.0.0.1"}, 2, "check digit 1 of 4 is wrong"},
		{[]string{"ABC", "--server", "127.0.0.1"}, 2, "digits"},
		{[]string{text}, 2, "--server"},
		{[]string{"--server", "127.0.0.1"}, 2, ""},
		{[]string{text, "--server", "127.0.0.1:0"}, 2, "127.0.0.1:0"},
		{[]string{text, "--server", "127.0.0.1:70000"}, 2, "127.0.0.1:70000"},
		{[]string{text, "--server", ""}, 2, "--server"},
		{[]string{text, "--server", "127.0.0.1", "--timeout", "0s"}, 2, "--timeout"},
		{[]string{text, "--server", "127.0.0.1", "-o", "nonsense"}, 2, "nonsense"},
		{[]string{text, "--server", "nobody.invalid"}, 1, "nobody.invalid"},
		{[]string{text, "--server", "127.0.0.1:4444", "--timeout", "500ms"}, 6, ""},
	} {
		r := h.Lanfolk(append([]string{"syncthing", "query"}, c.args...)...).Run()
		if r.Exit != c.exit || !strings.Contains(r.Stderr, c.says) || r.Stdout != "" || r.Stderr == "" {
			t.Errorf("%q: exit %d, want %d and %q: %s%s", c.args, r.Exit, c.exit, c.says, r.Stdout, r.Stderr)
		}
	}
	r := h.Lanfolk("syncthing", "query", text, "--server", "127.0.0.1", "--timeout", "20s", "-o", "name").Run()
	if r.Exit != 0 || strings.TrimSpace(r.Stdout) == "" {
		t.Errorf("-o name: exit %d: %q", r.Exit, r.Stdout)
	}
	r = h.Lanfolk("syncthing", "query", text, "--server", "127.0.0.1", "--timeout", "20s").Run()
	if r.Exit != 0 || !strings.Contains(r.Stdout, "192.0.2.1:1") || !strings.Contains(r.Stdout, "[2001:db8::1]:2") {
		t.Errorf("for people: exit %d: %q", r.Exit, r.Stdout)
	}
}
