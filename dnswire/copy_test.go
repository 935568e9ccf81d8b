package dnswire_test

import (
	"bytes"
	"testing"

	"github.com/lanfolk/lanfolk/dnswire"
)

// copyAll writes a message anew with Copy. A malformed NSEC or TXT record can't be copied.
func copyAll(t testing.TB, b *dnswire.Builder, buf []byte, m dnswire.Message) []byte {
	t.Helper()
	b.Reset(buf, m.Header, 0)
	for q := range m.Questions() {
		if !b.CopyQuestion(q) {
			t.Fatalf("question %s was refused", q.Name)
		}
	}
	for r := range m.Records() {
		if b.Copy(r) == (r.Malformed && r.Type != dnswire.TypeOPT) {
			t.Fatalf("%s %s, malformed: %v: Copy says the contrary", r.Section, r.RR(), r.Malformed)
		}
	}
	return b.Bytes()
}

// By way of owned records or without, the bytes are the same.
func TestCopyWritesWhatTheOwnedRecordsWould(t *testing.T) {
	var owned, copied dnswire.Builder
	for _, g := range goldens(t) {
		for _, legacy := range []bool{false, true} {
			owned.Legacy, copied.Legacy = legacy, legacy
			want := rebuild(t, &owned, nil, parse(t, g.msg))
			if got := copyAll(t, &copied, nil, parse(t, g.msg)); !bytes.Equal(got, want) {
				t.Errorf("%s: copied it is\n%x, want\n%x", g.name, got, want)
			}
		}
	}
}

func TestCopyAllocatesNothing(t *testing.T) {
	buf := make([]byte, 0, 9000)
	for _, g := range goldens(t) {
		var b dnswire.Builder
		m := parse(t, g.msg)
		copyAll(t, &b, buf, m)
		if a := testing.AllocsPerRun(10, func() { copyAll(t, &b, buf, m) }); a != 0 {
			t.Errorf("%s: %v allocations", g.name, a)
		}
	}
}

// A reflector takes single records out, changes their TTL and moves them.
func TestCopyOfSomeRecords(t *testing.T) {
	var w dnswire.Builder
	w.Reset(nil, dnswire.Header{Response: true}, 0)
	rrs := httpService(t)
	for _, rr := range rrs {
		w.Answer(rr)
	}
	m := parse(t, w.Bytes())
	var b dnswire.Builder
	b.Reset(nil, m.Header, 0)
	var want []dnswire.RR
	for r := range m.Records() {
		if r.Type == dnswire.TypePTR || r.Type == dnswire.TypeTXT { // to whose names the others point
			continue
		}
		rr := r.RR()
		rr.TTL, rr.Flush = 10, false
		want = append(want, rr)
		r.TTL, r.Flush, r.Section = 10, false, dnswire.Additional
		if !b.Copy(r) {
			t.Fatalf("%s was refused", rr)
		}
	}
	got := parse(t, b.Bytes())
	i := 0
	for r := range got.Records() {
		if r.Section != dnswire.Additional || r.RR() != want[i] {
			t.Errorf("record %d is %s %v, want %v", i, r.Section, r.RR(), want[i])
		}
		i++
	}
	if i != 4 {
		t.Errorf("%d records, want 4", i)
	}
}

func TestCopyRefuses(t *testing.T) {
	m := parse(t, header(0, 3, 0, 0).
		record(local, dnswire.TypeNSEC, 1, pointer(12)+"\x00\x00").
		record(local, dnswire.TypeNSEC, 1, pointer(4000)+"\x00\x01\x40").
		record(local, dnswire.TypeA, 1, addrA))
	var b dnswire.Builder
	b.Reset(nil, m.Header, 0)
	for r := range m.Records() {
		before := bytes.Clone(b.Bytes())
		if got, want := b.Copy(r), r.Type == dnswire.TypeA; got != want {
			t.Errorf("%s: Copy says %v", r.RR(), got)
		} else if !want && !bytes.Equal(before, b.Bytes()) {
			t.Errorf("%s was refused and changed the message", r.RR())
		}
		for _, s := range []dnswire.Section{0, dnswire.Additional + 1} {
			var empty dnswire.Builder
			empty.Reset(nil, m.Header, 0)
			if r.Section = s; empty.Copy(r) {
				t.Errorf("a record was copied to section %d", s)
			}
		}
	}
	if b.Copy(dnswire.Record{Section: dnswire.Answer}) || b.CopyQuestion(dnswire.Question{}) {
		t.Error("a record without a name was copied")
	}
	if m := parse(t, b.Bytes()); m.ANCount != 1 {
		t.Errorf("%d records, want 1", m.ANCount)
	}
}

// RFC 6763 §6.1 and RFC 2136 §2.4: a TXT record without data is one with an empty
// string, but in an update.
func TestCopyOfTXTWithoutData(t *testing.T) {
	for _, c := range []struct {
		opcode byte
		size   int
	}{{dnswire.OpcodeQuery, 1}, {dnswire.OpcodeUpdate, 0}} {
		msg := header(0, 1, 0, 0).record(local, dnswire.TypeTXT, 255, "")
		msg[2] = c.opcode << 3
		m := parse(t, msg)
		var b dnswire.Builder
		got := parse(t, copyAll(t, &b, nil, m))
		for r := range got.Records() {
			if len(r.RData()) != c.size || len(r.RR().Data) != c.size {
				t.Errorf("opcode %d: rdata of %d bytes, want %d", c.opcode, len(r.RData()), c.size)
			}
		}
	}
}
