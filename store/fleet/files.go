package fleet

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/lanfolk/lanfolk/store"
)

// A blob that isn't whole yet is two files: its bytes, and beside them a list of its
// chunks, ID.part: the gateway's name in one line, then eight bytes a chunk, its
// length and its CRC-32C. So the loss of power, after which a file may be longer than what
// reached the disk of it, costs the chunks that it hit and no more. A whole one is the first
// file alone.
const (
	partSuffix = ".part"
	chunkBytes = 8 // of the list
	maxOwner   = 256
)

// fileOf returns where a blob lies in the folder: thousands in one would be slow.
func fileOf(id string) string { return path.Join("b"+strings.ToLower(id[max(0, len(id)-2):]), id) }

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// A part is a blob that isn't whole.
type part struct {
	data, list *os.File
	gateway    string
	chunks     uint64
	size       int64
	listSize   int64
	table      *crc32.Table
}

// openPart opens a part, or makes one for a gateway.
func openPart(root *os.Root, id, gateway string) (*part, error) {
	name := fileOf(id)
	if err := root.Mkdir(path.Dir(name), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	p := &part{gateway: gateway, table: castagnoli()}
	var err error
	if p.list, err = root.OpenFile(name+partSuffix, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, err
	}
	if p.data, err = root.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600); err == nil {
		err = p.resume()
	}
	if err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// resume finds the last chunk that is there as it came, and cuts off what is behind it.
func (p *part) resume() error {
	list := bufio.NewReader(p.list)
	owner, err := list.ReadString('\n')
	if err != nil || owner != p.gateway+"\n" {
		return p.restart()
	}
	p.listSize = int64(len(owner))
	data := bufio.NewReaderSize(p.data, 256<<10)
	for {
		var entry [chunkBytes]byte
		if _, err := io.ReadFull(list, entry[:]); err != nil {
			break
		}
		length, crc := binary.BigEndian.Uint32(entry[:4]), binary.BigEndian.Uint32(entry[4:])
		sum := crc32.New(p.table)
		if _, err := io.CopyN(sum, data, int64(length)); err != nil || sum.Sum32() != crc {
			break
		}
		p.chunks, p.size, p.listSize = p.chunks+1, p.size+int64(length), p.listSize+chunkBytes
	}
	return errors.Join(p.data.Truncate(p.size), p.list.Truncate(p.listSize))
}

// restart begins with nothing.
func (p *part) restart() error {
	if err := errors.Join(p.data.Truncate(0), p.list.Truncate(0)); err != nil {
		return err
	}
	n, err := p.list.WriteAt([]byte(p.gateway+"\n"), 0)
	p.chunks, p.size, p.listSize = 0, 0, int64(n)
	return err
}

// append adds a chunk. One that couldn't be written leaves what was there.
func (p *part) append(chunk []byte) error {
	if _, err := p.data.WriteAt(chunk, p.size); err != nil {
		return errors.Join(err, p.data.Truncate(p.size))
	}
	entry := binary.BigEndian.AppendUint32(nil, uint32(len(chunk)))
	entry = binary.BigEndian.AppendUint32(entry, crc32.Checksum(chunk, p.table))
	if _, err := p.list.WriteAt(entry, p.listSize); err != nil {
		return errors.Join(err, p.list.Truncate(p.listSize), p.data.Truncate(p.size))
	}
	p.chunks, p.size, p.listSize = p.chunks+1, p.size+int64(len(chunk)), p.listSize+chunkBytes
	return nil
}

func (p *part) close() error {
	var errs []error
	for _, f := range []*os.File{p.data, p.list} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// removeFiles removes what there is of a blob.
func removeFiles(root *os.Root, id string) error {
	var errs []error
	for _, name := range []string{fileOf(id), fileOf(id) + partSuffix} {
		if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// syncFolder makes names in a folder survive the loss of power.
func syncFolder(root *os.Root, name string) error {
	f, err := root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// found is a file of the folder.
type found struct {
	id       string
	size     int64
	modified int64
	gateway  string // of a part
	part     bool   // the list of one
}

// walkFiles returns the files of the folder.
func walkFiles(root *os.Root) ([]found, error) {
	var all []found
	err := fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed since
		}
		if err != nil {
			return err
		}
		f := found{id: strings.TrimSuffix(d.Name(), partSuffix), size: info.Size(), modified: info.ModTime().UnixNano()}
		if !cleanID(f.id) || path.Dir(name) != path.Dir(fileOf(f.id)) {
			return nil // nobody's of ours
		}
		if f.part = strings.HasSuffix(d.Name(), partSuffix); f.part {
			f.gateway, err = ownerOf(root, name)
		}
		all = append(all, f)
		return err
	})
	return all, err
}

// ownerOf reads the gateway's name from a list of chunks, "" if there is none.
func ownerOf(root *os.Root, name string) (string, error) {
	f, err := root.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	line, err := bufio.NewReader(io.LimitReader(f, maxOwner)).ReadString('\n')
	if err != nil {
		return "", nil // it broke off before that
	}
	return strings.TrimSuffix(line, "\n"), nil
}

// fileError says what a file's error means, as package store does for a database.
func fileError(doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case isFull(err):
		return fmt.Errorf("fleet: %s: %w: %w", doing, store.ErrFull, err)
	case isReadOnly(err):
		return fmt.Errorf("fleet: %s: %w: %w", doing, store.ErrReadOnly, err)
	}
	return fmt.Errorf("fleet: %s: %w", doing, err)
}
