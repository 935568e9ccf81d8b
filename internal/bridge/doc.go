// Package bridge hands what is known by one protocol to what publishes it by
// another: the outward side of what package source is inward. Nothing here runs
// unless the configuration says so, and nothing goes back to where it came from.
//
// [Zone] publishes services of the links, known by mDNS, in a DNS-SD zone, so that
// they can be browsed by unicast DNS from anywhere (RFC 8766).
//
//	link eth0   Laser._ipp._tcp.local  SRV 0 0 631 laser.local   A 192.0.2.7, AAAA fe80::7
//	zone        Laser._ipp._tcp.lan.example.com  SRV 0 0 631 laser.lan.example.com
//	            laser.lan.example.com  A 192.0.2.7
//
// It hears what package source hears, and doesn't read it back from the inventory:
// that keeps a TXT record for people, without its order and without the difference
// between "ro" and "ro=", and the zone must say what the device said. The inventory
// says which of two services of one name was there first.
//
// What is changed on the way: .local becomes the zone's domain in the names of types,
// instances and hosts (RFC 8766 §5.5.2); TTLs are capped, by default at ten seconds (§5.5.1);
// link-local addresses are left out, and with them a host that has no other. TXT records
// stay as they are, also where they name hosts in .local: nobody but the service's own
// protocol knows what they mean (§5.5.2 rewrites none either).
//
// [TGED] lets those who ask by the Simple Discovery Protocol find services that the
// inventory knows by other protocols, under names that a mapping gives them.
//
// [MQTT] announces such services on a broker, each as a device of a bridge, by the Hemtjänst protocol.
package bridge
