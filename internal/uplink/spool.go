package uplink

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/feed"
)

// A spool holds what passive monitoring heard until the hub has it. Rows gather in a
// window, which merges those of one key; sealed, it is a batch, and never changes again.
//
//	feed            {"epoch":"K7…","base":3}: batch 3 has the number 0 in this epoch
//	000000003.batch what goes up, as it goes
//	000000004.batch
//	000000005.open  the window: a line for each row that came, in case this process dies
//
// A batch is on the disk before it is sent. The window is in the system's hands at once,
// so that the end of the process costs nothing; a power cut may cost what it holds.
// While the hub is away the window stays open as long as it has room: what is heard
// again and again takes the room of one row.
type spool struct {
	dir  string
	most int64 // bytes of all files together

	mu      sync.Mutex
	state   spoolState
	sealed  []sealed
	window  window
	bytes   int64 // of the sealed batches
	dropped uint64
}

type spoolState struct {
	Epoch string `json:"epoch"`
	Base  uint64 `json:"base"`
}

// sealed is a batch that waits.
type sealed struct {
	n    uint64
	size int64
	rows int
}

// window is a batch that still gathers.
type window struct {
	n     uint64
	file  *os.File
	size  int64 // of the file
	rows  map[lanfolk.ObservationKey]*lanfolk.Observation
	bytes int // about what the rows will take in a batch, and never too few
	began time.Time
}

const (
	stateFile = "feed"
	// spare is by how much a row's line may grow when the row is merged: its times and
	// its count get more digits, its addresses longer.
	spare = 160
	// A window's file is written anew when it has so many bytes, and is some times as
	// long as its rows.
	rewriteWindow = 1 << 20
)

// openSpool takes up what lies in dir, which is made if it isn't there.
func openSpool(dir string, most int64) (*spool, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("uplink: spool: %w", err)
	}
	s := &spool{dir: dir, most: most}
	if err := s.load(); err != nil {
		return nil, fmt.Errorf("uplink: spool: %w", err)
	}
	return s, nil
}

func (s *spool) batchPath(n uint64) string {
	return filepath.Join(s.dir, fmt.Sprintf("%09d.batch", n))
}
func (s *spool) windowPath(n uint64) string {
	return filepath.Join(s.dir, fmt.Sprintf("%09d.open", n))
}

func (s *spool) load() error {
	text, err := os.ReadFile(filepath.Join(s.dir, stateFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if json.Unmarshal(text, &s.state) != nil || s.state.Epoch == "" {
		s.state = spoolState{}
	}
	files, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	var windows []uint64
	for _, f := range files {
		stem, kind, _ := strings.Cut(f.Name(), ".")
		n, err := strconv.ParseUint(stem, 10, 63)
		switch {
		case err != nil:
		case kind == "batch":
			b, err := s.loadBatch(n)
			if err != nil {
				return err
			}
			s.sealed = append(s.sealed, b)
			s.bytes += b.size
		case kind == "open":
			windows = append(windows, n)
		}
	}
	slices.SortFunc(s.sealed, func(a, b sealed) int { return int(int64(a.n) - int64(b.n)) })
	next := s.state.Base
	if n := len(s.sealed); n > 0 {
		next = s.sealed[n-1].n + 1
	}
	// Below next they were sealed. Of several above it the first is the window; the others
	// were to follow it.
	slices.Sort(windows)
	at := slices.IndexFunc(windows, func(n uint64) bool { return n >= next })
	if at < 0 {
		s.state = spoolState{} // the hub may have a batch of this number already
	} else {
		next = windows[at]
	}
	for _, n := range windows {
		if n == next {
			continue
		}
		if err := os.Remove(s.windowPath(n)); err != nil {
			return err
		}
	}
	w, err := s.openWindow(next)
	s.window = w
	return err
}

func (s *spool) loadBatch(n uint64) (sealed, error) {
	data, err := os.ReadFile(s.batchPath(n))
	return sealed{n, int64(len(data)), max(0, bytes.Count(data, []byte("\n"))-1)}, err
}

// openWindow begins window n, or goes on with it.
func (s *spool) openWindow(n uint64) (window, error) {
	file, err := os.OpenFile(s.windowPath(n), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return window{}, err
	}
	w := window{n: n, file: file, rows: make(map[lanfolk.ObservationKey]*lanfolk.Observation), began: time.Now()}
	w.size, err = readLines(file, func(body []byte) error {
		o, err := feed.ParseRow(body)
		if err == nil {
			w.merge(&o)
		}
		return err
	})
	if err != nil {
		return window{}, errors.Join(err, file.Close())
	}
	return w, nil
}

// fits says whether a row has room in the window.
func (w *window) fits(o *lanfolk.Observation, line int) bool {
	return w.rows[o.ObservationKey] != nil || w.bytes+line+spare <= feed.MaxBatch-feed.HeaderSize
}

func (w *window) merge(o *lanfolk.Observation) {
	if have := w.rows[o.ObservationKey]; have != nil {
		have.Merge(*o)
		return
	}
	row := *o
	w.rows[row.ObservationKey] = &row
	w.bytes += len(feed.AppendRow(nil, &row)) + spare
}

// add takes rows. Those for which there is no room are counted, and go.
func (s *spool) add(rows []lanfolk.Observation) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var lines, line []byte
	put := func() error {
		if err := s.write(lines); err != nil {
			return err
		}
		lines = lines[:0]
		return nil
	}
	for n := range rows {
		o := rows[n]
		o.Gateway = ""
		if feed.CheckRow(&o) != nil {
			s.drop(1)
			continue
		}
		line = feed.AppendRow(line[:0], &o)
		if !s.window.fits(&o, len(line)) {
			err := put()
			if err == nil {
				err = s.makeRoom(len(line))
			}
			if err != nil {
				s.drop(len(rows) - n)
				return err
			}
		}
		if !s.window.fits(&o, len(line)) {
			s.drop(1)
			continue
		}
		if len(s.window.rows) == 0 {
			s.window.began = time.Now()
		}
		s.window.merge(&o)
		lines = appendLine(lines, line[:len(line)-1])
	}
	return put()
}

func (s *spool) drop(n int) { s.dropped += uint64(n) }

// write adds lines to the window's file.
func (s *spool) write(lines []byte) error {
	w := &s.window
	if len(lines) == 0 {
		return nil
	}
	if w.size+int64(len(lines)) > rewriteWindow && w.size > 4*int64(w.bytes) {
		return s.rewriteWindow() // the rows are merged already
	}
	if _, err := w.file.WriteAt(lines, w.size); err != nil {
		return errors.Join(err, w.file.Truncate(w.size))
	}
	w.size += int64(len(lines))
	return nil
}

// rewriteWindow writes the window's file anew, a line a row.
func (s *spool) rewriteWindow() error {
	w := &s.window
	path := s.windowPath(w.n)
	err := replaceFile(path, func(out io.Writer) error {
		var row, line []byte
		for _, o := range w.rows {
			row = feed.AppendRow(row[:0], o)
			line = appendLine(line[:0], row[:len(row)-1])
			if _, err := out.Write(line); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	w.file.Close()
	w.file = file
	w.size, err = file.Seek(0, io.SeekEnd)
	return err
}

// makeRoom seals the window, if there is room for another one of at least n bytes.
func (s *spool) makeRoom(n int) error {
	if s.bytes+int64(s.window.bytes+n) > s.most {
		return nil
	}
	return s.sealWindow()
}

// sealWindow makes a batch of the window.
func (s *spool) sealWindow() error {
	w := &s.window
	if len(w.rows) == 0 {
		return nil
	}
	data := feed.RowsHeader()
	rows := len(w.rows)
	for _, o := range w.rows {
		data = feed.AppendRow(data, o)
	}
	following, err := s.openWindow(w.n + 1)
	if err != nil {
		return err
	}
	err = replaceFile(s.batchPath(w.n), func(out io.Writer) error {
		_, err := out.Write(data)
		return err
	})
	if err != nil {
		return errors.Join(err, following.file.Close())
	}
	s.sealed = append(s.sealed, sealed{w.n, int64(len(data)), rows})
	s.bytes += int64(len(data))
	w.file.Close()
	old := s.windowPath(w.n)
	s.window = following
	return errors.Join(os.Remove(old), syncFolder(s.dir))
}

// begin begins an epoch: what waits is renumbered.
func (s *spool) begin() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := spoolState{Epoch: rand.Text(), Base: s.window.n}
	if len(s.sealed) > 0 {
		state.Base = s.sealed[0].n
	}
	text, err := json.Marshal(state)
	if err == nil {
		err = replaceFile(filepath.Join(s.dir, stateFile), func(out io.Writer) error {
			_, err := out.Write(text)
			return err
		})
	}
	if err == nil {
		s.state = state
	}
	return err
}

// taken drops the batches of the epoch before number next: the hub has them. False: it
// can't be what the hub wants.
func (s *spool) taken(next uint64) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.state.Base + next
	if n < s.state.Base || n > s.window.n || len(s.sealed) > 0 && n < s.sealed[0].n || len(s.sealed) == 0 && n != s.window.n {
		return false, nil
	}
	for len(s.sealed) > 0 && s.sealed[0].n < n {
		if err := os.Remove(s.batchPath(s.sealed[0].n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return true, err
		}
		s.bytes -= s.sealed[0].size
		s.sealed = s.sealed[1:]
	}
	return true, nil
}

// first returns the batch that goes up next, its number in the epoch and how many rows it
// has. If none is sealed, the window is once it is old enough.
func (s *spool) first(now time.Time, age time.Duration) (data []byte, seq uint64, rows int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.sealed) == 0 && len(s.window.rows) > 0 && now.Sub(s.window.began) >= age {
		if err := s.sealWindow(); err != nil {
			return nil, 0, 0, err
		}
	}
	if len(s.sealed) == 0 {
		return nil, 0, 0, nil
	}
	b := s.sealed[0]
	data, err = os.ReadFile(s.batchPath(b.n))
	return data, b.n - s.state.Base, b.rows, err
}

func (s *spool) epoch() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.Epoch
}

func (s *spool) status() FingerprintsStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := FingerprintsStatus{Enabled: true, Waiting: len(s.window.rows), Bytes: s.bytes + s.window.size, Dropped: s.dropped}
	for _, b := range s.sealed {
		st.Waiting += b.rows
	}
	return st
}

func (s *spool) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.window.file.Close()
}
