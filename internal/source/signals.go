package source

import (
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"strings"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/classify"
	"github.com/lanfolk/lanfolk/passive"
)

// Signals calls emit with each thing that f says about what the device with that MAC
// is. It depends on nothing but the fact and p's own fields. What others say of a
// device is none, nor what came through a router.
func (p *Passive) Signals(f *passive.Fact, emit func(lanfolk.MAC, lanfolk.Signal)) {
	mac := lanfolk.MAC(f.SrcMAC)
	tell := func(kind, value string) {
		if s, ok := classify.New(kind, value); ok {
			emit(mac, s)
		}
	}
	fields := func(kinds ...string) {
		for i := 0; i+1 < len(kinds); i += 2 {
			tell(kinds[i], f.Field(kinds[i+1]))
		}
	}
	if f.Protocol == passive.ProtoDHCP {
		// The client is named by the message itself, so a relay makes no difference.
		m, err := lanfolk.ParseMAC(f.Field("client_mac"))
		if f.Response || err != nil {
			return
		}
		mac = m
	} else if !p.near(f) {
		return
	}
	if mac == (lanfolk.MAC{}) || mac.Group() {
		return
	}
	switch f.Protocol {
	case passive.ProtoDHCP:
		fields("dhcp.vendor_class", "vendor_class", "dhcp.user_class", "user_class", "dhcp.parameters", "parameters")
		if m := f.Field("message"); m == "discover" || m == "request" {
			tell("dhcp.options", m+" "+f.Field("options"))
		}
		tell(classify.KindHost, f.Query)
	case passive.ProtoDHCPv6:
		if f.Response {
			return
		}
		fields("dhcpv6.vendor_class", "vendor_class", "dhcpv6.vendor", "vendor", "dhcpv6.parameters", "parameters")
		tell(classify.KindHost, f.Query)
	case passive.ProtoMDNS:
		p.mdnsSignals(f, tell)
	case passive.ProtoSSDP:
		if f.Response {
			fields("ssdp.server", "server")
			tell("ssdp.type", upnpType(f.Query))
		} else {
			fields("ssdp.user_agent", "user_agent")
			tell("ssdp.search", upnpType(f.Query))
		}
	case passive.ProtoWSD:
		if m := f.Field("message"); m != "hello" && m != "probe-matches" {
			return
		}
		for t := range strings.FieldsSeq(f.Field("types")) {
			tell("wsd.type", t[strings.LastIndexByte(t, ':')+1:])
		}
		for t := range strings.FieldsSeq(f.Field("scopes")) {
			tell("wsd.scope", t)
		}
	case passive.ProtoTLS, passive.ProtoQUIC:
		tell(f.Protocol+".ja4", f.Fingerprint)
		tell("tls.name", f.Query)
		return
	case passive.ProtoHTTP:
		if f.Response {
			fields("http.server", "server")
		} else {
			fields("http.user_agent", "user_agent")
			tell("http.host", f.Query)
		}
	case passive.ProtoDNS:
		if f.Response || f.Record != nil {
			return
		}
		tell("dns.name", f.Query)
	case passive.ProtoTCP:
		if f.Response {
			tell("tcp.synack", f.Fingerprint)
		} else {
			tell("tcp.syn", f.Fingerprint)
		}
		return
	case passive.ProtoNBNS:
		if m := f.Field("message"); m == "registration" || m == "datagram" {
			tell("nbns.name", f.Query)
		}
		fields("nbns.os", "os_version")
	case passive.ProtoLLDP:
		fields("lldp.system_description", "system_description", "lldp.manufacturer", "manufacturer", "lldp.model", "model")
		p.each(f.Field("enabled"), "lldp.capability", tell)
		tell(classify.KindHost, f.Query)
	case passive.ProtoCDP:
		fields("cdp.platform", "platform", "cdp.software", "software")
		p.each(f.Field("capabilities"), "cdp.capability", tell)
		tell(classify.KindHost, f.Query)
	case passive.ProtoSyncthing:
		if f.Field("message") == "announcement" {
			tell("syncthing.device", "announces")
		}
	case passive.ProtoMQTT:
		fields("mqtt.client_id", "client_id", "mqtt.will_topic", "will_topic")
		tell("mqtt.topic", classify.Form(f.Field("will_topic")))
	case passive.ProtoPTP:
		fields("ptp.class", "class")
	case passive.ProtoSAP:
		fields("sap.tool", "tool")
	case passive.ProtoIGMP, passive.ProtoMLD:
		if f.Response {
			tell("group.address", f.Query)
		}
	}
	tell("form."+f.Protocol, f.Fingerprint)
}

// each tells the parts of a list with commas.
func (p *Passive) each(list, kind string, tell func(kind, value string)) {
	for x := range strings.SplitSeq(list, ",") {
		tell(kind, x)
	}
}

// modelKey says whether a TXT record's key, in small letters, says what a device is.
// Others name the one device, or change.
func modelKey(key string) bool {
	switch key {
	case "md", "ty", "model", "am", "rpmd", "product", "manufacturer", "usb_mfg", "usb_mdl", "osxvers", "ca":
		return true
	}
	return false
}

// mdnsSignals tells the types of service that a device asks for or offers, and what
// their TXT records say of models.
func (p *Passive) mdnsSignals(f *passive.Fact, tell func(kind, value string)) {
	service := serviceType(f.Query)
	switch {
	case !f.Response:
		if f.Record == nil {
			tell("mdns.query", service)
		}
	case f.Record == nil || f.Record.TTL == 0:
	case f.Record.Type == typePTR && service == "_services._dns-sd._udp":
		tell(classify.KindService, serviceType(f.Record.Data))
	case f.Record.Type == typeSRV, f.Record.Type == typePTR && service != "":
		tell(classify.KindService, service)
	case f.Record.Type == typeTXT && service != "":
		tell(classify.KindService, service)
		for key, value := range txtPairs(f.Record.Data) {
			if key = strings.ToLower(key); modelKey(key) {
				tell("mdns.txt."+key, value)
			}
		}
	}
}

// DNS types (RFC 1035, RFC 2782).
const (
	typePTR = 12
	typeTXT = 16
	typeSRV = 33
)

// serviceType returns "_ipp._tcp" of "Printer._ipp._tcp.local", "" of a name without
// one.
func serviceType(name string) string {
	for _, transport := range [...]string{"._tcp", "._udp"} {
		i := strings.Index(name, transport)
		if i < 0 || len(name) > i+len(transport) && name[i+len(transport)] != '.' {
			continue
		}
		from := strings.LastIndexByte(name[:i], '.') + 1
		if strings.HasPrefix(name[from:], "_") {
			return name[from : i+len(transport)]
		}
	}
	return ""
}

// txtPairs yields the keys and values of a TXT record as DNS prints its data: strings
// in quotes, with a backslash before what is none.
func txtPairs(data string) func(func(key, value string) bool) {
	return func(yield func(key, value string) bool) {
		for {
			i := strings.IndexByte(data, '"')
			if i < 0 {
				return
			}
			var b strings.Builder
			for data = data[i+1:]; data != "" && data[0] != '"'; data = data[1:] {
				if data[0] == '\\' && len(data) > 1 {
					data = data[1:]
					if n, ok := decimal(data); ok {
						b.WriteByte(n)
						data = data[2:]
						continue
					}
				}
				b.WriteByte(data[0])
			}
			if data != "" {
				data = data[1:]
			}
			if key, value, ok := strings.Cut(b.String(), "="); ok && !yield(key, strings.ToValidUTF8(value, "")) {
				return
			}
		}
	}
}

// decimal reads the three digits of \DDD (RFC 1035 §5.1).
func decimal(s string) (byte, bool) {
	if len(s) < 3 {
		return 0, false
	}
	n := 0
	for i := range 3 {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = 10*n + int(s[i]-'0')
	}
	return byte(n), n < 256
}

// upnpType is a target of SSDP that is a type; what names one device is none.
func upnpType(target string) string {
	if len(target) >= 5 && strings.EqualFold(target[:5], "uuid:") {
		return ""
	}
	return target
}

// near says whether the frame's source MAC is that of the host that sent the packet.
// Protocols of the link alone need no address for it.
func (p *Passive) near(f *passive.Fact) bool {
	switch f.Protocol {
	case passive.ProtoLLDP, passive.ProtoCDP, passive.ProtoIGMP, passive.ProtoMLD, passive.ProtoARP, passive.ProtoNDP, passive.ProtoPTP:
		return true
	}
	a := f.SrcIP
	switch {
	case !a.IsValid() || a.IsUnspecified():
		return false
	case a.IsLinkLocalUnicast():
		return true
	case len(p.Link.Prefixes) == 0:
		return a.IsPrivate() // of a file the link isn't known: routers in front of it aren't, either
	}
	return p.onLink(a)
}

// onLink says whether one of the link's own prefixes holds the address.
func (p *Passive) onLink(a netip.Addr) bool {
	for _, x := range p.Link.Prefixes {
		if x.Masked().Contains(a) {
			return true
		}
	}
	return false
}

// signalSightings tells the inventory those signals that can make a difference there.
// What a device offers by mDNS, and that it announces itself by Syncthing, is left out: the
// node's own listeners know whose it is, even where a reflector or a proxy says it.
func (p *Passive) signalSightings(f *passive.Fact, emit func(lanfolk.Sighting)) {
	if p.Tells == nil || p.self(f) || f.Protocol == passive.ProtoMDNS && f.Response || f.Protocol == passive.ProtoSyncthing {
		return
	}
	p.Signals(f, func(mac lanfolk.MAC, x lanfolk.Signal) {
		slot, ok := p.Tells(x)
		if !ok {
			return
		}
		o := lanfolk.Origin{Protocol: f.Protocol, Gateway: p.Gateway, Link: f.Interface, Source: mac.String()}
		emit(lanfolk.Sighting{
			Origin: o, Kind: lanfolk.KindDevice, Type: classify.TypeSignal,
			Key:  "signal " + mac.String() + " " + x.Kind + " " + short(slot),
			What: "says " + x.Kind + " " + clipped(x.Value, 128), State: lanfolk.Reachable, Time: f.Time,
			Identifiers: identifiers(mac, "", "", o), Attributes: map[string]string{x.Kind: x.Value},
		})
	})
}

// short keeps a key short: a long text becomes its hash.
func short(s string) string {
	if len(s) <= 64 {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:16])
}

func clipped(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
