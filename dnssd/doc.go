// Package dnssd is DNS-based service discovery (RFC 6763): it looks for services
// and announces them, over multicast DNS.
//
//	_services._dns-sd._udp.local  PTR  _http._tcp.local                 which types are there (§9)
//	_http._tcp.local              PTR  Build v1\.2._http._tcp.local     which instances (§4)
//	Build v1\.2._http._tcp.local  SRV  0 0 8080 nas.local               where (§5)
//	Build v1\.2._http._tcp.local  TXT  "path=/" "ro"                    what else (§6)
//	nas.local                     A    10.0.0.5
//
// A [Browser] asks for all of these as far as is needed and puts together what
// comes, in whatever order and over however many packets: one [Service] for an
// instance on a link, from the IPv4 and the IPv6 side of the link. [Resolve],
// [LookupHost] and [LookupAddr] ask for one thing and come back.
//
// A [Publisher] makes these records of an [Announcement], and those of the host
// that the service runs on, and has an mdns.Engine publish them on its links. A
// name that another host has becomes "Web (2)" or "nas-2"; a [Keeper] remembers
// that. Placeholders hold the name in types that aren't offered (§8).
//
// A service that didn't work is handed to [Reconfirm]: browsers drop it unless
// somebody confirms it within ten seconds (RFC 6762 §10.4). One with several
// SRV records has several targets; [Service.Order] says which to try (RFC 2782).
//
// What is asked is a [Source]: [Multicast] makes one of an mdns.Engine, and
// package unicast has one that asks DNS servers (§10). Names in .local are never
// asked for there.
//
// Names. An instance's name is one label of any text, with dots and spaces
// (§4.1.1); an [Instance] holds it as it is, and its String escapes it.
//
// What comes off the network is hostile: names and texts may hold any bytes.
// Each link has at most [MaxServices] instances and [MaxTypes] types followed.
//
// Browsing domains (§11), unicast DNS (§10) and registration in it are in package
// unicast.
package dnssd
