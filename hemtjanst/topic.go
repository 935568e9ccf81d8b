package hemtjanst

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxTopic is how many bytes MQTT allows in a topic.
const MaxTopic = 65535

// ErrName is in errors about ids, roots and tenants that can't be part of a topic.
var ErrName = errors.New("hemtjanst: unusable name")

// CheckName says whether an id, a root or a tenant can be part of a topic: one or more
// levels, joined by slashes, none of them empty, without wildcards, $ and control characters, in UTF-8.
// All topics made of it must fit: at most 65,000 bytes.
func CheckName(name string) error {
	if why := unusable(name); why != "" {
		if len(name) > 64 {
			name = name[:64] + "…"
		}
		return fmt.Errorf("%w %q: %s", ErrName, name, why)
	}
	return nil
}

// maxName leaves room in a topic for "current/" and "/reachable", and for a short tenant.
const maxName = 65000

// unusable says why a name can't be part of a topic; "" means it can.
func unusable(name string) string {
	if name == "" {
		return "it is empty"
	}
	if len(name) > maxName {
		return "it is too long"
	}
	if !utf8.ValidString(name) {
		return "it isn't UTF-8"
	}
	level := 0 // where it began
	for i, r := range name {
		switch {
		case r == '/':
			if i == level || i == len(name)-1 {
				return "a level of it is empty"
			}
			level = i + 1
		case r > '$' && r < 0x7f && r != '+':
			// as nearly all are
		case r == '+' || r == '#':
			return "it holds a wildcard"
		case r == '$':
			return "it holds a $"
		case unicode.IsControl(r) || noncharacter(r):
			return "it holds a control character"
		}
	}
	return ""
}

// noncharacter says whether Unicode never assigns a code point; brokers hang up on those.
func noncharacter(r rune) bool { return r >= 0xfdd0 && r <= 0xfdef || r&0xfffe == 0xfffe }

// Topics makes and reads the topics of a tenant; the zero value is without one.
type Topics struct{ Tenant string }

// Check says whether the tenant can be part of a topic. None is fine.
func (t Topics) Check() error {
	if t.Tenant == "" {
		return nil
	}
	return CheckName(t.Tenant)
}

func (t Topics) prefix() string {
	if t.Tenant == "" {
		return ""
	}
	return t.Tenant + "/"
}

// Device is the topic of a device's metadata.
func (t Topics) Device(id string) string { return t.prefix() + "device/" + id }

// Provider is the topic of a provider's metadata, whose presence means that it is there.
func (t Topics) Provider(id string) string { return t.prefix() + "provider/" + id }

// Reachable is the topic that says whether the device with this root can be reached.
func (t Topics) Reachable(root string) string { return t.prefix() + "current/" + root + reachable }

// Current is the topic of a feature's state.
func (t Topics) Current(root, feature string) string {
	return t.prefix() + "current/" + root + "/" + feature
}

// Desired is the topic of what a feature's state should become.
func (t Topics) Desired(root, feature string) string {
	return t.prefix() + "desired/" + root + "/" + feature
}

const reachable = "/reachable"

// filters are what a watcher subscribes to, in the order in which it wants what is
// retained: so that of a device its provider is known first, and its root before the state. Roots
// have any number of levels, so that there is no narrower filter for reachable topics.
func (t Topics) filters() []string {
	p := t.prefix()
	return []string{p + "provider/#", p + "device/#", p + "current/#"}
}

// sentinel is a topic that filters' last one matches and that is nobody's root.
func (t Topics) sentinel(token string) string { return t.prefix() + "current/$" + token }

// TopicKind says what a topic is about.
type TopicKind uint8

// The kinds of topics.
const (
	OtherTopic     TopicKind = iota // none of the protocol's, or another tenant's
	DeviceTopic                     // device/<id>
	ProviderTopic                   // provider/<id>
	ReachableTopic                  // current/<root>/reachable
	UnusableTopic                   // one of those, with an id or root that CheckName refuses
)

// Parse says what a topic is about, and the id or root in it, which shares the topic's memory.
func (t Topics) Parse(topic string) (kind TopicKind, name string) {
	if t.Tenant != "" {
		var ok bool
		if topic, ok = strings.CutPrefix(topic, t.Tenant); !ok || !strings.HasPrefix(topic, "/") {
			return OtherTopic, ""
		}
		topic = topic[1:]
	}
	first, rest, ok := strings.Cut(topic, "/")
	if !ok {
		return OtherTopic, ""
	}
	switch first {
	case "device":
		kind = DeviceTopic
	case "provider":
		kind = ProviderTopic
	case "current":
		if rest, ok = strings.CutSuffix(rest, reachable); !ok {
			return OtherTopic, ""
		}
		kind = ReachableTopic
	default:
		return OtherTopic, ""
	}
	if unusable(rest) != "" {
		return UnusableTopic, ""
	}
	return kind, rest
}
