package test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/test/lab"
)

// fence is one block of commands of a document: ```sh. Its info string may go
// on with test=no, which leaves it out.
type fence struct {
	where    string // "README.md:40"
	skip     bool
	commands []string
}

// fences returns a document's blocks of commands. A backslash at a line's end
// joins the next one; comments and empty lines are no commands.
func fences(name, text string) ([]fence, error) {
	var all []fence
	var f *fence
	marker, joined := "", ""
	inside := false
	s := bufio.NewScanner(strings.NewReader(text))
	for n := 1; s.Scan(); n++ {
		line := s.Text()
		trimmed := strings.TrimSpace(line)
		if !inside {
			if mark, info, ok := opening(trimmed); ok {
				inside, marker, f = true, mark, nil
				if words := strings.Fields(info); len(words) > 0 && words[0] == "sh" {
					f = &fence{where: fmt.Sprintf("%s:%d", name, n)}
					for _, w := range words[1:] {
						if w != "test=no" {
							return nil, fmt.Errorf("%s: fence with %q, not test=no", f.where, w)
						}
						f.skip = true
					}
				}
			}
			continue
		}
		if trimmed == marker {
			if joined != "" {
				return nil, fmt.Errorf("%s:%d: the fence ends in the middle of a command", name, n)
			}
			inside = false
			if f != nil {
				all = append(all, *f)
			}
			continue
		}
		if f == nil {
			continue
		}
		joined += trimmed
		if rest, ok := strings.CutSuffix(joined, `\`); ok {
			joined = rest
			continue
		}
		if joined != "" && !strings.HasPrefix(joined, "#") {
			f.commands = append(f.commands, joined)
		}
		joined = ""
	}
	if inside {
		return nil, fmt.Errorf("%s: a fence has no end", name)
	}
	return all, s.Err()
}

func opening(line string) (marker, info string, ok bool) {
	n := len(line) - len(strings.TrimLeft(line, "`"))
	return line[:n], line[n:], n >= 3 && !strings.Contains(line[n:], "`")
}

// endless says whether a command runs until it is interrupted.
func endless(command string) bool {
	words := strings.Fields(command)
	has := func(w string) bool {
		for _, x := range words {
			if x == w {
				return true
			}
		}
		return false
	}
	if len(words) < 2 {
		return false
	}
	switch words[0] + " " + words[1] {
	case "make run", "lanfolk up", "lanfolk announce", "lanfolk reflect":
		return true
	case "lanfolk browse":
		return !has("--once")
	case "lanfolk monitor":
		return !has("-r")
	case "lanfolk nmos":
		return has("advertise") && !has("--zone-file") || has("--watch")
	}
	return has("--watch") || has("-w")
}

// Every command that README.md and the documents show works as it stands there.
// They run in one host, top to bottom, with a printer as the neighbour, which is a
// studio's registry, too.
func TestCommandsOfTheDocuments(t *testing.T) {
	t.Parallel()
	docs := []string{"README.md"}
	more, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range more {
		docs = append(docs, "docs/"+filepath.Base(m))
	}
	docs = append(docs, "docs/protocols/passive.md")
	lab.Require(t, "root", "ip", "avahi-daemon")
	d := newDesk(t)
	for _, doc := range docs {
		text, err := os.ReadFile("../" + doc)
		if err != nil {
			t.Fatal(err)
		}
		all, err := fences(doc, string(text))
		if err != nil {
			t.Fatal(err)
		}
		ran := 0
		for _, f := range all {
			if f.skip {
				t.Logf("%s: left out: %s", f.where, strings.Join(f.commands, "; "))
				continue
			}
			for _, c := range f.commands {
				d.run(t, f.where, c)
				ran++
			}
		}
		if doc == "README.md" && ran == 0 {
			t.Error("README.md shows no command that can be run")
		}
	}
}

// desk is where a reader of the documents sits.
type desk struct {
	*lab.Host
	dir   string // the current folder
	root  string // of the module
	env   []string
	state string
}

func newDesk(t *testing.T) *desk {
	l := lab.New(t)
	a := l.Subnet("a", "10.99.1.0/24", "fd99:1::/64")
	// The second link has nobody on it.
	d := &desk{Host: l.Host("desk").Join(a).Join(l.Subnet("b", "10.99.2.0/24")), dir: l.Dir()}
	heard := a.Capture()
	l.Host("printer").Join(a).Avahi(lab.Avahi{Services: []lab.Service{
		{Name: "Printer", Type: "_http._tcp", Port: 80},
		{Name: "Registry", Type: "_nmos-register._tcp", Port: 8010, TXT: []string{"api_proto=http", "api_ver=v1.2,v1.3", "api_auth=false", "pri=10"}},
	}})
	heard.Wait(20*time.Second, "announcement of the printer", func(f lab.Frame) bool {
		payload, _, port, ok := f.UDP()
		return ok && port == 5353 && len(payload) > 12 && payload[2]&0x80 != 0 && strings.Contains(string(payload), "\x07Printer")
	})
	heard.Save(filepath.Join(d.dir, "capture.pcapng"))
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	d.root = root
	out, err := exec.Command("go", "env", "GOCACHE", "GOMODCACHE", "GOPATH").Output()
	if err != nil {
		t.Fatal(err)
	}
	dirs := strings.Fields(string(out))
	home := filepath.Join(d.dir, "home")
	d.state = filepath.Join(d.dir, "lib")
	for _, dir := range []string{home, d.state} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	d.env = []string{
		"PATH=" + filepath.Dir(lab.Binary(t)) + ":" + os.Getenv("PATH") + ":/usr/sbin:/sbin",
		"HOME=" + home, "XDG_STATE_HOME=" + home, "XDG_CONFIG_HOME=" + home, "XDG_RUNTIME_DIR=" + home,
		"GOCACHE=" + dirs[0], "GOMODCACHE=" + dirs[1], "GOPATH=" + dirs[2],
	}
	return d
}

func (d *desk) run(t *testing.T, where, command string) {
	t.Helper()
	c := d.Command("/bin/bash", "-c", command)
	c.Env, c.Dir = d.env, d.dir
	// The service's own state folder, without the machine's.
	c.Mounts = []lab.Mount{{Source: d.state, Target: "/var/lib"}}
	if strings.HasPrefix(command, "make ") {
		c.Dir = d.root
	}
	if !endless(command) {
		// What a node has not heard yet, it may hear in a moment.
		var r lab.Result
		for end := time.Now().Add(30 * time.Second); ; time.Sleep(200 * time.Millisecond) {
			again := *c
			if r = again.Run(); r.Exit == 0 && r.Stdout != "" || r.Exit != 5 && r.Exit != 6 && r.Exit != 0 || time.Now().After(end) {
				break
			}
		}
		if r.Exit != 0 || r.Stdout == "" {
			t.Errorf("%s: %s: exit %d\n%s%s", where, command, r.Exit, r.Stdout, r.Stderr)
		}
		return
	}
	p := c.Start()
	if strings.HasPrefix(command, "make run") || strings.HasPrefix(command, "lanfolk up") {
		// With the build.
		p.WaitLine(3*time.Minute, "ready", func(line string) bool { return strings.HasPrefix(line, "ready") })
		return
	}
	p.WaitLine(30*time.Second, "output", func(string) bool { return p.Stdout() != "" })
	p.Signal(syscall.SIGINT)
	if code := p.Wait(30 * time.Second); code != 0 && code != 130 {
		t.Errorf("%s: %s: exit %d when interrupted\n%s%s", where, command, code, p.Stdout(), p.Stderr())
	}
}

func TestFencesAreRead(t *testing.T) {
	got, err := fences("x.md", "text\n```sh\none\n# no\n\ntwo \\\n  more\n```\n```json\n{\n```\n````sh test=no\nthree\n````\n")
	if err != nil || fmt.Sprint(got) != "[{x.md:2 false [one two more]} {x.md:12 true [three]}]" {
		t.Errorf("%v %v", got, err)
	}
	for text, want := range map[string]string{
		"```sh\nopen\n":         "x.md: a fence has no end",
		"```sh test=never\nx\n": `x.md:1: fence with "test=never", not test=no`,
		"```sh\nx \\\n```\n":    "x.md:3: the fence ends in the middle of a command",
	} {
		if _, err := fences("x.md", text); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}
