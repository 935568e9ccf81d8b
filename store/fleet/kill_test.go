package fleet_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/store"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// The test binary runs itself again as a hub that is killed.
const folderVariable = "LANFOLK_FLEET_TEST_FOLDER"

func TestMain(m *testing.M) {
	folder := os.Getenv(folderVariable)
	if folder == "" {
		os.Exit(m.Run())
	}
	if err := workUntilKilled(folder); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func id(n int) string { return fmt.Sprintf("01JN%022d", n) }

// workUntilKilled takes commands through their lives, one after the other, and prints
// what was acknowledged: the number and how many steps.
func workUntilKilled(folder string) error {
	ctx := context.Background()
	db, err := store.Open(ctx, filepath.Join(folder, "lanfolk.db"), store.Options{})
	if err != nil {
		return err
	}
	f, err := fleet.Open(ctx, db, fleet.Options{BlobFolder: filepath.Join(folder, "results")})
	if err != nil {
		return err
	}
	chunk := make([]byte, 32<<10)
	for n := 0; ; n++ {
		var w fleet.BlobWriter
		for step, do := range []func() error{
			func() error {
				return f.Commands.Create(ctx, []fleet.Entry{{What: "run", Ref: id(n)}}, fleet.Command{ID: id(n), Gateway: "g1"})
			},
			func() (err error) {
				if w, err = f.Blobs.Write(ctx, id(n), "g1"); err != nil {
					return err
				}
				return w.Append(ctx, 0, chunk)
			},
			func() error {
				_, err := w.Finish(ctx, chunk, fleet.BlobInfo{Size: 2 * int64(len(chunk)), SHA256: [32]byte{1}, Stored: time.Now()})
				return err
			},
			func() error {
				c, err := f.Commands.Command(ctx, id(n))
				if err == nil {
					c.State, c.Ended = fleet.OK, time.Now()
					_, err = f.Commands.Update(ctx, c, fleet.Entry{What: "result", Ref: id(n), Outcome: "ok"})
				}
				return err
			},
		} {
			if err := do(); err != nil {
				return err
			}
			fmt.Println(n, step+1)
		}
		if err := w.Close(); err != nil {
			return err
		}
	}
}

// However a hub ends, what it acknowledged is there, in the order in which it was done,
// and nothing is half there.
func TestKilledHub(t *testing.T) {
	t.Parallel()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for after := 3; after < 33; after += 3 {
		folder := t.TempDir()
		cmd := exec.CommandContext(t.Context(), exe)
		cmd.Env = append(os.Environ(), folderVariable+"="+folder)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		done, last := make(map[int]int), 0
		for i := 0; lines.Scan(); i++ {
			if i == after {
				_ = cmd.Process.Kill() // lines that were on their way still count
			}
			a, b, _ := strings.Cut(lines.Text(), " ")
			n, err := strconv.Atoi(a)
			if err != nil {
				t.Fatal(lines.Text())
			}
			done[n], _ = strconv.Atoi(b)
			last = n
		}
		_ = cmd.Wait()
		afterKill(t, folder, done, last)
	}
}

// afterKill opens what a killed hub left, which had done so many steps of each command.
func afterKill(t *testing.T, folder string, done map[int]int, last int) {
	t.Helper()
	ctx := t.Context()
	h := hub(t, filepath.Join(folder, "lanfolk.db"), filepath.Join(folder, "results"), fleet.Options{})
	defer h.Close()
	if _, _, err := fleet.Verify(ctx, h.Audit); err != nil {
		t.Fatal(err)
	}
	for n := range last + 2 {
		c, err := h.Commands.Command(ctx, id(n))
		_, blobErr := h.Blobs.Stat(ctx, id(n))
		said, auditErr := h.Audit.Entries(ctx, fleet.AuditFilter{Ref: id(n)})
		if auditErr != nil {
			t.Fatal(auditErr)
		}
		want := 0 // entries
		switch {
		case err == nil && c.State == fleet.OK:
			want = 2
		case err == nil:
			want = 1
		}
		switch {
		case len(said) != want:
			t.Fatalf("command %d is %s, %v, and has %d entries in the audit", n, c.State, err, len(said))
		case err == nil && c.State == fleet.OK && blobErr != nil:
			t.Fatalf("command %d ended well and has no result: %v", n, blobErr)
		case done[n] >= 1 && err != nil, done[n] >= 3 && blobErr != nil, done[n] >= 4 && c.State != fleet.OK:
			t.Fatalf("command %d had done %d steps: %v, %v, %s", n, done[n], err, blobErr, c.State)
		case blobErr == nil:
			_, r, err := h.Blobs.Open(ctx, id(n))
			if err != nil {
				t.Fatal(err)
			}
			r.Close()
		default: // what isn't whole goes on
			w, err := h.Blobs.Write(ctx, id(n), "g1")
			if err != nil {
				t.Fatal(err)
			}
			if done[n] >= 2 && w.Chunks() != 1 {
				t.Fatalf("the result of command %d has %d chunks", n, w.Chunks())
			}
			w.Close()
		}
	}
}
