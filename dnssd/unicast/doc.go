// Package unicast is DNS-based service discovery over unicast DNS (RFC 6763
// §10, §11): a source for package dnssd that asks DNS servers, the domains that
// are recommended for browsing, and registration by dynamic updates.
//
//	_http._tcp.example.com       PTR  Web._http._tcp.example.com
//	Web._http._tcp.example.com   SRV  0 0 80 www.example.com
//	b._dns-sd._udp.example.com   PTR  example.com                  domains to browse (§11)
package unicast
