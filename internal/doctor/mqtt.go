package doctor

import "fmt"

// NodeStatus is what a running node's status says that is of interest here, by its names in JSON.
type NodeStatus struct {
	Store StoreStatus `json:"store"`
	MQTT  struct {
		Broker    string `json:"broker"`
		Version   string `json:"version"`
		Connected bool   `json:"connected"`
		Complete  bool   `json:"complete"`
		Confirmed bool   `json:"confirmed"`
		Devices   int    `json:"devices"`
		Refused   uint64 `json:"refused"`
		Error     string `json:"error"`
	} `json:"mqtt"`
	Hub   HubStatus    `json:"hub"`
	Parts []PartStatus `json:"parts"`
}

// PartStatus is what a part of the node counts.
type PartStatus struct {
	Name     string            `json:"name"`
	Counters map[string]uint64 `json:"counters"`
}

// checkMQTT tells how the node gets on with its MQTT broker, nil without a running node. It doesn't
// connect itself.
func (d Doctor) checkMQTT(node *NodeStatus) []Finding {
	if d.Config == nil || d.Config.MQTT.Broker.Address() == "" {
		return nil
	}
	c := d.Config.MQTT
	f := Finding{Check: "mqtt broker", Grade: Good, Found: c.Broker.Address()}
	var found []Finding
	if node == nil {
		node = &NodeStatus{}
	}
	switch m := node.MQTT; {
	case m.Broker != f.Found:
		f.Grade, f.Found, f.Advice = Notice, f.Found+"; no node is running that speaks with it", "\"lanfolk up\" starts one"
	case !m.Connected:
		f.Grade, f.Found = Problem, f.Found+" isn't reached: "+m.Error
		f.Advice = "see whether the broker runs, and whether [mqtt] in the config names it, its user and its certificates rightly"
	case m.Refused > 0:
		f.Grade, f.Found = Warning, fmt.Sprintf("%s refused %d messages", f.Found, m.Refused)
		f.Advice = "let the node's user write device, provider and current topics that begin with mqtt.prefix, and lanfolk/janitor for a janitor"
	case c.Watch && !m.Complete:
		f.Grade, f.Found, f.Advice = Notice, f.Found+"; what is retained is still being read", "look again in a moment"
	case c.Watch && !m.Confirmed:
		f.Grade, f.Found = Warning, f.Found+" may have left out a part of what is retained"
		f.Advice = "Mosquitto: set max_queued_messages 0; and let the node's user publish to current/+"
	default:
		f.Found += " by MQTT " + m.Version
		if c.Watch {
			f.Found += fmt.Sprintf(", %d devices", m.Devices)
		}
	}
	found = append(found, f)
	if c.Broker.HasPassword() || c.Password != "" || c.PasswordFile != "" {
		if !c.Broker.Secure() && !c.Broker.Loopback() {
			found = append(found, Finding{"mqtt password", Warning, "it crosses the network in clear text", "use mqtts:// or wss:// in mqtt.broker"})
		}
	}
	return found
}
