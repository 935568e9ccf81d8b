package recent

import (
	"fmt"
	"strings"
	"testing"
)

// TestMap: what is asked for stays, what isn't goes, and a value that is too large is
// never kept.
func TestMap(t *testing.T) {
	var m Map[int]
	if _, ok := m.Find([]byte("a")); ok {
		t.Fatal("found in an empty map")
	}
	m.Put("a", 1, 0)
	m.Put("b", 2, 0)
	for i := range 100_000 {
		m.Put(fmt.Sprint(i, strings.Repeat("x", 40)), i, 8)
		if v, ok := m.Find([]byte("a")); !ok || v != 1 {
			t.Fatalf("after %d others: %d, %t", i, v, ok)
		}
		if used := m.bytes; used > limit {
			t.Fatalf("%d bytes in a generation", used)
		}
	}
	if _, ok := m.Find([]byte("b")); ok {
		t.Error("what nobody asks for stays")
	}
	m.Put("large", 3, limit)
	if _, ok := m.Find([]byte("large")); ok {
		t.Error("a value as large as all others together is kept")
	}
}
