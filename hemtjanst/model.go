package hemtjanst

import (
	"strings"
	"time"
)

// Defaults of a [Model].
const (
	DefaultMaxDevices   = 500_000
	DefaultMaxProviders = 100_000
	DefaultMaxOrphans   = 100_000
	DefaultMaxBytes     = 256 << 20
)

// Model is what a broker's retained messages say about devices and providers. It is told the
// time and the messages and tells what changed. A plain structure: it isn't safe for concurrent use.
//
// While a snapshot is taken, from Begin to Complete, changes aren't told; Complete tells in what the
// snapshot differs from what was told before.
//
// All of it is bounded. What there is no room for is left out and counted; what is
// known stays. A device takes less than 300 bytes beside its metadata.
type Model struct {
	Topics
	// Bounds; 0 means the default. MaxOrphans is for reachable topics of roots that no device has,
	// and MaxBytes for all metadata, ids and roots together.
	MaxDevices, MaxProviders, MaxOrphans, MaxBytes int

	devices   map[string]*device
	roots     map[string]*root
	providers map[string]*provider
	orphans   int // roots without a device
	bytes     int
	snapshot  uint32 // the number of the one that is told now: what has another one wasn't seen in it
	base      uint32 // its number when Begin was called
	fresh     uint64 // how many topics it told for the first time since Begin
	complete  bool
	confirmed bool // nothing was lacking when it was completed
	// lean leaves states out of events, and at the end of a snapshot devices with which nothing is wrong.
	lean  bool
	stats ModelStats
	// fullBefore is stats.Full when the snapshot began.
	fullBefore uint64
}

// ModelStats counts what a [Model] was told.
type ModelStats struct {
	Messages   uint64 // all
	Others     uint64 // on topics that aren't the protocol's
	Unusable   uint64 // on topics with ids or roots that can't be used
	Malformed  uint64 // with metadata that is no JSON object
	TooLarge   uint64 // with metadata larger than MaxMetadata
	Full       uint64 // left out because there was no room
	Devices    int    // how many there are now
	Providers  int    // that are there or that devices name
	Orphans    int    // roots without a device, with a reachable topic
	Bytes      int    // of metadata, ids and roots
	Unfinished bool   // a snapshot is being taken, or the broker can't be heard
}

// device is one with metadata on the broker.
type device struct {
	id       string
	meta     Metadata
	root     *root
	provider *provider
	// Other devices with the same root, and with the same provider.
	nextAtRoot, prevAtRoot *device
	next, prev             *device
	snapshot               uint32
	problem                Problem
	told                   uint8 // 0 is not yet, else 1 + the State
	changed                bool  // what isn't a state has changed since then
}

// root is one that has a reachable topic or that devices have.
type root struct {
	name     string
	first    *device
	snapshot uint32
	there    bool // its topic is
	said     State
}

type provider struct {
	id            string
	payload       string
	first         *device
	count         int
	since         time.Time
	snapshot      uint32
	present       bool
	told, changed bool
}

// Begin says that all that is retained is about to be told.
func (m *Model) Begin() {
	m.look()
	m.base = m.snapshot
	m.fullBefore = m.stats.Full
	m.complete = false
}

// look says that all that is retained is about to be told once more, because some of it may have been
// left out.
func (m *Model) look() {
	m.snapshot++
	m.fresh = 0
}

// Lost says that nothing will be told until the next Begin.
func (m *Model) Lost() { m.complete = false }

// IsComplete says whether all that is retained was told and none of it has been missed since.
func (m *Model) IsComplete() bool { return m.complete }

// Stats returns what was counted.
func (m *Model) Stats() ModelStats {
	s := m.stats
	s.Devices, s.Providers, s.Orphans, s.Bytes, s.Unfinished = len(m.devices), len(m.providers), m.orphans, m.bytes, !m.complete
	return s
}

// Observe takes in a message. What changed is appended to events.
func (m *Model) Observe(now time.Time, msg Message, events []Event) []Event {
	m.stats.Messages++
	kind, name := m.Parse(msg.Topic)
	switch kind {
	case DeviceTopic:
		return m.device(name, msg.Payload, events)
	case ProviderTopic:
		return m.provider(now, name, msg.Payload, events)
	case ReachableTopic:
		return m.reachable(name, msg.Payload, events)
	case UnusableTopic:
		m.stats.Unusable++
	case OtherTopic:
		m.stats.Others++
	}
	return events
}

// Complete says that all that is retained was told since Begin. What wasn't is gone; unless the
// snapshot isn't confirmed, and something may be lacking: then it stays. The last event is Complete itself. It
// may be called again when more was told.
func (m *Model) Complete(now time.Time, confirmed bool, events []Event) []Event {
	if confirmed {
		events = m.sweep(now, events)
	}
	m.complete, m.confirmed = true, confirmed
	if cap(events) == 0 && !m.lean {
		events = make([]Event, 0, len(m.devices)+len(m.providers)+1)
	}
	for _, p := range m.providers {
		events = m.tellProvider(p, events)
	}
	for _, d := range m.devices {
		if m.lean && m.view(d).Problem == 0 {
			d.told, d.changed = 1, false
			continue
		}
		events = m.tell(d, events)
	}
	return append(events, Event{Kind: Complete, Unconfirmed: !confirmed || m.stats.Full != m.fullBefore})
}

// sweep takes out what wasn't told since Begin.
func (m *Model) sweep(now time.Time, events []Event) []Event {
	m.complete = false // what goes is told at once, the rest later
	for _, p := range m.providers {
		if p.present && p.snapshot < m.base {
			events = m.absent(now, p, events)
		}
	}
	for _, r := range m.roots {
		if r.there && r.snapshot < m.base {
			m.clear(r)
		}
	}
	for _, d := range m.devices {
		if d.snapshot < m.base {
			events = m.remove(d, events)
		}
	}
	return events
}

// mark notes that something was told in this snapshot.
func (m *Model) mark(snapshot *uint32) {
	if *snapshot < m.base {
		m.fresh++
	}
	*snapshot = m.snapshot
}

// doubtful says whether something wasn't told since Begin that should be retained: what was there
// before it, a device's reachable topic, a reachable topic's device, or a provider that devices name. It
// may really not be there.
func (m *Model) doubtful() bool {
	if m.orphans > 0 {
		return true
	}
	for _, p := range m.providers {
		if !p.present || p.snapshot < m.base {
			return true
		}
	}
	for _, d := range m.devices {
		if d.snapshot < m.base || d.root != nil && (!d.root.there || d.root.snapshot < m.base) {
			return true
		}
	}
	return false
}

// settled says whether this snapshot told all that those before it told since Begin, and nothing else.
func (m *Model) settled() bool {
	lacks := func(snapshot uint32) bool { return snapshot >= m.base && snapshot != m.snapshot }
	if m.fresh > 0 {
		return false
	}
	for _, p := range m.providers {
		if p.present && lacks(p.snapshot) {
			return false
		}
	}
	for _, r := range m.roots {
		if r.there && lacks(r.snapshot) {
			return false
		}
	}
	for _, d := range m.devices {
		if lacks(d.snapshot) {
			return false
		}
	}
	return true
}

// device takes in metadata.
func (m *Model) device(id string, payload []byte, events []Event) []Event {
	d := m.devices[id]
	if len(payload) == 0 {
		if d != nil {
			events = m.remove(d, events)
		}
		return events
	}
	if d != nil && d.problem&(Malformed|TooLarge) == 0 && d.meta.raw == string(payload) {
		m.mark(&d.snapshot)
		return events
	}
	meta, problem := m.read(payload)
	if d != nil && problem != 0 && d.problem == problem {
		m.mark(&d.snapshot) // as bad as before
		return events
	}
	grows := func() int {
		if d != nil {
			return len(meta.raw) - len(d.meta.raw)
		}
		return len(meta.raw) + len(id)
	}
	if full := m.bytes+grows() > orDefault(m.MaxBytes, DefaultMaxBytes); full || d == nil && len(m.devices) >= orDefault(m.MaxDevices, DefaultMaxDevices) {
		m.stats.Full++
		if d == nil {
			return events
		}
		if d.problem == TooLarge {
			m.mark(&d.snapshot)
			return events
		}
		// What it said before isn't so any more: its provider may be another one.
		meta, problem = Metadata{}, TooLarge
	}
	m.bytes += grows()
	isNew := d == nil
	if isNew {
		d = &device{id: strings.Clone(id)}
		if m.devices == nil {
			m.devices = map[string]*device{}
		}
		m.devices[d.id] = d
	}
	m.mark(&d.snapshot)
	d.meta, d.problem, d.changed = meta, problem, true
	m.attach(d)
	events = m.tell(d, events)
	if isNew {
		events = m.collided(d.id, events)
	}
	return events
}

// read parses metadata and says what is wrong with it.
func (m *Model) read(payload []byte) (Metadata, Problem) {
	if len(payload) > MaxMetadata {
		m.stats.TooLarge++
		return Metadata{}, TooLarge
	}
	meta, err := ParseMetadata(payload)
	if err != nil {
		m.stats.Malformed++
		return Metadata{}, Malformed
	}
	return meta, 0
}

// attach joins a device with the root and the provider that its metadata name.
func (m *Model) attach(d *device) {
	var rootName, providerID string
	if d.problem == 0 {
		var hasRoot, hasProvider, rootOK, providerOK bool
		walk(d.meta.raw, func(at member) {
			switch at.name {
			case "root":
				hasRoot = true
				rootName, rootOK = unquote(d.meta.raw[at.value:at.end])
			case "providerID":
				hasProvider = true
				providerID, providerOK = unquote(d.meta.raw[at.value:at.end])
			}
		})
		switch {
		case !hasRoot || !rootOK || rootName == "":
			rootName = ""
			d.problem |= NoRoot
		case unusable(rootName) != "":
			rootName = ""
			d.problem |= UnusableRoot
		}
		if hasProvider && (!providerOK || providerID != "" && unusable(providerID) != "") {
			providerID = ""
			d.problem |= BadProvider
		}
	}
	if d.root == nil || d.root.name != rootName {
		m.leaveRoot(d)
		if rootName != "" {
			m.joinRoot(d, rootName)
		}
	}
	if d.provider == nil || d.provider.id != providerID {
		m.leaveProvider(d)
		if providerID != "" {
			m.joinProvider(d, providerID)
		}
	}
}

func (m *Model) joinRoot(d *device, name string) {
	r := m.roots[name]
	if r == nil {
		r = m.newRoot(name)
	} else if r.first == nil {
		m.orphans--
	}
	d.root, d.nextAtRoot, d.prevAtRoot = r, r.first, nil
	if r.first != nil {
		r.first.prevAtRoot = d
	}
	r.first = d
}

func (m *Model) leaveRoot(d *device) {
	r := d.root
	if r == nil {
		return
	}
	if d.prevAtRoot != nil {
		d.prevAtRoot.nextAtRoot = d.nextAtRoot
	} else {
		r.first = d.nextAtRoot
	}
	if d.nextAtRoot != nil {
		d.nextAtRoot.prevAtRoot = d.prevAtRoot
	}
	d.root, d.nextAtRoot, d.prevAtRoot = nil, nil, nil
	if r.first == nil {
		if r.there && m.orphans < orDefault(m.MaxOrphans, DefaultMaxOrphans) {
			m.orphans++
		} else {
			m.dropRoot(r)
		}
	}
}

func (m *Model) newRoot(name string) *root {
	r := &root{name: strings.Clone(name)}
	if m.roots == nil {
		m.roots = map[string]*root{}
	}
	m.roots[r.name] = r
	m.bytes += len(name)
	return r
}

func (m *Model) dropRoot(r *root) {
	delete(m.roots, r.name)
	m.bytes -= len(r.name)
}

func (m *Model) joinProvider(d *device, id string) {
	p := m.providers[id]
	if p == nil {
		p = m.newProvider(id)
	}
	d.provider, d.next, d.prev = p, p.first, nil
	if p.first != nil {
		p.first.prev = d
	}
	p.first = d
	p.count++
}

func (m *Model) leaveProvider(d *device) {
	p := d.provider
	if p == nil {
		return
	}
	if d.prev != nil {
		d.prev.next = d.next
	} else {
		p.first = d.next
	}
	if d.next != nil {
		d.next.prev = d.prev
	}
	d.provider, d.next, d.prev = nil, nil, nil
	if p.count--; p.count == 0 && !p.present {
		m.dropProvider(p)
	}
}

func (m *Model) newProvider(id string) *provider {
	p := &provider{id: strings.Clone(id)}
	if m.providers == nil {
		m.providers = map[string]*provider{}
	}
	m.providers[p.id] = p
	m.bytes += len(id)
	return p
}

func (m *Model) dropProvider(p *provider) {
	delete(m.providers, p.id)
	m.bytes -= len(p.id) + len(p.payload)
}

// remove takes a device out.
func (m *Model) remove(d *device, events []Event) []Event {
	if d.told != 0 {
		events = append(events, Event{Kind: DeviceRemoved, Device: m.view(d)})
	}
	delete(m.devices, d.id)
	m.bytes -= len(d.id) + len(d.meta.raw)
	m.leaveRoot(d)
	m.leaveProvider(d)
	return m.collided(d.id, events)
}

// collided tells anew of devices whose provider has the id of a device that came or went.
func (m *Model) collided(id string, events []Event) []Event {
	if p := m.providers[id]; p != nil {
		return m.tellAll(p, events)
	}
	return events
}

// provider takes in a provider's metadata.
func (m *Model) provider(now time.Time, id string, payload []byte, events []Event) []Event {
	p := m.providers[id]
	if len(payload) == 0 {
		if p != nil && p.present {
			events = m.absent(now, p, events)
		}
		return events
	}
	text := ""
	if len(payload) <= MaxMetadata {
		text = string(payload)
	} else {
		m.stats.TooLarge++
	}
	if p == nil {
		if len(m.providers) >= orDefault(m.MaxProviders, DefaultMaxProviders) {
			m.stats.Full++
			return events
		}
		p = m.newProvider(id)
	}
	if m.bytes+len(text)-len(p.payload) > orDefault(m.MaxBytes, DefaultMaxBytes) {
		m.stats.Full++
		text = "" // that it is there matters more
	}
	m.mark(&p.snapshot)
	if p.present && p.payload == text {
		return events
	}
	m.bytes += len(text) - len(p.payload)
	p.payload, p.changed = text, true
	if !p.present {
		p.present, p.since = true, now
	}
	events = m.tellProvider(p, events)
	return m.tellAll(p, events)
}

// absent notes that a provider's topic isn't there any more.
func (m *Model) absent(now time.Time, p *provider, events []Event) []Event {
	m.bytes -= len(p.payload)
	p.present, p.payload, p.since = false, "", now
	if p.told {
		p.told = false
		events = append(events, Event{Kind: ProviderRemoved, Provider: m.viewProvider(p)})
	}
	events = m.tellAll(p, events)
	if p.count == 0 {
		m.dropProvider(p)
	}
	return events
}

// reachable takes in what a reachable topic says.
func (m *Model) reachable(name string, payload []byte, events []Event) []Event {
	r := m.roots[name]
	if len(payload) == 0 {
		if r == nil || !r.there {
			return events
		}
		first := r.first
		m.clear(r)
		return m.tellRoot(first, events)
	}
	if r == nil {
		if m.orphans >= orDefault(m.MaxOrphans, DefaultMaxOrphans) || m.bytes+len(name) > orDefault(m.MaxBytes, DefaultMaxBytes) {
			m.stats.Full++
			return events
		}
		r = m.newRoot(name)
		m.orphans++
	}
	m.mark(&r.snapshot)
	r.there, r.said = true, Unknown
	switch string(payload) {
	case "1":
		r.said = Reachable
	case "0":
		r.said = Unreachable
	}
	return m.tellRoot(r.first, events)
}

// clear notes that a root's reachable topic isn't there any more.
func (m *Model) clear(r *root) {
	r.there, r.said = false, Unknown
	if r.first == nil {
		m.orphans--
		m.dropRoot(r)
	}
}

func (m *Model) tellRoot(first *device, events []Event) []Event {
	for d := first; d != nil; d = d.nextAtRoot {
		events = m.tell(d, events)
	}
	return events
}

func (m *Model) tellAll(p *provider, events []Event) []Event {
	for d := p.first; d != nil; d = d.next {
		events = m.tell(d, events)
	}
	return events
}

// tell appends an event if a device isn't as it was when it was told last.
func (m *Model) tell(d *device, events []Event) []Event {
	if !m.complete {
		return events
	}
	now := uint8(1)
	if !m.lean {
		now += uint8(m.state(d))
	}
	if d.told == now && !d.changed {
		return events
	}
	kind := DeviceChanged
	if d.told == 0 {
		kind = DeviceAdded
	}
	d.told, d.changed = now, false
	return append(events, Event{Kind: kind, Device: m.view(d)})
}

func (m *Model) tellProvider(p *provider, events []Event) []Event {
	if !m.complete || !p.present || p.told && !p.changed {
		return events
	}
	kind := ProviderChanged
	if !p.told {
		kind = ProviderAdded
	}
	p.told, p.changed = true, false
	return append(events, Event{Kind: kind, Provider: m.viewProvider(p)})
}

func orDefault(n, def int) int {
	if n == 0 {
		return def
	}
	return n
}
