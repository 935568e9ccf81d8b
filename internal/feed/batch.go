package feed

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"

	"github.com/lanfolk/lanfolk/reverse"
)

// Bounds of what a batch holds, in bytes.
const (
	MaxBatch = reverse.MaxChunk
	MaxDoc   = 48 << 10
	maxID    = 128
)

// The kinds of items, which begin their keys.
const (
	Device   = 'd'
	Service  = 's'
	Evidence = 'e'
	Times    = 't'
)

const version = 1

// errFormat is in all errors about what can't be read.
var errFormat = errors.New("feed")

// A Batch is what an inventory's feed carries in one piece.
type Batch struct {
	Snapshot bool // it begins one
	Complete bool // it ends one
	Items    []Item
}

// An Item is one entry of an inventory.
type Item struct {
	Key string
	Doc []byte // nil: it went
}

// header is a batch's first line.
type header struct {
	Feed     string `json:"feed"`
	Version  int    `json:"version"`
	Snapshot bool   `json:"snapshot,omitempty"`
	Complete bool   `json:"complete,omitempty"`
}

// HeaderSize bounds, in bytes, what a batch has beside its items.
const HeaderSize = 96

// Size returns about how many bytes an item takes in a batch, and never too few.
func (i *Item) Size() int { return len(i.Key) + len(i.Doc) + len(`{"key":"","gone":true}`) + 1 }

// Append appends the batch as it travels. Keys are as Key makes them.
func (b *Batch) Append(to []byte) []byte {
	to = appendJSON(to, header{"inventory", version, b.Snapshot, b.Complete})
	for _, i := range b.Items {
		to = append(to, `{"key":"`...)
		to = append(to, i.Key...)
		if i.Doc == nil {
			to = append(to, "\",\"gone\":true}\n"...)
			continue
		}
		to = append(to, `","doc":`...)
		to = append(to, i.Doc...)
		to = append(to, "}\n"...)
	}
	return to
}

// appendJSON appends a line. What is marshalled here always can be.
func appendJSON(to []byte, v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return append(append(to, b...), '\n')
}

// Parse reads a batch. Its documents are slices of data, which are JSON; what they say
// is for who reads them.
func Parse(data []byte) (Batch, error) {
	var b Batch
	h, err := parseHeader(data, "inventory")
	if err != nil {
		return b, err
	}
	b.Snapshot, b.Complete = h.Snapshot, h.Complete
	for n, line := range lines(data) {
		if n == 1 {
			continue
		}
		var item struct {
			Key  string          `json:"key"`
			Doc  json.RawMessage `json:"doc"`
			Gone bool            `json:"gone"`
		}
		if err := unmarshal(line, &item); err != nil {
			return Batch{}, at(n, err)
		}
		switch _, err := ParseKey(item.Key); {
		case err != nil:
			return Batch{}, at(n, err)
		case item.Gone == (item.Doc != nil), item.Doc != nil && item.Doc[0] != '{':
			return Batch{}, fmt.Errorf("%w: line %d: want a doc, or gone", errFormat, n)
		case len(item.Doc) > MaxDoc:
			return Batch{}, fmt.Errorf("%w: line %d: %s has %d bytes, at most %d", errFormat, n, item.Key, len(item.Doc), MaxDoc)
		}
		b.Items = append(b.Items, Item{item.Key, item.Doc})
	}
	return b, nil
}

func parseHeader(data []byte, feed string) (h header, err error) {
	if len(data) > MaxBatch {
		return h, fmt.Errorf("%w: %d bytes, at most %d", errFormat, len(data), MaxBatch)
	}
	first, _, _ := bytes.Cut(data, []byte("\n"))
	if err := unmarshal(first, &h); err != nil {
		return h, at(1, err)
	}
	if h.Feed != feed || h.Version != version {
		return h, fmt.Errorf("%w: line 1: %q of version %d; want %q of version %d", errFormat, clip(h.Feed), h.Version, feed, version)
	}
	return h, nil
}

// lines yields lines by their numbers, from 1. The last one may lack its end.
func lines(data []byte) iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		for n := 1; len(data) > 0; n++ {
			line, rest, _ := bytes.Cut(data, []byte("\n"))
			if !yield(n, line) {
				return
			}
			data = rest
		}
	}
}

// at adds the line to what is wrong in it.
func at(line int, err error) error { return fmt.Errorf("%w: line %d: %w", errFormat, line, err) }

// unmarshal reads JSON, and says where it can't.
func unmarshal(b []byte, v any) error {
	err := json.Unmarshal(b, v)
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("byte %d: %w", e.Offset, err)
	}
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("byte %d: %w", e.Offset, err)
	}
	return err
}

func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}

// A Key is an item's key, taken apart.
type Key struct {
	Kind byte
	ID   string // of the device or service; of Times how many parts there are
	Part int    // of Evidence and Times
}

// String returns the key as it travels.
func (k Key) String() string {
	s := string(k.Kind) + "/" + k.ID
	if k.Part > 0 || k.Kind == Times {
		s += "/" + strconv.Itoa(k.Part)
	}
	return s
}

// maxTimes bounds into how many documents times may be parted.
const maxTimes = 4096

// ParseKey reads a key. There is one way only to write each.
func ParseKey(s string) (Key, error) {
	bad := fmt.Errorf("no key: %q", clip(s))
	if len(s) < 3 || s[1] != '/' {
		return Key{}, bad
	}
	k := Key{Kind: s[0]}
	id, part, parted := strings.Cut(s[2:], "/")
	k.ID = id
	if !GoodID(id) {
		return Key{}, bad
	}
	if parted {
		n, err := strconv.ParseUint(part, 10, 16)
		if err != nil {
			return Key{}, bad
		}
		k.Part = int(n)
	}
	most := 1
	switch k.Kind {
	case Device, Service:
	case Evidence:
		most = EvidenceParts
	case Times:
		n, err := strconv.ParseUint(id, 10, 16)
		if err != nil || n == 0 || n > maxTimes {
			return Key{}, bad
		}
		most = int(n)
	default:
		return Key{}, bad
	}
	if k.Part >= most || k.String() != s {
		return Key{}, bad
	}
	return k, nil
}

// GoodID says whether a device's or service's id can travel: letters, digits, - and _.
func GoodID(id string) bool {
	if id == "" || len(id) > maxID {
		return false
	}
	return !strings.ContainsFunc(id, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
	})
}
