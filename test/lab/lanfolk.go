package lab

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"
)

// Lanfolk prepares a run of the real lanfolk program in the host.
func (h *Host) Lanfolk(args ...string) *Command {
	h.lab.t.Helper()
	return h.Command(append([]string{Binary(h.lab.t)}, args...)...)
}

// Node says how a lanfolk node or hub is to run.
type Node struct {
	// State is its folder, "" for a new one.
	State string
	// Config is the text of its configuration, "" for none.
	Config string
	User   int
	Args   []string
	// Limit is that of its Command.
	Limit time.Duration
}

// RunningNode is `lanfolk up` or `lanfolk hub` in a host.
type RunningNode struct {
	*Process
	State string // its folder
	Page  string // the address of its page
	// Ready is how long it took from its start until it was ready.
	Ready time.Duration
	host  *Host
	user  int
}

// Up starts a node in the host and waits until it is ready.
func (h *Host) Up(n Node) *RunningNode {
	h.lab.t.Helper()
	return h.daemon("up", n)
}

// Hub starts a hub in the host and waits until it is ready.
func (h *Host) Hub(n Node) *RunningNode {
	h.lab.t.Helper()
	return h.daemon("hub", n)
}

func (h *Host) daemon(verb string, n Node) *RunningNode {
	t := h.lab.t
	t.Helper()
	if n.State == "" {
		n.State = h.lab.tempDir("state")
		if n.User != 0 {
			if err := os.Chown(n.State, n.User, n.User); err != nil {
				t.Fatalf("lab: %v", err)
			}
		}
	}
	args := append([]string{verb, "--state", n.State}, n.Args...)
	home := h.lab.tempDir("home")
	if n.Config != "" {
		args = append(args, "--config", h.lab.writeFile(home, "lanfolk.toml", n.Config))
	}
	c := h.Lanfolk(args...)
	c.User, c.Limit = n.User, n.Limit
	// Nothing of the machine's own configuration.
	c.Env = []string{"HOME=" + home, "XDG_CONFIG_HOME=" + home, "XDG_STATE_HOME=" + home}
	r := &RunningNode{Process: c.Start(), State: n.State, host: h, user: n.User}
	r.daemon = true
	line := r.WaitLine(time.Minute, "ready", func(line string) bool { return line == "ready" || strings.HasPrefix(line, "ready ") })
	r.Ready = time.Since(r.started)
	for _, f := range strings.Fields(line) {
		if strings.HasPrefix(f, "http://") || strings.HasPrefix(f, "https://") {
			r.Page = f
		}
	}
	return r
}

// Run runs a command that asks the node, with --state, as the node's user.
func (n *RunningNode) Run(args ...string) Result {
	n.t.Helper()
	c := n.host.Lanfolk(append(args, "--state", n.State)...)
	c.User = n.user
	return c.Run()
}

// JSON runs a command that asks the node and decodes what it prints with
// --json into v.
func (n *RunningNode) JSON(v any, args ...string) error {
	n.t.Helper()
	r := n.Run(append(args, "--json")...)
	if r.Exit != 0 {
		return fmt.Errorf("lanfolk %s: exit %d: %s", strings.Join(args, " "), r.Exit, r.Stderr)
	}
	if err := json.Unmarshal([]byte(r.Stdout), v); err != nil {
		return fmt.Errorf("lanfolk %s: %w in %s", strings.Join(args, " "), err, r.Stdout)
	}
	return nil
}
