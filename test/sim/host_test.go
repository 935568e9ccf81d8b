package sim

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/lan/lantest"
	"github.com/lanfolk/lanfolk/mdns"
	"github.com/lanfolk/lanfolk/packet"
)

// host is a machine with a life: while it runs it has an engine.
type host struct {
	name string
	nic  *lantest.NIC
	own  *lantest.Host
	life *life

	starts, ends, changes []time.Time
}

// life is one run of a host's engine.
type life struct {
	engine   *mdns.Engine
	stop     context.CancelFunc
	done     chan error
	machine  *mdns.Published
	browsers map[string]*browser

	mu       sync.Mutex // guards services
	services []*service
}

// offers returns the services that there are now.
func (l *life) offers() []*service {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.services)
}

// service is one instance that a host publishes.
type service struct {
	typ  string
	port uint16
	pub  *mdns.Published

	mu  sync.Mutex // guards txt
	txt string
}

// start brings the host up with its name.
func (h *host) start(label string) {
	ctx, stop := context.WithCancel(context.Background())
	l := &life{stop: stop, done: make(chan error, 1), browsers: map[string]*browser{}}
	l.engine = &mdns.Engine{
		Links:      h.own.WatchLinks,
		AskUnicast: func(packet.Link) bool { return true },
		Listen: func(link packet.Link, g netip.AddrPort) (mdns.Conn, error) {
			c, err := h.own.ListenMulticast(link, g)
			if err != nil {
				return nil, err
			}
			return c, nil
		},
	}
	h.life = l
	h.starts = append(h.starts, time.Now())
	go func() { l.done <- l.engine.Run(ctx) }()
	l.machine = l.engine.Publish(mdns.Publication{
		Label: label, Rename: mdns.RenameHost,
		Records: func(_ mdns.Zone, link packet.Link, label string) []mdns.Record {
			var all []mdns.Record
			owner := name(label, "local")
			for _, p := range link.Prefixes {
				all = append(all, mdns.Record{RR: dnswire.NewAddr(owner, p.Addr(), 0), Unique: true})
				if rev, err := dnssd.ReverseName(p.Addr()); err == nil {
					all = append(all, mdns.Record{RR: dnswire.NewPTR(rev, owner, 0), Unique: true, NoProbe: true})
				}
			}
			return all
		},
		// The services name the host.
		Changed: func(ev mdns.PublicationEvent) {
			if ev.Label == label {
				return
			}
			label = ev.Label
			go func() {
				for _, s := range l.offers() {
					s.pub.Update()
				}
			}()
		},
	})
}

// publish adds a service.
func (h *host) publish(label, typ string, port uint16, txt string) {
	l := h.life
	s := &service{typ: typ, port: port, txt: txt}
	s.pub = l.engine.Publish(mdns.Publication{
		Label: label,
		Records: func(_ mdns.Zone, _ packet.Link, label string) []mdns.Record {
			full, service := name(label, typ, "_tcp", "local"), name(typ, "_tcp", "local")
			s.mu.Lock()
			txt := s.txt
			s.mu.Unlock()
			return []mdns.Record{
				{RR: dnswire.NewPTR(name("_services", "_dns-sd", "_udp", "local"), service, 0)},
				{RR: dnswire.NewPTR(service, full, 0)},
				{RR: dnswire.NewSRV(full, dnswire.SRV{Port: s.port, Target: name(l.machine.Label(), "local")}, 0), Unique: true},
				{RR: text(full, txt), Unique: true},
			}
		},
	})
	l.mu.Lock()
	l.services = append(l.services, s)
	l.mu.Unlock()
}

// crash ends the engine without a word: its link is gone first.
func (h *host) crash() {
	h.ends = append(h.ends, time.Now())
	h.nic.SetCarrier(false)
	h.end()
}

// end stops the engine, with goodbyes if its link is there.
func (h *host) end() {
	l := h.life
	h.life = nil
	for typ := range maps.Clone(l.browsers) {
		l.unbrowse(typ)
	}
	l.stop()
	if err := <-l.done; err != nil {
		panic(fmt.Sprintf("%s: Run: %v", h.name, err))
	}
}

// update changes a service's text.
func (s *service) update(txt string) {
	s.mu.Lock()
	s.txt = txt
	s.mu.Unlock()
	s.pub.Update()
}

// browser looks for services of a type.
type browser struct {
	stop context.CancelFunc
	done chan struct{}
	mu   sync.Mutex // guards seen
	seen map[string]dnssd.Service
}

func (l *life) browse(typ string) {
	ctx, stop := context.WithCancel(context.Background())
	b := &browser{stop: stop, done: make(chan struct{}), seen: map[string]dnssd.Service{}}
	l.browsers[typ] = b
	go func() {
		defer close(b.done)
		search := dnssd.Browser{Source: dnssd.Multicast(l.engine), Type: typ + "._tcp", Resolve: true}
		for ev := range search.Events(ctx) {
			b.mu.Lock()
			switch ev.Op {
			case dnssd.Add, dnssd.Update:
				b.seen[ev.Name] = ev.Service
			case dnssd.Remove:
				delete(b.seen, ev.Name)
			}
			b.mu.Unlock()
		}
	}()
}

func (l *life) unbrowse(typ string) {
	b := l.browsers[typ]
	delete(l.browsers, typ)
	b.stop()
	<-b.done
}

// picture returns what the browser says is there: of each instance what it
// resolved to, or that it isn't resolved.
func (b *browser) picture(texts bool) map[string]string {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := map[string]string{}
	for n, s := range b.seen {
		if !s.Resolved {
			all[n] = "unresolved"
			continue
		}
		all[n] = describe(s.Host, s.Port, s.Addresses, s.TXT, texts)
	}
	return all
}

func describe(host string, port uint16, addresses []netip.Addr, txt []string, texts bool) string {
	if !texts {
		txt = nil
	}
	addresses = slices.Clone(addresses)
	slices.SortFunc(addresses, netip.Addr.Compare)
	return fmt.Sprintf("%s:%d %v %q", host, port, addresses, txt)
}

// truth returns what a host publishes of a type, as a browser should see it.
func (h *host) truth(typ string, texts bool) map[string]string {
	all := map[string]string{}
	if h.life == nil {
		return all
	}
	var addresses []netip.Addr
	for _, p := range h.nic.Link().Prefixes {
		addresses = append(addresses, p.Addr())
	}
	for _, s := range h.life.offers() {
		if s.typ == typ {
			all[s.pub.Label()] = describe(h.life.machine.Label()+".local", s.port, addresses, []string{s.txt}, texts)
		}
	}
	return all
}

func text(owner dnswire.Name, txt string) dnswire.RR {
	rr, err := dnswire.NewTXT(owner, 0, txt)
	if err != nil {
		panic(err)
	}
	return rr
}

// name makes a name of labels.
func name(labels ...string) dnswire.Name {
	n, err := dnswire.NameOf(labels...)
	if err != nil {
		panic(err)
	}
	return n
}

// withdraw takes a service back and waits for its goodbyes.
func (l *life) withdraw(s *service) {
	l.mu.Lock()
	l.services = slices.DeleteFunc(l.services, func(o *service) bool { return o == s })
	l.mu.Unlock()
	s.pub.Withdraw()
	<-s.pub.Done()
}
