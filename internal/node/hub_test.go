package node_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/internal/config"
	"github.com/lanfolk/lanfolk/internal/enrol"
	"github.com/lanfolk/lanfolk/internal/node"
	"github.com/lanfolk/lanfolk/reverse"
)

// A gateway is a node that has nothing to do with the network but for its hub.
type gateway struct {
	*node.Node
	identity string // the file
	log      *logged
	stop     func()
}

type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logged) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), what)
}

// newGateway returns one that doesn't run yet. More is added to its configuration.
func newGateway(t *testing.T, more string) *gateway {
	t.Helper()
	state := filepath.Join(t.TempDir(), "state")
	c, err := config.Parse("lanfolk.toml", []byte(`
http.enabled = false
mdns.enabled = false
passive.enabled = false
leases.find = false
hostapd.enabled = false
tged.enabled = false
syncthing.listen = false
`+more))
	if err != nil {
		t.Fatal(err)
	}
	identity, err := node.IdentityIn(state)
	if err != nil {
		t.Fatal(err)
	}
	log := &logged{}
	return &gateway{identity: identity, log: log, Node: &node.Node{
		Config: c, State: state, Version: "test", Log: slog.New(slog.NewTextHandler(log, nil)),
	}}
}

// start runs it until the test ends, or stop is called.
func (g *gateway) start(t *testing.T) *gateway {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	g.Ready = func(string) { close(ready) }
	go func() { ended <- g.Run(ctx) }()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	g.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log(g.log.text.String())
		}
	})
	t.Cleanup(g.stop)
	return g
}

// part returns how the node's task for the hub is.
func (g *gateway) detail() string {
	for _, p := range g.Status().Parts {
		if p.Name == "hub" {
			return string(p.State) + " " + p.Detail + p.Error
		}
	}
	return ""
}

// A node that runs becomes a gateway when somebody joins beside it, does what the hub
// asks, and stops that when it is revoked.
func TestGatewayOfAHub(t *testing.T) {
	t.Parallel()
	h := startHub(t)
	files := t.TempDir()
	large := bytes.Repeat([]byte("0123456789abcde\n"), 1<<17) // 2 MiB
	if err := os.WriteFile(filepath.Join(files, "large.log"), large, 0o600); err != nil {
		t.Fatal(err)
	}
	g := newGateway(t, fmt.Sprintf(`
[gateway]
files = %q
[[gateway.program]]
name = "say"
path = "/bin/echo"
args = ["[a-z]+"]
user = "%d"
allow_root = true
[[gateway.program]]
name = "lost"
path = "/bin/true"
user = "nobody-of-that-name"
`, files, os.Geteuid())).start(t)
	eventually(t, "the node says that it belongs to no hub", func() bool {
		return g.detail() == "running this node is no hub's gateway; `lanfolk join` makes it one"
	})
	if s := g.Status().Hub; s.Gateway != "" || s.Connected || s.Expires != nil {
		t.Errorf("before it joined: %+v", s)
	}
	id := h.join(t, g.identity).Gateway

	if text, m := h.run(t, id, "list"); m.Status != reverse.StatusOK || !strings.Contains(text, `"large.log"`) {
		t.Errorf("list: %+v, %s", m, text)
	}
	sum := sha256.Sum256(large)
	if text, m := h.run(t, id, "get large.log"); text != string(large) || m.SHA256 != hex.EncodeToString(sum[:]) {
		t.Errorf("get: %+v, %d bytes", m, len(text))
	}
	if text, m := h.run(t, id, "exec say hello"); text != "hello\n" || m.Status != reverse.StatusOK {
		t.Errorf("exec: %+v, %q", m, text)
	}
	var status node.Status
	if text, _ := h.run(t, id, "status"); json.Unmarshal([]byte(text), &status) != nil || status.State != g.State || !status.Hub.Connected {
		t.Errorf("status: %s", text)
	}
	for line, want := range map[string]string{
		"exec say Hello":   `not allowed on this gateway: argument 1 of say can't be "Hello"`,
		"exec lost":        "can't run: node: user: unknown user nobody-of-that-name",
		"capture lo 1":     "capture is off",
		"get ../identity":  "leads upwards",
		"find --timeout 1": "",
	} {
		if _, m := h.run(t, id, line); m.Status == reverse.StatusOK || !strings.Contains(m.Error, want) {
			t.Errorf("%s: %+v; want %q", line, m, want)
		}
	}
	for _, line := range []string{"devices", "services", "fingerprints"} {
		if text, m := h.run(t, id, line); m.Status != reverse.StatusOK || !strings.HasPrefix(text, "[") {
			t.Errorf("%s: %+v, %q", line, m, text)
		}
	}
	if text, m := h.run(t, id, "find 192.0.2.7"); m.Status != reverse.StatusError || !strings.HasPrefix(m.Error, "find: nobody answered") {
		t.Errorf("find: %+v, %q", m, text)
	}

	// What a command's end leaves is cleared up a moment after the hub knows of it.
	eventually(t, "no result waits", func() bool { return g.Status().Hub.Commands.Waiting == 0 })
	s := g.Status()
	if !s.Healthy || s.Hub.Gateway != id || s.Hub.Name != "attic" || s.Hub.Address != h.address || s.Hub.Version != "the hub's" || s.Hub.Error != "" {
		t.Errorf("the status is %+v", s.Hub)
	}
	if c := s.Hub.Commands; c.Commands != 13 || c.Refused != 2 || c.JournalBytes == 0 {
		t.Errorf("the commands are %+v", c)
	}
	if got, want := g.detail(), "running "+id+", connected to "+h.address; got != want {
		t.Errorf("%s; want %s", got, want)
	}

	if err := h.revocations.Revoke(t.Context(), id, "uid:0", "lost"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the gateway knows that it was revoked", func() bool {
		s := g.Status().Hub
		return !s.Connected && strings.Contains(s.Error, "revoked")
	})
	again := h.join(t, g.identity).Gateway
	if again == id {
		t.Error("it is the same gateway again")
	}
	if _, m := h.run(t, again, "status"); m.Status != reverse.StatusOK {
		t.Errorf("as a new gateway: %+v", m)
	}
}

const day = 24 * time.Hour

// What is due is renewed at once, and the connection made anew with it; a command that
// runs meanwhile doesn't notice.
func TestRenewalBesideACommand(t *testing.T) {
	t.Parallel()
	h := startHub(t)
	end := filepath.Join(t.TempDir(), "end")
	if err := syscall.Mkfifo(end, 0o600); err != nil {
		t.Fatal(err)
	}
	g := newGateway(t, fmt.Sprintf(`
[[gateway.program]]
name = "wait"
path = "/bin/cat"
args = [%q]
user = "%d"
allow_root = true
`, regexp.QuoteMeta(end), os.Geteuid()))
	h.setClock(-21 * day) // so that what it gives is due now
	id := h.join(t, g.identity).Gateway
	h.setClock(0)
	g.start(t)
	command, r := h.send(t, id, "exec wait "+end)
	eventually(t, "the certificate is renewed", func() bool {
		s := g.Status().Hub
		return s.Renewals == 1 && s.Connected
	})
	eventually(t, "there is a session with it", func() bool { h.mu.Lock(); defer h.mu.Unlock(); return h.begun == 2 })
	if len(r.end) > 0 {
		t.Fatalf("the command didn't wait: %+v", <-r.end)
	}
	if err := os.WriteFile(end, []byte("the end"), 0); err != nil { // who waits for it reads it
		t.Fatal(err)
	}
	if text, m := h.await(t, command, r); m.Status != reverse.StatusOK || text != "the end" {
		t.Errorf("the command: %q, %+v", text, m)
	}
	if s := g.Status().Hub; s.Renewals != 1 || time.Until(*s.Expires) < 29*day || time.Until(*s.Renew) < 19*day {
		t.Errorf("%+v", s)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.begun != 2 {
		t.Errorf("%d sessions; want one before the renewal, and one after", h.begun)
	}
}

// A gateway whose certificate expired says so, and joins again as who it was.
func TestExpiredGatewayJoinsAgain(t *testing.T) {
	t.Parallel()
	h := startHub(t)
	g := newGateway(t, "")
	var was enrol.Status
	for life := 3 * time.Second; was.Gateway == ""; life *= 4 { // until it is time enough to join
		h.setClock(life - 30*day)
		var err error
		if was, err = h.tryJoin(t, g.identity); err != nil && life > time.Minute {
			t.Fatal(err)
		}
	}
	h.setClock(0)
	time.Sleep(time.Until(was.Expires) + 10*time.Millisecond)
	g.start(t)
	eventually(t, "the gateway says that its certificate expired", func() bool { return strings.Contains(g.Status().Hub.Error, "expired") })
	if now := h.join(t, g.identity); now.Gateway != was.Gateway {
		t.Errorf("it was %s, and is %s", was.Gateway, now.Gateway)
	}
	// The connection may be made anew for the new certificate just when it is asked, and
	// this hub sends nothing twice.
	var m reverse.Meta
	eventually(t, "the gateway answers", func() bool {
		_, r := h.send(t, was.Gateway, "status")
		select {
		case m = <-r.end:
			return true
		case <-time.After(10 * time.Second):
			return false
		}
	})
	if m.Status != reverse.StatusOK {
		t.Errorf("status: %+v", m)
	}
}

// The hub isn't where it is said to be, but somebody else is: who is told nothing.
func TestImpostorIsPassedOver(t *testing.T) {
	t.Parallel()
	h, other := startHub(t), startHub(t)
	g := newGateway(t, "")
	const refusing = "127.0.0.1:1"
	id := h.join(t, g.identity, h.address, other.address)
	c, err := config.Parse("lanfolk.toml", fmt.Appendf(nil, "[gateway]\nhub = [%q, %q, %q]\n", other.address, refusing, h.address))
	if err != nil {
		t.Fatal(err)
	}
	g.Config.Gateway = c.Gateway
	g.start(t)
	if _, m := h.run(t, id.Gateway, "status"); m.Status != reverse.StatusOK {
		t.Errorf("status: %+v", m)
	}
	h.Drop(id.Gateway, fmt.Errorf("again"))
	eventually(t, "it is back", func() bool { h.mu.Lock(); defer h.mu.Unlock(); return h.begun == 2 })
	// An impostor who is slow may come too late: the hub is tried beside him.
	eventually(t, "the impostor is seen", func() bool {
		if g.Status().Hub.Impostors > 0 {
			return true
		}
		h.Drop(id.Gateway, fmt.Errorf("again"))
		return false
	})
	if s := g.Status().Hub; g.log.count("somebody else is where the hub should be") != 1 {
		t.Errorf("%+v; said %d times", s, g.log.count("somebody else"))
	}
	if other.begun != 0 {
		t.Error("the other hub has a session")
	}
}

// A gateway joins another hub while it runs.
func TestJoinAnotherHub(t *testing.T) {
	t.Parallel()
	h, other := startHub(t), startHub(t)
	g := newGateway(t, "")
	id := h.join(t, g.identity).Gateway
	g.start(t)
	h.run(t, id, "status")
	now := other.join(t, g.identity).Gateway
	if _, m := other.run(t, now, "status"); m.Status != reverse.StatusOK {
		t.Errorf("status: %+v", m)
	}
	eventually(t, "the first hub is left", func() bool { _, ok := h.Session(id); return !ok })
	if err := os.Remove(g.identity); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is nobody's gateway", func() bool { return g.Status().Hub.Gateway == "" && strings.Contains(g.detail(), "no hub's gateway") })
}

// A server that knows reverse_access only is served where the config says so.
func TestInsecureHub(t *testing.T) {
	t.Parallel()
	h := startHub(t)
	files := t.TempDir()
	g := newGateway(t, fmt.Sprintf("[gateway]\nfiles = %q\n[gateway.insecure]\nhub = %q\nid = \"shed\"\n", files, h.bare)).start(t)
	if text, m := h.run(t, "insecure/shed", "list"); m.Status != reverse.StatusOK || text != "[]\n" {
		t.Errorf("list: %+v, %q", m, text)
	}
	if s := g.Status().Hub; !s.Insecure || !s.Foreign || s.Gateway != "shed" || s.Expires != nil {
		t.Errorf("%+v", s)
	}
	eventually(t, "it says that it is connected", func() bool { return g.Status().Hub.Connected })
}

// gateway.enabled = false keeps a gateway from its hub.
func TestGatewayThatIsOff(t *testing.T) {
	t.Parallel()
	h := startHub(t)
	g := newGateway(t, "gateway.enabled = false\n")
	h.join(t, g.identity)
	g.start(t)
	eventually(t, "the task is off", func() bool { return g.detail() == "off the config says gateway.enabled = false" })
}
