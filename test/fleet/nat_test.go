package fleet

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/test/lab"
)

// behindNAT is a site whose gateways live in a network that a router hides.
func behindNAT(t *testing.T) (s *site, inside *lab.Subnet, router *lab.Host) {
	t.Helper()
	s = bareSite(t)
	inside = s.Subnet("inside", "192.168.7.0/24")
	router = s.Router("router", s.net, inside)
	router.Masquerade(s.net)
	s.startHub("")
	return s, inside, router
}

// TestGatewayBehindNAT: nobody can dial the gateway, and everything works.
func TestGatewayBehindNAT(t *testing.T) {
	t.Parallel()
	s, inside, router := behindNAT(t)
	h := s.Host("shop").Join(inside)
	neighbour := s.Host("printer").Join(inside)
	g := s.join(h, "shop", program("greet", writeScript(t, s.folder("bin"), "greet.sh", "echo hello \"$1\"; exit 3\n"), "[a-z]+"))
	sum := g.put(t, "notes.txt", []byte("one\x00two\n"))
	g.start()
	shop := s.waitState("shop", "online", patience)
	outside := router.Link(s.net).V4.String()
	if host, _, err := net.SplitHostPort(shop.Address); err != nil || host != outside {
		t.Errorf("its address is %q; want the router's, %s", shop.Address, outside)
	}
	if shop.ID == "" || shop.ID == "shop" || shop.Version == "" || shop.ConnectedAt.IsZero() {
		t.Errorf("listed as %+v", shop)
	}
	// There is no way in: neither to the gateway itself nor by the router.
	l := listenOn(t, h)
	for _, ip := range []string{h.Link(inside).V4.String(), outside} {
		err := s.at.Do(func() error {
			c, err := net.DialTimeout("tcp", net.JoinHostPort(ip, port(l)), 300*time.Millisecond)
			if err == nil {
				c.Close()
			}
			return err
		})
		if err == nil {
			t.Errorf("the hub dials the gateway at %s: it isn't hidden", ip)
		}
	}

	if o := s.run("shop", "status"); o.Status != "ok" || !json.Valid([]byte(o.Output)) {
		t.Errorf("status: %+v", o)
	}
	if r := neighbour.Run("ip", "-brief", "addr"); r.Exit != 0 {
		t.Fatal(r.Stderr)
	}
	if o := s.run("shop", "devices"); o.Status != "ok" {
		t.Errorf("devices: %+v", o)
	}
	if o := s.run("shop", "list"); o.Status != "ok" || !strings.Contains(o.Output, "notes.txt") {
		t.Errorf("list: %+v", o)
	}
	if o := s.run("shop", "get", "notes.txt"); o.Status != "ok" || o.SHA256 != sum || o.Size != 8 {
		t.Errorf("get: %+v; want %s", o, sum)
	} else if out := s.ok("commands", "output", o.CommandID); out != "one\x00two\n" {
		t.Errorf("its output is %q", out)
	}
	if o := s.run(shop.ID, "exec", "greet", "you"); o.Output != "hello you\n" || o.Exit != 3 {
		t.Errorf("exec: %+v", o)
	}
	if o := s.run("shop", "exec", "greet", "You; reboot"); o.Status != "denied" && o.Status != "error" || o.Output != "" {
		t.Errorf("exec with an argument that isn't allowed: %+v", o)
	}
	if _, r := s.try("nowhere", "status"); r.Exit != 5 {
		t.Errorf("a gateway that there isn't: exit %d: %s", r.Exit, r.Stderr)
	}
	r := s.hub.Run("run", "shop", "get", "notes.txt")
	if r.Exit != 0 || r.Stdout != "one\x00two\n" {
		t.Errorf("stdout is %q, exit %d", r.Stdout, r.Exit)
	}
}

func listenOn(t *testing.T, h *lab.Host) net.Listener {
	t.Helper()
	var l net.Listener
	if err := h.Do(func() (err error) { l, err = net.Listen("tcp", "0.0.0.0:0"); return err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func port(l net.Listener) string {
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// TestGetGoesOnAfterTheLinkWasCut cuts the link in the middle of a large file, for
// longer than it takes both ends to notice. What has come isn't sent again, the file
// is whole in the end, and neither end needs memory for it. LANFOLK_SOAK cuts for 90 s
// in 200 MB.
func TestGetGoesOnAfterTheLinkWasCut(t *testing.T) {
	t.Parallel()
	size, cut := 40<<20, 24*time.Second
	if soaking() {
		size, cut = 200<<20, 90*time.Second
	}
	s, inside, router := behindNAT(t)
	// Half of the file gets through, however late the link is cut then.
	half := router.Command("nft", "-f", "-")
	half.Stdin = fmt.Sprintf("table ip half {\nchain half {\ntype filter hook forward priority filter + 10; policy accept;\nquota over %d bytes drop\n}\n}\n", size/2)
	if r := half.Run(); r.Exit != 0 {
		t.Fatal(r.Stderr)
	}
	h := s.Host("shop").Join(inside)
	g := s.join(h, "shop", "")
	content := noise(size)
	sum := g.put(t, "large.bin", content)
	g.start()
	s.waitState("shop", "online", patience)
	if o := s.run("shop", "status"); o.Status != "ok" {
		t.Fatalf("status: %+v", o)
	}
	hubBefore, gateBefore := residentKB(t, s.hub.Pid()), residentKB(t, g.Pid())

	c := s.at.Lanfolk("run", "shop", "-o", "jsonl", "--timeout", "20m", "--state", s.hub.State, "--", "get", "large.bin")
	c.Limit = 20 * time.Minute
	run := c.Start()
	lab.Eventually(t, patience, "a third of the file", func() error {
		if n := partial(t, s.hub.State); n < int64(size/3) {
			return fmt.Errorf("%d bytes", n)
		}
		return nil
	})
	h.Links[0].Unplug()
	at := partial(t, s.hub.State)
	if at >= int64(size) {
		t.Fatalf("all of it is there before the link is cut")
	}
	began := time.Now()
	passed := counter(t, router)
	s.waitState("shop", "offline", patience)
	t.Logf("offline after %v, with %d MB there", time.Since(began).Round(time.Millisecond), at>>20)
	time.Sleep(time.Until(began.Add(cut)))
	if r := router.Run("nft", "delete", "table", "ip", "half"); r.Exit != 0 {
		t.Fatal(r.Stderr)
	}
	h.Links[0].Plug()
	s.waitState("shop", "online", patience)
	t.Logf("online again %v after the link was back", (time.Since(began) - cut).Round(time.Millisecond))
	if exit := run.Wait(5 * time.Minute); exit != 0 {
		t.Fatalf("run ended with %d: %s%s", exit, run.Stdout(), run.Stderr())
	}
	all := outcomes(t, run.Stdout())
	o := all[len(all)-1]
	if o.Status != "ok" || o.SHA256 != sum || o.Size != int64(size) {
		t.Errorf("it ended as %+v; want %d bytes, %s", o, size, sum)
	}
	// Bytes that the router passed on after the cut: what was missing, and overhead.
	if more, missing := counter(t, router)-passed, int64(size)-at; more > missing+missing/4+4<<20 {
		t.Errorf("%d bytes passed after the cut, and %d were missing: was it sent from the start?", more, missing)
	}
	hubMore, gateMore := residentKB(t, s.hub.Pid())-hubBefore, residentKB(t, g.Pid())-gateBefore
	t.Logf("resident memory: hub +%d KB, gateway +%d KB", hubMore, gateMore)
	const flat = 24 << 10 // KB; far less than the file
	if hubMore > flat || gateMore > flat {
		t.Errorf("memory isn't flat: hub +%d KB, gateway +%d KB", hubMore, gateMore)
	}
	file := filepath.Join(s.folder("out"), "large.bin")
	out := s.at.Command("sh", "-c", `"$0" commands output "$1" --state "$2" > "$3"`, lab.Binary(t), o.CommandID, s.hub.State, file)
	if r := out.Run(); r.Exit != 0 {
		t.Fatalf("commands output: %s", r.Stderr)
	}
	got, err := os.ReadFile(file)
	if err != nil || hashed(got) != sum {
		t.Errorf("what is kept has %d bytes, %s; %v", len(got), hashed(got), err)
	}
}

// partial returns the length of the longest result that the hub holds.
func partial(t *testing.T, state string) int64 {
	t.Helper()
	var most int64
	_ = filepath.WalkDir(filepath.Join(state, "hub"), func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil
		}
		if info, err := d.Info(); err == nil {
			most = max(most, info.Size())
		}
		return nil
	})
	return most
}

// counter returns how many bytes a router has sent to the outside.
func counter(t *testing.T, router *lab.Host) int64 {
	t.Helper()
	var n int64
	r := router.Run("cat", "/sys/class/net/"+router.Links[0].Name+"/statistics/tx_bytes")
	if _, err := fmt.Sscan(r.Stdout, &n); err != nil {
		t.Fatalf("%q: %v", r.Stdout, err)
	}
	return n
}

// TestDeadGatewayIsOfflineWithin30s: however a gateway dies, the hub says so.
func TestDeadGatewayIsOfflineWithin30s(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	names := []string{"cut", "stopped", "killed", "alive"}
	gates := make(map[string]*gate)
	for _, name := range names {
		gates[name] = s.gateway(name, "")
	}
	began := time.Now()
	gates["cut"].host.Links[0].Unplug()
	gates["stopped"].Signal(syscall.SIGSTOP)
	gates["killed"].Kill()
	for _, name := range []string{"killed", "stopped", "cut"} {
		// When it was put on record, not when somebody asked.
		took := s.waitState(name, "offline", patience).LastSeen.Sub(began)
		t.Logf("%s: offline after %v", name, took.Round(time.Millisecond))
		if took > 30*time.Second {
			t.Errorf("%s: offline after %v", name, took)
		}
	}
	if g, _ := s.listedAs("alive"); g.State != "online" {
		t.Errorf("the one that lives is listed as %+v", g)
	}
	if o := s.run("stopped", "status"); o.Status != "offline" {
		t.Errorf("a command for one that is offline: %+v", o)
	}
	gates["stopped"].Signal(syscall.SIGCONT)
	s.waitState("stopped", "online", patience)
	if o := s.run("stopped", "status"); o.Status != "ok" {
		t.Errorf("a command for one that is back: %+v", o)
	}
}

// TestSecondConnectionReplacesFirst: a copy of a gateway's state folder connects, too.
// The newer one stays, the first one is told why, and its late end hides nobody.
func TestSecondConnectionReplacesFirst(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	first := s.gateway("twin", "")
	before, _ := s.listedAs("twin")
	second := &gate{name: "twin", host: s.Host("other").Join(s.net), files: first.files, node: first.node}
	second.node.State = first.identity(t)
	// The first one stops where it is: its end comes late.
	first.Signal(syscall.SIGSTOP)
	second.start()
	lab.Eventually(t, patience, "the second connection", func() error {
		g, _ := s.listedAs("twin")
		if g.State != "online" || g.Address == before.Address {
			return fmt.Errorf("listed as %+v", g)
		}
		return nil
	})
	if n := len(s.gateways()); n != 1 {
		t.Errorf("%d gateways are listed; want 1", n)
	}
	lab.Eventually(t, patience, "the replacement's count", func() error {
		if n := s.counters()["replaced"]; n != 1 {
			return fmt.Errorf("%d replacements counted", n)
		}
		return nil
	})
	second.Signal(syscall.SIGSTOP) // so that it doesn't fight for its place
	first.Signal(syscall.SIGCONT)
	first.WaitText(patience, "another connection of the same gateway")
	first.Kill() // the late end
	second.Signal(syscall.SIGCONT)
	s.waitState("twin", "online", patience)
	if o := s.run("twin", "status"); o.Status != "ok" {
		t.Errorf("a command for the second: %+v", o)
	}
}

// identity returns a state folder with what makes a gateway itself, and nothing that a
// process holds open.
func (g *gate) identity(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(g.identityFile())
	dir := t.TempDir()
	if err == nil {
		err = os.Mkdir(filepath.Join(dir, "gateway"), 0o700)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "gateway", "identity.json"), b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func (g *gate) identityFile() string { return filepath.Join(g.node.State, "gateway", "identity.json") }
