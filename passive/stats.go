package passive

// drop says why a packet, or a part of one, yielded no fact.
type drop uint8

const (
	dropNone drop = iota
	dropLinkType
	dropLinkShort
	dropVLANDepth
	dropIPHeader
	dropIPTruncated
	dropExtHeaders
	dropFragment
	dropFragmentLimit
	dropUDPHeader
	dropTCPHeader
	dropTCPStream
	dropTCPLimit
	dropTLSForm
	dropTLSCut
	dropHTTPForm
	dropQUICForm
	dropQUICCut
	dropQUICLimit
	dropARPForm
	dropARPSender
	dropNDPForm
	dropNDPHops
	dropNDPChecksum
	dropNDPFragment
	dropDHCPCut
	dropDHCPHeader
	dropDHCPOptions
	dropDNSForm
	dropDNSOpcode
	dropDNSTruncated
	dropSyncthingForm
	dropSyncthingCut
	dropNBNSForm
	dropNBNSCut
	dropDHCPv6Form
	dropDHCPv6Cut
	dropIGMPForm
	dropIGMPCut
	dropMLDForm
	dropMLDCut
	dropWSDForm
	dropWSDCut
	dropTGEDForm
	dropTGEDCut
	dropMQTTForm
	dropMQTTCut
	dropPTPForm
	dropPTPCut
	dropSAPForm
	dropSAPCut
	dropSSDPForm
	dropSSDPCut
	dropLLDPForm
	dropLLDPCut
	dropCDPForm
	dropCDPCut
	numDrops
)

// dropNames are the reasons as Stats names them.
var dropNames = [numDrops]string{
	dropLinkType:      "link type not supported",
	dropLinkShort:     "link header cut off",
	dropVLANDepth:     "too many VLAN tags",
	dropIPHeader:      "bad IP header",
	dropIPTruncated:   "IP packet cut off",
	dropExtHeaders:    "bad IPv6 extension headers",
	dropFragment:      "bad IP fragment",
	dropFragmentLimit: "too many IP fragments",
	dropUDPHeader:     "bad UDP header",
	dropTCPHeader:     "bad TCP header",
	dropTCPStream:     "bad DNS over TCP",
	dropTCPLimit:      "too many TCP flows",
	dropTLSForm:       "tls: malformed",
	dropTLSCut:        "tls: cut off",
	dropHTTPForm:      "http: malformed",
	dropQUICForm:      "quic: malformed",
	dropQUICCut:       "quic: cut off",
	dropQUICLimit:     "too many QUIC connections",
	dropARPForm:       "arp: malformed",
	dropARPSender:     "arp: sender is no device",
	dropNDPForm:       "ndp: malformed",
	dropNDPHops:       "ndp: came through a router",
	dropNDPChecksum:   "ndp: bad checksum",
	dropNDPFragment:   "ndp: in fragments",
	dropDHCPCut:       "dhcp: cut off",
	dropDHCPHeader:    "dhcp: malformed",
	dropDHCPOptions:   "dhcp: bad options",
	dropDNSForm:       "dns: malformed",
	dropDNSOpcode:     "dns: not a query or answer",
	dropDNSTruncated:  "dns: cut off",
	dropSyncthingForm: "syncthing: malformed",
	dropSyncthingCut:  "syncthing: cut off",
	dropNBNSForm:      "nbns: malformed",
	dropNBNSCut:       "nbns: cut off",
	dropDHCPv6Form:    "dhcpv6: malformed",
	dropDHCPv6Cut:     "dhcpv6: cut off",
	dropIGMPForm:      "igmp: malformed",
	dropIGMPCut:       "igmp: cut off",
	dropMLDForm:       "mld: malformed",
	dropMLDCut:        "mld: cut off",
	dropWSDForm:       "wsd: malformed",
	dropWSDCut:        "wsd: cut off",
	dropTGEDForm:      "tged: malformed",
	dropTGEDCut:       "tged: cut off",
	dropMQTTForm:      "mqtt: malformed",
	dropMQTTCut:       "mqtt: cut off",
	dropPTPForm:       "ptp: malformed",
	dropPTPCut:        "ptp: cut off",
	dropSAPForm:       "sap: malformed",
	dropSAPCut:        "sap: cut off",
	dropSSDPForm:      "ssdp: malformed",
	dropSSDPCut:       "ssdp: cut off",
	dropLLDPForm:      "lldp: malformed",
	dropLLDPCut:       "lldp: cut off",
	dropCDPForm:       "cdp: malformed",
	dropCDPCut:        "cdp: cut off",
}

// proto counts packets by the protocol that they were read as.
type proto uint8

const (
	protoARP proto = iota
	protoNDP
	protoDHCP
	protoDNS
	protoMDNS
	protoLLMNR
	protoTCP
	protoTLS
	protoQUIC
	protoHTTP
	protoSyncthing
	protoNBNS
	protoDHCPv6
	protoIGMP
	protoMLD
	protoWSD
	protoTGED
	protoMQTT
	protoPTP
	protoSAP
	protoSSDP
	protoLLDP
	protoCDP
	numProtos
)

var protoNames = [numProtos]string{
	protoARP:       ProtoARP,
	protoNDP:       ProtoNDP,
	protoDHCP:      ProtoDHCP,
	protoDNS:       ProtoDNS,
	protoMDNS:      ProtoMDNS,
	protoLLMNR:     ProtoLLMNR,
	protoTCP:       ProtoTCP,
	protoTLS:       ProtoTLS,
	protoQUIC:      ProtoQUIC,
	protoHTTP:      ProtoHTTP,
	protoSyncthing: ProtoSyncthing,
	protoNBNS:      ProtoNBNS,
	protoDHCPv6:    ProtoDHCPv6,
	protoIGMP:      ProtoIGMP,
	protoMLD:       ProtoMLD,
	protoWSD:       ProtoWSD,
	protoTGED:      ProtoTGED,
	protoMQTT:      ProtoMQTT,
	protoPTP:       ProtoPTP,
	protoSAP:       ProtoSAP,
	protoSSDP:      ProtoSSDP,
	protoLLDP:      ProtoLLDP,
	protoCDP:       ProtoCDP,
}
