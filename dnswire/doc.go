// Package dnswire reads and writes DNS messages as bytes: the codec under
// multicast DNS (RFC 6762), DNS-SD (RFC 6763) and passive monitoring. It opens
// no socket, keeps no time and logs nothing.
//
//	 0                 1 1 1 1 1 1
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5
//	+-------------------------------+
//	|              ID               |  12-byte header, RFC 1035 §4.1.1
//	|Q|Opcode |A|T|R|R|Z|A|C| Rcode |
//	|R|       |A|C|D|A| |D|D|       |
//	|   QDCOUNT     |    ANCOUNT    |
//	|   NSCOUNT     |    ARCOUNT    |
//	+-------------------------------+
//	| name | type | U | class       |  a question; U asks for a unicast answer
//	+-------------------------------+  (QU, RFC 6762 §5.4)
//	| name | type | F | class | TTL |  a record; F flushes older ones from caches
//	| rdlength | rdata              |  (RFC 6762 §10.2)
//	+-------------------------------+
//
// Reading. [Parse] checks a whole message in one walk and returns a view of it.
// What a [Message] then hands out ([Question], [Record], [NameView]) are views
// of the caller's bytes and valid as long as these are left alone. Parsing,
// walking and [NameView.AppendFolded] into a buffer allocate nothing.
// [Record.RR] makes an owned copy.
//
// Names stay wire bytes. A DNS-SD instance name is one label that may hold dots,
// spaces and any UTF-8 (RFC 6763 §4.1.1); dotted text can't tell such a dot from
// one between labels, so text is only made for people, with escapes, and reads
// back exactly. Names compare with ASCII case folding only (RFC 6762 §16).
//
// Hostile input. A compression pointer must point backward, to before the labels
// that it ends; a name has at most 255 bytes and 126 pointers; to follow the pointers
// of a message takes at most 8 steps a byte, plus 1024. Records that the
// header promises and the message doesn't hold are an error. What is wrong and
// where is told by [Error].
//
// What is let pass, because devices do it and RFC 6762 or nothing forbids it:
// an NSEC record that can't be read (RFC 6762 §6.1) and an OPT record with
// broken options only have [Record.Malformed] set, and so has a TXT record whose
// last string is longer than what is left of it: the records beside it are whole. A
// TXT record with no data at all is read as an empty one (RFC 6763 §6.1); bytes after the last record are counted
// in [Message.Trailing], because some senders pad and no rule forbids it; names
// may hold any bytes; reserved header bits may be set (RFC 6762 §18).
//
// Writing. A [Builder] writes messages with name compression for the types that
// RFC 6762 §18.14 lists, within a size limit: owned records, or by [Builder.Copy]
// those of another message. Once it has grown it allocates nothing.
//
// Not supported: names inside the rdata of types that can't be compressed (SVCB,
// HTTPS, RRSIG, IPSECKEY, HIP) are opaque bytes; zone files; the extended label
// types of RFC 6891 §5; messages over TCP need their length prefix taken off.
package dnswire
