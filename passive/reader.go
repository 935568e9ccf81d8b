package passive

import (
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/lanfolk/lanfolk/packet"
)

// maxFrame is the most bytes of a frame that a capture file may hold, as
// libpcap bounds it; maxBlock bounds what else stands in one.
const (
	maxFrame = 256 << 10
	maxBlock = 16 << 20
)

// FormatError says where a capture file is broken or cut off.
type FormatError struct {
	// Offset is where in the file the broken record begins, in bytes; in a
	// gzip file it counts the bytes as they are when unpacked.
	Offset int64
	// Frames is the number of frames that were read before it.
	Frames int
	Reason string
	Err    error // what reading said, nil if the content is wrong
}

// Error returns a sentence like
// "passive: capture file: byte 4711, after 12 frames: record is cut off: 30 of 60 bytes".
func (e *FormatError) Error() string {
	s := fmt.Sprintf("passive: capture file: byte %d, after %d frames: %s", e.Offset, e.Frames, e.Reason)
	if e.Frames == 1 {
		s = fmt.Sprintf("passive: capture file: byte %d, after 1 frame: %s", e.Offset, e.Reason)
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns what reading said.
func (e *FormatError) Unwrap() error { return e.Err }

// Reader reads frames from a capture file: pcap in both byte orders with micro-
// or nanoseconds, pcapng with any number of sections and interfaces, each also
// packed by gzip. It reads forward only, so a pipe will do.
type Reader struct {
	src    *window
	order  binary.ByteOrder
	next   func() (packet.Frame, error)
	offset int64 // of the next byte
	record int64 // where the record in hand begins
	frames int
	err    error // the end, told again and again

	// pcap
	nano  bool
	kuz   bool // records have 8 bytes more
	ltype packet.LinkType

	// pcapng
	ifaces []captureInterface
}

// NewReader reads the header of a capture file. Its error is a *FormatError.
func NewReader(r io.Reader) (*Reader, error) { return newReader(newWindow(r)) }

// NewPiecesReader is NewReader for a file that somebody else reads, ahead of it
// perhaps: nothing is copied then.
func NewPiecesReader(p Pieces) (*Reader, error) { return newReader(&window{next: p.Piece}) }

func newReader(w *window) (*Reader, error) {
	x := &Reader{src: w}
	b, err := x.src.peek(4)
	if len(b) >= 2 && b[0] == 0x1f && b[1] == 0x8b {
		z, broken := gzip.NewReader(x.src)
		if broken != nil {
			return nil, x.fail("gzip header is broken", broken)
		}
		x.src = newWindow(z)
		b, err = x.src.peek(4)
	}
	if len(b) < 4 {
		switch {
		case errors.Is(err, io.EOF) && len(b) == 0:
			return nil, x.fail("file is empty", nil)
		case errors.Is(err, io.EOF):
			return nil, x.fail("not a capture file: shorter than any header", nil)
		}
		return nil, x.fail("can't be read", err)
	}
	switch magic := binary.BigEndian.Uint32(b); magic {
	case ngSectionHeader:
		x.next = x.nextNG
		head, err := x.take(0, 8, "section header", false)
		if err != nil {
			return nil, err
		}
		return x, x.section([8]byte(head))
	case pcapMicro, pcapNano, pcapKuznetzov, pcapMicroSwapped, pcapNanoSwapped, pcapKuznetzovSwapped:
		x.next = x.nextPcap
		return x, x.pcapHeader(magic)
	default:
		return nil, x.fail(fmt.Sprintf("not a capture file: begins with %08x", magic), nil)
	}
}

// Next returns the next frame, whose Data is valid until the next call. At the
// end of the file the error is io.EOF; where the file is broken or cut off it
// is a *FormatError, and all frames before that have been returned.
func (x *Reader) Next() (packet.Frame, error) {
	if x.err != nil {
		return packet.Frame{}, x.err
	}
	x.record = x.offset
	f, err := x.next()
	if err != nil {
		x.err = err
		return packet.Frame{}, err
	}
	x.frames++
	return f, nil
}

// Offset returns how many bytes were read, unpacked ones in a gzip file.
func (x *Reader) Offset() int64 { return x.offset }

func (x *Reader) fail(reason string, err error) error {
	return &FormatError{Offset: x.record, Frames: x.frames, Reason: reason, Err: err}
}

// take reads n bytes of a record of which had are read. They are valid until the next
// call. At the very end of the file it returns io.EOF if that is allowed; what names
// the record in the error.
func (x *Reader) take(had, n int, what string, endAllowed bool) ([]byte, error) {
	b, err := x.src.take(n)
	x.offset += int64(len(b))
	if err == nil {
		return b, nil
	}
	if errors.Is(err, io.EOF) && endAllowed && len(b) == 0 {
		return nil, io.EOF
	}
	return nil, x.cut(had+len(b), had+n, what, err)
}

// cut is the error of a record of which got bytes of n could be read.
func (x *Reader) cut(got, n int, what string, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return x.fail(fmt.Sprintf("%s is cut off: %d of %d bytes", what, got, n), nil)
	}
	return x.fail(what+" can't be read", err)
}

// skip reads over the rest of n bytes of which had are read.
func (x *Reader) skip(had, n int, what string) error {
	got, err := x.src.skip(n - had)
	x.offset += int64(got)
	if err != nil {
		return x.cut(had+got, n, what, err)
	}
	return nil
}

// fileLinkType maps a file's number to the link type that it means: those below
// 104 differ between systems for raw IP.
func fileLinkType(n uint16) packet.LinkType {
	if n == 12 || n == 14 {
		return packet.LinkRaw
	}
	return packet.LinkType(n)
}

// The first four bytes of a pcap file, read in network byte order.
const (
	pcapMicro            = 0xa1b2c3d4
	pcapNano             = 0xa1b23c4d
	pcapKuznetzov        = 0xa1b2cd34 // of an old patched libpcap
	pcapMicroSwapped     = 0xd4c3b2a1
	pcapNanoSwapped      = 0x4d3cb2a1
	pcapKuznetzovSwapped = 0x34cdb2a1
)

// pcapHeader reads the file header: magic, version, two unused words, the most
// bytes of a frame, link type.
func (x *Reader) pcapHeader(magic uint32) error {
	b, err := x.take(0, 24, "file header", false)
	if err != nil {
		return err
	}
	x.order = binary.BigEndian
	switch magic {
	case pcapMicroSwapped, pcapNanoSwapped, pcapKuznetzovSwapped:
		x.order = binary.LittleEndian
	}
	x.nano = magic == pcapNano || magic == pcapNanoSwapped
	x.kuz = magic == pcapKuznetzov || magic == pcapKuznetzovSwapped
	if v := x.order.Uint16(b[4:]); v != 2 {
		return x.fail(fmt.Sprintf("pcap version %d is not known", v), nil)
	}
	// The upper bits tell of checksums behind the frames.
	x.ltype = fileLinkType(uint16(x.order.Uint32(b[20:]) & 0xffff))
	return nil
}

// nextPcap reads a record: seconds, part of a second, captured length, length
// on the wire, frame.
func (x *Reader) nextPcap() (packet.Frame, error) {
	size := 16
	if x.kuz {
		size = 24
	}
	b, err := x.take(0, size, "record header", true)
	if err != nil {
		return packet.Frame{}, err
	}
	sec, part := x.order.Uint32(b), x.order.Uint32(b[4:])
	caplen, length := x.order.Uint32(b[8:]), x.order.Uint32(b[12:])
	if caplen > maxFrame {
		return packet.Frame{}, x.fail(fmt.Sprintf("record says that it holds %d bytes, more than the %d that a frame may have", caplen, maxFrame), nil)
	}
	if !x.nano {
		part %= 1e6
		part *= 1e3
	}
	if b, err = x.take(0, int(caplen), "record", false); err != nil {
		return packet.Frame{}, err
	}
	return packet.Frame{
		Data: b, Length: max(int(length), len(b)), LinkType: x.ltype,
		Time: time.Unix(int64(sec), int64(part)).UTC(),
	}, nil
}
