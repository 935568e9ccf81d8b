package fleet

import (
	"context"
	"io"
	"time"
)

// BlobInfo is what the database has on a result that is whole.
type BlobInfo struct {
	ID      string // the command's
	Gateway string
	Size    int64
	SHA256  [32]byte
	Stored  time.Time
	Note    string // what its writer has to say of it: how the command ended, say
}

// BlobUsage is how much room results take, unfinished ones included.
type BlobUsage struct {
	Bytes, MaxBytes int64 // MaxBytes is 0 for no bound
	Blobs           int   // that are whole
	Partial         int   // that are not
}

// Blobs keeps results. All of its methods may be called at once.
type Blobs interface {
	// Write begins a blob, or goes on with one that isn't whole. ErrExists if it
	// is whole, ErrConflict if another writer has it, ErrQuota.
	Write(ctx context.Context, id, gateway string) (BlobWriter, error)
	// Stat returns what there is on a blob that is whole; ErrUnknown.
	Stat(ctx context.Context, id string) (BlobInfo, error)
	// Open reads a blob that is whole; ErrUnknown.
	Open(ctx context.Context, id string) (BlobInfo, io.ReadSeekCloser, error)
	// Part reads a blob that isn't whole yet, as far as it has come; ErrUnknown if
	// nothing has come, or all of it.
	Part(ctx context.Context, id string) (BlobPart, error)
	// Remove drops a blob, whole or not. One that isn't there is no error;
	// ErrConflict while there is a writer.
	Remove(ctx context.Context, id string) error
	// Sweep drops blobs that are older than the retention, unfinished ones that
	// nobody has written to for a day, and, above nine tenths of the quota, the
	// oldest. It returns how many.
	Sweep(ctx context.Context, now time.Time) (int, error)
	// Usage returns how much room is taken.
	Usage(ctx context.Context) (BlobUsage, error)
}

// A BlobPart is a blob that isn't whole, for one goroutine. It can be read on when the
// blob has become whole, and when it was removed.
type BlobPart interface {
	// ReadAt returns io.EOF at the end of what has come, even if more comes later.
	io.ReaderAt
	io.Closer
}

// A BlobWriter appends to one blob. It is for one goroutine.
type BlobWriter interface {
	// Chunks returns how many chunks are kept, and Size how many bytes they have.
	Chunks() uint64
	Size() int64
	// Content reads them from the start.
	Content() (io.ReadCloser, error)
	// Append keeps the next chunk, whose first byte stands at offset in the blob:
	// ErrGap if that isn't the Size. ErrQuota, store.ErrFull: the chunk isn't kept,
	// those before are. What Append kept survives the end of this process; after a
	// loss of power Chunks may be fewer.
	Append(ctx context.Context, offset int64, chunk []byte) error
	// Finish keeps the last chunk, which may be empty, and makes the blob whole; then
	// it survives the loss of power, too. It takes Size, SHA256, Stored and Note of
	// info and returns all. ErrMismatch if it hasn't Size bytes with the chunk. The
	// caller vouches for the hash. If the hub ends before Finish returns, the blob is
	// either whole or wants the last chunk again. A blob of one small chunk costs no
	// file.
	Finish(ctx context.Context, last []byte, info BlobInfo) (BlobInfo, error)
	// Abort drops the blob.
	Abort(ctx context.Context) error
	// Close ends the use; what was kept stays.
	Close() error
}
