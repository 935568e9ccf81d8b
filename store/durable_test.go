package store_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/store"
)

// The test binary runs itself again as one of these.
const (
	roleVariable = "LANFOLK_STORE_TEST_ROLE"
	pathVariable = "LANFOLK_STORE_TEST_PATH"
)

func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case "":
		os.Exit(m.Run())
	case "writer":
		writeUntilKilled(os.Getenv(pathVariable))
	case "small disk":
		os.Exit(onSmallDisk())
	case "read-only disk":
		os.Exit(onReadOnlyDisk())
	}
	os.Exit(3)
}

// again returns a command that runs this binary in a role.
func again(t *testing.T, role, path string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), roleVariable+"="+role, pathVariable+"="+path)
	cmd.Stderr = os.Stderr
	return cmd
}

// writeUntilKilled commits names one after the other and prints the number of
// each when it is acknowledged.
func writeUntilKilled(path string) {
	ctx := context.Background()
	db, err := store.Open(ctx, path, store.Options{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	go func() { // and something else keeps the database busy
		for i := 0; ; i++ {
			_ = db.SaveObservations(ctx, []lanfolk.Observation{row(i), row(i + 1), row(i + 2)})
		}
	}()
	s, err := db.Snapshot(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for n := len(s.Devices) + 1; ; n++ { // it goes on where the one before was killed
		r := lanfolk.DeviceRecord{ID: "d" + strconv.Itoa(n), Said: lanfolk.Said{Names: []string{"name " + strconv.Itoa(n)}}}
		if err := db.Commit(ctx, []lanfolk.DeviceRecord{r}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(n)
	}
}

func TestWhatWasAcknowledgedSurvivesAKill(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lanfolk.db")
	acknowledged := 0
	for range 3 {
		cmd := again(t, "writer", path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		last := ""
		lines := bufio.NewScanner(out)
		for n := 0; n < 40 && lines.Scan(); n++ {
			last = lines.Text()
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() { // what it still said before it died
			last = lines.Text()
		}
		n, err := strconv.Atoi(last)
		if err != nil || n < acknowledged+40 {
			t.Fatalf("the last number is %q after %d (%v)", last, acknowledged, err)
		}
		acknowledged = n
		_ = cmd.Wait()
		if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
			t.Fatalf("it ended by itself: %v", cmd.ProcessState)
		}

		db := open(t, path, store.Options{})
		s, err := db.Snapshot(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		have := map[string]bool{}
		for _, d := range s.Devices {
			have[d.ID] = strings.HasPrefix(d.Said.Names[0], "name ")
		}
		for n := 1; n <= acknowledged; n++ {
			if !have["d"+strconv.Itoa(n)] {
				t.Errorf("name %d of %d was acknowledged and is gone", n, acknowledged)
			}
		}
		if err := db.Check(context.Background()); err != nil {
			t.Error(err)
		}
		db.Close()
	}
}

// aside runs this binary as role in a mount namespace of its own, where it may
// mount what it likes: as root, or else in a user namespace.
func aside(t *testing.T, role string) {
	t.Helper()
	cmd := again(t, role, t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.Output()
	if errors.Is(err, os.ErrPermission) || errors.Is(err, syscall.ENOSPC) {
		const what = "no mount namespace can be made here"
		if os.Getenv("LANFOLK_REQUIRE_ALL") == "1" {
			t.Fatalf("%s: %v", what, err)
		}
		t.Skipf("%s: %v", what, err)
	}
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// mount mounts so that nothing of it is seen outside this namespace.
func mount(source, target, kind string, flags uintptr, data string) error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := syscall.Mount(source, target, kind, flags, data); err != nil {
		return fmt.Errorf("mount %s: %w", target, err)
	}
	return nil
}

func TestAFullDiskIsReportedAndOutlived(t *testing.T) {
	t.Parallel()
	aside(t, "small disk")
}

// onSmallDisk fills a disk of 1 MiB, and makes room on it again.
func onSmallDisk() int {
	err := func() error {
		ctx := context.Background()
		dir := os.Getenv(pathVariable)
		if err := mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
			return err
		}
		path := filepath.Join(dir, "lanfolk.db")
		db, err := store.Open(ctx, path, store.Options{})
		if err != nil {
			return err
		}
		said := lanfolk.DeviceRecord{ID: "d1", Said: lanfolk.Said{Names: []string{"NAS"}}}
		if err := db.Commit(ctx, []lanfolk.DeviceRecord{said}); err != nil {
			return err
		}
		closed := filepath.Join(dir, "closed.db")
		earlier, err := store.Open(ctx, closed, store.Options{})
		if err != nil {
			return err
		}
		if err := errors.Join(earlier.Commit(ctx, []lanfolk.DeviceRecord{said}), earlier.Close()); err != nil {
			return err
		}
		ballast := filepath.Join(dir, "ballast")
		if err := fillDisk(ballast); err != nil {
			return err
		}

		r := store.NewRecorder(db, store.RecorderOptions{})
		for i := range 500 {
			r.Record(row(i))
		}
		if err := r.Flush(ctx); !errors.Is(err, store.ErrFull) || !errors.Is(r.Health(), store.ErrFull) {
			return fmt.Errorf("recording on a full disk: %w, health %w", err, r.Health())
		}
		if s := r.Stats(); s.Pending != 500 || s.Dropped != 0 {
			return fmt.Errorf("recording on a full disk: %+v", s)
		}
		// What can't be kept is not acknowledged.
		lost := lanfolk.DeviceRecord{ID: "d2", Said: lanfolk.Said{Names: []string{strings.Repeat("long name ", 10_000)}}}
		if err := db.Commit(ctx, []lanfolk.DeviceRecord{lost}); !errors.Is(err, store.ErrFull) {
			return fmt.Errorf("commit on a full disk: %w", err)
		}
		// A lanfolk that is started now says what is wrong.
		if _, err := store.Open(ctx, filepath.Join(dir, "other.db"), store.Options{}); !errors.Is(err, store.ErrFull) || !strings.Contains(err.Error(), "make room") {
			return fmt.Errorf("open on a full disk: %w", err)
		}
		if _, err := store.Open(ctx, closed, store.Options{}); !errors.Is(err, store.ErrFull) {
			return fmt.Errorf("open what is there on a full disk: %w", err)
		}
		// Reading needs no room.
		earlier, err = store.Open(ctx, closed, store.Options{ReadOnly: true})
		if err != nil {
			return fmt.Errorf("open to read on a full disk: %w", err)
		}
		if s, err := earlier.Snapshot(ctx); err != nil || len(s.Devices) != 1 {
			return fmt.Errorf("read on a full disk: %+v, %w", s, err)
		}
		if err := earlier.Close(); err != nil {
			return err
		}
		if _, err := db.Snapshot(ctx); err != nil {
			return fmt.Errorf("read on a full disk: %w", err)
		}

		if err := os.Remove(ballast); err != nil {
			return err
		}
		if err := r.Flush(ctx); err != nil || r.Health() != nil {
			return fmt.Errorf("with room again: %w, health %w", err, r.Health())
		}
		if n, err := db.CountObservations(ctx); n != 500 || err != nil {
			return fmt.Errorf("%d rows, %w", n, err)
		}
		s, err := db.Snapshot(ctx)
		if err != nil || len(s.Devices) != 1 || s.Devices[0].ID != "d1" {
			return fmt.Errorf("devices %+v, %w", s.Devices, err)
		}
		return errors.Join(db.Check(ctx), db.Close())
	}()
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// fillDisk writes a file until the disk takes not a byte more.
func fillDisk(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, size := range []int{64 << 10, 1 << 10, 1} {
		for err == nil {
			_, err = f.Write(make([]byte, size))
		}
		if !errors.Is(err, syscall.ENOSPC) {
			return err
		}
		err = nil
	}
	return nil
}

func TestADatabaseOnAReadOnlyDiskCanBeRead(t *testing.T) {
	t.Parallel()
	aside(t, "read-only disk")
}

// onReadOnlyDisk reads a database where neither a -wal nor a -shm file can be
// made.
func onReadOnlyDisk() int {
	err := func() error {
		ctx := context.Background()
		dir := os.Getenv(pathVariable)
		path := filepath.Join(dir, "lanfolk.db")
		db, err := store.Open(ctx, path, store.Options{})
		if err != nil {
			return err
		}
		if err := errors.Join(db.SaveObservations(ctx, []lanfolk.Observation{row(1)}), db.Close()); err != nil {
			return err
		}
		if err := mount(dir, dir, "", syscall.MS_BIND, ""); err != nil {
			return err
		}
		if err := mount("", dir, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
			return err
		}
		db, err = store.Open(ctx, path, store.Options{ReadOnly: true})
		if err != nil {
			return err
		}
		if n, err := db.CountObservations(ctx); n != 1 || err != nil {
			return fmt.Errorf("%d rows, %w", n, err)
		}
		if err := db.Close(); err != nil {
			return err
		}
		if _, err := store.Open(ctx, path, store.Options{}); err == nil || !strings.Contains(err.Error(), path) {
			return fmt.Errorf("open to write: %w", err)
		}
		return nil
	}()
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}
