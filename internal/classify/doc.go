// Package classify says what a device is: its model, its operating system and its
// class (printer, camera, phone, …), from what it says on the network anyway.
//
//	signals ─┬─ rules of your own ──┐
//	         ├─ learnt devices ─────┼─► evidence for each answer ─► the likeliest, with its
//	         └─ the built-in rules ─┘   combined by Dempster's rule    confidence and reasons
//
// A signal is a kind and a value, such as dhcp.vendor_class "MSFT 5.0"; [Kinds]
// lists the kinds. No single one names a device: each rule says how far it is to be
// trusted. Rules that speak for the same answer by signals of different kinds
// strengthen each other; rules that speak for different answers weaken each other,
// and both are told. The order of signals and rules makes no difference.
//
// # Rules
//
// Rules are data: TOML files, the built-in ones embedded.
//
//	[[rule]]
//	name       = "windows-dhcp"
//	source     = "MS-DHCPE, section 2.2.3: clients send the vendor class MSFT 5.0"
//	when       = { "dhcp.vendor_class" = "MSFT 5.0" }
//	os         = "Windows"
//	class      = "computer"
//	confidence = 0.8
//
// All conditions in when must hold; of several patterns for a kind one must. In a
// pattern * stands for any text and ? for one byte, case makes no difference, and a pattern
// that begins with a dot holds for that domain and all names below it. A model or an OS
// may quote what was matched: {mdns.txt.md} is that signal's value, {http.server*}
// what the pattern's first * stood for.
//
// # Learnt devices
//
// A [Recogniser] compares a device's signals with those of devices that a person
// labelled, by naive Bayes: a signal that few labels have counts for more than one
// that many have. It answers with a label only where signals of at least two
// kinds speak for it, and does so without the strongest of them, too.
//
// What tells one device from others of its model is no signal for it. Kinds for
// which [Learnable] is false are left out: whole host names, ids of clients, the
// vendor by the MAC; and [Scrub] takes hardware addresses, UUIDs and IP addresses
// out of the others.
package classify
