package reverse

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
)

// Errors of Assembly.Take. Who sent the chunk may try again after ErrGap, from
// Next on; the rest is final.
var (
	ErrGap      = errors.New("reverse: chunk out of order")
	ErrTooLarge = errors.New("reverse: result too large")
	ErrChunk    = errors.New("reverse: chunk too large")
	ErrMismatch = errors.New("reverse: result doesn't match its hash")
	ErrComplete = errors.New("reverse: the result is complete already")
)

// Assembly puts a result together from its chunks, which come in order; one
// that comes again, since its acknowledgement was lost, changes nothing. It is
// for one goroutine.
type Assembly struct {
	next  uint64
	size  uint64
	limit uint64
	sum   hash.Hash
	done  bool
}

// NewAssembly returns one that has nothing yet and takes at most limit bytes; 0
// is no limit.
func NewAssembly(limit uint64) *Assembly { return &Assembly{limit: limit, sum: sha256.New()} }

// ResumeAssembly returns one that has the chunks before number next already,
// which held what r holds.
func ResumeAssembly(limit, next uint64, r io.Reader) (*Assembly, error) {
	a := NewAssembly(limit)
	n, err := io.Copy(a.sum, r)
	if err != nil {
		return nil, fmt.Errorf("reverse: resume a result: %w", err)
	}
	a.next, a.size = next, uint64(n)
	return a, nil
}

// Next returns the number of the chunk that is wanted, and Size how many bytes
// came so far.
func (a *Assembly) Next() uint64 { return a.next }

// Size returns how many bytes came so far.
func (a *Assembly) Size() uint64 { return a.size }

// Complete says whether the last chunk came.
func (a *Assembly) Complete() bool { return a.done }

// Take takes one chunk. It hands data to write, unless the chunk came before,
// and counts it only if write returns nil: so a chunk that could not be kept
// may be sent again. A last chunk without a hash takes that of what came.
func (a *Assembly) Take(m Meta, data []byte, write func([]byte) error) error {
	m, err := a.seal(m, data)
	if err != nil {
		return err
	}
	switch {
	case len(data) > MaxChunk:
		return fmt.Errorf("%w: %d bytes, at most %d", ErrChunk, len(data), MaxChunk)
	case m.Seq < a.next && (a.done || !m.Last):
		return nil // again
	case a.done:
		return ErrComplete
	case m.Seq != a.next:
		return fmt.Errorf("%w: chunk %d came, %d is wanted", ErrGap, m.Seq, a.next)
	case a.limit > 0 && uint64(len(data)) > a.limit-min(a.size, a.limit):
		return fmt.Errorf("%w: more than %d bytes", ErrTooLarge, a.limit)
	}
	if m.Last {
		if err := a.verify(m, data); err != nil {
			return err
		}
	}
	if err := write(data); err != nil {
		return err
	}
	a.sum.Write(data)
	a.size += uint64(len(data))
	a.next++
	a.done = m.Last
	return nil
}

// seal returns the meta of a last chunk with the hash and the length of what came, if
// it has none; see Meta.
func (a *Assembly) seal(m Meta, data []byte) (Meta, error) {
	if !m.Last || m.SHA256 != "" || m.Seq != a.next {
		return m, nil
	}
	sum, err := a.with(data)
	m.SHA256, m.Total = sum, a.size+uint64(len(data))
	return m, err
}

// with returns the hash of what came and data.
func (a *Assembly) with(data []byte) (string, error) {
	clone, err := a.sum.(hash.Cloner).Clone()
	if err != nil {
		return "", fmt.Errorf("reverse: %w", err)
	}
	clone.Write(data)
	return hex.EncodeToString(clone.Sum(nil)), nil
}

// verify says whether data completes what the last chunk's meta promises. The
// sum so far stays as it is, for a last chunk that comes again.
func (a *Assembly) verify(m Meta, data []byte) error {
	if total := a.size + uint64(len(data)); total != m.Total {
		return fmt.Errorf("%w: %d bytes came, %d were sent", ErrMismatch, total, m.Total)
	}
	if got, err := a.with(data); err != nil {
		return err
	} else if got != m.SHA256 {
		return fmt.Errorf("%w: SHA-256 %s came, %s was sent", ErrMismatch, got, m.SHA256)
	}
	return nil
}
