package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk"
)

// The office of the benchmark: each device is heard by ARP, NDP and DHCP,
// says its name by mDNS over IPv4 and IPv6, and offers five services.
const (
	officeDevices  = 100_000
	sightingsEach  = 10
	officeChunk    = 2_000 // devices whose sightings are made at a time
	officeLifetime = 2 * time.Hour
)

// officeSightings makes the sightings of devices from to to-1, each with
// memory of its own, as packets would bring them.
func officeSightings(from, to int, now time.Time) []lanfolk.Sighting {
	out := make([]lanfolk.Sighting, 0, (to-from)*sightingsEach)
	for n := from; n < to; n++ {
		mac := lanfolk.MAC{0, 0, 0x5e, byte(n >> 16), byte(n >> 8), byte(n)}
		var a4 [4]byte
		binary.BigEndian.PutUint32(a4[:], 10<<24|uint32(n))
		ip4 := netip.AddrFrom4(a4)
		ip6 := netip.MustParseAddr(fmt.Sprintf("fe80::200:5eff:fe%02x:%04x", byte(n>>16), n&0xffff))
		add := func(protocol, key, what string, kind lanfolk.Kind) *lanfolk.Sighting {
			out = append(out, lanfolk.Sighting{
				Origin: lanfolk.Origin{Protocol: protocol, Link: "eth0", Source: ip4.String()},
				Key:    key, Kind: kind, What: what, State: lanfolk.Reachable, Time: now, Lifetime: officeLifetime,
			})
			return &out[len(out)-1]
		}
		host := func() string { return fmt.Sprintf("host-%06d.local", n) }
		s := add("arp", mac.String(), fmt.Sprintf("reply %s is at %s", ip4, mac), lanfolk.KindDevice)
		s.Identifiers = []lanfolk.Identifier{lanfolk.MACIdentifier(mac, s.Origin), lanfolk.IPIdentifier(ip4, s.Origin)}
		s = add("ndp", mac.String(), fmt.Sprintf("advertisement %s is at %s", ip6, mac), lanfolk.KindDevice)
		s.Identifiers = []lanfolk.Identifier{lanfolk.MACIdentifier(mac, s.Origin), lanfolk.IPIdentifier(ip6, s.Origin)}
		s = add("dhcp", mac.String(), fmt.Sprintf("request for %s by %s", ip4, host()), lanfolk.KindDevice)
		s.Identifiers = []lanfolk.Identifier{lanfolk.MACIdentifier(mac, s.Origin), lanfolk.IPIdentifier(ip4, s.Origin)}
		s.Name = fmt.Sprintf("host-%06d", n)
		for _, ip := range [...]netip.Addr{ip4, ip6} {
			s = add("mdns", host()+" "+ip.String(), fmt.Sprintf("answer %s %s", host(), ip), lanfolk.KindDevice)
			s.Identifiers = []lanfolk.Identifier{lanfolk.HostIdentifier(host(), s.Origin), lanfolk.IPIdentifier(ip, s.Origin)}
			s.Host, s.Addresses = host(), []netip.Addr{ip}
		}
		for k, typ := range [...]string{"_http._tcp", "_ssh._tcp", "_smb._tcp", "_ipp._tcp", "_device-info._tcp"} {
			name := fmt.Sprintf("Host %06d", n)
			s = add("mdns", name+"."+typ+".local", fmt.Sprintf("answer SRV %s.%s", name, typ), lanfolk.KindService)
			s.Identifiers = []lanfolk.Identifier{lanfolk.HostIdentifier(host(), s.Origin)}
			s.Name, s.Type, s.Host, s.Port = name, typ, host(), uint16(8000+k)
			s.Addresses = []netip.Addr{ip4, ip6}
			s.Attributes = map[string]string{"txtvers": "1", "path": "/index.html", "model": "MX-100"}
		}
	}
	// In no order: what comes first may be what names no MAC.
	rand.New(rand.NewPCG(uint64(from), 1)).Shuffle(len(out), func(a, b int) { out[a], out[b] = out[b], out[a] })
	return out
}

func heap() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// BenchmarkRegistry fills an inventory with 100,000 devices of ten sightings
// each, refreshes all of them, and lists. The floor, in the same run, is a Go
// map that holds the same sightings by their ID and does nothing else.
func BenchmarkRegistry(b *testing.B) {
	for range b.N {
		now := time.Now()
		start := heap()
		plain := make(map[lanfolk.ID]lanfolk.Sighting)
		var floorNew, floorAgain time.Duration
		for _, took := range []*time.Duration{&floorNew, &floorAgain} {
			for from := 0; from < officeDevices; from += officeChunk {
				s := officeSightings(from, from+officeChunk, now)
				t := time.Now()
				for n := range s {
					plain[s[n].ID()] = s[n]
				}
				*took += time.Since(t)
			}
		}
		floorBytes := heap() - start
		runtime.KeepAlive(plain)

		start = heap()
		r := lanfolk.NewRegistry(lanfolk.RegistryOptions{MaxPerSource: 1000})
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		fill := func(now time.Time) (took time.Duration) {
			for from := 0; from < officeDevices; from += officeChunk {
				s := officeSightings(from, from+officeChunk, now)
				want := r.Stats().Observed + uint64(len(s))
				t := time.Now()
				r.Observe(s...)
				for r.Stats().Observed < want {
					time.Sleep(100 * time.Microsecond)
				}
				took += time.Since(t)
			}
			return took
		}
		fresh := fill(now)
		bytes := heap() - start
		again := fill(now.Add(time.Microsecond))

		t := time.Now()
		r.Devices(lanfolk.Filter{})
		first := time.Since(t)
		t = time.Now()
		devices := r.Devices(lanfolk.Filter{})
		list := time.Since(t)
		if len(devices) != officeDevices || len(devices[7].Services) != 5 || len(devices[7].MACs) != 1 || len(devices[7].Names) == 0 {
			b.Fatalf("%d devices, the eighth is %+v", len(devices), devices[7])
		}
		shown := heap() - start
		st := r.Stats()
		if st.DroppedQueue+st.DroppedSource+st.DroppedFull+st.Refused+st.Clipped > 0 || st.Refreshed != officeDevices*sightingsEach {
			b.Fatalf("%+v", st)
		}
		cancel()
		if err := <-done; err != nil {
			b.Fatal(err)
		}

		const n = officeDevices * sightingsEach
		b.ReportMetric(n/fresh.Seconds(), "new/s")
		b.ReportMetric(n/again.Seconds(), "refreshed/s")
		b.ReportMetric(fresh.Seconds()/floorNew.Seconds(), "new/map")
		b.ReportMetric(again.Seconds()/floorAgain.Seconds(), "refreshed/map")
		b.ReportMetric(bytes/officeDevices, "B/device")
		b.ReportMetric(shown/officeDevices, "B/device-listed")
		b.ReportMetric(bytes/floorBytes, "B/map-B")
		b.ReportMetric(float64(first.Milliseconds()), "ms-first-list")
		b.ReportMetric(float64(list.Microseconds())/1000, "ms-list")
		b.ReportMetric(float64(st.Rejoins)/officeDevices, "rejoins/device")
	}
}
