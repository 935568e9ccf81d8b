//go:build linux

package bench

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/mdns"
	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/reflector"
)

// The bench starts its own program again in the hosts of its lab, in one of
// these roles.
func roles() map[string]func(args []string) error {
	return map[string]func([]string) error{
		"send": roleSend, "receive": roleReceive, "reflect": roleReflect, "copy": roleCopy, "dns-browse": roleDNSBrowse, "dns-loop": roleDNSLoop,
		"dns-zone":    roleDNSZone,
		"nmos-select": roleNMOSSelect, "nmos-failover": roleNMOSFailOver, "tged-load": roleTGEDLoad,
		"blast": roleBlast, "hear": roleHear,
		"reverse-hub":     roleReverseHub,
		"keeping-hub":     roleKeepingHub,
		"syncthing-serve": roleSyncthingServe, "syncthing-load": roleSyncthingLoad,
	}
}

// roleVariable names the role in the environment.
const roleVariable = "LANFOLK_BENCH_ROLE"

func runRole(role string, args []string) int {
	f := roles()[role]
	if f == nil {
		fmt.Fprintln(os.Stderr, "no role", role)
		return 2
	}
	if err := f(args); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

var mdnsGroup = netip.MustParseAddrPort("224.0.0.251:5353")

// answerSize is how long a packet of the load is, in bytes.
const answerSize = 418

// load makes answers that differ in their names: a PTR, SRV, TXT and A record
// each, with a number and a time in the TXT record.
type load struct {
	msg    []byte
	number []int // where the number stands as text
	stamp  int   // where the number and the time stand as bytes
}

const numberText = "0000000000"

func newLoad() *load {
	name := func(s string) dnswire.Name {
		n, err := dnswire.ParseName(s)
		if err != nil {
			panic(err)
		}
		return n
	}
	host := name("host-" + numberText + ".local")
	instance := name("printer-" + numberText + "._ipp._tcp.local")
	build := func(pad int) []byte {
		stamp := append([]byte("stamp="), make([]byte, 16)...)
		txt := append([]byte{byte(len(stamp))}, stamp...)
		for pad > 0 {
			n := min(pad, 200)
			txt = append(append(txt, byte(n-1)), slices.Repeat([]byte("x"), n-1)...)
			pad -= n
		}
		srv := append([]byte{0, 0, 0, 0, 0x02, 0x77}, host...)
		var b dnswire.Builder
		b.Reset(nil, dnswire.Header{Response: true, Authoritative: true}, 9000)
		b.Answer(dnswire.NewPTR(name("_ipp._tcp.local"), instance, 4500))
		b.Answer(dnswire.RR{Name: instance, Type: dnswire.TypeSRV, Class: dnswire.ClassIN, Flush: true, TTL: 120, Data: string(srv)})
		b.Answer(dnswire.RR{Name: instance, Type: dnswire.TypeTXT, Class: dnswire.ClassIN, Flush: true, TTL: 4500, Data: string(txt)})
		a := dnswire.NewAddr(host, netip.MustParseAddr("10.77.1.9"), 120)
		a.Flush = true
		b.Additional(a)
		return slices.Clone(b.Bytes())
	}
	msg := build(answerSize - len(build(0)))
	l := &load{msg: msg}
	for i := 0; i+len(numberText) <= len(msg); i++ {
		switch {
		case string(msg[i:i+len(numberText)]) == numberText:
			l.number = append(l.number, i)
		case string(msg[i:i+6]) == "stamp=":
			l.stamp = i + 6
		}
	}
	return l
}

// next makes msg the nth packet of the load.
func (l *load) next(n uint64) {
	for _, at := range l.number {
		v := n
		for i := len(numberText) - 1; i >= 0; i-- {
			l.msg[at+i] = byte('0' + v%10)
			v /= 10
		}
	}
	binary.BigEndian.PutUint64(l.msg[l.stamp:], n)
	binary.BigEndian.PutUint64(l.msg[l.stamp+8:], uint64(time.Now().UnixNano()))
}

// roleSend sends: rate, packets that go out at once, seconds, sources.
func roleSend(args []string) error {
	runtime.LockOSThread()
	var v [4]int
	for i := range v {
		n, err := strconv.Atoi(args[i])
		if err != nil {
			return err
		}
		v[i] = n
	}
	rate, burst, seconds, sources := v[0], v[1], v[2], v[3]
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	ifi, err := net.InterfaceByName("eth0")
	if err != nil {
		return err
	}
	for _, o := range [][3]int{
		{unix.SOL_SOCKET, unix.SO_REUSEADDR, 1},
		{unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP, 0},
		{unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, 255},
		{unix.SOL_SOCKET, unix.SO_SNDBUF, 4 << 20},
	} {
		if err := unix.SetsockoptInt(fd, o[0], o[1], o[2]); err != nil {
			return err
		}
	}
	if err := unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, &unix.IPMreqn{Ifindex: int32(ifi.Index)}); err != nil {
		return err
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: 5353}); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil {
		return err
	}
	to := &unix.SockaddrInet4{Port: 5353, Addr: mdnsGroup.Addr().As4()}
	oob := make([][]byte, sources)
	for i := range oob {
		oob[i] = unix.PktInfo4(&unix.Inet4Pktinfo{Ifindex: int32(ifi.Index), Spec_dst: [4]byte{10, 77, 1, byte(10 + i)}})
	}
	l := newLoad()
	gap := time.Duration(burst) * time.Second / time.Duration(rate)
	start := time.Now()
	total := uint64(rate * seconds)
	late := 0
	for n := uint64(0); n < total; {
		for range burst {
			l.next(n)
			if _, err := unix.SendmsgN(fd, l.msg, oob[n%uint64(sources)], to, 0); err != nil {
				return err
			}
			n++
		}
		at := start.Add(time.Duration(n) / time.Duration(burst) * gap)
		if d := time.Until(at); d > 0 {
			ts := unix.NsecToTimespec(int64(d))
			_ = unix.Nanosleep(&ts, nil)
		} else if d < -time.Millisecond {
			late++
		}
	}
	fmt.Printf("sent %d in %v, %d late\n", total, time.Since(start).Round(time.Millisecond), late)
	return nil
}

// received is what roleReceive prints.
type received struct {
	Packets, Distinct uint64
	Rewritten         uint64 // packets that aren't what was sent, byte for byte
	P50, P99, Max     time.Duration
}

// roleReceive hears until it is told to end.
func roleReceive([]string) error {
	c, err := listenOn("eth0")
	if err != nil {
		return err
	}
	l := newLoad()
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	go func() {
		<-ended
		time.Sleep(200 * time.Millisecond)
		c.Close()
	}()
	fmt.Println("ready")
	var r received
	seen := map[uint64]bool{}
	var times []time.Duration
	in := make([]packet.Datagram, 32)
	for {
		n, err := c.ReadBatch(in)
		if err != nil {
			break
		}
		for _, d := range in[:n] {
			at := l.stamp
			if len(d.Data) != answerSize {
				// The stamp stands somewhere else.
				r.Rewritten++
				if at = stampIn(d.Data); at < 0 {
					continue
				}
			}
			r.Packets++
			number := binary.BigEndian.Uint64(d.Data[at:])
			if seen[number] {
				continue
			}
			seen[number] = true
			times = append(times, d.Time.Sub(time.Unix(0, int64(binary.BigEndian.Uint64(d.Data[at+8:])))))
		}
	}
	r.Distinct = uint64(len(seen))
	if len(times) > 0 {
		slices.Sort(times)
		r.P50, r.P99, r.Max = times[len(times)/2], times[len(times)*99/100], times[len(times)-1]
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

func stampIn(b []byte) int {
	for i := 0; i+22 <= len(b); i++ {
		if string(b[i:i+6]) == "stamp=" {
			return i + 6
		}
	}
	return -1
}

func listenOn(name string) (*lan.Conn, error) {
	links, err := lan.Links()
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(links, func(l packet.Link) bool { return l.Name == name })
	if i < 0 {
		return nil, errors.New("no link " + name)
	}
	return lan.ListenMulticast(links[i], mdnsGroup)
}

// roleReflect is the reflector, with its guard and rules.
func roleReflect([]string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	rules, err := reflector.NewRules(reflector.RulesOptions{Deny: []string{"_smb._tcp", "_ssh._tcp"}})
	if err != nil {
		return err
	}
	r := &reflector.Reflector{Rules: rules}
	e := &mdns.Engine{
		Links: lan.WatchLinks,
		Listen: func(l packet.Link, group netip.AddrPort) (mdns.Conn, error) {
			return lan.ListenMulticast(l, group)
		},
		Relays: []mdns.Relay{r},
	}
	fmt.Println("ready")
	return e.Run(ctx)
}

// roleCopy is a bare loop that copies packets between two links, in batches,
// with no rules and no guard but for its own addresses.
func roleCopy(args []string) error {
	var conns []*ipv4.PacketConn
	own := map[string]bool{}
	for _, name := range args {
		ifi, err := net.InterfaceByName(name)
		if err != nil {
			return err
		}
		addrs, err := ifi.Addrs()
		if err != nil {
			return err
		}
		for _, a := range addrs {
			own[a.(*net.IPNet).IP.String()] = true
		}
		lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
			return raw.Control(func(fd uintptr) {
				_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
				_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 1<<20)
				_ = unix.BindToDevice(int(fd), name)
			})
		}}
		c, err := lc.ListenPacket(context.Background(), "udp4", "0.0.0.0:5353")
		if err != nil {
			return err
		}
		p := ipv4.NewPacketConn(c)
		if err := errors.Join(p.JoinGroup(ifi, &net.UDPAddr{IP: mdnsGroup.Addr().AsSlice()}), p.SetMulticastInterface(ifi), p.SetMulticastTTL(255)); err != nil {
			return err
		}
		conns = append(conns, p)
	}
	to := net.UDPAddrFromAddrPort(mdnsGroup)
	for i := range conns {
		go func() {
			in := make([]ipv4.Message, 32)
			for k := range in {
				in[k].Buffers = [][]byte{make([]byte, 9000)}
			}
			out := make([]ipv4.Message, 0, 32)
			for {
				n, err := conns[i].ReadBatch(in, 0)
				if err != nil {
					return
				}
				out = out[:0]
				for k := range in[:n] {
					if own[in[k].Addr.(*net.UDPAddr).IP.String()] {
						continue
					}
					out = append(out, ipv4.Message{Buffers: [][]byte{in[k].Buffers[0][:in[k].N]}, Addr: to})
				}
				for sent := 0; sent < len(out); {
					n, err := conns[1-i].WriteBatch(out[sent:], 0)
					if err != nil {
						break
					}
					sent += n
				}
			}
		}()
	}
	fmt.Println("ready")
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	<-ended
	return nil
}
