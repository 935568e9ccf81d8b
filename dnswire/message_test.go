package dnswire_test

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk/dnswire"
)

// raw builds messages byte by byte, also broken ones.
type raw []byte

func header(qd, an, ns, ar int) raw {
	b := raw{0, 0, 0x84, 0}
	for _, n := range []int{qd, an, ns, ar} {
		b = binary.BigEndian.AppendUint16(b, uint16(n))
	}
	return b
}

func (b raw) bytes(s string) raw { return append(b, s...) }

// record appends an owner in wire form and the fields and rdata of a record.
func (b raw) record(owner string, t dnswire.Type, class uint16, rdata string) raw {
	b = append(b, owner...)
	b = binary.BigEndian.AppendUint16(b, uint16(t))
	b = binary.BigEndian.AppendUint16(b, class)
	b = binary.BigEndian.AppendUint32(b, 120)
	b = binary.BigEndian.AppendUint16(b, uint16(len(rdata)))
	return append(b, rdata...)
}

func pointer(to int) string { return string([]byte{0xC0 | byte(to>>8), byte(to)}) }

const (
	local  = "\x05local\x00"
	addrA  = "\x0a\x00\x00\x05"
	addrA2 = "\x0a\x00\x00\x06"
)

type reject struct {
	name   string
	msg    raw
	reason dnswire.Reason
	want   string
}

// rejects lists broken messages and what Parse says of each.
func rejects() []reject {
	long := strings.Repeat("\x3f"+strings.Repeat("x", 63), 3) // 192 bytes of labels
	chain := header(0, 1, 0, 0).record("\x00", 65280, 1, "\x01a\x00"+func() string {
		s := ""
		for i := range 200 { // each points to the one before it
			s += pointer(23 + max(0, 2*i+1))
		}
		return s
	}())
	return []reject{
		{"nothing", nil, dnswire.ReasonShort, "dnswire: header: message ends early, at byte 0"},
		{"half a header", header(0, 0, 0, 0)[:11], dnswire.ReasonShort, "dnswire: header: message ends early, at byte 11"},
		{"too long", make(raw, 65536), dnswire.ReasonLong, "dnswire: header: message has 65536 bytes, more than 65535"},
		{"counts without content", header(65535, 65535, 65535, 65535), dnswire.ReasonCounts,
			"dnswire: header: counts promise at least 2490342 bytes, message has 12"},
		{"one record more than there is", header(0, 2, 0, 0).record("\x3f"+strings.Repeat("x", 63)+"\x00", dnswire.TypeA, 1, addrA), dnswire.ReasonShort,
			"dnswire: answer 2: name: message ends early, at byte 91"},
		{"question cut in its name", header(1, 0, 0, 0).bytes("\x05loca"), dnswire.ReasonShort, "dnswire: question 1: name: message ends early, at byte 17"},
		{"question cut in its fields", header(1, 0, 0, 0).bytes("\x05local\x00\x00\x01"), dnswire.ReasonShort, "dnswire: question 1: fields: message ends early, at byte 21"},
		{"record cut in its fields", header(0, 0, 1, 0).bytes(local + "\x00\x01\x00\x01\x00\x00\x00"), dnswire.ReasonShort,
			"dnswire: authority 1: fields: message ends early, at byte 26"},
		{"rdata longer than the message", header(0, 0, 0, 1).record("\x00", dnswire.TypeA, 1, addrA)[:26], dnswire.ReasonShort,
			"dnswire: additional 1: A rdata: message ends early, at byte 26"},
		{"pointer cut", header(1, 0, 0, 0).bytes("\x05local\xc0"), dnswire.ReasonShort, "dnswire: question 1: name: message ends early, at byte 19"},
		{"pointer forward", header(0, 3, 0, 0).record("\x00", dnswire.TypeA, 1, addrA).record("\x00", dnswire.TypeA, 1, addrA).record(pointer(512), dnswire.TypeA, 1, addrA), dnswire.ReasonPointer,
			"dnswire: answer 3: name: pointer to offset 512 is not backward"},
		{"pointer to itself", header(1, 0, 0, 0).bytes(pointer(12) + "\x00\x01\x00\x01"), dnswire.ReasonPointer, "dnswire: question 1: name: pointer to offset 12 is not backward"},
		{"pointer to its own labels", header(1, 0, 0, 0).bytes("\x01a" + pointer(12) + "\x00\x01\x00\x01"), dnswire.ReasonPointer,
			"dnswire: question 1: name: pointer to offset 12 is not backward"},
		{"pointers in a ring", header(2, 0, 0, 0).bytes("\x01a" + pointer(20) + "\x00\x01\x00\x01\x01b" + pointer(12) + "\x00\x01\x00\x01"), dnswire.ReasonPointer,
			"dnswire: question 1: name: pointer to offset 20 is not backward"},
		{"pointer into the header", header(1, 0, 0, 0).bytes(pointer(4) + "\x00\x01\x00\x01"), dnswire.ReasonPointer, "dnswire: question 1: name: pointer to offset 4 is inside the header"},
		{"label type 01", header(1, 0, 0, 0).bytes("\x41a\x00\x00\x01\x00\x01"), dnswire.ReasonLabelType, "dnswire: question 1: name: label of reserved type 0x40 at offset 12"},
		{"label type 10", header(1, 0, 0, 0).bytes("\x01a\x80\x00\x00\x01\x00\x01"), dnswire.ReasonLabelType, "dnswire: question 1: name: label of reserved type 0x80 at offset 14"},
		{"name of 256 bytes", header(1, 0, 0, 0).bytes(long + "\x3e" + strings.Repeat("y", 62) + "\x00\x00\x01\x00\x01"), dnswire.ReasonNameLength,
			"dnswire: question 1: name: longer than 255 bytes"},
		{"name of 256 bytes by a pointer", header(2, 0, 0, 0).bytes(long + "\x00\x00\x01\x00\x01").bytes("\x3e" + strings.Repeat("y", 62) + pointer(12) + "\x00\x01\x00\x01"), dnswire.ReasonNameLength,
			"dnswire: question 2: name: longer than 255 bytes"},
		{"name of 256 bytes by a pointer that was followed before", header(3, 0, 0, 0).bytes(long + "\x00\x00\x01\x00\x01").bytes("\x01y" + pointer(12) + "\x00\x01\x00\x01").
			bytes("\x3e" + strings.Repeat("y", 62) + pointer(12) + "\x00\x01\x00\x01"), dnswire.ReasonNameLength,
			"dnswire: question 3: name: longer than 255 bytes"},
		{"more than 126 pointers", append(chain[:5:5], append(raw{0, 0, 2}, append(chain[8:], raw("").record(pointer(23+2*150+1), dnswire.TypeA, 1, addrA)...)...)...), dnswire.ReasonPointers,
			"dnswire: answer 2: name: more than 126 pointers"},
		{"A of 3 bytes", header(0, 1, 0, 0).record(local, dnswire.TypeA, 1, addrA[:3]), dnswire.ReasonRDataShort, "dnswire: answer 1: A rdata: ends early, at offset 32"},
		{"A of 5 bytes", header(0, 1, 0, 0).record(local, dnswire.TypeA, 1, addrA+"x"), dnswire.ReasonRDataLength, "dnswire: answer 1: A rdata: has 5 bytes, wrong for its type"},
		{"A without data", header(0, 1, 0, 0).record(local, dnswire.TypeA, 255, ""), dnswire.ReasonRDataShort, "dnswire: answer 1: A rdata: ends early, at offset 29"},
		{"AAAA of 4 bytes", header(0, 1, 0, 0).record(local, dnswire.TypeAAAA, 1, addrA), dnswire.ReasonRDataShort, "dnswire: answer 1: AAAA rdata: ends early, at offset 33"},
		{"PTR without data", header(0, 1, 0, 0).record(local, dnswire.TypePTR, 1, ""), dnswire.ReasonShort, "dnswire: answer 1: PTR rdata: message ends early, at byte 29"},
		{"PTR whose name runs into the next record", header(0, 2, 0, 0).record(local, dnswire.TypePTR, 1, "\x03ab").record("\x00", dnswire.TypeA, 1, addrA), dnswire.ReasonRDataShort,
			"dnswire: answer 1: PTR rdata: ends early, at offset 32"},
		{"PTR with a pointer that runs into the next record", header(0, 2, 0, 0).record(local, dnswire.TypePTR, 1, "\xc0").record("\x00", dnswire.TypeA, 1, addrA), dnswire.ReasonRDataShort,
			"dnswire: answer 1: PTR rdata: ends early, at offset 30"},
		{"PTR with bytes behind its name", header(0, 1, 0, 0).record(local, dnswire.TypePTR, 1, local+"x"), dnswire.ReasonRDataLength, "dnswire: answer 1: PTR rdata: has 8 bytes, wrong for its type"},
		{"PTR to itself", header(0, 1, 0, 0).record(local, dnswire.TypePTR, 1, pointer(29)), dnswire.ReasonPointer, "dnswire: answer 1: PTR rdata: pointer to offset 29 is not backward"},
		{"SRV without target", header(0, 1, 0, 0).record(local, dnswire.TypeSRV, 1, "\x00\x00\x00\x00\x1f\x90"), dnswire.ReasonShort, "dnswire: answer 1: SRV rdata: message ends early, at byte 35"},
		{"SRV with a forward pointer", header(0, 1, 0, 0).record(local, dnswire.TypeSRV, 1, "\x00\x00\x00\x00\x1f\x90"+pointer(100)), dnswire.ReasonPointer,
			"dnswire: answer 1: SRV rdata: pointer to offset 100 is not backward"},
		{"SOA with 19 of 20 bytes", header(0, 0, 1, 0).record(local, dnswire.TypeSOA, 1, "\x00\x00"+strings.Repeat("\x00", 19)), dnswire.ReasonRDataLength,
			"dnswire: authority 1: SOA rdata: has 21 bytes, wrong for its type"},
		{"MX of 1 byte", header(0, 1, 0, 0).record(local, dnswire.TypeMX, 1, "\x00"), dnswire.ReasonRDataShort, "dnswire: answer 1: MX rdata: ends early, at offset 30"},
		{"HINFO with one string", header(0, 1, 0, 0).record(local, dnswire.TypeHINFO, 1, "\x01a"), dnswire.ReasonRDataShort, "dnswire: answer 1: HINFO rdata: ends early, at offset 31"},
	}
}

func TestParseRejects(t *testing.T) {
	for _, c := range rejects() {
		t.Run(c.name, func(t *testing.T) {
			m, err := dnswire.Parse(c.msg)
			var e *dnswire.Error
			if !errors.As(err, &e) {
				t.Fatalf("error %v, want %s", err, c.want)
			}
			if e.Reason != c.reason {
				t.Errorf("reason %q, want %q", e.Reason, c.reason)
			}
			if err.Error() != c.want {
				t.Errorf("error %q\nwant  %q", err, c.want)
			}
			for range m.Questions() {
				t.Error("a rejected message yields a question")
			}
			for range m.Records() {
				t.Error("a rejected message yields a record")
			}
		})
	}
}

func parse(t testing.TB, b []byte) dnswire.Message {
	t.Helper()
	m, err := dnswire.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func records(m dnswire.Message) (out []dnswire.RR) {
	for r := range m.Records() {
		out = append(out, r.RR())
	}
	return out
}

func TestTrailingBytesAreCounted(t *testing.T) {
	m := parse(t, header(0, 1, 0, 0).record(local, dnswire.TypeA, 1, addrA).bytes("\x00\x00\x00"))
	if m.Trailing != 3 {
		t.Errorf("Trailing = %d, want 3", m.Trailing)
	}
	if got := records(m); len(got) != 1 {
		t.Errorf("%d records, want 1", len(got))
	}
	if m := parse(t, header(0, 1, 0, 0).record(local, dnswire.TypeA, 1, addrA)); m.Trailing != 0 {
		t.Errorf("Trailing = %d, want 0", m.Trailing)
	}
}

// RFC 6762 §5.4, §10.2: the top bit isn't part of the class. RFC 6891 §6.1.2:
// in OPT it is, as part of a size.
func TestTopBit(t *testing.T) {
	m := parse(t, header(2, 2, 0, 1).
		bytes(local+"\x00\x0c\x80\x01").
		bytes(pointer(12)+"\x00\xff\x00\xff").
		record(pointer(12), dnswire.TypeA, 0x8001, addrA).
		record(pointer(12), dnswire.TypeA, 0x0001, addrA2).
		record("\x00", dnswire.TypeOPT, 0x9194, "\x00\x04\x00\x02hi"))
	var qs []string
	for q := range m.Questions() {
		qs = append(qs, fmt.Sprintf("%s %s %s %v", q.Name, q.Type, q.Class, q.Unicast))
	}
	if want := []string{"local PTR IN true", "local ANY ANY false"}; !slices.Equal(qs, want) {
		t.Errorf("questions %q, want %q", qs, want)
	}
	var rs []string
	for r := range m.Records() {
		rs = append(rs, fmt.Sprintf("%s %s %d %v", r.Section, r.Type, r.Class, r.Flush))
		for code, data := range r.Options() {
			rs = append(rs, fmt.Sprintf("option %d %s", code, data))
		}
	}
	if want := []string{"answer A 1 true", "answer A 1 false", "additional OPT 37268 false", "option 4 hi"}; !slices.Equal(rs, want) {
		t.Errorf("records %q, want %q", rs, want)
	}
}

// RFC 6762 §6.1 and checklist row 22: four sorts of NSEC beside a good A record.
func TestNSEC(t *testing.T) {
	for _, c := range []struct {
		name, rdata string
		next        string
		types       []dnswire.Type
		bad         bool
	}{
		{name: "own name, compressed", rdata: pointer(12) + "\x00\x04\x40\x00\x00\x08", next: "local", types: []dnswire.Type{dnswire.TypeA, dnswire.TypeAAAA}},
		{name: "another next name", rdata: "\x03foo\x00\x00\x01\x40", next: "foo", types: []dnswire.Type{dnswire.TypeA}},
		{name: "no types", rdata: pointer(12), next: "local"},
		{name: "a second block", rdata: pointer(12) + "\x00\x01\x40\x01\x01\x40", next: "local", types: []dnswire.Type{dnswire.TypeA, dnswire.TypeCAA}},
		{name: "nothing", rdata: "", bad: true},
		{name: "a forward pointer", rdata: pointer(4000) + "\x00\x01\x40", bad: true},
		{name: "a pointer to itself", rdata: pointer(29) + "\x00\x01\x40", bad: true},
		{name: "a name cut off", rdata: "\x05ab", bad: true},
		{name: "a block of 0 bytes", rdata: pointer(12) + "\x00\x00", bad: true},
		{name: "a block of 33 bytes", rdata: pointer(12) + "\x00\x21" + strings.Repeat("\x01", 33), bad: true},
		{name: "a block cut off", rdata: pointer(12) + "\x00\x04\x40", bad: true},
		{name: "blocks out of order", rdata: pointer(12) + "\x01\x01\x40\x00\x01\x40", bad: true},
		{name: "one byte of a block", rdata: pointer(12) + "\x00", bad: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := parse(t, header(0, 2, 0, 0).record(local, dnswire.TypeNSEC, 0x8001, c.rdata).record(pointer(12), dnswire.TypeA, 0x8001, addrA))
			i := 0
			for r := range m.Records() {
				if i++; i == 2 {
					if a, ok := r.Addr(); !ok || a.String() != "10.0.0.5" {
						t.Errorf("the A record beside it reads %v, %v", a, ok)
					}
					continue
				}
				next, types, ok := r.NSEC()
				if r.Malformed != c.bad || ok == c.bad {
					t.Fatalf("Malformed = %v, ok = %v, want %v and the contrary", r.Malformed, ok, c.bad)
				}
				rr := r.RR()
				if c.bad {
					if rr.Data != c.rdata {
						t.Errorf("RR has data %q, want %q as it came", rr.Data, c.rdata)
					}
					return
				}
				got := slices.Collect(types.Types())
				if next.String() != c.next || !slices.Equal(got, c.types) {
					t.Errorf("says %s %v, want %s %v", next, got, c.next, c.types)
				}
				for _, ty := range []dnswire.Type{0, dnswire.TypeA, dnswire.TypePTR, dnswire.TypeAAAA, dnswire.TypeCAA, 511, 65535} {
					if types.Has(ty) != slices.Contains(c.types, ty) {
						t.Errorf("Has(%s) = %v", ty, types.Has(ty))
					}
				}
				rnext, rtypes, ok := rr.NSEC()
				if !ok || rnext.String() != c.next || !slices.Equal(slices.Collect(rtypes.Types()), c.types) {
					t.Errorf("the RR says %s %v", rnext, slices.Collect(rtypes.Types()))
				}
				if again := dnswire.NewNSEC(rr.Name, rnext, rr.TTL, c.types...); again.Data != rr.Data {
					t.Errorf("NewNSEC has data %x, want %x", again.Data, rr.Data)
				}
			}
		})
	}
}

func TestMalformedOPT(t *testing.T) {
	m := parse(t, header(0, 0, 0, 1).record("\x00", dnswire.TypeOPT, 1440, "\x00\x04\x00\x09short"))
	for r := range m.Records() {
		if !r.Malformed {
			t.Error("not marked as malformed")
		}
		for range r.Options() {
			t.Error("yields an option")
		}
	}
}

// RFC 6763 §6.1: no strings, an empty string and no data at all.
// tinyDNS is the TXT record of AMWA INFO-004's TinyDNS example: its first string
// says that it has 22 of its 27 bytes, so another begins in the middle of it.
const tinyDNS = "\x16api_ver=v1.0,v1.1,v1.2,v1.3\x0eapi_proto=http\x05pri=0"

// cutShort is a message with two records whose strings are cut short among others.
func cutShort() raw {
	return header(0, 3, 0, 1).record(local, dnswire.TypeTXT, 1, tinyDNS).record(local, dnswire.TypeTXT, 1, "\x05pri=0").
		record(local, dnswire.TypeSPF, 1, "\x02a").record(local, dnswire.TypeA, 1, addrA)
}

func TestTXTCutShort(t *testing.T) {
	m := parse(t, cutShort())
	var b dnswire.Builder
	b.Reset(nil, m.Header, 0)
	i := 0
	for r := range m.Records() {
		broken := i == 0 || i == 2
		if r.Malformed != broken {
			t.Errorf("record %d: Malformed = %v", i, r.Malformed)
		}
		rr := r.RR()
		if _, ok := rr.TXT(); r.Type == dnswire.TypeTXT && ok == broken {
			t.Errorf("record %d: TXT says %v", i, ok)
		}
		if i == 0 && rr.Data != tinyDNS {
			t.Errorf("data %q", rr.Data)
		}
		for s := range r.TXT() {
			if want := [...]string{"api_ver=v1.0,v1.1,v1.2", "pri=0", ""}[i]; string(s) != want {
				t.Errorf("record %d: string %q, want %q", i, s, want)
			}
		}
		if b.Copy(r) == broken {
			t.Errorf("record %d: Copy says %v", i, !broken)
		}
		i++
	}
	if i != 4 {
		t.Errorf("%d records", i)
	}
}

func TestTXT(t *testing.T) {
	for _, c := range []struct {
		rdata   string
		strings []string
		data    string // of the RR
		text    string
	}{
		{rdata: "", data: "\x00", text: `""`},
		{rdata: "\x00", strings: []string{""}, data: "\x00", text: `""`},
		{rdata: "\x03a=b\x00\x01c", strings: []string{"a=b", "", "c"}, data: "\x03a=b\x00\x01c", text: `"a=b" "" "c"`},
		{rdata: "\x09bin=\x00\xff=\"\\\x02.\xc3", strings: []string{"bin=\x00\xff=\"\\", ".\xc3"}, data: "\x09bin=\x00\xff=\"\\\x02.\xc3", text: `"bin=\000\255=\"\\" ".\195"`},
	} {
		m := parse(t, header(0, 1, 0, 0).record(local, dnswire.TypeTXT, 1, c.rdata))
		for r := range m.Records() {
			var got []string
			for s := range r.TXT() {
				got = append(got, string(s))
			}
			if !slices.Equal(got, c.strings) {
				t.Errorf("TXT %q yields %q, want %q", c.rdata, got, c.strings)
			}
			rr := r.RR()
			if rr.Data != c.data || rr.DataString() != c.text {
				t.Errorf("TXT %q has data %q and text %s, want %q and %s", c.rdata, rr.Data, rr.DataString(), c.data, c.text)
			}
			if ss, ok := rr.TXT(); !ok || c.rdata != "" && !slices.Equal(ss, c.strings) {
				t.Errorf("RR.TXT = %q, %v", ss, ok)
			}
		}
	}
	if rr, err := dnswire.NewTXT(dnswire.Root, 1); err != nil || rr.Data != "\x00" {
		t.Errorf("NewTXT without strings = %v, %v", rr, err)
	}
	if _, err := dnswire.NewTXT(dnswire.Root, 1, "a", strings.Repeat("x", 256)); err == nil ||
		err.Error() != "dnswire: TXT of .: string 2 has 256 bytes, more than 255" {
		t.Errorf("NewTXT with a long string: %v", err)
	}
	if _, err := dnswire.NewTXT(dnswire.Root, 1, slices.Repeat([]string{strings.Repeat("x", 255)}, 256)...); err == nil ||
		err.Error() != "dnswire: TXT of .: has 65536 bytes, more than 65535" {
		t.Errorf("NewTXT with much: %v", err)
	}
}

// RFC 2136 §2.4 and §2.5: "any" has no data. Outside an update it is an error.
func TestUpdateWithoutData(t *testing.T) {
	b := header(0, 0, 2, 0).record(local, dnswire.TypeA, 255, "").record(local, dnswire.TypeSRV, 255, "")
	b[2] = dnswire.OpcodeUpdate << 3
	m := parse(t, b)
	for r := range m.Records() {
		if _, ok := r.Addr(); ok {
			t.Error("an A record without data has an address")
		}
		if _, ok := r.SRV(); ok {
			t.Error("an SRV record without data has a target")
		}
		if got := r.RR().DataString(); got != `\# 0` {
			t.Errorf("DataString = %s", got)
		}
	}
}

// One long chain that many records end in is walked once.
func TestWorkIsBounded(t *testing.T) {
	labels := strings.Repeat("\x01a", 126) + "\x00"
	b := header(1, 4000, 0, 0).bytes(labels + "\x00\x01\x00\x01")
	for range 4000 {
		b = b.record(pointer(12), dnswire.TypeA, 1, addrA)
	}
	parse(t, b)
	if got := dnswire.Steps(b); got > 4500 {
		t.Errorf("4000 names that point to one of 126 labels took %d steps", got)
	}

	// Each points to another label of it: no memory of a fixed size holds that,
	// so the total is limited.
	b = header(1, 4000, 0, 0).bytes(labels + "\x00\x01\x00\x01")
	for i := range 4000 {
		b = b.record(pointer(12+i%100*2), dnswire.TypePTR, 1, pointer(12+(i+50)%100*2))
	}
	_, err := dnswire.Parse(b)
	var e *dnswire.Error
	if !errors.As(err, &e) || e.Reason != dnswire.ReasonWork {
		t.Errorf("error %v, want too much work", err)
	}
}

// Pointers are counted through names that are known already.
func TestPointersAreCountedThroughKnownNames(t *testing.T) {
	const most = 126 // pointers
	b := header(0, most+2, 0, 0).record("\x01a\x00", dnswire.TypeA, 1, addrA)
	at := 12
	for range most - 1 {
		last := at
		at = len(b)
		b = b.record(pointer(last), dnswire.TypeA, 1, addrA)
	}
	b = b.record("\x01b"+pointer(at), dnswire.TypeA, 1, addrA) // walks to the end
	known := len(b)
	b = b.record("\x01c"+pointer(at), dnswire.TypeA, 1, addrA) // ends in the same
	parse(t, b)

	b[7]++
	_, err := dnswire.Parse(b.record(pointer(known), dnswire.TypeA, 1, addrA))
	var e *dnswire.Error
	if !errors.As(err, &e) || e.Reason != dnswire.ReasonPointers || e.Index != most+3 {
		t.Errorf("error %v, want too many pointers in answer %d", err, most+3)
	}
}

// Views of a buffer that was overwritten read nonsense, but end.
func TestOverwrittenMessageDoesntPanic(t *testing.T) {
	for _, g := range goldens(t) {
		b := slices.Clone(g.msg)
		m := parse(t, b)
		var rs []dnswire.Record
		for r := range m.Records() {
			rs = append(rs, r)
		}
		for _, fill := range []byte{0, 1, 0x3f, 0x41, 0xc0, 0xff} {
			for i := range b {
				b[i] = fill
			}
			for q := range m.Questions() {
				use(dnswire.Record{Name: q.Name})
			}
			for r := range m.Records() {
				use(r)
			}
			for _, r := range rs {
				use(r)
			}
		}
	}
}

// use calls all that a record has.
func use(r dnswire.Record) {
	var buf []byte
	_ = r.Name.AppendFolded(r.Name.AppendText(buf))
	_ = r.Name.Equal(dnswire.Root)
	var b dnswire.Builder
	b.Reset(nil, dnswire.Header{}, 0)
	if b.Copy(r) {
		if _, err := dnswire.Parse(b.Bytes()); err != nil {
			panic(err)
		}
	}
	rr := r.RR()
	_ = rr.String()
	_, _ = rr.PTR()
	_, _ = rr.SRV()
	_, _ = rr.TXT()
	_, _ = rr.Addr()
	_, _, _ = rr.NSEC()
	_ = rr.Fold().SameData(rr)
	_, _ = r.Addr()
	if n, ok := r.Target(); ok {
		_ = n.String()
	}
	if s, ok := r.SRV(); ok {
		_ = s.Target.String()
	}
	if n, ts, ok := r.NSEC(); ok {
		_ = n.String()
		for t := range ts.Types() {
			_ = ts.Has(t)
		}
	}
	for range r.TXT() {
	}
	for range r.Options() {
	}
}

func TestNameViewZero(t *testing.T) {
	var v dnswire.NameView
	if v.String() != "" || v.Name() != "" || !v.Equal("") || v.Equal(dnswire.Root) {
		t.Errorf("the zero NameView is %q", v.String())
	}
	var m dnswire.Message
	for range m.Questions() {
		t.Error("the zero Message has a question")
	}
	for range m.Records() {
		t.Error("the zero Message has a record")
	}
	var r dnswire.Record
	use(r)
}

func TestNameViewEqual(t *testing.T) {
	m := parse(t, header(2, 0, 0, 0).bytes("\x03Foo"+local+"\x00\x01\x00\x01\x03bar"+pointer(16)+"\x00\x01\x00\x01"))
	var views []dnswire.NameView
	for q := range m.Questions() {
		views = append(views, q.Name)
	}
	for _, c := range []struct {
		i    int
		name string
		want bool
	}{
		{0, "foo.LOCAL", true}, {0, "foo.loca", false}, {0, "foo.locals", false}, {0, "foo", false}, {0, "foo.local.x", false}, {0, ".", false},
		{1, "BAR.local", true}, {1, "bar", false}, {1, `bar\.local`, false}, {1, "foo.local", false},
	} {
		n := mustName(t, c.name)
		if got := views[c.i].Equal(n); got != c.want {
			t.Errorf("%s Equal %s = %v", views[c.i], n, got)
		}
		if got := views[c.i].Name().Fold() == n.Fold(); got != c.want {
			t.Errorf("%s Fold == %s Fold = %v", views[c.i], n, got)
		}
		if got := string(views[c.i].AppendFolded(nil)) == string(n.Fold()); got != c.want {
			t.Errorf("%s AppendFolded == %s = %v", views[c.i], n, got)
		}
		for _, s := range []string{"", "\x05ab", "\x03foo", "\x03foo\x05local", "\xc0\x0c"} {
			if views[c.i].Equal(dnswire.Name(s)) {
				t.Errorf("%s Equal %q", views[c.i], s)
			}
		}
	}
}

func TestReadingAllocatesNothing(t *testing.T) {
	for _, g := range goldens(t) {
		known := map[string]int{"\x05local\x00": 1}
		names := map[dnswire.Name]int{"\x05local\x00": 1}
		buf := make([]byte, 0, 1024)
		a := testing.AllocsPerRun(10, func() {
			m, err := dnswire.Parse(g.msg)
			if err != nil {
				t.Fatal(err)
			}
			for q := range m.Questions() {
				buf = q.Name.AppendFolded(buf[:0])
				_ = known[string(buf)]
			}
			for r := range m.Records() {
				buf = r.Name.AppendFolded(buf[:0])
				_ = names[dnswire.Name(buf)]
				buf = r.AppendRData(buf[:0])
				buf = r.Name.AppendText(buf[:0])
				_, _ = r.Addr()
				if n, ok := r.Target(); ok {
					buf = n.AppendFolded(buf[:0])
				}
				if s, ok := r.SRV(); ok {
					buf = s.Target.AppendFolded(buf[:0])
				}
				if _, ts, ok := r.NSEC(); ok {
					for range ts.Types() {
					}
				}
				for s := range r.TXT() {
					buf = append(buf[:0], s...)
				}
				for range r.Options() {
				}
			}
		})
		if a != 0 {
			t.Errorf("%s: %v allocations", g.name, a)
		}
	}
}

func TestHeaderBits(t *testing.T) {
	for bits := range 1 << 16 {
		b := header(0, 0, 0, 0)
		b[0], b[1] = 0xbe, 0xef
		b[2], b[3] = byte(bits>>8), byte(bits)
		m := parse(t, b)
		if m.ID != 0xbeef || m.Response != (bits&0x8000 != 0) || int(m.Opcode) != bits>>11&15 || int(m.Rcode) != bits&15 {
			t.Fatalf("bits %04x read as %+v", bits, m.Header)
		}
		var w dnswire.Builder
		w.Reset(nil, m.Header, 0)
		if got := w.Bytes(); string(got) != string(b) {
			t.Fatalf("bits %04x written as %s", bits, hex.EncodeToString(got))
		}
	}
}
