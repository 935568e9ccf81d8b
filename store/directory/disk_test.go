package directory_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/lanfolk/lanfolk/store/directory"
	"github.com/lanfolk/lanfolk/syncthing"
)

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

func TestAFullDiskIsOutlived(t *testing.T) {
	t.Parallel()
	aside(t, "small disk")
}

// onSmallDisk fills a disk of 12 MiB, and makes room on it again.
func onSmallDisk(dir string) error {
	if err := mount("tmpfs", dir, "tmpfs", 0, "size=12m"); err != nil {
		return err
	}
	r, err := open(dir)
	if err != nil {
		return err
	}
	r.put(0, 1000)
	if err := r.save(); err != nil {
		return err
	}
	ballast, err := os.Create(filepath.Join(dir, "ballast"))
	if err != nil {
		return err
	}
	for _, size := range []int{64 << 10, 1 << 10, 1} {
		for err = nil; err == nil; {
			_, err = ballast.Write(make([]byte, size))
		}
		if !errors.Is(err, syscall.ENOSPC) {
			return err
		}
	}
	// What is new waits.
	for n := range 10 {
		r.put(1000*(n+1), 1000)
		if err := r.save(); !errors.Is(err, syscall.ENOSPC) || !errors.Is(r.Stats().Err, syscall.ENOSPC) ||
			err.Error() != "directory: "+dir+"/syncthing.state: no space left on device" {
			return fmt.Errorf("saved on a full disk: %w, and the status has %w", err, r.Stats().Err)
		}
	}
	// A server that is started now has what was saved before, on the full disk, too.
	if err := r.Close(); err != nil {
		return err
	}
	if r, err = open(dir); err != nil {
		return fmt.Errorf("open on a full disk: %w", err)
	}
	if n := r.Directory.Len(); n < 1000 || n > 2000 {
		return fmt.Errorf("%d devices on a full disk", n)
	}
	r.put(0, 11_000)
	if err := r.save(); !errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("saved on a full disk: %w", err)
	}
	if err := errors.Join(ballast.Close(), os.Remove(ballast.Name())); err != nil {
		return err
	}
	if err := r.save(); err != nil || r.Stats().Err != nil {
		return fmt.Errorf("with room again: %w, and the status has %w", err, r.Stats().Err)
	}
	// There is room enough to write the file anew, and for nothing more.
	for range 40 {
		r.put(0, 11_000)
		if err := r.save(); err != nil {
			return err
		}
		r.Settle()
	}
	if r.Stats().Rewritten == 0 {
		return fmt.Errorf("never written anew: %+v", r.Stats())
	}
	if err := r.Close(); err != nil {
		return err
	}
	if r, err = open(dir); err != nil || r.Directory.Len() != 11_000 {
		return fmt.Errorf("%d devices, %w", r.Directory.Len(), err)
	}
	return r.Close()
}

func TestAReadOnlyDiskIsRefused(t *testing.T) {
	t.Parallel()
	aside(t, "read-only disk")
}

func onReadOnlyDisk(dir string) error {
	r, err := open(dir)
	if err != nil {
		return err
	}
	r.put(0, 10)
	if err := errors.Join(r.save(), mount(dir, dir, "", syscall.MS_BIND, ""), mount("", dir, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, "")); err != nil {
		return err
	}
	if err := r.Close(); err != nil {
		return err
	}
	if _, err := open(dir); !errors.Is(err, syscall.EROFS) || !strings.Contains(err.Error(), dir) {
		return fmt.Errorf("open on a read-only disk: %w", err)
	}
	return nil
}

// A file that is ever longer is written anew, in steps, and nothing is lost meanwhile.
func TestTheFileDoesNotGrowForEver(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r, err := open(dir)
	if err != nil {
		t.Fatal(err)
	}
	const n = 20_000
	most := int64(0)
	for range 60 {
		r.put(0, n)
		if err := r.save(); err != nil {
			t.Fatal(err)
		}
		most = max(most, r.Stats().Size)
		r.Settle()
	}
	st := r.Stats()
	if st.Rewritten < 3 || most > 20<<20 {
		t.Errorf("%+v, at most %d bytes", st, most)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if r, err = open(dir); err != nil {
		t.Fatal(err)
	}
	if got := r.Stats().Restored; got.Devices != n || got.Torn+int64(got.Damaged) > 0 {
		t.Errorf("%+v", got)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if all, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(all) != 2 {
		t.Errorf("%v, %v", all, err)
	}
}

// What is in the folder already, and what becomes of it.
func TestOpen(t *testing.T) {
	t.Parallel()
	good := func(t *testing.T, dir string) []byte {
		r, err := open(dir)
		if err != nil {
			t.Fatal(err)
		}
		r.put(0, 10)
		if err := errors.Join(r.save(), r.Close()); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(dir, "syncthing.state"))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, c := range map[string]struct {
		change  func(b []byte) []byte // of a good file
		devices int
		err     string // in which FILE is its path
		is      error
		said    string
	}{
		"what was closed": {change: func(b []byte) []byte { return b }, devices: 10, said: "restored"},
		"an empty file":   {change: func([]byte) []byte { return nil }, devices: 0},
		"a torn end":      {change: func(b []byte) []byte { return append(b, b[len(b)-60:len(b)-20]...) }, devices: 10, said: "cut short"},
		"a cut file":      {change: func(b []byte) []byte { return b[:300] }, devices: 4, said: "cut short"},
		"a cut head":      {change: func(b []byte) []byte { return b[:7] }, devices: 0, said: "cut short"},
		"a flipped bit":   {change: func(b []byte) []byte { b[100] ^= 1; return b }, devices: 9, said: "damaged"},
		"another program's file": {change: func([]byte) []byte { return []byte("<?xml version") }, is: syncthing.ErrForeign,
			err: `directory: FILE: syncthing: state: not the state of a Syncthing server: offset 0: it doesn't begin with "lanfolk syncthing state "; move it away, or name another folder`},
		"a newer lanfolk's": {change: func(b []byte) []byte { return []byte(strings.Replace(string(b), " 1\n", " 2\n", 1)) }, is: syncthing.ErrNewer,
			err: "directory: FILE: syncthing: state: state written by a newer lanfolk: offset 24: version 2, this one reads 1; run that version, or name another folder"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "made", "by it")
			b := c.change(good(t, dir))
			path := filepath.Join(dir, "syncthing.state")
			if err := errors.Join(os.WriteFile(path, b, 0o600), os.WriteFile(path+".new", []byte("half"), 0o600)); err != nil {
				t.Fatal(err)
			}
			r, err := open(dir)
			if c.err != "" {
				after, rerr := os.ReadFile(path)
				if want := strings.ReplaceAll(c.err, "FILE", path); err == nil || err.Error() != want || !errors.Is(err, c.is) || rerr != nil || string(after) != string(b) {
					t.Errorf("%v\nwant %s (%v)", err, want, rerr)
				}
				return
			}
			if err != nil || r.Directory.Len() != c.devices || !strings.Contains(r.said.String(), c.said) || c.said != "" && !strings.Contains(r.said.String(), path) {
				t.Fatalf("%v, %d devices, said %s", err, r.Directory.Len(), r.said.String())
			}
			// It works as any other, and is whole soon.
			r.put(10, 10)
			for range 3 {
				if err := r.save(); err != nil {
					t.Fatal(err)
				}
				r.Settle()
			}
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
			if r, err = open(dir); err != nil || r.Directory.Len() != c.devices+10 || strings.Contains(r.said.String(), "WARN") {
				t.Fatalf("%v, %d devices, said %s", err, r.Directory.Len(), r.said.String())
			}
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestOpenRefusesWhatIsNoFile(t *testing.T) {
	t.Parallel()
	for name, make := range map[string]func(path string) error{
		"a folder":     func(path string) error { return os.Mkdir(path, 0o700) },
		"a named pipe": func(path string) error { return syscall.Mkfifo(path, 0o600) },
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "syncthing.state")
		if err := make(path); err != nil {
			t.Fatal(err)
		}
		if _, err := directory.Open(dir, directory.Options{}); err == nil || err.Error() != "directory: "+path+" is not a regular file" {
			t.Errorf("%s: %v", name, err)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := directory.Open(file, directory.Options{}); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("a file for a folder: %v", err)
	}
}
