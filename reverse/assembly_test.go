package reverse_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/lanfolk/lanfolk/reverse"
)

// chunks cuts text into chunks of n bytes, each with its meta.
func chunks(text string, n int) (metas []reverse.Meta, data [][]byte) {
	sum := sha256.Sum256([]byte(text))
	for seq := uint64(0); ; seq++ {
		cut := min(n, len(text))
		m := reverse.Meta{ID: someID, Seq: seq}
		data = append(data, []byte(text[:cut]))
		text = text[cut:]
		if text == "" {
			m.Last, m.Status, m.SHA256 = true, reverse.StatusOK, hex.EncodeToString(sum[:])
			for _, d := range data {
				m.Total += uint64(len(d))
			}
			return append(metas, m), data
		}
		metas = append(metas, m)
	}
}

// However chunks are repeated, and wherever the hub starts anew, the result is
// what was sent.
func TestAssemblyOfRepeatedChunks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringN(0, 60, -1).Draw(t, "text")
		metas, data := chunks(text, rapid.IntRange(1, 20).Draw(t, "n"))
		a := reverse.NewAssembly(0)
		var got bytes.Buffer
		for !a.Complete() {
			i := rapid.IntRange(0, int(a.Next())).Draw(t, "chunk")
			if err := a.Take(metas[i], data[i], func(b []byte) error { got.Write(b); return nil }); err != nil {
				t.Fatal(err)
			}
			if !a.Complete() && rapid.Bool().Draw(t, "restart") {
				var err error
				if a, err = reverse.ResumeAssembly(0, a.Next(), bytes.NewReader(got.Bytes())); err != nil {
					t.Fatal(err)
				}
			}
		}
		if got.String() != text || a.Size() != uint64(len(text)) {
			t.Fatalf("got %q, %d bytes; want %q", got.String(), a.Size(), text)
		}
		last := len(metas) - 1
		if err := a.Take(metas[last], data[last], func([]byte) error { return errors.New("written twice") }); err != nil {
			t.Fatalf("the last chunk again: %v", err)
		}
	})
}

func TestAssemblyRefuses(t *testing.T) {
	metas, data := chunks("abcdef", 2)
	write := func([]byte) error { return nil }
	begun := func() *reverse.Assembly {
		a := reverse.NewAssembly(6)
		if err := a.Take(metas[0], data[0], write); err != nil {
			t.Fatal(err)
		}
		return a
	}
	short, other := metas[2], metas[2]
	short.Total--
	other.SHA256 = strings.Repeat("0", 64)
	short.Seq, other.Seq = 1, 1
	other.Total = 4
	beyond := reverse.Meta{ID: someID, Seq: 1}
	for name, c := range map[string]struct {
		m    reverse.Meta
		data []byte
		want error
	}{
		"a gap":                {metas[2], data[2], reverse.ErrGap},
		"a wrong length":       {short, data[2], reverse.ErrMismatch},
		"a wrong hash":         {other, data[2], reverse.ErrMismatch},
		"more than the limit":  {beyond, []byte("12345"), reverse.ErrTooLarge},
		"a chunk of 256 KiB+1": {beyond, make([]byte, reverse.MaxChunk+1), reverse.ErrChunk},
		"a last chunk of old":  {reverse.Meta{ID: someID, Last: true}, nil, reverse.ErrGap},
	} {
		a := begun()
		if err := a.Take(c.m, c.data, func([]byte) error { return errors.New("kept") }); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		// Nothing is half-stored: the right chunks still make the result.
		for i := range metas {
			if err := a.Take(metas[i], data[i], write); err != nil {
				t.Errorf("after %s, chunk %d: %v", name, i, err)
			}
		}
		if !a.Complete() || !errors.Is(a.Take(reverse.Meta{ID: someID, Seq: 3}, nil, write), reverse.ErrComplete) {
			t.Errorf("after %s: not complete", name)
		}
	}
}

func TestAssemblyThatCouldNotBeWritten(t *testing.T) {
	metas, data := chunks("abc", 3)
	a := reverse.NewAssembly(0)
	full := errors.New("disk full")
	if err := a.Take(metas[0], data[0], func([]byte) error { return full }); !errors.Is(err, full) || a.Complete() || a.Next() != 0 {
		t.Errorf("%v, next %d", err, a.Next())
	}
	if err := a.Take(metas[0], data[0], func([]byte) error { return nil }); err != nil || !a.Complete() {
		t.Errorf("again: %v", err)
	}
}
