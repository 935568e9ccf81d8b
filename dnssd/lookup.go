package dnssd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/mdns"
)

// What a look-up can fail with, beside errors in the question.
var (
	// ErrTimeout: nobody answered in time.
	ErrTimeout = errors.New("nobody answered")
	// ErrNone: the name's owner says that there is no such record (RFC 6762 §6.1).
	ErrNone = errors.New("its owner says that there is none")
	// ErrNoName and ErrNoData are both ErrNone: DNS has nothing of the name
	// (NXDOMAIN), or no record of the type (NODATA, RFC 2308 §2).
	ErrNoName error = &none{"there is no such name (NXDOMAIN)"}
	ErrNoData error = &none{"the name has no such record (NODATA)"}
)

type none struct{ text string }

func (n *none) Error() string        { return n.text }
func (n *none) Is(target error) bool { return target == ErrNone }

const (
	// lookupMax bounds a look-up: three queries, and time for the answer to the last.
	lookupMax = 4 * time.Second
	// lookupQuiet is how long to wait after an answer for those of other hosts,
	// links and families.
	lookupQuiet = 150 * time.Millisecond
	// lookupAgain is how long after an answer to one question to wait for those
	// to the others: until the query was repeated. A host that has just sent a
	// record to everybody stays silent for a second (RFC 6762 §6).
	lookupAgain = 1300 * time.Millisecond
)

// Answer is one record that a look-up found.
type Answer struct {
	Addr      netip.Addr // LookupHost: the host's address, without zone
	Host      string     // the host's name, as dnswire.Name prints it
	Link      int        // index
	Interface string
	Source    netip.Addr // who said it
	TTL       uint32     // seconds
	Expires   time.Time
}

// LookupHost returns a host's addresses. By multicast a name of one label is
// taken to be in "local"; another must end in it: other names are not asked for
// (RFC 6762 §13, §21). A Definite source takes any name. The error may be
// ErrTimeout or ErrNone.
func LookupHost(ctx context.Context, src Source, host string) ([]Answer, error) {
	n, err := hostName(src, host)
	if err != nil {
		return nil, err
	}
	got, err := lookup(ctx, src, mdns.Question{Name: n, Type: dnswire.TypeA}, mdns.Question{Name: n, Type: dnswire.TypeAAAA})
	if err != nil {
		return nil, fmt.Errorf("dnssd: look up %s: %w", n, err)
	}
	return answers(got, func(rr dnswire.RR) (Answer, bool) {
		a, ok := rr.Addr()
		return Answer{Addr: a, Host: rr.Name.String()}, ok
	}), nil
}

// LookupAddr returns the names of the hosts that say they have the address,
// asking for its reverse name by multicast (RFC 6762 §4). The error may be
// ErrTimeout or ErrNone.
func LookupAddr(ctx context.Context, src Source, addr netip.Addr) ([]Answer, error) {
	n, err := ReverseName(addr)
	if err != nil {
		return nil, err
	}
	got, err := lookup(ctx, src, mdns.Question{Name: n, Type: dnswire.TypePTR})
	if err != nil {
		return nil, fmt.Errorf("dnssd: look up %s: %w", addr, err)
	}
	return answers(got, func(rr dnswire.RR) (Answer, bool) {
		host, ok := rr.PTR()
		return Answer{Addr: addr, Host: host.String()}, ok
	}), nil
}

// ReverseName returns the name whose PTR records hold the names of an address
// (RFC 1035 §3.5, RFC 3596 §2.5).
func ReverseName(addr netip.Addr) (dnswire.Name, error) {
	addr = addr.Unmap()
	if !addr.IsValid() {
		return "", errors.New("dnssd: no address")
	}
	b := addr.AsSlice()
	slices.Reverse(b)
	var s strings.Builder
	for _, c := range b {
		if addr.Is4() {
			s.WriteString(strconv.Itoa(int(c)) + ".")
		} else {
			fmt.Fprintf(&s, "%x.%x.", c&15, c>>4)
		}
	}
	if addr.Is4() {
		s.WriteString("in-addr.arpa")
	} else {
		s.WriteString("ip6.arpa")
	}
	return dnswire.ParseName(s.String())
}

// hostName reads a host name that a source can be asked for.
func hostName(src Source, host string) (dnswire.Name, error) {
	if definite(src) == nil {
		return localName(host)
	}
	n, err := dnswire.ParseName(host)
	if err != nil {
		return "", fmt.Errorf("dnssd: host: %w", err)
	}
	return n, nil
}

// localName reads a host name in the domain of multicast DNS.
func localName(host string) (dnswire.Name, error) {
	n, err := dnswire.ParseName(host)
	if err != nil {
		return "", fmt.Errorf("dnssd: host: %w", err)
	}
	local, err := dnswire.NameOf(DefaultDomain)
	if err != nil {
		return "", err
	}
	if n.NumLabels() == 1 && !n.Equal(local) {
		return dnswire.NameOf(n.Label(0), DefaultDomain)
	}
	if !n.HasSuffix(local) || n.Equal(local) {
		return "", fmt.Errorf("dnssd: %s is not in .local: multicast DNS has only names there", n)
	}
	return n, nil
}

type recordKey struct {
	zone mdns.Zone
	rr   dnswire.RR
}

// lookup asks until there are answers and no more come for a moment.
func lookup(ctx context.Context, src Source, questions ...mdns.Question) ([]mdns.Event, error) {
	feed := src.Feed(false)
	defer feed.Close()
	feed.Ask(questions...)
	found := map[recordKey]mdns.Event{}
	none := map[mdns.Zone]int{}
	whole := definite(src)
	open := map[dnswire.Type]bool{} // types that nothing is known about yet
	for _, q := range questions {
		open[q.Type] = true
	}
	end := time.Now().Add(lookupMax)
	if whole != nil {
		end = time.Now().Add(definiteMax)
	}
	failed := false
	var first, last time.Time // news
	for {
		if whole != nil && len(open) == 0 {
			if failed && len(found)+len(none) == 0 {
				return nil, failure(whole)
			}
			return sorted(found), lookupError(len(found), len(none))
		}
		until := end
		if !first.IsZero() && len(open) == 0 {
			until = earlier(end, last.Add(lookupQuiet))
		} else if !first.IsZero() {
			until = earlier(end, first.Add(lookupAgain))
		}
		wait, cancel := context.WithDeadline(ctx, until)
		events, err := feed.Next(wait)
		cancel()
		switch {
		case ctx.Err() != nil && len(found) == 0:
			return nil, noAnswer(ctx, whole)
		case err == nil:
		case ctx.Err() != nil, errors.Is(err, context.DeadlineExceeded):
			return sorted(found), lookupError(len(found), len(none))
		default:
			return nil, err
		}
		for _, ev := range events {
			k := recordKey{ev.Zone, ev.RR.Fold()}
			k.rr.TTL, k.rr.Flush = 0, false
			switch ev.Op {
			case mdns.OpAdd:
				found[k] = ev
				delete(open, ev.RR.Type)
			case mdns.OpNone:
				// Another host, on another link, may still know better.
				none[ev.Zone]++
				delete(open, ev.Question.Type)
			case mdns.OpFailed:
				failed = true
				delete(open, ev.Question.Type)
			case mdns.OpRemove:
				delete(found, k)
				continue
			case mdns.OpReset:
				clear(found)
				continue
			default:
				continue
			}
			last = time.Now()
			if first.IsZero() {
				first = last
			}
		}
	}
}

// failure says why a definite source has no answer: an ErrTimeout, unless a
// server has refused.
func failure(d Definite) error {
	if err := d.Failure(); err != nil {
		return err
	}
	return ErrTimeout
}

// noAnswer is the error for the end of ctx.
func noAnswer(ctx context.Context, d Definite) error {
	if d != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return failure(d)
	}
	return ctxError(ctx)
}

func lookupError(found, none int) error {
	switch {
	case found > 0:
		return nil
	case none > 0:
		return ErrNone
	}
	return ErrTimeout
}

// ctxError returns ErrTimeout where ctx had a deadline, for the caller means
// the same by it.
func ctxError(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return ErrTimeout
	}
	return ctx.Err()
}

func sorted(found map[recordKey]mdns.Event) []mdns.Event {
	out := make([]mdns.Event, 0, len(found))
	for _, ev := range found {
		out = append(out, ev)
	}
	slices.SortFunc(out, func(a, b mdns.Event) int {
		return cmp.Or(cmp.Compare(a.Zone.Link, b.Zone.Link), cmp.Compare(a.RR.Type, b.RR.Type), cmp.Compare(a.RR.Data, b.RR.Data),
			cmp.Compare(a.Zone.Family, b.Zone.Family))
	})
	return out
}

// answers turns records into answers. One that came by IPv4 and by IPv6 on a
// link is one answer.
func answers(got []mdns.Event, of func(dnswire.RR) (Answer, bool)) []Answer {
	var out []Answer
	for _, ev := range got {
		a, ok := of(ev.RR)
		if !ok {
			continue
		}
		a.Link, a.Interface, a.Source, a.TTL, a.Expires = ev.Zone.Link, ev.Zone.Interface, ev.Source, ev.RR.TTL, ev.Expires
		if !slices.ContainsFunc(out, func(b Answer) bool { return b.Link == a.Link && b.Addr == a.Addr && b.Host == a.Host }) {
			out = append(out, a)
		}
	}
	return out
}

// Resolve returns what an instance's SRV, TXT and address records say, on each
// link where somebody says it. A service without an address has Resolved
// false. The error may be ErrTimeout or ErrNone.
func Resolve(ctx context.Context, src Source, in Instance) ([]Service, error) {
	return resolve(ctx, src, in, nil)
}

// resolve asks for an instance. What is cached is believed unless there is a recheck.
func resolve(ctx context.Context, src Source, in Instance, again *recheck) ([]Service, error) {
	if in.Name == "" {
		return nil, errors.New("dnssd: resolve: no instance name")
	}
	if in.Domain == "" {
		in.Domain = DefaultDomain
	}
	name, err := in.FullName()
	if err != nil {
		return nil, err
	}
	feed := src.Feed(again != nil)
	defer feed.Close()
	c := newCatalog(src.Via(), in.Domain)
	whole := definite(src)
	c.resolve, c.target, c.definite = true, name.Fold(), whole != nil
	c.askFor(name, dnswire.TypeSRV)
	c.askFor(name, dnswire.TypeTXT)
	s := &search{catalog: c, feed: feed}
	denied, failed := 0, false
	end := time.Now().Add(lookupMax)
	if whole != nil {
		end = time.Now().Add(definiteMax)
	}
	if again != nil {
		if whole != nil {
			again.begin(in) // before it tells what is cached
		}
		s.exchange()
		again.begin(in)
		end = time.Now().Add(recheckMax)
	}
	for {
		wake := s.waited(time.Now())
		s.exchange()
		if whole != nil && (denied > 0 || !again.waits()) {
			if again != nil && denied > 0 {
				c.forgetLost()
			}
			switch out := s.told(); {
			case len(out) > 0:
				return out, nil
			case denied > 0 && len(c.services) == 0:
				return nil, fmt.Errorf("dnssd: resolve %s: %w", in, ErrNone)
			case failed && len(c.services) == 0:
				return nil, fmt.Errorf("dnssd: resolve %s: %w", in, failure(whole))
			}
		}
		until := end
		if again.waits() {
			until = end
		} else if len(s.told()) > 0 {
			until = earlier(end, c.news.Add(lookupQuiet))
		} else if denied > 0 && len(c.services) == 0 {
			until = earlier(end, c.news.Add(answerTime))
		}
		waiting := !wake.IsZero() && wake.Before(until)
		if waiting {
			until = wake
		}
		wait, cancel := context.WithDeadline(ctx, until)
		events, err := feed.Next(wait)
		cancel()
		if waiting && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
			continue
		}
		if err != nil && ctx.Err() == nil && !errors.Is(err, context.DeadlineExceeded) {
			return nil, err
		}
		if err != nil {
			c.tellPartial(time.Now(), 0)
			if again != nil {
				c.forgetLost()
			}
			if out := s.told(); len(out) > 0 {
				return out, nil
			}
			err := lookupError(0, denied)
			if ctx.Err() != nil {
				err = noAnswer(ctx, whole)
			}
			return nil, fmt.Errorf("dnssd: resolve %s: %w", in, err)
		}
		for i := range events {
			if ev := &events[i]; ev.Op == mdns.OpNone && ev.Question.Type == dnswire.TypeSRV {
				denied++
				c.news = ev.Time
			} else if ev.Op == mdns.OpFailed && ev.Question.Type == dnswire.TypeSRV {
				failed = true
			}
			again.hear(&events[i])
			s.hear(&events[i])
		}
		s.settleDirty(time.Now())
	}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// told returns the pictures of the services that were told, by link.
func (c *catalog) told() []Service {
	var out []Service
	for _, s := range c.services {
		if s.told {
			out = append(out, s.last)
		}
	}
	slices.SortFunc(out, func(a, b Service) int { return cmp.Compare(a.Link, b.Link) })
	return out
}
