package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/user"
	"strconv"
	"strings"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/agent"
	"github.com/lanfolk/lanfolk/internal/capture"
	"github.com/lanfolk/lanfolk/internal/config"
	"github.com/lanfolk/lanfolk/internal/find"
	"github.com/lanfolk/lanfolk/internal/source"
	"github.com/lanfolk/lanfolk/passive/pcapfilter"
	"github.com/lanfolk/lanfolk/store"
)

// openAgent makes what runs a hub's commands. Its journal lies in a folder.
func (n *Node) openAgent(folder string) (*agent.Agent, error) {
	c := n.Config.Gateway
	return agent.Open(agent.Config{
		Folder: folder, Version: n.Version, Files: c.Files, Programs: n.programs(),
		Capture: agent.CaptureLimits{
			Allowed: c.Capture.Allowed, MaxTime: time.Duration(c.Capture.Seconds) * time.Second, MaxBytes: int64(c.Capture.Megabytes) << 20,
		},
		MaxOutput: int64(c.MaxOutput) << 20, MaxSpool: int64(c.MaxSpool) << 20,
	}, agent.Sources{
		Status:       forHub{n},
		Inventory:    n.registry,
		Fingerprints: source.NamedRows{Rows: n.recorder, Names: n.names},
		Finder:       forHub{n},
		Browser:      forHub{n},
		Capturer:     forHub{n},
	}, n.Log)
}

// programs are those of the config. One that can't run, since its user isn't there, is
// one that says so.
func (n *Node) programs() map[string]agent.Program {
	all := make(map[string]agent.Program)
	for _, c := range n.Config.Gateway.Programs {
		p, err := program(c, os.Geteuid(), maySwitch(), user.Lookup, user.LookupId)
		if err != nil {
			n.Log.Error("a program that the hub may have run can't run", "program", c.Name, "err", err)
			p.Broken = err
		}
		all[c.Name] = p
	}
	return all
}

// maySwitch says whether this process may become any user: CAP_SETGID and CAP_SETUID
// of capabilities(7).
func maySwitch() bool {
	const both = 1<<6 | 1<<7
	b, _ := os.ReadFile("/proc/self/status") // without it only root is sure to
	for line := range strings.Lines(string(b)) {
		if text, ok := strings.CutPrefix(line, "CapEff:"); ok {
			effective, err := strconv.ParseUint(strings.TrimSpace(text), 16, 64)
			return err == nil && effective&both == both
		}
	}
	return os.Geteuid() == 0
}

// program reads a section of the config. Own is the user that lanfolk runs as, and
// others says whether it may become another.
func program(c config.GatewayProgram, own int, others bool, byName, byID func(string) (*user.User, error)) (agent.Program, error) {
	p := agent.Program{Path: c.Path, Dir: c.Dir, Env: c.Env, Timeout: c.Timeout.Duration()}
	for _, a := range c.Args {
		pattern, err := agent.NewPattern(a.String())
		if err != nil {
			return p, err
		}
		p.Args = append(p.Args, pattern)
	}
	u, err := byName(c.User)
	if _, numeric := strconv.ParseUint(c.User, 10, 32); err != nil && numeric == nil {
		if u, err = byID(c.User); err != nil { // one without a name has no groups either
			u, err = &user.User{Uid: c.User, Gid: c.User}, nil
		}
	}
	if err != nil {
		return p, fmt.Errorf("node: %w", err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return p, fmt.Errorf("node: user %s: %w", c.User, err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return p, fmt.Errorf("node: user %s: %w", c.User, err)
	}
	switch {
	case uid == 0 && !c.AllowRoot:
		return p, fmt.Errorf("node: user %s is root by another name: allow_root = true must allow that", c.User)
	case uint64(own) == uid:
		return p, nil
	}
	p.User = &agent.User{UID: uint32(uid), GID: uint32(gid)}
	if u.Username != "" {
		groups, err := u.GroupIds()
		if err != nil {
			return p, fmt.Errorf("node: groups of user %s: %w", c.User, err)
		}
		for _, g := range groups {
			if id, err := strconv.ParseUint(g, 10, 32); err == nil {
				p.User.Groups = append(p.User.Groups, uint32(id))
			}
		}
	}
	if !others {
		return p, fmt.Errorf("node: lanfolk isn't root, so that it can't become user %s", c.User)
	}
	return p, nil
}

// forHub is the node as its hub may ask it.
type forHub struct{ n *Node }

// Status implements agent.Reporter.
func (f forHub) Status(context.Context) (any, error) { return f.n.Status(), nil }

// A device or a service that was found, with what was heard of its host.
type (
	foundService struct {
		Kind lanfolk.Kind `json:"kind"`
		*lanfolk.Service
		Heard *heardRow `json:"heard,omitempty"`
	}
	foundDevice struct {
		Kind lanfolk.Kind `json:"kind"`
		*lanfolk.Device
		Heard *heardRow `json:"heard,omitempty"`
	}
	heardRow struct {
		lanfolk.Observation
		Hash string `json:"fingerprint_hash"`
	}
)

// Find implements agent.Finder.
func (f forHub) Find(ctx context.Context, query string, timeout time.Duration, found func(any) error) error {
	q, err := find.ParseQuery(query)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	err = f.n.finder().Find(ctx, find.Request{Query: q, Timeout: timeout}, func(a find.Answer) {
		var heard *heardRow
		if a.Heard != nil {
			heard = &heardRow{*a.Heard, store.FingerprintHash(a.Heard.Fingerprint)}
		}
		var item any = foundDevice{lanfolk.KindDevice, a.Device, heard}
		if a.Service != nil {
			item = foundService{lanfolk.KindService, a.Service, heard}
		}
		if err := found(item); err != nil {
			cancel(err)
		}
	})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// Browse implements agent.Browser.
func (f forHub) Browse(ctx context.Context, serviceType string, resolve bool, seen func(any) error) error {
	by := source.DNSSD{Source: f.n.mdns.source}
	for i, err := range by.Browse(ctx, find.BrowseRequest{Type: serviceType, Resolve: resolve, Once: true}) {
		if err == nil {
			err = seen(i)
		}
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// Capture implements agent.Capturer. What goes to the hub is left out: with it a
// capture on the way to the hub would feed itself.
func (f forHub) Capture(ctx context.Context, link string, w io.Writer) error {
	l, ok := f.n.links.used(link)
	if !ok {
		return fmt.Errorf("node: the gateway uses no interface %q; it uses %s", link, cmp.Or(strings.Join(f.n.links.names(), ", "), "none"))
	}
	filter, err := f.n.hub.leftOut()
	if err != nil {
		return err
	}
	err = capture.Dump{Link: l, Filter: filter, Promiscuous: f.n.Config.Passive.Promiscuous}.Run(ctx, w)
	if errors.Is(err, os.ErrPermission) {
		err = fmt.Errorf("the gateway mayn't capture: %w", err)
	}
	return err
}

// leftOut is the filter that drops the frames of the connection to the hub.
func (h *hubSide) leftOut() (*pcapfilter.Filter, error) {
	h.mu.Lock()
	dialler := h.dialler
	h.mu.Unlock()
	if dialler == nil {
		return nil, nil
	}
	last, _, _ := dialler.state()
	at, err := netip.ParseAddrPort(last)
	if err != nil {
		return nil, nil //nolint:nilerr // it is nowhere
	}
	return pcapfilter.Parse(fmt.Sprintf("not (tcp port %d and host %s)", at.Port(), at.Addr().Unmap().WithZone("")))
}
