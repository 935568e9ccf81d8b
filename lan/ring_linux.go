package lan

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// blockSize is how much the kernel fills before it hands it over, unless the
	// time is up first. No frame is longer than a block.
	blockSize = 256 << 10
	// frameSize is only checked by the kernel: version 3 packs frames of any length.
	frameSize    = 2048
	minRingCount = 2
	// A ring is ringShare-th of the machine's memory unless it is told another size.
	// 16 MiB take the busiest minute of a gateway: 500,000 packets of 200 bytes a
	// second for 120 ms in which the reader does not get a core.
	ringShare      = 256
	minDefaultRing = 1 << 20
	maxDefaultRing = 16 << 20
)

// ring is a receive ring of packet_mmap(7), version 3: memory shared with the kernel,
// in blocks. A block is either the kernel's, who fills it, or ours, who read it and give
// it back.
type ring struct {
	mem    []byte
	blocks int
	block  int    // which one is read now or next
	mine   bool   // it is ours and is being read
	left   uint32 // frames in it that weren't read
	offset uint32 // of the next frame in it
}

// frame is one frame in the ring; data is the ring's memory.
type frame struct {
	data   []byte
	length int    // on the wire
	vlan   uint16 // tag that the kernel took off, 0 if none
	time   time.Time
}

// newRing makes a ring of about size bytes. Where the kernel has no room for it, it
// makes a smaller one.
func newRing(fd, size int, delay time.Duration) (*ring, error) {
	if size <= 0 {
		size = defaultRing()
	}
	blocks := max((size+blockSize-1)/blockSize, minRingCount)
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V3); err != nil {
		return nil, os.NewSyscallError("ring version 3", err)
	}
	blocks, err := shrink(blocks, func(blocks int) error {
		return unix.SetsockoptTpacketReq3(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &unix.TpacketReq3{
			Block_size: blockSize, Block_nr: uint32(blocks),
			Frame_size: frameSize, Frame_nr: uint32(blocks * (blockSize / frameSize)),
			Retire_blk_tov: uint32(delay.Milliseconds()),
		})
	})
	if err != nil {
		return nil, os.NewSyscallError(fmt.Sprintf("ring of %d blocks", blocks), err)
	}
	mem, err := unix.Mmap(fd, 0, blocks*blockSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, os.NewSyscallError("map the ring", err)
	}
	return &ring{mem: mem, blocks: blocks}, nil
}

// shrink calls alloc with ever fewer blocks until there is memory for them, and
// returns with how many it was called last.
func shrink(blocks int, alloc func(blocks int) error) (int, error) {
	for {
		err := alloc(blocks)
		if !errors.Is(err, unix.ENOMEM) || blocks == minRingCount {
			return blocks, err
		}
		blocks = max(blocks/2, minRingCount)
	}
}

// defaultRing is the size in bytes that fits the machine.
func defaultRing() int {
	var s unix.Sysinfo_t
	if err := unix.Sysinfo(&s); err != nil {
		return minDefaultRing
	}
	return ringFor(memoryOf(s.Totalram, s.Unit))
}

// memoryOf is a machine's memory in bytes; the kernel counts in words of its own.
func memoryOf[Word uint32 | uint64](count Word, unit uint32) uint64 {
	return uint64(count) * uint64(unit)
}

// ringFor is the size of the ring for a machine with so much memory, in bytes.
func ringFor(memory uint64) int {
	return int(min(max(memory/ringShare, minDefaultRing), maxDefaultRing))
}

func (r *ring) unmap() error {
	return os.NewSyscallError("unmap the ring", unix.Munmap(r.mem))
}

// header is the current block's.
func (r *ring) header() *unix.TpacketHdrV1 {
	b := r.mem[r.block*blockSize:][:blockSize]
	desc := (*unix.TpacketBlockDesc)(unsafe.Pointer(&b[0]))
	return (*unix.TpacketHdrV1)(unsafe.Pointer(&desc.Hdr[0]))
}

// ready says whether next would find a block. The kernel writes the status last.
func (r *ring) ready() bool {
	return r.mine || atomic.LoadUint32(&r.header().Block_status)&unix.TP_STATUS_USER != 0
}

// next returns the next frame, false if the kernel has handed over none. The
// frame is valid until the next call.
func (r *ring) next() (frame, bool) {
	for r.ready() {
		if f, ok := r.nextInBlock(); ok {
			return f, true
		}
	}
	return frame{}, false
}

// nextInBlock returns the next frame of the block that is ready; false at its
// end, when it gives the block back.
func (r *ring) nextInBlock() (frame, bool) {
	if !r.mine {
		h := r.header()
		r.mine, r.left, r.offset = true, h.Num_pkts, h.Offset_to_first_pkt
	}
	for r.left > 0 {
		f, step, ok := parseFrame(r.mem[r.block*blockSize:][:blockSize], r.offset)
		r.left--
		r.offset += step
		if step == 0 || !ok {
			r.left = 0 // the last of the block
		}
		if ok {
			return f, true
		}
	}
	atomic.StoreUint32(&r.header().Block_status, unix.TP_STATUS_KERNEL)
	r.mine = false
	r.block = (r.block + 1) % r.blocks
	return frame{}, false
}

// parseFrame reads the frame at an offset in a block, and tells how far off the next
// one is, 0 if it is the last.
func parseFrame(block []byte, offset uint32) (f frame, step uint32, ok bool) {
	if uint64(offset)+unix.SizeofTpacket3Hdr > uint64(len(block)) || offset%8 != 0 {
		return frame{}, 0, false
	}
	h := (*unix.Tpacket3Hdr)(unsafe.Pointer(&block[offset]))
	start := uint64(offset) + uint64(h.Mac)
	end := start + uint64(h.Snaplen)
	if end > uint64(len(block)) {
		return frame{}, 0, false
	}
	f = frame{data: block[start:end:end], length: int(h.Len), time: time.Unix(int64(h.Sec), int64(h.Nsec))}
	if h.Status&unix.TP_STATUS_VLAN_VALID != 0 {
		f.vlan = uint16(h.Hv1.Vlan_tci) & 0x0fff // without priority
	}
	return f, h.Next_offset, true
}
