//go:build linux

package bench

import (
	"net"
	"net/netip"
	"testing"

	"golang.org/x/net/ipv4"

	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/packet"
)

const (
	lanBatch   = 32
	lanPayload = 430 // bytes, a usual mDNS response
)

// BenchmarkReadBatch reads multicast datagrams on the loopback in batches of 32, with source, destination, link and
// TTL known. An operation is one datagram, sent and read.
func BenchmarkReadBatch(b *testing.B) {
	group := netip.MustParseAddrPort("239.255.47.47:47471")
	link := loopback(b)
	from, err := lan.ListenMulticast(link, netip.AddrPortFrom(group.Addr(), group.Port()+1))
	if err != nil {
		b.Fatal(err)
	}
	defer from.Close()
	out := make([]packet.Datagram, lanBatch)
	for i := range out {
		out[i] = packet.Datagram{Data: make([]byte, lanPayload), Dst: group}
	}
	send := func(n int) {
		if _, err := from.WriteBatch(out[:n]); err != nil {
			b.Fatal(err)
		}
	}

	b.Run("lanfolk", func(b *testing.B) {
		c, err := lan.ListenMulticast(link, group)
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		in := make([]packet.Datagram, lanBatch)
		b.ReportAllocs()
		for done := 0; done < b.N; {
			want := min(lanBatch, b.N-done)
			send(want)
			for got := 0; got < want; {
				n, err := c.ReadBatch(in)
				if err != nil {
					b.Fatal(err)
				}
				got += n
			}
			done += want
		}
	})
	b.Run("x/net", func(b *testing.B) {
		c, err := net.ListenMulticastUDP("udp4", &net.Interface{Index: link.Index, Name: link.Name}, net.UDPAddrFromAddrPort(group))
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		p := ipv4.NewPacketConn(c)
		if err := p.SetControlMessage(ipv4.FlagTTL|ipv4.FlagDst|ipv4.FlagInterface, true); err != nil {
			b.Fatal(err)
		}
		in := make([]ipv4.Message, lanBatch)
		for i := range in {
			in[i] = ipv4.Message{Buffers: [][]byte{make([]byte, 9000)}, OOB: make([]byte, 128)}
		}
		b.ReportAllocs()
		for done := 0; done < b.N; {
			want := min(lanBatch, b.N-done)
			send(want)
			for got := 0; got < want; {
				n, err := p.ReadBatch(in, 0)
				if err != nil {
					b.Fatal(err)
				}
				for _, m := range in[:n] {
					var cm ipv4.ControlMessage
					if err := cm.Parse(m.OOB[:m.NN]); err != nil || !cm.Dst.IsMulticast() {
						b.Fatal(err, cm.Dst)
					}
				}
				got += n
			}
			done += want
		}
	})
}

func loopback(b *testing.B) packet.Link {
	b.Helper()
	links, err := lan.Links()
	if err != nil {
		b.Fatal(err)
	}
	for _, l := range links {
		if l.Flags&net.FlagLoopback != 0 {
			return l
		}
	}
	b.Skip("no loopback")
	return packet.Link{}
}
