// Package passive reads what devices say on a network anyway, and turns it
// into facts: who (which MAC, which IP) asked for or announced what. Frames go
// in, facts come out; it opens no socket and sends nothing.
//
//	frame ─ link header ─ VLAN tags ─┬─ ARP, LLDP, CDP, PTP
//	                                 └─ IPv4, IPv6 ─┬─ IGMP; ICMPv6: neighbour discovery, MLD
//	                                    (options,   ├─ UDP: DHCP, DNS, mDNS, LLMNR, Syncthing, SSDP,
//	                                    extensions, │       NetBIOS, DHCPv6, WS-Discovery, TGED, QUIC
//	                                    fragments)  └─ TCP: SYN, DNS, TLS, HTTP, MQTT
//
// What is read:
//
//   - links: Ethernet with 802.1Q and 802.1ad tags, Linux cooked captures
//     (SLL, SLL2), raw IP, BSD null and loop;
//   - ARP (RFC 826, RFC 5227), neighbour discovery (RFC 4861: RS, RA, NS, NA),
//     DHCPv4 (RFC 2131, 2132, 3396), DNS over UDP and TCP (RFC 1035), mDNS
//     (RFC 6762), LLMNR (RFC 4795), Syncthing's discovery (version 2, UDP ports
//     21025, 21026 and 22026), SSDP (UPnP Device Architecture 2.0), WS-Discovery
//     (1.1 and the draft of 2005), DHCPv6 (RFC 8415), NetBIOS names and datagrams
//     (RFC 1002), TGED 1.0, SAP (RFC 2974), MQTT's CONNECT (3.1, 3.1.1 and 5, TCP
//     port 1883);
//   - IGMP (versions 1 to 3), MLD (RFC 2710, RFC 3810), PTP (IEEE 1588-2019: Announce
//     and requests), LLDP (IEEE 802.1AB), CDP (versions 1 and 2);
//   - how clients begin: TCP's SYN and its answer (RFC 9293), the ClientHello of
//     TLS (RFC 8446) over TCP and in QUIC's Initial packets (RFC 9000, 9001, 9369 and
//     the drafts from 23 on), the heads of HTTP/1 (RFC 9112), all on any port;
//   - IPv4 and IPv6 fragments of UDP, DNS messages and ClientHellos that span TCP
//     segments, ClientHellos that span QUIC's frames, packets and datagrams.
//
// What is not read: what lies inside tunnels (GRE, VXLAN, CAPWAP, IP in IP,
// PPPoE) or is quoted in ICMP errors, other 802.3 frames with LLC headers
// than CDP's, 802.11. ClientHellos of SSL 2.0 and of DTLS, and such as begin with
// fewer than six bytes in a segment; an HTTP head but for its first segment; HTTP/2.
// Nothing is decrypted but for QUIC's Initial packets, whose keys are public. Of an
// HTTP head the path, cookies and credentials are never kept.
//
// A [Decoder] decodes frames; a [Reader] reads them from pcap and pcapng files;
// [Filter] is a kernel filter that lets through only what a Decoder can use.
// Package pcapfilter compiles the filters that people write.
//
// # Fields
//
// The further values of a [Fact], by protocol; those that a packet doesn't tell
// are left out:
//
//	arp   operation (request, reply), kind (request, reply, probe, announcement),
//	      sender_mac, sender_ip, target_mac, target_ip
//	ndp   message (rs, ra, ns, na), kind (probe), target, flags, hop_limit,
//	      lifetime, prefixes, dns, mtu, link_address
//	dhcp  message (discover, …, bootp), client_mac, client_hardware, hostname,
//	      fqdn, vendor_class, user_class, client_id, parameters, options,
//	      requested_ip, client_ip, your_ip, server_id, relay, relay_info, lease,
//	      max_size, architecture, machine_id
//	dns, mdns, llmnr
//	      section (answer, authority, additional), flush, unicast (QU), class (if
//	      not IN), udp_size (OPT), opcode (if not 0), rcode, truncated, transport
//	      (tcp)
//	syncthing
//	      message (announcement, query, answer), addresses, extras (the IDs of others
//	      that the sender speaks of)
//	ssdp  message (search, answer, alive, byebye, update, notify), usn, server,
//	      user_agent, location, mx, max_age
//	nbns  message (query, status, registration, refresh, release, wait, datagram),
//	      rcode, addresses, group, ttl, names, unit, destination, os_version, comment
//	dhcpv6
//	      message (solicit, …), client_id, server_id (both DUIDs), fqdn, vendor (its
//	      enterprise number), vendor_class, user_class, parameters, options,
//	      addresses, prefixes, relays, relay_message, relay, architecture, mud_url
//	igmp, mld
//	      message (query, report, leave), version, mode, sources
//	wsd   message (hello, bye, probe, probe-matches, resolve, resolve-matches),
//	      endpoint, types, scopes, addresses (URLs), metadata_version
//	tged  message (discovery, reply, invalid), version, host, ip, port
//	mqtt  message (connect), version, client_id, will_topic, keep_alive; never credentials
//	      or the will's payload
//	ptp   message (announce, delay-request, peer-delay-request), domain, clock, port,
//	      grandmaster, priority1, priority2, class, steps
//	sap   message (announcement, deletion), session, origin, tool
//	lldp  chassis_id, port_id, port_description, system_name, system_description,
//	      capabilities, enabled, management, vlan, manufacturer, model, serial,
//	      hardware, firmware, software, mud_url, ttl
//	tcp   ttl
//	tls, quic
//	      alpn (with commas), version (the highest offered: 1.0 to 1.3; 3.0 is SSL's),
//	      quic (1, 2, draft-29), ech (the name is that of the front)
//	http  method, user_agent of a request; status, server of a response
//	cdp   device_id, port_id, platform, software, capabilities, addresses, vlan, ttl
//
// # Limits
//
// Everything that comes off a network is hostile. A Decoder follows at most two
// VLAN tags and eight IPv6 extension headers, holds at most 64 datagrams in
// fragments (4 of one source, 16 KiB each) and 256 TCP flows (64 of one source,
// 4 MiB in all). Beside these it holds as many flows with a part of a ClientHello
// over TCP, and as many by QUIC, for ten seconds. It remembers at most 20 MiB of texts and of what frames said,
// so that what is said again needs no memory and little time. A packet that is
// malformed is counted with its reason and yields no fact.
//
// # Fingerprints
//
// A fingerprint is readable text that begins with the version of its form. What
// changes from one packet to the next (transaction ids, addresses, the names of
// hosts and instances) is left out; what the sender's software chose is kept:
//
//	dhcp1:type=1;opts=53,61,12,60,55;prl=1,3,6,15;vendor=MSFT 5.0;has=57
//	mdns1:q=_ipp._tcp.local/PTR/QU,*.local/A/QM
//	mdns1:a=_ipp._tcp.local/PTR/4500,*._ipp._tcp.local/TXT/4500{txtvers+ty=Laser 5}
//	dns1:rd=1;ad=1;edns=1232;opt=10
//	llmnr1:q
//	lldp1:chassis=4;port=3;tlvs=1,2,3,5,6,7,8,0080c2.1;caps=bridge+router;desc=Debian 12
//	tcp1:q;ttl=64;win=44*mss;mss=1460;scale=7;opts=2,4,8,1,3
//	tcp1:a;ttl=128;win=65535;mss=1460;scale=8;opts=2,1,3,1,1,4
//	http1:q=1.1;h=Host,User-Agent,Accept;ua=curl/7.88.1
//	http1:a=1.1;server=lighttpd/1.4.69
//	cdp1:version=2;tlvs=1,2,3,4,5,6;caps=router;platform=cisco 1601;software=IOS 11.2
//	nbns1:registration;flags=2910;ttl=300000;nb=0000
//	nbns1:datagram;type=11;flags=02;browser=1;os=6.1;offers=00011003
//	dhcp6v1:type=1;opts=1,6,8,39,3;oro=23,24;vendor=311 MSFT 5.0;duid=1
//	igmp1:report;version=3;mode=to-exclude
//	mld1:query;version=2;max=10000;robustness=2;interval=125
//	wsd1:hello;root=soap:Envelope;types=wsdp:Device pub:Computer
//	tged1:discovery;version=1.0;keys=RQ
//	mqtt1:version=5;flags=c6;keepalive=30;props=17,33
//	ptp1:announce;profile=0;interval=1;class=248;accuracy=254
//	sap1:announcement;tool=streamer 2
//	ssdp1:search;st=ssdp:all;mx=3;fields=HOST,ST,MAN,MX
//	ssdp1:alive;nt=uuid:*;max-age=1800;server=Linux UPnP/1.0 nas/2;fields=Host,NT,NTS,USN,Server
//
// Those of tcp hold what the TTL began with, most likely, and the window in bytes or
// in segments. Those of tls and quic are JA4's client form as its authors publish it,
// t13d3112h2_e8f1e7e78f70_b26ce05bbdd6: its first part can be read, the others are
// hashes of the sorted cipher suites and extensions. Those of http leave out the
// fields that come and go with what is asked.
//
// [Hash] gives the short key for one.
//
// # Bulk traffic
//
// The kernel's filter has no memory of connections, so it goes by a segment's first
// bytes: SYN, a ClientHello's record, the first word of an HTTP head. Of a
// ClientHello in two segments the second passes by its form alone: it goes to a port
// of TLS servers, has PSH set, is shorter than bulk traffic's segments and begins no
// record with data. So with Filter a live capture finds a ClientHello in one or two
// segments; with WideFilter in any number, as from a file, but uploads come along.
package passive
