package conformance

import (
	"bytes"
	"crypto/sha256"
	"io"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/store/fleet"
)

// write makes a blob of chunks and returns what was said of it.
func write(t *testing.T, h Hub, id, gateway string, now time.Time, chunks ...[]byte) (fleet.BlobInfo, error) {
	t.Helper()
	w, err := h.Blobs.Write(t.Context(), id, gateway)
	if err != nil {
		return fleet.BlobInfo{}, err
	}
	defer w.Close()
	var all []byte
	for _, c := range chunks[:len(chunks)-1] {
		if err := w.Append(t.Context(), int64(len(all)), c); err != nil {
			return fleet.BlobInfo{}, err
		}
		all = append(all, c...)
	}
	all = append(all, chunks[len(chunks)-1]...)
	return w.Finish(t.Context(), chunks[len(chunks)-1], fleet.BlobInfo{Size: int64(len(all)), SHA256: sha256.Sum256(all), Stored: now, Note: "\x00 of " + id})
}

// read returns a blob's content, which it holds against its hash.
func read(t *testing.T, h Hub, id string) []byte {
	t.Helper()
	info, r, err := h.Blobs.Open(t.Context(), id)
	noErr(t, err)
	defer r.Close()
	content := must[[]byte](t)(io.ReadAll(r))
	same(t, sha256.Sum256(content), info.SHA256)
	same(t, int64(len(content)), info.Size)
	return content
}

func used(t *testing.T, h Hub) int64 {
	t.Helper()
	return must[fleet.BlobUsage](t)(h.Blobs.Usage(t.Context())).Bytes
}

func blobChunks(t *testing.T, open Opener) {
	h, ctx := opened(t, open, fleet.Options{}), t.Context()
	big := bytes.Repeat([]byte("0123456789abcdef"), 16<<10)
	for i, chunks := range [][][]byte{
		{[]byte("short")},
		{nil},
		{big},
		{big, big, []byte("end")},
		{[]byte("a"), []byte("b"), nil},
	} {
		id := commandID(i)
		info, err := write(t, h, id, "g1", at(i), chunks...)
		noErr(t, err)
		same(t, read(t, h, id), bytes.Join(chunks, nil))
		same(t, info.Note, "\x00 of "+id)
		same(t, must[fleet.BlobInfo](t)(h.Blobs.Stat(ctx, id)), info)
		_, err = h.Blobs.Write(ctx, id, "g1")
		wantErr(t, err, fleet.ErrExists)
	}
	same(t, used(t, h), int64(3*len(big)+len("short")+len("end")+len("ab")))
	w := must[fleet.BlobWriter](t)(h.Blobs.Write(ctx, commandID(9), "g1"))
	_, err := h.Blobs.Write(ctx, commandID(9), "g1")
	wantErr(t, err, fleet.ErrConflict)
	wantErr(t, h.Blobs.Remove(ctx, commandID(9)), fleet.ErrConflict)
	wantErr(t, w.Append(ctx, 1, []byte("x")), fleet.ErrGap)
	noErr(t, w.Append(ctx, 0, []byte("x")))
	_, err = w.Finish(ctx, []byte("y"), fleet.BlobInfo{Size: 3, Stored: at(0)})
	wantErr(t, err, fleet.ErrMismatch)
	_, _, err = h.Blobs.Open(ctx, commandID(9))
	wantErr(t, err, fleet.ErrUnknown) // it isn't whole
	noErr(t, w.Abort(ctx))
	wantErr(t, w.Append(ctx, 1, []byte("x")), fleet.ErrInvalid)
	noErr(t, w.Close())
	same(t, must[fleet.BlobUsage](t)(h.Blobs.Usage(ctx)), fleet.BlobUsage{Bytes: int64(3*len(big) + 10), Blobs: 5})
	for i := range 5 {
		noErr(t, h.Blobs.Remove(ctx, commandID(i)))
		_, err := h.Blobs.Stat(ctx, commandID(i))
		wantErr(t, err, fleet.ErrUnknown)
	}
	noErr(t, h.Blobs.Remove(ctx, commandID(0)))
	same(t, must[fleet.BlobUsage](t)(h.Blobs.Usage(ctx)), fleet.BlobUsage{})
	for _, id := range []string{"", "..", "../x", "a/b", "a.part", "C:x"} {
		_, err := h.Blobs.Write(ctx, id, "g1")
		wantErr(t, err, fleet.ErrInvalid)
		_, _, err = h.Blobs.Open(ctx, id)
		wantErr(t, err, fleet.ErrUnknown)
	}
}

func blobResume(t *testing.T, open Opener) {
	ctx, id := t.Context(), commandID(1)
	h := open(fleet.Options{})
	w := must[fleet.BlobWriter](t)(h.Blobs.Write(ctx, id, "g1"))
	noErr(t, w.Append(ctx, 0, []byte("abc")))
	noErr(t, w.Append(ctx, 3, []byte("de")))
	noErr(t, w.Close())
	noErr(t, h.Close())

	h = opened(t, open, fleet.Options{})
	same(t, must[fleet.BlobUsage](t)(h.Blobs.Usage(ctx)), fleet.BlobUsage{Bytes: 5, Partial: 1})
	w = must[fleet.BlobWriter](t)(h.Blobs.Write(ctx, id, "g1"))
	same(t, []any{w.Chunks(), w.Size()}, []any{uint64(2), int64(5)})
	held := must[io.ReadCloser](t)(w.Content())
	same(t, string(must[[]byte](t)(io.ReadAll(held))), "abcde")
	noErr(t, held.Close())
	_, err := w.Finish(ctx, []byte("f"), fleet.BlobInfo{Size: 6, SHA256: sha256.Sum256([]byte("abcdef")), Stored: at(0)})
	noErr(t, err)
	noErr(t, w.Close())
	same(t, string(read(t, h, id)), "abcdef")
	same(t, must[fleet.BlobUsage](t)(h.Blobs.Usage(ctx)), fleet.BlobUsage{Bytes: 6, Blobs: 1})

	// What another gateway began is not gone on with.
	w = must[fleet.BlobWriter](t)(h.Blobs.Write(ctx, commandID(2), "g1"))
	noErr(t, w.Append(ctx, 0, []byte("abc")))
	noErr(t, w.Close())
	w = must[fleet.BlobWriter](t)(h.Blobs.Write(ctx, commandID(2), "g2"))
	same(t, []any{w.Chunks(), w.Size(), used(t, h)}, []any{uint64(0), int64(0), int64(6)})
	noErr(t, w.Close())
}

// partly returns what has come of a blob behind offset.
func partly(t *testing.T, p fleet.BlobPart, offset int64) string {
	t.Helper()
	var b [100]byte
	n, err := p.ReadAt(b[:], offset)
	wantErr(t, err, io.EOF)
	return string(b[:n])
}

func blobParts(t *testing.T, open Opener) {
	ctx, id := t.Context(), commandID(1)
	h := open(fleet.Options{})
	_, err := h.Blobs.Part(ctx, id)
	wantErr(t, err, fleet.ErrUnknown)
	_, err = h.Blobs.Part(ctx, "../x")
	wantErr(t, err, fleet.ErrUnknown)
	w := must[fleet.BlobWriter](t)(h.Blobs.Write(ctx, id, "g1"))
	_, err = h.Blobs.Part(ctx, id)
	wantErr(t, err, fleet.ErrUnknown)
	noErr(t, w.Append(ctx, 0, []byte("abc")))
	p := must[fleet.BlobPart](t)(h.Blobs.Part(ctx, id))
	same(t, partly(t, p, 0), "abc")
	same(t, partly(t, p, 3), "")
	same(t, partly(t, p, 9), "")
	noErr(t, w.Append(ctx, 3, []byte("de")))
	same(t, partly(t, p, 2), "cde")
	noErr(t, w.Close())
	same(t, partly(t, p, 2), "cde")
	noErr(t, p.Close())
	noErr(t, h.Close())

	// Nobody writes to it after a new start.
	h = opened(t, open, fleet.Options{})
	p = must[fleet.BlobPart](t)(h.Blobs.Part(ctx, id))
	same(t, partly(t, p, 1), "bcde")
	w = must[fleet.BlobWriter](t)(h.Blobs.Write(ctx, id, "g1"))
	same(t, partly(t, p, 1), "bcde")
	_, err = w.Finish(ctx, []byte("f"), fleet.BlobInfo{Size: 6, Stored: at(0)})
	noErr(t, err)
	noErr(t, w.Close())
	same(t, partly(t, p, 4), "ef")
	_, err = h.Blobs.Part(ctx, id)
	wantErr(t, err, fleet.ErrUnknown)
	noErr(t, h.Blobs.Remove(ctx, id))
	same(t, partly(t, p, 4), "ef")
	noErr(t, p.Close())
}

func blobQuota(t *testing.T, open Opener) {
	h, ctx := opened(t, open, fleet.Options{MaxBytes: 100, MaxGatewayBytes: 60, MaxBlobBytes: 40}), t.Context()
	put := func(n int, gateway string, size int) error {
		_, err := write(t, h, commandID(n), gateway, at(n), make([]byte, size/2), make([]byte, size-size/2))
		return err
	}
	wantErr(t, put(1, "g1", 41), fleet.ErrQuota)
	noErr(t, h.Blobs.Remove(ctx, commandID(1)))
	noErr(t, put(2, "g1", 40))
	wantErr(t, put(3, "g1", 30), fleet.ErrQuota) // of the gateway
	noErr(t, h.Blobs.Remove(ctx, commandID(3)))
	noErr(t, put(4, "g2", 40))
	wantErr(t, put(5, "g3", 30), fleet.ErrQuota) // of all
	noErr(t, h.Blobs.Remove(ctx, commandID(5)))
	noErr(t, put(6, "g3", 20))
	same(t, used(t, h), int64(100))
	// The oldest go when there is little room.
	same(t, must[int](t)(h.Blobs.Sweep(ctx, at(10))), 1)
	_, err := h.Blobs.Stat(ctx, commandID(2))
	wantErr(t, err, fleet.ErrUnknown)
	noErr(t, put(7, "g1", 40))
}

func blobSweep(t *testing.T, open Opener) {
	h, ctx := opened(t, open, fleet.Options{Retention: time.Hour}), t.Context()
	_, err := write(t, h, commandID(1), "g1", at(0), []byte("old"))
	noErr(t, err)
	_, err = write(t, h, commandID(2), "g1", at(3000), []byte("x"), []byte("young"))
	noErr(t, err)
	w := must[fleet.BlobWriter](t)(h.Blobs.Write(ctx, commandID(3), "g1"))
	noErr(t, w.Append(ctx, 0, []byte("partial")))
	same(t, must[int](t)(h.Blobs.Sweep(ctx, at(4000))), 1)
	_, err = h.Blobs.Stat(ctx, commandID(1))
	wantErr(t, err, fleet.ErrUnknown)
	// Somebody writes: it stays, however old.
	future := time.Now().Add(48 * time.Hour)
	same(t, must[int](t)(h.Blobs.Sweep(ctx, future)), 1)
	noErr(t, w.Append(ctx, 7, []byte("!")))
	noErr(t, w.Close())
	same(t, must[int](t)(h.Blobs.Sweep(ctx, future)), 1)
	same(t, must[fleet.BlobUsage](t)(h.Blobs.Usage(ctx)), fleet.BlobUsage{})
}
