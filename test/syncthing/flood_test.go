package syncthing

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/lan"
	udp "github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/test/lab"
)

// TestRandomDatagrams floods a server at full speed, from 16 networks, with random datagrams, of which many are nearly
// right and some are: its memory stays flat, and right after it serves others as before. Under
// LANFOLK_SOAK this goes on for ten minutes.
func TestRandomDatagrams(t *testing.T) {
	lab.Require(t, "root", "ip")
	l := lab.New(t) // and not beside others, who would wait for a processor
	a := l.Subnet("a", "10.99.1.0/24")
	server, desk := l.Host("server").Join(a), l.Host("desk").Join(a)
	address := server.Link(a).V4.String()
	state := filepath.Join(l.Dir(), "state")
	run := server.Lanfolk("syncthing", "serve", "--state", state)
	run.Limit = time.Hour
	p := run.Start()
	waitReady(p)
	meet := func(name, port string) {
		t.Helper()
		r := desk.Lanfolk("syncthing", "announce", "--id", textID(name), "--address", ":"+port, "--server", address, "--once").Run()
		want := []string{desk.Link(a).V4.String() + ":" + port}
		if got, exit, q := ask(t, desk, name, "--server", address); !slices.Equal(got, want) {
			t.Errorf("%s: announce: exit %d, %s; query: %q, exit %d, %s; want %q", name, r.Exit, r.Stderr, got, exit, q.Stderr, want)
		}
	}
	meet("early", "22000")

	var conn *lan.UDPConn
	err := server.Do(func() (err error) {
		conn, err = lan.ListenUDP(netip.MustParseAddrPort("0.0.0.0:0"), lan.UDPOptions{ReceiveBuffer: 4 << 10})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	f := newFlood(conn)
	f.run(t, time.Second)
	before, sent := residentKiB(t, p.Pid()), f.sent
	long := 2 * time.Second
	if os.Getenv("LANFOLK_SOAK") != "" {
		long = 10 * time.Minute
	}
	f.run(t, long)
	after := residentKiB(t, p.Pid())
	// What it keeps may grow: a network brings 256 devices, and then one a second. Each has up to 16
	// addresses, and takes less than 1 KiB with the garbage collector's share.
	devices := networks * (256 + int(long/time.Second))
	if after > before+8<<10+devices {
		t.Errorf("%d KiB, before the flood %d, and no more than %d devices came", after, before, devices)
	}
	time.Sleep(time.Second) // a second's worth of requests is spent
	if got, exit, _ := ask(t, desk, "early", "--server", address); len(got) != 1 || exit != 0 {
		t.Errorf("who was there before the flood: %q, exit %d", got, exit)
	}
	meet("late", "22001")
	var kept int64
	files, err := filepath.Glob(filepath.Join(state, "*"))
	if err != nil || len(files) == 0 {
		t.Error(files, err)
	}
	for _, f := range files {
		if i, err := os.Stat(f); err == nil {
			kept += i.Size()
		}
	}
	t.Logf("%d datagrams in %v: %d KiB before, %d after, %d KiB of state", f.sent-sent, long, before, after, kept>>10)
}

// networks is from how many a flood comes.
const networks = 16

// flood is what a stranger sends from networks of the loopback.
type flood struct {
	conn   *lan.UDPConn
	random *rand.Rand
	right  [][]byte
	out    []udp.Datagram
	buf    [][]byte
	sent   int
}

func newFlood(conn *lan.UDPConn) *flood {
	f := &flood{conn: conn, random: rand.New(rand.NewPCG(1, 2)), out: make([]udp.Datagram, 32)}
	var addresses []string
	for i := range 16 {
		addresses = append(addresses, fmt.Sprintf("10.0.0.%d:22000", i+1))
	}
	device := announcement(deviceID("flood"), addresses...)
	long := bytes.Clone(device)
	const magic, count = 4, 4
	binary.BigEndian.PutUint32(long[len(long)-count:], 16)
	for range 16 {
		long = append(long, device[magic:len(device)-count]...)
	}
	f.right = [][]byte{query(deviceID("flood")), device, long}
	for range f.out {
		f.buf = append(f.buf, make([]byte, 65_000))
	}
	return f
}

func (f *flood) run(t *testing.T, long time.Duration) {
	t.Helper()
	for end := time.Now().Add(long); time.Now().Before(end); {
		for i := range f.out {
			f.out[i] = udp.Datagram{
				Data: f.next(f.buf[i]),
				Src:  netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 1, byte(f.random.IntN(networks)), 1}), 0),
				Dst:  netip.MustParseAddrPort("127.0.0.1:22026"),
			}
		}
		n, err := f.conn.WriteBatch(f.out)
		if err != nil {
			t.Fatal(err)
		}
		f.sent += n
	}
}

// next makes a datagram.
func (f *flood) next(b []byte) []byte {
	r := f.random
	switch r.IntN(8) {
	case 0: // anything
		b = b[:r.IntN(512)]
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	case 1: // longer than it says
		n := copy(b, f.right[r.IntN(len(f.right))])
		return b[:max(n, 1<<r.IntN(16))]
	case 2: // cut short
		b = b[:copy(b, f.right[r.IntN(len(f.right))])]
		return b[:r.IntN(len(b))]
	case 3: // right, of a device that nobody knows
		b = b[:copy(b, f.right[r.IntN(2)])]
		for i := range 8 {
			b[len(b)-1-i] ^= byte(r.Uint32()) // a query's ID, an announcement's last address
			b[8+i] = byte(r.Uint32())
		}
		return b
	}
	b = b[:copy(b, f.right[r.IntN(len(f.right))])]
	for range 1 + r.IntN(4) {
		b[r.IntN(min(len(b), 128))] = byte(r.Uint32())
	}
	return b
}

// residentKiB returns how much memory a process has.
func residentKiB(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		var kib int
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kib); err == nil {
			return kib
		}
	}
	t.Fatalf("no VmRSS in %s", b)
	return 0
}
