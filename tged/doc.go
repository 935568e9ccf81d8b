// Package tged is the Simple Discovery Protocol, TGED 1.0: a client broadcasts
// the name of a service, and a server that knows it says where it is.
//
// Messages are text in single UDP datagrams, port 4745, laid out like HTTP:
//
//	client ── broadcast ──> TGED DISCOVERY 1.0␍␊    status line: protocol, method, version
//	                        RQ:SQL␍␊                fields: key, colon, value
//	                        ␍␊                      an empty line ends it
//
//	server ── unicast ────> TGED REPLY 1.0␍␊        or, if it doesn't know the service:
//	                        HOST: test␍␊                TGED INVALID 1.0␍␊
//	                        IP: 192.168.0.34␍␊          RP: INVALID␍␊
//	                        PORT: 3306␍␊                ␍␊
//	                        ␍␊
//
// A [Server] answers from [Services]: a [File] of JSON that is watched while it
// runs, a [Table] in a database, a [Set] in memory, or several of them
// ([Join]). A [Client] asks on every link, or one server, and yields what
// answers. Neither opens a socket: both are handed what package lan opens.
//
// The document leaves much open. Where it is silent this package reads more than
// it writes:
//
//   - Lines end in CRLF or LF, the empty line and the last line's end may be missing.
//   - White space around a key and a value doesn't count, and a line without a
//     colon is skipped. Of a field that is there twice the last one counts.
//   - The protocol's name is in capitals and begins the datagram. Method, keys
//     and service names are compared without regard to the case of ASCII letters.
//   - Any version 1.x is understood and answered with 1.0.
//
// # Who is answered
//
// A REPLY and an INVALID are never answered, so that no two servers can keep each
// other busy. Nor is what isn't TGED, or longer than the 4,096 bytes that the
// document's server reads. Every other datagram that begins with "TGED" and a white
// space gets a REPLY or an INVALID, which holds nothing of the request.
//
// A source outside of the link's own subnets gets no answer; with OffLink it gets
// one of at most four times the bytes that it sent. What one source and all of
// them can have answered in a second is bounded. The answer leaves from the address
// that was asked; of a broadcast, from the link's address in the asker's subnet.
//
// # Not supported
//
// IPv6, for which the document has no group. A service whose reply is longer than
// the 1,024 bytes that the document's client reads is refused where it is defined.
package tged
