package bench

import (
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/lanfolk/lanfolk"
)

// day yields what one day of a network of n devices leaves to be kept: each row once,
// with its counts. The lengths and the variety of fingerprints are those of real
// captures of homes, offices and 31 IoT devices; the mix is that of a site with a fleet:
//
//	7 of 10  things: cameras, plugs, printers, set-top boxes. They speak with some 8
//	         servers, and announce themselves by mDNS or SSDP.
//	3 of 10  people's: telephones and computers. Each uses 150 names a day, of 8,000
//	         that are used here at all, a few of them by nearly everyone.
//
// A name that is used leaves a DNS question, the router's answer, and a ClientHello by TLS
// or, one in three, by QUIC. Each device asks for two addresses by ARP and answers for
// its own, does DHCP, is a member of 3 groups, and opens TCP in one or two ways.
// Requests go to the router, announcements to all.
func day(n int) iter.Seq[lanfolk.Observation] {
	return func(yield func(lanfolk.Observation) bool) {
		random := rand.New(rand.NewPCG(1, 2))
		router := lanfolk.MAC{0x02, 0, 0x5e, 0, 0, 1}
		popular := rand.NewZipf(random, 1.2, 20, 7999)
		ok := true
		for host := 0; host < n && ok; host++ {
			mac := lanfolk.MAC{0x02, byte(host % 40), 0x5e, 1, byte(host >> 8), byte(host)}
			ip := netip.AddrFrom4([4]byte{10, 1, byte(host >> 8), byte(host)})
			gateway := netip.AddrFrom4([4]byte{10, 1, 255, 254})
			keep := func(protocol string, response bool, query, fingerprint string, src, dst lanfolk.MAC, from, to netip.Addr, count float64) {
				if !ok {
					return
				}
				class := lanfolk.Unicast
				switch {
				case dst == lanfolk.MAC{255, 255, 255, 255, 255, 255}:
					class = lanfolk.Broadcast
				case dst.Group():
					class = lanfolk.Multicast
				}
				first := time.Unix(1_700_000_000, random.Int64N(int64(12*time.Hour))).UTC()
				ok = yield(lanfolk.Observation{
					ObservationKey: lanfolk.ObservationKey{
						Link: "eth0", Protocol: protocol, Response: response, Query: query, Fingerprint: fingerprint,
						SrcMAC: src, DstMAC: dst, DstClass: class,
					},
					SrcIP: from, DstIP: to, First: first, Last: first.Add(time.Duration(random.Int64N(int64(12 * time.Hour)))),
					Count: uint64(1 + random.ExpFloat64()*count),
				})
			}
			all := lanfolk.MAC{255, 255, 255, 255, 255, 255}
			group := lanfolk.MAC{1, 0, 0x5e, 0, 0, 0xfb}
			groupIP := netip.AddrFrom4([4]byte{224, 0, 0, 251})
			none := netip.Addr{}
			person, kind := host%10 < 3, host%40
			names := 8
			if person {
				names = 150
			}
			used := make(map[string]bool)
			for len(used) < names {
				name := fmt.Sprintf("service-%d.region-%d.example.com", kind*10+len(used), kind%4)
				if person {
					k := popular.Uint64()
					name = fmt.Sprintf("www%d.site-%d.%s.example", k%3, k, []string{"cdn", "shop", "news-and-more"}[k%3])
				}
				if used[name] {
					continue
				}
				used[name] = true
				keep("dns", false, name, "dns1:q;rd;edns=1232", mac, router, ip, gateway, 20)
				keep("dns", true, name, "", router, mac, gateway, ip, 20)
				hello, protocol := fmt.Sprintf("t13d15%02dh2_8daaf6152771_%012x", kind%16, kind*7919), "tls"
				if person && len(used)%3 == 0 {
					hello, protocol = fmt.Sprintf("q13d03%02dh3_55b375c5d22e_%012x", kind%16, kind*7919), "quic"
				}
				keep(protocol, false, name, hello, mac, router, ip, netip.AddrFrom4([4]byte{198, 51, byte(len(used)), 7}), 10)
			}
			keep("arp", false, gateway.String(), "arp1:request;tha=zero", mac, all, ip, none, 1000)
			keep("arp", false, ip.Next().String(), "arp1:request;tha=zero", mac, all, ip, none, 3)
			keep("arp", true, ip.String(), "arp1:reply", mac, router, ip, none, 1000)
			keep("arp", true, gateway.String(), "arp1:reply", router, mac, gateway, none, 1000)
			keep("arp", false, ip.String(), "arp1:request;tha=zero", router, all, gateway, none, 20)
			name := fmt.Sprintf("device-%d", host)
			keep("dhcp", false, name, fmt.Sprintf("dhcp1:type=1;opts=53,61,50,12,55,60;prl=1,3,6,15,28,%d;vendor=udhcp 1.%d", kind, kind), mac, all, none, none, 1)
			keep("dhcp", false, name, fmt.Sprintf("dhcp1:type=3;opts=53,61,50,54,12,55,60;prl=1,3,6,15,28,%d;vendor=udhcp 1.%d", kind, kind), mac, all, none, none, 2)
			keep("dhcp", true, "", "dhcp1:type=5;opts=53,54,51,1,3,6", router, mac, gateway, ip, 3)
			for i, g := range []string{"224.0.0.251", "239.255.255.250", "224.0.0.252"} {
				keep("igmp", true, g, "igmp1:report;version=3;mode=to-exclude", mac, lanfolk.MAC{1, 0, 0x5e, 0, 0, byte(i)}, ip, groupIP, 400)
			}
			keep("tcp", false, "", "tcp1:q;ttl=64;win=64240;mss=1460;scale=7;opts=2,4,8,1,3", mac, router, ip, gateway, math.Pow(10, 3))
			keep("tcp", true, "", "tcp1:a;ttl=64;win=65160;mss=1460;scale=7;opts=2,4,8,1,3", router, mac, gateway, ip, 1000)
			for i, t := range []string{"_http._tcp.local", "_ipp._tcp.local", "_airplay._tcp.local", "_googlecast._tcp.local", "_hap._tcp.local"} {
				if person || (host+i)%5 == 0 {
					keep("mdns", false, t, fmt.Sprintf("mdns1:q=%s/PTR/QM,_companion-link._tcp.local/PTR/QM,_sleep-proxy._udp.local/PTR/QM;edns=1440;opt=4", t), mac, group, ip, groupIP, 300)
				}
			}
			answer := fmt.Sprintf("mdns1:a=*._http._tcp.local/TXT/4500{model+version+id%d+features},_http._tcp.local/PTR/4500,*._http._tcp.local/SRV/120,*.local/AAAA/120,*.local/A/120,_services._dns-sd._udp.local/PTR/4500", kind)
			for _, q := range []string{name + ".local", name + "._http._tcp.local", "_http._tcp.local", "_services._dns-sd._udp.local"} {
				keep("mdns", true, q, answer, mac, group, ip, groupIP, 60)
			}
			if kind < 15 {
				for _, nt := range []string{"upnp:rootdevice", "urn:schemas-upnp-org:device:MediaRenderer:1", fmt.Sprintf("uuid:00000000-0000-1000-8000-%012x", host)} {
					keep("ssdp", true, nt, fmt.Sprintf("ssdp1:notify;server=Linux/4.9 UPnP/1.0 Vendor%d/1.0;nts=ssdp:alive;max-age=1800;headers=HOST,CACHE-CONTROL,LOCATION,NT,NTS,SERVER,USN", kind), mac, group, ip, groupIP, 48)
				}
			}
		}
	}
}
