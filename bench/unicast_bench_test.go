//go:build linux

package bench

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnssd/unicast"
	"github.com/lanfolk/lanfolk/dnssd/zone"
	"github.com/lanfolk/lanfolk/test/lab"
)

// advertDomain is where the adverts of BenchmarkUnicast are.
const advertDomain = "studio.test"

// adverts returns the records of many NMOS adverts, each on a host of its own.
func adverts() (lines []string) {
	for i := range many {
		lines = append(lines,
			fmt.Sprintf(`_nmos-netctrl._tcp PTR Control\ %03d._nmos-netctrl._tcp`, i),
			fmt.Sprintf(`Control\ %03d._nmos-netctrl._tcp SRV 0 0 %d ctl-%03d`, i, 8000+i, i),
			fmt.Sprintf(`Control\ %03d._nmos-netctrl._tcp TXT "api_proto=http" "api_ver=v1.0" "api_auth=false" "pri=%d"`, i, i),
			fmt.Sprintf(`ctl-%03d A 10.99.7.%d`, i, 1+i))
	}
	return lines
}

// masqueraded returns the same as options of dnsmasq.
func masqueraded() (options []string) {
	for i := range many {
		instance := fmt.Sprintf("Control-%03d._nmos-netctrl._tcp.%s", i, advertDomain)
		options = append(options,
			fmt.Sprintf("--ptr-record=_nmos-netctrl._tcp.%s,%s", advertDomain, instance),
			fmt.Sprintf("--srv-host=%s,ctl-%03d.%s,%d", instance, i, advertDomain, 8000+i),
			fmt.Sprintf("--txt-record=%s,api_proto=http,api_ver=v1.0,api_auth=false,pri=%d", instance, i),
			fmt.Sprintf("--host-record=ctl-%03d.%s,10.99.7.%d", i, advertDomain, 1+i))
	}
	return append(options, "--local=/"+advertDomain+"/")
}

// BenchmarkUnicast measures how long a browser with nothing in its cache takes to
// find and resolve 200 NMOS adverts in unicast DNS, from its start to its
// Settled event, and how many queries that takes. Beside it a bare loop sends
// the queries that can't be done without, one for the adverts and two for each,
// with 16 sockets at a time, and reads the answers. They take turns. It sends one
// more than we say, for the adverts don't fit into a packet.
func BenchmarkUnicast(b *testing.B) {
	lab.Require(b, "root", "ip")
	b.Run("bind=200", func(b *testing.B) {
		lookUp(b, func(h *lab.Host) {
			h.BIND(lab.BIND{Zones: []lab.Zone{{Name: advertDomain, Records: adverts()}}, Options: []string{"max-records-per-type 0;"}})
		})
	})
	b.Run("dnsmasq=200", func(b *testing.B) {
		lookUp(b, func(h *lab.Host) { h.Dnsmasq(masqueraded()...) })
	})
	// Our own zone sends all of it along with the list of adverts.
	b.Run("zone=200", func(b *testing.B) {
		lookUp(b, func(h *lab.Host) {
			startRole(h, "dns-zone", netip.AddrPortFrom(h.Links[0].V4, unicast.DefaultPort).String()).WaitText(5*time.Second, "ready")
		})
	})
}

// looked is what a role says about one round.
type looked struct {
	Took    time.Duration
	Queries int
	Found   int
}

func lookUp(b *testing.B, serve func(*lab.Host)) {
	l := lab.New(b)
	a := l.Subnet("a", "10.99.0.0/16")
	server, desk := l.Host("server").Join(a), l.Host("desk").Join(a)
	serve(server)
	addr := netip.AddrPortFrom(server.Link(a).V4, unicast.DefaultPort).String()
	run := func(role string) []looked {
		p := startRole(desk, role, addr)
		if code := p.Wait(30 * time.Second); code != 0 {
			b.Fatalf("%s: exit %d: %s", role, code, p.Stderr())
		}
		var out []looked
		if err := json.Unmarshal([]byte(p.Stdout()), &out); err != nil {
			b.Fatalf("%s: %v: %s", role, err, p.Stdout())
		}
		return out
	}
	for b.Loop() {
		var ours, floor []looked
		for range rounds {
			ours, floor = append(ours, run("dns-browse")...), append(floor, run("dns-loop")...)
		}
		for _, o := range slices.Concat(ours, floor) {
			if o.Found != many {
				b.Errorf("found %d of %d", o.Found, many)
			}
		}
		mine, bare := median(ours), median(floor)
		b.ReportMetric(mine.Took.Seconds()*1000, "lanfolk-ms")
		b.ReportMetric(slices.MaxFunc(ours, byTime).Took.Seconds()*1000, "lanfolk-worst-ms")
		b.ReportMetric(float64(mine.Queries), "lanfolk-queries")
		b.ReportMetric(bare.Took.Seconds()*1000, "loop-ms")
		b.ReportMetric(float64(bare.Queries), "loop-queries")
		b.ReportMetric(mine.Took.Seconds()/bare.Took.Seconds(), "lanfolk/loop")
	}
	b.ReportMetric(0, "ns/op") // it would be the sum of everything above
}

func byTime(a, b looked) int { return cmp.Compare(a.Took, b.Took) }

func median(l []looked) looked {
	l = slices.SortedFunc(slices.Values(l), byTime)
	return l[len(l)/2]
}

// turns is how often a role does its work.
const turns = 5

// roleDNSBrowse browses with a new source each time.
func roleDNSBrowse(args []string) error {
	return looks(func() (found, queries int, err error) {
		src := &unicast.Source{Servers: unicast.Servers{Addrs: []netip.AddrPort{netip.MustParseAddrPort(args[0])}, Dial: (&net.Dialer{}).DialContext}}
		b := dnssd.Browser{Source: src, Type: "_nmos-netctrl._tcp", Domain: advertDomain, Resolve: true, Once: true}
		for ev, err := range b.Events(context.Background()) {
			if err != nil {
				return 0, 0, err
			}
			if ev.Op == dnssd.Add && ev.Resolved && len(ev.TXT) == 4 {
				found++
			}
		}
		return found, int(src.Stats().Queries), nil
	})
}

// roleDNSZone serves the adverts until it is ended.
func roleDNSZone(args []string) error {
	z, err := zone.New(zone.Config{Domain: advertDomain}, time.Now())
	if err != nil {
		return err
	}
	for i := range many {
		name := fmt.Sprintf("Control %03d", i)
		if err := z.Put(time.Now(), name, zone.Service{
			Name: name, Type: "_nmos-netctrl._tcp", TTL: time.Minute,
			Targets: []dnssd.Target{{Host: fmt.Sprintf("ctl-%03d", i), Port: uint16(8000 + i), Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 99, 7, byte(1 + i)})}}},
			TXT:     []dnssd.TXT{{"api_proto=http", "api_ver=v1.0", "api_auth=false", fmt.Sprintf("pri=%d", i)}},
		}); err != nil {
			return err
		}
	}
	udp, err := net.ListenPacket("udp", args[0])
	if err != nil {
		return err
	}
	tcp, err := net.Listen("tcp", args[0])
	if err != nil {
		return err
	}
	s := &zone.Server{Zones: []*zone.Zone{z}}
	go s.Serve(context.Background(), tcp) // the bench would tell if it failed
	fmt.Println("ready")
	return s.ServePacket(context.Background(), udp)
}

// roleDNSLoop sends the same queries and reads the answers.
func roleDNSLoop(args []string) error {
	server := args[0]
	ask := func(c *dns.Client, conn *dns.Conn, name string, t uint16) (*dns.Msg, error) {
		q := new(dns.Msg).SetQuestion(name, t)
		q.SetEdns0(1232, false)
		a, _, err := c.ExchangeWithConn(q, conn)
		return a, err
	}
	return looks(func() (found, queries int, err error) {
		udp, tcp := &dns.Client{}, &dns.Client{Net: "tcp"}
		const typ = "_nmos-netctrl._tcp." + advertDomain + "."
		var list *dns.Msg
		for _, c := range []*dns.Client{udp, tcp} {
			conn, err := c.Dial(server)
			if err != nil {
				return 0, 0, err
			}
			list, err = ask(c, conn, typ, dns.TypePTR)
			conn.Close()
			queries++
			if err != nil {
				return 0, 0, err
			}
			if !list.Truncated {
				break
			}
		}
		type question struct {
			name string
			t    uint16
		}
		questions := make(chan question, 2*len(list.Answer))
		for _, rr := range list.Answer {
			for _, t := range []uint16{dns.TypeSRV, dns.TypeTXT} {
				questions <- question{rr.(*dns.PTR).Ptr, t}
				queries++
			}
		}
		close(questions)
		var mu sync.Mutex
		var all sync.WaitGroup
		for range 16 {
			all.Go(func() {
				conn, e := udp.Dial(server)
				n := 0
				for q := range questions {
					if e != nil {
						break
					}
					var a *dns.Msg
					if a, e = ask(udp, conn, q.name, q.t); e == nil && q.t == dns.TypeSRV {
						n += len(a.Answer)
					}
				}
				mu.Lock()
				found += n
				if err == nil {
					err = e
				}
				mu.Unlock()
			})
		}
		all.Wait()
		return found, queries, err
	})
}

func looks(look func() (found, queries int, err error)) error {
	var out []looked
	for range turns {
		start := time.Now()
		found, queries, err := look()
		if err != nil {
			return err
		}
		out = append(out, looked{time.Since(start), queries, found})
		time.Sleep(50 * time.Millisecond)
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}
