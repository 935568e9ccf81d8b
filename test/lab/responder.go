package lab

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/bpf"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// Responder says what a small mDNS responder publishes on one link by IPv4. It
// is for what avahi-daemon can't do: short TTLs, falling silent, and hundreds
// of hosts in one process. It neither probes nor defends its names, and it
// is built on a DNS library that lanfolk's own mDNS doesn't use.
type Responder struct {
	HostName string // without domain, "" for the host's own
	// Address is that of the host, one of those that the link has. The zero Addr
	// is Link.V4. So one namespace can hold a crowd: bridges and the kernel's queues
	// lose packets that are for a thousand of them.
	Address  netip.Addr
	Services []Service
	// Records are published beside those that follow from Services, as they are:
	// what they say may be wrong. A TXT record that no library would write is given
	// as dns.RFC3597. PTR records are shared, all others are unique.
	Records []dns.RR
	TTL     uint32 // of every record but Records, in seconds; 0 for 120
	// PointerTTL is that of PTR and TXT records, 0 for TTL. RFC 6762 §10
	// recommends 4,500 s for these and 120 s for what holds a host's name.
	PointerTTL uint32
	// Quiet leaves the announcements at the start out: it speaks only when asked.
	Quiet bool
	// Bare leaves out the additional records that RFC 6763 §12 recommends: it
	// answers with what was asked for alone.
	Bare bool
}

// RunningResponder answers until it is silenced or stopped.
type RunningResponder struct {
	link    *Link
	pc      *ipv4.PacketConn
	conn    net.PacketConn
	address netip.Addr
	records []dns.RR
	bare    bool
	ptrs    map[dns.RR]bool // shared records (RFC 6762 §2), that others may have, too
	done    chan struct{}
	close   func()

	mu        sync.Mutex
	truncated map[string]*dns.Msg // queries by source whose known answers are still coming
}

// Where mDNS is spoken (RFC 6762 §3).
var (
	mdnsGroup  = netip.MustParseAddrPort("224.0.0.251:5353")
	mdnsGroup6 = netip.MustParseAddrPort("[ff02::fb]:5353")
)

// Respond starts a responder on the link.
func (k *Link) Respond(r Responder) *RunningResponder {
	t := k.host.lab.t
	t.Helper()
	rr := &RunningResponder{link: k, done: make(chan struct{}), ptrs: make(map[dns.RR]bool), truncated: make(map[string]*dns.Msg), bare: r.Bare}
	rr.close = sync.OnceFunc(func() {
		rr.conn.Close()
		<-rr.done
	})
	if err := rr.build(r); err != nil {
		t.Fatalf("lab: responder on %s: %v", k, err)
	}
	if err := k.host.ns.do(rr.listen); err != nil {
		t.Fatalf("lab: responder on %s: %v", k, err)
	}
	t.Cleanup(rr.close)
	go rr.run()
	if !r.Quiet {
		rr.send(rr.records, net.UDPAddrFromAddrPort(mdnsGroup), 1)
	}
	return rr
}

// Silence ends the responder without a goodbye, as a host does that is
// switched off.
func (r *RunningResponder) Silence() { r.close() }

// Stop takes everything back with TTL 0 (RFC 6762 §10.1) and ends the
// responder.
func (r *RunningResponder) Stop() {
	r.send(r.records, net.UDPAddrFromAddrPort(mdnsGroup), 0)
	r.close()
}

func (r *RunningResponder) build(o Responder) error {
	if o.HostName == "" {
		o.HostName = r.link.host.Name
	}
	r.address = o.Address
	if !r.address.IsValid() {
		r.address = r.link.V4
	}
	if o.TTL == 0 {
		o.TTL = 120
	}
	if o.PointerTTL == 0 {
		o.PointerTTL = o.TTL
	}
	host := label(o.HostName) + ".local."
	header := func(name string, t uint16, shared bool) dns.RR_Header {
		class := uint16(dns.ClassINET)
		if !shared {
			class |= 1 << 15 // cache-flush (RFC 6762 §10.2)
		}
		ttl := o.TTL
		if t == dns.TypePTR || t == dns.TypeTXT {
			ttl = o.PointerTTL
		}
		return dns.RR_Header{Name: name, Rrtype: t, Class: class, Ttl: ttl}
	}
	add := func(rr dns.RR, shared bool) {
		r.records = append(r.records, rr)
		if shared {
			r.ptrs[rr] = true
		}
	}
	add(&dns.A{Hdr: header(host, dns.TypeA, false), A: r.address.AsSlice()}, false)
	if r.link.V6.IsValid() && !o.Address.IsValid() {
		add(&dns.AAAA{Hdr: header(host, dns.TypeAAAA, false), AAAA: r.link.V6.AsSlice()}, false)
	}
	for _, s := range o.Services {
		typ := s.Type + ".local."
		name := label(s.Name) + "." + typ
		add(&dns.PTR{Hdr: header("_services._dns-sd._udp.local.", dns.TypePTR, true), Ptr: typ}, true)
		add(&dns.PTR{Hdr: header(typ, dns.TypePTR, true), Ptr: name}, true)
		for _, sub := range s.Subtypes {
			add(&dns.PTR{Hdr: header(sub+"._sub."+typ, dns.TypePTR, true), Ptr: name}, true)
		}
		target := host
		if s.Host != "" {
			target = dns.Fqdn(s.Host)
		}
		add(&dns.SRV{Hdr: header(name, dns.TypeSRV, false), Port: s.Port, Target: target}, false)
		txt := s.TXT
		if len(txt) == 0 {
			txt = []string{""} // RFC 6763 §6.1
		}
		add(&dns.TXT{Hdr: header(name, dns.TypeTXT, false), Txt: txt}, false)
	}
	// Names are compared as text: they must look as those of questions do.
	for i, rr := range r.records {
		b := make([]byte, 65536)
		n, err := dns.PackRR(rr, b, 0, nil, false)
		if err != nil {
			return fmt.Errorf("record %v: %w", rr, err)
		}
		if r.records[i], _, err = dns.UnpackRR(b[:n], 0); err != nil {
			return fmt.Errorf("record %v: %w", rr, err)
		}
		if r.ptrs[rr] {
			delete(r.ptrs, rr)
			r.ptrs[r.records[i]] = true
		}
	}
	for _, rr := range o.Records {
		rr = dns.Copy(rr)
		shared := rr.Header().Rrtype == dns.TypePTR
		if !shared {
			rr.Header().Class |= 1 << 15
		}
		add(rr, shared)
	}
	return nil
}

// label escapes one label for the DNS library.
func label(s string) string {
	return strings.NewReplacer(`\`, `\\`, `.`, `\.`, `"`, `\"`, `;`, `\;`, `(`, `\(`, `)`, `\)`, `@`, `\@`, `$`, `\$`).Replace(s)
}

// sharedPort opens port 5353 beside others that hold it.
func sharedPort(network string) (net.PacketConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		cerr := c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
			if err == nil {
				err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
			}
		})
		return errors.Join(cerr, err)
	}}
	return lc.ListenPacket(context.Background(), network, ":5353")
}

// holdPort holds port 5353 of this thread's namespace, and reads nothing.
func holdPort(cleanup func(func())) error {
	for _, network := range []string{"udp4", "udp6"} {
		conn, err := sharedPort(network)
		if err != nil {
			return err
		}
		cleanup(func() { conn.Close() })
	}
	return nil
}

func (r *RunningResponder) listen() error {
	conn, err := sharedPort("udp4")
	if err != nil {
		return err
	}
	r.conn, r.pc = conn, ipv4.NewPacketConn(conn)
	ifi := &net.Interface{Index: r.link.Index, Name: r.link.Name}
	if err = r.pc.JoinGroup(ifi, &net.UDPAddr{IP: mdnsGroup.Addr().AsSlice()}); err == nil {
		err = r.pc.SetMulticastInterface(ifi)
	}
	if err == nil {
		err = r.pc.SetMulticastTTL(255)
	}
	if err == nil {
		err = r.pc.SetMulticastLoopback(false)
	}
	if err == nil {
		err = r.pc.SetBPF(queriesOnly())
	}
	if err != nil {
		conn.Close()
	}
	return err
}

// queriesOnly lets queries pass: of a thousand responders each would hear the
// answers of all.
func queriesOnly() []bpf.RawInstruction {
	const flags = 8 + 2 // of the DNS header, behind the UDP header
	f, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: flags, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x80, SkipTrue: 1},
		bpf.RetConstant{Val: 1 << 16},
		bpf.RetConstant{Val: 0},
	})
	if err != nil {
		panic(err) // can't be: these are well-formed
	}
	return f
}

func (r *RunningResponder) run() {
	defer close(r.done)
	buf := make([]byte, 9000)
	for {
		n, from, err := r.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		var q dns.Msg
		if n < 12 || q.Unpack(buf[:n]) != nil || q.Response {
			continue
		}
		if r.collect(&q, from) {
			r.answer(&q, from)
		}
	}
}

// collect keeps a truncated query until its known answers have come, which
// follow in packets of their own (RFC 6762 §7.2). It says whether the message is
// a whole query.
func (r *RunningResponder) collect(q *dns.Msg, from net.Addr) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	source := from.String()
	if first := r.truncated[source]; first != nil && len(q.Question) == 0 {
		first.Answer = append(first.Answer, q.Answer...)
		return false
	}
	if !q.Truncated {
		return true
	}
	r.truncated[source] = q
	time.AfterFunc(400*time.Millisecond+rand.N(100*time.Millisecond), func() {
		r.mu.Lock()
		if r.truncated[source] == q {
			delete(r.truncated, source)
		}
		r.mu.Unlock()
		r.answer(q, from)
	})
	return false
}

// answer answers a question by RFC 6762 §6: what the asker knows already is
// left out, shared records come after a random pause, and addresses and the
// like come along as additional records.
func (r *RunningResponder) answer(q *dns.Msg, from net.Addr) {
	var answers []dns.RR
	unicast, shared := len(q.Question) > 0, false
	for _, question := range q.Question {
		unicast = unicast && question.Qclass&(1<<15) != 0
		for _, rr := range r.records {
			h := rr.Header()
			if !strings.EqualFold(h.Name, question.Name) || (question.Qtype != h.Rrtype && question.Qtype != dns.TypeANY) || known(q.Answer, rr) {
				continue
			}
			answers = append(answers, rr)
			shared = shared || r.ptrs[rr]
		}
	}
	if len(answers) == 0 {
		return
	}
	to := net.Addr(net.UDPAddrFromAddrPort(mdnsGroup))
	legacy := false
	if udp, ok := from.(*net.UDPAddr); ok && (unicast || udp.Port != 5353) {
		to, legacy = from, udp.Port != 5353
	}
	reply := func() { r.reply(q, answers, to, legacy) }
	if shared && !legacy {
		time.AfterFunc(20*time.Millisecond+rand.N(100*time.Millisecond), reply)
		return
	}
	reply()
}

func (r *RunningResponder) reply(q *dns.Msg, answers []dns.RR, to net.Addr, legacy bool) {
	if !legacy {
		r.send(answers, to, 1)
		return
	}
	// A plain resolver gets its own question back (RFC 6762 §6.7).
	m := new(dns.Msg)
	m.SetReply(q)
	m.Authoritative = true
	for _, rr := range answers {
		rr = dns.Copy(rr)
		rr.Header().Class &^= 1 << 15
		rr.Header().Ttl = min(rr.Header().Ttl, 10)
		m.Answer = append(m.Answer, rr)
	}
	r.write(m, to)
}

// send sends records, and what belongs to them as additional ones, with their
// TTL times factor, 1 or 0.
func (r *RunningResponder) send(answers []dns.RR, to net.Addr, factor uint32) {
	m := new(dns.Msg)
	m.Response, m.Authoritative, m.Compress = true, true, true
	has := make(map[dns.RR]bool)
	for _, rr := range answers {
		has[rr] = true
		rr = dns.Copy(rr)
		rr.Header().Ttl *= factor
		m.Answer = append(m.Answer, rr)
	}
	for i := 0; !r.bare && i < len(answers) && len(answers) < len(r.records); i++ {
		var about string
		switch rr := answers[i].(type) {
		case *dns.PTR:
			about = rr.Ptr
		case *dns.SRV:
			about = rr.Target
		}
		for _, rr := range r.records {
			if !has[rr] && !r.ptrs[rr] && rr.Header().Name == about {
				has[rr] = true
				m.Extra = append(m.Extra, rr)
				answers = append(answers[:len(answers):len(answers)], rr) // its own target follows
			}
		}
	}
	r.write(m, to)
}

// write sends a message in packets of at most 1,400 bytes.
func (r *RunningResponder) write(m *dns.Msg, to net.Addr) {
	b, err := m.Pack()
	if err == nil && len(b) <= 1400 {
		r.writePacket(b, to)
		return
	}
	if len(m.Answer) < 2 {
		m.Extra = nil
		if b, err = m.Pack(); err == nil {
			r.writePacket(b, to)
		}
		return
	}
	half := *m
	m.Extra, half.Extra = nil, nil
	cut := len(m.Answer) / 2
	m.Answer, half.Answer = m.Answer[:cut], m.Answer[cut:]
	r.write(m, to)
	r.write(&half, to)
}

func (r *RunningResponder) writePacket(b []byte, to net.Addr) {
	from := &ipv4.ControlMessage{Src: r.address.AsSlice(), IfIndex: r.link.Index}
	_, _ = r.pc.WriteTo(b, from, to) // the link may be down
}

// known says whether the asker knows the record with at least half of its TTL
// left (RFC 6762 §7.1).
func known(list []dns.RR, rr dns.RR) bool {
	for _, k := range list {
		plain := dns.Copy(rr)
		plain.Header().Class &^= 1 << 15
		if dns.IsDuplicate(k, plain) && k.Header().Ttl >= rr.Header().Ttl/2 {
			return true
		}
	}
	return false
}
