// Package nmos proves that lanfolk finds and chooses NMOS APIs as AMWA's
// documents say: the cases of nmos/testdata are published by real servers in
// network namespaces, BIND and dnsmasq for unicast DNS and avahi-daemon for mDNS,
// and the real program looks for them.
//
// What a server can't publish is in a table with the reason, and one of the lab's
// own takes its place. The table is checked, too: what each server really
// serves is read back by a DNS client that shares no code with lanfolk.
package nmos
