package fleet

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/store"
)

func openTestBlobs(t *testing.T, o Options) *blobs {
	t.Helper()
	dir := t.TempDir()
	db, err := store.Open(t.Context(), filepath.Join(dir, "hub.db"), store.Options{Node: "hub"})
	if err != nil {
		t.Fatal(err)
	}
	o.BlobFolder = filepath.Join(dir, "results")
	b, err := openBlobs(t.Context(), db, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(b.close(), db.Close()); err != nil {
			t.Error(err)
		}
	})
	return b
}

// rename gives a table another name.
func rename(t *testing.T, b *blobs, from, to string) {
	t.Helper()
	err := b.db.Write(t.Context(), "rename a table", func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.ExecContext(ctx, "ALTER TABLE "+from+" RENAME TO "+to)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A database that loses its client while it commits may have committed: the blob is whole
// then, and no byte of it is lost.
func TestAFinishOfWhichNobodyKnowsWhetherItWasCommitted(t *testing.T) {
	t.Parallel()
	const id = "01K9ZZZZZZZZZZZZZZZZZZZZZZ"
	for _, begun := range []string{"", "what came before, "} {
		for n := range 4 {
			committed, asked := n&1 != 0, n&2 != 0
			what := fmt.Sprintf("begun %q, committed %v, asked before %v", begun, committed, asked)
			b := openTestBlobs(t, Options{})
			w, err := b.Write(t.Context(), id, "g1")
			if err == nil && begun != "" {
				err = w.Append(t.Context(), 0, []byte(begun))
			}
			if err != nil {
				t.Fatal(err)
			}
			last := []byte("the end")
			all := []byte(begun + "the end")
			info := BlobInfo{ID: id, Gateway: "g1", Size: int64(len(all)), SHA256: sha256.Sum256(all), Stored: time.Unix(1, 0).UTC(), Note: "n"}
			if committed {
				inside, content := int64(1), last
				if begun != "" {
					inside, content = 0, nil
				}
				if err := b.put(t.Context(), "commit", info, inside, content); err != nil {
					t.Fatal(err)
				}
			}
			if asked {
				rename(t, b, "fleet_blob", "away")
				if _, err := w.Finish(t.Context(), last, info); err == nil || errors.Is(err, ErrUnknown) {
					t.Fatalf("%s: without an answer: %v", what, err)
				}
				rename(t, b, "away", "fleet_blob")
				if err := w.Append(t.Context(), int64(len(begun)), last); !errors.Is(err, ErrInvalid) {
					t.Errorf("%s: Append behind the last chunk: %v", what, err)
				}
			}
			if got, err := w.Finish(t.Context(), last, info); err != nil || got != info {
				t.Errorf("%s: %+v, %v", what, got, err)
			}
			if n := b.bytes(); n != int64(len(all)) {
				t.Errorf("%s: %d bytes are taken", what, n)
			}
			if err := w.Close(); err != nil {
				t.Error(err)
			}
			_, r, err := b.Open(t.Context(), id)
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, all) {
				t.Errorf("%s: %q, %v", what, got, err)
			}
			if err := errors.Join(r.Close(), b.Remove(t.Context(), id)); err != nil || b.bytes() != 0 {
				t.Errorf("%s: %v; %d bytes stay", what, err, b.bytes())
			}
		}
	}
}

// What somebody has can't go: then there is no room.
func TestRoomThatNobodyCanMake(t *testing.T) {
	t.Parallel()
	b := openTestBlobs(t, Options{MaxBytes: 100})
	const id = "01K9ZZZZZZZZZZZZZZZZZZZZZZ"
	text := make([]byte, 95)
	w, err := b.Write(t.Context(), id, "g1")
	if err == nil {
		_, err = w.Finish(t.Context(), text, BlobInfo{Size: 95, SHA256: sha256.Sum256(text), Stored: time.Unix(1, 0)})
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if n, err := b.Sweep(ctx, time.Now()); n != 0 || err != nil {
		t.Errorf("%d went, %v", n, err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if n, err := b.Sweep(ctx, time.Now()); n != 1 || err != nil {
		t.Errorf("%d went, %v", n, err)
	}
}
