package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func env(vars map[string]string) func(string) string { return func(k string) string { return vars[k] } }

func TestDefaultState(t *testing.T) {
	for _, c := range []struct {
		name string
		uid  int
		env  map[string]string
		want string
	}{
		{"root", 0, map[string]string{"HOME": "/root"}, "/var/lib/lanfolk"},
		{"the service", 999, map[string]string{"STATE_DIRECTORY": "/var/lib/lanfolk", "HOME": "/"}, "/var/lib/lanfolk"},
		{"a service with two folders", 999, map[string]string{"STATE_DIRECTORY": "/var/lib/a:/var/lib/b"}, "/var/lib/a"},
		{"a user", 1000, map[string]string{"HOME": "/home/ann"}, "/home/ann/.local/state/lanfolk"},
		{"a user with XDG", 1000, map[string]string{"HOME": "/home/ann", "XDG_STATE_HOME": "/data/state"}, "/data/state/lanfolk"},
		{"a relative XDG folder is ignored", 1000, map[string]string{"HOME": "/home/ann", "XDG_STATE_HOME": "state"}, "/home/ann/.local/state/lanfolk"},
	} {
		if got, err := defaultState(c.uid, env(c.env)); err != nil || got != c.want {
			t.Errorf("%s: %s, %v, want %s", c.name, got, err, c.want)
		}
	}
	if got, err := defaultState(1000, env(nil)); err == nil || got != "" ||
		err.Error() != "config: no state folder: neither XDG_STATE_HOME nor HOME is set; name one with --state" {
		t.Errorf("nothing set: %q, %v", got, err)
	}
}

func TestDefaultPath(t *testing.T) {
	const own, service = "/home/ann/.config/lanfolk/lanfolk.toml", "/etc/lanfolk/lanfolk.toml"
	for _, c := range []struct {
		name   string
		uid    int
		env    map[string]string
		exists string
		want   string
	}{
		{"none", 1000, map[string]string{"HOME": "/home/ann"}, "", ""},
		{"own first", 1000, map[string]string{"HOME": "/home/ann"}, own + " " + service, own},
		{"the service's for a user without", 1000, map[string]string{"HOME": "/home/ann"}, service, service},
		{"the service's first for root", 0, map[string]string{"HOME": "/home/ann"}, own + " " + service, service},
		{"and for the service", 999, map[string]string{"HOME": "/home/ann", "STATE_DIRECTORY": "/x"}, own + " " + service, service},
		{"XDG", 1000, map[string]string{"XDG_CONFIG_HOME": "/c"}, "/c/lanfolk/lanfolk.toml", "/c/lanfolk/lanfolk.toml"},
		{"no HOME", 1000, nil, service, service},
	} {
		exists := func(p string) bool { return strings.Contains(" "+c.exists+" ", " "+p+" ") }
		if got := defaultPath(c.uid, env(c.env), exists); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestSocketPath(t *testing.T) {
	yes, no := func(string) bool { return true }, func(string) bool { return false }
	dir := t.TempDir()
	if got, want := SocketPath(dir), filepath.Join(dir, "node.sock"); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := SocketPath(ServiceState); got != "/var/lib/lanfolk/node.sock" {
		t.Errorf("%s", got)
	}

	// 107 bytes fit, 108 don't.
	for _, c := range []struct {
		length int
		in     bool
	}{{107, true}, {108, false}} {
		state := "/nowhere/" + strings.Repeat("x", c.length-len("/nowhere/")-len("/node.sock"))
		got := socketPath(state, "node.sock", yes)
		if (filepath.Dir(got) == state) != c.in || len(got) > maxSocket {
			t.Errorf("a path of %d bytes: %s", c.length, got)
		}
	}

	deep := dir
	for len(deep) < 120 {
		deep = filepath.Join(deep, "a-rather-long-folder-name")
	}
	if err := os.MkdirAll(deep, 0o700); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "short")
	if err := os.Symlink(deep, link); err != nil {
		t.Fatal(err)
	}
	want := SocketPath(deep)
	if len(want) > maxSocket || strings.HasPrefix(want, dir) {
		t.Errorf("a long folder's socket is %s", want)
	}
	t.Setenv("XDG_RUNTIME_DIR", "/elsewhere")
	t.Setenv("TMPDIR", "/elsewhere")
	t.Chdir(dir)
	for _, same := range []string{deep, deep + "/", filepath.Join(deep, "x", ".."), link, "short"} {
		if got := SocketPath(same); got != want {
			t.Errorf("the same folder as %s has socket %s, want %s", same, got, want)
		}
	}
	if other := SocketPath(filepath.Dir(deep) + "/another-rather-long-folder-name-beside-it-that-is-longer-still-and-so-too-long-for-a-socket-by-far"); other == want {
		t.Error("two folders share a socket")
	}
	if got := socketPath(deep, "node.sock", no); !strings.HasPrefix(got, "/run/lanfolk-") && !strings.HasPrefix(got, "/tmp/lanfolk-") {
		t.Errorf("without a runtime folder: %s", got)
	}
	if got := socketPath(deep, "hub.sock", yes); got == socketPath(deep, "node.sock", yes) {
		t.Error("node and hub share a socket")
	}
}
