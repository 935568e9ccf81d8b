// Package seeds hands real packets to fuzz targets: out of the capture files in the
// folders that LANFOLK_PCAPS and LANFOLK_PCAPS_BAD name. A clone without them is legal,
// and gets none.
package seeds

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/passive"
)

// Bounds: a fuzz target's seeds run in each test.
const (
	perTarget = 50
	perFile   = 300 // frames that are looked at
	maxBytes  = 4096
)

// Packet is what a frame holds, as far as it can be told.
type Packet struct {
	Frame     []byte
	EtherType uint16 // below 1536 an LLC frame's length
	Proto     uint8  // IP's
	Src, Dst  uint16 // ports of UDP and TCP
	Payload   []byte // behind the last header that is told
}

// Add adds the payloads of packets that pick chooses, at most fifty of different
// lengths.
func Add(f *testing.F, pick func(p Packet) bool) {
	f.Helper()
	seen := make(map[int]bool)
	Each(f, func(p Packet) bool {
		if n := len(p.Payload); n > 0 && n <= maxBytes && !seen[n] && pick(p) {
			seen[n] = true
			f.Add(p.Payload)
		}
		return len(seen) < perTarget
	})
}

// Files returns the capture files of both folders.
func Files(t testing.TB) (files []string) {
	t.Helper()
	for _, variable := range []string{"LANFOLK_PCAPS", "LANFOLK_PCAPS_BAD"} {
		dir := os.Getenv(variable)
		if dir == "" || dir == "none" {
			continue
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatalf("%s: %v", variable, err)
		}
		for _, e := range entries {
			switch filepath.Ext(e.Name()) {
			case ".pcap", ".pcapng", ".cap", ".gz":
				files = append(files, filepath.Join(dir, e.Name()))
			}
		}
	}
	return files
}

// Each calls take with the packets of all files until it says that it has enough.
func Each(t testing.TB, take func(Packet) bool) {
	t.Helper()
	for _, file := range Files(t) {
		if !each(t, file, take) {
			return
		}
	}
}

func each(t testing.TB, file string, take func(Packet) bool) bool {
	in, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	r, err := passive.NewReader(in)
	for n := 0; err == nil && n < perFile; n++ {
		var f packet.Frame
		if f, err = r.Next(); err == nil && f.LinkType == packet.LinkEthernet && !take(open(append([]byte(nil), f.Data...))) {
			return false
		}
	}
	var broken *passive.FormatError
	if err != nil && !errors.As(err, &broken) && !errors.Is(err, io.EOF) {
		t.Fatalf("%s: %v", file, err)
	}
	return true
}

// open tells the headers of an Ethernet frame without tags, options or fragments;
// others keep their payload as it is.
func open(b []byte) Packet {
	be := binary.BigEndian
	p := Packet{Frame: b}
	if len(b) < 14 {
		return p
	}
	p.EtherType, p.Payload = be.Uint16(b[12:]), b[14:]
	switch b = p.Payload; {
	case p.EtherType == 0x0800 && len(b) >= 20 && b[0] == 0x45:
		p.Proto, p.Payload = b[9], b[20:]
		if n := int(be.Uint16(b[2:])); n >= 20 && n <= len(b) {
			p.Payload = b[20:n]
		}
	case p.EtherType == 0x86dd && len(b) >= 40:
		p.Proto, p.Payload = b[6], b[40:]
	}
	switch b = p.Payload; {
	case p.Proto == 17 && len(b) >= 8:
		p.Src, p.Dst, p.Payload = be.Uint16(b), be.Uint16(b[2:]), b[8:]
	case p.Proto == 6 && len(b) >= 20 && len(b) >= int(b[12]>>4)*4:
		p.Src, p.Dst, p.Payload = be.Uint16(b), be.Uint16(b[2:]), b[int(b[12]>>4)*4:]
	}
	return p
}
