package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lanfolk/lanfolk/internal/agent"
	"github.com/lanfolk/lanfolk/internal/config"
	"github.com/lanfolk/lanfolk/internal/daemon"
	"github.com/lanfolk/lanfolk/internal/enrol"
	"github.com/lanfolk/lanfolk/internal/uplink"
	"github.com/lanfolk/lanfolk/reverse"
	"github.com/lanfolk/lanfolk/reverse/lanfolkpb"
)

// What a node that is a hub's gateway keeps of that in its state folder.
const (
	gatewayFolder  = "gateway"
	identityFile   = "identity.json"
	insecureFolder = "insecure" // of a server without TLS
	feedsFolder    = "feeds"
)

// IdentityIn returns the file of the gateway's key and certificate in a state folder.
// Its folder is made, for its owner alone.
func IdentityIn(state string) (string, error) {
	dir := filepath.Join(state, gatewayFolder)
	err := os.MkdirAll(state, 0o750) // as the node makes it
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return "", fmt.Errorf("node: the gateway's folder: %w", err)
	}
	return filepath.Join(dir, identityFile), nil
}

// hubSide is the node's side of its hub, as far as the status asks for it.
type hubSide struct {
	mu       sync.Mutex
	identity *enrol.Identity
	agent    *agent.Agent    // nil while there is no session
	client   *reverse.Client // as agent
	dialler  *hubDialler
	welcome  *lanfolkpb.Welcome // of the last connection
	skew     time.Duration      // how far the hub's clock was ahead then
	renewals uint64

	uplink *uplink.Uplink // once it was needed; nil if nothing goes up
	tee    switchedRows
}

// hubTasks is the task that does what a hub asks.
func (n *Node) hubTasks() []*daemon.Task {
	return []*daemon.Task{{Name: "hub", Run: n.runHub, Detail: n.hubDetail, Counters: n.hubCounters}}
}

// runHub is a hub's gateway for as long as the node is one: it need not be one when it
// begins, and it may become another hub's.
func (n *Node) runHub(ctx context.Context) error {
	c := n.Config.Gateway
	if !c.Enabled {
		return daemon.Unavailable{Reason: errors.New("the config says gateway.enabled = false")}
	}
	if c.Insecure.On() {
		return n.serveInsecure(ctx, c.Insecure)
	}
	path, err := IdentityIn(n.State)
	if err != nil {
		return err
	}
	changed := watchFile(ctx, path)
	identity, err := enrol.Open(path)
	if err != nil {
		return err
	}
	n.hub.set(func(h *hubSide) { h.identity = identity })
	for {
		if identity.Status().Gateway != "" {
			if err := n.serveHub(ctx, identity, changed); err != nil {
				return err
			}
		} else {
			select {
			case <-ctx.Done():
			case <-changed:
				n.reload(identity)
			}
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

// reload takes over what `lanfolk join` wrote, and says whether it is news.
func (n *Node) reload(identity *enrol.Identity) bool {
	changed, err := identity.Reload()
	if err != nil {
		n.Log.Warn("the gateway's new identity can't be read; the one before goes on", "err", err)
	}
	return changed
}

// serveHub does what the identity's hub asks, until ctx is done or the gateway is
// another one, or another hub's.
func (n *Node) serveHub(ctx context.Context, identity *enrol.Identity, changed <-chan struct{}) error {
	was := identity.Status()
	n.Log.Info("this node is a hub's gateway", "gateway", was.Gateway, "name", was.Name, "hubs", was.Hubs)
	a, err := n.openAgent(filepath.Join(n.State, gatewayFolder))
	if err != nil {
		return err
	}
	dialler := n.newHubDialler(identity)
	client := &reverse.Client{Dial: dialler.dial, Handler: greeted{a, n.hub.welcomed}, Log: n.Log}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	n.hub.begin(a, client, dialler)
	defer n.hub.end()
	renewer := &enrol.Renewer{Identity: identity, Conn: client.Conn, Log: n.Log, Renewed: func() {
		n.hub.set(func(h *hubSide) { h.renewals++ })
		client.Reconnect()
	}}
	up, err := n.openUplink()
	if err != nil { // the disk is full, as a rule; commands need none of it
		n.Log.Error("nothing goes up to the hub by itself", "err", err)
	}
	tasks, ctx := errgroup.WithContext(ctx)
	tasks.Go(func() error { return client.Run(ctx) })
	tasks.Go(func() error { a.Resend(ctx, client); return nil })
	tasks.Go(func() error { return renewer.Run(ctx) })
	if up != nil {
		n.hub.tee.use(up.Tee(n.db))
		tasks.Go(func() error { n.runUplink(ctx, up, client); return nil })
	}
	tasks.Go(func() error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-changed:
			}
			if !n.reload(identity) {
				continue // or it was this process that renewed it
			}
			if now := identity.Status(); now.Gateway != was.Gateway || now.Pin != was.Pin {
				n.hub.tee.use(nil)
				cancel()
				return nil
			}
			dialler.forget()
			client.Reconnect()
		}
	})
	return errors.Join(tasks.Wait(), a.Close())
}

// serveInsecure does what a server asks that knows reverse_access only, and no TLS.
func (n *Node) serveInsecure(ctx context.Context, c config.GatewayInsecure) error {
	dir := filepath.Join(n.State, gatewayFolder, insecureFolder)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("node: the gateway's folder: %w", err)
	}
	a, err := n.openAgent(dir)
	if err != nil {
		return err
	}
	dialler := n.newHubDialler(nil)
	client := &reverse.Client{Dial: dialler.dial, ID: c.ID, Handler: greeted{a, n.hub.welcomed}, Log: n.Log}
	n.hub.begin(a, client, dialler)
	defer n.hub.end()
	tasks, ctx := errgroup.WithContext(ctx)
	tasks.Go(func() error { return client.Run(ctx) })
	tasks.Go(func() error { a.Resend(ctx, client); return nil })
	return errors.Join(tasks.Wait(), a.Close())
}

// greeted is an agent whose node hears what the hub says of itself.
type greeted struct {
	*agent.Agent
	welcomed func(*lanfolkpb.Welcome)
}

// Welcome implements reverse.Handler.
func (g greeted) Welcome(w *lanfolkpb.Welcome) {
	g.welcomed(w)
	g.Agent.Welcome(w)
}

func (h *hubSide) set(change func(*hubSide)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change(h)
}

func (h *hubSide) welcomed(w *lanfolkpb.Welcome) {
	skew := time.Until(time.Unix(w.GetNow(), 0)).Round(time.Second)
	h.set(func(h *hubSide) { h.welcome, h.skew = w, skew })
}

func (h *hubSide) begin(a *agent.Agent, c *reverse.Client, d *hubDialler) {
	h.set(func(h *hubSide) { h.agent, h.client, h.dialler, h.welcome = a, c, d, nil })
}

func (h *hubSide) end() { h.begin(nil, nil, nil) }

// lookEvery is how often it is seen whether somebody joined: it takes people to do that.
const lookEvery = time.Second

// watchFile tells when a file is another one than before, until ctx is done.
func watchFile(ctx context.Context, path string) <-chan struct{} {
	changed := make(chan struct{}, 1)
	look := func() fs.FileInfo {
		info, _ := os.Stat(path) // who can't be seen isn't there
		return info
	}
	before := look()
	go func() {
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			now := look()
			if !sameInfo(before, now) {
				select {
				case changed <- struct{}{}:
				default:
				}
			}
			before = now
		}
	}()
	return changed
}

func sameInfo(a, b fs.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}
