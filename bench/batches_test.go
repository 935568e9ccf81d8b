//go:build linux

package bench

import (
	"net/netip"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// batches is a connected UDP socket on the loopback for a load that must be faster than what it loads:
// it blocks in the kernel and has no addresses to look at.
type batches struct {
	fd       int
	out      []mmsghdr
	parts    []unix.Iovec
	data     [][]byte
	waiting  int // in out
	in       [batchSize]mmsghdr
	into     [batchSize]unix.Iovec
	room     [batchSize][2048]byte
	received [batchSize][]byte
}

const batchSize = 64

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
}

// receiveWait is for how long an answer is waited for: longer than others may keep the processor.
const receiveWait = 2 * time.Second

func dialBatches(to netip.AddrPort) (*batches, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	b := &batches{fd: fd}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20)
	tv := unix.NsecToTimeval(int64(receiveWait))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		b.close()
		return nil, os.NewSyscallError("setsockopt", err)
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}); err != nil {
		b.close()
		return nil, os.NewSyscallError("connect", err)
	}
	for i := range b.in {
		b.into[i].Base = &b.room[i][0]
		b.into[i].SetLen(len(b.room[i]))
		b.in[i].hdr.Iov = &b.into[i]
		b.in[i].hdr.SetIovlen(1)
	}
	return b, nil
}

func (b *batches) close() { _ = unix.Close(b.fd) }

// add adds a datagram to those that send sends.
func (b *batches) add(appendTo func([]byte) []byte) {
	if b.waiting == len(b.data) {
		b.data = append(b.data, nil)
	}
	b.data[b.waiting] = appendTo(b.data[b.waiting][:0])
	b.waiting++
}

// send sends what was added.
func (b *batches) send() error {
	n := b.waiting
	for len(b.out) < n {
		b.out, b.parts = append(b.out, mmsghdr{}), append(b.parts, unix.Iovec{})
	}
	for i, d := range b.data[:n] {
		b.parts[i].Base = &d[0]
		b.parts[i].SetLen(len(d))
		b.out[i].hdr.Iov = &b.parts[i]
		b.out[i].hdr.SetIovlen(1)
	}
	b.waiting = 0
	for sent := 0; sent < n; {
		k, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(b.fd), uintptr(unsafe.Pointer(&b.out[sent])), uintptr(min(n-sent, batchSize)), 0, 0, 0)
		if errno != 0 {
			return os.NewSyscallError("sendmmsg", errno)
		}
		sent += int(k)
	}
	return nil
}

// receive waits for datagrams, which are valid until the next call. There are none if
// none came in time.
func (b *batches) receive() ([][]byte, error) {
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(b.fd), uintptr(unsafe.Pointer(&b.in[0])), batchSize, unix.MSG_WAITFORONE, 0, 0)
		switch errno {
		case 0:
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return nil, nil
		default:
			return nil, os.NewSyscallError("recvmmsg", errno)
		}
		for i := range int(n) {
			b.received[i] = b.room[i][:b.in[i].n]
		}
		return b.received[:n], nil
	}
}
