package node

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnssd/zone"
	"github.com/lanfolk/lanfolk/internal/announce"
	"github.com/lanfolk/lanfolk/internal/bridge"
	"github.com/lanfolk/lanfolk/internal/config"
	"github.com/lanfolk/lanfolk/internal/daemon"
	"github.com/lanfolk/lanfolk/internal/find"
	"github.com/lanfolk/lanfolk/internal/source"
)

// publishedZone is one zone that the node publishes services in.
type publishedZone struct {
	config   config.Zone
	zone     *zone.Zone
	bridge   *bridge.Zone
	notifier *zone.Notifier
	serial   string // the file that keeps the serial number while it is ahead of the clock

	full   chan struct{} // closed when it holds most of what there is: only then may others know it
	fills  sync.Once
	served chan struct{} // closed when it is served, too, as far as it can be
	serves sync.Once
}

// firstLook bounds the wait until a zone is full: no longer does a first look
// take. What the node announces itself has its name after ownLook.
const (
	firstLook = 6 * time.Second
	ownLook   = 2 * time.Second
)

// openZones makes the zones of the config.
func (n *Node) openZones() error {
	for _, c := range n.Config.Zones {
		z, err := n.newZone(c)
		if err != nil {
			return fmt.Errorf("node: zone %s: %w", c.Domain, err)
		}
		n.zones = append(n.zones, z)
	}
	return nil
}

func (n *Node) newZone(c config.Zone) (*publishedZone, error) {
	domain := strings.ToLower(c.Domain.String())
	z := &publishedZone{config: c, full: make(chan struct{}), served: make(chan struct{}), serial: filepath.Join(n.State, "zone-"+domain+".serial")}
	o := zone.Config{
		Domain: domain, Contact: c.Contact,
		TTL: c.FixedTTL.Duration(), Negative: c.NegativeTTL.Duration(),
		Refresh: c.Refresh.Duration(), Retry: c.Retry.Duration(), Expire: c.Expire.Duration(),
		Serial: readSerial(z.serial),
	}
	for _, ns := range c.Nameservers {
		h := dnssd.Host{Name: ns.Name}
		for _, a := range ns.Addresses {
			h.Addresses = append(h.Addresses, a.Addr)
		}
		o.Nameservers = append(o.Nameservers, h)
	}
	for _, s := range c.Secondaries {
		x := zone.Secondary{Address: s.Address.AddrPort}
		if s.KeyFile != "" {
			key, open, err := announce.ReadKey(s.KeyFile)
			if err != nil {
				return nil, err
			}
			if open {
				return nil, fmt.Errorf("everybody on this machine can read %s; chmod 640 it", s.KeyFile)
			}
			x.Key = &key
		}
		o.Secondaries = append(o.Secondaries, x)
	}
	var err error
	if z.zone, err = zone.New(o, time.Now()); err != nil {
		return nil, err
	}
	z.bridge = &bridge.Zone{
		Zone: z.zone, Links: c.Interfaces, TTL: c.TTL.Duration(), Log: n.Log,
		Own: n.announced.ownsService, FirstSeen: n.firstSeen,
	}
	z.notifier = &zone.Notifier{Zone: z.zone, Dial: z.dialer(), Log: n.Log}
	return z, nil
}

// dialer opens what NOTIFY messages leave by: from the address that the zone is
// served on, where there is one alone, for that is what secondaries know.
func (z *publishedZone) dialer() func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		var d net.Dialer
		to, err := netip.ParseAddrPort(address)
		if err != nil {
			return nil, err
		}
		var from []netip.Addr
		for _, l := range z.config.Listen {
			if l.Addr.IsValid() && l.Addr.Is4() == to.Addr().Is4() {
				from = append(from, l.Addr)
			}
		}
		if len(from) == 1 {
			d.LocalAddr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(from[0], 0))
		}
		return d.DialContext(ctx, network, address)
	}
}

// firstSeen says since when the inventory knows a service.
func (n *Node) firstSeen(s dnssd.Service) time.Time {
	sighting, ok := source.MDNS{Gateway: n.Config.Name}.Service(time.Now(), dnssd.Event{Op: dnssd.Add, Service: s})
	if !ok {
		return time.Time{}
	}
	known, _ := n.registry.Find(sighting.ID())
	if known == nil {
		return time.Time{}
	}
	return known.FirstSeen
}

// zoneParts are those that keep the zones, and the one that serves them.
func (n *Node) zoneParts() []*daemon.Task {
	var out []*daemon.Task
	for _, z := range n.zones {
		out = append(out, &daemon.Task{
			Name: "zone " + z.zone.Domain(), Run: func(ctx context.Context) error { return n.runZone(ctx, z) },
			Detail: z.detail, Counters: z.counters,
		})
	}
	if offered := n.zoneOffers(); len(offered) > 0 {
		out = append(out, &daemon.Task{Name: "zone announcer", Run: func(ctx context.Context) error { return n.offerInZones(ctx, offered) }, Detail: n.zoneOwn.detail})
	}
	if slices.ContainsFunc(n.zones, func(z *publishedZone) bool { return len(z.config.Listen) > 0 }) {
		out = append(out, &daemon.Task{Name: "dns server", Run: n.runDNSServer, Detail: n.dnsServer.detail, Counters: n.dnsServer.counters})
	}
	return out
}

// runZone fills a zone with what the config wants in it. Nobody may know it before
// the first look is complete: else a restart would have resolvers and secondaries believe
// that everything was gone.
func (n *Node) runZone(ctx context.Context, z *publishedZone) error {
	tasks, ctx := errgroup.WithContext(ctx)
	looked := make(chan struct{}, 1)
	settled := func() {
		select {
		case looked <- struct{}{}:
		default:
		}
	}
	tasks.Go(func() error { return z.keepSerial(ctx, n) })
	tasks.Go(func() error {
		end, cancel := context.WithTimeout(ctx, firstLook)
		defer cancel()
		if z.config.Announced {
			sleep(end, ownLook)
		}
		if len(z.config.Types) > 0 {
			select {
			case <-looked:
			case <-end.Done():
			}
		}
		if ctx.Err() != nil {
			return nil
		}
		z.fills.Do(func() { close(z.full) })
		return z.notifier.Run(ctx)
	})
	tasks.Go(func() error { return n.feedZone(ctx, z, settled) })
	return tasks.Wait()
}

// sleep waits for d, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// feedZone publishes services of the links, on whichever engine runs.
func (n *Node) feedZone(ctx context.Context, z *publishedZone, settled func()) error {
	for ctx.Err() == nil && len(z.config.Types) > 0 {
		engine, changed := n.mdns.watch()
		if engine == nil {
			select {
			case <-changed:
			case <-ctx.Done():
			}
			continue
		}
		// It ends with the engine.
		err := z.bridge.Run(ctx, dnssd.Multicast(engine), z.config.Types, settled)
		if err != nil && ctx.Err() == nil {
			n.Log.Warn("a zone isn't fed", "source", z.zone.Domain(), "err", err)
			sleep(ctx, time.Second)
		}
	}
	<-ctx.Done()
	return nil
}

// keepSerial keeps the serial number for the next run, while it is ahead of the
// clock: only then could that begin with an earlier one.
func (z *publishedZone) keepSerial(ctx context.Context, n *Node) error {
	keep := func() {
		if serial := z.zone.Serial(); int32(serial-uint32(time.Now().Unix())) >= 0 {
			if err := writeSerial(z.serial, serial); err != nil {
				n.Log.Warn("a zone's serial number isn't kept", "source", z.zone.Domain(), "err", err)
			}
		}
	}
	defer keep()
	for {
		changed := z.zone.Changed()
		keep()
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
		sleep(ctx, time.Second) // many changes take one number after another
	}
}

func writeSerial(file string, serial uint32) error {
	half := file + ".new"
	if err := os.WriteFile(half, []byte(strconv.FormatUint(uint64(serial), 10)), 0o600); err != nil {
		return err
	}
	return os.Rename(half, file)
}

// readSerial reads what keepSerial wrote, 0 if it wrote nothing.
func readSerial(file string) uint32 {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 32)
	if err != nil {
		return 0
	}
	return uint32(n)
}

func (z *publishedZone) detail() string {
	services, records := z.zone.Size()
	s := fmt.Sprintf("%d services, %d records, serial %d", services, records, z.zone.Serial())
	if st := z.bridge.Stats(); st.Hidden > 0 {
		s += fmt.Sprintf("; %d not published: no address beyond the link", st.Hidden)
	}
	switch {
	case len(z.config.Listen) == 0:
		s += "; not served"
	case !z.isFull():
		s += "; not served before the first look is complete"
	}
	if _, failed := z.notifier.Stats(); failed > 0 {
		s += fmt.Sprintf("; secondaries were silent %d times", failed)
	}
	return s
}

func (z *publishedZone) counters() map[string]uint64 {
	told, failed := z.notifier.Stats()
	services, records := z.zone.Size()
	st := z.bridge.Stats()
	return map[string]uint64{
		"services": uint64(services), "records": uint64(records), "renamed": uint64(st.Renamed), "hidden": uint64(st.Hidden),
		"rejected": st.Rejected, "notified": told, "notify_unanswered": failed,
	}
}

// zoneFiles lets the API hand out the zones.
type zoneFiles struct{ node *Node }

// Zones implements api.Zones.
func (f zoneFiles) Zones() []find.Zone {
	out := make([]find.Zone, 0, len(f.node.zones))
	for _, z := range f.node.zones {
		services, records := z.zone.Size()
		out = append(out, find.Zone{Domain: z.zone.Domain(), Serial: z.zone.Serial(), Services: services, Records: records})
	}
	return out
}

// ZoneFile implements api.Zones. Right after the start it waits until there is a whole
// zone to hand out.
func (f zoneFiles) ZoneFile(domain string, include bool) ([]byte, error) {
	domain = strings.TrimSuffix(domain, ".")
	for _, z := range f.node.zones {
		if !strings.EqualFold(z.zone.Domain(), domain) {
			continue
		}
		complete := z.full
		if len(z.config.Listen) > 0 {
			complete = z.served // with the addresses
		}
		select {
		case <-complete:
		case <-time.After(firstLook):
		}
		var b bytes.Buffer
		write := z.zone.WriteTo
		if include {
			write = z.zone.WriteInclude
		}
		_, err := write(&b)
		return b.Bytes(), err
	}
	return nil, fmt.Errorf("zone %s: %w", domain, lanfolk.ErrNotFound)
}
