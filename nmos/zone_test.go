package nmos_test

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/mdns"
)

// zone is a source in memory: records by name and type. It answers at once,
// whole, and tells what changes.
type zone struct {
	via string
	mu  sync.Mutex
	// fails is why no question is answered.
	fails   error
	silent  string // a domain in which no question is answered, nor fails
	records map[question][]dnswire.RR
	feeds   map[*zoneFeed]struct{}
	asked   map[question]int // how often a question was asked anew
	doubts  int              // calls of Reconfirm
}

type question struct {
	name dnswire.Name
	typ  dnswire.Type
}

type zoneFeed struct {
	zone  *zone
	asked map[question]mdns.Question
	queue []mdns.Event
	ready chan struct{}
}

func newZone(via string) *zone {
	return &zone{via: via, records: map[question][]dnswire.RR{}, feeds: map[*zoneFeed]struct{}{}, asked: map[question]int{}}
}

func (z *zone) Via() string { return z.via }

// definite is a zone whose answers are whole.
type definite struct{ *zone }

func (z definite) Failure() error {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.fails
}

// Requery answers again: a zone that failed and works now tells what it has.
func (z definite) Requery(q mdns.Question) {
	z.mu.Lock()
	defer z.mu.Unlock()
	k := question{q.Name.Fold(), q.Type}
	z.asked[k]++
	for f := range z.feeds {
		if _, asked := f.asked[k]; asked {
			f.answer(k)
		}
	}
}

func (z *zone) Reconfirm(_ mdns.Zone, rr dnswire.RR) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.doubts++
	z.asked[question{rr.Name.Fold(), rr.Type}]++
}

func (z *zone) Feed(bool) dnssd.Feed {
	z.mu.Lock()
	defer z.mu.Unlock()
	f := &zoneFeed{zone: z, asked: map[question]mdns.Question{}, ready: make(chan struct{}, 1)}
	z.feeds[f] = struct{}{}
	return f
}

func (f *zoneFeed) Ask(questions ...mdns.Question) {
	f.zone.mu.Lock()
	defer f.zone.mu.Unlock()
	for _, q := range questions {
		k := question{q.Name.Fold(), q.Type}
		f.asked[k] = q
		f.zone.asked[k]++
		f.put(mdns.Event{Op: mdns.OpAsked, Question: q, Unicast: true, Time: time.Now()})
		f.answer(k)
	}
}

func (f *zoneFeed) answer(k question) {
	now := time.Now()
	if f.zone.silent != "" && strings.HasSuffix(k.name.String(), f.zone.silent) {
		return
	}
	if f.zone.fails != nil {
		f.put(mdns.Event{Op: mdns.OpFailed, Question: f.asked[k], Err: f.zone.fails, Time: now})
		return
	}
	rrs := f.zone.records[k]
	for _, rr := range rrs {
		f.put(mdns.Event{Op: mdns.OpAdd, RR: rr, Time: now, Expires: now.Add(time.Hour)})
	}
	if f.zone.via != "unicast" {
		return
	}
	var none error
	if len(rrs) == 0 {
		none = dnssd.ErrNoName
		f.put(mdns.Event{Op: mdns.OpNone, Question: f.asked[k], Err: none, Time: now, Expires: now.Add(time.Hour)})
	}
	f.put(mdns.Event{Op: mdns.OpAnswered, Question: f.asked[k], Err: none, Time: now})
}

func (f *zoneFeed) put(ev mdns.Event) {
	f.queue = append(f.queue, ev)
	select {
	case f.ready <- struct{}{}:
	default:
	}
}

func (f *zoneFeed) Forget(questions ...mdns.Question) {
	f.zone.mu.Lock()
	defer f.zone.mu.Unlock()
	for _, q := range questions {
		delete(f.asked, question{q.Name.Fold(), q.Type})
	}
}

func (f *zoneFeed) Next(ctx context.Context) ([]mdns.Event, error) {
	for {
		f.zone.mu.Lock()
		out := f.queue
		f.queue = nil
		f.zone.mu.Unlock()
		if len(out) > 0 {
			return out, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-f.ready:
		}
	}
}

func (f *zoneFeed) Close() {
	f.zone.mu.Lock()
	defer f.zone.mu.Unlock()
	delete(f.zone.feeds, f)
}

// set replaces the records of a name and type.
func (z *zone) set(name dnswire.Name, typ dnswire.Type, rrs ...dnswire.RR) {
	z.mu.Lock()
	defer z.mu.Unlock()
	k := question{name.Fold(), typ}
	old := z.records[k]
	z.records[k] = rrs
	now := time.Now()
	for f := range z.feeds {
		if _, asked := f.asked[k]; !asked {
			continue
		}
		for _, rr := range rrs {
			if !slices.Contains(old, rr) {
				f.put(mdns.Event{Op: mdns.OpAdd, RR: rr, Time: now, Expires: now.Add(time.Hour)})
			}
		}
		for _, rr := range old {
			if !slices.Contains(rrs, rr) {
				f.put(mdns.Event{Op: mdns.OpRemove, RR: rr, Time: now})
			}
		}
		if z.via == "unicast" && len(rrs) == 0 {
			f.answer(k)
		}
	}
}

// advert is an advertisement in a zone, with useful zero values.
type advert struct {
	name    string
	service string // "" for netctrl
	domain  string // "" for the zone's
	host    string // "" for name.domain
	port    uint16 // 0 for 80
	txt     []string
	more    []dnssd.Target // further SRV records
	prio    uint16
	dark    bool   // its host has no address
	wire    []byte // the TXT record's bytes, nil for txt
	moreTXT [][]string
}

// domainOf is where a zone's adverts are.
func (z *zone) domainOf() string {
	if z.via == "mdns" {
		return "local"
	}
	return "example.com"
}

func txtOf(ver, pri string) []string {
	return []string{"api_proto=http", "api_ver=" + ver, "api_auth=false", "pri=" + pri}
}

// publish adds or replaces an advertisement.
func (z *zone) publish(a advert) {
	ptr := z.publishRecords(a)
	z.change(ptr.Name, func(list []dnswire.RR) []dnswire.RR {
		if slices.Contains(list, ptr) {
			return list
		}
		return append(list, ptr)
	})
}

// publishRecords publishes what an advertisement's PTR record leads to, and
// returns that.
func (z *zone) publishRecords(a advert) dnswire.RR {
	if a.service == "" {
		a.service = "_nmos-netctrl._tcp"
	}
	if a.domain == "" {
		a.domain = z.domainOf()
	}
	if a.host == "" {
		a.host = fold(a.name) + "." + a.domain
	}
	if a.port == 0 {
		a.port = 80
	}
	full := mustName(dnssd.Instance{Name: a.name, Service: a.service, Domain: a.domain}.FullName())
	typ := mustName(dnswire.ParseName(a.service + "." + a.domain))
	var srvs []dnswire.RR
	for _, t := range append([]dnssd.Target{{Host: a.host, Port: a.port, Priority: a.prio}}, a.more...) {
		host := mustName(dnswire.ParseName(t.Host))
		srvs = append(srvs, dnswire.NewSRV(full, dnswire.SRV{Priority: t.Priority, Weight: t.Weight, Port: t.Port, Target: host}, 3600))
		var addresses []dnswire.RR
		if !a.dark {
			sum := byte(0)
			for _, c := range []byte(t.Host) {
				sum += c
			}
			addresses = append(addresses, dnswire.NewAddr(host, netip.AddrFrom4([4]byte{192, 0, 2, sum}), 3600))
		}
		z.set(host, dnswire.TypeA, addresses...)
		z.set(host, dnswire.TypeAAAA)
	}
	z.set(full, dnswire.TypeSRV, srvs...)
	var txts []dnswire.RR
	for _, text := range append([][]string{a.txt}, a.moreTXT...) {
		txt, err := dnswire.NewTXT(full, 3600, text...)
		if err != nil {
			panic(err)
		}
		if a.wire != nil {
			txt.Data = string(a.wire)
		}
		txts = append(txts, txt)
	}
	z.set(full, dnswire.TypeTXT, txts...)
	return dnswire.NewPTR(typ, full, 3600)
}

// withdraw removes an advertisement of netctrl.
func (z *zone) withdraw(name string) {
	typ := mustName(dnswire.ParseName("_nmos-netctrl._tcp." + z.domainOf()))
	full := mustName(typ.Prepend(name))
	z.change(typ, func(list []dnswire.RR) []dnswire.RR {
		return slices.DeleteFunc(list, func(rr dnswire.RR) bool { to, _ := rr.PTR(); return to.Equal(full) })
	})
}

func (z *zone) change(typ dnswire.Name, f func([]dnswire.RR) []dnswire.RR) {
	z.mu.Lock()
	list := slices.Clone(z.records[question{typ.Fold(), dnswire.TypePTR}])
	z.mu.Unlock()
	z.set(typ, dnswire.TypePTR, f(list)...)
}

func mustName(n dnswire.Name, err error) dnswire.Name {
	if err != nil {
		panic(err)
	}
	return n
}

func fold(s string) string { return strings.ToLower(strings.ReplaceAll(s, " ", "-")) }
