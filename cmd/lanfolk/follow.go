package main

import (
	"context"
	"crypto/sha256"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// followSettle is how long after a change the file is looked at: what changes
	// it is rarely done with one write.
	followSettle = 50 * time.Millisecond
	// followPoll is how often it is looked at in any case: it may lie behind a
	// symbolic link, or where changes aren't told.
	followPoll = 2 * time.Second
)

// followFile calls changed at once and then each time the content of the file
// at path is another. A file that is away is no change. It returns when ctx is
// done.
func followFile(ctx context.Context, path string, log *slog.Logger, changed func()) {
	var events chan fsnotify.Event
	if w, err := fsnotify.NewWatcher(); err == nil {
		defer w.Close()
		// The folder, not the file: editors replace files.
		if err = w.Add(filepath.Dir(path)); err == nil {
			events = w.Events
			go func() { // an overflow is made good by the poll
				for range w.Errors {
				}
			}()
		} else {
			log.Debug("the folder can't be watched; looking at the file now and then", "path", path, "err", err)
		}
	}
	var last [sha256.Size]byte
	poll := time.NewTicker(followPoll)
	defer poll.Stop()
	look := time.After(0)
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-events:
			if filepath.Base(e.Name) == filepath.Base(path) && look == nil {
				look = time.After(followSettle)
			}
			continue
		case <-look:
			look = nil
		case <-poll.C:
		}
		if sum, err := fileSum(path); err == nil && sum != last {
			last = sum
			changed()
		}
	}
}

func fileSum(path string) (sum [sha256.Size]byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return sum, err
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
}
