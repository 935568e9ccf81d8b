package bench

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"testing"

	"github.com/lanfolk/lanfolk/dnswire"
)

// office makes the frames of an office's network, the same ones each time: mostly
// bulk TCP, and what a few hundred devices say beside it. Names, ports, ids and
// addresses change as they do there.
type office struct {
	random *rand.Rand
	frame  []byte
	out    []byte
	bulk   []byte
	hello  []byte // of a TLS client, from its Ethernet header on
	dhcp   [][]byte
	ndp    [][]byte
	mdns   [][]byte // payloads, a few of each device
	ssdp   [][]byte
}

const officeHosts = 300

func newOffice(b testing.TB) *office {
	o := &office{random: rand.New(rand.NewPCG(1, 2)), bulk: make([]byte, 1448)}
	for i := range o.bulk {
		o.bulk[i] = byte(o.random.Uint32() | 1)
	}
	o.bulk[0] = 0x99 // no record's begin
	o.hello = discoveryFrames(b, "tls-curl")[0]
	o.dhcp = discoveryFrames(b, "dhcp-udhcpc")
	o.ndp = discoveryFrames(b, "ndp-ns-na")
	name := func(format string, args ...any) dnswire.Name {
		n, err := dnswire.ParseName(fmt.Sprintf(format, args...))
		if err != nil {
			b.Fatal(err)
		}
		return n
	}
	for i := range officeHosts {
		var m dnswire.Builder
		m.Reset(nil, dnswire.Header{}, 0)
		for _, t := range []string{"_ipp", "_airplay", "_googlecast", "_smb", "_hap"}[:1+i%5] {
			m.Question(name("%s._tcp.local", t), dnswire.TypePTR, dnswire.ClassIN, i%2 == 0)
		}
		o.mdns = append(o.mdns, m.Bytes())
		host, instance := name("device-%d.local", i), name("Device %d._http._tcp.local", i)
		txt, err := dnswire.NewTXT(instance, 4500, "txtvers=1", fmt.Sprintf("id=%d", i), "model=Box 5")
		if err != nil {
			b.Fatal(err)
		}
		var a dnswire.Builder
		a.Reset(nil, dnswire.Header{Response: true, Authoritative: true}, 0)
		for _, rr := range []dnswire.RR{
			dnswire.NewPTR(name("_http._tcp.local"), instance, 4500),
			dnswire.NewSRV(instance, dnswire.SRV{Port: 80, Target: host}, 120), txt,
			dnswire.NewAddr(host, officeIP(i), 120),
		} {
			a.Answer(rr)
		}
		o.mdns = append(o.mdns, a.Bytes())
		o.ssdp = append(o.ssdp,
			fmt.Appendf(nil, "M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\nMX: 3\r\nST: ssdp:all\r\nUSER-AGENT: player/%d\r\n\r\n", i%7),
			fmt.Appendf(nil, "NOTIFY * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nCACHE-CONTROL: max-age=1800\r\nLOCATION: http://%s:8080/d.xml\r\nNT: upnp:rootdevice\r\nNTS: ssdp:alive\r\nSERVER: Linux UPnP/1.0 nas/1\r\nUSN: uuid:00000000-0000-4000-8000-%012d::upnp:rootdevice\r\n\r\n", officeIP(i), i+1))
	}
	return o
}

func officeIP(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}) }

// next makes a frame, valid until the next call.
func (o *office) next() []byte {
	be := binary.BigEndian
	host, port := o.random.IntN(officeHosts), uint16(32768+o.random.IntN(28000))
	server := netip.AddrFrom4([4]byte{203, 0, 113, byte(o.random.IntN(200))})
	switch n := o.random.IntN(1000); {
	case n < 780:
		return o.tcp(host, server, true, 443, port, 16, o.bulk)
	case n < 890:
		return o.tcp(host, server, false, port, 443, 16, nil)
	case n < 930:
		o.bulk[0] = 0x41 // QUIC with a short header
		f := o.udp(host, server, 1, 443, port, o.bulk[:1250])
		o.bulk[0] = 0x99
		return f
	case n < 954: // DNS: some names are asked for all day, some once
		which := o.random.IntN(400)
		if which > 350 {
			which = o.random.IntN(1 << 20)
		}
		var m dnswire.Builder
		answer := n&1 == 0
		m.Reset(nil, dnswire.Header{ID: uint16(o.random.Uint32()), RecursionDesired: true, Response: answer, RecursionAvailable: answer}, 0)
		name, _ := dnswire.ParseName(fmt.Sprintf("host-%d.example.com", which))
		m.Question(name, dnswire.TypeA, dnswire.ClassIN, false)
		if answer {
			m.Answer(dnswire.NewAddr(name, server, uint32(o.random.IntN(300))))
			return o.udp(host, netip.AddrFrom4([4]byte{10, 1, 2, 1}), 1, 53, port, m.Bytes())
		}
		return o.udp(host, netip.AddrFrom4([4]byte{10, 1, 2, 1}), 0, port, 53, m.Bytes())
	case n < 966:
		return o.udp(host, netip.AddrFrom4([4]byte{224, 0, 0, 251}), 0, 5353, 5353, o.mdns[2*host+n&1])
	case n < 976:
		f := o.ether(host, 0, true, 0x0806)
		f = append(f, 0, 1, 8, 0, 6, 4, 0, 1)
		f = append(append(f, f[6:12]...), officeIP(host).AsSlice()...)
		o.frame = append(append(f, 0, 0, 0, 0, 0, 0), officeIP(o.random.IntN(officeHosts)).AsSlice()...)
		return append(o.frame, make([]byte, 18)...)
	case n < 980:
		return o.udp(host, netip.AddrFrom4([4]byte{239, 255, 255, 250}), 0, port, 1900, o.ssdp[2*host+n&1])
	case n < 986:
		return o.tcp(host, server, false, port, 443, 2, nil)
	case n < 992:
		return o.tcp(host, server, true, 443, port, 18, nil)
	case n < 996: // a ClientHello with its random values and its session id made anew
		o.frame = append(o.frame[:0], o.hello...)
		f := o.frame
		copy(f[6:12], officeMAC(host))
		copy(f[26:30], officeIP(host).AsSlice())
		be.PutUint16(f[34:], port)
		be.PutUint32(f[38:], o.random.Uint32())
		for i := 0; i < 32; i++ {
			f[66+11+i], f[66+44+i] = byte(o.random.Uint32()), byte(o.random.Uint32())
		}
		return f
	case n < 998:
		o.frame = append(o.frame[:0], o.dhcp[o.random.IntN(2)*2]...) // discover, request
		f := o.frame
		copy(f[6:12], officeMAC(host))
		copy(f[42+28:], officeMAC(host))
		be.PutUint32(f[42+4:], o.random.Uint32())
		return f
	}
	o.frame = append(o.frame[:0], o.ndp[o.random.IntN(len(o.ndp))]...)
	return o.frame
}

func officeMAC(i int) []byte { return []byte{2, 0x10, 0, 0, byte(i >> 8), byte(i)} }

// ether begins a frame of a host: to the router or to all, or back from the router.
func (o *office) ether(host int, back int, all bool, kind uint16) []byte {
	router, mine := []byte{2, 0x20, 0, 0, 0, 1}, officeMAC(host)
	f := o.frame[:0]
	switch {
	case all:
		f = append(append(f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), mine...)
	case back == 1:
		f = append(append(f, mine...), router...)
	default:
		f = append(append(f, router...), mine...)
	}
	return append(f, byte(kind>>8), byte(kind))
}

// ip adds an IPv4 header; back swaps the ends.
func (o *office) ip(f []byte, host int, peer netip.Addr, back int, proto byte, size int) []byte {
	be := binary.BigEndian
	f = append(f, 0x45, 0)
	f = be.AppendUint16(f, uint16(20+size))
	f = be.AppendUint16(f, uint16(o.random.Uint32()))
	f = append(f, 0x40, 0, 64, proto, 0, 0)
	a, z := officeIP(host), peer
	if back == 1 {
		a, z = z, a
	}
	return append(append(f, a.AsSlice()...), z.AsSlice()...)
}

func (o *office) udp(host int, peer netip.Addr, back int, src, dst uint16, data []byte) []byte {
	be := binary.BigEndian
	f := o.ip(o.ether(host, back, peer.IsMulticast(), 0x0800), host, peer, back, 17, 8+len(data))
	f = be.AppendUint16(be.AppendUint16(be.AppendUint16(f, src), dst), uint16(8+len(data)))
	o.frame = append(append(f, 0, 0), data...)
	return o.frame
}

func (o *office) tcp(host int, peer netip.Addr, from bool, src, dst uint16, flags byte, data []byte) []byte {
	be := binary.BigEndian
	back := 0
	if from {
		back = 1
	}
	options := []byte{1, 1, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0}
	if flags&2 != 0 {
		options = []byte{2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 1, 3, 3, 7}
	}
	at := len(options) - 8
	if flags&2 != 0 {
		at = 8
	}
	be.PutUint32(options[at:], o.random.Uint32())
	f := o.ip(o.ether(host, back, false, 0x0800), host, peer, back, 6, 20+len(options)+len(data))
	f = be.AppendUint32(be.AppendUint16(be.AppendUint16(f, src), dst), o.random.Uint32())
	f = be.AppendUint32(f, o.random.Uint32())
	f = append(f, byte(5+len(options)/4)<<4, flags, 0xfa, 0xf0, 0, 0, 0, 0)
	o.frame = append(append(f, options...), data...)
	return o.frame
}

// write makes a capture file of a size in bytes, and returns how many frames it has.
func (o *office) write(b testing.TB, path string, size int64) (frames int) {
	file, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	w := bufio.NewWriterSize(file, 1<<20)
	le := binary.LittleEndian
	header := le.AppendUint16(le.AppendUint16(le.AppendUint32(nil, 0xa1b2c3d4), 2), 4)
	for _, v := range []uint32{0, 0, 65535, 1} {
		header = le.AppendUint32(header, v)
	}
	w.Write(header)
	for done := int64(0); done < size; frames++ {
		f := o.next()
		at := uint64(frames) * 20 // microseconds
		record := le.AppendUint32(o.out[:0], uint32(1_700_000_000+at/1e6))
		record = le.AppendUint32(record, uint32(at%1e6))
		record = le.AppendUint32(le.AppendUint32(record, uint32(len(f))), uint32(len(f)))
		o.out = record
		w.Write(record)
		w.Write(f)
		done += int64(16 + len(f))
	}
	if err := w.Flush(); err != nil {
		b.Fatal(err)
	}
	if err := file.Close(); err != nil {
		b.Fatal(err)
	}
	return frames
}
