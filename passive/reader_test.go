package passive_test

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/passive"
)

type order interface {
	binary.ByteOrder
	binary.AppendByteOrder
}

// pcapFile writes a pcap file; part is what stands for part of a second.
func pcapFile(o order, magic, link, part uint32, frames ...[]byte) []byte {
	b := o.AppendUint32(nil, magic)
	b = o.AppendUint16(o.AppendUint16(b, 2), 4)
	for _, v := range []uint32{0, 0, 65535, link} {
		b = o.AppendUint32(b, v)
	}
	for i, f := range frames {
		for _, v := range []uint32{1_700_000_000 + uint32(i), part, uint32(len(f)), uint32(len(f)) + 4} {
			b = o.AppendUint32(b, v)
		}
		b = append(b, f...)
	}
	return b
}

// block writes a pcapng block.
func block(o order, kind uint32, body []byte) []byte {
	body = append(body, make([]byte, -len(body)&3)...)
	n := uint32(12 + len(body))
	b := o.AppendUint32(o.AppendUint32(nil, kind), n)
	return o.AppendUint32(append(b, body...), n)
}

func section(o order) []byte {
	b := o.AppendUint32(nil, 0x1a2b3c4d)
	b = o.AppendUint16(o.AppendUint16(b, 1), 0)
	return block(o, 0x0a0d0d0a, o.AppendUint64(b, ^uint64(0)))
}

func option(o order, code uint16, v []byte) []byte {
	b := o.AppendUint16(o.AppendUint16(nil, code), uint16(len(v)))
	return append(append(b, v...), make([]byte, -len(v)&3)...)
}

func iface(o order, link uint16, options ...[]byte) []byte {
	b := o.AppendUint16(o.AppendUint16(nil, link), 0)
	b = o.AppendUint32(b, 0)
	return block(o, 1, append(b, slices.Concat(options...)...))
}

func enhanced(o order, iface uint32, ticks uint64, f []byte) []byte {
	b := o.AppendUint32(nil, iface)
	b = o.AppendUint32(o.AppendUint32(b, uint32(ticks>>32)), uint32(ticks))
	b = o.AppendUint32(o.AppendUint32(b, uint32(len(f))), uint32(len(f)))
	return block(o, 6, append(b, f...))
}

func gzipped(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(b)
	w.Close()
	return out.Bytes()
}

// read returns a line for each frame, and the error that ended the reading.
func read(file []byte) (string, error) {
	r, err := passive.NewReader(bytes.NewReader(file))
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for {
		f, err := r.Next()
		if err != nil {
			if _, again := r.Next(); !errors.Is(again, err) {
				return "", fmt.Errorf("another end the second time: %v, %v", err, again)
			}
			if err == io.EOF {
				err = nil
			}
			return b.String(), err
		}
		fmt.Fprintf(&b, "%d %q %x/%d %s\n", f.LinkType, f.Interface, f.Data, f.Length, f.Time.Format(time.RFC3339Nano))
	}
}

// TestReader: every form of file.
func TestReader(t *testing.T) {
	le, bige := binary.LittleEndian, binary.BigEndian
	one, two := []byte{1, 2, 3}, []byte{4}
	nano := uint64(1_700_000_000_123_456_789)
	for _, c := range []struct {
		name string
		file []byte
		want string
	}{
		{"pcap little", pcapFile(le, 0xa1b2c3d4, 1, 5, one, two), "1 \"\" 010203/7 2023-11-14T22:13:20.000005Z\n1 \"\" 04/5 2023-11-14T22:13:21.000005Z\n"},
		{"pcap big", pcapFile(bige, 0xa1b2c3d4, 1, 5, one), "1 \"\" 010203/7 2023-11-14T22:13:20.000005Z\n"},
		{"pcap nano", pcapFile(le, 0xa1b23c4d, 113, 5, one), "113 \"\" 010203/7 2023-11-14T22:13:20.000000005Z\n"},
		{"pcap nano big", pcapFile(bige, 0xa1b23c4d, 276, 5, one), "276 \"\" 010203/7 2023-11-14T22:13:20.000000005Z\n"},
		{"pcap with checksums", pcapFile(le, 0xa1b2c3d4, 0x14000001, 5, one), "1 \"\" 010203/7 2023-11-14T22:13:20.000005Z\n"},
		{"pcap raw of BSD", pcapFile(le, 0xa1b2c3d4, 12, 5, one), "101 \"\" 010203/7 2023-11-14T22:13:20.000005Z\n"},
		{"pcap empty", pcapFile(le, 0xa1b2c3d4, 1, 5), ""},
		{"gzip", gzipped(pcapFile(le, 0xa1b2c3d4, 1, 5, one)), "1 \"\" 010203/7 2023-11-14T22:13:20.000005Z\n"},
		{"pcapng", slices.Concat(section(le), iface(le, 1), enhanced(le, 0, nano/1000, one)),
			"1 \"\" 010203/3 2023-11-14T22:13:20.123456Z\n"},
		{"pcapng big, names, two sections", slices.Concat(
			section(bige), iface(bige, 1, option(bige, 2, []byte("eth0")), option(bige, 9, []byte{9}), option(bige, 0, nil)), iface(bige, 113),
			enhanced(bige, 1, nano/1000, two), block(bige, 5, make([]byte, 40)), enhanced(bige, 0, nano, one),
			section(le), iface(le, 101, option(le, 2, []byte("tun0")), option(le, 9, []byte{0x80 | 10}), option(le, 14, le.AppendUint64(nil, 100))),
			enhanced(le, 0, 1_700_000_000<<10|512, one)),
			"113 \"#1\" 04/1 2023-11-14T22:13:20.123456Z\n1 \"eth0\" 010203/3 2023-11-14T22:13:20.123456789Z\n101 \"tun0\" 010203/3 2023-11-14T22:15:00.5Z\n"},
		{"pcapng simple", slices.Concat(section(le), iface(le, 1), block(le, 3, append(le.AppendUint32(nil, 3), one...))),
			"1 \"\" 010203/3 0001-01-01T00:00:00Z\n"},
		{"pcapng gzip", gzipped(slices.Concat(section(le), iface(le, 1), enhanced(le, 0, 0, two))), "1 \"\" 04/1 1970-01-01T00:00:00Z\n"},
	} {
		got, err := read(c.file)
		if got != c.want || err != nil {
			t.Errorf("%s: %v\n%swant\n%s", c.name, err, got, c.want)
		}
	}
}

// TestReaderErrors: one clear error with the place, and what stood before it.
func TestReaderErrors(t *testing.T) {
	le := binary.LittleEndian
	two := pcapFile(le, 0xa1b2c3d4, 1, 5, make([]byte, 60), make([]byte, 60))
	ng := slices.Concat(section(le), iface(le, 1), enhanced(le, 0, 0, make([]byte, 60)), enhanced(le, 0, 0, make([]byte, 60)))
	huge := pcapFile(le, 0xa1b2c3d4, 1, 5, nil)
	le.PutUint32(huge[24+8:], 1<<30)
	packed := gzipped(two)
	for _, c := range []struct {
		name   string
		file   []byte
		frames int
		want   string
	}{
		{"empty", nil, 0, "passive: capture file: byte 0, after 0 frames: file is empty"},
		{"text", []byte("hello, world"), 0, "passive: capture file: byte 0, after 0 frames: not a capture file: begins with 68656c6c"},
		{"short", []byte{0xd4}, 0, "passive: capture file: byte 0, after 0 frames: not a capture file: shorter than any header"},
		{"header cut", two[:20], 0, "passive: capture file: byte 0, after 0 frames: file header is cut off: 20 of 24 bytes"},
		{"record header cut", two[:24+76+5], 1, "passive: capture file: byte 100, after 1 frame: record header is cut off: 5 of 16 bytes"},
		{"record cut", two[:24+76+16+7], 1, "passive: capture file: byte 100, after 1 frame: record is cut off: 7 of 60 bytes"},
		{"record too long", huge, 0, "passive: capture file: byte 24, after 0 frames: record says that it holds 1073741824 bytes, more than the 262144 that a frame may have"},
		{"version", append([]byte{0xd4, 0xc3, 0xb2, 0xa1, 9, 0}, make([]byte, 18)...), 0, "passive: capture file: byte 0, after 0 frames: pcap version 9 is not known"},
		{"block cut", ng[:len(ng)-10], 1, "passive: capture file: byte 140, after 1 frame: block is cut off: 82 of 92 bytes"},
		{"block header cut", ng[:28+20+92+3], 1, "passive: capture file: byte 140, after 1 frame: block header is cut off: 3 of 8 bytes"},
		{"block length", slices.Concat(section(le), []byte{6, 0, 0, 0, 4, 0, 0, 0}), 0, "passive: capture file: byte 28, after 0 frames: block of type 6 can't be 4 bytes long"},
		{"no interface", slices.Concat(section(le), enhanced(le, 0, 0, nil)), 0, "passive: capture file: byte 28, after 0 frames: packet of interface 0, which was not described"},
		{"time", slices.Concat(section(le), iface(le, 1, option(le, 9, []byte{30}))), 0, "passive: capture file: byte 28, after 0 frames: interface 0: a time resolution of 30 is not possible"},
		{"no byte order", append([]byte{0x0a, 0x0d, 0x0d, 0x0a, 28, 0, 0, 0, 1, 1, 1, 1}, make([]byte, 16)...), 0, "passive: capture file: byte 0, after 0 frames: section header has no byte order: 01010101"},
		{"gzip cut", packed[:len(packed)-12], -1, ""},
	} {
		got, err := read(c.file)
		var format *passive.FormatError
		if !errors.As(err, &format) {
			t.Errorf("%s: error %v", c.name, err)
			continue
		}
		if c.want != "" && err.Error() != c.want {
			t.Errorf("%s: %v\nwant %s", c.name, err, c.want)
		}
		if n := strings.Count(got, "\n"); c.frames >= 0 && (n != c.frames || format.Frames != n) {
			t.Errorf("%s: %d frames, %d in the error; want %d", c.name, n, format.Frames, c.frames)
		}
	}
}

// TestReaderPipe: reads that come in small pieces, and an error of the reader's own.
func TestReaderPipe(t *testing.T) {
	file := pcapFile(binary.LittleEndian, 0xa1b2c3d4, 1, 5, make([]byte, 600), make([]byte, 100))
	broken := errors.New("the disk is on fire")
	r, err := passive.NewReader(io.MultiReader(&oneByte{file}, &failing{broken}))
	if err != nil {
		t.Fatal(err)
	}
	var sizes []int
	for {
		var f packet.Frame
		if f, err = r.Next(); err != nil {
			break
		}
		sizes = append(sizes, len(f.Data))
	}
	if !slices.Equal(sizes, []int{600, 100}) || !errors.Is(err, broken) {
		t.Errorf("%v, %v", sizes, err)
	}
	if want := "passive: capture file: byte 756, after 2 frames: record header can't be read: the disk is on fire"; err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
	if r.Offset() != int64(len(file)) {
		t.Errorf("offset %d of %d", r.Offset(), len(file))
	}
}

type oneByte struct{ b []byte }

func (r *oneByte) Read(p []byte) (int, error) {
	if len(r.b) == 0 {
		return 0, io.EOF
	}
	p[0], r.b = r.b[0], r.b[1:]
	return 1, nil
}

type failing struct{ err error }

func (r *failing) Read([]byte) (int, error) { return 0, r.err }
