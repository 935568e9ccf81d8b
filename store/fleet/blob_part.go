package fleet

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/lanfolk/lanfolk/store/internal/text"
)

// blobPart reads the file of a blob that isn't whole. What the file has behind the
// chunks that are kept may be cut off again.
type blobPart struct {
	b    *blobs
	id   string
	file *os.File
	size int64 // kept for certain
}

func (b *blobs) Part(ctx context.Context, id string) (BlobPart, error) {
	doing := "read the part of the result of " + text.Encode(id)
	if !cleanID(id) || len(id) > maxID {
		return nil, fmt.Errorf("fleet: %s: %w", doing, ErrUnknown)
	}
	f, err := b.root.Open(fileOf(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("fleet: %s: %w", doing, ErrUnknown)
	}
	if err != nil {
		return nil, fileError(doing, err)
	}
	p := &blobPart{b: b, id: id, file: f}
	if _, err = b.Stat(ctx, id); err == nil {
		err = fmt.Errorf("fleet: %s: %w: it is whole", doing, ErrUnknown)
	} else if errors.Is(err, ErrUnknown) {
		err = fileError(doing, p.look())
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return p, nil
}

func (p *blobPart) Close() error { return p.file.Close() }

func (p *blobPart) ReadAt(b []byte, offset int64) (int, error) {
	if offset+int64(len(b)) > p.size {
		if err := p.look(); err != nil {
			return 0, fileError("read the part of the result of "+p.id, err)
		}
	}
	short := false
	if left := max(0, p.size-offset); left < int64(len(b)) {
		b, short = b[:left], true
	}
	n, err := p.file.ReadAt(b, offset)
	if err == nil && short {
		err = io.EOF
	}
	return n, err
}

// look finds out how much is kept.
func (p *blobPart) look() error {
	p.b.mu.Lock()
	size, writing := p.b.kept[p.id]
	p.b.mu.Unlock()
	if writing {
		p.size = size
		return nil
	}
	info, err := p.file.Stat()
	if err != nil {
		return err
	}
	listed, err := listedBytes(p.b.root, p.id)
	if errors.Is(err, fs.ErrNotExist) {
		p.size = info.Size() // it is whole, or nothing changes it any more
		return nil
	}
	p.size = min(listed, info.Size())
	return err
}

// keep says how much of a blob that is being written is kept.
func (b *blobs) keep(id string, size int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.kept[id] = size
}

// listedBytes returns how many bytes the chunks have that a list names.
func listedBytes(root *os.Root, id string) (int64, error) {
	f, err := root.Open(fileOf(id) + partSuffix)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	list := bufio.NewReader(f)
	if _, err := list.ReadString('\n'); err != nil {
		return 0, nil // it broke off before the first chunk
	}
	size := int64(0)
	for {
		var entry [chunkBytes]byte
		if _, err := io.ReadFull(list, entry[:]); err != nil {
			return size, nil
		}
		size += int64(binary.BigEndian.Uint32(entry[:4]))
	}
}
