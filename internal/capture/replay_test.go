package capture_test

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/capture"
	"github.com/lanfolk/lanfolk/internal/source"
	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/lan/lantest/nstest"
	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/passive"
	"github.com/lanfolk/lanfolk/store"
	"github.com/lanfolk/lanfolk/test/captures"
)

// wire is a veth pair between two namespaces that say nothing themselves.
type wire struct {
	from, to *nstest.Host
	fd       int // sends at from's end
	link     packet.Link
	received uint64 // frames, that the filter let through
}

// maxMTU is the largest of a veth pair.
const maxMTU = 65535

func newWire(t *testing.T) *wire {
	t.Helper()
	return newWireOf(t, maxMTU)
}

func newWireOf(t *testing.T, mtu int) *wire {
	t.Helper()
	w := &wire{from: nstest.NewHost(t), to: nstest.NewHost(t)}
	nstest.Connect(t, w.from, "eth0", w.to, "eth0")
	for _, h := range []*nstest.Host{w.from, w.to} {
		h.Do(t, func() {
			// Nobody is to answer what is replayed.
			err := os.WriteFile("/proc/sys/net/ipv6/conf/eth0/disable_ipv6", []byte("1"), 0)
			if err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
		})
		l, err := h.Handle().LinkByName("eth0")
		if err == nil {
			err = h.Handle().LinkSetMTU(l, mtu)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	w.from.SetUp(t, "eth0")
	w.to.SetUp(t, "eth0")
	w.from.WaitUp(t, "eth0")
	w.to.WaitUp(t, "eth0")
	find := func(h *nstest.Host) (link packet.Link) {
		h.Do(t, func() {
			links, err := lan.Links()
			if i := slices.IndexFunc(links, func(l packet.Link) bool { return l.Name == "eth0" }); err == nil && i >= 0 {
				link = links[i]
			} else {
				t.Fatal("no eth0: ", err)
			}
		})
		return link
	}
	w.link = find(w.to)
	sender := find(w.from)
	w.from.Do(t, func() {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			err = unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: sender.Index})
		}
		if err != nil {
			t.Fatal(err)
		}
		w.fd = fd
	})
	t.Cleanup(func() { unix.Close(w.fd) })
	return w
}

// mark is a frame that is heard as such: an ARP question of a MAC of its own.
func mark() []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(arp, " ", ""))
	if err != nil {
		panic(err)
	}
	copy(b[6:], []byte{2, 0xee, 0xee, 0xee, 0xee, 0xee})
	return b
}

// patience is how long something may take that takes no time.
const patience = 2 * time.Minute

// live sends frames and returns the rows that come of them at the other end. At a frame
// that is empty it waits until those before have been taken note of.
func (w *wire) live(t *testing.T, frames [][]byte) map[lanfolk.ObservationKey]uint64 {
	t.Helper()
	var rows store.Rows
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	h := &source.Heard{From: &source.Passive{Link: w.link}, Record: func(list ...lanfolk.Observation) {
		for _, o := range list {
			rows.Add(o)
		}
	}}
	heard := make(chan struct{}, 1)
	l := &capture.Live{Link: w.link, Pause: h.Pause, BufferSize: 8 << 20}
	ran := make(chan error, 1)
	opened := make(chan bool)
	go w.to.Do(t, func() {
		close(opened)
		err := l.Run(ctx, func(f *passive.Fact) {
			if f.SrcMAC == (passive.MAC{2, 0xee, 0xee, 0xee, 0xee, 0xee}) {
				heard <- struct{}{}
				return
			}
			h.Fact(f)
		})
		h.End()
		ran <- err
	})
	<-opened
	for !l.Open() {
		time.Sleep(time.Millisecond)
	}
	send := func(i int, f []byte) {
		if err := unix.Send(w.fd, f, 0); err != nil {
			t.Errorf("send frame %d of %d bytes: %v", i, len(f), err)
		}
	}
	for i, f := range append(slices.Clone(frames), nil) {
		if len(f) > 0 {
			send(i+1, f)
			continue
		}
		// What is behind the first mark is read after all that was read with it.
		for range 2 {
			send(i+1, mark())
			select {
			case <-heard:
			case <-ctx.Done():
				t.Fatalf("a mark behind frame %d wasn't heard: %v", i, ctx.Err())
			}
		}
	}
	cancel()
	if err := <-ran; err != nil {
		t.Fatal(err)
	}
	s := l.Stats()
	w.received = s.Received
	if s.Dropped > 0 {
		t.Errorf("the kernel dropped %d frames", s.Dropped)
	}
	return counts(&rows)
}

// counts are the rows without what must differ: the link's name and the times.
func counts(rows *store.Rows) map[lanfolk.ObservationKey]uint64 {
	m := map[lanfolk.ObservationKey]uint64{}
	for _, o := range rows.Sorted() {
		o.Link = ""
		m[o.ObservationKey] += o.Count
	}
	return m
}

// replayed are the rows that `monitor -r` makes of a file.
func replayed(t *testing.T, path string) map[lanfolk.ObservationKey]uint64 {
	t.Helper()
	var rows store.Rows
	var from source.Passive
	_, err := capture.File{Path: path}.Read(t.Context(), func(f *passive.Fact) error {
		if o, ok := from.Observation(f); ok {
			rows.Add(o)
		}
		return nil
	})
	var format *passive.FormatError
	if err != nil && !errors.As(err, &format) {
		t.Fatal(err)
	}
	return counts(&rows)
}

func compare(t *testing.T, name string, file, live map[lanfolk.ObservationKey]uint64) {
	t.Helper()
	for k, n := range file {
		if live[k] != n {
			t.Errorf("%s: %d live, %d in the file: %+v", name, live[k], n, k)
		}
	}
	for k, n := range live {
		if file[k] == 0 {
			t.Errorf("%s: %d live, none in the file: %+v", name, n, k)
		}
	}
}

// ethernetFrames reads the frames of a file; none if another kind of link is in it.
func ethernetFrames(t *testing.T, path string) (frames [][]byte) {
	t.Helper()
	in, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	r, err := passive.NewReader(in)
	if err != nil {
		return nil
	}
	for {
		f, err := r.Next()
		if err != nil {
			if err != io.EOF {
				t.Logf("%s: %v", filepath.Base(path), err)
			}
			return frames
		}
		if f.LinkType != packet.LinkEthernet {
			return nil
		}
		frames = append(frames, slices.Clone(f.Data))
	}
}

// TestLiveEqualsReplay: what is made of the frames of a file as they pass a link is what is
// made of the file.
func TestLiveEqualsReplay(t *testing.T) {
	t.Parallel()
	dir := captures.Folder(t, "LANFOLK_PCAPS")
	if dir == "" {
		return
	}
	nstest.Run(t, func(t *testing.T) {
		files, err := filepath.Glob(filepath.Join(dir, "*.*cap*"))
		if err != nil || len(files) == 0 {
			t.Fatal("no captures", err)
		}
		work := make(chan string)
		var wg sync.WaitGroup
		var mu sync.Mutex
		var total, sent, rowCount int
		for range 8 {
			w := newWire(t)
			wg.Go(func() {
				for path := range work {
					frames := ethernetFrames(t, path)
					frames = slices.DeleteFunc(frames, func(f []byte) bool {
						if len(f) >= 14 && len(f) <= maxMTU+14 {
							return false
						}
						t.Logf("%s: no link takes a frame of %d bytes", filepath.Base(path), len(f))
						return true
					})
					if len(frames) == 0 {
						continue
					}
					file := replayed(t, path)
					compare(t, filepath.Base(path), file, w.live(t, frames))
					mu.Lock()
					total, sent, rowCount = total+1, sent+len(frames), rowCount+len(file)
					mu.Unlock()
				}
			})
		}
		for _, path := range files {
			work <- path
		}
		close(work)
		wg.Wait()
		t.Logf("%d files, %d frames, %d rows", total, sent, rowCount)
	})
}

// goldenFrames are those that the passive package is tested with.
func goldenFrames(t *testing.T) (frames [][]byte) {
	t.Helper()
	files, err := filepath.Glob("../../passive/testdata/*.hex")
	if err != nil || len(files) == 0 {
		t.Fatal("no frames", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(text), "\n")
		for part := range strings.SplitSeq(strings.TrimSpace(rest), "\n\n") {
			f, err := hex.DecodeString(strings.Join(strings.Fields(part), ""))
			if err != nil {
				t.Fatal(file, err)
			}
			frames = append(frames, f)
		}
	}
	return frames
}

// TestTaggedFramesLive: the kernel takes the outer tag off and tells it beside the
// frame; the rows are those of the file, where it stands in the frame.
func TestTaggedFramesLive(t *testing.T) {
	t.Parallel()
	nstest.Run(t, func(t *testing.T) {
		w := newWire(t)
		golden := goldenFrames(t)
		for name, tags := range map[string][]byte{
			"no tag":             nil,
			"VLAN":               {0x81, 0, 0, 42},
			"VLAN with priority": {0x81, 0, 5<<5 | 1, 42},
			"priority only":      {0x81, 0, 5 << 5, 0},
			"QinQ":               {0x88, 0xa8, 0, 7, 0x81, 0, 0, 42},
			"old QinQ":           {0x91, 0, 0, 7, 0x81, 0, 0, 42},
			"VLAN in VLAN":       {0x81, 0, 0, 7, 0x81, 0, 0, 42},
			"priority, VLAN":     {0x81, 0, 5 << 5, 0, 0x81, 0, 0, 42},
			"three tags":         {0x88, 0xa8, 0, 7, 0x81, 0, 0, 42, 0x81, 0, 0, 43},
		} {
			var frames [][]byte
			for _, f := range golden {
				frames = append(frames, slices.Concat(f[:12], tags, f[12:]))
			}
			path := filepath.Join(t.TempDir(), "tagged.pcap")
			if err := os.WriteFile(path, pcapOf(frames), 0o600); err != nil {
				t.Fatal(err)
			}
			file := replayed(t, path)
			compare(t, name, file, w.live(t, frames))
			if (len(file) < 40) != (name == "three tags") {
				t.Errorf("%s: %d rows", name, len(file))
			}
		}
	})
}

// pcapOf writes frames as a capture file, a millisecond apart.
func pcapOf(frames [][]byte) []byte {
	le := binary.LittleEndian
	b := []byte("\xd4\xc3\xb2\xa1\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x04\x00\x01\x00\x00\x00")
	for i, f := range frames {
		for _, v := range []uint32{1_700_000_000, uint32(i * 1000), uint32(len(f)), uint32(len(f))} {
			b = le.AppendUint32(b, v)
		}
		b = append(b, f...)
	}
	return b
}

// segments cuts what a client says to a port into TCP segments.
func segments(port uint16, data []byte, size int) (frames [][]byte) {
	be := binary.BigEndian
	for at := 0; at < len(data); at += size {
		part := data[at:min(at+size, len(data))]
		f := make([]byte, 54, 54+len(part))
		copy(f, []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45})
		be.PutUint16(f[16:], uint16(40+len(part)))
		f[22], f[23] = 64, 6
		copy(f[26:], []byte{192, 0, 2, 1, 192, 0, 2, 2})
		be.PutUint16(f[34:], 40000)
		be.PutUint16(f[36:], port)
		be.PutUint32(f[38:], uint32(1000+at))
		f[46], f[47] = 5<<4, 0x10
		if at+size >= len(data) {
			f[47] |= 8 // PSH
		}
		frames = append(frames, append(f, part...))
	}
	return frames
}

// clientHello is what Go's own client says, made longer with names of protocols.
func clientHello(t *testing.T, protocols int) []byte {
	t.Helper()
	a, b := net.Pipe()
	defer b.Close()
	config := &tls.Config{ServerName: "nas.example"}
	for i := range protocols {
		config.NextProtos = append(config.NextProtos, fmt.Sprintf("protocol-%04d", i))
	}
	go func() {
		_ = tls.Client(a, config).Handshake() // nobody answers
		a.Close()
	}()
	buf := make([]byte, 1<<14)
	n, err := b.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return buf[:n]
}

func tlsRows(rows map[lanfolk.ObservationKey]uint64) (n uint64) {
	for k, count := range rows {
		if k.Protocol == passive.ProtoTLS && k.Query == "nas.example" {
			n += count
		}
	}
	return n
}

func TestLongClientHelloLive(t *testing.T) {
	t.Parallel()
	nstest.Run(t, func(t *testing.T) {
		w := newWire(t)
		hello := clientHello(t, 300) // more than 4,000 bytes
		for _, size := range []int{536, 1200, 1448, 4000, 1 << 14} {
			frames := segments(443, hello, size)
			if n := tlsRows(w.live(t, frames)); n != 1 {
				t.Errorf("in %d segments: heard %d times", len(frames), n)
			}
		}
		// An upload shuts out such segments, and nothing else.
		upload := segments(443, make([]byte, 4000*1448), 1448)
		short := segments(443, clientHello(t, 1), 1448)
		for _, f := range short {
			f[35]++ // another connection
		}
		frames := slices.Concat(upload[:2000], [][]byte{nil}, upload[2000:], segments(443, hello, 1448), short)
		rows := w.live(t, frames)
		if n := tlsRows(rows); n != 1 {
			t.Errorf("during an upload: heard %d of the one short ClientHello", n)
		}
		if n := w.received; n < 500 || n > 2100 {
			t.Errorf("during an upload: %d frames of 4000 came through, want the first ones", n)
		}
	})
}

// TestOffloadedClientHelloLive: what the kernel hands to a link in one piece, to be
// cut by the network card, is heard in one piece.
func TestOffloadedClientHelloLive(t *testing.T) {
	t.Parallel()
	nstest.Run(t, func(t *testing.T) {
		w := newWireOf(t, 1500)
		w.from.AddAddress(t, "eth0", "10.99.0.1/24")
		w.to.AddAddress(t, "eth0", "10.99.0.2/24")
		var l net.Listener
		w.to.Do(t, func() {
			var err error
			if l, err = net.Listen("tcp", "10.99.0.2:443"); err != nil {
				t.Fatal(err)
			}
		})
		defer l.Close()
		hello := clientHello(t, 600)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		heard := 0
		live := &capture.Live{Link: w.link}
		ran := make(chan error, 1)
		go w.to.Do(t, func() {
			ran <- live.Run(ctx, func(f *passive.Fact) {
				if f.Protocol == passive.ProtoTLS && f.Query == "nas.example" {
					heard++
					cancel()
				}
			})
		})
		for !live.Open() {
			time.Sleep(time.Millisecond)
		}
		w.from.Do(t, func() {
			c, err := net.Dial("tcp", "10.99.0.2:443")
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := c.Write(hello); err != nil {
				t.Error(err)
			}
			<-ctx.Done()
		})
		if err := <-ran; err != nil || heard != 1 {
			t.Errorf("heard %d of a ClientHello of %d bytes, %v", heard, len(hello), err)
		}
		if s := live.Stats(); s.Bytes < uint64(len(hello)) {
			t.Errorf("%d bytes of %d", s.Bytes, len(hello))
		}
	})
}
