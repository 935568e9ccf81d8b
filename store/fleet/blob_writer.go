package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/lanfolk/lanfolk/store/internal/text"
)

// maxSmall bounds a blob that lies in the database: a file for each of thousands of
// short answers would cost as many syncs of the disk.
const maxSmall = 16 << 10

// blobWriter is the one writer of a blob.
type blobWriter struct {
	b       *blobs
	id      string
	gateway string
	part    *part  // nil until there is a chunk
	free    func() // nil when it is closed
	ended   bool   // whole, or dropped
	unsure  bool   // whether a Finish that failed made it whole
	behind  int64  // bytes of that Finish's chunk, which stays until it is known
}

func (b *blobs) Write(ctx context.Context, id, gateway string) (BlobWriter, error) {
	doing := "write the result of " + id
	if gateway == "" || len(gateway) >= maxOwner || strings.ContainsAny(gateway, "\n") {
		return nil, fmt.Errorf("fleet: %s: %w: gateway %q", doing, ErrInvalid, gateway)
	}
	free, err := b.hold(id)
	if err != nil {
		return nil, fmt.Errorf("fleet: %s: %w", doing, err)
	}
	w := &blobWriter{b: b, id: id, gateway: gateway, free: free}
	if err := w.resume(ctx); err != nil {
		free()
		return nil, err
	}
	return w, nil
}

// resume looks at what is there.
func (w *blobWriter) resume(ctx context.Context) error {
	doing := "write the result of " + w.id
	_, err := w.b.Stat(ctx, w.id)
	if err == nil {
		return fmt.Errorf("fleet: %s: %w", doing, ErrExists)
	}
	if !errors.Is(err, ErrUnknown) {
		return err
	}
	info, err := w.b.root.Stat(fileOf(w.id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fileError(doing, err)
	}
	owner, err := ownerOf(w.b.root, fileOf(w.id)+partSuffix)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fileError(doing, err)
	}
	if w.part, err = openPart(w.b.root, w.id, w.gateway); err != nil {
		return fileError(doing, err)
	}
	w.b.keep(w.id, w.part.size)
	// What was cut off, or was another gateway's, is given back.
	if err = w.b.reserve(owner, -info.Size()); err == nil {
		err = w.b.reserve(w.gateway, w.part.size)
	}
	if err != nil {
		_ = w.part.close()
		return fmt.Errorf("fleet: %s: %w", doing, err)
	}
	return nil
}

func (w *blobWriter) Chunks() uint64 {
	if w.part == nil {
		return 0
	}
	return w.part.chunks
}

func (w *blobWriter) Size() int64 {
	if w.part == nil {
		return 0
	}
	return w.part.size
}

func (w *blobWriter) Content() (io.ReadCloser, error) {
	if w.part == nil {
		return io.NopCloser(strings.NewReader("")), nil
	}
	f, err := w.b.root.Open(fileOf(w.id))
	if err != nil {
		return nil, fileError("read the result of "+w.id, err)
	}
	return struct {
		io.Reader
		io.Closer
	}{io.LimitReader(f, w.part.size), f}, nil
}

// room checks the bounds for n more bytes and takes them.
func (w *blobWriter) room(n int64) error {
	if limit := w.b.o.MaxBlobBytes; limit > 0 && w.Size()+n > limit {
		return fmt.Errorf("%w: a result may have %d bytes", ErrQuota, limit)
	}
	if w.part != nil || n > maxSmall {
		if err := w.b.spare(n); err != nil {
			return err
		}
	}
	return w.b.reserve(w.gateway, n)
}

func (w *blobWriter) Append(ctx context.Context, offset int64, chunk []byte) error {
	doing := "write the result of " + w.id
	switch {
	case w.ended || w.free == nil:
		return fmt.Errorf("fleet: %s: %w: its writer has ended", doing, ErrInvalid)
	case w.unsure:
		return fmt.Errorf("fleet: %s: %w: its last chunk came", doing, ErrInvalid)
	case offset != w.Size():
		return fmt.Errorf("fleet: %s: %w: byte %d came, %d is wanted", doing, ErrGap, offset, w.Size())
	case ctx.Err() != nil:
		return fmt.Errorf("fleet: %s: %w", doing, ctx.Err())
	}
	if err := w.room(int64(len(chunk))); err != nil {
		return fmt.Errorf("fleet: %s: %w", doing, err)
	}
	err := w.open()
	if err == nil {
		err = w.part.append(chunk)
	}
	if err == nil {
		w.b.keep(w.id, w.part.size)
	}
	if err != nil {
		_ = w.b.reserve(w.gateway, -int64(len(chunk))) // giving back never fails
	}
	return fileError(doing, err)
}

// open makes the files when they are needed.
func (w *blobWriter) open() (err error) {
	if w.part == nil {
		w.part, err = openPart(w.b.root, w.id, w.gateway)
	}
	return err
}

func (w *blobWriter) Finish(ctx context.Context, last []byte, i BlobInfo) (BlobInfo, error) {
	doing := "finish the result of " + w.id
	switch {
	case w.ended || w.free == nil:
		return BlobInfo{}, fmt.Errorf("fleet: %s: %w: its writer has ended", doing, ErrInvalid)
	case w.Size()+int64(len(last)) != i.Size:
		return BlobInfo{}, fmt.Errorf("fleet: %s: %w: %d bytes, want %d", doing, ErrMismatch, w.Size()+int64(len(last)), i.Size)
	case w.unsure:
		if was, err := w.settle(ctx, i); err != nil || w.ended {
			return was, err
		}
	}
	if err := w.room(int64(len(last))); err != nil {
		return BlobInfo{}, fmt.Errorf("fleet: %s: %w", doing, err)
	}
	i.ID, i.Gateway, i.Stored = w.id, w.gateway, fromNanos(nanos(i.Stored))
	var err error
	if inside := w.part == nil && len(last) <= maxSmall; inside {
		err = w.b.put(ctx, doing, i, 1, last)
	} else if err = fileError(doing, w.sync(last)); err == nil {
		err = w.b.put(ctx, doing, i, 0, nil)
	}
	if err != nil {
		w.behind = int64(len(last))
		if was, said := w.settle(ctx, i); w.ended {
			return was, said
		}
		return BlobInfo{}, err
	}
	w.end()
	return i, nil
}

// end is called when the row is there.
func (w *blobWriter) end() {
	w.ended, w.behind = true, 0
	if w.part != nil {
		// A list that stays is removed at the next start.
		_ = w.b.root.Remove(fileOf(w.id) + partSuffix)
	}
}

// settle finds out what became of a Finish that failed: a database that loses its client
// while it commits may have done so. If the blob is whole, the writer has ended. If
// nobody knows, what there may be a row for stays as it is.
func (w *blobWriter) settle(ctx context.Context, i BlobInfo) (BlobInfo, error) {
	doing := "finish the result of " + w.id
	was, err := w.b.Stat(context.WithoutCancel(ctx), w.id)
	w.unsure = err != nil && !errors.Is(err, ErrUnknown)
	switch {
	case err == nil:
		w.end()
		if was.SHA256 != i.SHA256 {
			return BlobInfo{}, fmt.Errorf("fleet: %s: %w: as another one", doing, ErrExists)
		}
		return was, nil
	case w.unsure:
		return BlobInfo{}, err
	}
	_ = w.b.reserve(w.gateway, -w.behind) // giving back never fails
	if w.behind = 0; w.part != nil {
		return BlobInfo{}, fileError(doing, w.part.data.Truncate(w.part.size))
	}
	return BlobInfo{}, nil
}

// sync writes the last chunk, which the list of chunks doesn't name: until there is a
// row it doesn't count. Then all of the file is on the disk.
func (w *blobWriter) sync(last []byte) error {
	if err := w.open(); err != nil {
		return err
	}
	if _, err := w.part.data.WriteAt(last, w.part.size); err != nil {
		return errors.Join(err, w.part.data.Truncate(w.part.size))
	}
	return errors.Join(w.part.data.Sync(), syncFolder(w.b.root, path.Dir(fileOf(w.id))), syncFolder(w.b.root, "."))
}

// put writes the row of a blob that is whole.
func (b *blobs) put(ctx context.Context, doing string, i BlobInfo, inside int64, content []byte) error {
	if content == nil {
		content = []byte{}
	}
	return b.group.do(ctx, doing, func(ctx context.Context, tx *txn) error {
		return change(ctx, tx, ErrExists, `INSERT INTO fleet_blob (`+blobColumns+`, content) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING`,
			i.ID, text.Encode(i.Gateway), nanos(i.Stored), i.Size, i.SHA256[:], text.Encode(i.Note), inside, content)
	})
}

func (w *blobWriter) Abort(ctx context.Context) error {
	if w.ended || w.free == nil {
		return nil
	}
	w.ended = true
	return w.b.remove(ctx, w.id)
}

func (w *blobWriter) Close() error {
	if w.free == nil {
		return nil
	}
	free := w.free
	w.free = nil
	defer free()
	if w.part == nil {
		_ = w.b.reserve(w.gateway, -w.behind) // there is no file for it
		return nil
	}
	return fileError("close the result of "+w.id, w.part.close())
}
