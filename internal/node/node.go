// Package node composes what `lanfolk up` runs: the list of its parts and how
// they are connected. It decides nothing.
package node

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/api"
	"github.com/lanfolk/lanfolk/internal/api/token"
	"github.com/lanfolk/lanfolk/internal/classify"
	"github.com/lanfolk/lanfolk/internal/config"
	"github.com/lanfolk/lanfolk/internal/daemon"
	"github.com/lanfolk/lanfolk/internal/find"
	"github.com/lanfolk/lanfolk/internal/hostapd"
	"github.com/lanfolk/lanfolk/internal/sockets"
	"github.com/lanfolk/lanfolk/internal/source"
	"github.com/lanfolk/lanfolk/store"
)

// Node is the daemon. Set the fields, then call Run once.
type Node struct {
	Config     *config.Config
	ConfigPath string // where Config was read from, "" for the defaults
	State      string // the state folder
	Version    string
	Log        *slog.Logger
	// Ready is called once, when the node serves. page is the page's address
	// with a sign-in token that works once, "" if HTTP is off.
	Ready func(page string)

	started       time.Time
	page          string
	db            *inventoryDB
	registry      *lanfolk.Registry
	classifier    *classify.Classifier
	recorder      *store.Recorder
	selection     sockets.Selection
	mdns          multicast
	domains       domains
	reflection    reflection
	announced     announced
	resolver      *source.Resolver
	selections    []*selected   // as the config lists them
	registrations []*registered // in the order of the config
	links         links
	zones         []*publishedZone
	zoneOwn       zoneOwn
	dnsServer     dnsServer
	tged          tgedSpeaker
	syncthing     syncthingSpeaker
	mqtt          mqttSpeaker
	self          source.Self
	leases        leaseFiles
	hostapd       *hostapd.Watcher // nil if the config says no
	names         *source.Names    // nil where names aren't hidden
	hub           hubSide

	tasks daemon.Tasks
}

// Run starts everything and works until ctx ends; then it stops what hears
// and answers, saves what is known, and returns nil. An error is one that
// keeps the node from starting: the state folder, the database, an address
// that another program listens on.
func (n *Node) Run(ctx context.Context) error {
	n.started = time.Now()
	n.tasks.Log = n.Log
	taken, err := daemon.Lock(n.State, "node.lock")
	if err != nil {
		return err
	}
	defer taken.Close()
	if n.db, err = openDatabase(ctx, n.Config.Store, n.Config.Name, n.State, n.Log); err != nil {
		return err
	}
	defer n.db.Close()
	if err := n.openInventory(ctx); err != nil {
		return err
	}
	if err := n.openLinks(); err != nil {
		return err
	}
	if err := n.openReflector(); err != nil {
		return err
	}
	if err := n.openZones(); err != nil {
		return err
	}
	if err := n.openTGED(); err != nil {
		return err
	}
	if err := n.openSyncthing(); err != nil {
		return err
	}
	n.openMQTT()
	n.openResolver()
	more := append(n.selectParts(), n.registerParts()...)
	server, err := n.openAPI(ctx)
	if err != nil {
		return err
	}
	listeners, err := n.listen(ctx)
	if err != nil {
		return err
	}

	// What keeps ends after what hears, so that nothing heard is lost.
	keeping, stopKeeping := context.WithCancel(context.WithoutCancel(ctx))
	defer stopKeeping()
	keepers := n.tasks.Supervise(keeping, "keepers", keepersTimeout,
		&daemon.Task{Name: "inventory", Run: n.registry.Run},
		&daemon.Task{Name: "recorder", Run: n.recorder.Run},
	)
	hearers := n.tasks.Supervise(ctx, "hearers", hearersTimeout,
		&daemon.Task{Name: "mdns", Run: n.runMDNS, Detail: n.mdns.detail, Counters: n.mdns.counters},
		&daemon.Task{Name: "announcer", Run: n.runAnnouncer, Detail: n.announced.detail, Counters: n.announced.counters},
		&daemon.Task{Name: "reflector", Run: n.runReflector, Detail: n.reflectDetail, Counters: n.reflectCounters},
		&daemon.Task{Name: "neighbours", Run: n.runNeighbours},
		&daemon.Task{Name: "links", Run: n.runLinks},
		&daemon.Task{Name: "database", Run: n.db.Run},
		daemon.Watchdog(),
	)
	for _, ln := range listeners {
		hearers.Add(&daemon.Task{Name: "api " + ln.Addr().Network(), Run: func(ctx context.Context) error { return server.Serve(ctx, ln) }})
	}
	for _, p := range n.mqttServerParts() {
		keepers.Add(p)
	}
	hearers.Add(&daemon.Task{Name: "capture", Run: func(ctx context.Context) error { return n.runCaptures(ctx, hearers) }})
	if n.Config.DNS.On() {
		hearers.Add(n.dnsPart())
	}
	for _, p := range slices.Concat(more, n.zoneParts(), n.tgedParts(), n.syncthingParts(), n.mqttParts(), n.leaseParts(), n.hostapdParts(), n.hubTasks()) {
		hearers.Add(p)
	}

	daemon.Ready()
	n.Log.Info("ready", "page", n.page, "state", n.State)
	if n.Ready != nil {
		n.Ready(n.signIn(server))
	}
	<-ctx.Done()
	daemon.Stopping()
	hearers.Wait()
	stopKeeping()
	keepers.Wait()
	n.closeUplink()
	return nil
}

// How long parts may take to stop. A slow disk gets its time to save.
const (
	hearersTimeout = 8 * time.Second
	keepersTimeout = 20 * time.Second
)

// openInventory makes the registry and the recorder, with what the last run saved.
func (n *Node) openInventory(ctx context.Context) error {
	vendor, err := openVendors(n.Config.Vendors.File)
	if err != nil {
		return err
	}
	if n.classifier, err = OpenClassifier(n.Config.Naming, n.State); err != nil {
		return err
	}
	c := n.Config.Inventory
	facts := cmp.Or(c.MaxSightings, factsFor(daemon.Memory()))
	n.registry = lanfolk.NewRegistry(lanfolk.RegistryOptions{
		Vendor:           vendor,
		Classifier:       n.classifier,
		Journal:          n.db,
		Sink:             n.db,
		Retention:        c.Retention.Duration(),
		ServiceRetention: c.ForgetServices.Duration(),
		MaxSightings:     facts,
		MaxDevices:       max(facts/2, 1000),
		Log:              n.Log,
	})
	snapshot, err := n.db.Snapshot(ctx)
	if err != nil {
		return err
	}
	if err := n.registry.Restore(snapshot); err != nil {
		return fmt.Errorf("node: take over the inventory of the last run: %w", err)
	}
	n.self = n.newSelf(ctx)
	n.openNames(ctx)
	p := n.Config.Passive
	n.hub.tee.Observations = n.db
	n.recorder = store.NewRecorder(&n.hub.tee, store.RecorderOptions{
		Keep: store.Retention{
			MaxAge: p.Retention.Duration(), MaxRows: int64(p.MaxRows), MaxShare: int64(p.MaxRowsPerMAC), MaxBytes: int64(p.MaxMegabytes) * 1_000_000,
		},
		Log: n.Log,
	})
	n.db.Back = n.recorder.Hurry
	n.selection = sockets.Selection{Names: n.Config.Interfaces, Exclude: n.Config.ExcludeInterfaces}
	return nil
}

// rows is the fingerprint database, what still waits to be written included.
func (n *Node) rows() source.Rows { return source.HashedRows{Rows: n.recorder, Names: n.names} }

// newSelf says who this host is in its own inventory.
func (n *Node) newSelf(ctx context.Context) source.Self {
	name := n.Config.Name
	if name == "" {
		name, _ = os.Hostname() // a host without a name has none
	}
	id, err := n.db.Secret(ctx, "node")
	if err != nil {
		id = []byte(rand.Text()) // good for this run
	}
	return source.Self{Gateway: n.Config.Name, Name: name, ID: hex.EncodeToString(id[:8])}
}

// openAPI makes the server for the API and the page.
func (n *Node) openAPI(ctx context.Context) (*api.Server, error) {
	key, err := n.db.Secret(ctx, "session")
	if err != nil {
		n.Log.Warn("browsers must sign in again after a restart", "err", err)
		key = nil
	}
	metrics, err := daemon.Metrics(newStatusCollector(n))
	if err != nil {
		return nil, err
	}
	var tokens token.List
	if file := n.Config.HTTP.TokenFile; file != "" {
		if tokens, err = token.Read(file); err != nil {
			return nil, err
		}
	}
	return api.New(api.Options{
		Inventory:    n.registry,
		Fingerprints: source.NamedRows{Rows: n.recorder, Names: n.names},
		Finder:       n.finder(),
		DNSSD:        source.DNSSD{Source: n.mdns.source},
		NMOS:         n.nmosSource(),
		Zones:        zoneFiles{n},
		Selections:   n.kept,
		Status:       func() any { return n.Status() },
		StatusType:   Status{},
		Metrics:      metrics,
		Healthy:      n.unhealthy,
		Version:      n.Version,
		AllowedHosts: n.Config.HTTP.AllowedHosts,
		Tokens:       tokens,
		SessionKey:   key,
		Log:          n.Log,
	})
}

// finder asks by every protocol that the node speaks.
func (n *Node) finder() find.Finder {
	gateway := n.Config.Name
	f := find.Finder{
		Askers: []find.Asker{
			source.AskMDNS{MDNS: source.MDNS{Gateway: gateway, Own: n.announced.owns}, Source: n.mdns.source},
			source.AskNeighbours{Neighbours: source.Neighbours{Gateway: gateway, Interface: n.links.name}},
			source.AskFingerprints{Rows: n.rows()},
		},
		Known: n.known,
		Heard: source.Announcements{Rows: n.rows()}.Host,
	}
	if n.Config.DNS.On() {
		f.Askers = append(f.Askers, source.AskUnicast{Unicast: source.Unicast{Gateway: gateway}, Source: n.domains.get, Domains: n.domains.list})
	}
	if n.Config.TGED.Enabled {
		f.Askers = append(f.Askers, source.AskTGED{TGED: n.tged.source, Client: n.tgedClient(source.TGEDWait)})
	}
	if a, ok := n.syncthingAsker(); ok {
		f.Askers = append(f.Askers, a)
	}
	if a, ok := n.mqttAsker(); ok {
		f.Askers = append(f.Askers, a)
	}
	return f
}

// listen opens the unix socket and, unless the config says no, the page's address.
func (n *Node) listen(ctx context.Context) ([]net.Listener, error) {
	socket, err := daemon.ListenSocket(config.SocketPath(n.State))
	if err != nil {
		return nil, err
	}
	if !n.Config.HTTP.Enabled {
		return []net.Listener{socket}, nil
	}
	var lc net.ListenConfig
	page, err := lc.Listen(ctx, "tcp", n.Config.HTTP.Listen.String())
	if err != nil {
		socket.Close()
		return nil, fmt.Errorf("node: the page's address: %w; choose another with --listen", err)
	}
	n.page = "http://" + page.Addr().String()
	return []net.Listener{socket, page}, nil
}

func (n *Node) signIn(s *api.Server) string {
	if n.page == "" {
		return ""
	}
	return n.page + s.SignInPath()
}
