package source

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnssd/unicast"
	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/internal/find"
	"github.com/lanfolk/lanfolk/nmos"
)

// DefaultCheckEvery is how often a chosen API is tried, where the request doesn't
// say it.
const DefaultCheckEvery = 5 * time.Second

// NMOS chooses APIs of a studio for who asks with a find.SelectRequest. Errors
// match lanfolk.ErrInvalid where the request is wrong, and find.ErrOff where
// there is nobody to ask.
type NMOS struct {
	// Unicast returns what asks the servers, those that the machine uses if none is
	// named, and the domains that it searches. An error says why nobody is asked.
	Unicast func(servers []string) (src dnssd.Source, search []string, err error)
	// Moved returns when that would be others now, or ctx ends; nil: they stay.
	Moved func(ctx context.Context)
	// Multicast returns what to ask by mDNS, nil while there's none. It is called
	// once for each request.
	Multicast func() dnssd.Source
	// Dial opens the connections that try the chosen API.
	Dial nmos.DialFunc
	Log  *slog.Logger
}

// CheckSelect returns what is wrong with a request, nil if nothing is. The error
// matches lanfolk.ErrInvalid. What a type of API has no key for, or what the mode
// has no use for, is no mistake: so scripts needn't tell cases apart.
func CheckSelect(r find.SelectRequest) error {
	_, err := readSelect(r)
	return err
}

// readSelect returns the client that a request asks for, with nobody to ask yet.
func readSelect(r find.SelectRequest) (*nmos.Client, error) {
	fail := func(format string, args ...any) (*nmos.Client, error) {
		return nil, invalid{fmt.Errorf(format, args...)}
	}
	name := r.Kind
	if name == "" {
		name = "netctrl"
	}
	kind, ok := nmos.KindOf(name)
	if !ok {
		var names []string
		for _, k := range nmos.Kinds() {
			names = append(names, k.Name)
		}
		return fail("%q is no type of API; one of %s", name, strings.Join(names, ", "))
	}
	c := &nmos.Client{
		Kind: kind, Needs: nmos.Needs{Proto: r.Proto, Auth: r.Auth, Development: r.Development},
		Location: r.URL, Merge: r.Merge, FallBack: r.FallBack, Return: r.Return, CheckEvery: r.CheckEvery,
	}
	for _, text := range r.Versions {
		v, err := nmos.ParseVersion(text)
		if err != nil {
			return nil, invalid{err}
		}
		c.Needs.Versions = append(c.Needs.Versions, v)
	}
	if r.Proto != "" && !slices.Contains(kind.Protos, r.Proto) {
		return fail("protocol %q: want %s", r.Proto, strings.Join(kind.Protos, " or "))
	}
	switch r.Mode {
	case "", "both":
	case "unicast":
		c.Mode = nmos.UnicastOnly
	case "mdns":
		c.Mode = nmos.MulticastOnly
	default:
		return fail("mode %q: want both, unicast or mdns", r.Mode)
	}
	for _, d := range r.Domains {
		n, err := dnswire.ParseName(d)
		switch {
		case err != nil || n == dnswire.Root:
			return fail("domain %q: want one like example.com", d)
		case unicast.Multicast(n):
			return fail("domain %s: its names belong to multicast DNS (RFC 6762 §3, §4); leave it out", n)
		}
		c.Domains = append(c.Domains, n.String())
	}
	for _, s := range r.Servers {
		if _, err := unicast.ParseServer(s); err != nil {
			return nil, invalid{err}
		}
	}
	if r.URL != "" {
		if _, err := nmos.ParseLocation(kind, r.URL); err != nil {
			return nil, invalid{err}
		}
	}
	if _, err := readCA(r.CA); err != nil {
		return nil, err
	}
	if r.Seed != nil {
		c.Rand = rand.New(rand.NewPCG(*r.Seed, 0))
	}
	return c, nil
}

// missing says why a source isn't asked, by its name, where the client can't know it.
type missing map[string]string

// client returns the client that a request asks for.
func (n NMOS) client(r find.SelectRequest) (c *nmos.Client, without missing, err error) {
	if c, err = readSelect(r); err != nil {
		return nil, nil, err
	}
	c.Log = n.Log
	without = missing{}
	if c.Location != "" {
		return c, without, nil
	}
	var failure error
	if c.Mode != nmos.MulticastOnly {
		if failure = n.unicast(c, r.Servers); failure != nil {
			without["unicast"] = failure.Error()
		}
	}
	if c.Mode != nmos.UnicastOnly {
		if c.Multicast = n.Multicast(); c.Multicast == nil {
			failure = errors.Join(failure, errNoMDNS)
			without["mdns"] = "it isn't running here"
		}
	}
	if c.Unicast == nil && c.Multicast == nil {
		return nil, nil, failure
	}
	return c, without, nil
}

// unicast gives the client the servers to ask, and the domains to look in. The error
// says why there are none.
func (n NMOS) unicast(c *nmos.Client, servers []string) error {
	src, search, err := n.Unicast(servers)
	if err != nil {
		return err
	}
	if len(c.Domains) == 0 {
		c.Domains = slices.DeleteFunc(slices.Clone(search), local)
	}
	if len(c.Domains) == 0 {
		return errors.New("no domain to look in is known: resolv.conf searches none; name one")
	}
	c.Unicast = src
	return nil
}

// local says whether a domain's names are asked for by mDNS alone.
func local(domain string) bool {
	n, err := dnswire.ParseName(domain)
	return err != nil || unicast.Multicast(n)
}

// Select returns what is chosen when the first look is complete; its Selected is
// nil where nothing fits.
func (n NMOS) Select(ctx context.Context, r find.SelectRequest) (find.Selection, error) {
	c, without, err := n.client(r)
	if err != nil {
		return find.Selection{}, err
	}
	st, err := c.Once(ctx)
	if err != nil && !errors.Is(err, nmos.ErrNothing) {
		return find.Selection{}, err
	}
	return selection(&st, without), nil
}

// readCA reads certificates; no text means those of the system, nil.
func readCA(pem string) (*x509.CertPool, error) {
	if pem == "" {
		return nil, nil
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(pem)) {
		return nil, invalid{errors.New("what was given to verify APIs by holds no certificate: want PEM")}
	}
	return pool, nil
}

// selection puts a state into words that do without nmos.
func selection(st *nmos.State, without missing) find.Selection {
	out := find.Selection{
		Groups: make([][]find.Advert, len(st.Groups)), Discarded: make([]find.Reason, len(st.Discarded)), Others: []find.Reason{},
		Reason: valid(st.Reason), Steps: []string{},
	}
	chosen := ""
	if s := st.Selected; s != nil {
		a := advert(s.Advert, s.Target)
		a.URL = valid(s.URL())
		out.Selected = &a
		chosen = instanceOf(s.Advert)
	}
	for i, g := range st.Groups {
		out.Groups[i] = make([]find.Advert, len(g))
		for j, a := range g {
			out.Groups[i][j] = advert(a, a.Targets[0])
			if instanceOf(a) != chosen {
				out.Others = append(out.Others, reason(a.Found, st.Why(a)))
			}
		}
	}
	for i, d := range st.Discarded {
		out.Discarded[i] = reason(d.Found, d.Reason.Error())
	}
	for _, s := range st.Steps {
		via, said, _ := strings.Cut(s, ": ")
		if why := without[via]; why != "" && strings.HasPrefix(said, "not asked") {
			s = via + ": not asked: " + why
		}
		out.Steps = append(out.Steps, valid(s))
	}
	return out
}

// instanceOf tells the adverts of a list apart.
func instanceOf(a *nmos.Advert) string { return a.Via + " " + strings.ToLower(a.Instance.String()) }

func advert(a *nmos.Advert, t nmos.Target) find.Advert {
	out := find.Advert{
		Instance: valid(a.Name), Domain: valid(a.Domain), Via: a.Via, Host: valid(t.Host), Port: t.Port,
		Addresses: append([]netip.Addr{}, t.Addresses...), Proto: a.Proto, Versions: make([]string, len(a.Versions)),
		Auth: a.Auth, Priority: a.Priority, SRVPriority: t.Priority, SRVWeight: t.Weight, URL: valid(a.URL(t)),
	}
	for i, v := range a.Versions {
		out.Versions[i] = v.String()
	}
	return out
}

func reason(f nmos.Found, why string) find.Reason {
	return find.Reason{Instance: valid(f.Name), Reason: valid(why), Domain: valid(f.Domain), Via: f.Via}
}
