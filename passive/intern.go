package passive

import "github.com/lanfolk/lanfolk/passive/internal/recent"

// interner gives the same string for the same bytes, so that what is said again
// needs no memory.
type interner struct{ recent.Map[string] }

// get returns the bytes as a string.
func (t *interner) get(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	s, ok := t.Find(b)
	if !ok {
		s = string(b)
		t.Put(s, s, 0)
	}
	return s
}
