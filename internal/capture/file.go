// Package capture runs frames, from a link or from a file, through the decoder
// of passive monitoring.
package capture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/lanfolk/lanfolk/passive"
	"github.com/lanfolk/lanfolk/passive/pcapfilter"
)

// File is a capture file to read.
type File struct {
	Path string    // "-" is In
	In   io.Reader // nobody else's any more
	// Filter lets frames through, nil all.
	Filter *pcapfilter.Filter
	// Progress hears now and then how many bytes of how many are read. Size is
	// 0 where it is not known; done counts unpacked bytes and may pass it.
	Progress func(done, size int64)
}

// progressEvery is how many frames lie between two words of progress.
const progressEvery = 50_000

// Read gives every fact in the file to emit. Frames before a broken or cut-off
// record are read, and the error says where it lies. The Fact is valid until
// emit returns; an error of emit ends the reading.
func (f File) Read(ctx context.Context, emit func(*passive.Fact) error) (passive.Stats, error) {
	in, size, err := f.open()
	if err != nil {
		return passive.Stats{}, err
	}
	defer in.Close()
	ahead, stop := context.WithCancel(ctx)
	defer stop()
	reader, err := passive.NewPiecesReader(readAhead(ahead, in))
	if err != nil {
		return passive.Stats{}, fmt.Errorf("%s: %w", f.Path, err)
	}
	decoder := passive.NewDecoder(passive.Options{})
	var matcher *pcapfilter.Matcher
	if f.Filter != nil {
		matcher = f.Filter.Matcher()
	}
	var failed error
	keep := func(fact *passive.Fact) {
		if failed == nil {
			failed = emit(fact)
		}
	}
	for n := 1; ; n++ {
		frame, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return decoder.Stats(), nil
		}
		if err != nil {
			return decoder.Stats(), fmt.Errorf("%s: %w", f.Path, err)
		}
		passes := true
		if matcher != nil {
			if passes, err = matcher.Match(frame); err != nil {
				return decoder.Stats(), fmt.Errorf("%s: %w", f.Path, err)
			}
		}
		if passes {
			decoder.Decode(frame, keep)
		}
		if failed != nil {
			return decoder.Stats(), failed
		}
		if n%progressEvery == 0 {
			if err := ctx.Err(); err != nil {
				return decoder.Stats(), err
			}
			if f.Progress != nil {
				f.Progress(reader.Offset(), size)
			}
		}
	}
}

func (f File) open() (io.ReadCloser, int64, error) {
	if f.Path == "-" {
		return io.NopCloser(f.In), 0, nil
	}
	file, err := os.Open(f.Path)
	if err != nil {
		return nil, 0, fmt.Errorf("capture: %w", err)
	}
	info, err := file.Stat()
	if err == nil && info.IsDir() {
		err = fmt.Errorf("%s is a folder", f.Path)
	}
	if err != nil {
		file.Close()
		return nil, 0, fmt.Errorf("capture: %w", err)
	}
	return file, info.Size(), nil
}
