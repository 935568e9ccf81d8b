package store_test

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/store"
	_ "modernc.org/sqlite"
)

// open opens path and closes it when the test ends.
func open(t *testing.T, path string, o store.Options) *store.DB {
	t.Helper()
	db, err := store.Open(context.Background(), path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// raw runs statements on path past the package, as somebody else's program.
func raw(t *testing.T, path string, statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, s := range statements {
		if _, err := db.Exec(s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// made returns the path of a database with one observation, which is closed.
func made(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lanfolk.db")
	db := open(t, path, store.Options{})
	if err := db.SaveObservations(context.Background(), []lanfolk.Observation{{Count: 1}}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestOpenRefusesWhatItCannotUseAndLeavesItAlone(t *testing.T) {
	t.Parallel()
	const putBack = "; put back a copy of it, or move it away and lanfolk begins with an empty one"
	for _, c := range []struct {
		name     string
		make     func(t *testing.T) string
		is       error
		readOnly bool
		want     string // PATH stands for the path
	}{
		{
			name: "text", is: store.ErrDamaged,
			make: func(t *testing.T) string { return file(t, []byte("name,ip\nnas,10.0.0.5\n")) },
			want: "store: open PATH: database damaged: it does not begin as a SQLite file" + putBack,
		},
		{
			name: "the first bytes of a database", is: store.ErrDamaged,
			make: func(t *testing.T) string { return file(t, []byte("SQLite")) },
			want: "store: open PATH: database damaged: it does not begin as a SQLite file" + putBack,
		},
		{
			name: "a database cut short", is: store.ErrDamaged,
			make: func(t *testing.T) string {
				path := made(t)
				if err := os.Truncate(path, 3*4096); err != nil {
					t.Fatal(err)
				}
				return path
			},
			want: "store: open PATH: database damaged: database disk image is malformed (11)" + putBack,
		},
		{
			name: "a database with rubbish in its table of tables", is: store.ErrDamaged,
			make: func(t *testing.T) string {
				path := made(t)
				overwrite(t, path, 100, strings.Repeat("x", 200))
				return path
			},
			want: "store: open PATH: database damaged: database disk image is malformed (11)" + putBack,
		},
		{
			name: "another program's database", is: store.ErrForeign,
			make: func(t *testing.T) string {
				path := filepath.Join(t.TempDir(), "places.sqlite")
				raw(t, path, "CREATE TABLE observation (id INTEGER)", "INSERT INTO observation VALUES (1)")
				return path
			},
			want: "store: open PATH: database of another program; name another file or state folder",
		},
		{
			name: "a newer lanfolk's database", is: store.ErrNewer,
			make: func(t *testing.T) string {
				path := made(t)
				raw(t, path, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, 1)")
				return path
			},
			want: "store: open PATH: database made by a newer lanfolk (schema 99, this one knows up to 4); run that version, or name another state folder",
		},
		{
			name: "a newer lanfolk's database, to read", is: store.ErrNewer, readOnly: true,
			make: func(t *testing.T) string {
				path := made(t)
				raw(t, path, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, 1)")
				return path
			},
			want: "store: open PATH: database made by a newer lanfolk (schema 99, this one knows up to 4); run that version, or name another state folder",
		},
		{
			name: "an older lanfolk's database, to read", is: store.ErrOlder, readOnly: true,
			make: func(t *testing.T) string {
				path := made(t)
				raw(t, path, "DELETE FROM goose_db_version WHERE version_id > 0")
				return path
			},
			want: "store: open PATH: database made by an older lanfolk (schema 0, this one reads 4); start the node once to bring it up to date",
		},
		{
			name: "an empty file, to read", is: store.ErrOlder, readOnly: true,
			make: func(t *testing.T) string { return file(t, nil) },
			want: "store: open PATH: database made by an older lanfolk (schema 0, this one reads 4); start the node once to bring it up to date",
		},
		{
			name: "a folder",
			make: func(t *testing.T) string { return t.TempDir() },
			want: "store: open PATH: not a regular file",
		},
		{
			name: "nothing, in a folder that isn't there", is: os.ErrNotExist,
			make: func(t *testing.T) string { return filepath.Join(t.TempDir(), "no", "lanfolk.db") },
			want: "store: open PATH: open PATH: no such file or directory",
		},
		{
			name: "nothing, to read", is: os.ErrNotExist, readOnly: true,
			make: func(t *testing.T) string { return filepath.Join(t.TempDir(), "lanfolk.db") },
			want: "store: open PATH: open PATH: no such file or directory",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := c.make(t)
			before := files(t, filepath.Dir(path))
			db, err := store.Open(context.Background(), path, store.Options{ReadOnly: c.readOnly})
			if err == nil {
				db.Close()
				t.Fatal("it was opened")
			}
			if got := strings.ReplaceAll(err.Error(), path, "PATH"); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("%v is not %v", err, c.is)
			}
			for name, content := range files(t, filepath.Dir(path)) {
				if old, ok := before[name]; ok && old != content {
					t.Errorf("%s was changed", name)
				} else if !ok && content != "" && !strings.HasSuffix(name, "-shm") {
					t.Errorf("%s was made", name)
				}
			}
			for name := range before {
				if _, err := os.Stat(filepath.Join(filepath.Dir(path), name)); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func file(t *testing.T, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lanfolk.db")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func overwrite(t *testing.T, path string, at int64, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte(text), at); err != nil {
		t.Fatal(err)
	}
}

// files returns what the regular files of a folder hold.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[e.Name()] = string(b)
	}
	return all
}

func TestCheckFindsDamageInTheMiddle(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lanfolk.db")
	db := open(t, path, store.Options{})
	rows := make([]lanfolk.Observation, 2000)
	for i := range rows {
		rows[i].VLAN, rows[i].Query = uint16(i), strings.Repeat("q", 100)
	}
	if err := db.SaveObservations(context.Background(), rows); err != nil {
		t.Fatal(err)
	}
	if err := db.Check(context.Background()); err != nil {
		t.Errorf("before: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	overwrite(t, path, 100*4096, strings.Repeat("x", 40*4096)) // behind what is read to open it
	db = open(t, path, store.Options{})
	if err := db.Check(context.Background()); !errors.Is(err, store.ErrDamaged) || !strings.Contains(err.Error(), path) {
		t.Errorf("after: %v", err)
	}
	if _, err := db.Observations(context.Background(), store.ObservationFilter{}); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("reading: %v", err)
	}
}

func TestOpenTakesPathsWithOddCharacters(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a b.db", "a?mode=memory.db", "a#b.db", "a%20b.db", "a&_pragma=x.db", "ü.db", "a'b.db", "file:a.db"} {
		path := filepath.Join(t.TempDir(), name)
		db := open(t, path, store.Options{})
		if err := db.SaveObservations(context.Background(), []lanfolk.Observation{{Count: 1}}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		db.Close()
		if info, err := os.Stat(path); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
		reader := open(t, path, store.Options{ReadOnly: true})
		if n, err := reader.CountObservations(context.Background()); n != 1 || err != nil {
			t.Errorf("%s: %d, %v", name, n, err)
		}
	}
}

func TestFilesAreForTheirOwnerOnly(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lanfolk.db")
	db := open(t, path, store.Options{})
	if _, err := db.Secret(context.Background(), "session"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		info, err := os.Stat(name)
		if err != nil {
			t.Error(err)
		} else if info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v", name, info.Mode())
		}
	}
}

func TestReadOnlyReadsBesideTheWriterAndWritesNothing(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "lanfolk.db")
	writer := open(t, path, store.Options{})
	reader := open(t, path, store.Options{ReadOnly: true})
	for i := range 3 {
		o := lanfolk.Observation{ObservationKey: lanfolk.ObservationKey{VLAN: uint16(i)}, Count: 1}
		if err := writer.SaveObservations(ctx, []lanfolk.Observation{o}); err != nil {
			t.Fatal(err)
		}
		if n, err := reader.CountObservations(ctx); n != int64(i+1) || err != nil {
			t.Errorf("the reader sees %d rows of %d, %v", n, i+1, err)
		}
	}
	for name, err := range map[string]error{
		"SaveObservations": reader.SaveObservations(ctx, []lanfolk.Observation{{}}),
		"Commit":           reader.Commit(ctx, []lanfolk.DeviceRecord{{ID: "d1"}}),
		"Save":             reader.Save(ctx, lanfolk.Batch{}),
	} {
		if !errors.Is(err, store.ErrReadOnly) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := reader.Secret(ctx, "never made"); !errors.Is(err, store.ErrReadOnly) {
		t.Errorf("Secret: %v", err)
	}
}

func TestSeveralOpenAnEmptyFileAtOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lanfolk.db")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			db, err := store.Open(context.Background(), path, store.Options{})
			if err != nil {
				t.Error(err)
				return
			}
			if err := db.Commit(context.Background(), []lanfolk.DeviceRecord{{ID: "d1"}}); err != nil {
				t.Error(err)
			}
			db.Close()
		})
	}
	wg.Wait()
}

func TestLockedDatabaseIsSaidToBe(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	path := made(t)
	db := open(t, path, store.Options{BusyTimeout: 20 * time.Millisecond})
	release := lock(t, path)
	if err := db.Commit(ctx, []lanfolk.DeviceRecord{{ID: "d1"}}); !errors.Is(err, store.ErrLocked) {
		t.Errorf("commit: %v", err)
	}
	if n, err := db.CountObservations(ctx); n != 1 || err != nil {
		t.Errorf("reading goes on beside a lock: %d, %v", n, err)
	}
	release()
	if err := db.Commit(ctx, []lanfolk.DeviceRecord{{ID: "d1"}}); err != nil {
		t.Errorf("commit after it: %v", err)
	}
	db.Close()

	hold(t, path)
	_, err := store.Open(ctx, path, store.Options{BusyTimeout: 20 * time.Millisecond})
	if !errors.Is(err, store.ErrLocked) || !strings.Contains(err.Error(), path) {
		t.Errorf("open: %v", err)
	}
}

// lock holds path's write lock, as another program would, until release is called.
func lock(t *testing.T, path string) (release func()) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	if _, err := db.Exec("BEGIN EXCLUSIVE"); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	release = func() {
		once.Do(func() {
			if _, err := db.Exec("ROLLBACK"); err != nil {
				t.Error(err)
			}
			db.Close()
		})
	}
	t.Cleanup(release)
	return release
}

// hold keeps path from being read as well, until the test ends.
func hold(t *testing.T, path string) {
	t.Helper()
	db, err := sql.Open("sqlite", path+"?_pragma=locking_mode(EXCLUSIVE)")
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { db.Close() })
	if _, err := db.Exec("BEGIN EXCLUSIVE; COMMIT"); err != nil {
		t.Fatal(err)
	}
}

func TestMaxBytesBoundsTheFile(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "lanfolk.db")
	const limit = 256 << 10
	db := open(t, path, store.Options{MaxBytes: limit})
	var err error
	for i := 0; err == nil && i < 10_000; i++ {
		rows := make([]lanfolk.Observation, 100)
		for j := range rows {
			rows[j].Query, rows[j].VLAN, rows[j].Fingerprint = strings.Repeat("q", 50), uint16(j), string(rune('a'+i))
		}
		err = db.SaveObservations(ctx, rows)
	}
	if !errors.Is(err, store.ErrFull) {
		t.Errorf("got %v, want ErrFull", err)
	}
	before, err := db.CountObservations(ctx)
	if err != nil || before%100 != 0 {
		t.Errorf("half a batch is there: %d, %v", before, err)
	}
	// What goes makes room for what comes.
	if _, err := db.ForgetObservations(ctx, time.Now(), store.Retention{MaxRows: 1}); err != nil {
		t.Errorf("forget: %v", err)
	}
	if err := db.SaveObservations(ctx, []lanfolk.Observation{{Count: 1}}); err != nil {
		t.Errorf("after it: %v", err)
	}
	db.Close()
	if info, err := os.Stat(path); err != nil || info.Size() > limit {
		t.Errorf("%v %v", info.Size(), err)
	}
}
