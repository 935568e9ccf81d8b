package classify

import (
	"strings"

	"github.com/lanfolk/lanfolk"
)

// TypeSignal is the type of a sighting that holds signals and nothing else: each of
// its attributes is one, the key its kind.
const TypeSignal = "signal"

// The kinds that this package itself makes or treats apart.
const (
	KindVendor   = "mac.vendor"
	KindHost     = "host.name"
	KindHostForm = "host.form"
	KindService  = "mdns.service"
	kindTXT      = "mdns.txt."
	kindMQTT     = "hemtjanst."
)

// Kind is a kind of signal.
type Kind struct {
	Name string // "dhcp.vendor_class"; one that ends in a dot goes on with a key
	What string // for people
	// Closed says that a device has one value or few that hardly change, so that another
	// value speaks against its being the same model.
	Closed bool
}

// Kinds lists all kinds of signal.
func Kinds() []Kind {
	return []Kind{
		{KindVendor, "the maker by the MAC; never for one that is locally administered", false},
		{KindHost, "a host name that it gives itself, without .local", false},
		{KindHostForm, "the same with # for each run of five digits or more", false},
		{"dhcp.vendor_class", "DHCP option 60", true},
		{"dhcp.user_class", "DHCP option 77", true},
		{"dhcp.parameters", "DHCP option 55: what it asks for, in order, with commas", true},
		{"dhcp.options", "the options of its DISCOVER or REQUEST, in order: \"discover 53,61,12,55\"", true},
		{"dhcpv6.vendor_class", "DHCPv6 option 16, its text", true},
		{"dhcpv6.vendor", "DHCPv6 option 16, the enterprise's number", true},
		{"dhcpv6.parameters", "DHCPv6 option 6, in order, with commas", true},
		{KindService, "a service type that it offers: _ipp._tcp", false},
		{"mdns.query", "a service type that it asks for", false},
		{kindTXT, "a key of a TXT record (mdns.txt.md, mdns.txt.ty, mdns.txt.model, …) and its value", true},
		{"ssdp.server", "SERVER of its announcements", true},
		{"ssdp.type", "a type of device or service that it announces", false},
		{"ssdp.search", "a type that it searches for", false},
		{"ssdp.user_agent", "USER-AGENT of its searches", true},
		{"wsd.type", "a type that it announces by WS-Discovery, without prefix: NetworkVideoTransmitter", false},
		{"wsd.scope", "a scope that it announces by WS-Discovery", false},
		{"tls.ja4", "the JA4 of a ClientHello", false},
		{"tls.name", "a server name that it asks for by TLS or QUIC", false},
		{"quic.ja4", "the JA4 of a ClientHello in QUIC", false},
		{"http.user_agent", "User-Agent of a request", false},
		{"http.server", "Server of a response", true},
		{"http.host", "the host of a request", false},
		{"dns.name", "a name that it asks DNS for", false},
		{"tcp.syn", "how it opens TCP connections", true},
		{"tcp.synack", "how it answers when they are opened", true},
		{"nbns.name", "a NetBIOS name that it claims, with its suffix: PC<20>", false},
		{"nbns.os", "the version of its operating system in NetBIOS browsing", true},
		{"lldp.system_description", "what it says it is by LLDP", true},
		{"lldp.capability", "something that it is by LLDP: router, bridge, wlan-ap, telephone, station", false},
		{"lldp.manufacturer", "its maker by LLDP-MED", true},
		{"lldp.model", "its model by LLDP-MED", true},
		{"cdp.platform", "its platform by CDP", true},
		{"cdp.software", "its software by CDP", true},
		{"cdp.capability", "something that it is by CDP: router, switch, host, phone", false},
		{"syncthing.device", "\"announces\" of one that announces itself", false},
		{"tged.service", "a service that it offers by TGED", false},
		{"mqtt.client_id", "the client id of its CONNECT", false},
		{"mqtt.will_topic", "the topic of its last will", false},
		{"mqtt.topic", "the same with # for each run of five digits or more", false},
		{"ptp.class", "its clock's class by PTP", true},
		{"sap.tool", "what announces its sessions by SAP", true},
		{"group.address", "a multicast group that it joins", false},
		{kindMQTT, "a member of its Hemtjänst metadata (hemtjanst.manufacturer, …), or its type", false},
		{"form.", "a fingerprint, after its protocol: form.dhcp, form.ssdp, form.mdns, …", false},
	}
}

// KnownKind says whether name is a kind of signal.
func KnownKind(name string) bool {
	_, ok := kindOf(name)
	return ok
}

func kindOf(name string) (Kind, bool) {
	for _, k := range Kinds() {
		if k.Name == name || strings.HasSuffix(k.Name, ".") && len(name) > len(k.Name) && strings.HasPrefix(name, k.Name) {
			return k, true
		}
	}
	return Kind{}, false
}

// Learnable says whether a signal of the kind may tell a device of the same model
// elsewhere. Those that may not name one device, or follow from its MAC.
func Learnable(kind string) bool {
	switch kind {
	case KindVendor, KindHost, "nbns.name", "mqtt.client_id", "mqtt.will_topic", "http.host":
		return false
	}
	return KnownKind(kind)
}

// maxSignal is the longest value, in bytes.
const maxSignal = 512

// New returns the signal of that kind and whether there is one. Spaces at the ends go,
// DNS names are folded, and what is too long is cut.
func New(kind, value string) (lanfolk.Signal, bool) {
	value = strings.TrimSpace(value)
	if len(value) > maxSignal {
		value = strings.ToValidUTF8(value[:maxSignal], "")
	}
	switch kind {
	case KindHostForm, "dns.name", "tls.name", "http.host", KindService, "mdns.query":
		value = strings.ToLower(strings.TrimSuffix(value, "."))
	}
	if kind == KindHost { // in the letters that it chose: rules may quote them
		value = strings.TrimSuffix(strings.TrimSuffix(value, "."), ".local")
	}
	return lanfolk.Signal{Kind: kind, Value: value}, value != ""
}

// FromSighting calls emit with each signal that a sighting holds.
func FromSighting(s *lanfolk.Sighting, emit func(lanfolk.Signal)) {
	tell := func(kind, value string) {
		if x, ok := New(kind, value); ok {
			emit(x)
		}
	}
	if s.Type == TypeSignal && s.Kind == lanfolk.KindDevice {
		for kind, value := range s.Attributes {
			tell(kind, value)
		}
		return
	}
	tell(KindHost, s.Host)
	switch {
	case s.Origin.Protocol == "mqtt":
		tell(kindMQTT+"type", s.Type)
		for key, value := range s.Attributes {
			tell(kindMQTT+strings.ToLower(key), value)
		}
	case s.Origin.Protocol == "tged" && s.Kind == lanfolk.KindService:
		tell("tged.service", s.Type)
	case s.Origin.Protocol == "syncthing" && s.Kind == lanfolk.KindService:
		tell("syncthing.device", "announces")
	case s.Kind == lanfolk.KindService && strings.HasPrefix(s.Type, "_"):
		tell(KindService, s.Type)
		for key, value := range s.Attributes {
			tell(kindTXT+strings.ToLower(key), value)
		}
	case s.Kind == lanfolk.KindDevice:
		// A DHCP server's lease may say it, too.
		tell("dhcp.vendor_class", s.Attributes["vendor_class"])
	}
}

// Classes lists the classes that the built-in rules conclude. Own rules may name others.
func Classes() []string {
	return []string{
		"phone", "tablet", "watch", "computer", "server", "virtual-machine", "nas",
		"router", "switch", "access-point", "firewall", "modem", "voip-phone",
		"printer", "camera", "tv", "media-player", "speaker", "game-console",
		"hub", "light", "plug", "sensor", "thermostat", "lock", "vacuum", "appliance", "energy", "iot",
		"media-node", "controller", "clock",
	}
}
