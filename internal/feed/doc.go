// Package feed is the form of what a gateway sends its hub of its own accord: the data
// of the resources 4 and 5 of package reverse. A batch is lines of JSON, the first of
// which says what it is:
//
//	{"feed":"inventory","version":1,"snapshot":true}        of type 4
//	{"key":"d/dx5…","doc":{"names":["nas"],…}}              put
//	{"key":"s/s2a…","gone":true}                            took away
//
//	{"feed":"fingerprints","version":1}                     of type 5
//	{"protocol":"mdns","query":"nas.local",…,"count":3}     to be added to the row of its key
//
// An inventory is items, each with a key and a document:
//
//	d/ID     a device without its services, see [DeviceDoc]
//	s/ID     a service, see [ServiceDoc]
//	e/ID     the evidence for a device and the reasons for what it is taken to be, see
//	         [EvidenceDocs]; what doesn't fit stands in e/ID/1, e/ID/2 and e/ID/3
//	t/N/I    when devices and services were heard last, see [TimesDoc]: part I of N
//
// The documents name no gateway: the hub knows whose they are. Times are milliseconds
// since 1970, 0 for none. Fields that a reader doesn't know are left alone.
//
// The first batch of an epoch says snapshot, and the one with which all that there is
// has been told says complete: what the hub has of earlier epochs, and wasn't told again,
// goes then.
//
// Everything that is parsed is checked: the sender may be anybody.
package feed
