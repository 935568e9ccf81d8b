package dnswire_test

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/lanfolk/lanfolk/dnswire"
)

// seeds adds the golden packets, whole and cut off, and rejected ones.
func seeds(f *testing.F) {
	for _, g := range goldens(f) {
		f.Add(g.msg)
		f.Add(g.msg[:len(g.msg)*2/3])
	}
	for _, c := range rejects() {
		if len(c.msg) < 2000 {
			f.Add([]byte(c.msg))
		}
	}
	f.Add([]byte(cutShort()))
}

// FuzzParse holds Parse against miekg/dns, and what was read against what is written of it.
func FuzzParse(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		compareWithOracle(t, b)
		orig := bytes.Clone(b)
		m, err := dnswire.Parse(b)
		if err != nil {
			if err.Error() == "" {
				t.Error("an error without words")
			}
			return
		}
		questions, n := 0, 0
		for q := range m.Questions() {
			if !q.Name.Name().Valid() {
				t.Errorf("question %d has a name that isn't valid: %q", questions, string(q.Name.Name()))
			}
			questions++
		}
		for r := range m.Records() {
			n++
			use(r)
			if !r.Name.Name().Valid() {
				t.Errorf("record %d has a name that isn't valid: %q", n, string(r.Name.Name()))
			}
			if !r.Name.Equal(r.Name.Name().Fold()) || string(r.Name.AppendFolded(nil)) != string(r.Name.Name().Fold()) ||
				string(r.Name.AppendText(nil)) != r.Name.Name().String() {
				t.Errorf("the view of %s and its copy differ", r.Name)
			}
			rr := r.RR()
			if name, ok := r.Target(); ok {
				if owned, ok := rr.Target(); !ok || name.Name() != owned {
					t.Errorf("the view of %s and its copy differ", rr)
				}
			}
			if s, ok := r.SRV(); ok {
				if owned, ok := rr.SRV(); !ok || s.Target.Name() != owned.Target || s.Port != owned.Port || s.Priority != owned.Priority || s.Weight != owned.Weight {
					t.Errorf("the view of %s and its copy differ", rr)
				}
			}
		}
		if questions != int(m.QDCount) || n != int(m.ANCount)+int(m.NSCount)+int(m.ARCount) {
			t.Errorf("%d questions and %d records, the header says %+v", questions, n, m.Header)
		}
		if dnswire.Steps(b) > 8*len(b)+1024+512 {
			t.Errorf("%d steps for %d bytes", dnswire.Steps(b), len(b))
		}
		if !bytes.Equal(orig, b) {
			t.Error("reading changed the message")
		}
	})
}

// FuzzName holds text against wire form, both ways.
func FuzzName(f *testing.F) {
	n := 0
	for _, g := range goldens(f) {
		m := parse(f, g.msg)
		for r := range m.Records() {
			f.Add(r.Name.String())
			n++
		}
	}
	if n == 0 {
		f.Fatal("no names in the golden packets")
	}
	for _, s := range []string{"", ".", "..", `\`, `\.`, `\..`, `\000\255`, `\256`, `a\1`, "\xff.é.\u009b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if n := dnswire.Name(text); n.Valid() {
			if back, err := dnswire.ParseName(n.String()); err != nil || back != n {
				t.Errorf("%q prints as %s and reads as %q, %v", text, n, string(back), err)
			}
		}
		n, err := dnswire.ParseName(text)
		if err != nil {
			if n != "" {
				t.Errorf("an error and the name %q", string(n))
			}
			return
		}
		if !n.Valid() {
			t.Fatalf("%q reads as %q, which isn't valid", text, string(n))
		}
		out := n.String()
		back, err := dnswire.ParseName(out)
		if err != nil || back != n {
			t.Errorf("%q prints as %q and reads as %q, %v", string(n), out, string(back), err)
		}
		var labels []string
		for l := range n.Labels() {
			labels = append(labels, l)
		}
		if of, err := dnswire.NameOf(labels...); err != nil || of != n {
			t.Errorf("NameOf(%q) = %q, %v", labels, string(of), err)
		}
		if !n.Fold().Equal(n) || !n.HasSuffix(dnswire.Root) || !n.HasSuffix(n) || n.NumLabels() != len(labels) {
			t.Errorf("%q isn't itself", string(n))
		}
		if len(labels) > 0 {
			if p, err := n.Parent().Prepend(n.Label(0)); err != nil || p != n {
				t.Errorf("%q taken apart and put together is %q, %v", string(n), string(p), err)
			}
		}
	})
}

// FuzzBuilderRoundTrip writes what was read, into messages of any size, and reads it again.
func FuzzBuilderRoundTrip(f *testing.F) {
	for _, g := range goldens(f) {
		f.Add(g.msg, uint16(0), false)
		f.Add(g.msg, uint16(200), true)
	}
	f.Add([]byte(cutShort()), uint16(0), false)
	var used, copies dnswire.Builder // by the messages one after the other
	f.Fuzz(func(t *testing.T, b []byte, limit uint16, legacy bool) {
		m, err := dnswire.Parse(b)
		if err != nil {
			return
		}
		used.Legacy = legacy
		fresh := dnswire.Builder{Legacy: legacy}
		copies.Legacy = legacy
		used.Reset(nil, m.Header, int(limit))
		copies.Reset(nil, m.Header, int(limit))
		fresh.Reset(make([]byte, 0, 512), m.Header, int(limit))
		type entry struct {
			section dnswire.Section
			rr      dnswire.RR
		}
		var want []entry
		questions := 0
		for q := range m.Questions() {
			a := used.Question(q.Name.Name(), q.Type, q.Class, q.Unicast)
			if b := fresh.Question(q.Name.Name(), q.Type, q.Class, q.Unicast); a != b {
				t.Fatalf("a used Builder says %v, a new one %v", a, b)
			}
			if b := copies.CopyQuestion(q); a != b {
				t.Fatalf("Question says %v, CopyQuestion %v", a, b)
			}
			if a {
				questions++
			}
		}
		for r := range m.Records() {
			rr := r.RR()
			add, addFresh := used.Answer, fresh.Answer
			switch r.Section {
			case dnswire.Authority:
				add, addFresh = used.Authority, fresh.Authority
			case dnswire.Additional:
				add, addFresh = used.Additional, fresh.Additional
			}
			before := used.Len()
			ok := add(rr)
			if okFresh := addFresh(rr); ok != okFresh {
				t.Fatalf("a used Builder says %v, a new one %v", ok, okFresh)
			}
			if okCopy := copies.Copy(r); ok != okCopy {
				t.Fatalf("the Builder takes %s: %v, Copy: %v", rr, ok, okCopy)
			}
			if ok {
				want = append(want, entry{r.Section, rr})
			} else if before != used.Len() {
				t.Fatal("a refused record changed the length")
			}
			if !ok && !r.Malformed && limit == 0 && len(b) < 2000 {
				t.Fatalf("refused %s", rr)
			}
		}
		out := used.Bytes()
		if !bytes.Equal(out, fresh.Bytes()) {
			t.Errorf("a used Builder writes\n%x, a new one\n%x", out, fresh.Bytes())
		}
		if !bytes.Equal(out, copies.Bytes()) {
			t.Errorf("the Builder writes\n%x, by Copy\n%x", out, copies.Bytes())
		}
		if limit >= 12 && len(out) > int(limit) {
			t.Errorf("%d bytes, limit %d", len(out), limit)
		}
		again, err := dnswire.Parse(out)
		if err != nil {
			t.Fatalf("the Builder wrote %x: %v", out, err)
		}
		if again.Trailing != 0 || int(again.QDCount) != questions {
			t.Errorf("%d bytes behind the records, %d questions, want none and %d", again.Trailing, again.QDCount, questions)
		}
		i := 0
		for r := range again.Records() {
			if got := (entry{r.Section, r.RR()}); got != want[i] && !r.Malformed {
				t.Errorf("record %d is %v, want %v", i, got, want[i])
			}
			i++
		}
		if i != len(want) {
			t.Errorf("%d records, want %d", i, len(want))
		}
		compareWithOracle(t, out)
	})
}

// FuzzBuilderData gives the Builder records that nobody has checked.
func FuzzBuilderData(f *testing.F) {
	n := 0
	for _, g := range goldens(f) {
		m := parse(f, g.msg)
		for r := range m.Records() {
			f.Add(string(r.Name.Name()), uint16(r.Type), r.RR().Data)
			n++
		}
	}
	if n == 0 {
		f.Fatal("no records in the golden packets")
	}
	f.Fuzz(func(t *testing.T, name string, ty uint16, data string) {
		rr := dnswire.RR{Name: dnswire.Name(name), Type: dnswire.Type(ty), Class: dnswire.ClassIN, Data: data}
		_ = rr.String()
		if !rr.SameData(rr) || !rr.Fold().SameData(rr) {
			t.Error("a record isn't itself")
		}
		var b dnswire.Builder
		b.Reset(nil, dnswire.Header{}, 0)
		ok := b.Answer(dnswire.NewAddr(dnswire.Root, netip.AddrFrom4([4]byte{10, 0, 0, 1}), 1))
		if !ok {
			t.Fatal("a plain record was refused")
		}
		ok = b.Answer(rr)
		m, err := dnswire.Parse(b.Bytes())
		if err != nil {
			t.Fatalf("the Builder wrote %x: %v", b.Bytes(), err)
		}
		got := records(m)
		if ok && (len(got) != 2 || got[1] != rr) || !ok && len(got) != 1 {
			t.Errorf("wrote %v, read %v", rr, got)
		}
	})
}
