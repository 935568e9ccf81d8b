package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnssd/zone"
	"github.com/lanfolk/lanfolk/packet"
)

// dnsServer serves the zones. It has a socket for each address, so that what is
// asked of one is answered from it.
type dnsServer struct {
	mu      sync.Mutex
	servers map[string]*zone.Server // by their zones' domains, with a blank between
	open    map[netip.AddrPort]*dnsSocket
	broken  map[netip.AddrPort]error
	limits  map[int]*zone.Limiter
}

// dnsSocket is an address that is listened on, by UDP and TCP.
type dnsSocket struct {
	zones string
	stop  context.CancelFunc
	done  sync.WaitGroup
}

// listenAgain is how often an address is tried that can't be listened on: a new one of
// IPv6 is not ready at once (RFC 4862 §5.4).
const listenAgain = time.Second

// runDNSServer listens on the addresses of the config as they come and go.
func (n *Node) runDNSServer(ctx context.Context) error {
	links, err := n.selection.Watch(ctx)
	if err != nil {
		return err
	}
	s := &n.dnsServer
	defer s.close()
	full := make(chan struct{})
	for _, z := range n.zones {
		go func() {
			select {
			case <-z.full:
			case <-ctx.Done():
				return
			}
			select {
			case full <- struct{}{}:
			case <-ctx.Done():
			}
		}()
	}
	tick := time.NewTicker(listenAgain)
	defer tick.Stop()
	var now []packet.Link
	for {
		select {
		case l, ok := <-links:
			if !ok {
				return nil
			}
			now = l
		case <-full:
		case <-tick.C:
			if !s.failing() {
				continue
			}
		case <-ctx.Done():
			return nil
		}
		n.listenForQueries(ctx, now)
	}
}

// listenForQueries opens and closes sockets until they are those that the config
// wants on the links.
func (n *Node) listenForQueries(ctx context.Context, links []packet.Link) {
	s := &n.dnsServer
	wanted := map[netip.AddrPort][]*publishedZone{}
	for _, z := range n.zones {
		if !z.isFull() {
			continue
		}
		for _, l := range z.config.Listen {
			addrs := []netip.Addr{l.Addr}
			if !l.Addr.IsValid() {
				addrs = everyAddress(links)
			}
			for _, a := range addrs {
				at := netip.AddrPortFrom(a, l.Port)
				if !slices.Contains(wanted[at], z) {
					wanted[at] = append(wanted[at], z)
				}
			}
		}
	}
	for at, socket := range s.sockets() {
		if zones, still := wanted[at]; !still || domainsOf(zones) != socket.zones {
			s.shut(at)
		}
	}
	open := s.sockets()
	for _, at := range slices.SortedFunc(maps.Keys(wanted), netip.AddrPort.Compare) {
		if open[at] != nil {
			continue
		}
		err := s.listen(ctx, n, at, wanted[at])
		if s.note(at, err) {
			n.Log.Warn("a DNS server's address can't be listened on", "addr", at, "err", err)
		}
	}
	s.forget(wanted)
	n.tellNameservers(wanted)
}

// isFull says whether others may know the zone.
func (z *publishedZone) isFull() bool {
	select {
	case <-z.full:
		return true
	default:
		return false
	}
}

// everyAddress returns the addresses of links that mean something beyond them.
func everyAddress(links []packet.Link) []netip.Addr {
	var out []netip.Addr
	for _, l := range links {
		for _, p := range l.Prefixes {
			if a := p.Addr().Unmap(); !a.IsLinkLocalUnicast() && !slices.Contains(out, a) {
				out = append(out, a)
			}
		}
	}
	return out
}

func domainsOf(zones []*publishedZone) string {
	var out []string
	for _, z := range zones {
		out = append(out, z.zone.Domain())
	}
	return strings.Join(out, " ")
}

// tellNameservers gives "ns" in the zones without name servers of their own the
// addresses that they are served on.
func (n *Node) tellNameservers(wanted map[netip.AddrPort][]*publishedZone) {
	open := n.dnsServer.sockets()
	for _, z := range n.zones {
		if z.isFull() {
			defer z.serves.Do(func() { close(z.served) })
		}
		if len(z.config.Nameservers) > 0 {
			continue
		}
		var addrs []netip.Addr
		for at, zones := range wanted {
			if open[at] != nil && slices.Contains(zones, z) && !at.Addr().IsLoopback() && !slices.Contains(addrs, at.Addr()) {
				addrs = append(addrs, at.Addr())
			}
		}
		if err := z.zone.SetHost(time.Now(), dnssd.Host{Name: "ns", Addresses: addrs}); err != nil {
			n.Log.Error("a zone's name server", "source", z.zone.Domain(), "err", err)
		}
	}
}

// server returns the one for zones that are served together. Its counters last.
func (s *dnsServer) server(n *Node, zones []*publishedZone) *zone.Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.servers == nil {
		s.servers, s.limits = map[string]*zone.Server{}, map[int]*zone.Limiter{}
		s.open, s.broken = map[netip.AddrPort]*dnsSocket{}, map[netip.AddrPort]error{}
	}
	key := domainsOf(zones)
	if out := s.servers[key]; out != nil {
		return out
	}
	out := &zone.Server{Log: n.Log}
	limit := 0 // of several the strictest
	for _, z := range zones {
		out.Zones = append(out.Zones, z.zone)
		if r := z.config.RateLimit; r > 0 && (limit == 0 || r < limit) {
			limit = r
		}
	}
	if limit > 0 {
		if s.limits[limit] == nil {
			s.limits[limit] = zone.NewLimiter(limit)
		}
		out.Limiter = s.limits[limit]
	}
	s.servers[key] = out
	return out
}

// listen opens an address and serves zones on it.
func (s *dnsServer) listen(ctx context.Context, n *Node, at netip.AddrPort, zones []*publishedZone) error {
	server := s.server(n, zones)
	var lc net.ListenConfig
	udp, err := lc.ListenPacket(ctx, "udp", at.String())
	if err != nil {
		return err
	}
	tcp, err := lc.Listen(ctx, "tcp", at.String())
	if err != nil {
		udp.Close()
		return err
	}
	if c, ok := udp.(*net.UDPConn); ok {
		_ = c.SetReadBuffer(1 << 20) // as much as may be
	}
	ctx, stop := context.WithCancel(ctx)
	socket := &dnsSocket{zones: domainsOf(zones), stop: stop}
	for range min(2, runtime.GOMAXPROCS(0)) {
		socket.done.Go(func() { s.ended(ctx, at, server.ServePacket(ctx, udp)) })
	}
	socket.done.Go(func() { s.ended(ctx, at, server.Serve(ctx, tcp)) })
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open[at] = socket
	return nil
}

// ended takes note of a socket that stopped by itself; it is opened again.
func (s *dnsServer) ended(ctx context.Context, at netip.AddrPort, err error) {
	if ctx.Err() == nil && err != nil {
		s.note(at, err)
	}
}

// note takes over what became of an address, and says whether that is new.
func (s *dnsServer) note(at netip.AddrPort, err error) (isNew bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		delete(s.broken, at)
		return false
	}
	_, known := s.broken[at]
	s.broken[at] = err
	if socket := s.open[at]; socket != nil {
		socket.stop()
		delete(s.open, at)
	}
	return !known
}

// forget drops what is known of addresses that aren't wanted any more.
func (s *dnsServer) forget(wanted map[netip.AddrPort][]*publishedZone) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.broken, func(at netip.AddrPort, _ error) bool { return wanted[at] == nil })
}

func (s *dnsServer) failing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.broken) > 0
}

func (s *dnsServer) sockets() map[netip.AddrPort]*dnsSocket {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.open)
}

// shut closes an address and waits until nobody works for it any more.
func (s *dnsServer) shut(at netip.AddrPort) {
	s.mu.Lock()
	socket := s.open[at]
	delete(s.open, at)
	s.mu.Unlock()
	if socket != nil {
		socket.stop()
		socket.done.Wait()
	}
}

func (s *dnsServer) close() {
	for at := range s.sockets() {
		s.shut(at)
	}
}

func (s *dnsServer) detail() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var parts []string
	for _, at := range slices.SortedFunc(maps.Keys(s.open), netip.AddrPort.Compare) {
		parts = append(parts, at.String())
	}
	out := "on " + strings.Join(parts, " ")
	if len(parts) == 0 {
		out = "on no address"
	}
	for _, at := range slices.SortedFunc(maps.Keys(s.broken), netip.AddrPort.Compare) {
		out += fmt.Sprintf("; not on %s: %s", at, notListening(s.broken[at]))
	}
	return out
}

// notListening says in words why an address can't be listened on.
func notListening(err error) string {
	switch {
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return "ports below 1024 need CAP_NET_BIND_SERVICE"
	case errors.Is(err, syscall.EADDRINUSE):
		return "another program listens there"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "no interface has it"
	}
	return err.Error()
}

func (s *dnsServer) counters() map[string]uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]uint64{"queries": 0, "by TCP": 0, "transfers": 0, "connections refused": 0, "send_errors": 0}
	for _, server := range s.servers {
		st := server.Stats()
		for v, count := range st.Verdicts {
			out[v.String()] += count
			out["queries"] += count
		}
		out["by TCP"] += st.TCP
		out["transfers"] += st.Transfers
		out["connections refused"] += st.Connections
		out["send_errors"] += st.SendErrors
	}
	return out
}
