package hostapd_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/internal/hostapd"
)

// fake speaks as hostapd's control socket does, in memory. Its answers have the form of
// those in testdata, which hostapd itself gave.
type fake struct {
	path string

	mu       sync.Mutex
	conns    []*fakeConn
	stations []string // MACs
	pending  []string // that are known and not yet authorised
	dead     bool
	mute     bool   // it answers nothing
	leave    string // a station that goes when STA-NEXT asks for the one behind it
	asked    []string
}

type fakeConn struct {
	f        *fake
	in       chan string
	closed   chan struct{}
	once     sync.Once
	attached bool
}

// socket makes the file at which the fake is found.
func (f *fake) socket(t *testing.T) {
	t.Helper()
	if err := syscall.Mknod(f.path, syscall.S_IFSOCK|0o600, 0); err != nil {
		t.Fatal(err)
	}
}

func (f *fake) dial(path string) (hostapd.Conn, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := os.Lstat(path); err != nil {
		return nil, err
	}
	if f.dead || path != f.path {
		return nil, &os.SyscallError{Syscall: "connect", Err: syscall.ECONNREFUSED}
	}
	c := &fakeConn{f: f, in: make(chan string, 4096), closed: make(chan struct{})}
	f.conns = append(f.conns, c)
	return c, nil
}

func (c *fakeConn) Read(b []byte) (int, error) {
	select {
	case s := <-c.in:
		return copy(b, s), nil
	case <-c.closed:
		return 0, os.ErrClosed
	}
}

func (c *fakeConn) Write(b []byte) (int, error) {
	f := c.f
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead || !slices.Contains(f.conns, c) {
		return 0, &os.SyscallError{Syscall: "write", Err: syscall.ECONNREFUSED}
	}
	f.asked = append(f.asked, string(b))
	if !f.mute {
		if string(b) == "ATTACH" {
			c.attached = true
		}
		c.in <- f.answer(string(b))
	}
	return len(b), nil
}

func (c *fakeConn) SetWriteDeadline(time.Time) error { return nil }

func (c *fakeConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return nil
}

func (f *fake) answer(command string) string {
	word, mac, _ := strings.Cut(command, " ")
	all := append(slices.Clone(f.stations), f.pending...)
	switch word {
	case "PING":
		return "PONG\n"
	case "ATTACH", "DETACH":
		return "OK\n"
	case "STATUS":
		return "state=ENABLED\nbss[0]=wlan0\nbssid[0]=02:00:5e:20:00:00\nssid[0]=lab\nnum_sta[0]=1\nbss[1]=wlan0_1\nbssid[1]=02:00:5e:20:00:01\nssid[1]=guests\n"
	case "STA-FIRST":
		if len(all) == 0 {
			return ""
		}
		return f.station(all[0])
	case "STA":
		if !slices.Contains(all, mac) {
			return "FAIL\n"
		}
		return f.station(mac)
	case "STA-NEXT":
		if f.leave == mac {
			f.leave = ""
			f.stations = slices.DeleteFunc(f.stations, func(s string) bool { return s == mac })
			return "FAIL\n"
		}
		i := slices.Index(all, mac)
		switch {
		case i < 0:
			return "FAIL\n"
		case i == len(all)-1:
			return ""
		}
		return f.station(all[i+1])
	}
	return "UNKNOWN COMMAND\n"
}

func (f *fake) station(mac string) string {
	flags := "[AUTH][ASSOC][AUTHORIZED][SHORT_PREAMBLE][WMM]"
	if slices.Contains(f.pending, mac) {
		flags = "[AUTH][ASSOC]"
	}
	return mac + "\nflags=" + flags + "\naid=1\ncapability=0x431\nlisten_interval=10\nsupported_rates=02 04 0b 16\ntimeout_next=NULLFUNC POLL\n" +
		"rx_packets=10\ntx_packets=20\nrx_bytes=1000\ntx_bytes=2000\ninactive_msec=1500\nsignal=-52\nrx_rate_info=0\ntx_rate_info=0\nconnected_time=60\n"
}

func (f *fake) do(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// say sends an event to all that are attached.
func (f *fake) say(format string, args ...any) {
	for _, c := range f.conns {
		if c.attached {
			c.in <- "<3>" + fmt.Sprintf(format, args...)
		}
	}
}

func (f *fake) connect(mac string) {
	f.do(func() { f.stations = append(f.stations, mac); f.say("AP-STA-CONNECTED %s keyid=x", mac) })
}

func (f *fake) disconnect(mac string) {
	f.do(func() {
		f.stations = slices.DeleteFunc(f.stations, func(s string) bool { return s == mac })
		f.say("AP-STA-DISCONNECTED %s", mac)
	})
}

// kill ends the fake as SIGKILL does hostapd: its socket stays in the folder.
func (f *fake) kill() { f.do(func() { f.dead, f.conns, f.stations = true, nil, nil }) }

func newFake(t *testing.T, stations ...string) *fake {
	t.Helper()
	f := &fake{path: filepath.Join(t.TempDir(), "wlan0"), stations: stations}
	f.socket(t)
	return f
}

var errNoDial = errors.New("not allowed")
