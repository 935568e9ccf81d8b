package passive

// interner gives the same string for the same bytes, so that what is said again
// needs no memory. It holds two generations: when the young one is full it
// becomes the old one, and what is not said again goes with that.
type interner struct {
	young, old map[string]string
	bytes      int // of the young generation
}

// internLimit bounds one generation, in bytes of text and map overhead.
const internLimit = 1 << 20

// entryCost is about what a map entry needs beside its text, in bytes.
const entryCost = 64

// get returns the bytes as a string.
func (t *interner) get(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	s, ok := t.find(b)
	if !ok {
		s = string(b)
		t.put(s, s)
	}
	return s
}

// find returns what was put for a key, and keeps it from being forgotten.
func (t *interner) find(key []byte) (string, bool) {
	if s, ok := t.young[string(key)]; ok {
		return s, true
	}
	s, ok := t.old[string(key)]
	if ok {
		t.put(string(key), s)
	}
	return s, ok
}

func (t *interner) put(key, value string) {
	cost := len(key) + entryCost
	if key != value {
		cost += len(value)
	}
	if cost > internLimit/4 {
		return
	}
	if t.bytes+cost > internLimit || t.young == nil {
		t.old, t.young = t.young, t.old
		if t.young == nil {
			t.young = make(map[string]string)
		}
		clear(t.young)
		t.bytes = 0
	}
	t.young[key] = value
	t.bytes += cost
}
