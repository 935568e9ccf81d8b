package judge_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/test/judge"
)

var (
	epoch   = time.Unix(1_700_000_000, 0)
	subject = netip.MustParseAddr("10.0.0.1")
	tester  = netip.MustParseAddr("10.0.0.2")
)

// capture reads packets written one a line:
//
//	MILLISECONDS d|t[:PORT] *|d|t[:PORT] [hops=N] [frag] MESSAGE
//
// from the host that is judged, d, or the tester, t, to the group or one of
// them. The message is as Pack takes it.
func capture(text string) []judge.Packet {
	var all []judge.Packet
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			all = append(all, packet(line))
		}
	}
	return all
}

func packet(line string) judge.Packet {
	f := strings.SplitN(line, " ", 4)
	ms, err := strconv.Atoi(f[0])
	if err != nil {
		panic(line)
	}
	p := judge.Packet{Time: epoch.Add(time.Duration(ms) * time.Millisecond), Src: address(f[1]), Dst: address(f[2]), TTL: 255}
	message := f[3]
	if rest, ok := strings.CutPrefix(message, "hops=1 "); ok {
		p.TTL, message = 1, rest
	}
	message, p.Fragmented = strings.CutPrefix(message, "frag ")
	if p.Data, err = judge.Pack(message); err != nil {
		panic(fmt.Sprintf("%s: %v", line, err))
	}
	return p
}

func address(s string) netip.AddrPort {
	host, port, _ := strings.Cut(s, ":")
	n, err := strconv.Atoi(port)
	if err != nil {
		n = 5353
	}
	a := map[string]netip.Addr{"d": subject, "t": tester, "*": netip.MustParseAddr("224.0.0.251"), "far": netip.MustParseAddr("224.0.0.1")}[host]
	return netip.AddrPortFrom(a, uint16(n))
}

// claim is how a host begins, and what the wrong captures are made of.
const claim = `
	100 d * q; ? nas.local ANY QU; ns nas.local. 120 A 10.0.0.1
	350 d * q; ? nas.local ANY QU; ns nas.local. 120 A 10.0.0.1
	600 d * q; ? nas.local ANY QU; ns nas.local. 120 A 10.0.0.1
	850 d * r; ! nas.local. 120 A 10.0.0.1
	1850 d * r; ! nas.local. 120 A 10.0.0.1
`

// service is one that is announced, too.
const service = `
	900 d * r; = _http._tcp.local. 4500 PTR a._http._tcp.local.
	1900 d * r; = _http._tcp.local. 4500 PTR a._http._tcp.local.
`

// idle makes a capture long enough to miss what doesn't come.
const idle = `
	90000 t * q; ? other.local A
`

func TestRightCapturePassesEveryRule(t *testing.T) {
	const text = claim + service + `
		50 t * q; ? _ipp._tcp.local PTR
		2500 d * q; ? _ipp._tcp.local PTR QU
		2540 t d r; = _ipp._tcp.local. 4500 PTR x._ipp._tcp.local.
		3500 d * q tc; ? _ipp._tcp.local PTR; = _ipp._tcp.local. 4499 PTR x._ipp._tcp.local.
		3501 d * q; = _ipp._tcp.local. 4499 PTR x._ipp._tcp.local.
		5000 t * q; ? nas.local A QU
		5001 d t r; ! nas.local. 120 A 10.0.0.1; +! nas.local. 120 NSEC nas.local. A
		6000 t * q; ? nas.local A
		6001 d * r; ! nas.local. 120 A 10.0.0.1
		6260 t * q; ? nas.local ANY QU; ns nas.local. 120 A 10.0.0.9
		6261 d * r; ! nas.local. 120 A 10.0.0.1
		7000 t * q; ? _http._tcp.local PTR
		7100 d * r; = _http._tcp.local. 4500 PTR a._http._tcp.local.
		8000 t:40000 * q id=77 rd; ? nas.local A
		8001 d t:40000 r id=77; ? nas.local A; = nas.local. 10 A 10.0.0.1
		9000 d * r; ! nas.local. 0 A 10.0.0.1; ! web.local. 0 A 10.0.0.1; = _http._tcp.local. 0 PTR a._http._tcp.local.
		4100 d * q; ? web.local ANY QU; ns web.local. 120 A 10.0.0.1; ns web.local. 120 A 10.0.0.2
		4350 d * q; ? web.local ANY QU; ns web.local. 120 A 10.0.0.1; ns web.local. 120 A 10.0.0.2
		4600 d * q; ? web.local ANY QU; ns web.local. 120 A 10.0.0.1
		4850 d * r; ! web.local. 120 A 10.0.0.1
		5850 d * r; ! web.local. 120 A 10.0.0.1
	` + idle
	s := judge.Subject{Is: judge.From(subject), Whole: true, DefaultTTLs: true, Starts: []time.Time{epoch.Add(2000 * time.Millisecond)}, Stopped: epoch.Add(9 * time.Second)}
	// The start at 2 s is one of asking alone.
	for _, f := range judge.Read(capture(text)).Judge(s, "probe first", "probe spacing") {
		t.Error(f)
	}
	s.Starts = nil
	for _, f := range judge.Read(capture(text)).Judge(s, "QU only at the start") {
		t.Error(f)
	}
}

// Every rule sees a capture that breaks it, and no other rule minds.
func TestEveryRuleSeesItsBreach(t *testing.T) {
	big := strings.Repeat("x", 250)
	big = strings.Repeat(`"`+big+`" `, 6)
	cases := []struct{ rule, text, want string }{
		{"header", `0 d * q id=7; ? a.local A`, "id: 7"},
		{"header", `0 d * q rd; ? a.local A`, "rd"},
		{"header", `0 d * r tc; ! nas.local. 120 A 10.0.0.1`, "tc"},
		{"header", `0 d * r rcode=3; ! nas.local. 120 A 10.0.0.1`, "NXDOMAIN"},
		{"port", `0 d:5354 * q; ? a.local A`, "port 5354"},
		{"group", `0 d far q; ? a.local A`, "224.0.0.1"},
		{"group", `0 d t q; ? a.local A`, "to one host"},
		{"hops", `0 d * hops=1 q; ? a.local A`, "limit 1"},
		{"size", `0 d * r; ! a.local. 4500 TXT ` + big + `; ! nas.local. 120 A 10.0.0.1`, "2 records"},
		{"size", `0 d * frag r; ! a.local. 4500 TXT a; ! nas.local. 120 A 10.0.0.1`, "2 records"},
		{"no question in a response", `0 d * r; ? nas.local A; ! nas.local. 120 A 10.0.0.1`, "1 questions"},
		{"no rival records in a message", `0 d * r; ! nas.local. 120 A 10.0.0.1; +! NAS.local. 120 A 10.0.0.1`, "twice"},
		{"no rival records in a message", `0 d * q; ? nas.local A; ? nas.local A`, "asked twice"},
		{"compression", `0 d * q plain; ? nas.local A; ? nas.local AAAA`, "would do"},
		{"query gap", "0 d * q; ? a.local A\n 980 d * q; ? A.local A", "again after 980ms"},
		{"QU only at the start", "0 d * q; ? a.local A\n 3000 d * q; ? b.local A QU", "long after"},
		{"QU only at the start", "0 d * q; ? a.local A QU\n 1000 d * q; ? a.local A QU", "again after 1s"},
		{"known answers", "0 d * q; ? a.local A; = a.local. 60 A 10.0.0.2", "nobody said"},
		{"known answers", "0 t * r; ! a.local. 120 A 10.0.0.2\n 9000 d * q; ? a.local A; = a.local. 120 A 10.0.0.2", "not what is left"},
		{"known answers", "0 t * r; ! a.local. 120 A 10.0.0.2\n 70000 d * q; ? a.local A; = a.local. 50 A 10.0.0.2", "less than half"},
		{"known answers", "0 t * r; ! a.local. 120 A 10.0.0.2\n 9000 d * q; ? a.local A; ! a.local. 111 A 10.0.0.2", "flush bit"},
		{"known answers", "0 t * r; ! a.local. 120 A 10.0.0.2\n 9000 d * q; ? b.local A; = a.local. 111 A 10.0.0.2", "no question"},
		{"truncation", "0 d * q tc; ? a.local A", "no more known answers"},
		{"truncation", "0 d * q tc; ? a.local A\n 900 d * q", "after 900ms"},
		{"truncation", "0 d * q", "follows none"},
		{"truncation", "0 d * q tc; ? a.local A\n 5 d * q; ? b.local A", "no more known answers"},
		{"probe content", `0 d * q; ? nas.local A QU; ns nas.local. 120 A 10.0.0.1`, "asks for A"},
		{"probe content", `0 d * q; ? nas.local ANY; ns nas.local. 120 A 10.0.0.1`, "no unicast"},
		{"probe content", `0 d * q; ? nas.local ANY QU; ns! nas.local. 120 A 10.0.0.1`, "flush bit"},
		{"probe content", `0 d * q; ? nas.local ANY QU; ? x.local ANY QU; ns nas.local. 120 A 10.0.0.1`, "nothing is proposed for x"},
		{"probe content", `0 d * q; ? nas.local ANY QU; ns nas.local. 120 A 10.0.0.1; ns x.local. 120 A 10.0.0.1`, "not asked for"},
		{"probe spacing", strings.Replace(claim, "350", "300", 1), "again after 200ms"},
		{"probe spacing", strings.Replace(claim, "600", "700", 1), "again after 350ms"},
		{"probe spacing", strings.Replace(claim, "850 d", "700 d", 1), "100ms after the last"},
		{"probe spacing", strings.Replace(claim, "100 d * q; ? nas.local ANY QU; ns nas.local. 120 A 10.0.0.1", "", 1), "after 2 probes"},
		{"probe spacing", strings.Replace(claim, "nas.local. 120 A 10.0.0.1", "nas.local. 120 A 10.0.0.2", 1), "after 2 probes"},
		{"probe first", "0 d * r; ! nas.local. 120 A 10.0.0.1\n 1000 d * r; ! nas.local. 120 A 10.0.0.1", "without probing"},
		{"probe first", strings.ReplaceAll(claim, "r; ! nas", "r; ! nas.local. 120 AAAA fd00::1; ! nas"), "propose"},
		{"announced twice", strings.Split(claim, "1850")[0] + idle, "isn't announced again"},
		{"announced twice", strings.Replace(claim, "1850", "9000", 1) + idle, "isn't announced again"},
		{"flush bit", claim + "2900 d * r; = nas.local. 120 A 10.0.0.1", "is false"},
		{"flush bit", strings.ReplaceAll(service, "=", "!"), "is true"},
		{"TTL", strings.ReplaceAll(service, "4500", "120"), "TTL 120"},
		{"TTL", claim + "2900 d * r; ! nas.local. 4500 A 10.0.0.1", "TTL 4500"},
		{"record rate", claim + "2500 d * r; ! nas.local. 120 A 10.0.0.1", "after 650ms"},
		{"record rate", claim + "2000 t * q; ? nas.local ANY QU; ns nas.local. 120 A 10.0.0.9\n2050 d * r; ! nas.local. 120 A 10.0.0.1", "after 200ms"},
		{"shared answer delay", service + "7000 t * q; ? _http._tcp.local PTR\n7001 d * r; = _http._tcp.local. 4500 PTR a._http._tcp.local.", "after 1ms"},
		{"unicast answer was asked for", claim + "5000 t * q; ? nas.local A\n5001 d t r; ! nas.local. 120 A 10.0.0.1", "to no question"},
		{"legacy answer", claim + "5000 t:4000 * q id=7; ? nas.local A\n5001 d t:4000 r id=7; ? nas.local A; = nas.local. 120 A 10.0.0.1", "TTL 120"},
		{"legacy answer", claim + "5000 t:4000 * q id=7; ? nas.local A\n5001 d t:4000 r id=7; = nas.local. 10 A 10.0.0.1", "0 questions"},
		{"NSEC", claim + "2900 d * r; ! nas.local. 120 A 10.0.0.1; +! nas.local. 120 NSEC nas.local. AAAA", "denies A"},
		{"NSEC", claim + "2900 d * r; ! nas.local. 120 A 10.0.0.1; +! nas.local. 120 NSEC x.local. A", "is another"},
		{"NSEC", claim + "2900 d * r; ! nas.local. 120 A 10.0.0.1; +! nas.local. 120 NSEC nas.local. A NSEC", "lists NSEC"},
		{"goodbye", claim + service + "9000 d * r; ! nas.local. 0 A 10.0.0.1", "no goodbye for 4 _http"},
	}
	seen := map[string]bool{"readable": true, "legacy answer's target": true} // below
	for _, c := range cases {
		s := judge.Subject{Is: judge.From(subject), DefaultTTLs: true, Early: 10 * time.Millisecond}
		switch c.rule {
		case "goodbye":
			s.Stopped = epoch.Add(9 * time.Second)
		case "probe first", "announced twice", "known answers", "QU only at the start":
			s.Whole = true
		}
		faults := judge.Read(capture(c.text)).Judge(s)
		if !slices.ContainsFunc(faults, func(f judge.Fault) bool { return f.Rule == c.rule && strings.Contains(f.String(), c.want) }) {
			t.Errorf("%s, %q: not seen in\n%s\nbut %v", c.rule, c.want, c.text, faults)
		}
		for _, f := range faults {
			if f.Rule != c.rule {
				t.Errorf("%s: also %v", c.rule, f)
			}
		}
		seen[c.rule] = true
	}
	for _, r := range judge.Rules() {
		if !seen[r.Name] {
			t.Errorf("no capture breaks %q", r.Name)
		}
	}
}

func TestUnreadablePacketIsAFault(t *testing.T) {
	p := packet("0 d * q; ? a.local A")
	p.Data = p.Data[:20]
	faults := judge.Read([]judge.Packet{p}).Judge(judge.Subject{Is: judge.From(subject)})
	if len(faults) != 1 || faults[0].Rule != "readable" {
		t.Errorf("%v", faults)
	}
}

// The library compresses no SRV target, so that this message is made by hand.
func TestCompressedTargetInALegacyAnswerIsAFault(t *testing.T) {
	p := capture(`0 t:4000 * q id=7; ? a.local SRV
		5 d t:4000 r id=7; ? a.local SRV; = a.local. 10 SRV 0 0 80 a.local.`)
	b := p[1].Data
	cut := len(b) - len("\x01a\x05local\x00")
	b = append(b[:cut:cut], 0xc0, 12)
	b[cut-7] = 8 // the length of the data
	p[1].Data = b
	faults := judge.Read(p).Judge(judge.Subject{Is: judge.From(subject)})
	if len(faults) != 1 || !strings.Contains(faults[0].String(), "is compressed") {
		t.Errorf("%v", faults)
	}
}

func TestTimesOfStartsEndsAndStop(t *testing.T) {
	again := "\n" + strings.NewReplacer("100 d", "5100 d", "350 d", "5350 d", "600 d", "5600 d", "1850 d", "6850 d", "850 d", "5850 d").Replace(claim)
	at := func(ms int) []time.Time { return []time.Time{epoch.Add(time.Duration(ms) * time.Millisecond)} }
	for _, c := range []struct {
		name, text string
		s          judge.Subject
		want       string
	}{
		{"probes again after a start", claim + again + idle, judge.Subject{Starts: at(5000)}, ""},
		{"claims without probing after a start", claim + "5100 d * r; ! nas.local. 120 A 10.0.0.1\n6100 d * r; ! nas.local. 120 A 10.0.0.1", judge.Subject{Starts: at(5000)}, "without probing"},
		{"killed before it announced again", strings.Split(claim, "1850")[0] + idle, judge.Subject{Ends: at(900)}, ""},
		{"stopped before it announced again", strings.Split(claim, "1850")[0] + "1000 d * r; ! nas.local. 0 A 10.0.0.1" + idle, judge.Subject{Stopped: at(1000)[0]}, ""},
	} {
		c.s.Is, c.s.Whole = judge.From(subject), true
		faults := fmt.Sprint(judge.Read(capture(c.text)).Judge(c.s))
		if c.want == "" && faults != "[]" || !strings.Contains(faults, c.want) {
			t.Errorf("%s: %s", c.name, faults)
		}
	}
}
