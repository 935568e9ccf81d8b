package lan

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"unsafe"

	"golang.org/x/sys/unix"
)

// udpTable is what a machine with avahi shows, cut to the fields in use.
const udpTable = `   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
 1834: 00000000:14E9 00000000:0000 07 00000000:00000000 00:00000000 00000000   108        0 15031 2 0000000000000000 0
 1834: 0100007F:14E9 00000000:0000 07 00000000:00000000 00:00000000 00000000  1000        0 15040 2 0000000000000000 0
 7202: 3500007F:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000   101        0 15050 2 0000000000000000 0
`

const udp6Table = `  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
 1834: 000080FE000000000000000001000000:14E9 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000   108        0 15032 2 0000000000000000 0
`

func fakeProc() fstest.MapFS {
	link := func(target string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte(target), Mode: os.ModeSymlink | 0o777}
	}
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	return fstest.MapFS{
		"thread-self/net/udp":  file(udpTable),
		"thread-self/net/udp6": file(udp6Table),
		"412/fd/0":             link("/dev/null"),
		"412/fd/11":            link("socket:[15031]"),
		"412/fd/12":            link("socket:[15032]"),
		"412/fd/13":            link("socket:[15032]"),
		"412/cmdline":          file("/usr/sbin/avahi-daemon\x00-s\x00"),
		"412/exe":              link("/usr/sbin/avahi-daemon"),
		"412/stat":             file("412 (avahi-daemon) S 1 412 412 0"),
		"413/fd/11":            link("socket:[15031]"),
		"413/comm":             file("evil\x1b[31m name\n"),
		"413/cmdline":          file(""),
		"413/exe":              link("/tmp/evil"),
		"413/stat":             file("413 (evil) R 1 2 (name) S 1 413 413 0"),
		"self/fd/3":            link("socket:[15031]"),
	}
}

func littleEndian() bool { return binary.NativeEndian.Uint16([]byte{1, 0}) == 1 }

// onMachine leaves a test out on a machine that its data doesn't fit; where
// nothing may be left out it fails.
func onMachine(t testing.TB, fits bool, why string) {
	t.Helper()
	switch {
	case fits:
	case os.Getenv("LANFOLK_REQUIRE_ALL") == "1":
		t.Fatal("wrong machine: " + why)
	default:
		t.Skip("wrong machine: " + why)
	}
}

func TestPortHoldersSaysWhatItCannotRead(t *testing.T) {
	onMachine(t, littleEndian(), "the table is of a little-endian one")
	hs, err := portHolders(fakeProc(), 5353, 412)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, h := range hs {
		got = append(got, h.String())
		if h.Self != (h.PID == 412) {
			t.Errorf("Self is %v for pid %d", h.Self, h.PID)
		}
	}
	want := `avahi-daemon (pid 412, uid 108) holds 0.0.0.0:5353
"evil\x1b[31m name" (pid 413, uid 108) holds 0.0.0.0:5353
a program of uid 1000 holds 127.0.0.1:5353 (root may see which)
avahi-daemon (pid 412, uid 108) holds [fe80::1]:5353`
	if s := strings.Join(got, "\n"); s != want {
		t.Errorf("got\n%s\nwant\n%s", s, want)
	}
	if hs, err := portHolders(fakeProc(), 9, 1); err != nil || hs != nil {
		t.Errorf("port 9: %v, %v", hs, err)
	}
	four := fakeProc()
	delete(four, "thread-self/net/udp6")
	if hs, err := portHolders(four, 5353, 1); err != nil || len(hs) != 3 {
		t.Errorf("without IPv6: %v, %v", hs, err)
	}
}

// Who has a socket from a parent that has it, too, isn't named beside that.
func TestPortHoldersNamesNoHeirs(t *testing.T) {
	onMachine(t, littleEndian(), "the table is of a little-endian one")
	link := func(target string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte(target), Mode: os.ModeSymlink | 0o777}
	}
	const daemon = "/usr/sbin/avahi-daemon"
	for _, c := range []struct {
		what, program, stat string
		self                int
		named               bool
	}{
		{"between fork and exec", daemon, "500 (a) b) R 412 412 412 0", 1, false},
		{"another program, which was given the socket", "/usr/bin/other", "500 (other) R 412 412 412 0", 1, true},
		{"another program, given it by this process", "/usr/bin/other", "500 (other) R 412 412 412 0", 412, false},
		{"the same program, started apart", daemon, "500 (avahi) R 1 412 412 0", 1, true},
		{"the program's child, whose parent hasn't the socket", daemon, "500 (avahi) R 413 412 412 0", 1, true},
		{"gone, while we looked", daemon, "", 1, false},
	} {
		proc := fakeProc()
		proc["500/fd/3"], proc["500/exe"] = link("socket:[15032]"), link(c.program)
		proc["500/stat"] = &fstest.MapFile{Data: []byte(c.stat)}
		hs, err := portHolders(proc, 5353, c.self)
		if err != nil {
			t.Fatal(err)
		}
		var pids []int
		for _, h := range hs {
			if h.Local.Addr().Is6() {
				pids = append(pids, h.PID)
			}
		}
		want := []int{412}
		if c.named {
			want = append(want, 500)
		}
		if !slices.Equal(pids, want) {
			t.Errorf("%s: pids %v, want %v", c.what, pids, want)
		}
	}
}

func TestPortHoldersOfABadTable(t *testing.T) {
	for line, want := range map[string]string{
		"1: 00000000:14E9":                        "line 2: 2 fields, want 10",
		"1: 0000000:14E9 0 0 0 0 0 108 0 15031":   `line 2: "0000000:14E9" is no address`,
		"1: 0000000014E9 0 0 0 0 0 108 0 15031":   `line 2: "0000000014E9" is no address`,
		"1: 0000000000:14E9 0 0 0 0 0 108 0 1":    `line 2: "0000000000:14E9" is no address`,
		"1: 00000000:14E99 0 0 0 0 0 108 0 15031": `line 2: port: strconv.ParseUint: parsing "14E99": value out of range`,
		"1: 00000000:14E9 0 0 0 0 0 -1 0 15031":   `line 2: uid: strconv.ParseUint: parsing "-1": invalid syntax`,
		"1: 00000000:14E9 0 0 0 0 0 108 0 x":      `line 2: inode: strconv.ParseUint: parsing "x": invalid syntax`,
	} {
		if _, err := readSockets(strings.NewReader("heading\n"+line+"\n"), 5353); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", line, err, want)
		}
	}
}

func FuzzReadSockets(f *testing.F) {
	f.Add([]byte(udpTable))
	f.Add([]byte(udp6Table))
	f.Fuzz(func(t *testing.T, b []byte) {
		found, _ := readSockets(bytes.NewReader(b), 5353)
		for _, s := range found {
			if s.local.Port() != 5353 || !s.local.Addr().IsValid() {
				t.Errorf("found %+v", s)
			}
		}
	})
}

// controls are what Linux 6.18 on amd64 sent with datagrams over veth.
var controls = map[string]string{
	"v4": "20000000000000000100000023000000" + "1506b46a00000000" + "e2e9f20b00000000" + // time
		"1c0000000000000000000000" + "08000000" + "02000000" + "0a000002" + "e00000fb" + "00000000" + // pktinfo
		"14000000000000000000000002000000" + "ff00000000000000" + // TTL
		"14000000000000000100000028000000" + "0700000000000000", // overflow, which isn't asked for any more
	"v6": "24000000000000002900000032000000" + "ff0200000000000000000000000000fb" + "0200000000000000" +
		"14000000000000002900000034000000" + "ff00000000000000",
}

func control64(t testing.TB, name string) []byte {
	t.Helper()
	onMachine(t, unsafe.Sizeof(uintptr(0)) == 8 && littleEndian(), "the messages are of a 64-bit little-endian one")
	b, err := hex.DecodeString(controls[name])
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParseControl(t *testing.T) {
	want := map[string]control{
		"v4": {dst: netip.MustParseAddr("224.0.0.251"), link: 2, ttl: 255, sec: 0x6ab40615, nsec: 0x0bf2e9e2},
		"v6": {dst: netip.MustParseAddr("ff02::fb"), link: 2, ttl: 255},
	}
	for name, want := range want {
		if got := parseControl(control64(t, name)); got != want {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
	}
	cut := control64(t, "v4")
	if got := parseControl(cut[:32+27]); got.link != 0 || got.sec == 0 {
		t.Errorf("of messages that were cut: %+v", got)
	}
}

func TestPktinfoIsReadAsItWasWritten(t *testing.T) {
	for _, a := range []string{"10.0.0.5", "fe80::5", ""} {
		src, _ := netip.ParseAddr(a)
		for _, v6 := range []bool{false, true} {
			if src.IsValid() && src.Is6() != v6 {
				continue
			}
			b := appendPktinfo(nil, v6, 7, src)
			got := parseControl(b)
			if got.link != 7 || len(b) > int(unsafe.Sizeof(writer{}.ctls[0])) {
				t.Errorf("%q: %d bytes, link %d", a, len(b), got.link)
			}
			if v6 && src.IsValid() && got.dst != src {
				t.Errorf("%q: got %v", a, got.dst)
			}
			if !v6 && src.IsValid() && netip.AddrFrom4([4]byte(b[unix.SizeofCmsghdr+4:])) != src {
				t.Errorf("%q: got %x", a, b)
			}
		}
	}
}

func FuzzParseControl(f *testing.F) {
	if len(controls) == 0 {
		f.Fatal("no seeds")
	}
	for name := range controls {
		f.Add(control64(f, name))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c := parseControl(b)
		if c.dst.Is4In6() {
			t.Errorf("an address in a form that it must not have: %v", c.dst)
		}
	})
}

// ringBlock is a part of a block with two frames at offset 0 and 64, the second with a tag.
func ringBlock() []byte {
	b := make([]byte, 256)
	put := func(at int, next uint32, status uint32, tci uint32, data string) {
		h := (*unix.Tpacket3Hdr)(unsafe.Pointer(&b[at]))
		*h = unix.Tpacket3Hdr{
			Next_offset: next, Sec: 1700000000, Nsec: 5, Snaplen: uint32(len(data)), Len: 1000, Status: status, Mac: unix.SizeofTpacket3Hdr,
		}
		h.Hv1.Vlan_tci = tci
		copy(b[at+unix.SizeofTpacket3Hdr:], data)
	}
	put(0, 64, unix.TP_STATUS_USER, 0, "first")
	put(64, 0, unix.TP_STATUS_USER|unix.TP_STATUS_VLAN_VALID, 5<<13|42, "second")
	return b
}

func TestParseFrame(t *testing.T) {
	b := ringBlock()
	f, step, ok := parseFrame(b, 0)
	if !ok || step != 64 || string(f.data) != "first" || f.length != 1000 || f.vlan != 0 || f.time.Unix() != 1700000000 {
		t.Errorf("first: %+v, %d, %v", f, step, ok)
	}
	f, step, ok = parseFrame(b, step)
	if !ok || step != 0 || string(f.data) != "second" || f.vlan != 42 {
		t.Errorf("second: %+v, %d, %v", f, step, ok)
	}
	for _, offset := range []uint32{4, 256 - 40, 256, 1 << 31, 1<<32 - 8} {
		if _, _, ok := parseFrame(b, offset); ok {
			t.Errorf("found a frame at %d", offset)
		}
	}
	if _, _, ok := parseFrame(b[:100], 64); ok {
		t.Error("found a frame that goes beyond the block")
	}
}

func FuzzParseFrame(f *testing.F) {
	f.Add(ringBlock(), uint32(0))
	f.Add(ringBlock(), uint32(64))
	f.Fuzz(func(t *testing.T, block []byte, offset uint32) {
		// The kernel's blocks are aligned to pages.
		aligned := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(make([]uint64, len(block)/8+1)))), len(block))
		copy(aligned, block)
		if f, _, ok := parseFrame(aligned, offset); ok && (len(f.data) > len(block) || f.vlan > 0xfff) {
			t.Errorf("%d bytes with tag %d from %d", len(f.data), f.vlan, len(block))
		}
	})
}

func TestRingFitsTheMachine(t *testing.T) {
	for memory, want := range map[uint64]int{64 << 20: 1 << 20, 1 << 30: 4 << 20, 64 << 30: 16 << 20} {
		if got := ringFor(memory); got != want {
			t.Errorf("%d bytes of memory: a ring of %d, want %d", memory, got, want)
		}
	}
}

func TestRingShrinksWhereThereIsNoMemory(t *testing.T) {
	for _, c := range []struct {
		blocks, room, want int
		err                error
	}{{64, 64, 64, nil}, {64, 20, 16, nil}, {5, 3, 2, nil}, {64, 1, 2, unix.ENOMEM}} {
		got, err := shrink(c.blocks, func(blocks int) error {
			if blocks > c.room {
				return unix.ENOMEM
			}
			return nil
		})
		if got != c.want || err != c.err {
			t.Errorf("%d blocks with room for %d: %d, %v, want %d, %v", c.blocks, c.room, got, err, c.want, c.err)
		}
	}
	if _, err := shrink(64, func(int) error { return unix.EINVAL }); err != unix.EINVAL {
		t.Error(err)
	}
}
