// Package leases reads what DHCP servers on this machine have given out, from
// the files in which they keep it: dnsmasq's lease file, and the memfile of Kea's
// servers for IPv4 and IPv6. It writes nothing and asks nobody.
//
// dnsmasq rewrites its file at each change; a line for each lease:
//
//	1767225600 02:00:5e:10:00:01 10.0.0.5 printer 01:02:00:5e:10:00:01
//	ends       MAC               address  host    client id           "*": none; ends at 0: never
//	duid 00:01:00:01:2e:00:00:00:02:00:5e:10:00:02        the server's own, then the leases of IPv6
//	1767225600 305419896 fd00::5 printer 00:01:00:01:…    IAID (with a T before it: temporary), DUID
//
// Kea appends a row at each change; of an address's rows the last one holds. The
// columns follow from the header:
//
//	address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context
//	address,duid,valid_lifetime,expire,subnet_id,pref_lifetime,lease_type,iaid,prefix_len,…,hostname,hwaddr,state,…
//
// Now and then it cleans up: FILE becomes FILE.1, a process of its own makes
// FILE.completed of FILE.2 and FILE.1, and then FILE.2 of that. As Kea itself
// does when it starts, File reads FILE.completed or else FILE.2 and FILE.1, and
// FILE at last.
//
// Not read: Kea's leases in MySQL and PostgreSQL, those of ISC dhcpd and of
// systemd-networkd.
package leases
