package lan

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Holder is a socket that is bound to a UDP port, and the program behind it.
type Holder struct {
	Local netip.AddrPort
	UID   int // of the user that opened it
	// PID and Program are 0 and "" where they can't be read: only root may
	// look into other users' programs.
	PID     int
	Program string
	// Self says that it is this process.
	Self bool
}

// String says it in words: "avahi-daemon (pid 412, uid 108) holds 0.0.0.0:5353".
func (h Holder) String() string {
	if h.PID == 0 {
		return fmt.Sprintf("a program of uid %d holds %v (root may see which)", h.UID, h.Local)
	}
	return fmt.Sprintf("%s (pid %d, uid %d) holds %v", h.Program, h.PID, h.UID, h.Local)
}

// PortHolders returns the sockets on this machine, this process's own included, that are
// bound to a UDP port. A socket that several processes share is named once for each, but not
// for those that only have it from their parent: see heirs.
func PortHolders(port uint16) ([]Holder, error) {
	hs, err := portHolders(os.DirFS("/proc"), port, os.Getpid())
	if err != nil {
		return nil, fmt.Errorf("lan: find who holds port %d: %w", port, err)
	}
	return hs, nil
}

// udpSocket is a line of /proc/net/udp or udp6.
type udpSocket struct {
	local netip.AddrPort
	uid   int
	inode uint64
}

func portHolders(proc fs.FS, port uint16, self int) ([]Holder, error) {
	var sockets []udpSocket
	for _, name := range []string{"thread-self/net/udp", "thread-self/net/udp6"} {
		f, err := proc.Open(name)
		if errors.Is(err, fs.ErrNotExist) && name == "thread-self/net/udp6" {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, err
		}
		found, err := readSockets(f, port)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		sockets = append(sockets, found...)
	}
	if len(sockets) == 0 {
		return nil, nil
	}
	users := make(map[uint64][]int, len(sockets)) // inode to pids
	for _, s := range sockets {
		users[s.inode] = nil
	}
	findUsers(proc, users)
	for inode, pids := range users {
		users[inode] = slices.DeleteFunc(slices.Clone(pids), heirs(proc, pids, inode, self))
	}

	var holders []Holder
	for _, s := range sockets {
		pids := users[s.inode]
		if len(pids) == 0 {
			holders = append(holders, Holder{Local: s.local, UID: s.uid})
		}
		for _, pid := range pids {
			holders = append(holders, Holder{
				Local: s.local, UID: s.uid, PID: pid, Program: programName(proc, pid), Self: pid == self,
			})
		}
	}
	slices.SortStableFunc(holders, func(a, b Holder) int {
		return cmp.Or(a.Local.Compare(b.Local), a.PID-b.PID)
	})
	return holders, nil
}

// readSockets reads the lines for a port. The first line is a heading.
func readSockets(r io.Reader, port uint16) ([]udpSocket, error) {
	var found []udpSocket
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		if n == 1 {
			continue
		}
		s, err := parseSocket(lines.Text())
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if s.local.Port() == port {
			found = append(found, s)
		}
	}
	return found, lines.Err()
}

// parseSocket reads a line such as (cut short)
//
//	5141: 00000000:14E9 00000000:0000 07 00000000:00000000 00:00000000 00000000   108        0 15031 2 …
//
// of which fields 1, 7 and 9 are the local address, the uid and the inode.
func parseSocket(line string) (udpSocket, error) {
	f := strings.Fields(line)
	if len(f) < 10 {
		return udpSocket{}, fmt.Errorf("%d fields, want 10", len(f))
	}
	local, err := parseLocal(f[1])
	if err != nil {
		return udpSocket{}, err
	}
	uid, err := strconv.ParseUint(f[7], 10, 32)
	if err != nil {
		return udpSocket{}, fmt.Errorf("uid: %w", err)
	}
	inode, err := strconv.ParseUint(f[9], 10, 64)
	if err != nil {
		return udpSocket{}, fmt.Errorf("inode: %w", err)
	}
	return udpSocket{local, int(uid), inode}, nil
}

// parseLocal reads an address, written as 32-bit words in the machine's byte order,
// and a port.
func parseLocal(s string) (netip.AddrPort, error) {
	addr, port, ok := strings.Cut(s, ":")
	b, err := hex.DecodeString(addr)
	if !ok || err != nil || len(b) != 4 && len(b) != 16 {
		return netip.AddrPort{}, fmt.Errorf("%q is no address", s)
	}
	for i := 0; i < len(b); i += 4 {
		binary.NativeEndian.PutUint32(b[i:], binary.BigEndian.Uint32(b[i:]))
	}
	p, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("port: %w", err)
	}
	ip, _ := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(ip, uint16(p)), nil
}

// findUsers adds the processes that have the sockets open, as far as
// they may be looked into. Processes come and go meanwhile: what can't be read
// is left out.
func findUsers(proc fs.FS, users map[uint64][]int) {
	entries, _ := fs.ReadDir(proc, ".")
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			findSockets(proc, pid, users)
		}
	}
}

// findSockets adds one process to the users of the sockets that it has open.
func findSockets(proc fs.FS, pid int, users map[uint64][]int) {
	dir := path.Join(strconv.Itoa(pid), "fd")
	fds, _ := fs.ReadDir(proc, dir)
	for _, fd := range fds {
		target, err := fs.ReadLink(proc, path.Join(dir, fd.Name()))
		if err != nil {
			continue
		}
		number, ok := strings.CutPrefix(target, "socket:[")
		if !ok {
			continue
		}
		inode, err := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 64)
		if err != nil {
			continue
		}
		if pids, wanted := users[inode]; wanted && !slices.Contains(pids, pid) {
			users[inode] = append(pids, pid)
		}
	}
}

// heirs returns what says of a process whether it is to be left out of those that have a socket
// open. Each child has its parent's sockets from fork to exec, and a server's workers have them
// always: the parent, which has the socket as well and runs the same program, stands for them. What
// this process opens is closed at exec, so that its own children never count. Who has gone
// meanwhile has nothing.
func heirs(proc fs.FS, pids []int, inode uint64, self int) func(pid int) bool {
	return func(pid int) bool {
		parent, err := parentOf(proc, pid)
		if err != nil {
			return true
		}
		if !slices.Contains(pids, parent) {
			return false
		}
		if parent == self || program(proc, pid) == program(proc, parent) {
			return true
		}
		// It runs another program: was that given the socket, or has it begun since we looked?
		now := map[uint64][]int{inode: nil}
		findSockets(proc, pid, now)
		return len(now[inode]) == 0
	}
}

// parentOf reads the fourth field of a process's stat file, which stands behind its name: a
// stranger's text in parentheses.
func parentOf(proc fs.FS, pid int) (int, error) {
	b, err := fs.ReadFile(proc, path.Join(strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, err
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 2 {
		return 0, fmt.Errorf("%d fields behind the name", len(f))
	}
	return strconv.Atoi(f[1])
}

// program is the file that a process runs, "" if that can't be read.
func program(proc fs.FS, pid int) string {
	file, _ := fs.ReadLink(proc, path.Join(strconv.Itoa(pid), "exe"))
	return file
}

// programName is the name by which a process was started, or what the kernel calls it. A name is
// a stranger's text: what can't be printed is quoted.
func programName(proc fs.FS, pid int) string {
	name := ""
	if args, err := fs.ReadFile(proc, path.Join(strconv.Itoa(pid), "cmdline")); err == nil {
		first, _, _ := strings.Cut(string(args), "\x00")
		name = path.Base(first)
	}
	if name == "" || name == "." || name == "/" {
		comm, err := fs.ReadFile(proc, path.Join(strconv.Itoa(pid), "comm"))
		if err != nil {
			return "?"
		}
		name = strings.TrimSpace(string(comm))
	}
	if quoted := strconv.Quote(name); quoted != `"`+name+`"` {
		return quoted
	}
	return name
}
