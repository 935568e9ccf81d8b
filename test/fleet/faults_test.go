package fleet

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/test/lab"
)

// The faults of the program that reverse_access comes from. Each has a test that stays.

// It went on listing gateways that were gone.
func TestOriginalFaultDeadGatewayStaysListed(t *testing.T) {
	t.Parallel()
	s := openSite(t)
	p := s.python(s.at, "gateway.py", "127.0.0.1:"+barePort, "snake", "plain")
	s.waitState("insecure/snake", "online", patience)
	p.Kill()
	s.waitState("insecure/snake", "offline", patience)
	if o := s.run("insecure/snake", "list"); o.Status != "offline" {
		t.Errorf("a command for it: %+v", o)
	}
}

// A second client of the same id left the first one hanging.
func TestOriginalFaultSecondSubscriberHangsFirst(t *testing.T) {
	t.Parallel()
	s := openSite(t)
	first := s.python(s.at, "gateway.py", "127.0.0.1:"+barePort, "twin", "plain")
	before := s.waitState("insecure/twin", "online", patience)
	second := s.python(s.at, "gateway.py", "127.0.0.1:"+barePort, "twin", "plain")
	first.WaitText(patience, "ended ABORTED")
	first.Wait(patience)
	if g := s.waitState("insecure/twin", "online", patience); !g.ConnectedAt.After(before.ConnectedAt) {
		t.Errorf("listed as %+v; before: %+v", g, before)
	}
	if o := s.run("insecure/twin", "list"); o.Status != "ok" {
		t.Errorf("list: %+v", o)
	}
	second.WaitText(patience, "command list")
}

// A client without an id blocked the hub for everybody.
func TestOriginalFaultEmptyIDBlocksHub(t *testing.T) {
	t.Parallel()
	s := openSite(t)
	s.python(s.at, "gateway.py", "127.0.0.1:"+barePort, "", "plain").WaitText(patience, "ended INVALID_ARGUMENT")
	s.python(s.at, "gateway.py", "127.0.0.1:"+barePort, "next", "plain")
	s.waitState("insecure/next", "online", patience)
	if o := s.run("insecure/next", "list"); o.Status != "ok" {
		t.Errorf("list: %+v", o)
	}
	if n := len(s.gateways()); n != 1 {
		t.Errorf("listed are %+v", s.gateways())
	}
}

// The whole hub had one command outstanding: whoever didn't answer held up all.
func TestOriginalFaultOneOutstandingCommandForAll(t *testing.T) {
	t.Parallel()
	s := openSite(t)
	for _, name := range []string{"silent", "forgetful", "quick"} {
		s.python(s.at, "gateway.py", "127.0.0.1:"+barePort, name, "json")
		s.waitState("insecure/"+name, "online", patience)
	}
	hang := func(name, timeout string) *lab.Process {
		return s.at.Lanfolk("run", "insecure/"+name, "--timeout", timeout, "-o", "jsonl", "--state", s.hub.State, "--", "hang").Start()
	}
	hangs := hang("silent", "10m")
	var id string
	lab.Eventually(t, patience, "the command that hangs", func() error {
		all := s.commands()
		if len(all) != 1 || all[0].Status != "running" {
			return fmt.Errorf("%+v", all)
		}
		id = all[0].CommandID
		return nil
	})
	began := time.Now()
	var quick []*lab.Process
	for range 4 {
		quick = append(quick, s.at.Lanfolk("run", "insecure/quick", "--state", s.hub.State, "--", "list").Start())
	}
	for _, p := range quick {
		if exit := p.Wait(patience); exit != 0 || !strings.HasPrefix(p.Stdout(), "one.txt\n") {
			t.Errorf("exit %d, %q", exit, p.Stdout())
		}
	}
	if !hangs.Running() {
		t.Errorf("the command that hangs ended first: %s", hangs.Stdout())
	}
	t.Logf("four commands took %v beside one that hangs", time.Since(began).Round(time.Millisecond))
	s.ok("commands", "cancel", id)
	for want, p := range map[string]*lab.Process{"cancelled": hangs, "timeout": hang("forgetful", "2s")} {
		p.Wait(patience)
		if all := outcomes(t, p.Stdout()); len(all) == 0 || all[len(all)-1].Status != want {
			t.Errorf("a command that hangs ended as %+v; want %s", all, want)
		}
	}
}

// Names led out of the folder, by .. and by links; and any SQL was run.
func TestOriginalFaultsNamesThatClimbAndAnySQL(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	g := s.gateway("shop", "")
	secret := filepath.Join(filepath.Dir(g.files), "secret")
	const treasure = "the treasure"
	if err := os.WriteFile(secret, []byte(treasure), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"link": "../secret", "absolute": secret, "folder": "..", "passwd": "/etc/passwd"} {
		if err := os.Symlink(target, filepath.Join(g.files, name)); err != nil {
			t.Fatal(err)
		}
	}
	g.put(t, "fine", []byte("fine"))
	for _, name := range []string{
		"../secret", "../../../../../../etc/passwd", "./../secret", "a/../../secret", "fine/../../secret", secret, "/etc/passwd",
		"link", "absolute", "folder/secret", "passwd", "..", ".", "", "/proc/self/environ", `..\secret`, "fine\x7f/../../secret",
	} {
		o, r := s.try("shop", "get", name)
		if o.Status == "ok" || o.Size > 0 && strings.Contains(o.Output, treasure) || r.Exit == 0 {
			t.Errorf("get %q: %+v, exit %d", name, o, r.Exit)
		}
	}
	if o := s.run("shop", "get", "fine"); o.Status != "ok" || o.Output != "fine" {
		t.Errorf("get fine: %+v", o)
	}
	if o := s.run("shop", "list"); strings.Contains(o.Output, "secret") {
		t.Errorf("list: %+v", o)
	}
	for _, line := range []string{
		"SELECT * FROM fingerprints", "DROP TABLE observation", "fingerprints'; DROP TABLE observation; --", "sql SELECT 1", "; reboot", "exec", "exec sh -c id",
	} {
		o, _ := s.try("shop", strings.Fields(line)...)
		if o.Status != "denied" && o.Status != "error" {
			t.Errorf("%s: %+v; want it denied", line, o)
		}
	}
	if o := s.run("shop", "SELECT", "1"); o.Status != "denied" {
		t.Errorf("SELECT 1: %+v; want it denied", o)
	}
	// What looks like SQL in an argument is text.
	if o := s.run("shop", "fingerprints", "--query", "x' OR '1'='1"); o.Status != "ok" || strings.TrimSpace(o.Output) != "" && strings.TrimSpace(o.Output) != "[]" {
		t.Errorf("fingerprints: %+v", o)
	}
}

// Results ended at 4 MiB, gRPC's bound of a message, or at a NUL.
func TestOriginalFaultResultsCutAt4MiBOrNUL(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	g := s.gateway("shop", program("zeros", writeScript(t, s.folder("bin"), "zeros.sh", "head -c 9000000 /dev/zero; echo end\n")))
	content := append([]byte("a\x00b\x00\n"), noise(9<<20)...)
	sum := g.put(t, "nine.bin", content)
	if o := s.run("shop", "get", "nine.bin"); o.Status != "ok" || o.Size != int64(len(content)) || o.SHA256 != sum {
		t.Errorf("get: %+v; want %d bytes, %s", o, len(content), sum)
	}
	want := append(make([]byte, 9_000_000), "end\n"...)
	if o := s.run("shop", "exec", "zeros"); o.Status != "ok" || o.Size != int64(len(want)) || o.SHA256 != hashed(want) {
		t.Errorf("exec: %+v; want %d bytes, %s", o, len(want), hashed(want))
	}
}
