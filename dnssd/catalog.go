package dnssd

import (
	"net/netip"
	"slices"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/mdns"
)

// Bounds of what is followed on one link.
const (
	MaxServices = 16384
	MaxTypes    = 1024
	maxFacts    = 128 // records of one name and type
)

// laterTries is how often the addresses of the other family are asked for,
// when one is known: many hosts have just one and don't say so.
const laterTries = 3

// catalog puts services together from records. It is told what happens and
// leaves questions to ask in ask and forget, events in out.
type catalog struct {
	via       string
	resolve   bool
	refreshes bool
	definite  bool // an answer is whole
	// browse holds the questions for instances: by the folded owner name of
	// the PTR records, what these say.
	browse map[dnswire.Name]browsed
	meta   dnswire.Name // folded; set while types are listed
	domain string
	follow bool // browse each type that meta finds
	scope  mdns.Question
	// target is an instance, folded, that is followed on each link where
	// somebody has its records, though no PTR record led to it.
	target dnswire.Name

	links    map[int]*links
	services map[serviceKey]*service
	nodes    map[serviceKey]*node
	pending  map[*service]struct{} // not told yet
	// partialAt is when the first of them may have waited long enough.
	partialAt time.Time
	moving    map[*service]struct{} // whose new host has no address yet
	// replacing holds services of whose records one may replace another, and until when.
	replacing map[*service]time.Time
	dirty     []*service
	overflow  func() // called for each instance and type over the bounds

	ask, forget []mdns.Question
	out         []Event
	news        time.Time // when something last changed
}

type browsed struct {
	service, subtype string
}

type serviceKey struct {
	link int
	name dnswire.Name // folded
}

// links counts what is followed on one link.
type links struct{ services, types int }

// presence says in which families a record is there, and until when.
type presence struct {
	expires [2]int64 // IPv4, IPv6, in nanoseconds of Unix time; 0 when it isn't there
}

func side(f mdns.Family) int {
	if f == mdns.IPv6 {
		return 1
	}
	return 0
}

func (p *presence) live() bool { return p.expires != [2]int64{} }

// until returns the later of the two times.
func (p *presence) until() time.Time {
	return time.Unix(0, max(p.expires[0], p.expires[1]))
}

// fact is a record that is there on a link.
type fact struct {
	presence
	rr    dnswire.RR
	since int64 // when it was heard first, as presence has it
}

// cameWith says whether the two were heard in one packet. When they were told
// says nothing of that: an address is told when it is asked for.
func (f *fact) cameWith(o *fact) bool {
	for i := range f.expires {
		if f.expires[i] != 0 && o.expires[i] != 0 && f.heard(i) == o.heard(i) {
			return true
		}
	}
	return false
}

// heard returns when the record was heard, as presence has it.
func (f *fact) heard(side int) int64 {
	return f.expires[side] - int64(f.rr.TTL)*int64(time.Second)
}

// node holds the facts about a name that instances depend on.
type node struct {
	key   serviceKey
	name  dnswire.Name
	facts []typed
	none  []dnswire.Type // of which the owner says that there is no record, or nobody says anything
	users users
	asked []asked
}

// typed holds the facts of one type.
type typed struct {
	typ   dnswire.Type
	facts []*fact
}

// asked is a question for the node's name.
type asked struct {
	link   int
	tries  int
	typ    dnswire.Type
	family mdns.Family
}

func (a asked) question(n *node) mdns.Question {
	return mdns.Question{Name: n.name, Type: a.typ, Link: a.link, Family: a.family, FollowUp: true}
}

// users are the services that depend on a node: mostly one.
type users struct {
	one  *service
	more map[*service]struct{}
}

func (u *users) add(s *service) {
	switch {
	case u.one == s:
	case u.one == nil && len(u.more) == 0:
		u.one = s
	default:
		if u.more == nil {
			u.more = map[*service]struct{}{}
		}
		u.more[s] = struct{}{}
	}
}

// remove returns whether none are left.
func (u *users) remove(s *service) bool {
	if u.one == s {
		u.one = nil
	}
	delete(u.more, s)
	return u.one == nil && len(u.more) == 0
}

func (u *users) each(f func(*service)) {
	if u.one != nil {
		f(u.one)
	}
	for s := range u.more {
		f(s)
	}
}

// of returns the facts of a type, in the order in which they came.
func (n *node) of(t dnswire.Type) []*fact {
	for i := range n.facts {
		if n.facts[i].typ == t {
			return n.facts[i].facts
		}
	}
	return nil
}

func (n *node) set(t dnswire.Type, facts []*fact) {
	for i := range n.facts {
		if n.facts[i].typ == t {
			n.facts[i].facts = facts
			return
		}
	}
	n.facts = append(n.facts, typed{t, facts})
}

func (n *node) deny(t dnswire.Type) {
	if !n.denied(t) {
		n.none = append(n.none, t)
	}
}

func (n *node) denied(t dnswire.Type) bool { return slices.Contains(n.none, t) }

// service is an instance on a link, or a type.
type service struct {
	key      serviceKey
	name     dnswire.Name
	isType   bool
	pointers []*pointer
	found    time.Time
	self     *node     // its SRV and TXT
	host     *node     // its addresses
	others   []*node   // the addresses of its other targets
	moved    time.Time // since when it waits for the addresses of a new host
	checked  int       // how many of the waits are over
	told     bool
	last     Service
	isDirty  bool
}

// pointer is a PTR record that leads to a service.
type pointer struct {
	presence
	owner   dnswire.Name // folded
	subtype string
	ttl     uint32
	source  netip.Addr
	zone    mdns.Zone
}

func newCatalog(via, domain string) *catalog {
	return &catalog{
		via: via, domain: domain, overflow: func() {}, browse: map[dnswire.Name]browsed{}, links: map[int]*links{},
		services: map[serviceKey]*service{}, nodes: map[serviceKey]*node{}, pending: map[*service]struct{}{},
		moving: map[*service]struct{}{}, replacing: map[*service]time.Time{},
	}
}

// addBrowse begins to look for instances of a type, or of a subtype of it.
func (c *catalog) addBrowse(service, subtype string) error {
	t, err := browseName(service, subtype, c.domain)
	if err != nil {
		return err
	}
	if _, dup := c.browse[t.Fold()]; !dup {
		c.browse[t.Fold()] = browsed{service, subtype}
		c.askFor(t, dnswire.TypePTR)
	}
	return nil
}

// addMeta begins to list the types that are there (RFC 6763 §9).
func (c *catalog) addMeta() error {
	n, err := browseName("", "", c.domain)
	if err != nil {
		return err
	}
	c.meta = n.Fold()
	c.askFor(n, dnswire.TypePTR)
	return nil
}

func (c *catalog) askFor(n dnswire.Name, t dnswire.Type) {
	q := c.scope
	q.Name, q.Type = n, t
	c.ask = append(c.ask, q)
}

// browsing says whether the question is one for instances or types.
func (c *catalog) browsing(q mdns.Question) bool {
	if q.Type != dnswire.TypePTR {
		return false
	}
	n := q.Name.Fold()
	_, ok := c.browse[n]
	return ok || n == c.meta
}

// reset forgets all records, since events were lost; what is there will be told
// again. Services that aren't told again in time are gone.
func (c *catalog) reset() {
	for _, s := range c.services {
		for _, p := range s.pointers {
			p.expires = [2]int64{}
		}
	}
	for _, n := range c.nodes {
		n.facts, n.none = nil, nil
	}
}

// sweep is called some time after a reset: services that are still without a
// pointer are gone.
func (c *catalog) sweep(now time.Time) {
	for _, s := range c.services {
		c.mark(s)
	}
	c.settleDirty(now)
}

// apply takes one event in. settleDirty follows after a batch of them.
func (c *catalog) apply(ev *mdns.Event) {
	switch ev.Op {
	case mdns.OpAdd, mdns.OpUpdate, mdns.OpRemove:
	case mdns.OpNone, mdns.OpFailed: // nobody waits for what a server refuses to say
		if n := c.nodes[serviceKey{ev.Zone.Link, ev.Question.Name.Fold()}]; n != nil {
			n.deny(ev.Question.Type)
			n.touch(c)
		}
		return
	default:
		return
	}
	if ev.RR.Type == dnswire.TypePTR {
		c.applyPointer(ev)
		return
	}
	key := serviceKey{ev.Zone.Link, ev.RR.Name.Fold()}
	n := c.nodes[key]
	if n == nil && key.name == c.target && ev.Op == mdns.OpAdd {
		n = c.followTarget(ev, key)
	}
	if n != nil && n.apply(ev) {
		c.news = ev.Time
		n.touch(c)
	}
}

// followTarget begins to follow the target on a link. A pointer that stands for the
// question keeps it.
func (c *catalog) followTarget(ev *mdns.Event, key serviceKey) *node {
	s := c.newService(ev, key, ev.RR.Name, false)
	if s == nil {
		return nil
	}
	p := &pointer{ttl: ev.RR.TTL, source: ev.Source, zone: ev.Zone}
	p.expires = [2]int64{ev.Expires.UnixNano(), ev.Expires.UnixNano()}
	s.pointers = append(s.pointers, p)
	c.askSelf(s, ev.Zone)
	return s.self
}

func (n *node) touch(c *catalog) {
	n.users.each(c.mark)
}

func (c *catalog) mark(s *service) {
	if !s.isDirty {
		s.isDirty = true
		c.dirty = append(c.dirty, s)
	}
}

// apply returns whether the event told something.
func (n *node) apply(ev *mdns.Event) bool {
	t := ev.RR.Type
	facts := n.of(t)
	i := slices.IndexFunc(facts, func(f *fact) bool { return f.rr.SameData(ev.RR) })
	if ev.Op == mdns.OpRemove {
		if i < 0 {
			return false
		}
		facts[i].expires[side(ev.Zone.Family)] = 0
		if !facts[i].live() {
			n.set(t, slices.Delete(facts, i, i+1))
		}
		return true
	}
	n.none = slices.DeleteFunc(n.none, func(x dnswire.Type) bool { return x == t })
	if i < 0 {
		if len(facts) >= maxFacts {
			return false
		}
		i = len(facts)
		facts = append(facts, &fact{rr: ev.RR, since: ev.Time.UnixNano()})
		n.set(t, facts)
	}
	facts[i].expires[side(ev.Zone.Family)] = ev.Expires.UnixNano()
	return true
}

// applyPointer takes in a PTR record: an instance of a type, or a type.
func (c *catalog) applyPointer(ev *mdns.Event) {
	owner := ev.RR.Name.Fold()
	b, ok := c.browse[owner]
	isType := owner == c.meta && c.meta != ""
	target, isPTR := ev.RR.PTR()
	if !isPTR || !ok && !isType {
		return
	}
	key := serviceKey{ev.Zone.Link, target.Fold()}
	s := c.services[key]
	if s == nil {
		if ev.Op == mdns.OpRemove {
			return
		}
		if s = c.newService(ev, key, target, isType); s == nil {
			return
		}
	}
	i := slices.IndexFunc(s.pointers, func(p *pointer) bool { return p.owner == owner })
	if i < 0 {
		if ev.Op == mdns.OpRemove {
			return
		}
		s.pointers = append(s.pointers, &pointer{owner: owner, subtype: b.subtype})
		i = len(s.pointers) - 1
	}
	p := s.pointers[i]
	if ev.Op == mdns.OpRemove {
		p.expires[side(ev.Zone.Family)] = 0
	} else {
		fresh := p.expires[side(ev.Zone.Family)] == 0
		p.expires[side(ev.Zone.Family)] = ev.Expires.UnixNano()
		p.ttl, p.source, p.zone = ev.RR.TTL, ev.Source, ev.Zone
		if fresh && c.resolve && !s.isType {
			c.askSelf(s, ev.Zone)
		}
	}
	c.news = ev.Time
	c.mark(s)
}

// newService begins to follow what a PTR record points to; nil if that is no
// service or there is no room for it.
func (c *catalog) newService(ev *mdns.Event, key serviceKey, target dnswire.Name, isType bool) *service {
	l := c.links[key.link]
	if l == nil {
		l = &links{}
		c.links[key.link] = l
	}
	s := &service{key: key, name: target, isType: isType, found: ev.Time}
	s.last = Service{Link: ev.Zone.Link, Interface: ev.Zone.Interface, Via: c.via}
	if isType {
		t, domain, ok := splitType(target)
		if !ok {
			return nil
		}
		if l.types >= MaxTypes {
			c.overflow()
			return nil
		}
		s.last.Instance = Instance{Service: t, Domain: domain}
		l.types++
		if c.follow && equalFold(domain, c.domain) {
			c.addBrowse(t, "") //nolint:errcheck // splitType vouches for it
		}
	} else {
		in, ok := instanceOf(target)
		if !ok {
			return nil
		}
		if l.services >= MaxServices {
			c.overflow()
			return nil
		}
		s.last.Instance = in
		l.services++
	}
	c.services[key] = s
	c.pending[s] = struct{}{}
	return s
}

// askSelf asks for the SRV and TXT records of a service in the zone where it
// was found. What came along is in the cache and costs no query (RFC 6763 §12).
func (c *catalog) askSelf(s *service, z mdns.Zone) {
	if s.self == nil {
		s.self = c.use(s, s.key.link, s.name)
	}
	c.askNode(s.self, z, dnswire.TypeSRV, 0)
	c.askNode(s.self, z, dnswire.TypeTXT, 0)
}

// use returns the node of a name and notes that the service depends on it.
func (c *catalog) use(s *service, link int, name dnswire.Name) *node {
	key := serviceKey{link, name.Fold()}
	n := c.nodes[key]
	if n == nil {
		n = &node{key: key, name: name}
		c.nodes[key] = n
	}
	n.users.add(s)
	return n
}

// release notes that the service depends on the node no more.
func (c *catalog) release(s *service, n *node) {
	if n == nil {
		return
	}
	if !n.users.remove(s) {
		return
	}
	for _, a := range n.asked {
		c.forget = append(c.forget, a.question(n))
	}
	delete(c.nodes, n.key)
}

func (c *catalog) askNode(n *node, z mdns.Zone, t dnswire.Type, tries int) {
	is := func(a asked) bool { return a.typ == t && a.link == z.Link && a.family == z.Family }
	i := slices.IndexFunc(n.asked, is)
	switch {
	case i < 0:
		i = len(n.asked)
		n.asked = append(n.asked, asked{z.Link, tries, t, z.Family})
	case n.asked[i].tries == tries:
		return
	}
	n.asked[i].tries = tries
	q := n.asked[i].question(n)
	q.Tries = tries
	c.ask = append(c.ask, q)
}

// askHost asks for the addresses of a service's host in the zones where the
// service is. While none is known both families are asked for until one is;
// then the other a few times more.
func (c *catalog) askHost(s *service, host *node) {
	known := len(host.of(dnswire.TypeA))+len(host.of(dnswire.TypeAAAA)) > 0
	for _, z := range s.zones() {
		for _, t := range [...]dnswire.Type{dnswire.TypeA, dnswire.TypeAAAA} {
			tries := 0
			if known && len(host.of(t)) == 0 {
				tries = laterTries
			}
			c.askNode(host, z, t, tries)
		}
	}
}

// zones returns where the service's pointers are.
func (s *service) zones() []mdns.Zone {
	var out []mdns.Zone
	for i, f := range [...]mdns.Family{mdns.IPv4, mdns.IPv6} {
		for _, p := range s.pointers {
			if p.expires[i] != 0 {
				out = append(out, mdns.Zone{Link: p.zone.Link, Interface: p.zone.Interface, Family: f})
				break
			}
		}
	}
	return out
}
