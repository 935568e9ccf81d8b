package source

import (
	"strings"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/classify"
	"github.com/lanfolk/lanfolk/passive"
)

// ObservationSignals calls emit with what a row of the fingerprint database says about
// what its sender is: the same as Signals says of the packets, but for what no
// fingerprint keeps (a DHCP client's user class, ONVIF's other scopes), and but for what
// came through a DHCP relay, whose MAC is the row's.
func ObservationSignals(o *lanfolk.Observation, emit func(lanfolk.Signal)) {
	if o.SrcMAC == (lanfolk.MAC{}) || o.SrcMAC.Group() {
		return
	}
	tell := func(kind, value string) {
		if s, ok := classify.New(kind, value); ok {
			emit(s)
		}
	}
	fields := fingerprintFields(o.Fingerprint)
	if o.Protocol == passive.ProtoDHCP || o.Protocol == passive.ProtoDHCPv6 {
		if o.Response {
			return
		}
	} else if !new(Passive).near(&passive.Fact{Protocol: o.Protocol, SrcIP: o.SrcIP}) {
		return
	}
	switch o.Protocol {
	case passive.ProtoDHCP:
		tell("dhcp.vendor_class", fields["vendor"])
		tell("dhcp.parameters", fields["prl"])
		switch fields["type"] {
		case "1":
			tell("dhcp.options", "discover "+fields["opts"])
		case "3":
			tell("dhcp.options", "request "+fields["opts"])
		}
		tell(classify.KindHost, o.Query)
	case passive.ProtoDHCPv6:
		number, class, _ := strings.Cut(fields["vendor"], " ")
		tell("dhcpv6.vendor", number)
		tell("dhcpv6.vendor_class", class)
		tell("dhcpv6.parameters", fields["oro"])
		tell(classify.KindHost, o.Query)
	case passive.ProtoMDNS:
		service := serviceType(o.Query)
		if !o.Response {
			tell("mdns.query", service)
			break
		}
		if service != "_services._dns-sd._udp" {
			tell(classify.KindService, service)
		}
		for key, value := range modelsIn(o.Fingerprint) {
			tell("mdns.txt."+strings.ToLower(key), value)
		}
	case passive.ProtoSSDP:
		if o.Response {
			tell("ssdp.server", fields["server"])
			tell("ssdp.type", upnpType(o.Query))
		} else {
			tell("ssdp.user_agent", fields["ua"])
			tell("ssdp.search", upnpType(o.Query))
		}
	case passive.ProtoWSD:
		if kind := fields[""]; kind != "hello" && kind != "probe-matches" {
			return
		}
		for t := range strings.FieldsSeq(fields["types"]) {
			tell("wsd.type", t[strings.LastIndexByte(t, ':')+1:])
		}
		if h := fields["hardware"]; h != "" {
			tell("wsd.scope", "onvif://www.onvif.org/hardware/"+h)
		}
	case passive.ProtoTLS, passive.ProtoQUIC:
		tell(o.Protocol+".ja4", o.Fingerprint)
		tell("tls.name", o.Query)
		return
	case passive.ProtoHTTP:
		if o.Response {
			tell("http.server", fields["server"])
		} else {
			tell("http.user_agent", fields["ua"])
			tell("http.host", o.Query)
		}
	case passive.ProtoDNS:
		if o.Response {
			return
		}
		tell("dns.name", o.Query)
	case passive.ProtoTCP:
		if o.Response {
			tell("tcp.synack", o.Fingerprint)
		} else {
			tell("tcp.syn", o.Fingerprint)
		}
		return
	case passive.ProtoNBNS:
		if kind := fields[""]; kind == "registration" || kind == "datagram" {
			tell("nbns.name", o.Query)
		}
		tell("nbns.os", fields["os"])
	case passive.ProtoLLDP:
		tell("lldp.system_description", fields["desc"])
		tell("lldp.manufacturer", fields["maker"])
		tell("lldp.model", fields["model"])
		tell(classify.KindHost, o.Query)
	case passive.ProtoCDP:
		tell("cdp.platform", fields["platform"])
		tell("cdp.software", fields["software"])
		for c := range strings.SplitSeq(fields["caps"], "+") {
			tell("cdp.capability", c)
		}
		tell(classify.KindHost, o.Query)
	case passive.ProtoSyncthing:
		if o.Response {
			tell("syncthing.device", "announces")
		}
	case passive.ProtoMQTT:
		tell("mqtt.client_id", o.Query)
	case passive.ProtoPTP:
		tell("ptp.class", fields["class"])
	case passive.ProtoSAP:
		tell("sap.tool", fields["tool"])
	case passive.ProtoIGMP, passive.ProtoMLD:
		if o.Response {
			tell("group.address", o.Query)
		}
	}
	tell("form."+o.Protocol, o.Fingerprint)
}

// fingerprintFields takes a fingerprint's parts apart: "dhcp1:type=1;opts=53" is type
// and opts. What stands before the first = alone is under "".
func fingerprintFields(f string) map[string]string {
	_, rest, ok := strings.Cut(f, ":")
	if !ok {
		return nil
	}
	fields := map[string]string{}
	for part := range strings.SplitSeq(rest, ";") {
		key, value, ok := strings.Cut(part, "=")
		if !ok {
			key, value = "", key
		}
		if _, there := fields[key]; !there {
			fields[key] = unescape(value)
		}
	}
	return fields
}

// unescape turns %XX back into the byte that it stands for.
func unescape(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			hi, lo := strings.IndexByte(hexDigits, s[i+1]), strings.IndexByte(hexDigits, s[i+2])
			if hi >= 0 && lo >= 0 {
				b.WriteByte(byte(hi<<4 | lo))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return strings.ToValidUTF8(b.String(), "")
}

const hexDigits = "0123456789abcdef"

// modelsIn yields the keys and values of TXT records that an mDNS fingerprint shows
// because they name a model: {txtvers+ty=Laser 5}.
func modelsIn(f string) func(func(key, value string) bool) {
	return func(yield func(key, value string) bool) {
		for {
			_, rest, ok := strings.Cut(f, "{")
			if !ok {
				return
			}
			inside, after, _ := strings.Cut(rest, "}")
			for part := range strings.SplitSeq(inside, "+") {
				if key, value, ok := strings.Cut(part, "="); ok && modelKey(strings.ToLower(key)) && !yield(unescape(key), unescape(value)) {
					return
				}
			}
			f = after
		}
	}
}
