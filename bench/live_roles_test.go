//go:build linux

package bench

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/capture"
	"github.com/lanfolk/lanfolk/internal/source"
	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/store"
)

// notDiscovery are golden frames of traffic that is no discovery.
var notDiscovery = []string{"tcp", "tls", "quic", "http", "dns-tcp", "mqtt", "fragments"}

// devices makes of each golden frame one for each of n devices, in random but
// repeatable order: its MAC, addresses and host name are its own.
func devices(n int) ([][]byte, error) {
	files, err := filepath.Glob("../passive/testdata/*.hex")
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("no frames: %w", err)
	}
	var out [][]byte
	for _, file := range files {
		name := filepath.Base(file)
		if slices.ContainsFunc(notDiscovery, func(s string) bool { return strings.Contains(name, s) }) {
			continue
		}
		frames, err := hexFrames(file)
		if err != nil {
			return nil, err
		}
		for _, f := range frames {
			for i := range n {
				out = append(out, ofDevice(f, uint16(i)))
			}
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out, nil
}

// ofDevice puts a device's number into all that tells who it is. Of the checksums only ICMPv6's is looked at.
func ofDevice(f []byte, n uint16) []byte {
	f = slices.Clone(f)
	before := wordSum(f)
	defer func() { fixICMPv6(f, before) }()
	replace := func(old []byte, at int) {
		if bytes.Count(old, []byte{0}) == len(old) || len(f) < at {
			return
		}
		was := slices.Clone(old)
		for i := 6; i+len(was) <= len(f); i++ { // the destination stays
			if bytes.Equal(f[i:i+len(was)], was) {
				binary.BigEndian.PutUint16(f[i+at:], n)
			}
		}
	}
	replace(f[6:12], 4)
	switch binary.BigEndian.Uint16(f[12:]) {
	case 0x0800:
		replace(f[26:30], 2)
	case 0x0806:
		replace(f[28:32], 2)
	case 0x86dd:
		replace(f[22:38], 14)
	}
	digits := []byte("printer")
	for i := 0; i+len(digits) <= len(f); i++ {
		if bytes.EqualFold(f[i:i+len(digits)], digits) {
			copy(f[i+3:], fmt.Sprintf("%04x", n))
		}
	}
	return f
}

// wordSum is the sum of the words from IPv6's addresses on.
func wordSum(f []byte) (sum uint32) {
	for i := 22; i+1 < len(f); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(f[i:]))
	}
	return sum
}

// fixICMPv6 corrects the checksum of a frame whose sum has changed.
func fixICMPv6(f []byte, before uint32) {
	if binary.BigEndian.Uint16(f[12:]) != 0x86dd {
		return
	}
	at, next := 54, f[20]
	if next == 0 { // hop-by-hop options, as MLD has them
		next = f[54]
		at += 8 * (int(f[55]) + 1)
	}
	if next != 58 {
		return
	}
	sum := uint32(^binary.BigEndian.Uint16(f[at+2:])) + wordSum(f) + ^before%0xffff
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(f[at+2:], ^uint16(sum))
}

// blast is what roleBlast prints.
type blast struct {
	Sent      uint64
	Seconds   float64
	User, Sys float64 // seconds of CPU
}

// among puts each frame behind 19 of another.
func among(frames [][]byte, other []byte) (mixed [][]byte) {
	for _, f := range frames {
		for range 19 {
			mixed = append(mixed, other)
		}
		mixed = append(mixed, f)
	}
	return mixed
}

// roleBlast sends Ethernet frames on eth0: kind, devices, frames a second (0: as
// many as it can), frames in all. It goes past the queues of the device and hands over many
// at once, so that as much as can be of what it takes is the kernel's own work.
func roleBlast(args []string) error {
	kind := args[0]
	var v [3]int
	for i := range v {
		n, err := strconv.Atoi(args[i+1])
		if err != nil {
			return err
		}
		v[i] = n
	}
	hosts, rate, total := v[0], v[1], v[2]
	frames, err := devices(hosts)
	if err != nil {
		return err
	}
	switch kind {
	case "devices":
	case "anew": // no two alike
	case "bulk": // 95 % of it
		frames = among(frames, bulkFrame())
	case "upload":
		up := bulkFrame()
		binary.BigEndian.PutUint16(up[34:], 50000)
		binary.BigEndian.PutUint16(up[36:], 443)
		frames = among(frames, up)
	default:
		return fmt.Errorf("no load %q", kind)
	}
	ifi, err := net.InterfaceByName("eth0")
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	const packetQdiscBypass = 20
	if err := errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_PACKET, packetQdiscBypass, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 16<<20),
		unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: ifi.Index}),
	); err != nil {
		return err
	}
	const batch = 64
	var iov [batch]unix.Iovec
	var msgs [batch]struct {
		hdr unix.Msghdr
		n   uint32
		_   [4]byte
	}
	for i := range msgs {
		msgs[i].hdr.Iov = &iov[i]
		msgs[i].hdr.SetIovlen(1)
	}
	var before, after unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &before); err != nil {
		return err
	}
	start := time.Now()
	next, number := 0, uint32(0)
	for sent := 0; sent < total; {
		n := min(batch, total-sent)
		for i := range n {
			f := frames[next]
			if next++; next == len(frames) {
				next = 0
			}
			if kind == "anew" {
				number++
				binary.BigEndian.PutUint32(f[8:], number)
			}
			iov[i].Base = &f[0]
			iov[i].SetLen(len(f))
		}
		for done := 0; done < n; {
			k, _, e := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&msgs[done])), uintptr(n-done), 0, 0, 0)
			if e == unix.ENOBUFS || e == unix.EINTR {
				continue
			}
			if e != 0 {
				return fmt.Errorf("sendmmsg: %w", e)
			}
			done += int(k)
		}
		sent += n
		if rate > 0 {
			for at := time.Duration(sent) * time.Second / time.Duration(rate); time.Since(start) < at; {
			}
		}
	}
	took := time.Since(start)
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &after); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(blast{
		Sent: uint64(total), Seconds: took.Seconds(),
		User: seconds(after.Utime) - seconds(before.Utime), Sys: seconds(after.Stime) - seconds(before.Stime),
	})
}

func seconds(t unix.Timeval) float64 { return time.Duration(t.Nano()).Seconds() }

// heard is what roleHear prints.
type heard struct {
	capture.Stats
	Recorded  uint64 // packets that the rows count
	Pending   int
	RowsLost  uint64
	Registry  lanfolk.Stats
	User, Sys float64 // seconds of CPU
	MaxRSS    int64   // KiB
}

// roleHear captures on eth0 until it is told to end, in the way that a node
// does: frames, facts, observations, rows, the database; with "registry" also
// sightings and the inventory.
func roleHear(args []string) error {
	told, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	dir, err := os.MkdirTemp("", "lanfolk-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	db, err := store.Open(ctx, filepath.Join(dir, "lanfolk.db"), store.Options{})
	if err != nil {
		return err
	}
	defer db.Close()
	links, err := lan.Links()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(links, func(l packet.Link) bool { return l.Name == "eth0" })
	if i < 0 {
		return errors.New("no eth0")
	}
	recorder := store.NewRecorder(db, store.RecorderOptions{})
	registry := lanfolk.NewRegistry(lanfolk.RegistryOptions{Sink: db, Journal: db})
	var recorded uint64
	h := &source.Heard{From: &source.Passive{Link: links[i]}, Record: func(rows ...lanfolk.Observation) {
		for i := range rows {
			recorded += rows[i].Count
		}
		recorder.Record(rows...)
	}}
	if slices.Contains(args, "registry") {
		h.Observe = registry.Observe
	}
	live := &capture.Live{Link: links[i], Pause: h.Pause}
	ended := make(chan error, 1)
	var wg sync.WaitGroup
	wg.Go(func() { _ = recorder.Run(ctx) })
	wg.Go(func() { _ = registry.Run(ctx) })
	wg.Go(func() {
		err := live.Run(ctx, h.Fact)
		h.End()
		ended <- err
	})
	time.Sleep(300 * time.Millisecond)
	fmt.Println("ready")
	<-told.Done()
	out := heard{Stats: live.Stats()}
	cancel()
	err = <-ended
	wg.Wait()
	var u unix.Rusage
	if err := errors.Join(err, unix.Getrusage(unix.RUSAGE_SELF, &u)); err != nil {
		return err
	}
	s := recorder.Stats()
	out.Recorded, out.Pending, out.RowsLost = recorded, s.Pending, s.Dropped
	out.Registry = registry.Stats()
	out.User, out.Sys, out.MaxRSS = seconds(u.Utime), seconds(u.Stime), int64(u.Maxrss) //nolint:unconvert // an int32 on some machines
	return json.NewEncoder(os.Stdout).Encode(out)
}
