package lan

import (
	"errors"
	"fmt"
	"net"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// IgnoreLocal says whether the Conn is to ignore the multicasts and broadcasts
// of this host, its own and those of other programs, rather than hear them.
// The kernel then drops them without waking anybody.
func (c *Conn) IgnoreLocal(ignore bool) error {
	var err error
	if cerr := c.raw.Control(func(fd uintptr) { err = ignoreLocal(int(fd), ignore) }); cerr != nil {
		if errors.Is(cerr, net.ErrClosed) {
			return net.ErrClosed
		}
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("lan: filter on %s: %w", c.name, err)
	}
	return nil
}

func ignoreLocal(fd int, ignore bool) error {
	if !ignore {
		err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0)
		if errors.Is(err, unix.ENOENT) { // there was none
			return nil
		}
		return os.NewSyscallError("detach filter", err)
	}
	// The kernel marks the copy of a packet that comes back to its sender's host.
	const adOffset, adPacketType, packetLoopback = 0xfffff000, 4, 5
	prog := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: adOffset + adPacketType},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: packetLoopback, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
		{Code: unix.BPF_RET | unix.BPF_K, K: 1 << 18},
	}
	fprog := unix.SockFprog{Len: uint16(len(prog)), Filter: (*unix.SockFilter)(unsafe.Pointer(&prog[0]))}
	return os.NewSyscallError("attach filter", unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &fprog))
}
