package passive

import (
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"time"
)

// The protocols that a Fact names.
const (
	ProtoARP   = "arp"
	ProtoNDP   = "ndp"
	ProtoDHCP  = "dhcp"
	ProtoDNS   = "dns"
	ProtoMDNS  = "mdns"
	ProtoLLMNR = "llmnr"
	ProtoTCP   = "tcp"  // how a TCP connection is opened
	ProtoTLS   = "tls"  // a client's first message over TCP
	ProtoQUIC  = "quic" // the same over QUIC
	ProtoHTTP  = "http" // the head of a request or a response

	ProtoSyncthing = "syncthing" // the Syncthing Device Discovery Protocol v2
	ProtoNBNS      = "nbns"
	ProtoDHCPv6    = "dhcpv6"
	ProtoIGMP      = "igmp"
	ProtoMLD       = "mld"
	ProtoWSD       = "wsd"
	ProtoTGED      = "tged"
	ProtoMQTT      = "mqtt"
	ProtoPTP       = "ptp"
	ProtoSAP       = "sap"
	ProtoSSDP      = "ssdp"
	ProtoLLDP      = "lldp"
	ProtoCDP       = "cdp"
)

// MAC is a 48-bit hardware address; the zero MAC means that none is known.
type MAC [6]byte

// String returns the address in lower case with colons, "" for the zero MAC.
func (m MAC) String() string {
	if m == (MAC{}) {
		return ""
	}
	return string(m.appendText(make([]byte, 0, 17)))
}

// Group says whether the address is multicast or broadcast and so names no device.
func (m MAC) Group() bool { return m[0]&1 != 0 }

func (m MAC) appendText(dst []byte) []byte {
	for i, c := range m {
		if i > 0 {
			dst = append(dst, ':')
		}
		dst = append(dst, hexDigits[c>>4], hexDigits[c&15])
	}
	return dst
}

const hexDigits = "0123456789abcdef"

// Fact is one thing that one packet says. The Decoder hands out the same Fact
// again and again: it is valid until the emit function returns, and what keeps
// one calls Clone. It may not be written to. The strings in it may be kept.
type Fact struct {
	Time      time.Time
	Interface string
	VLAN      uint16 // the outer tag's id, 0 if there is none
	Protocol  string // ProtoARP, …
	// Response says that the packet answers or announces; else it asks.
	Response bool
	// SrcMAC and DstMAC are the frame's. A packet that came through a router
	// carries the router's; Claims say what is known about the sender.
	SrcMAC, DstMAC   MAC
	SrcIP, DstIP     netip.Addr // without zone; invalid where the packet has none
	SrcPort, DstPort uint16     // 0 where the protocol has none
	// Query is what was asked for or announced:
	//   dns, llmnr  the name in the question, also for the records of an answer
	//   mdns        the name in the question, or the record's own name
	//   arp, ndp    the address asked for or announced
	//   syncthing   the device's ID
	//   ssdp        the target: a type of device or service, a device's id
	//   lldp, cdp   the device's name, "" if it tells none
	//   dhcp        the host name that the packet tells, "" if it tells none
	//   nbns        the NetBIOS name, "WORKGROUP<1d>"; of a datagram the sender's
	//   tls, quic   the server name that the client asks for, "" if it names none
	//   http        the host that is asked; "" for a response
	//   tcp         always ""
	//   dhcpv6      the host name that the packet tells, "" if it tells none
	//   igmp, mld   the group, "" if all are asked for
	//   wsd         the types asked for or announced, else the device's address
	//   tged        the service asked for; "" for a reply, which doesn't repeat it
	//   mqtt        the client's id
	//   ptp         the clock's id
	//   sap         the session's name
	// DNS names are in presentation form without the last dot; the root is ".".
	Query string
	QType uint16 // the DNS type that belongs to Query, else 0
	// Record is the resource record that the fact is about; nil for a question
	// and for other protocols.
	Record *Record
	// Fingerprint tells the sender's software by the packet's form; the package
	// comment shows the forms. It is the same for all facts of a packet, and ""
	// where the form tells nothing.
	Fingerprint string
	// Fields are the protocol's own further values, in a fixed order.
	Fields []Field
	// Claims say which device has which addresses and names. They stand in the
	// first fact of a packet that they can stand in, and only there.
	Claims []Claim
	// Number tells the facts of one frame apart, from 0 on.
	Number int
	// Again is nil where the packet isn't one that the Decoder remembers. Else it is
	// the same each time the packet comes again, and says by that that this fact is
	// as it was, but for its time, its interface and its ports. Its value is the
	// reader's, and is forgotten with the packet.
	Again *Again
}

// Field is a named value of a Fact.
type Field struct{ Key, Value string }

// Field returns the value of a field, "" if there is none.
func (f *Fact) Field(key string) string {
	for _, x := range f.Fields {
		if x.Key == key {
			return x.Value
		}
	}
	return ""
}

// Record is a DNS resource record.
type Record struct {
	Name    string
	Type    uint16
	Class   uint16 // without mDNS's cache-flush bit; for OPT the sender's UDP size
	Flush   bool   // mDNS's cache-flush bit
	TTL     uint32 // seconds
	Data    string // as DNS prints it: "10.0.0.5", "0 0 631 printer.local"
	Section string // "answer", "authority", "additional"
}

// Claim is what a packet says about one device: these identifiers belong
// together. Fields that the packet doesn't tell are zero.
//
// A MAC is only ever one that the protocol itself names, or the frame's source
// where the packet can't have come through a router. It is the strong part of a
// claim, and so is ID; an IP and a host name are weak.
type Claim struct {
	MAC  MAC
	IP   netip.Addr
	Host string // a host name as it was told: with ".local" by mDNS, mostly bare by DHCP
	// ID is an identifier that its protocol makes unique in the world, but that
	// nobody signs: "duid:…" (RFC 4361, RFC 8415), "client:…" (another client id of
	// DHCP), "uuid:…" (RFC 4578, SSDP), "lldp:…", "deviceid:…" (AirPlay), "hap:…"
	// (HomeKit); "" if there is none. Syncthing's is not among them: one host can
	// make up any number in a second, and it takes a listener to bound them.
	ID string
	// Hearsay says that somebody else told this about the device: a DHCP server
	// about its client, a proxy, a host that answers for another.
	Hearsay bool
	// Router says that the device offers to route.
	Router bool
	// Gone says that the device gave up the IP or the name.
	Gone bool
	// Lifetime is how long the claim holds, 0 where the protocol doesn't say.
	Lifetime time.Duration
}

// Clone returns a copy of f that stays valid.
func (f *Fact) Clone() *Fact {
	c := *f
	c.Again = nil
	if f.Record != nil {
		r := *f.Record
		c.Record = &r
	}
	c.Fields = append([]Field(nil), f.Fields...)
	c.Claims = append([]Claim(nil), f.Claims...)
	return &c
}

// Hash returns the short key of a fingerprint, 16 hexadecimal digits, and ""
// for none. Equal texts have equal keys in every version.
func Hash(fingerprint string) string {
	if fingerprint == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(fingerprint))
	return hex.EncodeToString(sum[:8])
}
