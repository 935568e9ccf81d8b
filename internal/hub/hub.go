// Package hub composes what `lanfolk hub` runs: the list of its parts and how they
// are connected. It decides nothing.
package hub

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"

	"github.com/lanfolk/lanfolk/internal/access"
	"github.com/lanfolk/lanfolk/internal/api"
	"github.com/lanfolk/lanfolk/internal/config"
	"github.com/lanfolk/lanfolk/internal/daemon"
	"github.com/lanfolk/lanfolk/internal/database"
	"github.com/lanfolk/lanfolk/internal/globalserver"
	"github.com/lanfolk/lanfolk/internal/hub/ca"
	"github.com/lanfolk/lanfolk/internal/hub/deliver"
	"github.com/lanfolk/lanfolk/internal/hub/inventory"
	"github.com/lanfolk/lanfolk/internal/hub/presence"
	"github.com/lanfolk/lanfolk/reverse"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// Hub is the daemon. Set the fields, then call Run once.
type Hub struct {
	Config     *config.Config
	ConfigPath string // where Config was read from, "" for the defaults
	State      string // the state folder
	Version    string
	Log        *slog.Logger
	// Ready is called once, when the hub serves, with the page's address.
	Ready func(page string)

	started   time.Time
	listeners listeners
	self      self
	tasks     daemon.Tasks

	db    *database.Database
	fleet *fleet.Fleet
	pulse pulse

	authority   *ca.Authority
	revocations *ca.Revocations
	registrar   *ca.Registrar
	sealKey     ed25519.PrivateKey
	seals       *seals

	roll       *presence.Roll
	dispatcher *deliver.Dispatcher
	inventory  *inventory.Inventory
	wire       *reverse.Server
	desk       *access.Desk
	counts     counts
	syncthing  globalserver.Server
}

// Run starts everything and works until ctx ends; then it sends the gateways away, who
// will come again, and returns nil. An error is one that keeps the hub from working:
// the state folder, the database, an address that another program listens on, another
// hub of its name.
func (h *Hub) Run(ctx context.Context) error {
	h.started, h.tasks.Log = time.Now(), h.Log
	taken, err := daemon.Lock(h.State, "hub.lock")
	if err != nil {
		return err
	}
	defer taken.Close()
	// First of all: a mistake in an address shows before anything is made.
	if err := h.listen(ctx); err != nil {
		return err
	}
	defer h.listeners.close()
	if err := h.openStorage(ctx); ctx.Err() != nil {
		return nil
	} else if err != nil {
		return err
	}
	defer h.closeStorage()
	if err := h.openAuthority(ctx); err != nil {
		return err
	}
	if err := h.pageTLS(); err != nil {
		return err
	}
	if err := h.openGateways(ctx); err != nil {
		return err
	}
	h.syncthing.Config, h.syncthing.Folder, h.syncthing.Log = h.Config.Syncthing.Server, h.State, h.Log
	server, err := h.openAPI()
	if err != nil {
		return err
	}

	// What keeps ends after what serves, so that nothing that came is lost.
	told := ctx
	ctx, fail := context.WithCancelCause(told)
	defer fail(nil)
	keeping, stopKeeping := context.WithCancel(context.WithoutCancel(ctx))
	defer stopKeeping()
	keepers := h.tasks.Supervise(keeping, "keepers", keepersTimeout,
		&daemon.Task{Name: "database", Run: h.db.Run},
		&daemon.Task{Name: "presence", Run: h.attend(fail)},
		&daemon.Task{Name: "commands", Run: h.dispatcher.Run},
		&daemon.Task{Name: "inventory", Run: h.inventory.Run, Detail: h.inventoryDetail, Counters: h.inventoryCounters},
		&daemon.Task{Name: "gateways' names", Run: h.tellInventory},
		&daemon.Task{Name: "revocations", Run: h.revocations.Run},
		&daemon.Task{Name: "housekeeping", Run: h.keepHouse, Detail: h.counts.houseDetail},
		&daemon.Task{Name: "audit seals", Run: h.seals.run, Detail: h.seals.detail},
		&daemon.Task{Name: "memory", Run: h.giveBack},
		daemon.Watchdog(),
	)
	gateways := h.grpcTask("grpc", h.listeners.grpc, h.gatewayServer())
	gateways.Detail, gateways.Counters = h.grpcDetail, h.grpcCounters
	servers := h.tasks.Supervise(ctx, "servers", serversTimeout, gateways)
	if at := h.listeners.insecure; at != nil {
		h.Log.Warn("clients without TLS are believed what they say they are", "addr", at.Addr().String())
		servers.Add(h.grpcTask("insecure grpc", at, h.wire.GRPC(nil)))
	}
	for _, at := range []net.Listener{h.listeners.socket, h.listeners.page} {
		servers.Add(&daemon.Task{Name: "api " + at.Addr().Network(), Run: func(ctx context.Context) error { return server.Serve(ctx, at) }})
	}
	for _, t := range h.announceTasks() {
		servers.Add(t)
	}
	if t, ok := h.syncthing.Task(); ok {
		servers.Add(t)
	}

	daemon.Ready()
	h.Log.Info("ready", "page", h.self.page, "grpc", h.listeners.grpc.Addr().String(), "state", h.State)
	if h.Ready != nil {
		h.Ready(h.self.page)
	}
	<-ctx.Done()
	daemon.Stopping()
	h.wire.Close()
	servers.Wait()
	stopKeeping()
	keepers.Wait()
	h.seals.end()
	if told.Err() != nil {
		return nil
	}
	return context.Cause(ctx)
}

// How long parts may take to stop.
const (
	serversTimeout = 8 * time.Second
	keepersTimeout = 20 * time.Second
	// farewell is how long calls that are under way may take when the hub stops.
	farewell = 2 * time.Second
)

// grpcTask serves gateways on a listener. At the end they are told to come again.
func (h *Hub) grpcTask(name string, at net.Listener, server *grpc.Server) *daemon.Task {
	return &daemon.Task{Name: name, Run: func(ctx context.Context) error {
		ended := make(chan struct{})
		stop := context.AfterFunc(ctx, func() {
			defer close(ended)
			late := time.AfterFunc(farewell, server.Stop)
			defer late.Stop()
			server.GracefulStop()
		})
		err := server.Serve(at)
		if !stop() {
			<-ended
			return nil
		}
		return fmt.Errorf("hub: serve %s: %w", at.Addr(), err)
	}}
}

// attend keeps the hub's lease. Where another process runs as this hub there is
// nothing to do but to end: each of the two would take the other's gateways away.
func (h *Hub) attend(fail context.CancelCauseFunc) func(context.Context) error {
	return func(ctx context.Context) error {
		err := h.roll.Run(ctx)
		if errors.Is(err, fleet.ErrFenced) {
			fail(fmt.Errorf("hub: another hub named %q runs on this database: give each a name of its own, or stop one: %w", h.roll.Hub, err))
		}
		return err
	}
}

// tellInventory tells the inventory how the gateways stand, and who comes and goes.
func (h *Hub) tellInventory(ctx context.Context) error {
	changes := h.roll.Watch(ctx) // first, so that none is missed
	for told := false; ; told = true {
		all, err := h.fleet.Sessions.Gateways(ctx, fleet.GatewayFilter{}, time.Now())
		if err == nil {
			for _, g := range all {
				h.inventory.Gateway(g)
			}
			break
		}
		if !told {
			h.Log.Warn("the inventory doesn't know the gateways' names yet", "err", err)
		}
		select {
		case <-time.After(again):
		case <-ctx.Done():
			return nil
		}
	}
	for g := range changes {
		h.inventory.Gateway(g)
	}
	return nil
}

// folder is the hub's in the state folder, for what isn't in the database.
func (h *Hub) folder(name string) string { return filepath.Join(h.State, "hub", name) }

// makeFolder makes it.
func (h *Hub) makeFolder() error {
	if err := os.MkdirAll(h.folder(""), 0o700); err != nil {
		return fmt.Errorf("hub: state folder: %w", err)
	}
	return nil
}

// openAPI makes the server for the API and the page.
func (h *Hub) openAPI() (*api.Server, error) {
	metrics, err := daemon.Metrics(newStatusCollector(h))
	if err != nil {
		return nil, err
	}
	db := h.db.Opened()
	return api.New(api.Options{
		Inventory:    h.inventory,
		Fingerprints: inventory.Fingerprints{Known: h.inventory, DB: db},
		Finder:       &inventory.Finder{Known: h.inventory, Runner: h.dispatcher, By: func(ctx context.Context) string { return api.Caller(ctx).Name }},
		Fleet: &api.Fleet{
			Gateways: h.fleet.Sessions, Commands: h.fleet.Commands, Runner: h.dispatcher, Presence: h.roll,
			Counts: h.inventory.Counts(), Audit: h.fleet.Audit,
		},
		Access:       h.desk,
		Status:       func() any { return h.Status(context.Background()) },
		StatusType:   Status{},
		Metrics:      metrics,
		Healthy:      h.unhealthy,
		Version:      h.Version,
		AllowedHosts: h.self.hosts,
		Log:          h.Log,
	})
}
