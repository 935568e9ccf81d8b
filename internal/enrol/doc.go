// Package enrol is the gateway's side of enrolment: how it comes to the certificate
// by which its hub knows it, and how it keeps one. The hub's side is
// internal/hub/ca; what both must agree on is here: the form of ids and of
// certificates.
//
//	gateway                                        hub
//	   │ TLS 1.3: is one of its certificates the      │
//	   │ pinned authority, and did that sign it?      │
//	   │◄────────────────────────────────────────────►│
//	   │ Enrol {secret, CSR}                          │ binds the token to the key
//	   ├─────────────────────────────────────────────►│
//	   │             {id, name, certificate, issuer}  │ for 30 days
//	   │◄─────────────────────────────────────────────┤
//	   │            … 20 days later, by TLS with it   │
//	   │ Renew {CSR}                                  │ the id stays
//	   ├─────────────────────────────────────────────►│
//
// The key is made on the gateway and never leaves it. It is on the disk before the
// secret is sent, so that whoever lost the answer asks again with the same key and
// gets the same certificate. Joining the same hub again keeps the key, and so the
// identity.
//
// A hub's certificate is known by [HubName] and by who signed it, not by the address
// at which the hub was found: so a hub may move.
//
// What is not supported: keys of other kinds than ECDSA P-256, certificates of
// several hubs at once.
package enrol
