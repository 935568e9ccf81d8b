package uplink

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
)

// What is kept in files is lines of text: a checksum (CRC-32C of what follows the blank,
// eight hexadecimal digits), a blank, JSON.
const sumLen = 9

// appendLine appends a line with a body that has no end of line in it.
func appendLine(b, body []byte) []byte {
	b = fmt.Appendf(b, "%08x ", crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
	return append(append(b, body...), '\n')
}

// parseLine returns the body of a line with its end. False: it is damaged.
func parseLine(line []byte) ([]byte, bool) {
	if len(line) <= sumLen || line[len(line)-1] != '\n' || line[sumLen-1] != ' ' {
		return nil, false
	}
	body := line[sumLen : len(line)-1]
	sum := fmt.Appendf(nil, "%08x", crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
	return body, bytes.Equal(line[:sumLen-1], sum)
}

// errDamaged ends the reading of lines at the first that is torn or can't be.
var errDamaged = errors.New("damaged")

// readLines calls take with the body of each line, up to the first that is damaged or
// that take has an error for, and returns how many bytes were good. An error is the
// file's.
func readLines(r io.Reader, take func(body []byte) error) (good int64, err error) {
	in := bufio.NewReaderSize(r, 64<<10)
	for {
		line, err := in.ReadBytes('\n')
		if len(line) > maxLine {
			return good, nil
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return good, err
		}
		body, ok := parseLine(line)
		if !ok || take(body) != nil {
			return good, nil
		}
		good += int64(len(line))
	}
}

// maxLine bounds a line: one of a ledger has the keys of a batch.
const maxLine = 4 << 20

// replaceFile writes a file anew: it has the old content or the new, whatever happens.
// What wrote returns is on the disk when it returns nil.
func replaceFile(path string, write func(w io.Writer) error) (err error) {
	temp := path + ".new"
	f, err := os.OpenFile(temp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(f, 64<<10)
	err = write(out)
	if err == nil {
		err = out.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		_ = os.Remove(temp)
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// syncFolder puts on the disk what was renamed, made and removed in a folder.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
