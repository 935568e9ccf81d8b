package unicast

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnswire"
)

// Defaults and bounds of a Registrar.
const (
	DefaultRecordTTL = 2 * time.Minute
	DefaultLease     = time.Hour
	// DefaultGrace is more than the clocks of two who may sign updates can differ:
	// each by at most five minutes from the server's (RFC 8945 §10).
	DefaultGrace = 10 * time.Minute
	// MinLease is the shortest lease: one has to be renewed in time over a network
	// that loses packets.
	MinLease    = 2 * time.Second
	minGranted  = 30 * time.Second
	firstRetry  = 2 * time.Second
	maxRetry    = 5 * time.Minute
	removalTime = 5 * time.Second
	// maxRenames bounds the search for a free name at one time.
	maxRenames = 100
)

// Registrar keeps one service registered in a zone by dynamic updates
// (RFC 2136): the PTR records of its type and subtypes, that of the list of
// types, SRV, TXT and, if it is to, the addresses of its host. Set the fields,
// then call Run once; Update changes the offer while it works. The zero values of
// those that aren't commented as needed are useful.
//
// No name is taken from anybody: a new one must not be in use, and one that is
// must have just the SRV record that the Registrar would give it, as it has
// after a crash or a lost answer. Else the service gets another name, "Web (2)".
//
// So that a crash doesn't leave records for ever, the server is asked to keep them
// for a lease (RFC 9664). For those that know no leases, a lease record beside
// the name says how long it holds, and each Registrar removes the instances of
// its type whose lease ran out.
type Registrar struct {
	Servers // the zone's primary server is needed

	Key      *Key           // nil: updates aren't signed
	Instance dnssd.Instance // needed: name, type and domain
	Offer
	TTL time.Duration // of the records, 0 for DefaultRecordTTL
	// Lease is for how long the records shall stay if nobody renews them, 0 for
	// DefaultLease, at least MinLease. They are renewed at half of it, or at 80 %
	// of what the server grants.
	Lease time.Duration
	// Grace is how long a lease must have run out before it is believed, for clocks
	// that differ; 0 means DefaultGrace.
	Grace time.Duration
	// Sweep is how often, on average, others' leases are looked at; 0 means Lease.
	// A negative one means never.
	Sweep time.Duration
	// Keeper remembers changed names. nil: nobody does.
	Keeper dnssd.Keeper
	// Changed is told of every change of state, on Run's goroutine.
	Changed func(RegistrationEvent)
	Log     *slog.Logger

	mu   sync.Mutex
	next *Offer        // what Update wants
	wake chan struct{} // has room for one
}

// RegistrationState says how far a registration is.
type RegistrationState uint8

// The states of a registration.
const (
	Registering RegistrationState = iota // under way, or tried again later
	Registered
	Renamed   // the name is somebody else's; the one in the event is tried next
	Withdrawn // taken back: at the end, or because the offer is off
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
	// Expires is when the records stop to hold if this Registrar dies, zero if they
	// stay for ever; LeaseErr says why.
	Expires  time.Time
	LeaseErr error
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

// Skewed says whether a server refused a signature for its time: its clock and this
// machine's differ. That may pass by itself.
func Skewed(err error) bool {
	var e *RcodeError
	return errors.As(err, &e) && e.TSIG && e.Rcode == rcodeBadTime
}

// registration is a Registrar at work.
type registration struct {
	*Registrar
	pool     *pool
	instance dnssd.Instance
	offer    Offer
	names    names
	service  holding // the instance's name
	host     *hostHolding
	former   []*hostHolding // those that the instance led to before
	subtypes map[dnswire.Name]struct{}
	granted  bool // the server knows leases by itself
	ttl      uint32
	lease    time.Duration
	grace    time.Duration
	sweepAt  time.Time // zero for never
	// cannot are instances whose removal the server refused.
	cannot map[dnswire.Name]struct{}
}

// Run registers the service and keeps it registered until ctx ends; then it
// waits a second at most for an update that is under way, takes the records back,
// for at most five seconds, and returns nil. While no server answers or lets it, it
// tries again, and tells Changed why. An error says that a field is wrong.
func (r *Registrar) Run(ctx context.Context) error {
	g, err := r.begin()
	if err != nil {
		return err
	}
	g.pool.conns.hold()
	defer g.pool.conns.release()
	r.mu.Lock()
	wake := r.signal()
	r.mu.Unlock()
	g.tell(Registering, nil, time.Time{})
	retry := firstRetry
	var due time.Time
	for ctx.Err() == nil {
		if now := time.Now(); !now.Before(due) {
			wait, err := g.renew(ctx)
			switch {
			case ctx.Err() != nil:
				continue
			case err != nil:
				wait = time.Duration((0.75 + rand.Float64()/2) * float64(retry))
				retry = min(2*retry, maxRetry, max(firstRetry, g.lease/4))
				g.forgetZones()
				g.tell(g.failing(), err, time.Now().Add(wait))
			default:
				retry = firstRetry
			}
			due = time.Now().Add(wait)
		}
		if !g.sweepAt.IsZero() && !time.Now().Before(g.sweepAt) {
			g.sweep(ctx)
		}
		select {
		case <-time.After(time.Until(g.earliest(due))):
		case <-wake:
			if g.change() {
				due = time.Time{}
			}
		case <-ctx.Done():
		}
	}
	g.end(context.WithoutCancel(ctx))
	return nil
}

// renew does what the offer asks for, and returns when to look after it.
func (g *registration) renew(ctx context.Context) (time.Duration, error) {
	if g.offer.Off {
		if err := g.takeBackAll(ctx); err != nil {
			return 0, err
		}
		g.tell(Withdrawn, nil, time.Time{})
		return longest, nil
	}
	lease, err := g.register(ctx)
	if err != nil {
		return 0, err
	}
	wait := g.lease / 2
	if lease > 0 {
		wait = max(lease, minGranted) / 5 * 4 // RFC 9664 §5
	}
	g.tell(Registered, nil, time.Now().Add(wait))
	return wait, nil
}

// failing is the state that a try that failed leaves.
func (g *registration) failing() RegistrationState {
	if g.offer.Off {
		return Withdrawn
	}
	return Registering
}

func (g *registration) earliest(due time.Time) time.Time {
	if !g.sweepAt.IsZero() && g.sweepAt.Before(due) {
		return g.sweepAt
	}
	return due
}

// change takes over what Update wants, and says whether that is anything new.
func (g *registration) change() bool {
	o, ok := g.newOffer()
	if !ok {
		return false // begin has it already
	}
	n, err := g.checked(o, g.instance)
	if err != nil { // Update has seen that it is right, but for a longer name
		g.Log.Warn("a registration can't be changed", "name", g.instance.String(), "err", err)
		return false
	}
	g.offer, g.names = o, n
	if n.host.Equal(g.host.wanted) {
		return true
	}
	was := g.host
	if i := slices.IndexFunc(g.former, func(h *hostHolding) bool { return h.wanted.Equal(n.host) }); i >= 0 {
		g.host = g.former[i] // back to one that is still there
		g.former = slices.Delete(g.former, i, i+1)
	} else {
		g.host = g.newHost(n.host)
	}
	if was.ours {
		g.former = append(g.former, was)
	}
	return true
}

func (r *Registrar) begin() (*registration, error) {
	if o, ok := r.newOffer(); ok {
		r.Offer = o
	}
	g := &registration{
		Registrar: r, pool: newPool(r.Servers), instance: r.Instance, offer: r.Offer.clone(), lease: r.Lease, grace: r.Grace,
		subtypes: map[dnswire.Name]struct{}{}, cannot: map[dnswire.Name]struct{}{},
	}
	if r.Log == nil {
		r.Log = slog.New(slog.DiscardHandler)
	}
	if g.lease <= 0 {
		g.lease = DefaultLease
	}
	g.lease = max(g.lease, MinLease)
	if g.grace <= 0 {
		g.grace = DefaultGrace
	}
	if r.Sweep >= 0 {
		g.sweepAt = time.Now().Add(time.Duration(rand.Float64() * float64(g.sweepEvery()) / 10))
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
	if g.names, err = r.checked(g.offer, r.Instance); err != nil {
		return nil, err
	}
	g.host = g.newHost(g.names.host)
	if label := g.kept(g.names.instance); label != "" {
		g.instance.Name = label
		if err := g.rename(); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// kept returns the label that was kept in the place of a name's first one.
func (g *registration) kept(n dnswire.Name) string {
	if g.Keeper == nil {
		return ""
	}
	if k := g.Keeper.Kept(n.String()); len(k) <= maxLabel {
		return k
	}
	return ""
}

// keep has a name's present label kept, if it was ever another.
func (g *registration) keep(wanted, now dnswire.Name) {
	if g.Keeper != nil && (!wanted.Equal(now) || g.kept(wanted) != "") {
		g.Keeper.Keep(wanted.String(), now.Label(0))
	}
}

// rename has the names follow the instance's.
func (g *registration) rename() error {
	n, err := g.checked(g.offer, g.instance)
	if err != nil {
		return err
	}
	g.names = n
	return nil
}

func (g *registration) tell(s RegistrationState, err error, next time.Time) {
	ev := RegistrationEvent{State: s, Instance: g.instance, Host: g.host.name.String(), Zone: g.service.zone.String(), Err: err, Next: next}
	if s == Registered {
		ev.Expires, ev.LeaseErr = g.service.expires, g.service.leaseErr
	}
	if err != nil {
		what := "service is not registered"
		if s == Withdrawn {
			what = "service is still registered"
		}
		g.Log.Warn(what, "name", g.instance.String(), "err", err, "next", next)
	} else {
		g.Log.Debug("registration", "state", s.String(), "name", g.instance.String())
	}
	if g.Changed != nil {
		g.Changed(ev)
	}
}

// end takes back what is ours, as far as a server can be reached.
func (g *registration) end(ctx context.Context) {
	if !g.service.ours && !g.host.ours && len(g.former) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, removalTime)
	defer cancel()
	g.tell(Withdrawn, g.takeBackAll(ctx), time.Time{})
}

// forgetZones has the zones of names that aren't ours looked for again: they may
// have changed.
func (g *registration) forgetZones() {
	for _, h := range []*holding{&g.service, &g.host.holding} {
		if !h.ours {
			h.zone = ""
		}
	}
}

// zoneOf finds the zone of a name that is to be held.
func (g *registration) zoneOf(ctx context.Context, h *holding, n dnswire.Name) error {
	if h.zone != "" {
		return nil
	}
	zone, err := g.pool.zoneOf(ctx, n)
	if err != nil {
		return err
	}
	h.zone = zone
	return nil
}

// errTaken says that all names are taken.
func errTaken(n dnswire.Name) error {
	return fmt.Errorf("unicast: register %s: %d names are taken", n, maxRenames)
}
