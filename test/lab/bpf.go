package lab

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// bpfLoad loads a program for traffic control's filters and returns its file
// descriptor.
func bpfLoad(prog []byte) (int, error) {
	license := []byte("Dual BSD/GPL\x00")
	// The head of union bpf_attr for BPF_PROG_LOAD, linux/bpf.h.
	attr := struct {
		progType, insnCount uint32
		insns, license      uint64
		logLevel, logSize   uint32
		logBuf              uint64
		kernVersion, flags  uint32
	}{
		progType:  unix.BPF_PROG_TYPE_SCHED_CLS,
		insnCount: uint32(len(prog) / 8),
		insns:     uint64(uintptr(unsafe.Pointer(&prog[0]))),
		license:   uint64(uintptr(unsafe.Pointer(&license[0]))),
	}
	fd, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_LOAD, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	runtime.KeepAlive(prog)
	runtime.KeepAlive(license)
	if errno != 0 {
		return -1, fmt.Errorf("load filter program: %w", errno)
	}
	return int(fd), nil
}
