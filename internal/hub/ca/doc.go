// Package ca is the hub's certificate authority (RFC 5280), and what decides who gets
// a certificate: tokens, enrolment, renewal, revocation. The gateway's side is
// package enrol.
//
//	token create ─► Registrar.Invite ─► lanfolk1.…  ─► (people) ─► gateway
//	                                                                  │
//	Once, Sessions, Audit ◄─ Registrar ◄─ lanfolk.v1.Enrolment ◄──────┘
//	                             │ signs
//	                         Authority ──► ServerTLS: who may shake hands
//	                             ▲
//	Once ◄──► Revocations ───────┘──► reverse.Server: Authenticate, Drop
//
// An [Authority] signs for two kinds of holders. The hub's own certificate is for
// servers, lives in memory alone and is made anew before it expires. A gateway's is
// for clients, for 30 days, and names the id that the hub assigned; of what the
// gateway asked for only the key counts. Neither may sign. The certificates' begin is
// set back by two hours, so that clocks may differ.
//
// A [Registrar] binds a token to the first key that used it. The same key gets the
// same answer until the token expires. An answer is given only when the audit holds
// that it is about to be, with the certificate's serial number.
//
// [Revocations] are by gateway, not by certificate: what was revoked stays so, and
// comes back under a new id only. They are looked at in each handshake and call; a
// stream that goes on is cut at once at the hub that was told, and within seconds at
// others that share its storage. An expired certificate ends its session, too.
//
// What is not supported: CRLs and OCSP, as nobody but the hub looks at gateways'
// certificates; a change of the authority's key, which is in all gateways' pins.
// Where a gateway with a record enrols again with another key, a certificate of the
// earlier key stays good until it expires; to shut that out revoke the gateway, and
// enrol it under a new id.
package ca
