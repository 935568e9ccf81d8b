package source

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/find"
	"github.com/lanfolk/lanfolk/syncthing"
)

// AskSyncthing looks for the device of an ID: on the links, and at global servers.
type AskSyncthing struct {
	Gateway   string     // this node's name, "" for a node alone
	Syncthing *Syncthing // nil if nothing is heard
	// Listen hears until ctx ends, for Syncthing; nil if something does all the time.
	Listen func(ctx context.Context) error
	// Lookup asks global servers, nil if there are none; see syncthing.Lookup.
	Lookup func(ctx context.Context, id syncthing.DeviceID) ([]netip.AddrPort, error)
}

// searchGrace is how long a search goes on once a device is heard: it may be by its other
// address family next, and a server may know more.
const searchGrace = 300 * time.Millisecond

// serverLifetime is how long a global server's answer holds: the device was announced
// there within the last hour, and is looked up again when somebody needs it.
const serverLifetime = 5 * time.Minute

// Protocol implements find.Asker.
func (AskSyncthing) Protocol() string { return ProtocolSyncthing }

// Ask implements find.Asker. A server that doesn't know the device says nothing.
func (a AskSyncthing) Ask(ctx context.Context, q find.Query, emit func(lanfolk.Sighting)) error {
	if q.Device == (syncthing.DeviceID{}) {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var one sync.Mutex
	tell := func(s lanfolk.Sighting) {
		one.Lock()
		defer one.Unlock()
		emit(s)
	}
	var tasks sync.WaitGroup
	var links, servers error
	if a.Lookup != nil {
		tasks.Go(func() { servers = a.askServers(ctx, q.Device, tell) })
	}
	if a.Syncthing != nil {
		var heard bool
		if heard, links = a.listen(ctx, q.Device, tell); heard {
			cancel()
		}
	}
	tasks.Wait()
	return errors.Join(links, servers)
}

// listen tells what is heard of the device, until it is heard itself or ctx ends.
func (a AskSyncthing) listen(ctx context.Context, id syncthing.DeviceID, tell func(lanfolk.Sighting)) (heard bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	var listener sync.WaitGroup
	defer listener.Wait()
	defer cancel()
	failed := make(chan error, 1)
	if a.Listen != nil {
		listener.Go(func() { failed <- a.Listen(ctx) })
	}
	told := map[lanfolk.ID]time.Time{}
	var enough <-chan time.Time
	for {
		all, itself, changed := a.Syncthing.Known(id)
		for _, s := range all {
			if a.Listen != nil && s.Kind == lanfolk.KindDevice {
				continue // without an inventory it has nothing that its services haven't
			}
			if before, ok := told[s.ID()]; !ok || s.Time.After(before) {
				told[s.ID()] = s.Time
				tell(s)
			}
		}
		if itself && enough == nil {
			enough = time.After(searchGrace)
		}
		select {
		case <-changed:
		case <-enough:
			return true, nil
		case err := <-failed:
			return false, err
		case <-ctx.Done():
			return false, nil
		}
	}
}

// askServers tells what global servers know of the device.
func (a AskSyncthing) askServers(ctx context.Context, id syncthing.DeviceID, tell func(lanfolk.Sighting)) error {
	found, err := a.Lookup(ctx, id)
	if errors.Is(err, syncthing.ErrNoAnswer) || ctx.Err() != nil {
		return nil
	}
	services := map[uint16]*lanfolk.Sighting{}
	var ports []uint16
	for _, at := range found {
		ip := bare(at.Addr())
		if !hostAddress(ip) && !ip.IsLoopback() { // a server on this machine may know others on it
			continue
		}
		s := services[at.Port()]
		if s == nil {
			ports = append(ports, at.Port())
			x := syncthingService(id, at.Port())
			s = &x
			services[at.Port()] = s
			s.Key += " server"
			s.Origin = lanfolk.Origin{Protocol: ProtocolSyncthing, Gateway: a.Gateway}
			s.What = "a global server says that " + id.Short() + " takes connections" + onPort(at.Port())
			s.State, s.Time, s.Lifetime = lanfolk.Unknown, time.Now(), serverLifetime
		}
		if !slices.Contains(s.Addresses, ip) {
			s.Addresses = append(s.Addresses, ip)
		}
	}
	for _, port := range ports {
		tell(*services[port])
	}
	return err
}

// SyncthingServers are the global servers that are asked where devices are.
type SyncthingServers struct {
	Names   []string // HOST or HOST:PORT
	Resolve syncthing.Resolver
	Listen  func(server netip.AddrPort) (syncthing.Conn, error) // see syncthing.Lookup
}

// Lookup asks all servers at once, until ctx ends; see syncthing.Lookup. Names are resolved anew
// each time, and those that can't be are no matter as long as others can.
func (s SyncthingServers) Lookup(ctx context.Context, id syncthing.DeviceID) ([]netip.AddrPort, error) {
	found := make([][]netip.AddrPort, len(s.Names))
	errs := make([]error, len(s.Names))
	var tasks sync.WaitGroup
	for i, name := range s.Names {
		tasks.Go(func() { found[i], errs[i] = syncthing.ResolveServer(ctx, name, s.Resolve) })
	}
	tasks.Wait()
	l := syncthing.Lookup{Servers: slices.Concat(found...), Listen: s.Listen}
	if len(l.Servers) == 0 {
		return nil, errors.Join(errs...)
	}
	if end, ok := ctx.Deadline(); ok {
		l.Timeout = time.Until(end)
	}
	return l.Ask(ctx, id)
}
