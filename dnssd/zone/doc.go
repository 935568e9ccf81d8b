// Package zone serves a DNS-SD zone by unicast DNS (RFC 1034, RFC 6763 §10): a
// small authoritative server to which a site's DNS delegates a domain, or the text
// of that zone for another server to take in. What is on a link by multicast DNS can
// so be browsed from anywhere (RFC 8766).
//
//	lan.example.com               SOA  ns.lan.example.com hostmaster.… serial …
//	lan.example.com               NS   ns.lan.example.com
//	b._dns-sd._udp.lan.….com      PTR  lan.example.com                     also db, lb (§11)
//	_services._dns-sd._udp.lan.…  PTR  _ipp._tcp.lan.example.com
//	_ipp._tcp.lan.example.com     PTR  Laser 2\.0._ipp._tcp.lan.example.com
//	_color._sub._ipp._tcp.lan.…   PTR  Laser 2\.0._ipp._tcp.lan.example.com
//	Laser 2\.0._ipp._tcp.lan.…    SRV  0 0 631 laser.lan.example.com
//	Laser 2\.0._ipp._tcp.lan.…    TXT  "rp=ipp/print"
//	laser.lan.example.com         A    192.0.2.7
//
// A [Zone] holds what is offered as records; [Zone.Put] and [Zone.Remove] change it,
// and its serial number goes up when somebody may know the present one (RFC 1982).
// An [Answerer] makes an answer of a query's bytes. A [Server] does so on sockets that
// it is handed; a [Notifier] tells secondaries of changes (RFC 1996), which then fetch
// the zone (RFC 5936). [Zone.WriteTo] and [Zone.WriteInclude] write it as a zone file.
//
// Answers. A name above one that has records exists (RFC 8020). That there is nothing
// comes with the SOA record and so may be remembered (RFC 2308). PTR, SRV and NS
// bring along what is asked next, as far as it fits (RFC 6763 §12). What doesn't fit into UDP is
// empty and truncated. ANY gets one set of records by UDP (RFC 8482). Outside its
// zones the server refuses; it never asks anybody. Transfers are for the zone's
// secondaries, known by address, by a TSIG key (RFC 8945), or by both.
//
// Hostile queries. A message is at most 4096 bytes; connections, transfers at a time
// and the answers that a network gets by UDP are bounded; a [Limiter]'s memory is fixed.
//
// Not supported: DNSSEC, dynamic updates (package unicast has the client's side),
// wildcards, aliases, delegations from the zone, differences in IXFR (the whole zone
// comes instead), long-lived queries and push (RFC 8764, RFC 8765), cookies. A set of
// records is served as far as it fits a message of 64 KiB: some 2000 instances of one
// type, and all of them in a transfer.
package zone
