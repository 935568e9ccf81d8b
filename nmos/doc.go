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
// A [Client] keeps to the procedure of AMWA's "APIs: Discovery" (IS-06 v1.0.1):
//
//	configured location ──► unicast DNS, all domains ──no PTR record──► mDNS
//	                                   └───────────┬───────────────────┘
//	   list: discard, sort by version and pri, ◄───┘
//	   one of the first equals by chance
//	        │                     ▲
//	        ▼                     │ fails: marked invalid for a while, the next
//	   in use, while the list is kept ── nothing left: asks again, with backoff and jitter
//
// It says in words why what was chosen was chosen, and why each other one
// wasn't. [Probe] finds out whether an API works.
//
// The pieces are there alone, too. [Parse] reads one advertisement, or says why
// it can't be used; a broken one never wins. [Needs.Rank] puts those that fit a client into
// groups in order of preference: by API version, then by priority; the members
// of a group are equal.
//
// [Advertisement] is the other side: it makes what DNS-SD publishes of an API, and
// refuses what a client would have to discard.
//
// The package opens no sockets: sources of DNS-SD are handed in, and functions
// that dial. What others say is hostile: instances in a list, marks, states that wait
// for a reader, and what is read of an API's answer are bounded, and lists that change
// all the time are put in order a few times a second.
//
// Not supported: IS-04's peer-to-peer mode (ver_* keys of nodes), DNSSEC.
package nmos
