package node

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/hemtjanst"
	"github.com/lanfolk/lanfolk/internal/bridge"
	"github.com/lanfolk/lanfolk/internal/broker"
	"github.com/lanfolk/lanfolk/internal/daemon"
	"github.com/lanfolk/lanfolk/internal/source"
)

// mqttSpeaker is what speaks Hemtjänst, and the broker in the node.
type mqttSpeaker struct {
	access   *mqttAccess // nil without a broker
	heard    *source.Hemtjanst
	announce *bridge.MQTT      // nil if nothing is announced
	bridge   *hemtjanst.Bridge // of announce

	mu      sync.Mutex
	adopted bool // what an earlier run left on the broker was looked at
	// These run, or ran last.
	watcher *hemtjanst.Watcher
	janitor *hemtjanst.Janitor
	server  *broker.Broker
}

// Bounds of what is kept of a broker: strangers may write there.
const (
	maxMQTTHeard = 100_000
	maxMQTTBytes = 64 << 20
)

// openMQTT makes what speaks Hemtjänst. No file is read before the parts run.
func (n *Node) openMQTT() {
	c, s := n.Config.MQTT, &n.mqtt
	if c.Broker.Address() == "" {
		return
	}
	s.access = &mqttAccess{config: c, dial: (&net.Dialer{}).DialContext}
	if len(c.Announce) > 0 {
		meta := hemtjanst.Metadata{}.With("name", n.self.Name).With("type", "lanfolk")
		s.bridge = &hemtjanst.Bridge{Broker: s.access, Tenant: c.Tenant, Provider: c.Provider, ClientID: n.mqttClientID("b"), Metadata: meta, Log: n.Log}
		s.announce = &bridge.MQTT{
			Types: c.Announce, Not: []string{source.ProtocolMQTT}, Prefix: c.Prefix + "/" + n.self.ID, Node: n.Config.Name,
			Forget: c.Forget.Duration(), Target: s.bridge, Vendor: func(id string) string {
				d, err := n.registry.Device(id)
				if err != nil {
					return ""
				}
				return d.Vendor
			},
		}
	}
	if c.Watch {
		s.heard = &source.Hemtjanst{
			Gateway: n.Config.Name, Broker: c.Broker.Address(), Tenant: c.Tenant, Own: s.owns, Ours: s.isOurs, Observe: n.registry.Observe,
			Restored: func() []*lanfolk.Service {
				return n.registry.Services(lanfolk.Filter{Protocol: source.ProtocolMQTT})
			},
		}
	}
}

// mqttClientID is the same for a purpose after a restart, so that a broker ends connections that broke without
// its knowing. Every broker takes 23 characters.
func (n *Node) mqttClientID(purpose string) string { return "lf" + n.self.ID + purpose }

// owns says whether a device is announced by this node, now or in an earlier run.
func (s *mqttSpeaker) owns(device, provider string) bool {
	return s.announce != nil && (s.announce.Owns(device) || s.isOurs(provider))
}

func (s *mqttSpeaker) isOurs(provider string) bool {
	return s.bridge != nil && provider == s.bridge.ProviderID()
}

// mqttParts are the parts that speak Hemtjänst.
func (n *Node) mqttParts() []*daemon.Task {
	s := &n.mqtt
	var parts []*daemon.Task
	if s.heard != nil {
		parts = append(parts, &daemon.Task{Name: "mqtt", Run: n.runMQTT, Detail: n.mqttDetail, Counters: s.counters})
	}
	if s.announce != nil {
		parts = append(parts, &daemon.Task{Name: "mqtt bridge", Run: n.runMQTTBridge, Detail: n.mqttBridgeDetail, Counters: s.bridgeCounters})
	}
	if s.access != nil && n.Config.MQTT.Janitor {
		parts = append(parts, &daemon.Task{Name: "mqtt janitor", Run: n.runJanitor, Detail: s.janitorDetail, Counters: s.janitorCounters})
	}
	return parts
}

// runMQTT takes what is on the broker into the inventory.
func (n *Node) runMQTT(ctx context.Context) error {
	s, c := &n.mqtt, n.Config.MQTT
	return s.heard.Run(ctx, func(ctx context.Context, event func(hemtjanst.Event)) error {
		w := &hemtjanst.Watcher{
			Broker: s.access, Tenant: c.Tenant, ClientID: n.mqttClientID("w"), MaxDevices: maxMQTTHeard, MaxBytes: maxMQTTBytes, Log: n.Log,
			Event: func(e hemtjanst.Event) {
				s.adopt(e)
				event(e)
			},
		}
		s.set(func() { s.watcher = w })
		return w.Run(ctx)
	})
}

// adopt hands the bridge what an earlier run has left: what is on the broker at first.
func (s *mqttSpeaker) adopt(e hemtjanst.Event) {
	if s.announce == nil || s.adopted {
		return
	}
	switch e.Kind {
	case hemtjanst.DeviceAdded:
		s.announce.Adopt(e.Device)
	case hemtjanst.Complete:
		s.adopted = true
	}
}

func (s *mqttSpeaker) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *mqttSpeaker) watching() *hemtjanst.Watcher {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.watcher
}

func (s *mqttSpeaker) cleaning() *hemtjanst.Janitor {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.janitor
}

// mqttAsker looks for devices on the broker, false if none is watched.
func (n *Node) mqttAsker() (source.AskMQTT, bool) {
	return source.AskMQTT{Hemtjanst: n.mqtt.heard}, n.mqtt.heard != nil
}

// runMQTTBridge announces services on the broker.
func (n *Node) runMQTTBridge(ctx context.Context) error {
	s := &n.mqtt
	tasks, ctx := errgroup.WithContext(ctx)
	tasks.Go(func() error { return s.bridge.Run(ctx) })
	tasks.Go(func() error {
		s.announce.Run(n.registry.Watch(ctx, lanfolk.Filter{Kind: lanfolk.KindService}))
		return nil
	})
	return tasks.Wait()
}

// runJanitor marks the devices of bridges that died.
func (n *Node) runJanitor(ctx context.Context) error {
	c := n.Config.MQTT
	j := &hemtjanst.Janitor{
		Broker: n.mqtt.access, Tenant: c.Tenant, Grace: c.Grace.Duration(), ClientID: n.mqttClientID("j"),
		MaxDevices: maxMQTTHeard, MaxBytes: maxMQTTBytes, Log: n.Log,
	}
	n.mqtt.set(func() { n.mqtt.janitor = j })
	return j.Run(ctx)
}

// connected says for people how a role is connected, "" if it is.
func connected(s hemtjanst.Status) string {
	switch {
	case s.Connected:
		return ""
	case s.Err != nil:
		return "isn't connected: " + s.Err.Error()
	}
	return "connects"
}

// MQTT is how the node gets on with an MQTT broker.
type MQTT struct {
	Broker    string `json:"broker"` // host:port, "" if there is none
	Tenant    string `json:"tenant"`
	Version   string `json:"version"` // of MQTT, as it was spoken last
	Connected bool   `json:"connected"`
	// Complete says that all that the broker has is known, Confirmed that it left nothing out, as far
	// as can be known.
	Complete  bool   `json:"complete"`
	Confirmed bool   `json:"confirmed"`
	Devices   int    `json:"devices"`
	Providers int    `json:"providers"`
	Announced int    `json:"announced"` // devices
	Refused   uint64 `json:"refused"`   // messages that the broker didn't take
	Error     string `json:"error"`
}

// mqttStatus says how the broker is.
func (n *Node) mqttStatus() MQTT {
	s := &n.mqtt
	if s.access == nil {
		return MQTT{}
	}
	m := MQTT{Broker: n.Config.MQTT.Broker.Address(), Tenant: n.Config.MQTT.Tenant, Version: s.access.speaks()}
	var roles []hemtjanst.Status
	if s.heard != nil {
		p, _ := s.heard.Picture()
		m.Complete, m.Confirmed, m.Devices, m.Providers = p.Heard, p.Confirmed, p.Devices, p.Providers
		if w := s.watching(); w != nil {
			roles = append(roles, w.Status())
		}
	}
	if s.bridge != nil {
		m.Announced = s.announce.Stats().Devices
		roles = append(roles, s.bridge.Status())
	}
	if j := s.cleaning(); j != nil {
		roles = append(roles, j.Status().Status)
	}
	m.Connected = len(roles) > 0
	for _, r := range roles {
		m.Refused += r.Refused
		m.Connected = m.Connected && r.Connected
		if r.Err != nil && m.Error == "" {
			m.Error = r.Err.Error()
		}
	}
	return m
}

func (n *Node) mqttDetail() string {
	s := &n.mqtt
	w := s.watching()
	if w == nil {
		return ""
	}
	text := n.Config.MQTT.Broker.Address() + ": "
	p, _ := s.heard.Picture()
	switch no := connected(w.Status()); {
	case no != "":
		text += no
	case !p.Heard:
		text += "reads what is retained"
	default:
		text += fmt.Sprintf("%d devices, %d providers", p.Devices, p.Providers)
		if !p.Confirmed {
			text += "; the broker may have left something out (Mosquitto: max_queued_messages 0)"
		}
	}
	return text
}

func (s *mqttSpeaker) counters() map[string]uint64 {
	w := s.watching()
	if w == nil {
		return map[string]uint64{}
	}
	x, r := w.Stats(), w.Status()
	return map[string]uint64{
		"messages": x.Messages, "connects": r.Connects, "taken_over": r.TakenOver, "dropped: not of the protocol": x.Others, "dropped: unusable topic": x.Unusable,
		"dropped: malformed metadata": x.Malformed, "dropped: metadata too large": x.TooLarge, "dropped: no room": x.Full,
	}
}

func (n *Node) mqttBridgeDetail() string {
	x := n.mqtt.announce.Stats()
	text := fmt.Sprintf("announces %d devices, %d of them reachable", x.Devices, x.Reachable)
	if no := connected(n.mqtt.bridge.Status()); no != "" {
		text += "; " + no
	}
	return text
}

func (s *mqttSpeaker) bridgeCounters() map[string]uint64 {
	r, x := s.bridge.Status(), s.announce.Stats()
	return map[string]uint64{"connects": r.Connects, "taken_over": r.TakenOver, "refused": r.Refused, "dropped: no room": x.Full, "dropped: unusable": x.Refused}
}

func (s *mqttSpeaker) janitorDetail() string {
	j := s.cleaning()
	if j == nil {
		return ""
	}
	x := j.Status()
	var parts []string
	switch no := connected(x.Status); {
	case no != "":
		parts = append(parts, no)
	case x.Working:
		parts = append(parts, "works")
	case x.Worker != "":
		parts = append(parts, "rests: "+x.Worker+" works")
	}
	for _, c := range []struct {
		n    int
		text string
	}{
		{x.Waiting, "%d providers are gone"}, {x.Left, "%d devices to be marked"}, {x.LeftAlone, "%d devices left alone"},
		{x.Unconfirmed, "%d providers unconfirmed: nothing was heard of them but what the broker kept"},
	} {
		if c.n > 0 {
			parts = append(parts, fmt.Sprintf(c.text, c.n))
		}
	}
	return strings.Join(parts, "; ")
}

func (s *mqttSpeaker) janitorCounters() map[string]uint64 {
	j := s.cleaning()
	if j == nil {
		return map[string]uint64{}
	}
	x := j.Status()
	return map[string]uint64{"marked": x.Marked, "late": x.Late, "failed": x.Failed, "spared": x.Spared, "connects": x.Connects}
}
