package directory_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/store/directory"
	"github.com/lanfolk/lanfolk/syncthing"
)

// The test binary runs itself again as one of these.
const (
	roleVariable = "LANFOLK_DIRECTORY_TEST_ROLE"
	pathVariable = "LANFOLK_DIRECTORY_TEST_PATH"
)

func TestMain(m *testing.M) {
	role := map[string]func(path string) error{"server": serveUntilKilled, "small disk": onSmallDisk, "read-only disk": onReadOnlyDisk}[os.Getenv(roleVariable)]
	if role == nil {
		os.Exit(m.Run())
	}
	if err := role(os.Getenv(pathVariable)); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
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

// saying is a journal that prints when a save began, once it is over: what was announced
// before is kept then.
type saying struct{ *directory.State }

func (s saying) Save(now time.Time, log, whole *syncthing.Tail) error {
	err := s.State.Save(now, log, whole)
	if err == nil {
		fmt.Println(now.UnixNano())
	}
	return err
}

// serveUntilKilled is a global server without limits on a free port, which it prints.
func serveUntilKilled(path string) error {
	s, err := directory.Open(path, directory.Options{})
	if err != nil {
		return err
	}
	c, err := lan.ListenUDP(netip.MustParseAddrPort("127.0.0.1:0"), lan.UDPOptions{})
	if err != nil {
		return err
	}
	server := syncthing.Server{Conns: []syncthing.Conn{c}, Directory: s.Directory, Journal: saying{s}, PerPrefix: -1}
	got := s.Stats().Restored
	fmt.Println(c.LocalAddr(), got.Damaged)
	return server.Run(context.Background())
}

// client announces and asks, one after the other.
type client struct {
	t    *testing.T
	conn net.Conn
}

// dial returns a client of a server.
func dial(t *testing.T, at string) client {
	t.Helper()
	conn, err := net.Dial("udp", at)
	if err != nil {
		t.Fatal(err)
	}
	return client{t, conn}
}

func (c client) announce(d syncthing.Device) {
	_, _ = c.conn.Write((&syncthing.Announcement{Device: d}).Append(nil)) // what is lost isn't confirmed
}

// knows says whether the server knows a device. It has read then all that was sent to it before.
func (c client) knows(id syncthing.DeviceID) bool {
	c.t.Helper()
	last := numbered(3, 0) // a server doesn't answer for a device that it doesn't know, but it does for this one
	for range 3 {
		c.announce(syncthing.Device{ID: last, Addresses: []netip.AddrPort{netip.AddrPortFrom(netip.Addr{}, 1)}})
		for _, q := range []syncthing.DeviceID{id, last} {
			if _, err := c.conn.Write(syncthing.Query{ID: q}.Append(nil)); err != nil {
				c.t.Fatal(err)
			}
		}
		_ = c.conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		known := false
		b := make([]byte, 2048)
		for {
			n, err := c.conn.Read(b)
			if err != nil {
				break
			}
			m, err := syncthing.Parse(b[:n])
			a, ok := m.(*syncthing.Announcement)
			switch {
			case err != nil || !ok:
				c.t.Fatalf("the answer is %x: %v", b[:n], err)
			case a.ID == id:
				known = true
			case a.ID == last:
				return known
			}
		}
	}
	c.t.Fatal("the server doesn't answer")
	return false
}

func numbered(kind byte, n int) (id syncthing.DeviceID) {
	id[0] = kind
	binary.BigEndian.PutUint32(id[1:], uint32(n))
	return id
}

// A server is killed at any moment, while thousands of others are announced again and again so that its
// file is written anew every second. All that it knew when its last save began is there when
// it is started again, which never fails.
func TestServerSurvivesKills(t *testing.T) {
	t.Parallel()
	kills := 4
	if os.Getenv("LANFOLK_SOAK") != "" {
		kills = 100
	}
	dir := t.TempDir()
	var confirmed []time.Time // of device 0, 1, 2 …
	var kept time.Time        // when the last save began that is over
	sixteen := make([]netip.AddrPort, 16)
	for i := range sixteen {
		sixteen[i] = netip.AddrPortFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: byte(i)}), 22000)
	}
	var killed time.Time
	lost := time.Duration(0)
	for kill := range kills {
		began := time.Now()
		cmd := again(t, "server", dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		lines.Scan()
		at, damaged, ok := strings.Cut(lines.Text(), " ")
		if !ok || damaged != "0" {
			t.Fatalf("start %d: %q, %v", kill, lines.Text(), lines.Err())
		}
		var saved atomic.Int64
		said := make(chan struct{})
		go func() {
			defer close(said)
			for lines.Scan() {
				n, err := strconv.ParseInt(lines.Text(), 10, 64)
				if err != nil {
					t.Errorf("start %d: it says %q", kill, lines.Text())
				}
				saved.Store(n)
			}
		}()
		up := time.Since(began)
		c := dial(t, at)
		// What is lost are the last that were announced: there are no holes.
		known := len(confirmed)
		for known > 0 && confirmed[known-1].After(kept) && !c.knows(numbered(1, known-1)) {
			known--
		}
		for n := range known {
			if !c.knows(numbered(1, n)) {
				t.Fatalf("start %d: device %d of %d, announced %v before the save, is gone", kill, n, known, kept.Sub(confirmed[n]))
			}
		}
		if known < len(confirmed) {
			lost = max(lost, killed.Sub(confirmed[known]))
		}
		kept = time.Now() // what it knows is from the file
		t.Logf("start %d took %v: %d devices of %d", kill, up, known, len(confirmed))
		confirmed = confirmed[:known]

		killed = time.Now().Add(200*time.Millisecond + time.Duration(rand.IntN(1300))*time.Millisecond)
		for n := kill * 100; time.Now().Before(killed) || kill == 0 && saved.Load() == 0; n++ {
			if time.Since(began) > 2*time.Minute {
				t.Fatal("nothing is ever saved")
			}
			for range 10 {
				c.announce(syncthing.Device{ID: numbered(2, n%6000), Addresses: sixteen})
				n++
			}
			next := numbered(1, len(confirmed))
			c.announce(syncthing.Device{ID: next, Addresses: sixteen[:1]})
			if c.knows(next) {
				confirmed = append(confirmed, time.Now())
			}
		}
		killed = time.Now()
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-said
		if n := saved.Load(); n > 0 {
			kept = time.Unix(0, n)
		}
		_ = cmd.Wait()
		if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
			t.Fatalf("it ended by itself: %v", cmd.ProcessState)
		}
		_ = c.conn.Close()
	}
	t.Logf("at most %v lost", lost)
}
