package syncthing

// slab holds values by number, from 1, in memory that isn't copied when it
// grows. It has no pointers in it where T has none, so that the garbage collector
// needn't go through a million of them. What is given back is used again, and its
// memory is kept.
type slab[T any] struct {
	chunks []*[chunkSize]T
	free   []uint32
	made   uint32 // numbers given out so far
}

const chunkSize = 1 << 12

// take returns the number of a value to use, which holds whatever it held last.
func (s *slab[T]) take() uint32 {
	if n := len(s.free); n > 0 {
		i := s.free[n-1]
		s.free = s.free[:n-1]
		return i
	}
	if s.made%chunkSize == 0 {
		s.chunks = append(s.chunks, new([chunkSize]T))
	}
	s.made++
	return s.made
}

func (s *slab[T]) give(i uint32) { s.free = append(s.free, i) }

// at returns the value of a number that take returned.
func (s *slab[T]) at(i uint32) *T { return &s.chunks[(i-1)/chunkSize][(i-1)%chunkSize] }

// used is how many values are in use.
func (s *slab[T]) used() int { return int(s.made) - len(s.free) }
