package agent

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"

	"github.com/lanfolk/lanfolk/reverse"
)

// content is a file on its way to the hub. Its length is what it was at first.
// It is hashed as it is read, so that a large file is read once. When it can't
// be read on, or the command is called off, it ends there, and its End says why.
type content struct {
	ctx    context.Context // the command's: ReadAt is handed none
	file   io.ReaderAt
	closer io.Closer
	status reverse.Status // if all goes well
	why    string

	mu     sync.Mutex
	size   int64
	sum    hash.Hash
	summed int64 // bytes of the file that the hash holds
	err    error // why it ends before its time
}

func newContent(ctx context.Context, file io.ReaderAt, closer io.Closer, size int64) *content {
	return &content{ctx: ctx, file: file, closer: closer, size: size, sum: sha256.New(), status: reverse.StatusOK}
}

// ReadAt implements io.ReaderAt. The only error is io.EOF.
func (c *content) ReadAt(b []byte, at int64) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at > c.summed { // the hub has the beginning from before
		n, err := io.Copy(c.sum, io.NewSectionReader(c.file, c.summed, min(at, c.size)-c.summed))
		if c.summed += n; err == nil && c.summed < min(at, c.size) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			c.stop(err)
		}
	}
	if c.ctx.Err() != nil {
		c.stop(context.Cause(c.ctx))
	}
	size := c.size
	if c.err != nil {
		size = c.summed // it ends where the hash does
	}
	if at >= size {
		return 0, io.EOF
	}
	n, err := c.file.ReadAt(b[:min(int64(len(b)), size-at)], at)
	if end := at + int64(n); end > c.summed {
		c.sum.Write(b[c.summed-at : n])
		c.summed = end
	}
	switch {
	case at+int64(n) == size:
		return n, io.EOF
	case err == nil:
		return n, nil
	case errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	}
	c.stop(err)
	return n, io.EOF
}

func (c *content) stop(err error) {
	if c.err == nil {
		c.err = err
	}
}

// end says how it ended, once it was read to its end.
func (c *content) end() reverse.End {
	c.mu.Lock()
	defer c.mu.Unlock()
	end := reverse.End{Status: c.status, Error: c.why, SHA256: [32]byte(c.sum.Sum(nil)), Total: uint64(c.summed)}
	if c.err != nil {
		end.Status, end.Error = outcome(c.ctx, c.err)
		if errors.Is(c.err, io.ErrUnexpectedEOF) {
			end.Error = fmt.Sprintf("the file became shorter while it was read: %d bytes of %d", c.summed, c.size)
		}
	}
	return end
}

// Close closes the file.
func (c *content) Close() error { return c.closer.Close() }

// endedError is why a command was ended by the gateway's own rule, or the hub's.
type endedError struct{ cause error }

func (e *endedError) Error() string { return e.cause.Error() }
func (e *endedError) Unwrap() error { return e.cause }

// outcome returns how a command ended that ended with an error.
func outcome(ctx context.Context, err error) (reverse.Status, string) {
	cause := context.Cause(ctx)
	var ended *endedError
	if errors.As(err, &ended) {
		cause = ended.cause
	}
	switch {
	case err == nil:
		return reverse.StatusOK, ""
	case errors.Is(err, errDenied):
		return reverse.StatusDenied, err.Error()
	case cause == nil:
		return reverse.StatusError, err.Error()
	case errors.Is(cause, reverse.ErrTimeout), errors.Is(cause, context.DeadlineExceeded):
		return reverse.StatusTimeout, "its time was over"
	case errors.Is(cause, reverse.ErrCancelled):
		return reverse.StatusCancelled, "it was called off"
	}
	return reverse.StatusInterrupted, "the gateway went down while it ran; it is not run again"
}
