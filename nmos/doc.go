// Package nmos finds the APIs of an NMOS studio by DNS-SD and chooses one, as
// AMWA's specifications say: IS-04 (registration, query, node), IS-06 (network
// control), IS-07 (MQTT broker), IS-09 (system) and IS-10 (authorization).
//
// An API is advertised as a DNS-SD service whose TXT record says what it is:
//
//	_nmos-netctrl._tcp.example.com      PTR  ctl-1._nmos-netctrl._tcp.example.com
//	ctl-1._nmos-netctrl._tcp.example.com  SRV  0 0 8080 ctl-1.example.com
//	                                      TXT  "api_proto=http" "api_ver=v1.0,v1.1" "api_auth=false" "pri=10"
//
// [Parse] reads one such advertisement, or says why it can't be used; a broken
// one never wins. [Needs.Rank] puts those that fit a client into groups in order of
// preference: by API version, then by priority; the members of a group are
// equal, and a client chooses one of them at random.
//
// [Advertisement] is the other side: it makes what DNS-SD publishes of an API, and
// refuses what a client would have to discard.
package nmos
