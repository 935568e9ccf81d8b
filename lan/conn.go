package lan

import "errors"

// ErrLinkGone is returned (wrapped) when the link that a Conn, a Capture or a
// call names doesn't exist any more. The Conn is of no further use: close it,
// and listen anew when WatchLinks shows a link of that name again.
var ErrLinkGone = errors.New("the link is gone")

// MaxDatagram is the longest datagram that a Conn reads, in bytes: RFC 6762 §17
// allows 9000 with the headers. A longer one is dropped and counted.
const MaxDatagram = 9216

// ConnStats counts what a Conn dropped.
type ConnStats struct {
	// Overflow counts datagrams that the kernel dropped because nobody read.
	Overflow uint64
	// Truncated counts datagrams longer than MaxDatagram.
	Truncated uint64
	// OtherLink counts datagrams that came from another link: 0 where the socket
	// could be bound to its device.
	OtherLink uint64
	// Malformed counts datagrams about which the kernel did not say where they
	// came from.
	Malformed uint64
}
