package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/internal/api/client"
	"github.com/lanfolk/lanfolk/internal/config"
	"github.com/lanfolk/lanfolk/internal/enrol"
	"github.com/lanfolk/lanfolk/internal/enrol/invitation"
	"github.com/lanfolk/lanfolk/internal/locate"
	"github.com/lanfolk/lanfolk/internal/node"
	"github.com/lanfolk/lanfolk/internal/source"
)

// joining is the command `lanfolk join`.
type joining struct {
	asking     // for mDNS, and whose state folder it is
	format     format
	configPath string
	replace    bool
}

func joinCommand(a app) *cobra.Command {
	x := joining{asking: asking{app: a, domain: domainFlags{domain: dnssd.DefaultDomain}}}
	cmd := &cobra.Command{
		Use:   "join STRING",
		Short: "Make this machine a gateway of a hub's",
		Long: `join makes this machine a gateway of the hub that "lanfolk hub token create" printed
the STRING on; with - it is read from standard input, so that no list of processes
shows it. The key is made here and stays here. The hub must prove by its certificate
that it is the one that the STRING is of, before it is told anything.

A node that runs connects by itself, else "lanfolk up" does. Run it as the user whom
the state folder belongs to, or as root, who then acts as that user.

Where the STRING names no address, the hub is looked for by DNS-SD: in the domains of
[dns] and of resolv.conf, then by mDNS.

Joining the same hub again, even after the certificate has expired, keeps this
gateway's id. To join another hub --replace is needed. It exits with 4 if the hub
refuses, with 5 if no hub is announced, and with 6 if none answers.`,
		Example: `  lanfolk join lanfolk1.…
  ssh hub lanfolk hub token create | lanfolk join -`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			if err := x.format.check(); err != nil {
				return err
			}
			return x.run(cmd.Context(), argv[0])
		},
	}
	x.format.flags(cmd)
	fl := cmd.Flags()
	fl.StringVar(&x.node.state, "state", "", "the state `FOLDER` of the node")
	fl.StringVarP(&x.configPath, "config", "c", "", "the configuration `FILE` of the node")
	fl.BoolVar(&x.replace, "replace", false, "leave the hub that this machine is a gateway of")
	x.interfaces = interfaceFlag(cmd)
	return cmd
}

// membership is what the command prints.
type membership struct {
	Gateway string    `json:"gateway"`
	Name    string    `json:"name"`
	Hubs    []string  `json:"hubs"` // where the hub is
	Expires time.Time `json:"expires"`
}

func (x *joining) run(ctx context.Context, text string) error {
	if text == "-" {
		var err error
		if text, err = firstLine(x.in); err != nil {
			return err
		}
	}
	to, err := invitation.Parse(text)
	if err != nil {
		return usage{err}
	}
	var named []string
	if x.configPath != "" {
		named = []string{x.configPath}
	}
	_, c, err := loadConfig(named)
	if err != nil {
		return err
	}
	state, err := stateFolder(cmp.Or(x.node.state, c.State))
	if err != nil {
		return err
	}
	x.node.state = state
	if err := actAsOwner(state); err != nil {
		return err
	}
	path, err := node.IdentityIn(state)
	if err != nil {
		return err
	}
	identity, err := enrol.Open(path)
	if err != nil {
		return err
	}
	if was := identity.Status(); was.Gateway != "" && was.Pin != to.Pin && !x.replace {
		return fmt.Errorf("this machine is the gateway %s of another hub, at %s; --replace leaves that one", was.Gateway, strings.Join(was.Hubs, " "))
	}
	if len(c.Gateway.Hub) > 0 {
		to.Addresses = nil
		for _, a := range c.Gateway.Hub {
			to.Addresses = append(to.Addresses, a.String())
		}
	}
	if err := x.join(ctx, identity, to, c); err != nil {
		return inWords(err)
	}
	s := identity.Status()
	j := membership{Gateway: s.Gateway, Name: s.Name, Hubs: s.Hubs, Expires: s.Expires.UTC()}
	err = document(x.out, x.format, j, j.Gateway, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "joined as %s, the gateway %s; the certificate is good until %s and renews itself\n",
			visible(cmp.Or(j.Name, j.Gateway)), j.Gateway, j.Expires.Local().Format(time.DateOnly))
		return err
	})
	if err != nil {
		return err
	}
	x.sayConnected(ctx, c, j.Gateway)
	return nil
}

// firstLine reads a line of standard input. What is longer than any join string isn't
// read to its end.
func firstLine(in io.Reader) (string, error) {
	const most = 64 << 10
	line, err := bufio.NewReader(io.LimitReader(in, most)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("standard input: %w", err)
	}
	return strings.TrimSpace(line), nil
}

// actAsOwner makes root the user whom the state folder belongs to: what is written there
// is for the node, which runs as that user, and no link in a folder of that user's leads
// root astray. It changes nothing for others, nor where the folder isn't there yet.
func actAsOwner(state string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(state)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok || s.Uid == 0 {
		return nil
	}
	uid, gid := int(s.Uid), int(s.Gid)
	if err := errors.Join(syscall.Setgroups([]int{gid}), syscall.Setresgid(gid, gid, gid), syscall.Setresuid(uid, uid, uid)); err != nil {
		return fmt.Errorf("act as the owner of %s: %w", state, err)
	}
	return nil
}

// dialHubFor is how long a connection may take.
const dialHubFor = 10 * time.Second

// join enrols at the addresses that are known, or at the hub that is found.
func (x *joining) join(ctx context.Context, identity *enrol.Identity, to invitation.Invitation, c *config.Config) error {
	d := net.Dialer{Timeout: dialHubFor}
	if len(to.Addresses) > 0 {
		return identity.Join(ctx, to, func(ctx context.Context, address string) (net.Conn, error) { return d.DialContext(ctx, "tcp", address) })
	}
	at := func(w locate.Way) error {
		s := locate.Search{Ways: func() []locate.Way { return []locate.Way{w} }, Dial: d.DialContext}
		return x.joinFound(ctx, identity, to, s)
	}
	ways, err := x.unicastWays(c)
	var failed []error
	if err != nil {
		failed = append(failed, err)
	}
	for _, w := range ways {
		err := at(w)
		if err == nil || errors.Is(err, enrol.ErrRefused) || ctx.Err() != nil {
			return err
		}
		failed = append(failed, err)
	}
	err = x.askDNSSD(ctx, func(_ context.Context, by asker) error { return at(locate.Way{Name: "the local network", Browser: by}) })
	if err == nil || errors.Is(err, enrol.ErrRefused) || ctx.Err() != nil {
		return err
	}
	return errors.Join(append(failed, err)...)
}

func (x *joining) unicastWays(c *config.Config) ([]locate.Way, error) {
	r := &source.Resolver{Read: os.ReadFile, Dial: (&net.Dialer{}).DialContext, Advice: "name one in dns.servers", Log: x.logger(slog.LevelError, config.FormatAuto)}
	for _, s := range c.DNS.Servers {
		r.Servers = append(r.Servers, s.AddrPort)
	}
	var named []string
	for _, d := range append(c.DNS.Browse, c.DNS.Search...) {
		named = append(named, d.String())
	}
	return node.UnicastWays(r, named)
}

// joinFound enrols at the first of the places that a search finds which proves to be
// the hub.
func (x *joining) joinFound(ctx context.Context, identity *enrol.Identity, to invitation.Invitation, s locate.Search) error {
	var failed []error
	for conn, err := range s.Conns(ctx) {
		if err != nil {
			failed = append(failed, err)
			continue
		}
		address := conn.RemoteAddr().String()
		to.Addresses = []string{address}
		err := identity.Join(ctx, to, func(context.Context, string) (net.Conn, error) { return conn, nil })
		conn.Close()
		if err == nil || errors.Is(err, enrol.ErrRefused) || ctx.Err() != nil {
			return err
		}
		if errors.Is(err, enrol.ErrPin) {
			fmt.Fprintf(x.err, "lanfolk: at %s there is another hub, or somebody who wants to be one; it was told nothing\n", address)
		}
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}

// inWords gives the outcomes of joining their words, and exit codes.
func inWords(err error) error {
	text := strings.ReplaceAll(enrol.Explain(err).Error(), "\n", "; ")
	switch {
	case errors.Is(err, enrol.ErrRefused):
		return outcome{text, client.ErrDenied}
	case errors.Is(err, enrol.ErrPin):
		return outcome{text, err}
	case errors.Is(err, locate.ErrNobody):
		return outcome{text + "; is the STRING of a hub that announces itself? One can name its address", errNotFound}
	case errors.Is(err, context.Canceled):
		return err
	}
	return outcome{"the hub can't be reached: " + text, errNoAnswer}
}

// How long a running node may take to connect, and how often it is asked.
const (
	connectFor   = 10 * time.Second
	connectEvery = 200 * time.Millisecond
)

// sayConnected tells what a running node makes of it: nothing of it fails the command.
func (x *joining) sayConnected(ctx context.Context, c *config.Config, gateway string) {
	say := func(format string, args ...any) { fmt.Fprintf(x.err, "lanfolk: "+format+"\n", args...) }
	api, err := x.node.client()
	if err != nil {
		return
	}
	defer api.Close()
	ctx, cancel := context.WithTimeout(ctx, connectFor)
	defer cancel()
	var s node.Status
	began := time.Now()
	for {
		if err := api.Status(ctx, &s); err != nil {
			if errors.Is(err, client.ErrNotRunning) {
				say(`no node runs here; "lanfolk up" connects`)
			}
			return
		}
		switch {
		case !c.Gateway.Enabled:
			say("the configuration says gateway.enabled = false, so that nothing connects")
			return
		case c.Gateway.Insecure.On():
			say("the configuration names a server without TLS, gateway.insecure, which takes the hub's place")
			return
		case s.Hub.Connected && s.Hub.Gateway == gateway && s.Hub.Since.After(began.Add(-time.Second)):
			say("the node that runs is connected")
			return
		}
		select {
		case <-time.After(connectEvery):
		case <-ctx.Done():
			say("the node that runs isn't connected yet: %s", cmp.Or(visible(s.Hub.Error), `see "lanfolk status"`))
			return
		}
	}
}
