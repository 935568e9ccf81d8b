package syncthing

import "github.com/lanfolk/lanfolk/packet"

// Conn is a UDP socket, as package lan opens them.
//
// ReadBatch blocks until at least one datagram is there, fills the front of
// the slice and returns how many; each datagram's Dst is the destination in
// its IP header, and its Data is valid until the next ReadBatch. WriteBatch
// sends datagrams in order; with a valid address in Src a datagram leaves from
// that address. It returns how many were sent and why the next was not. Each of the two
// is called from one goroutine. Close makes both return an error, at once and for good.
type Conn interface {
	ReadBatch([]packet.Datagram) (int, error)
	WriteBatch([]packet.Datagram) (int, error)
	Close() error
}
