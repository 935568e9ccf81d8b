package dnssd

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/lanfolk/lanfolk/dnswire"
)

// DefaultDomain is the domain of multicast DNS (RFC 6762 §3).
const DefaultDomain = "local"

// Instance names one service instance.
type Instance struct {
	Name    string // "Build v1.2 Room.3": one label, raw, any bytes; "" for a type
	Service string // "_http._tcp"
	Domain  string // "local", without the last dot
}

// String returns the name as RFC 6763 §4.3 joins it, dots and backslashes in
// the instance's name with a backslash before them, control characters and
// bytes that are no UTF-8 as \DDD: `Build v1\.2._http._tcp.local`.
// ParseInstance reads it back exactly.
func (i Instance) String() string {
	n, err := i.FullName()
	if err != nil {
		return i.Name + "." + i.Service + "." + i.Domain
	}
	return n.String()
}

// FullName returns the name that the instance's SRV and TXT records have.
func (i Instance) FullName() (dnswire.Name, error) {
	t, err := typeName(i.Service, i.Domain)
	if err != nil {
		return "", err
	}
	if i.Name == "" {
		return t, nil
	}
	n, err := t.Prepend(i.Name)
	if err != nil {
		return "", fmt.Errorf("dnssd: instance %q: %w", i.Name, err)
	}
	return n, nil
}

// ParseInstance reads a full name as String writes it.
func ParseInstance(text string) (Instance, error) {
	n, err := dnswire.ParseName(text)
	if err != nil {
		return Instance{}, fmt.Errorf("dnssd: instance: %w", err)
	}
	i, ok := instanceOf(n)
	if !ok {
		return Instance{}, fmt.Errorf("dnssd: %q is no service instance: want NAME._type._tcp.DOMAIN or NAME._type._udp.DOMAIN", text)
	}
	return i, nil
}

// instanceOf takes a full name apart: a label, two that begin with an
// underscore, a domain.
func instanceOf(n dnswire.Name) (Instance, bool) {
	service, domain, ok := splitType(n.Parent())
	if !ok {
		return Instance{}, false
	}
	return Instance{Name: n.Label(0), Service: service, Domain: domain}, true
}

// splitType takes a type's full name apart. It tolerates types that CheckType
// rejects: devices use them (RFC 6763 §7.2, §4.1.2).
func splitType(n dnswire.Name) (service, domain string, ok bool) {
	a, b, rest := n.Label(0), n.Label(1), n.Parent().Parent()
	if len(a) < 2 || a[0] != '_' || len(b) < 2 || b[0] != '_' || rest == "" || rest == dnswire.Root {
		return "", "", false
	}
	two, err := dnswire.NameOf(a, b)
	if err != nil {
		return "", "", false
	}
	return two.String(), rest.String(), true
}

// typeName returns the full name of a type in a domain.
func typeName(service, domain string) (dnswire.Name, error) {
	if domain == "" {
		domain = DefaultDomain
	}
	n, err := joinNames(service, domain)
	if err != nil {
		return "", fmt.Errorf("dnssd: type %q in domain %q: %w", service, domain, err)
	}
	if _, _, ok := splitType(n); !ok {
		return "", fmt.Errorf("dnssd: %q is no service type: want a form like _http._tcp", service)
	}
	return n, nil
}

// metaName is where the types are listed (RFC 6763 §9).
const metaName = "_services._dns-sd._udp"

// browseName returns the name by which the instances of a type are found, or of
// a subtype of it, or with an empty type the types.
func browseName(service, subtype, domain string) (dnswire.Name, error) {
	if service == "" {
		return dnswire.ParseName(metaName + "." + domain)
	}
	t, err := typeName(service, domain)
	if err == nil && subtype != "" {
		t, err = subtypeName(subtype, t)
	}
	return t, err
}

// joinNames returns the name of which the first is the front and the second the
// rest. Either may end in a dot; that a dot there may be part of a label, with a backslash
// before it, is why the texts themselves aren't joined.
func joinNames(front, rest string) (dnswire.Name, error) {
	var labels []string
	for _, text := range [...]string{front, rest} {
		n, err := dnswire.ParseName(text)
		if err != nil {
			return "", err
		}
		labels = slices.AppendSeq(labels, n.Labels())
	}
	return dnswire.NameOf(labels...)
}

// subtypeName returns the name by which instances of a subtype are found
// (RFC 6763 §7.1). The subtype is one label of any bytes.
func subtypeName(subtype string, t dnswire.Name) (dnswire.Name, error) {
	n, err := t.Prepend("_sub")
	if err == nil {
		n, err = n.Prepend(subtype)
	}
	if err != nil {
		return "", fmt.Errorf("dnssd: subtype %q: %w", subtype, err)
	}
	return n, nil
}

var (
	errType     = errors.New("want _NAME._tcp or _NAME._udp, NAME being 1 to 15 letters, digits and single hyphens between them, with a letter")
	errLongType = errors.New("want _NAME._tcp or _NAME._udp, NAME being 1 to 62 letters, digits and single hyphens between them, with a letter")
)

// CheckType says whether a service type keeps to RFC 6763 §7 and RFC 6335 §5.1.
// Those heard from others need not.
func CheckType(service string) error {
	if !validType(service, 15) {
		return fmt.Errorf("dnssd: service type %q: %w", service, errType)
	}
	return nil
}

// CheckLongType is CheckType for a type whose name may be as long as a label, 62
// bytes after its underscore: one that was in use before RFC 6335 drew the line.
func CheckLongType(service string) error {
	if !validType(service, maxLabel-1) {
		return fmt.Errorf("dnssd: service type %q: %w", service, errLongType)
	}
	return nil
}

func validType(service string, longest int) bool {
	name, proto, _ := strings.Cut(service, ".")
	return (strings.EqualFold(proto, "_tcp") || strings.EqualFold(proto, "_udp")) && strings.HasPrefix(name, "_") && validService(name[1:], longest)
}

func validService(s string, longest int) bool {
	if len(s) < 1 || len(s) > longest || s[0] == '-' || s[len(s)-1] == '-' || strings.Contains(s, "--") {
		return false
	}
	letter := false
	for _, c := range []byte(s) {
		switch {
		case c|0x20 >= 'a' && c|0x20 <= 'z':
			letter = true
		case c >= '0' && c <= '9' || c == '-':
		default:
			return false
		}
	}
	return letter
}
