package passive

import (
	"io"
	"slices"
)

// windowBytes is how much of a file is read at once.
const windowBytes = 256 << 10

// Pieces hands out what comes next of a file in pieces of any size, each valid until
// the next call. At the end the error is io.EOF; a piece may come with it.
type Pieces interface {
	Piece() ([]byte, error)
}

// window hands out a file's bytes in order, in place where it can.
type window struct {
	next  func() ([]byte, error)
	rest  []byte // of the piece in hand
	joint []byte // what lies in two pieces or more
	err   error  // that ended the pieces
}

func newWindow(r io.Reader) *window {
	buf := make([]byte, windowBytes)
	return &window{next: func() ([]byte, error) {
		for range 100 {
			if n, err := r.Read(buf); n > 0 || err != nil {
				return buf[:n], err
			}
		}
		return nil, io.ErrNoProgress
	}}
}

// take returns the next n bytes, valid until the next call; fewer, with the reason,
// where there are no more.
func (w *window) take(n int) ([]byte, error) {
	if len(w.rest) < n {
		return w.join(n)
	}
	b := w.rest[:n:n]
	w.rest = w.rest[n:]
	return b, nil
}

// join takes bytes that lie in several pieces. What comes bounds its memory, and not
// what a file says of itself.
func (w *window) join(n int) ([]byte, error) {
	w.joint = w.joint[:0]
	for {
		k := min(n-len(w.joint), len(w.rest))
		w.joint = append(w.joint, w.rest[:k]...)
		w.rest = w.rest[k:]
		switch {
		case len(w.joint) == n:
			return w.joint, nil
		case w.err != nil:
			return w.joint, w.err
		}
		w.rest, w.err = w.next()
	}
}

// peek returns the next n bytes and leaves them where they are: for a few at the
// begin.
func (w *window) peek(n int) ([]byte, error) {
	b, err := w.take(n)
	w.rest = slices.Concat(b, w.rest)
	return w.rest[:len(b)], err
}

// skip passes over n bytes, and returns over how many.
func (w *window) skip(n int) (int, error) {
	for left := n; ; {
		k := min(left, len(w.rest))
		w.rest = w.rest[k:]
		if left -= k; left == 0 {
			return n, nil
		}
		if w.err != nil {
			return n - left, w.err
		}
		w.rest, w.err = w.next()
	}
}

// Read makes the rest of the file a reader, for what unpacks it.
func (w *window) Read(p []byte) (int, error) {
	b, err := w.take(min(len(p), max(len(w.rest), 1)))
	if len(b) > 0 {
		err = nil
	}
	return copy(p, b), err
}
