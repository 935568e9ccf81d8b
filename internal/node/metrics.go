package node

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/daemon"
)

// statusCollector turns the status into metrics.
type statusCollector struct {
	node *Node

	build, devices, services, sightings   *prometheus.Desc
	partUp, partFailures, partEvents      *prometheus.Desc
	storeHealthy, storePending, storeRows *prometheus.Desc
	storeFailures                         *prometheus.Desc
	inventoryEvents                       *prometheus.Desc
	nmosSelected, nmosAdverts             *prometheus.Desc
	syncthingHeard, syncthingTargets      *prometheus.Desc
	syncthingServed, syncthingState       *prometheus.Desc
	mqttConnected, mqttComplete           *prometheus.Desc
	mqttThings                            *prometheus.Desc
	mqttClients, mqttRetained             *prometheus.Desc
	hubConnected, hubExpires              *prometheus.Desc
	hubWaiting, hubBytes                  *prometheus.Desc
}

func newStatusCollector(n *Node) *statusCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("lanfolk_"+name, help, labels, nil)
	}
	return &statusCollector{
		node:            n,
		build:           desc("build_info", "The version, as a label.", "version"),
		devices:         desc("devices", "Devices in the inventory.", "state"),
		services:        desc("services", "Services in the inventory.", "state"),
		sightings:       desc("sightings", "Facts behind the inventory."),
		partUp:          desc("part_up", "1 if a part of the node runs, 0 if it failed; parts that are off are left out.", "part"),
		partFailures:    desc("part_failures_total", "How often a part failed.", "part"),
		partEvents:      desc("part_events_total", "What a part counts: packets, drops by reason.", "part", "event"),
		storeHealthy:    desc("store_healthy", "1 if the database takes what is written."),
		storePending:    desc("store_pending_rows", "Fingerprint rows that wait in memory."),
		storeRows:       desc("store_rows_total", "Fingerprint rows by what became of them: written; dropped for want of room in memory, or because their MAC had its share; forgotten by the database for their age, their MAC's share, or want of room.", "result"),
		storeFailures:   desc("store_failures_total", "How often the database took no fingerprint rows."),
		inventoryEvents: desc("inventory_events_total", "What the inventory counts.", "event"),
		nmosSelected:    desc("nmos_selected", "1 if one of a studio's APIs is chosen, 0 if none is.", "name", "type"),
		nmosAdverts:     desc("nmos_adverts", "Advertisements of a studio's APIs by whether they fit.", "name", "type", "fit"),

		syncthingHeard:   desc("syncthing_heard_devices", "Devices that are heard, or heard of, by Syncthing's local discovery."),
		syncthingTargets: desc("syncthing_announce_targets", "Links and servers to which the Syncthing device is announced, by whether the last one worked.", "result"),
		syncthingServed:  desc("syncthing_server_devices", "Devices that the global server of Syncthing's discovery knows."),
		syncthingState:   desc("syncthing_server_state_bytes", "Size of the file that holds what the server knows."),

		mqttConnected: desc("mqtt_connected", "1 if all parts that speak with the MQTT broker are connected."),
		mqttComplete:  desc("mqtt_complete", "1 if all that the MQTT broker has is known, and it left nothing out as far as can be known."),
		mqttThings:    desc("mqtt_things", "Devices and providers on the MQTT broker, and devices that the node announces there.", "kind"),
		mqttClients:   desc("mqtt_broker_clients", "Clients that are connected to the node's own MQTT broker."),
		mqttRetained:  desc("mqtt_broker_retained_messages", "Retained messages of the node's own MQTT broker."),

		hubConnected: desc("hub_connected", "1 if the hub whose gateway the node is is connected, 0 if it isn't; nothing if the node is none."),
		hubExpires:   desc("hub_certificate_expires_seconds", "When the gateway's certificate ends, in seconds since 1970."),
		hubWaiting:   desc("hub_waiting", "What waits for the hub: results of commands, items of the inventory, fingerprint rows.", "kind"),
		hubBytes:     desc("hub_waiting_bytes", "What waits for the hub on the disk.", "kind"),
	}
}

// Describe implements prometheus.Collector.
func (c *statusCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		c.build, c.devices, c.services, c.sightings, c.partUp, c.partFailures, c.partEvents,
		c.storeHealthy, c.storePending, c.storeRows, c.storeFailures, c.inventoryEvents,
		c.nmosSelected, c.nmosAdverts,
		c.syncthingHeard, c.syncthingTargets, c.syncthingServed, c.syncthingState,
		c.mqttConnected, c.mqttComplete, c.mqttThings, c.mqttClients, c.mqttRetained,
		c.hubConnected, c.hubExpires, c.hubWaiting, c.hubBytes,
	} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *statusCollector) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	s := c.node.Status()
	gauge(c.build, 1, s.Version)
	devices, services := c.node.states()
	for state, n := range devices {
		gauge(c.devices, float64(n), string(state))
	}
	for state, n := range services {
		gauge(c.services, float64(n), string(state))
	}
	gauge(c.sightings, float64(s.Inventory.Sightings))
	for _, p := range s.Parts {
		if p.State != daemon.Off {
			gauge(c.partUp, daemon.Truth(p.State == daemon.Running), p.Name)
		}
		count(c.partFailures, uint64(p.Failures), p.Name)
		for event, n := range p.Counters {
			count(c.partEvents, n, p.Name, event)
		}
	}
	gauge(c.storeHealthy, daemon.Truth(s.Store.Healthy))
	gauge(c.storePending, float64(s.Store.Pending))
	count(c.storeRows, s.Store.Written, "written")
	count(c.storeRows, s.Store.Dropped, "dropped")
	count(c.storeRows, s.Store.DroppedShare, "dropped_share")
	count(c.storeRows, s.Store.Forgotten.Age, "forgotten_age")
	count(c.storeRows, s.Store.Forgotten.Share, "forgotten_share")
	count(c.storeRows, s.Store.Forgotten.Room, "forgotten_room")
	count(c.storeFailures, s.Store.Failures)
	for _, k := range s.NMOS {
		fit := 0
		for _, g := range k.Groups {
			fit += len(g)
		}
		gauge(c.nmosSelected, daemon.Truth(k.Selected != nil), k.Name, k.Type)
		gauge(c.nmosAdverts, float64(fit), k.Name, k.Type, "yes")
		gauge(c.nmosAdverts, float64(len(k.Discarded)), k.Name, k.Type, "no")
	}
	y := &c.node.syncthing
	gauge(c.syncthingHeard, float64(y.heard.Len()))
	good, failing := y.targets()
	gauge(c.syncthingTargets, float64(good), "good")
	gauge(c.syncthingTargets, float64(failing), "failing")
	if devices, bytes, ok := y.server.Size(); ok {
		gauge(c.syncthingServed, float64(devices))
		gauge(c.syncthingState, float64(bytes))
	}
	if m := s.MQTT; m.Broker != "" {
		gauge(c.mqttConnected, daemon.Truth(m.Connected))
		gauge(c.mqttComplete, daemon.Truth(m.Complete && m.Confirmed))
		gauge(c.mqttThings, float64(m.Devices), "device")
		gauge(c.mqttThings, float64(m.Providers), "provider")
		gauge(c.mqttThings, float64(m.Announced), "announced")
	}
	if b := c.node.mqtt.serving(); b != nil {
		x := b.Stats()
		gauge(c.mqttClients, float64(x.Connected))
		gauge(c.mqttRetained, float64(x.Retained))
	}
	c.collectHub(s.Hub, gauge)
	i := s.Inventory.Stats
	for event, n := range map[string]uint64{
		"observed": i.Observed, "refreshed": i.Refreshed, "goodbyes": i.Goodbyes, "expired": i.Expired,
		"merges": i.Merges, "self": i.Self, "late": i.Late, "stale": i.Stale, "refused": i.Refused,
		"dropped_queue": i.DroppedQueue, "dropped_source": i.DroppedSource, "dropped_full": i.DroppedFull,
		"clipped": i.Clipped, "evicted": i.Evicted, "save_errors": i.SaveErrors, "watcher_resyncs": i.Resyncs,
	} {
		count(c.inventoryEvents, n, event)
	}
}

// collectHub tells how the node stands with its hub, if it has one.
func (c *statusCollector) collectHub(h HubLink, gauge func(d *prometheus.Desc, v float64, labels ...string)) {
	if h.Gateway == "" {
		return
	}
	gauge(c.hubConnected, daemon.Truth(h.Connected))
	if h.Expires != nil {
		gauge(c.hubExpires, float64(h.Expires.Unix()))
	}
	gauge(c.hubWaiting, float64(h.Commands.Waiting), "results")
	gauge(c.hubBytes, float64(h.Commands.ResultBytes), "results")
	if f := h.Feeds; f != nil {
		gauge(c.hubWaiting, float64(f.Inventory.Waiting), "inventory")
		gauge(c.hubWaiting, float64(f.Fingerprints.Waiting), "fingerprints")
		gauge(c.hubBytes, float64(f.Fingerprints.Bytes), "fingerprints")
	}
}

// states counts devices and services by state.
func (n *Node) states() (devices, services map[lanfolk.State]int) {
	devices = map[lanfolk.State]int{lanfolk.Reachable: 0, lanfolk.Unreachable: 0, lanfolk.Unknown: 0}
	services = map[lanfolk.State]int{lanfolk.Reachable: 0, lanfolk.Unreachable: 0, lanfolk.Unknown: 0}
	for _, d := range n.registry.Devices(lanfolk.Filter{}) {
		devices[d.State]++
	}
	for _, s := range n.registry.Services(lanfolk.Filter{}) {
		services[s.State]++
	}
	return devices, services
}
