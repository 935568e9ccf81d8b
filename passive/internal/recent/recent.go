// Package recent keeps what was lately asked for, in bounded memory.
package recent

// entryCost is about what an entry needs beside its key and its value, in bytes.
const entryCost = 64

// Map holds values by key in two generations: when the young one is full it becomes
// the old one, and what isn't asked for again goes with that. It is for one goroutine.
// The zero Map is empty and ready.
type Map[V any] struct {
	young, old map[string]entry[V]
	bytes      int // of the young generation
}

type entry[V any] struct {
	value V
	cost  int
}

// limit bounds one generation, in bytes.
const limit = 1 << 20

// Find returns what was put for a key, and keeps it from being forgotten.
func (m *Map[V]) Find(key []byte) (V, bool) {
	if e, ok := m.young[string(key)]; ok {
		return e.value, true
	}
	e, ok := m.old[string(key)]
	if ok {
		m.put(string(key), e)
	}
	return e.value, ok
}

// Put keeps a value that needs size bytes beside its key.
func (m *Map[V]) Put(key string, value V, size int) {
	if cost := len(key) + size + entryCost; cost <= limit/4 {
		m.put(key, entry[V]{value, cost})
	}
}

func (m *Map[V]) put(key string, e entry[V]) {
	if m.bytes+e.cost > limit || m.young == nil {
		m.old, m.young = m.young, m.old
		if m.young == nil {
			m.young = make(map[string]entry[V])
		}
		clear(m.young)
		m.bytes = 0
	}
	m.young[key] = e
	m.bytes += e.cost
}
