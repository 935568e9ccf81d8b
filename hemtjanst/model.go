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

func orDefault(n, def int) int {
	if n == 0 {
		return def
	}
	return n
}
