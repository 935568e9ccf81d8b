package capture_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk/internal/capture"
	"github.com/lanfolk/lanfolk/passive"
	"github.com/lanfolk/lanfolk/passive/pcapfilter"
)

// arp is a question: who has 192.0.2.7? tell 192.0.2.1.
const arp = "ffffffffffff020000000001080600010800060400010200000000 01c0000201000000000000c0000207"

// pcap is a capture file with the frame n times, a second apart.
func pcap(t *testing.T, n int) []byte {
	t.Helper()
	frame, err := hex.DecodeString(strings.ReplaceAll(arp, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	b := []byte("\xd4\xc3\xb2\xa1\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x04\x00\x01\x00\x00\x00")
	for i := range n {
		b = binary.LittleEndian.AppendUint32(b, uint32(1_700_000_000+i))
		b = binary.LittleEndian.AppendUint32(b, 0)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(frame)))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(frame)))
		b = append(b, frame...)
	}
	return b
}

func count(t *testing.T, f capture.File) (facts int, err error) {
	t.Helper()
	_, err = f.Read(t.Context(), func(*passive.Fact) error { facts++; return nil })
	return facts, err
}

func TestFileIsReadToItsEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "three.pcap")
	if err := os.WriteFile(path, pcap(t, 3), 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := count(t, capture.File{Path: path}); n != 3 || err != nil {
		t.Errorf("a file: %d facts, error %v; want 3", n, err)
	}
	if n, err := count(t, capture.File{Path: "-", In: bytes.NewReader(pcap(t, 2))}); n != 2 || err != nil {
		t.Errorf("a pipe: %d facts, error %v; want 2", n, err)
	}
	none, err := pcapfilter.Parse("udp")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := count(t, capture.File{Path: path, Filter: none}); n != 0 || err != nil {
		t.Errorf("only UDP: %d facts, error %v; want 0", n, err)
	}
}

func TestFileThatBreaksOff(t *testing.T) {
	whole := pcap(t, 3)
	n, err := count(t, capture.File{Path: "-", In: bytes.NewReader(whole[:len(whole)-1])})
	var format *passive.FormatError
	if n != 2 || !errors.As(err, &format) || format.Frames != 2 {
		t.Errorf("%d facts, error %v; want 2 and where it broke off", n, err)
	}
	if _, err := count(t, capture.File{Path: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "is a folder") {
		t.Errorf("a folder: error %v", err)
	}
}

func TestReaderThatHasEnough(t *testing.T) {
	enough := errors.New("enough")
	calls := 0
	_, err := capture.File{Path: "-", In: bytes.NewReader(pcap(t, 3))}.Read(t.Context(), func(*passive.Fact) error { calls++; return enough })
	if calls != 1 || !errors.Is(err, enough) {
		t.Errorf("%d calls, error %v; want 1 and its error", calls, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (capture.File{Path: "-", In: bytes.NewReader(pcap(t, 50_000))}).Read(ctx, func(*passive.Fact) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: error %v", err)
	}
}
