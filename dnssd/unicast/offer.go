package unicast

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnswire"
)

// Offer is what a Registrar registers of its instance. All of it may change
// while it runs, see Update.
type Offer struct {
	Subtypes []string
	Port     uint16
	Priority uint16
	Weight   uint16
	TXT      []string
	// Host is the target, "nas.example.com"; needed. Its addresses are
	// registered, too, if there are some here. Several Registrars may register the
	// same addresses of a host: the last one takes them back.
	Host      string
	Addresses []netip.Addr
	// Off has everything taken back for now, because the service doesn't work.
	Off bool
}

func (o Offer) clone() Offer {
	o.Subtypes, o.TXT, o.Addresses = slices.Clone(o.Subtypes), slices.Clone(o.TXT), slices.Clone(o.Addresses)
	return o
}

// Update changes what is registered. It may be called from any goroutine, before
// Run and while it works; of several changes in a row the last one counts. The
// instance is at no time without its records, nor has it two TXT records.
func (r *Registrar) Update(o Offer) error {
	o = o.clone()
	if _, err := r.checked(o, r.Instance); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next = &o
	select {
	case r.signal() <- struct{}{}:
	default:
	}
	return nil
}

// signal returns the channel that says that there is a new offer. r.mu is held.
func (r *Registrar) signal() chan struct{} {
	if r.wake == nil {
		r.wake = make(chan struct{}, 1)
	}
	return r.wake
}

// newOffer returns the offer that took the place of the last one, if there is one.
func (r *Registrar) newOffer() (Offer, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next == nil {
		return Offer{}, false
	}
	o := *r.next
	r.next = nil
	return o, true
}

// names are the names that the records have.
type names struct {
	instance, service, types dnswire.Name
	host                     dnswire.Name // as it is wanted
	subtypes                 []dnswire.Name
}

// checked returns the names that an offer has as an instance, or what is wrong with it.
func (r *Registrar) checked(o Offer, in dnssd.Instance) (names, error) {
	var n names
	var err error
	if n.host, err = dnswire.ParseName(o.Host); err != nil {
		return n, fmt.Errorf("unicast: register: host: %w", err)
	}
	if err := dnssd.CheckLongType(in.Service); err != nil {
		return n, err
	}
	if n.instance, err = in.FullName(); err != nil {
		return n, err
	}
	n.service = n.instance.Parent()
	domain := n.service.Parent().Parent()
	if n.types, err = dnswire.NameOf(append([]string{"_services", "_dns-sd", "_udp"}, slices.Collect(domain.Labels())...)...); err != nil {
		return n, fmt.Errorf("unicast: register: %w", err)
	}
	for _, s := range o.Subtypes {
		sub, err := n.subtype(s)
		if err != nil {
			return n, err
		}
		n.subtypes = append(n.subtypes, sub)
	}
	for _, name := range []dnswire.Name{n.instance, n.host} {
		if Multicast(name) {
			return n, fmt.Errorf("unicast: register: %s belongs to multicast DNS (RFC 6762 §3)", name)
		}
	}
	if _, err := dnswire.NewTXT(n.instance, 0, o.TXT...); err != nil {
		return n, fmt.Errorf("unicast: register: %w", err)
	}
	return n, nil
}

// subtype returns the name by which instances of a subtype are found.
func (n names) subtype(s string) (dnswire.Name, error) {
	sub, err := n.service.Prepend("_sub")
	if err == nil {
		sub, err = sub.Prepend(s)
	}
	if err != nil {
		return "", fmt.Errorf("unicast: register: subtype %q: %w", s, err)
	}
	return sub, nil
}
