package source

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/hemtjanst"
)

// ProtocolMQTT is the name of the Hemtjänst protocol in sightings: devices on an MQTT broker.
const ProtocolMQTT = "mqtt"

const (
	// mqttLifetime is how long what a broker said holds without word from it, and mqttRefresh how often it
	// is told again.
	mqttLifetime = 3 * time.Hour
	mqttRefresh  = time.Hour
	// Many devices are told some at a time, so that the inventory's queue has room for others.
	mqttBatch = 500
	mqttPause = 20 * time.Millisecond
)

// Hemtjanst tells the devices and providers that a hemtjanst.Watcher finds on a broker as sightings:
//
//   - of a device, by its topic on that broker, which is its strong identifier. What its metadata say
//     of addresses or names joins it with nothing: anyone who may write there can say anything;
//   - of a service of the device's type and name, with what else the metadata say, so that it can be
//     found by its type;
//   - of a provider, as a device of its own.
//
// While the broker can't be heard nothing is known of any of them, and that is what they
// are told as; they are not gone. Broker and Observe must be set. Methods may be called from any goroutine.
type Hemtjanst struct {
	Gateway string // this node's name, "" for a node alone
	Broker  string // host:port, in which names are unique
	Tenant  string
	// Own says whether a device is announced by this node, by its id and its provider's, and Ours whether a
	// provider is this node: neither is news. nil is nobody.
	Own  func(device, provider string) bool
	Ours func(provider string) bool
	// Restored are services of this protocol in the inventory from before; nil: none. Those that
	// aren't on the broker any more are taken back.
	Restored func() []*lanfolk.Service
	Observe  func(...lanfolk.Sighting)

	mu       sync.Mutex
	known    map[string]*mqttThing // by topic
	due      []*mqttThing          // to be told; each once
	wake     chan struct{}
	changed  chan struct{} // closed by the next event; nil while nobody waits
	picture  MQTTPicture
	restored bool // those from before were looked at
}

// MQTTPicture is how a broker's devices are known.
type MQTTPicture struct {
	Devices, Providers int
	Heard              bool // what is known is as the broker says it now
	Confirmed          bool // and nothing was left out, as far as can be known
	Err                error
}

// mqttThing is a device or a provider.
type mqttThing struct {
	topic    string
	device   *hemtjanst.Device // or else it is a provider
	provider hemtjanst.Provider
	at       time.Time // of its last change
	lost     bool      // the broker can't be heard
	stale    bool      // an earlier watcher told of it, and not yet the one that watches now
	gone     bool
	queued   bool
}

// Run calls watch, which hands each event to the function that it gets, and tells what changes,
// until watch returns.
func (x *Hemtjanst) Run(ctx context.Context, watch func(ctx context.Context, event func(hemtjanst.Event)) error) error {
	x.begin()
	telling, stop := context.WithCancel(ctx)
	var tasks sync.WaitGroup
	tasks.Go(func() { x.tell(telling) })
	err := watch(ctx, func(e hemtjanst.Event) {
		if e.Kind != hemtjanst.Lost || ctx.Err() == nil { // to be told to end is no loss
			x.Event(time.Now(), e)
		}
	})
	stop()
	tasks.Wait()
	if ctx.Err() == nil {
		x.Event(time.Now(), hemtjanst.Event{Kind: hemtjanst.Lost, Err: err})
		x.flush(ctx)
	}
	return err
}

// begin prepares for a watcher that tells of everything anew.
func (x *Hemtjanst) begin() {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, t := range x.known {
		t.stale = true
	}
}

// tell tells what is due, until ctx ends.
func (x *Hemtjanst) tell(ctx context.Context) {
	refresh := time.NewTicker(mqttRefresh)
	defer refresh.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-refresh.C:
			x.Refresh()
		case <-x.woken():
		}
		x.flush(ctx)
	}
}

func (x *Hemtjanst) flush(ctx context.Context) {
	for {
		s := x.Take(time.Now(), mqttBatch)
		if len(s) == 0 {
			return
		}
		x.Observe(s...)
		select {
		case <-ctx.Done():
			return
		case <-time.After(mqttPause):
		}
	}
}

func (x *Hemtjanst) woken() <-chan struct{} {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.wakeup()
}

func (x *Hemtjanst) wakeup() chan struct{} {
	if x.wake == nil {
		x.wake = make(chan struct{}, 1)
	}
	return x.wake
}

// Event takes in an event; Take tells what comes of it.
func (x *Hemtjanst) Event(now time.Time, e hemtjanst.Event) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.changed != nil {
		close(x.changed)
		x.changed = nil
	}
	topics := hemtjanst.Topics{Tenant: x.Tenant}
	switch e.Kind {
	case hemtjanst.DeviceAdded, hemtjanst.DeviceChanged:
		if x.Own != nil && x.Own(e.Device.ID, e.Device.Provider) {
			x.remove(now, topics.Device(e.Device.ID))
			return
		}
		d := e.Device
		x.put(now, mqttThing{topic: topics.Device(d.ID), device: &d})
	case hemtjanst.DeviceRemoved:
		x.remove(now, topics.Device(e.Device.ID))
	case hemtjanst.ProviderAdded, hemtjanst.ProviderChanged:
		if x.Ours == nil || !x.Ours(e.Provider.ID) {
			x.put(now, mqttThing{topic: topics.Provider(e.Provider.ID), provider: e.Provider})
		}
	case hemtjanst.ProviderRemoved:
		x.remove(now, topics.Provider(e.Provider.ID))
	case hemtjanst.Complete:
		x.picture.Heard, x.picture.Confirmed, x.picture.Err = true, !e.Unconfirmed, nil
		for _, t := range x.known {
			switch {
			case t.stale && !e.Unconfirmed:
				x.remove(now, t.topic)
			case t.lost && !t.stale: // it is as it was
				t.lost, t.at = false, now
				x.queue(t)
			}
		}
		if x.Restored != nil && !x.restored && !e.Unconfirmed {
			x.restored = true
			x.forgotten(now)
		}
	case hemtjanst.Lost:
		x.picture.Heard, x.picture.Err = false, e.Err
		for _, t := range x.known {
			if !t.lost && !t.gone {
				t.lost, t.at = true, now
				x.queue(t)
			}
		}
	}
}

func (x *Hemtjanst) put(now time.Time, t mqttThing) {
	if x.known == nil {
		x.known = map[string]*mqttThing{}
	}
	at := x.known[t.topic]
	if at == nil {
		at = &mqttThing{}
		x.known[t.topic] = at
	}
	if at.topic == "" || at.gone {
		x.count(t.device != nil, 1)
	}
	t.at, t.queued = now, at.queued
	*at = t
	x.queue(at)
}

func (x *Hemtjanst) remove(now time.Time, topic string) {
	t := x.known[topic]
	if t == nil || t.gone {
		return
	}
	x.count(t.device != nil, -1)
	t.gone, t.at = true, now
	x.queue(t)
}

func (x *Hemtjanst) count(device bool, by int) {
	if device {
		x.picture.Devices += by
	} else {
		x.picture.Providers += by
	}
}

// forgotten takes back what was on the broker when an earlier run saved the inventory.
func (x *Hemtjanst) forgotten(now time.Time) {
	topics := hemtjanst.Topics{Tenant: x.Tenant}
	for _, s := range x.Restored() {
		topic := s.Attributes["topic"]
		if s.Gateway != x.Gateway || s.Attributes["broker"] != x.Broker || x.known[topic] != nil {
			continue
		}
		if kind, id := topics.Parse(topic); kind == hemtjanst.DeviceTopic {
			x.put(now, mqttThing{topic: topic, device: &hemtjanst.Device{ID: id}})
			x.remove(now, topic)
		}
	}
}

func (x *Hemtjanst) queue(t *mqttThing) {
	if t.queued {
		return
	}
	t.queued = true
	x.due = append(x.due, t)
	select {
	case x.wakeup() <- struct{}{}:
	default:
	}
}

// Refresh makes all that is known due.
func (x *Hemtjanst) Refresh() {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, t := range x.known {
		x.queue(t)
	}
}

// Take returns the sightings of at most so many devices and providers that are due.
func (x *Hemtjanst) Take(now time.Time, most int) []lanfolk.Sighting {
	x.mu.Lock()
	defer x.mu.Unlock()
	var all []lanfolk.Sighting
	n := min(most, len(x.due))
	for _, t := range x.due[:n] {
		t.queued = false
		if t.gone {
			delete(x.known, t.topic)
		}
		all = append(all, x.sightings(now, t)...)
	}
	clear(x.due[:n])
	if x.due = x.due[n:]; len(x.due) == 0 {
		x.due = nil
	}
	return all
}

// Picture says how the devices are known now. The channel is closed when that may have changed.
func (x *Hemtjanst) Picture() (MQTTPicture, <-chan struct{}) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.changed == nil {
		x.changed = make(chan struct{})
	}
	return x.picture, x.changed
}

// Find returns the sightings of the devices and providers with this id, and of the devices of
// this type, in which case makes no difference; services first.
func (x *Hemtjanst) Find(now time.Time, text string) []lanfolk.Sighting {
	x.mu.Lock()
	defer x.mu.Unlock()
	var all []lanfolk.Sighting
	for _, t := range x.known {
		id := t.provider.ID
		if t.device != nil {
			id = t.device.ID
		}
		if !t.gone && (id == text || t.device != nil && strings.EqualFold(t.device.Metadata.Type(), text)) {
			all = append(all, x.sightings(now, t)...)
		}
	}
	slices.SortStableFunc(all, func(a, b lanfolk.Sighting) int {
		return cmp.Or(-cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Key, b.Key)) // "service" comes last
	})
	return all
}

// sightings are what is told of a device, or a provider.
func (x *Hemtjanst) sightings(now time.Time, t *mqttThing) []lanfolk.Sighting {
	o := lanfolk.Origin{Protocol: ProtocolMQTT, Gateway: x.Gateway}
	key := brief(x.Broker+"/"+t.topic, 200)
	s := lanfolk.Sighting{
		Origin: o, Key: key, Kind: lanfolk.KindProvider, State: lanfolk.Reachable, Gone: t.gone,
		Identifiers: []lanfolk.Identifier{{Kind: lanfolk.IDProtocol, Value: ProtocolMQTT + ":" + key, Gateway: x.Gateway}},
	}
	if t.device == nil {
		x.provider(&s, t)
	} else {
		x.device(&s, t)
	}
	if t.lost {
		s.State = lanfolk.Lost
		s.What += "; the broker can't be heard"
	}
	// What can't be reached isn't heard of either: it was when that was said.
	s.Time, s.Lifetime = now, mqttLifetime
	if s.State != lanfolk.Reachable || t.gone {
		s.Time, s.Lifetime = t.at, now.Sub(t.at)+mqttLifetime
	}
	if t.device == nil {
		return []lanfolk.Sighting{s}
	}
	service := s
	service.Kind = lanfolk.KindService
	service.Type = cmp.Or(plain(t.device.Metadata.Type()), "device")
	x.details(&service, t)
	return []lanfolk.Sighting{s, service}
}

func (x *Hemtjanst) provider(s *lanfolk.Sighting, t *mqttThing) {
	id := brief(plain(t.provider.ID), 100)
	s.Name = id
	if m, err := hemtjanst.ParseMetadata([]byte(t.provider.Payload)); err == nil {
		s.Name = cmp.Or(plain(m.Name()), id)
	}
	s.What = fmt.Sprintf("%s connects %d devices as provider %s", x.Broker, t.provider.Devices, id)
}

func (x *Hemtjanst) device(s *lanfolk.Sighting, t *mqttThing) {
	d := t.device
	id := brief(plain(d.ID), 100)
	s.Kind, s.Name = lanfolk.KindDevice, cmp.Or(plain(d.Metadata.Name()), id)
	switch d.State {
	case hemtjanst.Unreachable:
		s.State = lanfolk.Unreachable
	case hemtjanst.Unknown:
		s.State = lanfolk.Lost
	}
	s.What = "on " + x.Broker + ": " + id + " is " + d.State.String()
	if d.Provider != "" {
		s.What += ", by provider " + brief(plain(d.Provider), 64)
		if d.State != d.Said {
			s.What += ", which is gone (it said " + d.Said.String() + ")"
		}
	}
	if d.Problem != 0 {
		s.What += "; " + d.Problem.String()
	}
}

// maxMQTTMembers bounds how many members of metadata are told.
const maxMQTTMembers = 32

// details puts what the metadata say into a service.
func (x *Hemtjanst) details(s *lanfolk.Sighting, t *mqttThing) {
	d := t.device
	var members map[string]json.RawMessage
	_ = json.Unmarshal(d.Metadata.JSON(), &members) // it was parsed before
	text := func(name string) (v string) {
		_ = json.Unmarshal(members[name], &v) // what is no string is none
		return plain(v)
	}
	s.Host = text("host")
	var port float64
	if json.Unmarshal(members["port"], &port) == nil && port == float64(uint16(port)) {
		s.Port = uint16(port)
	}
	var addresses []string
	_ = json.Unmarshal(members["addresses"], &addresses)
	for _, a := range addresses[:min(len(addresses), 32)] {
		if ip, err := netip.ParseAddr(a); err == nil && hostAddress(bare(ip)) && !slices.Contains(s.Addresses, bare(ip)) {
			s.Addresses = append(s.Addresses, bare(ip))
		}
	}
	s.Attributes = map[string]string{"device_id": brief(plain(d.ID), 256), "broker": x.Broker, "topic": brief(t.topic, 512)}
	for key, value := range map[string]string{
		"root": brief(plain(d.Root), 256), "provider": brief(plain(d.Provider), 256), "problem": d.Problem.String(), "features": featureNames(d.Metadata.Features()),
	} {
		if value != "" {
			s.Attributes[key] = value
		}
	}
	for _, name := range slices.Sorted(keysOf(members)) {
		switch name {
		case "name", "type", "providerID", "host", "port", "addresses", "device_id", "broker", "topic", "root", "provider", "problem", "features":
			continue
		}
		if value, ok := scalar(members[name]); ok && len(s.Attributes) < maxMQTTMembers && len(name) <= 64 {
			s.Attributes[plain(name)] = brief(value, 200)
		}
	}
}

func keysOf(m map[string]json.RawMessage) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// scalar returns a JSON value that is text, a number or a truth.
func scalar(raw json.RawMessage) (string, bool) {
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return "", false
	}
	switch v := v.(type) {
	case string:
		return plain(v), v != ""
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64), true
	case bool:
		return strconv.FormatBool(v), true
	}
	return "", false
}

// featureNames lists the features of a device, which are an object's members, or an array's.
func featureNames(raw json.RawMessage) string {
	var object map[string]json.RawMessage
	var names []string
	if json.Unmarshal(raw, &object) == nil {
		names = slices.Sorted(keysOf(object))
	} else {
		_ = json.Unmarshal(raw, &names) // or there are none
	}
	return brief(plain(strings.Join(names, " ")), 512)
}

// plain takes out what could do something to a terminal.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			return -1
		}
		return r
	}, s)
}

// brief shortens what is longer than most bytes, so that two of them stay different.
func brief(s string, most int) string {
	if len(s) <= most {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	const digits = 16
	return strings.ToValidUTF8(s[:most-digits-3], "") + "…" + hex.EncodeToString(sum[:digits/2])
}
