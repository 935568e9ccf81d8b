package zone

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnssd/unicast"
	"github.com/lanfolk/lanfolk/dnswire"
)

// MaxServices is how many services a zone holds.
const MaxServices = 100_000

// maxTXT is how long a TXT record may be, in bytes: what multicast DNS can carry is
// shorter (RFC 6762 §17), and it must fit a message of a transfer.
const maxTXT = 32 << 10

// ErrFull says that a zone holds MaxServices services already.
var ErrFull = fmt.Errorf("zone: there are %d services already", MaxServices)

// Config says what stays the same about a zone. The zero values of all fields but
// Domain are useful.
type Config struct {
	Domain string // "lan.example.com"
	// Nameservers are its name servers, the primary first (RFC 1035 §3.3.11,
	// §3.3.13). A name of one label lies in the domain; the parent zone needs the
	// addresses of those that do. None: "ns" in the domain.
	Nameservers []dnssd.Host
	// Contact is who answers for the zone, "hostmaster@example.com"; "" is
	// hostmaster in the domain.
	Contact string
	// TTL is that of what changes only with the configuration: SOA, NS, the name
	// servers' addresses, the domains to browse. 0 is an hour.
	TTL time.Duration
	// Refresh, Retry and Expire are for secondaries: 1 h, 5 min and 1 d.
	Refresh, Retry, Expire time.Duration
	// Negative is how long others remember that there is nothing (RFC 2308 §4):
	// 10 s.
	Negative time.Duration
	// Secondaries may have the whole zone.
	Secondaries []Secondary
	// Serial is the last that an earlier run used, 0 if there was none. The zone
	// begins with a later one: with this one's successor, or the time of day.
	Serial uint32
}

// Secondary is a server that holds a copy of a zone. It is known by its address,
// its key or, where both are set, by both.
type Secondary struct {
	// Address is where it asks from and, with the port, where it is told of
	// changes. The zero AddrPort: it is told of none.
	Address netip.AddrPort
	Key     *unicast.Key // signs transfers and what it is told; nil for none
}

// Service is what a zone says of one service instance.
type Service struct {
	Name     string // the instance's label, 1 to 63 bytes
	Type     string // "_http._tcp"
	Subtypes []string
	// Targets are where it is, a SRV record each. A host of one label lies in the
	// zone's domain. One that does comes with its addresses; others have none here.
	Targets []dnssd.Target
	// TXT holds the strings of each TXT record; none is one record that says nothing.
	TXT []dnssd.TXT
	TTL time.Duration // of all these records, whole seconds
}

// Zone is a DNS-SD zone: what is offered in a domain, as DNS records. All methods
// may be called at any time from any goroutine.
type Zone struct {
	domain      dnswire.Name // folded
	secondaries []Secondary
	keys        []*keyed // those of the secondaries, nil for none
	ttl         uint32   // seconds, of what only the configuration changes
	negative    uint32   // seconds

	// seen says that somebody may know the present serial: the next change takes
	// another one (RFC 1982).
	seen atomic.Bool

	mu       sync.RWMutex
	hosts    map[string][]dnswire.RR
	serial   uint32
	soa      dnswire.RR             // with the serial
	names    map[dnswire.Name]*node // by folded name
	services map[string][]dnswire.RR
	records  int
	changed  chan struct{} // nil while nobody waits
}

// New returns a zone that offers nothing yet.
func New(c Config, now time.Time) (*Zone, error) {
	domain, err := dnswire.ParseName(c.Domain)
	domain = domain.Fold()
	switch {
	case err != nil:
		return nil, fmt.Errorf("zone: domain: %w", err)
	case domain == dnswire.Root:
		return nil, errors.New("zone: the root is no domain to publish in")
	case strings.EqualFold(domain.Label(domain.NumLabels()-1), dnssd.DefaultDomain):
		return nil, fmt.Errorf("zone: %s belongs to multicast DNS (RFC 6762 §3)", c.Domain)
	}
	z := &Zone{
		domain: domain, secondaries: slices.Clone(c.Secondaries), negative: seconds(cmp.Or(c.Negative, 10*time.Second)),
		names: map[dnswire.Name]*node{}, services: map[string][]dnswire.RR{}, hosts: map[string][]dnswire.RR{},
	}
	for _, s := range c.Secondaries {
		var k *keyed
		if s.Key != nil {
			if k, err = newKeyed(s.Key); err != nil {
				return nil, err
			}
		}
		z.keys = append(z.keys, k)
	}
	if err := z.addFixed(c); err != nil {
		return nil, err
	}
	z.setSerial(later(c.Serial, uint32(now.Unix())))
	return z, nil
}

// addFixed adds what only the configuration changes.
func (z *Zone) addFixed(c Config) error {
	domain := z.domain
	ttl := seconds(cmp.Or(c.TTL, time.Hour))
	z.ttl = ttl
	if len(c.Nameservers) == 0 {
		c.Nameservers = []dnssd.Host{{Name: "ns"}}
	}
	var primary dnswire.Name
	for _, ns := range c.Nameservers {
		n, err := z.hostName(ns.Name)
		if err != nil {
			return fmt.Errorf("zone: name server: %w", err)
		}
		if primary == "" {
			primary = n
		}
		z.add(dnswire.RR{Name: domain, Type: dnswire.TypeNS, Class: dnswire.ClassIN, TTL: ttl, Data: string(n)})
		for _, a := range ns.Addresses {
			if n.HasSuffix(domain) {
				z.add(dnswire.NewAddr(n, a, ttl))
			}
		}
	}
	contact, err := mailbox(c.Contact, domain)
	if err != nil {
		return err
	}
	b := []byte(string(primary) + string(contact))
	b = binary.BigEndian.AppendUint32(b, 0) // the serial; see setSerial
	for _, d := range []time.Duration{cmp.Or(c.Refresh, time.Hour), cmp.Or(c.Retry, 5*time.Minute), cmp.Or(c.Expire, 24*time.Hour)} {
		b = binary.BigEndian.AppendUint32(b, seconds(d))
	}
	b = binary.BigEndian.AppendUint32(b, z.negative)
	z.soa = dnswire.RR{Name: domain, Type: dnswire.TypeSOA, Class: dnswire.ClassIN, TTL: ttl, Data: string(b)}
	for _, kind := range []string{"b", "db", "lb"} { // RFC 6763 §11
		n, err := dnswire.ParseName(kind + "._dns-sd._udp." + domain.String())
		if err != nil {
			return fmt.Errorf("zone: domain: %w", err)
		}
		z.add(dnswire.NewPTR(n, domain, ttl))
	}
	return nil
}

// mailbox returns the name that stands for an e-mail address (RFC 1035 §3.3.13).
func mailbox(contact string, domain dnswire.Name) (dnswire.Name, error) {
	user, at, ok := strings.Cut(contact, "@")
	if contact == "" {
		user, at = "hostmaster", domain.String()
	} else if !ok {
		return "", fmt.Errorf("zone: contact %q: want an e-mail address", contact)
	}
	n, err := dnswire.ParseName(at)
	if err == nil {
		n, err = n.Prepend(user)
	}
	if err != nil {
		return "", fmt.Errorf("zone: contact: %w", err)
	}
	return n, nil
}

// hostName returns the full name of a host, which lies in the domain if it has one label.
func (z *Zone) hostName(host string) (dnswire.Name, error) {
	n, err := dnswire.ParseName(host)
	if err != nil {
		return "", err
	}
	if n.NumLabels() == 1 {
		return z.domain.Prepend(n.Label(0))
	}
	return n, nil
}

// seconds is a TTL: whole seconds, of which the top bit isn't set (RFC 2181 §8).
func seconds(d time.Duration) uint32 {
	return uint32(min(max(0, d/time.Second), 1<<31-1))
}

// later returns the successor of a serial, or t if that is later still (RFC 1982
// §3). 0 has no successor: there was no serial.
func later(serial, t uint32) uint32 {
	if serial == 0 || int32(t-serial) > 0 {
		return max(t, 1)
	}
	return max(serial+1, 1)
}

// Domain returns the zone's domain, in lower case and without the last dot.
func (z *Zone) Domain() string { return z.domain.String() }

// Serial returns the serial number of what the zone holds now.
func (z *Zone) Serial() uint32 {
	z.mu.RLock()
	defer z.mu.RUnlock()
	z.seen.Store(true)
	return z.serial
}

// Size returns how many services and how many records the zone holds.
func (z *Zone) Size() (services, records int) {
	z.mu.RLock()
	defer z.mu.RUnlock()
	return len(z.services), z.records + 1 // the SOA record
}

// Changed returns a channel that is closed at the next change.
func (z *Zone) Changed() <-chan struct{} {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.changed == nil {
		z.changed = make(chan struct{})
	}
	return z.changed
}

// Put publishes a service, in place of what was published under the key before.
// It is the caller's to see that two keys have different instances. After an
// error the zone is as it was.
func (z *Zone) Put(now time.Time, key string, s Service) error {
	records, err := z.compile(s)
	if err != nil {
		return err
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	if _, known := z.services[key]; !known && len(z.services) >= MaxServices {
		return ErrFull
	}
	z.put(now, z.services, key, records)
	return nil
}

// Remove takes back what was published under the key, and says whether there was
// anything.
func (z *Zone) Remove(now time.Time, key string) bool {
	z.mu.Lock()
	defer z.mu.Unlock()
	_, known := z.services[key]
	z.put(now, z.services, key, nil)
	return known
}

// SetHost publishes a host's addresses, in place of those it had; none takes it
// back. It is for name servers: a host that offers services comes with these. The
// zone file to include has none of them.
func (z *Zone) SetHost(now time.Time, h dnssd.Host) error {
	n, err := z.hostName(h.Name)
	if err != nil {
		return fmt.Errorf("zone: host: %w", err)
	}
	if !n.HasSuffix(z.domain) {
		return fmt.Errorf("zone: host %s isn't in the zone", n)
	}
	var records []dnswire.RR
	for _, a := range h.Addresses {
		records = append(records, dnswire.NewAddr(n, a, z.ttl))
	}
	slices.SortFunc(records, compareRR)
	z.mu.Lock()
	defer z.mu.Unlock()
	z.put(now, z.hosts, string(n.Fold()), slices.Compact(records))
	return nil
}

// put replaces the records of a key; none deletes it. z.mu is held.
func (z *Zone) put(now time.Time, in map[string][]dnswire.RR, key string, records []dnswire.RR) {
	old := in[key]
	if slices.Equal(old, records) {
		return
	}
	for _, rr := range records {
		z.add(rr)
	}
	for _, rr := range old {
		z.remove(rr)
	}
	in[key] = records
	if len(records) == 0 {
		delete(in, key)
	}
	z.tell(now)
}

// tell takes note of a change. z.mu is held.
func (z *Zone) tell(now time.Time) {
	if z.seen.Swap(false) {
		z.setSerial(later(z.serial, uint32(now.Unix())))
	}
	if z.changed != nil {
		close(z.changed)
		z.changed = nil
	}
}

// compile returns the records of a service, always in the same order.
func (z *Zone) compile(s Service) ([]dnswire.RR, error) {
	in := dnssd.Instance{Name: s.Name, Service: s.Type, Domain: z.domain.String()}
	name, err := in.FullName()
	if err != nil {
		return nil, fmt.Errorf("zone: %w", err)
	}
	if s.Name == "" || len(s.Targets) == 0 {
		return nil, fmt.Errorf("zone: instance %q of %s: want a name and a target", s.Name, s.Type)
	}
	ttl, service := seconds(s.TTL), name.Parent()
	meta, err := dnswire.ParseName("_services._dns-sd._udp." + z.domain.String())
	if err != nil {
		return nil, fmt.Errorf("zone: %w", err)
	}
	out := []dnswire.RR{dnswire.NewPTR(meta, service, ttl), dnswire.NewPTR(service, name, ttl)}
	for _, sub := range s.Subtypes {
		n, err := service.Prepend("_sub")
		if err == nil {
			n, err = n.Prepend(sub)
		}
		if err != nil {
			return nil, fmt.Errorf("zone: subtype %q: %w", sub, err)
		}
		out = append(out, dnswire.NewPTR(n, name, ttl))
	}
	for _, t := range s.Targets {
		records, err := z.target(name, t, ttl)
		if err != nil {
			return nil, fmt.Errorf("zone: instance %q of %s: %w", s.Name, s.Type, err)
		}
		out = append(out, records...)
	}
	texts := s.TXT
	if len(texts) == 0 {
		texts = []dnssd.TXT{nil}
	}
	for _, t := range texts {
		rr, err := dnswire.NewTXT(name, ttl, t...)
		if err == nil && len(rr.Data) > maxTXT {
			err = fmt.Errorf("the TXT record has %d bytes, more than %d", len(rr.Data), maxTXT)
		}
		if err != nil {
			return nil, fmt.Errorf("zone: instance %q of %s: %w", s.Name, s.Type, err)
		}
		out = append(out, rr)
	}
	slices.SortFunc(out, compareRR)
	return slices.Compact(out), nil
}

// target returns the SRV record of a target, and its addresses if they belong into
// the zone.
func (z *Zone) target(name dnswire.Name, t dnssd.Target, ttl uint32) ([]dnswire.RR, error) {
	host, err := z.hostName(t.Host)
	if err != nil {
		return nil, fmt.Errorf("host: %w", err)
	}
	out := []dnswire.RR{dnswire.NewSRV(name, dnswire.SRV{Priority: t.Priority, Weight: t.Weight, Port: t.Port, Target: host}, ttl)}
	if !host.HasSuffix(z.domain) {
		return out, nil
	}
	if len(t.Addresses) == 0 {
		return nil, fmt.Errorf("host %s has no address", host)
	}
	for _, a := range t.Addresses {
		if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() {
			return nil, fmt.Errorf("host %s: %s is no address of a host", host, a)
		}
		out = append(out, dnswire.NewAddr(host, a, ttl))
	}
	return out, nil
}

func compareRR(a, b dnswire.RR) int {
	return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Type, b.Type), cmp.Compare(a.Data, b.Data))
}

// setSerial gives the zone a serial number. z.mu is held.
func (z *Zone) setSerial(serial uint32) {
	z.serial = serial
	d := []byte(z.soa.Data)
	binary.BigEndian.PutUint32(d[len(d)-20:], serial)
	z.soa.Data = string(d)
}

// soaNow returns the SOA record as it is now. z.mu is held.
func (z *Zone) soaNow() dnswire.RR {
	z.seen.Store(true)
	return z.soa
}
