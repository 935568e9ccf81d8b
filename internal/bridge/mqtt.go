package bridge

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/hemtjanst"
)

// MQTTTarget takes what is announced; a hemtjanst.Bridge is one.
type MQTTTarget interface {
	Put(hemtjanst.BridgeDevice) error
	Remove(id string)
}

// MQTT announces services that the inventory knows by other protocols as devices on an MQTT
// broker. Types, Prefix and Target must be set; Run works, the other methods may be called from any goroutine.
//
// A device's id is Prefix, a slash, and what follows from the service's type, name and host: it is
// the same after a restart, and no other node's, because each has a Prefix of its own. So two nodes that
// know one printer announce two devices, each true by itself. A service on
// several links is one device, with the addresses of all.
//
// A service that can't be reached, or has left the inventory, is a device with reachable 0; Forget after it
// has left, the device is cleared from the broker.
type MQTT struct {
	Types  []string // in any case
	Not    []string // protocols whose services are left out: what came from there doesn't go back
	Prefix string   // "lanfolk/3f2a9c01d2e4f567"
	Node   string   // this node's name, for people
	Forget time.Duration
	// Vendor names the maker of a device of the inventory, nil if nobody knows.
	Vendor func(device string) string
	Target MQTTTarget

	mu       sync.Mutex
	devices  map[string]*mqttDevice // by id
	ids      map[string]string      // of devices, by service
	dirty    map[string]bool        // devices to be looked at
	adopted  map[string]hemtjanst.Device
	adoptive chan struct{} // holds a token when adopted isn't empty
	full     uint64
	bad      uint64
}

// mqttDevice is a device that is announced.
type mqttDevice struct {
	services map[string]*lanfolk.Service // none once they have left
	said     hemtjanst.BridgeDevice      // last
	left     time.Time                   // when the last service left
}

// MQTTStats count what is announced.
type MQTTStats struct {
	Devices, Reachable int
	Full               uint64 // services left out for want of room
	Refused            uint64 // devices that can't be announced
}

const (
	// maxMQTTDevices bounds what is announced: strangers may announce any number of printers.
	maxMQTTDevices = 10_000
	// settleMQTT is how long changes are gathered.
	settleMQTT = 200 * time.Millisecond
)

// Run takes over the changes of the inventory, as lanfolk.Registry.Watch sends them,
// until the channel is closed. It may be called again, with a fresh channel.
func (m *MQTT) Run(changes <-chan lanfolk.Event) {
	m.reset()
	var changed, forget <-chan time.Time
	whole := false // all that there is was told
	for {
		select {
		case ev, ok := <-changes:
			if !ok {
				return
			}
			whole = whole || ev.Op == lanfolk.OpSynced
			if (m.hear(time.Now(), ev) || ev.Op == lanfolk.OpSynced) && whole && changed == nil {
				changed = time.After(settleMQTT)
			}
			continue
		case <-m.adopting():
			if whole && changed == nil {
				changed = time.After(settleMQTT)
			}
			continue
		case <-changed:
		case <-forget:
		}
		changed, forget = nil, nil
		if next := m.settle(time.Now()); !next.IsZero() {
			forget = time.After(max(time.Until(next), settleMQTT))
		}
	}
}

// reset forgets the services, but no device that was announced.
func (m *MQTT) reset() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.init()
	clear(m.ids)
	for id, d := range m.devices {
		d.services, d.left = map[string]*lanfolk.Service{}, time.Now()
		m.dirty[id] = true
	}
}

func (m *MQTT) init() {
	if m.devices == nil {
		m.devices, m.ids, m.dirty = map[string]*mqttDevice{}, map[string]string{}, map[string]bool{}
		m.adopted, m.adoptive = map[string]hemtjanst.Device{}, make(chan struct{}, 1)
	}
}

// Owns says whether a device on the broker is one of this node's, of this run or an earlier one.
func (m *MQTT) Owns(id string) bool { return strings.HasPrefix(id, m.Prefix+"/") }

// Adopt takes over a device that an earlier run has left on the broker: if its service isn't known any more
// it will be cleared like any that left.
func (m *MQTT) Adopt(d hemtjanst.Device) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.init()
	if m.devices[d.ID] == nil && m.Owns(d.ID) && len(m.adopted) < maxMQTTDevices {
		m.adopted[d.ID] = d
		select {
		case m.adoptive <- struct{}{}:
		default:
		}
	}
}

// adopting tells when something was adopted.
func (m *MQTT) adopting() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.init()
	return m.adoptive
}

// Stats says what is announced.
func (m *MQTT) Stats() MQTTStats {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := MQTTStats{Devices: len(m.devices), Full: m.full, Refused: m.bad}
	for _, d := range m.devices {
		if d.said.Reachable {
			s.Reachable++
		}
	}
	return s
}

// hear takes over a change and says whether it could change what is announced.
func (m *MQTT) hear(now time.Time, ev lanfolk.Event) bool {
	s := ev.Service
	if s == nil || slices.Contains(m.Not, s.Protocol) || !slices.ContainsFunc(m.Types, func(t string) bool { return strings.EqualFold(t, s.Type) }) {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	id := m.id(s)
	if was := m.ids[s.ID]; was != "" && (was != id || ev.Op == lanfolk.OpRemove) {
		m.leave(now, was, s.ID)
	}
	if ev.Op == lanfolk.OpRemove {
		return true
	}
	d := m.devices[id]
	if d == nil {
		if len(m.devices) >= maxMQTTDevices {
			m.full++
			return false
		}
		d = &mqttDevice{services: map[string]*lanfolk.Service{}}
		m.devices[id] = d
	}
	d.services[s.ID] = s
	m.ids[s.ID] = id
	m.dirty[id] = true
	return true
}

func (m *MQTT) leave(now time.Time, id, service string) {
	d := m.devices[id]
	delete(m.ids, service)
	delete(d.services, service)
	if len(d.services) == 0 {
		d.left = now
	}
	m.dirty[id] = true
}

// id is what a service's device is called.
func (m *MQTT) id(s *lanfolk.Service) string {
	sum := sha256.Sum256([]byte(strings.ToLower(s.Type) + "\x00" + fold(s.Name) + "\x00" + fold(strings.TrimSuffix(s.Host, "."))))
	return m.Prefix + "/" + slug(s.Name) + hex.EncodeToString(sum[:8])
}

// slug makes of a name what is legible in a topic, with a hyphen behind it.
func slug(name string) string {
	const most = 32
	var b strings.Builder
	for _, r := range strings.ToLower(name) {
		switch {
		case b.Len() == most:
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	if s := strings.Trim(b.String(), "-"); s != "" {
		return s + "-"
	}
	return ""
}

// settle announces what has changed, and returns when it is to be called again, the
// zero time for never.
func (m *MQTT) settle(now time.Time) (next time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, d := range m.adopted {
		if m.devices[id] == nil && len(m.devices) < maxMQTTDevices {
			m.devices[id] = &mqttDevice{
				services: map[string]*lanfolk.Service{}, left: now,
				said: hemtjanst.BridgeDevice{ID: id, Root: id, Metadata: d.Metadata},
			}
			m.put(m.devices[id].said)
		}
	}
	clear(m.adopted)
	for id := range m.dirty {
		d := m.devices[id]
		if d == nil {
			continue
		}
		out := d.said
		out.Reachable = false
		if len(d.services) > 0 {
			d.left = time.Time{}
			out = m.announcement(id, d)
		}
		if out != d.said {
			d.said = out
			m.put(out)
		}
	}
	clear(m.dirty)
	for id, d := range m.devices {
		switch end := d.left.Add(m.Forget); {
		case d.left.IsZero():
		case !end.After(now):
			delete(m.devices, id)
			m.Target.Remove(id)
		case next.IsZero() || end.Before(next):
			next = end
		}
	}
	return next
}

func (m *MQTT) put(d hemtjanst.BridgeDevice) {
	if err := m.Target.Put(d); err != nil {
		m.bad++ // a stranger's words can't make an id, and there is room for all that a service has
	}
}

// mqttMetadata is what is said of a device.
type mqttMetadata struct {
	Name         string            `json:"name"`
	Type         string            `json:"type"`
	Manufacturer string            `json:"manufacturer,omitempty"`
	Host         string            `json:"host,omitempty"`
	Addresses    []netip.Addr      `json:"addresses"`
	Port         uint16            `json:"port,omitempty"`
	TXT          map[string]string `json:"txt,omitempty"`
	Features     struct{}          `json:"features"` // that can be switched: none
	Protocol     string            `json:"protocol"` // by which it is known
	Gateway      string            `json:"gateway,omitempty"`
}

// announcement makes a device of its services: what the one says that works and has been known longest,
// with the addresses of all.
func (m *MQTT) announcement(id string, d *mqttDevice) hemtjanst.BridgeDevice {
	var best *lanfolk.Service
	var addresses []netip.Addr
	for _, s := range d.services {
		if best == nil || works(s) && !works(best) || works(s) == works(best) && before(s, best) {
			best = s
		}
		for _, a := range s.Addresses {
			if !useless(a) {
				addresses = append(addresses, a.Unmap())
			}
		}
	}
	slices.SortFunc(addresses, netip.Addr.Compare)
	addresses = slices.Compact(addresses)
	if addresses = addresses[:min(len(addresses), maxNear)]; addresses == nil {
		addresses = []netip.Addr{}
	}
	doc, err := json.Marshal(mqttMetadata{
		Name: best.Name, Type: best.Type, Manufacturer: m.manufacturer(best), Host: strings.TrimSuffix(best.Host, "."),
		Addresses: addresses, Port: best.Port, TXT: best.Attributes, Protocol: best.Protocol, Gateway: m.Node,
	})
	out := hemtjanst.BridgeDevice{ID: id, Root: id, Reachable: works(best)}
	if err == nil {
		out.Metadata, err = hemtjanst.ParseMetadata(doc)
	}
	if err != nil {
		m.bad++
	}
	return out
}

func works(s *lanfolk.Service) bool { return s.State == lanfolk.Reachable }

// manufacturer is the maker's name: what the service says, or else what its hardware address tells.
func (m *MQTT) manufacturer(s *lanfolk.Service) string {
	for _, key := range []string{"usb_MFG", "manufacturer"} { // Bonjour Printing Specification §9.2.9
		if value := s.Attributes[key]; value != "" {
			return value
		}
	}
	if m.Vendor == nil || s.Device == "" {
		return ""
	}
	return m.Vendor(s.Device)
}
