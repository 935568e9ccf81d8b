// Package inventory is the hub's end of what gateways send of their own accord (package
// feed): the devices and services of all gateways, and what they heard.
//
//	gateway ──batch──► Take ──► checked ──► fleet.Feed ──► memory ──► readers, watchers
//
// A batch is checked as a whole before anything of it is kept, and is in the memory only
// once the database has it. Open reads the memory anew from the database. The evidence for
// devices stays in the database alone.
//
// A device's id is that of its gateway, a dot, and the id that the gateway gave it: so two
// gateways may have one id, or hear one MAC, and stay apart. Its gateway is shown by name.
// While that is offline the state of all it told of is unknown; the times stay. A gateway
// that is revoked hides what it told, and one that is forgotten takes it along.
//
// What people say at the hub, names and tags, stays at the hub, and comes before what
// the gateway says. Whether sightings belong together is for the gateway to decide, and said
// there.
package inventory
