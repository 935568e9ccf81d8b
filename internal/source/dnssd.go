package source

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/internal/find"
)

// DNSSD asks by DNS-SD and mDNS alone and hands on what was answered, past the
// inventory. Errors match lanfolk.ErrInvalid where the question is wrong,
// find.ErrNone, find.ErrNoAnswer, and find.ErrOff while there is nothing to ask.
type DNSSD struct {
	// Source returns what to ask, nil while there's none.
	Source func() dnssd.Source
	// Domain is where to look, "" for dnssd.DefaultDomain.
	Domain string
}

func (d DNSSD) domain() string {
	if d.Domain == "" {
		return dnssd.DefaultDomain
	}
	return strings.TrimSuffix(d.Domain, ".")
}

// Browse yields services as they come and go until ctx ends or, with Once,
// things have settled. The last pair may hold an error: not for ctx's end.
func (d DNSSD) Browse(ctx context.Context, r find.BrowseRequest) iter.Seq2[find.Instance, error] {
	return func(yield func(find.Instance, error) bool) {
		service, subtype, err := ParseType(r.Type)
		var also []string
		if err == nil {
			also, err = ParseAlso(r.Type, r.Also)
		}
		src := d.Source()
		if err == nil && src == nil {
			err = errNoMDNS
		}
		if err != nil {
			yield(find.Instance{}, err)
			return
		}
		b := dnssd.Browser{Source: src, Domain: d.domain(), Type: service, Subtype: subtype, Also: also, Resolve: r.Resolve, Once: r.Once}
		for ev, err := range b.Events(ctx) {
			switch {
			case err != nil:
				yield(find.Instance{}, outcome(err))
				return
			case ev.Op == dnssd.Settled:
			case !yield(instance(ev.Op, ev.Service, r.Resolve), nil):
				return
			}
		}
	}
}

// Resolve says where the instance of a type is, on each link where somebody
// says it.
func (d DNSSD) Resolve(ctx context.Context, name, serviceType string, timeout time.Duration) ([]find.Instance, error) {
	src, in, err := d.about(name, serviceType)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return resolved(dnssd.Resolve(ctx, src, in))
}

// Reconfirm is Resolve for an instance that didn't work: what is known of it is
// asked for again, and goes unless somebody confirms it within ten seconds.
func (d DNSSD) Reconfirm(ctx context.Context, name, serviceType string) ([]find.Instance, error) {
	src, in, err := d.about(name, serviceType)
	if err != nil {
		return nil, err
	}
	return resolved(dnssd.ResolveAgain(ctx, src, in))
}

// about returns the instance and what to ask about it.
func (d DNSSD) about(name, serviceType string) (dnssd.Source, dnssd.Instance, error) {
	in, err := ParseInstance(name, serviceType)
	if err != nil {
		return nil, in, err
	}
	src := d.Source()
	if src == nil {
		return nil, in, errNoMDNS
	}
	in.Domain = d.domain()
	return src, in, nil
}

func resolved(services []dnssd.Service, err error) ([]find.Instance, error) {
	if err != nil {
		return nil, outcome(err)
	}
	out := make([]find.Instance, len(services))
	for i, s := range services {
		out[i] = instance("", s, true)
	}
	return out, nil
}

// Lookup returns the addresses of a host in the domain, or the names of those
// that have the address that host is.
func (d DNSSD) Lookup(ctx context.Context, host string, timeout time.Duration) ([]find.HostAddress, error) {
	if err := CheckHost(host, d.domain()); err != nil {
		return nil, err
	}
	src := d.Source()
	if src == nil {
		return nil, errNoMDNS
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var answers []dnssd.Answer
	var err error
	if ip, notIP := netip.ParseAddr(host); notIP == nil {
		answers, err = dnssd.LookupAddr(ctx, src, ip)
	} else {
		answers, err = dnssd.LookupHost(ctx, src, hostIn(host, d.domain()))
	}
	if err != nil {
		return nil, outcome(err)
	}
	out := make([]find.HostAddress, len(answers))
	for i, a := range answers {
		out[i] = find.HostAddress{Host: valid(a.Host), Address: a.Addr, Interface: a.Interface, Via: src.Via(), TTL: a.TTL}
	}
	return out, nil
}

// ParseType reads "_http._tcp", with ".local" behind it or a subtype before it.
// No text is no type. An error matches lanfolk.ErrInvalid.
func ParseType(text string) (service, subtype string, err error) {
	if text == "" {
		return "", "", nil
	}
	service, subtype = serviceAndSubtype(strings.TrimSuffix(strings.TrimSuffix(text, "."), ".local"))
	if err := dnssd.CheckType(service); err != nil {
		return "", "", invalid{err}
	}
	return service, subtype, nil
}

// ParseAlso reads types of the same function as the first one. An error matches
// lanfolk.ErrInvalid.
func ParseAlso(first string, also []string) ([]string, error) {
	if len(also) > 0 && first == "" {
		return nil, invalid{errors.New("other types are looked for beside one: which?")}
	}
	var out []string
	for _, t := range also {
		service, subtype, err := ParseType(t)
		switch {
		case err != nil:
			return nil, err
		case subtype != "" || service == "":
			return nil, invalid{fmt.Errorf("%q: want a type without a subtype", t)}
		}
		out = append(out, service)
	}
	return out, nil
}

func serviceAndSubtype(text string) (service, subtype string) {
	if sub, rest, ok := strings.Cut(text, "._sub."); ok {
		return rest, sub
	}
	return text, ""
}

// ParseInstance reads an instance's name, any 1 to 63 bytes, and its type. An
// error matches lanfolk.ErrInvalid.
func ParseInstance(name, serviceType string) (dnssd.Instance, error) {
	service, _, err := ParseType(serviceType)
	if err != nil {
		return dnssd.Instance{}, err
	}
	in := dnssd.Instance{Name: name, Service: service, Domain: dnssd.DefaultDomain}
	if service == "" {
		return in, invalid{errors.New("an instance has a type")}
	}
	if _, err := in.FullName(); err != nil || name == "" {
		return in, invalid{fmt.Errorf("%q is no instance name: 1 to 63 bytes", name)}
	}
	return in, nil
}

// CheckHost refuses what is neither an address nor, if domain is .local, a name in
// it or of one label. An error matches lanfolk.ErrInvalid.
func CheckHost(host, domain string) error {
	if _, err := netip.ParseAddr(host); err == nil {
		return nil
	}
	if _, err := dnswire.ParseName(host); err != nil {
		return invalid{err}
	}
	if !strings.EqualFold(strings.TrimSuffix(domain, "."), dnssd.DefaultDomain) {
		return nil
	}
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	if name == dnssd.DefaultDomain || strings.Contains(name, ".") && !strings.HasSuffix(name, "."+dnssd.DefaultDomain) {
		return invalid{fmt.Errorf("%s doesn't end in .local: only such names are asked for by multicast (RFC 6762 §3)", host)}
	}
	return nil
}

// hostIn returns the full name of a host that is named as it stands or in the
// domain.
func hostIn(host, domain string) string {
	n, err := dnswire.ParseName(host)
	if err != nil {
		return host
	}
	in, err := dnswire.ParseName(domain)
	if err != nil || domain == dnssd.DefaultDomain || n.HasSuffix(in) {
		return host
	}
	return n.String() + "." + in.String()
}

// invalid marks an error in a question.
type invalid struct{ error }

func (i invalid) Unwrap() []error { return []error{i.error, lanfolk.ErrInvalid} }

// outcome puts the outcomes of a look-up into words that do without dnssd.
func outcome(err error) error {
	switch {
	case errors.Is(err, dnssd.ErrNone):
		return find.ErrNone
	case errors.Is(err, dnssd.ErrTimeout):
		return find.ErrNoAnswer
	}
	return err
}

func instance(op dnssd.Op, s dnssd.Service, resolved bool) find.Instance {
	i := find.Instance{
		Event: string(op), Name: valid(s.Name), Type: valid(s.Instance.Service), Domain: valid(s.Domain),
		Subtypes: make([]string, len(s.Subtypes)), Interface: s.Interface, Via: s.Via, TTL: s.TTL,
	}
	for n, sub := range s.Subtypes {
		i.Subtypes[n] = valid(sub)
	}
	if !resolved || s.Name == "" {
		return i
	}
	l := &find.Location{
		Host: valid(s.Host), Port: s.Port, Priority: s.Priority, Weight: s.Weight, Addresses: append([]netip.Addr{}, s.Addresses...),
		TXT: make(map[string]*string), TXTRaw: make([]string, len(s.TXT)),
	}
	if s.Broken != nil {
		l.Broken = s.Broken.Error()
	}
	for _, t := range s.Targets {
		l.Targets = append(l.Targets, find.Target{
			Host: valid(t.Host), Port: t.Port, Priority: t.Priority, Weight: t.Weight, Addresses: append([]netip.Addr{}, t.Addresses...),
		})
	}
	for key, v := range s.TXT.All() {
		var data *string
		if v.Set {
			text := valid(v.Data)
			data = &text
		}
		l.TXT[valid(key)] = data
	}
	for n, t := range s.TXT {
		l.TXTRaw[n] = base64.StdEncoding.EncodeToString([]byte(t))
	}
	i.Location = l
	return i
}

// valid puts U+FFFD for bytes that are no UTF-8: JSON can't carry them, and the
// answer must be the same whether it went through JSON or not.
func valid(s string) string { return strings.ToValidUTF8(s, string(utf8.RuneError)) }
