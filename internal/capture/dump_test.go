package capture

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/passive"
	"github.com/lanfolk/lanfolk/passive/pcapfilter"
)

func frame(t *testing.T, text string) packet.Frame {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return packet.Frame{Data: b, Length: len(b), LinkType: packet.LinkEthernet, Time: time.Unix(1_700_000_000, 123_456_789)}
}

// What is written reads back as the same frames.
func TestDump(t *testing.T) {
	arp := frame(t, "ffffffffffff 020000000001 0806 0001080006040001 020000000001 c0000201 000000000000 c0000207")
	tagged := arp
	tagged.VLAN = 42
	ip := frame(t, "020000000002 020000000001 0800 4500001c000000004011f6c6 c0000201 c0000207 12345678 00080000")
	filter, err := pcapfilter.Parse("not udp")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	blocks := [][]packet.Frame{{arp, ip}, {}, {tagged}}
	writes := 0
	var file bytes.Buffer
	d := Dump{Filter: filter}
	err = d.copy(ctx, writer(func(b []byte) (int, error) { writes++; return file.Write(b) }), packet.LinkEthernet, func(take func(packet.Frame)) error {
		if len(blocks) == 0 {
			cancel()
			return os.ErrClosed
		}
		for _, f := range blocks[0] {
			take(f)
		}
		blocks = blocks[1:]
		return nil
	})
	if err != nil || writes != 3 {
		t.Errorf("%d writes, %v", writes, err)
	}
	var facts []passive.Fact
	if _, err := (File{Path: "-", In: &file}).Read(t.Context(), func(f *passive.Fact) error { facts = append(facts, *f); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(facts) != 2 || facts[0].Protocol != "arp" || facts[1].Protocol != "arp" || !facts[0].Time.Equal(arp.Time) || facts[1].VLAN != 42 || facts[0].VLAN != 0 {
		t.Errorf("it reads as %+v", facts)
	}
}

type writer func(b []byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }

func TestDumpThatNobodyTakes(t *testing.T) {
	full := errors.New("full")
	n := 0
	w := writer(func([]byte) (int, error) {
		if n++; n == 2 {
			return 0, full
		}
		return 0, nil
	})
	err := Dump{}.copy(t.Context(), w, packet.LinkEthernet, func(take func(packet.Frame)) error { take(frame(t, "00")); return nil })
	if !errors.Is(err, full) || n != 2 {
		t.Errorf("%v after %d writes", err, n)
	}
	big := packet.Frame{Data: make([]byte, maxCaptured+10), LinkType: packet.LinkEthernet, VLAN: 1}
	if b := appendFrame(nil, big); len(b) != 16+maxCaptured {
		t.Errorf("a frame of %d bytes takes %d", len(big.Data), len(b))
	}
}
