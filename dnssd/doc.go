// Package dnssd is DNS-based service discovery (RFC 6763): the side that looks
// for services, over multicast DNS.
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
// What is asked is a [Source]: [Multicast] makes one of an mdns.Engine. Unicast
// DNS can be another.
//
// Names. An instance's name is one label of any text, with dots and spaces
// (§4.1.1); an [Instance] holds it as it is, and its String escapes it.
//
// What comes off the network is hostile: names and texts may hold any bytes.
// Each link has at most [MaxServices] instances and [MaxTypes] types followed.
//
// Not supported yet: publishing (§4.1.3, §7.2), browsing domains (§11), unicast
// DNS (§10).
package dnssd
