package hub

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/lanfolk/lanfolk/store/fleet"
)

const (
	// sealAgain is how long is waited where a seal could not be written.
	sealAgain = 5 * time.Second
	// lastSeal bounds the seal that is written at the end.
	lastSeal = 5 * time.Second
)

// seals writes the audit's head, signed, to places outside of the database, from time to
// time and at the end: a folder gets a file each, a file a line each. An audit that
// hasn't changed gets no other seal.
type seals struct {
	audit  fleet.Audit
	key    ed25519.PrivateKey
	every  time.Duration
	places []string
	log    *slog.Logger

	mu   sync.Mutex
	in   map[string]fleet.Seal // the last one in each place
	last fleet.Seal            // that is in all places
	when time.Time
	err  error
}

// run writes seals until ctx is done.
func (s *seals) run(ctx context.Context) error {
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		select {
		case <-next.C:
			if s.write(ctx) != nil {
				next.Reset(min(sealAgain, s.every))
				continue
			}
			next.Reset(s.every)
		case <-ctx.Done():
			return nil
		}
	}
}

// end writes the last one, when nothing more is done. What goes wrong is logged.
func (s *seals) end() {
	ctx, cancel := context.WithTimeout(context.Background(), lastSeal)
	defer cancel()
	_ = s.write(ctx)
}

// write writes one seal to all places.
func (s *seals) write(ctx context.Context) error {
	head, err := s.audit.Head(ctx)
	if err != nil {
		return s.ended(ctx, fleet.Seal{}, fmt.Errorf("hub: seal the audit: %w", err))
	}
	if head.Seq == 0 { // nothing was ever done
		s.mu.Lock()
		defer s.mu.Unlock()
		s.err = nil
		return nil
	}
	seal := head.Sign(s.key)
	if last, _, err := s.state(); err == nil && last.Hash == seal.Hash {
		return nil
	}
	text, err := json.Marshal(seal)
	if err != nil {
		return err
	}
	var errs []error
	for _, place := range s.places {
		if s.isIn(place, seal) { // it is tried again for the sake of another place
			continue
		}
		if err := writeSeal(place, seal.Seq, append(text, '\n')); err != nil {
			errs = append(errs, fmt.Errorf("hub: seal the audit: %w", err))
			continue
		}
		s.put(place, seal)
	}
	return s.ended(ctx, seal, errors.Join(errs...))
}

// between returns the hub's own seals of entries behind one and up to another. A line that
// is none, since the power went, is left out; one that isn't signed by the hub is an
// error.
func (s *seals) between(after, last uint64) (all []fleet.Seal, err error) {
	f, err := os.Open(s.places[0])
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("hub: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var seal fleet.Seal
		if json.Unmarshal(lines.Bytes(), &seal) != nil || seal.Seq <= after || seal.Seq > last {
			continue
		}
		if seal, err = fleet.ParseSeal(lines.Bytes(), s.key.Public().(ed25519.PublicKey)); err != nil {
			return nil, fmt.Errorf("hub: %s: %w", s.places[0], err)
		}
		all = append(all, seal)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("hub: %s: %w", s.places[0], err)
	}
	return all, nil
}

func (s *seals) isIn(place string, seal fleet.Seal) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.in[place].Hash == seal.Hash
}

func (s *seals) put(place string, seal fleet.Seal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.in == nil {
		s.in = make(map[string]fleet.Seal)
	}
	s.in[place] = seal
}

// writeSeal writes a seal into a folder, or behind the others in a file. It is on the
// disk when it returns.
func writeSeal(place string, seq uint64, line []byte) error {
	if info, err := os.Stat(place); err == nil && info.IsDir() {
		return writeFile(filepath.Join(place, fmt.Sprintf("seal-%012d.json", seq)), line, 0o640)
	}
	f, err := os.OpenFile(place, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return err
	}
	if broken(f) {
		line = append([]byte{'\n'}, line...)
	}
	_, err = f.Write(line)
	return errors.Join(err, f.Sync(), f.Close())
}

// broken says whether a file's last line has no end, since the power went while it was
// written.
func broken(f *os.File) bool {
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return false
	}
	last := make([]byte, 1)
	_, err = f.ReadAt(last, info.Size()-1)
	return err == nil && last[0] != '\n'
}

// ended notes how it went, and logs what is new.
func (s *seals) ended(ctx context.Context, seal fleet.Seal, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil:
		s.last, s.when = seal, time.Now()
	case s.err == nil && ctx.Err() == nil:
		s.log.Error("the audit's head can't be written to where it should be", "err", err)
	}
	s.err = err
	return err
}

// state returns the last seal that is in all places, when it was written, and why a
// newer one isn't.
func (s *seals) state() (last fleet.Seal, when time.Time, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last, s.when, s.err
}

func (s *seals) detail() string {
	last, when, err := s.state()
	switch {
	case err != nil:
		return err.Error()
	case when.IsZero():
		return ""
	}
	return fmt.Sprintf("entry %d sealed at %s", last.Seq, when.UTC().Format(time.RFC3339))
}
