package capture

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/passive/pcapfilter"
)

// Dump captures on one link into a pcap file (draft-ietf-opsawg-pcap).
type Dump struct {
	Link packet.Link
	// Filter lets frames through, nil all.
	Filter      *pcapfilter.Filter
	Promiscuous bool
	BufferSize  int // as in lan.CaptureOptions
}

// maxCaptured bounds a frame, in bytes. It stands in the head of the file.
const maxCaptured = 256 << 10

// Run writes until ctx ends; then it returns nil. Each Write holds whole frames, the
// first the head of the file; an error of it ends the capture and is returned. A
// missing right to capture is an error that errors.Is os.ErrPermission.
func (d Dump) Run(ctx context.Context, w io.Writer) error {
	c, err := lan.OpenCapture(d.Link, lan.CaptureOptions{Promiscuous: d.Promiscuous, BufferSize: d.BufferSize})
	if err != nil {
		return err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	return d.copy(ctx, w, c.LinkType(), func(take func(packet.Frame)) error { return c.ReadBlock(time.Time{}, take) })
}

// copy writes what read gives out, a block of frames at a time.
func (d Dump) copy(ctx context.Context, w io.Writer, kind packet.LinkType, read func(take func(packet.Frame)) error) error {
	if _, err := w.Write(appendHead(nil, kind)); err != nil {
		return err
	}
	var matcher *pcapfilter.Matcher
	if d.Filter != nil {
		matcher = d.Filter.Matcher()
	}
	var block []byte
	var failed error
	take := func(f packet.Frame) {
		if matcher != nil {
			if ok, err := matcher.Match(f); err != nil {
				failed = err
				return
			} else if !ok {
				return
			}
		}
		block = appendFrame(block, f)
	}
	for {
		block = block[:0]
		err := read(take)
		if err == nil {
			err = failed
		}
		if len(block) > 0 {
			if _, err := w.Write(block); err != nil {
				return err
			}
		}
		if err != nil {
			if ctx.Err() != nil && (errors.Is(err, os.ErrClosed) || errors.Is(err, net.ErrClosed)) {
				return nil
			}
			return err
		}
	}
}

// appendHead adds a file's head: times have nanoseconds.
func appendHead(b []byte, kind packet.LinkType) []byte {
	b = binary.LittleEndian.AppendUint32(b, 0xa1b23c4d)
	b = binary.LittleEndian.AppendUint16(b, 2)
	b = binary.LittleEndian.AppendUint16(b, 4)
	b = append(b, make([]byte, 8)...)
	b = binary.LittleEndian.AppendUint32(b, maxCaptured)
	return binary.LittleEndian.AppendUint32(b, uint32(kind))
}

// appendFrame adds a frame, with the VLAN tag (IEEE 802.1Q) that the network card
// took off.
func appendFrame(b []byte, f packet.Frame) []byte {
	const addresses, tag = 12, 4
	data, length := f.Data, max(f.Length, len(f.Data))
	tagged := f.VLAN != 0 && f.LinkType == packet.LinkEthernet && len(data) >= addresses
	if tagged {
		length += tag
	}
	captured := len(data)
	if tagged {
		captured += tag
	}
	if over := captured - maxCaptured; over > 0 {
		data, captured = data[:len(data)-over], maxCaptured
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(f.Time.Unix()))
	b = binary.LittleEndian.AppendUint32(b, uint32(f.Time.Nanosecond()))
	b = binary.LittleEndian.AppendUint32(b, uint32(captured))
	b = binary.LittleEndian.AppendUint32(b, uint32(length))
	if tagged {
		b = append(b, data[:addresses]...)
		b = append(b, 0x81, 0x00, byte(f.VLAN>>8), byte(f.VLAN))
		data = data[addresses:]
	}
	return append(b, data...)
}
