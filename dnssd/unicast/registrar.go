package unicast

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnswire"
)

// Defaults and bounds of a Registrar.
const (
	DefaultRecordTTL = 2 * time.Minute
	DefaultLease     = time.Hour
	minLease         = 30 * time.Second
	firstRetry       = 2 * time.Second
	maxRetry         = 5 * time.Minute
	removalTime      = 5 * time.Second
	// maxRenames bounds the search for a free name at one time.
	maxRenames = 100
)

// Registrar keeps one service registered in a zone by dynamic updates
// (RFC 2136): the PTR records of its type and subtypes, that of the list of
// types, SRV, TXT and, if it is to, the addresses of its host. Set the fields,
// then call Run once. The zero values of those that aren't commented as needed
// are useful.
//
// No name is taken from anybody: a new one must not be in use, and one that is
// must have just the SRV record that the Registrar would give it, as it has
// after a crash or a lost answer. Else the service gets another name, "Web (2)".
type Registrar struct {
	Servers // the zone's primary server is needed

	Key      *Key           // nil: updates aren't signed
	Instance dnssd.Instance // needed: name, type and domain
	Subtypes []string
	Port     uint16
	Priority uint16
	Weight   uint16
	TXT      []string
	// Host is the target, "nas.example.com"; needed. Its addresses are
	// registered, too, if there are some here. Of several Registrars only one
	// should have a host's addresses: it takes them back at the end.
	Host      string
	Addresses []netip.Addr
	TTL       time.Duration // of the records, 0 for DefaultRecordTTL
	// Lease is for how long the server is asked to keep the records (RFC 9664)
	// and, with a server that keeps them for good, how often they are looked
	// after; 0 for DefaultLease.
	Lease time.Duration
	// Changed is told of every change of state, on Run's goroutine.
	Changed func(RegistrationEvent)
	Log     *slog.Logger
}

// RegistrationState says how far a registration is.
type RegistrationState uint8

// The states of a registration.
const (
	Registering RegistrationState = iota // under way, or tried again later
	Registered
	Renamed   // the name is somebody else's; the one in the event is tried next
	Withdrawn // taken back at the end
)

// String returns the state in a word.
func (s RegistrationState) String() string {
	switch s {
	case Registering:
		return "registering"
	case Registered:
		return "registered"
	case Renamed:
		return "renamed"
	case Withdrawn:
		return "withdrawn"
	}
	return "unknown"
}

// RegistrationEvent is one change of a registration's state.
type RegistrationEvent struct {
	State    RegistrationState
	Instance dnssd.Instance // with its present name
	Host     string         // its present name
	Zone     string
	// Err says why the last try failed, nil if it didn't: an *RcodeError, or
	// ErrNoAnswer inside.
	Err error
	// Next is when it is tried again, or looked after.
	Next time.Time
}

// Refused says whether a server understood and won't: the key, or what the
// server lets it do, is wrong. Trying again helps only if somebody changes that.
func Refused(err error) bool {
	var e *RcodeError
	return errors.As(err, &e) && (e.Rcode == rcodeRefused || e.Rcode == rcodeNotAuth || e.Rcode == rcodeNotZone ||
		e.Rcode >= rcodeBadVers && e.Rcode <= rcodeBadTime)
}

// registration is a Registrar at work.
type registration struct {
	*Registrar
	pool     *pool
	instance dnssd.Instance
	host     dnswire.Name
	names    names
	zone     dnswire.Name // of the instance
	hostZone dnswire.Name
	claimed  bool // the instance's records are ours
	hostOurs bool
	ttl      uint32
	lease    time.Duration
}

// names are the names that the records have.
type names struct {
	instance, service, types dnswire.Name
	subtypes                 []dnswire.Name
}

// Run registers the service and keeps it registered until ctx ends; then it
// takes the records back, for at most five seconds, and returns nil. While no
// server answers or lets it, it tries again, and tells Changed why. An error
// says that a field is wrong.
func (r *Registrar) Run(ctx context.Context) error {
	g, err := r.begin()
	if err != nil {
		return err
	}
	retry := firstRetry
	for ctx.Err() == nil {
		g.tell(Registering, nil, time.Time{})
		lease, err := g.register(ctx)
		var wait time.Duration
		switch {
		case ctx.Err() != nil:
			continue
		case err == nil:
			retry = firstRetry
			wait = refreshAfter(lease, g.lease)
			g.tell(Registered, nil, time.Now().Add(wait))
		default:
			wait = time.Duration((0.75 + rand.Float64()/2) * float64(retry))
			retry = min(2*retry, maxRetry)
			if !g.claimed { // its zone may have changed
				g.zone = ""
			}
			if !g.hostOurs {
				g.hostZone = ""
			}
			g.tell(Registering, err, time.Now().Add(wait))
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
	g.withdraw(context.WithoutCancel(ctx))
	return nil
}

// refreshAfter returns when to look after the records: at 80 % of the lease
// (RFC 9664 §5).
func refreshAfter(granted, asked time.Duration) time.Duration {
	if granted <= 0 {
		granted = asked
	}
	return max(granted, minLease) / 5 * 4
}

func (r *Registrar) begin() (*registration, error) {
	g := &registration{Registrar: r, pool: newPool(r.Servers), instance: r.Instance, lease: r.Lease}
	if g.Log == nil {
		g.Log = slog.New(slog.DiscardHandler)
	}
	if g.lease <= 0 {
		g.lease = DefaultLease
	}
	ttl := r.TTL
	if ttl <= 0 {
		ttl = DefaultRecordTTL
	}
	g.ttl = uint32(min(ttl, longest) / time.Second)
	switch {
	case r.Dial == nil || len(r.Addrs) == 0:
		return nil, errors.New("unicast: register: no server")
	case r.Instance.Name == "" || r.Instance.Domain == "":
		return nil, errors.New("unicast: register: an instance has a name and a domain")
	}
	var err error
	if g.host, err = dnswire.ParseName(r.Host); err != nil {
		return nil, fmt.Errorf("unicast: register: host: %w", err)
	}
	if err := dnssd.CheckLongType(r.Instance.Service); err != nil {
		return nil, err
	}
	if err := g.setNames(); err != nil {
		return nil, err
	}
	for _, n := range []dnswire.Name{g.names.instance, g.host} {
		if Multicast(n) {
			return nil, fmt.Errorf("unicast: register: %s belongs to multicast DNS (RFC 6762 §3)", n)
		}
	}
	if _, err := dnswire.NewTXT(g.names.instance, 0, r.TXT...); err != nil {
		return nil, fmt.Errorf("unicast: register: %w", err)
	}
	return g, nil
}

func (g *registration) setNames() error {
	in := g.instance
	var n names
	var err error
	if n.instance, err = in.FullName(); err != nil {
		return err
	}
	n.service = n.instance.Parent()
	domain := n.service.Parent().Parent()
	if n.types, err = dnswire.NameOf(append([]string{"_services", "_dns-sd", "_udp"}, slices.Collect(domain.Labels())...)...); err != nil {
		return fmt.Errorf("unicast: register: %w", err)
	}
	for _, s := range g.Subtypes {
		sub, err := n.service.Prepend("_sub")
		if err == nil {
			sub, err = sub.Prepend(s)
		}
		if err != nil {
			return fmt.Errorf("unicast: register: subtype %q: %w", s, err)
		}
		n.subtypes = append(n.subtypes, sub)
	}
	g.names = n
	return nil
}

func (g *registration) tell(s RegistrationState, err error, next time.Time) {
	ev := RegistrationEvent{State: s, Instance: g.instance, Host: g.host.String(), Zone: g.zone.String(), Err: err, Next: next}
	if err != nil {
		g.Log.Warn("service is not registered", "name", g.instance.String(), "err", err, "next", next)
	} else {
		g.Log.Debug("registration", "state", s.String(), "name", g.instance.String())
	}
	if g.Changed != nil {
		g.Changed(ev)
	}
}

// register puts the records there, or finds that they are.
func (g *registration) register(ctx context.Context) (lease time.Duration, err error) {
	if g.zone == "" {
		if g.zone, err = g.pool.zoneOf(ctx, g.names.service); err != nil {
			return 0, err
		}
	}
	if len(g.Addresses) > 0 {
		if g.hostZone == "" {
			if g.hostZone, err = g.pool.zoneOf(ctx, g.host); err != nil {
				return 0, err
			}
		}
		if _, err := g.claim(ctx, &g.hostOurs, g.claimHost, g.renameHost); err != nil {
			return 0, err
		}
	}
	return g.claim(ctx, &g.claimed, g.claimInstance, g.renameInstance)
}

// claim makes a name ours. try makes the update that finds the name free, or with
// ours the one that finds it as we left it.
func (g *registration) claim(ctx context.Context, have *bool, try func(ours bool) update, rename func(context.Context) error) (time.Duration, error) {
	for range maxRenames {
		// What is ours most likely still is; what is new is most likely free.
		for _, ours := range [...]bool{*have, !*have} {
			lease, err := g.pool.send(ctx, try(ours), g.Key)
			if err == nil {
				*have = true
				return lease, nil
			}
			if !prerequisite(err) {
				// One whose answer was lost may have been carried out. If it is
				// taken back in vain no harm is done.
				*have = *have || ctx.Err() != nil || errors.Is(err, ErrNoAnswer)
				return 0, err
			}
		}
		*have = false
		if err := rename(ctx); err != nil {
			return 0, err
		}
		g.tell(Renamed, nil, time.Time{})
	}
	return 0, fmt.Errorf("unicast: register %s: %d names are taken", g.instance, maxRenames)
}

// prerequisite says whether an update failed because the name isn't as it was
// required to be.
func prerequisite(err error) bool {
	var e *RcodeError
	return errors.As(err, &e) && (e.Rcode == rcodeYXDomain || e.Rcode == rcodeYXRRSet || e.Rcode == rcodeNXRRSet || e.Rcode == rcodeNXDomain)
}

func (g *registration) claimHost(ours bool) update {
	u := update{zone: g.hostZone, lease: g.lease}
	addresses := g.addresses()
	if ours {
		u.require = g.exactHost(addresses)
	} else {
		u.require = []dnswire.RR{notInUse(g.host)}
	}
	u.change = addresses
	return u
}

// addresses are the host's records.
func (g *registration) addresses() []dnswire.RR {
	var out []dnswire.RR
	for _, a := range g.Addresses {
		if rr := dnswire.NewAddr(g.host, a, g.ttl); !slices.Contains(out, rr) {
			out = append(out, rr)
		}
	}
	return out
}

// exactHost requires that the host has these addresses and no others.
func (g *registration) exactHost(addresses []dnswire.RR) []dnswire.RR {
	var out []dnswire.RR
	has := map[dnswire.Type]bool{}
	for _, rr := range addresses {
		has[rr.Type] = true
		out = append(out, exactly(rr))
	}
	for _, t := range [...]dnswire.Type{dnswire.TypeA, dnswire.TypeAAAA} {
		if !has[t] {
			out = append(out, absent(g.host, t))
		}
	}
	return out
}

func (g *registration) srv() dnswire.RR {
	return dnswire.NewSRV(g.names.instance, dnswire.SRV{Priority: g.Priority, Weight: g.Weight, Port: g.Port, Target: g.host}, g.ttl)
}

// pointers are the PTR records that lead to the instance.
func (g *registration) pointers() []dnswire.RR {
	out := []dnswire.RR{dnswire.NewPTR(g.names.service, g.names.instance, g.ttl)}
	for _, s := range g.names.subtypes {
		out = append(out, dnswire.NewPTR(s, g.names.instance, g.ttl))
	}
	return out
}

func (g *registration) claimInstance(ours bool) update {
	u := update{zone: g.zone, lease: g.lease}
	if ours {
		u.require = []dnswire.RR{exactly(g.srv())}
		u.change = append(u.change, withoutAll(g.names.instance, dnswire.TypeTXT))
	} else {
		u.require = []dnswire.RR{notInUse(g.names.instance)}
	}
	txt, err := dnswire.NewTXT(g.names.instance, g.ttl, g.TXT...)
	if err == nil { // begin has seen that it is
		u.change = append(u.change, txt)
	}
	u.change = append(u.change, g.srv(), dnswire.NewPTR(g.names.types, g.names.service, g.ttl))
	u.change = append(u.change, g.pointers()...)
	return u
}

func (g *registration) renameInstance(context.Context) error {
	g.instance.Name = nextName(g.instance.Name)
	return g.setNames()
}

func (g *registration) renameHost(ctx context.Context) error {
	if g.claimed { // its SRV record names the old host
		g.claimed = false
		if err := g.takeBack(ctx); err != nil {
			return err
		}
	}
	labels := slices.Collect(g.host.Labels())
	labels[0] = nextHost(labels[0])
	host, err := dnswire.NameOf(labels...)
	if err != nil {
		return fmt.Errorf("unicast: register: %w", err)
	}
	g.host = host
	return nil
}

// withdraw takes back what is ours, as far as a server can be reached.
func (g *registration) withdraw(ctx context.Context) {
	if !g.claimed && !g.hostOurs {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, removalTime)
	defer cancel()
	var err error
	if g.claimed {
		err = g.takeBack(ctx)
	}
	if g.hostOurs {
		addresses := g.addresses()
		u := update{zone: g.hostZone, require: g.exactHost(addresses)}
		for _, rr := range addresses {
			u.change = append(u.change, without(rr))
		}
		if _, e := g.pool.send(ctx, u, g.Key); e != nil && !prerequisite(e) {
			err = errors.Join(err, e)
		}
	}
	g.tell(Withdrawn, err, time.Time{})
}

// takeBack removes the instance, and its type from the list of types if it was
// the last of it.
func (g *registration) takeBack(ctx context.Context) error {
	u := update{zone: g.zone, require: []dnswire.RR{exactly(g.srv())}, change: []dnswire.RR{
		withoutAll(g.names.instance, dnswire.TypeSRV), withoutAll(g.names.instance, dnswire.TypeTXT),
	}}
	for _, rr := range g.pointers() {
		u.change = append(u.change, without(rr))
	}
	if _, err := g.pool.send(ctx, u, g.Key); err != nil {
		if prerequisite(err) {
			return nil // it is somebody else's now, or gone
		}
		return err
	}
	last := update{
		zone:    g.zone,
		require: []dnswire.RR{absent(g.names.service, dnswire.TypePTR)},
		change:  []dnswire.RR{without(dnswire.NewPTR(g.names.types, g.names.service, 0))},
	}
	if _, err := g.pool.send(ctx, last, g.Key); err != nil && !prerequisite(err) {
		return err
	}
	return nil
}
