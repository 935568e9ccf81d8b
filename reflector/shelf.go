package reflector

// shelf holds things by key. Keys are hashes that nobody outside can make
// collide. What is taken out makes room for what comes next.
type shelf[T any, P slot[T]] struct {
	buckets []*T
	free    *T
	count   int
}

// entry is what a thing on a shelf has.
type entry[T any] struct {
	key  uint64
	next *T // in its bucket, or among those that are free
}

func (e *entry[T]) at() *entry[T] { return e }

// slot is a pointer to a thing that has an entry.
type slot[T any] interface {
	*T
	at() *entry[T]
}

// shelfBuckets bounds the buckets, as many as a book has services; shelfChunk is
// how many things are made at once.
const (
	shelfBuckets = maxServices
	shelfChunk   = 64
)

// find returns the thing with that key, nil if there is none.
func (s *shelf[T, P]) find(key uint64) P {
	if s.buckets == nil {
		return nil
	}
	for x := P(s.buckets[key%shelfBuckets]); x != nil; x = x.at().next {
		if x.at().key == key {
			return x
		}
	}
	return nil
}

// add returns a thing for a key that isn't there. It may hold what another left
// behind.
func (s *shelf[T, P]) add(key uint64) P {
	if s.buckets == nil {
		s.buckets = make([]*T, shelfBuckets)
	}
	if s.free == nil {
		chunk := make([]T, shelfChunk)
		for i := range chunk {
			P(&chunk[i]).at().next, s.free = s.free, &chunk[i]
		}
	}
	x, bucket := P(s.free), &s.buckets[key%shelfBuckets]
	s.free = x.at().next
	x.at().key, x.at().next = key, *bucket
	*bucket = x
	s.count++
	return x
}

// drop takes a thing out.
func (s *shelf[T, P]) drop(x P) {
	at := &s.buckets[x.at().key%shelfBuckets]
	for *at != x {
		at = &P(*at).at().next
	}
	*at = x.at().next
	x.at().next, s.free = s.free, x
	s.count--
}
