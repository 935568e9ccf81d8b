package bridge

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/tged"
)

// TGED are services for a tged.Server: those in the inventory that other protocols
// know. NewTGED makes one. Lookup and Len may be called from any goroutine.
type TGED struct {
	types map[string][]string // names in TGED by the types of other protocols, folded
	not   []string
	known map[string]map[string]*lanfolk.Service // by folded type and ID; Run's goroutine owns it
	set   atomic.Pointer[tged.Set]
}

// NewTGED makes the services of a mapping: names in TGED with the types by which
// others know them, "SQL" with "_mysql._tcp". Services that are known by a protocol in
// not are left out: TGED's own would go in circles. The error is one of the names.
func NewTGED(types map[string]string, not ...string) (*TGED, error) {
	t := &TGED{types: map[string][]string{}, not: not}
	var all []*tged.Service
	for name, kind := range types {
		t.types[fold(kind)] = append(t.types[fold(kind)], name)
		s, err := tged.NewService(name, nil)
		if err != nil {
			return nil, fmt.Errorf("bridge: %w", err)
		}
		all = append(all, s)
	}
	if _, err := tged.NewSet(all...); err != nil {
		return nil, fmt.Errorf("bridge: %w", err)
	}
	t.settle()
	return t, nil
}

// Lookup implements tged.Services.
func (t *TGED) Lookup(name []byte) (*tged.Service, error) { return t.set.Load().Lookup(name) }

// Len returns for how many of the names there is an answer.
func (t *TGED) Len() int { return t.set.Load().Len() }

// settleAfter is how long changes are gathered: many services come at once.
const settleAfter = 50 * time.Millisecond

// Run takes over the changes of the inventory, as lanfolk.Registry.Watch sends them,
// until the channel is closed. It may be called again, with a fresh channel.
func (t *TGED) Run(changes <-chan lanfolk.Event) {
	t.known = map[string]map[string]*lanfolk.Service{}
	var due <-chan time.Time
	whole := false // all that there is was told
	for {
		select {
		case ev, ok := <-changes:
			if !ok {
				return
			}
			whole = whole || ev.Op == lanfolk.OpSynced
			if t.hear(ev) && whole && due == nil {
				due = time.After(settleAfter)
			}
		case <-due:
			due = nil
			t.settle()
		}
	}
}

// hear takes over a change and says whether it could change an answer.
func (t *TGED) hear(ev lanfolk.Event) bool {
	s := ev.Service
	if s == nil {
		return ev.Op == lanfolk.OpSynced
	}
	kind := fold(s.Type)
	if t.types[kind] == nil || slices.Contains(t.not, s.Protocol) {
		return false
	}
	if t.known[kind] == nil {
		t.known[kind] = map[string]*lanfolk.Service{}
	}
	if ev.Op == lanfolk.OpRemove {
		delete(t.known[kind], s.ID)
	} else {
		t.known[kind][s.ID] = s
	}
	return true
}

// settle finds what is answered from now on: of each type the service that works and
// has been known longest, so that the answer changes only if it must.
func (t *TGED) settle() {
	var all []*tged.Service
	for kind, names := range t.types {
		var best *lanfolk.Service
		for _, s := range t.known[kind] {
			if (best == nil || before(s, best)) && answerable(s) {
				best = s
			}
		}
		if best == nil {
			continue
		}
		for _, name := range names {
			if s, err := t.service(name, best); err == nil {
				all = append(all, s)
			}
		}
	}
	if set, err := tged.NewSet(all...); err == nil { // NewTGED saw to it that no name is there twice
		t.set.Store(set)
	}
}

// service makes what is answered for a service by its name in TGED: to those on a link
// where it has an address, that one. The inventory has it once for each link.
func (t *TGED) service(name string, best *lanfolk.Service) (*tged.Service, error) {
	out, err := tged.NewService(name, fields(best, ipv4(best)))
	if err != nil {
		return nil, err
	}
	there := map[netip.Addr]bool{}
	same := []*lanfolk.Service{best}
	for _, s := range t.known[fold(best.Type)] {
		if s != best && s.Name == best.Name && fold(s.Host) == fold(best.Host) && s.Port == best.Port && answerable(s) {
			same = append(same, s)
		}
	}
	slices.SortFunc(same[1:], order)
	for _, s := range same {
		for _, a := range s.Addresses {
			if len(there) == maxNear || there[a] || !tellable(a) {
				continue
			}
			there[a] = true
			if near, err := tged.NewService(name, fields(best, a)); err == nil {
				out = out.Near(a, near)
			}
		}
	}
	return out, nil
}

// maxNear bounds the addresses of a service: a stranger may announce any number.
const maxNear = 32

func before(a, b *lanfolk.Service) bool { return order(a, b) < 0 }

func order(a, b *lanfolk.Service) int {
	return cmp.Or(a.FirstSeen.Compare(b.FirstSeen), strings.Compare(a.ID, b.ID))
}

// answerable says whether a service can be told of: it works, has a port, and an
// address that TGED's clients can use.
func answerable(s *lanfolk.Service) bool {
	if s.State != lanfolk.Reachable || s.Port == 0 || !ipv4(s).IsValid() {
		return false
	}
	_, err := tged.NewService("x", fields(s, ipv4(s))) // a host's name may hold any bytes
	return err == nil
}

// ipv4 returns the address to tell: TGED is for IPv4. One that needs no link is preferred.
func ipv4(s *lanfolk.Service) netip.Addr {
	var local netip.Addr
	for _, a := range s.Addresses {
		switch {
		case !tellable(a):
		case a.IsLinkLocalUnicast():
			local = a
		default:
			return a
		}
	}
	return local
}

// tellable says whether an address can be a host's on a link.
func tellable(a netip.Addr) bool {
	return a.Is4() && !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast()
}

// fields are those of the document that others know.
func fields(s *lanfolk.Service, at netip.Addr) []tged.Field {
	var out []tged.Field
	if name := strings.TrimSuffix(s.Host, "."); name != "" {
		label, _, dotted := strings.Cut(name, ".")
		out = append(out, tged.Field{Key: "HOST", Value: label})
		if dotted {
			out = append(out, tged.Field{Key: "FQDN", Value: name})
		}
	}
	return append(out, tged.Field{Key: "IP", Value: at.String()}, tged.Field{Key: "PORT", Value: strconv.Itoa(int(s.Port))})
}
