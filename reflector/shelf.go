package reflector

// shelf holds things by key, a hash that nobody outside can make collide and
// that isn't 0. What is taken out leaves its memory to what comes next.
type shelf[T any] struct {
	// keys and things are a table with open addressing, at most half full: a key
	// that isn't there costs but one look into memory, mostly.
	keys   []uint64
	things []*T
	count  int
	free   []*T
}

// shelfSize is how large a table begins, shelfChunk how many things are made at once.
const shelfSize, shelfChunk = 64, 32

// find returns the thing with that key, nil if there is none.
func (s *shelf[T]) find(key uint64) *T {
	if i, ok := s.index(key); ok {
		return s.things[i]
	}
	return nil
}

// index returns where a key is.
func (s *shelf[T]) index(key uint64) (i int, ok bool) {
	if s.count == 0 {
		return 0, false
	}
	mask := len(s.keys) - 1
	for i = int(key) & mask; s.keys[i] != 0; i = (i + 1) & mask {
		if s.keys[i] == key {
			return i, true
		}
	}
	return 0, false
}

// add returns a thing for a key that isn't there. It holds what another left
// behind.
func (s *shelf[T]) add(key uint64) *T {
	if 2*(s.count+1) > len(s.keys) {
		s.grow()
	}
	if len(s.free) == 0 {
		chunk := make([]T, shelfChunk)
		for i := range chunk {
			s.free = append(s.free, &chunk[i])
		}
	}
	x := s.free[len(s.free)-1]
	s.free = s.free[:len(s.free)-1]
	s.put(key, x)
	return x
}

func (s *shelf[T]) put(key uint64, x *T) {
	mask := len(s.keys) - 1
	i := int(key) & mask
	for s.keys[i] != 0 {
		i = (i + 1) & mask
	}
	s.keys[i], s.things[i] = key, x
	s.count++
}

func (s *shelf[T]) grow() {
	keys, things := s.keys, s.things
	size := max(shelfSize, 2*len(keys))
	s.keys, s.things, s.count = make([]uint64, size), make([]*T, size), 0
	for i, k := range keys {
		if k != 0 {
			s.put(k, things[i])
		}
	}
}

// drop takes the thing with that key out.
func (s *shelf[T]) drop(key uint64) {
	i, ok := s.index(key)
	if !ok {
		return
	}
	s.free = append(s.free, s.things[i])
	s.count--
	// What stands behind moves up, unless it would stand before where it belongs.
	mask := len(s.keys) - 1
	for j := (i + 1) & mask; s.keys[j] != 0; j = (j + 1) & mask {
		if home := int(s.keys[j]) & mask; (j-home)&mask >= (j-i)&mask {
			s.keys[i], s.things[i] = s.keys[j], s.things[j]
			i = j
		}
	}
	s.keys[i], s.things[i] = 0, nil
}
