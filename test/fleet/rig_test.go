package fleet

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/internal/enrol/invitation"
	"github.com/lanfolk/lanfolk/test/lab"
)

// grpcPort is where hubs of these tests listen for gateways.
const grpcPort = "8513"

// patience is how long may take what should happen soon: far longer than it does, since
// a machine may have much else to do. Who waits goes on as soon as it is so.
const patience = 2 * time.Minute

// A site is a network with a hub.
type site struct {
	*lab.Lab
	t   *testing.T
	net *lab.Subnet
	at  *lab.Host // the hub's
	hub *lab.RunningNode

	address string // of the hub, for gateways
	node    lab.Node
}

// gatewayConfig is what these gateways have in common: they leave the network alone.
const gatewayConfig = `
[mdns]
enabled = false
[passive]
enabled = false
[http]
enabled = false
`

// newSite starts a hub in a network of its own. Config goes behind the [hub] line.
func newSite(t *testing.T, config string, args ...string) *site {
	t.Helper()
	s := bareSite(t)
	s.startHub(config, args...)
	return s
}

// bareSite is one whose hub isn't started yet.
func bareSite(t *testing.T) *site {
	t.Helper()
	l := lab.New(t)
	s := &site{Lab: l, t: t, net: l.Subnet("net", "10.99.1.0/24")}
	s.at = l.Host("hub").Join(s.net)
	s.address = s.at.Link(s.net).V4.String() + ":" + grpcPort
	return s
}

// startHub starts the site's hub, with config behind the [hub] line.
func (s *site) startHub(config string, args ...string) {
	s.t.Helper()
	if s.node.State == "" {
		s.node.State = s.folder("hub")
	}
	s.node = lab.Node{
		State: s.node.State, Config: fmt.Sprintf("name = \"hub\"\n[hub]\naddresses = [%q]\n%s", s.address, config), Limit: limit(),
		Args: append([]string{"--grpc", s.address}, args...),
	}
	s.hub = s.at.Hub(s.node)
}

// restartHub starts the hub again on what it kept.
func (s *site) restartHub() {
	s.t.Helper()
	s.hub = s.at.Hub(s.node)
}

// limit is how long daemons may run.
func limit() time.Duration {
	if soaking() {
		return time.Hour
	}
	return 15 * time.Minute
}

// folder makes a folder of the site's.
func (s *site) folder(name string) string {
	s.t.Helper()
	dir, err := os.MkdirTemp(s.Dir(), name+"-")
	if err == nil {
		err = os.Chmod(dir, 0o755) // programs that exec runs are nobody's
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return dir
}

// ok runs a command that asks the hub and must succeed, and returns its stdout.
func (s *site) ok(args ...string) string {
	s.t.Helper()
	r := s.hub.Run(args...)
	if r.Exit != 0 {
		s.t.Fatalf("lanfolk %s: exit %d: %s%s", strings.Join(args, " "), r.Exit, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

// token makes a token and returns its string, which leads to the addresses; none are
// those that the hub tells.
func (s *site) token(addresses []string, args ...string) string {
	s.t.Helper()
	text := strings.TrimSpace(s.ok(append([]string{"hub", "token", "create"}, args...)...))
	if len(addresses) == 0 {
		return text
	}
	return s.reencode(text, func(i *invitation.Invitation) { i.Addresses = addresses })
}

// reencode changes what a join string says.
func (s *site) reencode(text string, change func(*invitation.Invitation)) string {
	s.t.Helper()
	i, err := invitation.Parse(text)
	if err != nil {
		s.t.Fatalf("%q: %v", text, err)
	}
	change(&i)
	if text, err = i.Encode(); err != nil {
		s.t.Fatal(err)
	}
	return text
}

// A gate is a gateway.
type gate struct {
	*lab.RunningNode
	name  string
	host  *lab.Host
	files string // what get fetches from
	node  lab.Node
}

// join enrols a new gateway of that name at a host, and doesn't start it. Config goes
// behind the [gateway] line.
func (s *site) join(h *lab.Host, name, config string, addresses ...string) *gate {
	s.t.Helper()
	g := &gate{name: name, host: h, files: s.folder("files")}
	g.node = lab.Node{
		State: s.folder(name), Limit: limit(),
		Config: gatewayConfig + "[gateway]\nfiles = \"" + g.files + "\"\n" + config,
	}
	c := h.Lanfolk("join", "-", "--state", g.node.State)
	c.Stdin = s.token(addresses, "--gateway", name) + "\n"
	if r := c.Run(); r.Exit != 0 {
		s.t.Fatalf("lanfolk join: exit %d: %s%s", r.Exit, r.Stdout, r.Stderr)
	}
	return g
}

// gateway enrols a gateway, starts it and waits until the hub lists it as online.
func (s *site) gateway(name, config string) *gate {
	s.t.Helper()
	g := s.join(s.Host(name).Join(s.net), name, config)
	g.start()
	s.waitState(name, "online", patience)
	return g
}

// start starts it, again perhaps.
func (g *gate) start() { g.RunningNode = g.host.Up(g.node) }

// put writes a file for get and returns its SHA-256.
func (g *gate) put(t *testing.T, name string, content []byte) string {
	t.Helper()
	if err := os.WriteFile(filepath.Join(g.files, name), content, 0o644); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// listed is a gateway as `lanfolk gateways --json` prints it.
type listed struct {
	ID, Name, State, Address, Version string
	ConnectedAt                       time.Time `json:"connected_at"`
	LastSeen                          time.Time `json:"last_seen"`
	Devices                           int
}

func (s *site) gateways() []listed {
	s.t.Helper()
	var all []listed
	if err := s.hub.JSON(&all, "gateways"); err != nil {
		s.t.Fatal(err)
	}
	return all
}

// listedAs returns the gateway of that name or id.
func (s *site) listedAs(name string) (listed, bool) {
	s.t.Helper()
	all := s.gateways()
	i := slices.IndexFunc(all, func(g listed) bool { return g.Name == name || g.ID == name })
	if i < 0 {
		return listed{}, false
	}
	return all[i], true
}

// waitState waits until a gateway is listed in a state, and returns it.
func (s *site) waitState(name, state string, d time.Duration) listed {
	s.t.Helper()
	var g listed
	lab.Eventually(s.t, d, name+" listed as "+state, func() error {
		var ok bool
		if g, ok = s.listedAs(name); !ok || g.State != state {
			return fmt.Errorf("%+v", s.gateways())
		}
		return nil
	})
	return g
}

// outcome is a command as `lanfolk run -o jsonl` and `lanfolk commands` print it.
type outcome struct {
	Gateway, Command, Status, Output, SHA256 string
	CommandID                                string `json:"command_id"`
	Error                                    string
	Exit                                     int
	Size                                     int64
	Started, Ended                           *time.Time
}

// ended says whether the command is known, and has ended.
func (o outcome) ended() bool {
	return o.Status != "" && o.Status != "queued" && o.Status != "running"
}

// run runs a command on one gateway and returns how it ended.
func (s *site) run(gateway string, args ...string) outcome {
	s.t.Helper()
	o, r := s.try(gateway, args...)
	if o.CommandID == "" {
		s.t.Fatalf("lanfolk run %s %q: exit %d: %s%s", gateway, args, r.Exit, r.Stdout, r.Stderr)
	}
	return o
}

// try is run of a command that may be refused.
func (s *site) try(gateway string, args ...string) (outcome, lab.Result) {
	s.t.Helper()
	c := s.at.Lanfolk(append([]string{"run", gateway, "-o", "jsonl", "--timeout", "1m", "--state", s.hub.State, "--"}, args...)...)
	c.Limit = 5 * time.Minute
	r := c.Run()
	all := outcomes(s.t, r.Stdout)
	if len(all) == 0 {
		return outcome{}, r
	}
	return all[len(all)-1], r
}

func outcomes(t *testing.T, text string) []outcome {
	t.Helper()
	var all []outcome
	for line := range strings.Lines(text) {
		var o outcome
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		all = append(all, o)
	}
	return all
}

// commands returns the hub's commands.
func (s *site) commands() []outcome {
	s.t.Helper()
	var all []outcome
	if err := s.hub.JSON(&all, "commands"); err != nil {
		s.t.Fatal(err)
	}
	return all
}

// waitEnd waits for a command's end.
func (s *site) waitEnd(id string, d time.Duration) outcome {
	s.t.Helper()
	var o outcome
	lab.Eventually(s.t, d, "the end of command "+id, func() error {
		all := s.commands()
		i := slices.IndexFunc(all, func(o outcome) bool { return o.CommandID == id })
		if i < 0 {
			return fmt.Errorf("it isn't listed among %d", len(all))
		}
		if o = all[i]; !o.ended() {
			return fmt.Errorf("it is %s", o.Status)
		}
		return nil
	})
	return o
}

// hashed returns a hash as it is printed.
func hashed(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// noise is n bytes that don't repeat, in which each byte occurs.
func noise(n int) []byte {
	b := make([]byte, 0, n+32)
	for i := 0; len(b) < n; i++ {
		sum := sha256.Sum256(fmt.Append(nil, i))
		b = append(b, bytes.Repeat(sum[:], 32)...)
	}
	return b[:n]
}

// program is a section of a gateway's configuration: a program that exec may run.
func program(name, path string, args ...string) string {
	list, err := json.Marshal(append([]string{}, args...))
	if err != nil {
		panic(err) // strings alone
	}
	return fmt.Sprintf("[[gateway.program]]\nname = %q\npath = %q\nargs = %s\nuser = \"nobody\"\n", name, path, list)
}

// writeScript writes a program that exec may run.
func writeScript(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// residentKB returns how much memory a process has.
func residentKB(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		var kb int
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kb); err == nil {
			return kb
		}
	}
	t.Fatal("no VmRSS")
	return 0
}
