package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/lanfolk/lanfolk/store"
	"github.com/lanfolk/lanfolk/store/internal/text"
)

// blobs is the Blobs of a database and a folder. What is whole has a row in the database,
// which is written when the file is on the disk: a file with no row is a part, or the
// remainder of a removal.
type blobs struct {
	db    *store.DB
	group *group
	root  *os.Root
	o     Options

	mu      sync.Mutex
	writing map[string]bool  // blobs that have a writer, or are being put or removed
	kept    map[string]int64 // how far those are that have a writer and a file
	used    map[string]int64 // bytes, by gateway
	total   int64
}

// openBlobs opens the folder and counts what lies there.
func openBlobs(ctx context.Context, db *store.DB, o Options) (*blobs, error) {
	if err := os.MkdirAll(o.BlobFolder, 0o700); err != nil {
		return nil, fileError("open the results", err)
	}
	root, err := os.OpenRoot(o.BlobFolder)
	if err != nil {
		return nil, fileError("open the results", err)
	}
	b := &blobs{db: db, group: &group{db: db}, root: root, o: o, writing: make(map[string]bool), kept: make(map[string]int64), used: make(map[string]int64)}
	if err := b.count(ctx); err != nil {
		root.Close()
		return nil, err
	}
	return b, nil
}

// count finds out how much room is taken, and removes files that nobody refers to.
func (b *blobs) count(ctx context.Context) error {
	infos, err := list(ctx, b.db, "count the results", scanBlob, `SELECT `+blobColumns+` FROM fleet_blob`)
	if err != nil {
		return err
	}
	whole := make(map[string]bool, len(infos))
	for _, i := range infos {
		whole[i.ID] = true
		b.add(i.Gateway, i.Size)
	}
	files, err := walkFiles(b.root)
	if err != nil {
		return fileError("count the results", err)
	}
	sizes, parts := make(map[string]int64), make(map[string]bool)
	for _, f := range files {
		if f.part && !whole[f.id] {
			parts[f.id] = true
		} else if !f.part {
			sizes[f.id] = f.size
		}
	}
	for _, f := range files {
		switch {
		case f.part && whole[f.id]: // the end came between the row and the list's removal
			err = b.root.Remove(fileOf(f.id) + partSuffix)
		case f.part:
			b.add(f.gateway, sizes[f.id])
		case !whole[f.id] && !parts[f.id]: // it came between the row's removal and the file's
			err = b.root.Remove(fileOf(f.id))
		}
		if err != nil {
			return fileError("count the results", err)
		}
	}
	return nil
}

func (b *blobs) add(gateway string, n int64) {
	b.total += n
	if b.used[gateway] += n; b.used[gateway] == 0 {
		delete(b.used, gateway)
	}
}

// reserve takes n bytes of the quotas; a negative n gives them back.
func (b *blobs) reserve(gateway string, n int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case n > 0 && b.o.MaxBytes > 0 && b.total+n > b.o.MaxBytes:
		return fmt.Errorf("%w: %d of %d bytes of all results", ErrQuota, b.total, b.o.MaxBytes)
	case n > 0 && b.o.MaxGatewayBytes > 0 && b.used[gateway]+n > b.o.MaxGatewayBytes:
		return fmt.Errorf("%w: %d of %d bytes of the gateway's results", ErrQuota, b.used[gateway], b.o.MaxGatewayBytes)
	}
	b.add(gateway, n)
	return nil
}

// maxSpare bounds what results leave free on their disk, an eighth of it at most. The
// database often lies there, too: how a command ended that filled the disk could not be
// put on record, and so what came of its result could not go.
const maxSpare = 64 << 20

// spare says whether a file may grow by n bytes.
func (b *blobs) spare(n int64) error {
	all, free, err := disk(b.o.BlobFolder)
	if err == nil && free-n < min(maxSpare, all/8) {
		return fmt.Errorf("%w: the disk is nearly full: %d bytes are left", ErrQuota, free)
	}
	return nil // if nobody knows, writing will tell
}

// hold keeps others away from a blob until free is called.
func (b *blobs) hold(id string) (free func(), err error) {
	if !cleanID(id) || len(id) > maxID {
		return nil, fmt.Errorf("%w: a result's id %q", ErrInvalid, id)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.writing[id] {
		return nil, fmt.Errorf("%w: another one writes result %s", ErrConflict, id)
	}
	b.writing[id] = true
	return func() {
		b.mu.Lock()
		delete(b.writing, id)
		delete(b.kept, id)
		b.mu.Unlock()
	}, nil
}

const blobColumns = `id, gateway, stored, size, sha256, note, inside`

func scanBlob(row scanner) (BlobInfo, error) {
	i, _, err := scanBlobInside(row)
	return i, err
}

func scanBlobInside(row scanner, more ...any) (i BlobInfo, inside bool, err error) {
	var stored, in int64
	var sha []byte
	err = row.Scan(append([]any{&i.ID, &i.Gateway, &stored, &i.Size, &sha, &i.Note, &in}, more...)...)
	i.Gateway, i.Stored, i.SHA256, i.Note = text.Decode(i.Gateway), fromNanos(stored), toSum(sha), text.Decode(i.Note)
	return i, in != 0, err
}

func (b *blobs) Stat(ctx context.Context, id string) (BlobInfo, error) {
	return one(ctx, b.db, "look at the result of "+id, scanBlob, `SELECT `+blobColumns+` FROM fleet_blob WHERE id = $1`, text.Encode(id))
}

func (b *blobs) Open(ctx context.Context, id string) (BlobInfo, io.ReadSeekCloser, error) {
	var inside bool
	var content []byte
	i, err := one(ctx, b.db, "open the result of "+id, func(row scanner) (i BlobInfo, err error) {
		i, inside, err = scanBlobInside(row, &content)
		return i, err
	}, `SELECT `+blobColumns+`, content FROM fleet_blob WHERE id = $1`, text.Encode(id))
	if err != nil {
		return BlobInfo{}, nil, err
	}
	if inside {
		return i, inMemory{bytes.NewReader(content)}, nil
	}
	f, err := b.root.Open(fileOf(i.ID))
	if errors.Is(err, fs.ErrNotExist) {
		return BlobInfo{}, nil, fmt.Errorf("fleet: open the result of %s: %w: its file is gone", id, store.ErrDamaged)
	}
	if err != nil {
		return BlobInfo{}, nil, fileError("open the result of "+id, err)
	}
	if info, err := f.Stat(); err != nil || info.Size() != i.Size {
		f.Close()
		return BlobInfo{}, nil, fmt.Errorf("fleet: open the result of %s: %w: its file hasn't %d bytes", id, store.ErrDamaged, i.Size)
	}
	return i, f, nil
}

// inMemory is a small blob.
type inMemory struct{ *bytes.Reader }

func (inMemory) Close() error { return nil }

func (b *blobs) Remove(ctx context.Context, id string) error {
	free, err := b.hold(id)
	if err != nil {
		return fmt.Errorf("fleet: remove a result: %w", err)
	}
	defer free()
	return b.remove(ctx, id)
}

// remove drops a blob that is held. The row goes first: what is left after a crash
// in between is removed at the next start.
func (b *blobs) remove(ctx context.Context, id string) error {
	var gone []BlobInfo
	err := b.group.do(ctx, "remove the result of "+id, func(ctx context.Context, tx *txn) (err error) {
		gone, err = collect(ctx, tx, scanBlob, `DELETE FROM fleet_blob WHERE id = $1 RETURNING `+blobColumns, id)
		return err
	})
	if err != nil {
		return err
	}
	owner, size := "", int64(0)
	if len(gone) > 0 {
		owner, size = gone[0].Gateway, gone[0].Size
	} else if info, err := b.root.Stat(fileOf(id)); err == nil {
		size = info.Size()
		if owner, err = ownerOf(b.root, fileOf(id)+partSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fileError("remove the result of "+id, err)
		}
		owner = strings.TrimSpace(owner)
	}
	if err := removeFiles(b.root, id); err != nil {
		return fileError("remove the result of "+id, err)
	}
	return b.reserve(owner, -size)
}

// stale is after what time a blob that isn't whole, and to which nobody writes, goes.
const stale = 24 * time.Hour

func (b *blobs) Sweep(ctx context.Context, now time.Time) (int, error) {
	n := 0
	drop := func(id string) error {
		free, err := b.hold(id)
		if err != nil {
			return nil // somebody writes
		}
		defer free()
		if err := b.remove(ctx, id); err != nil {
			return err
		}
		n++
		return nil
	}
	if b.o.Retention > 0 {
		for {
			old, err := list(ctx, b.db, "sweep results", scanBlob, `SELECT `+blobColumns+` FROM fleet_blob WHERE stored < $1 ORDER BY stored, id LIMIT 1000`, nanos(now.Add(-b.o.Retention)))
			if err != nil {
				return n, err
			}
			before := n
			for _, i := range old {
				if err := drop(i.ID); err != nil {
					return n, err
				}
			}
			if n == before {
				break
			}
		}
	}
	files, err := walkFiles(b.root)
	if err != nil {
		return n, fileError("sweep results", err)
	}
	for _, f := range files {
		if f.part && f.modified < nanos(now.Add(-stale)) {
			if _, err := b.Stat(ctx, f.id); !errors.Is(err, ErrUnknown) {
				continue
			}
			if err := drop(f.id); err != nil {
				return n, err
			}
		}
	}
	return n, b.makeRoom(ctx, drop)
}

// makeRoom drops the oldest blobs while more than nine tenths of the quota are used.
func (b *blobs) makeRoom(ctx context.Context, drop func(id string) error) error {
	over := func() bool { return b.o.MaxBytes > 0 && b.bytes() > b.o.MaxBytes/10*9 }
	for over() {
		oldest, err := list(ctx, b.db, "sweep results", scanBlob, `SELECT `+blobColumns+` FROM fleet_blob ORDER BY stored, id LIMIT 100`)
		if err != nil || len(oldest) == 0 {
			return err
		}
		before := b.bytes()
		for _, i := range oldest {
			if !over() {
				return nil
			}
			if err := drop(i.ID); err != nil {
				return err
			}
		}
		if b.bytes() >= before {
			return nil // somebody has each of them
		}
	}
	return nil
}

func (b *blobs) Usage(ctx context.Context) (BlobUsage, error) {
	whole, err := one(ctx, b.db, "count the results", func(row scanner) (n int64, err error) { return n, row.Scan(&n) }, `SELECT count(*) FROM fleet_blob`)
	if err != nil {
		return BlobUsage{}, err
	}
	files, err := walkFiles(b.root)
	if err != nil {
		return BlobUsage{}, fileError("count the results", err)
	}
	u := BlobUsage{MaxBytes: b.o.MaxBytes, Blobs: int(whole)}
	for _, f := range files {
		if f.part {
			u.Partial++
		}
	}
	u.Bytes = b.bytes()
	return u, nil
}

// bytes returns how much room is taken.
func (b *blobs) bytes() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.total
}

func (b *blobs) close() error { return b.root.Close() }
