package tged

import (
	"context"

	"github.com/lanfolk/lanfolk/packet"
)

// Conn is a UDP socket for IPv4 on one link, as lan.ListenBroadcast opens it.
//
// ReadBatch blocks until at least one datagram is there, fills the front of
// the slice and returns how many; each datagram's Dst is the destination in
// its IP header, and its Data is valid until the next ReadBatch. WriteBatch
// sends datagrams in order; with a valid address in Src a datagram leaves from
// that address. It returns how many were sent and why the next was not. ReadBatch
// is called from one goroutine, WriteBatch from several. Close makes both return an
// error, at once and for good.
type Conn interface {
	ReadBatch([]packet.Datagram) (int, error)
	WriteBatch([]packet.Datagram) (int, error)
	Close() error
}

// Links sends the links that are to be used: the whole set at once, and again after each
// change. It closes the channel when ctx ends.
type Links func(ctx context.Context) (<-chan []packet.Link, error)
