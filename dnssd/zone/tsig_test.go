package zone_test

import (
	"encoding/base64"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/lanfolk/lanfolk/dnssd/unicast"
	"github.com/lanfolk/lanfolk/dnssd/zone"
	"github.com/lanfolk/lanfolk/dnswire"
)

const testSecret = "c2VjcmV0IG9mIHRoZSB0ZXN0IG9ubHk="

func testKey() *unicast.Key {
	k, err := unicast.ParseKey([]byte("Transfer.example.com:hmac-sha256:" + testSecret))
	if err != nil {
		panic(err)
	}
	return &k
}

// signed packs a message with a signature that miekg/dns makes.
func signed(t testing.TB, m *dns.Msg, name, algorithm, secret string, at time.Time) (data []byte, mac string) {
	t.Helper()
	m.SetTsig(name, algorithm, 300, at.Unix())
	data, mac, err := dns.TsigGenerate(m, secret, "", false)
	if err != nil {
		t.Fatal(err)
	}
	return data, mac
}

func TestSignedQueries(t *testing.T) {
	for _, algorithm := range []string{dns.HmacSHA1, dns.HmacSHA224, dns.HmacSHA256, dns.HmacSHA384, dns.HmacSHA512} {
		key := testKey()
		key.Algorithm = strings.TrimSuffix(algorithm, ".")
		z := newZone(t, func(c *zone.Config) { c.Secondaries = []zone.Secondary{{Key: key}} })
		put(t, z, laser())
		for name, c := range map[string]struct {
			key, secret string
			at          time.Time
			wrong       uint16
		}{
			"right":     {"transfer.example.com.", testSecret, start, 0},
			"late":      {"TRANSFER.example.com.", testSecret, start.Add(-299 * time.Second), 0},
			"too late":  {"transfer.example.com.", testSecret, start.Add(-301 * time.Second), dns.RcodeBadTime},
			"too early": {"transfer.example.com.", testSecret, start.Add(301 * time.Second), dns.RcodeBadTime},
			"no key":    {"other.example.com.", testSecret, start, dns.RcodeBadKey},
			"wrong key": {"transfer.example.com.", "d3Jvbmc=", start, dns.RcodeBadSig},
		} {
			m := new(dns.Msg)
			m.SetQuestion("_ipp._tcp.lan.example.com.", dns.TypePTR)
			m.SetEdns0(1232, false)
			q, mac := signed(t, m, c.key, algorithm, c.secret, c.at)
			a := zone.Answerer{Zones: []*zone.Zone{z}}
			b, v := a.Answer(nil, zone.Asked{Query: q, From: netip.MustParseAddrPort("192.0.2.53:53"), Time: start})
			var got dns.Msg
			if err := got.Unpack(b); err != nil || len(b) > 1232 {
				t.Fatalf("%s %s: %v in %d bytes", algorithm, name, err, len(b))
			}
			sig := got.IsTsig()
			if sig == nil || sig.Error != c.wrong {
				t.Errorf("%s %s: %v", algorithm, name, got.String())
				continue
			}
			if c.wrong != 0 {
				if got.Rcode != dns.RcodeNotAuth || len(got.Answer) > 0 || v != zone.Unsigned {
					t.Errorf("%s %s: %v", algorithm, name, got.String())
				}
				if c.wrong != dns.RcodeBadTime && sig.MACSize != 0 {
					t.Errorf("%s %s: signed with a key that wasn't shown to be theirs", algorithm, name)
				}
				continue
			}
			if got.Rcode != dns.RcodeSuccess || len(got.Answer) != 1 {
				t.Errorf("%s %s: %v", algorithm, name, got.String())
			}
			if err := verifyAt(b, testSecret, mac, sig); err != nil {
				t.Errorf("%s %s: the answer's signature: %v", algorithm, name, err)
			}
		}
	}
}

// verifyAt checks a signature as miekg/dns does; it has no other time than now, so
// that an error about the time alone is none.
func verifyAt(b []byte, secret, mac string, _ *dns.TSIG) error {
	if err := dns.TsigVerify(b, secret, mac, false); err != nil && err != dns.ErrTime {
		return err
	}
	return nil
}

// A bit that was changed on the way shows, and a message without its last record, or
// with another one behind the signature, is no query.
func TestSignatureCoversAll(t *testing.T) {
	z := newZone(t, func(c *zone.Config) { c.Secondaries = []zone.Secondary{{Key: testKey()}} })
	m := new(dns.Msg)
	m.SetQuestion("lan.example.com.", dns.TypeSOA)
	q, _ := signed(t, m, "transfer.example.com.", dns.HmacSHA256, testSecret, start)
	good := 0
	for bit := range 8 * len(q) {
		changed := append([]byte{}, q...)
		changed[bit/8] ^= 1 << (bit % 8)
		a := zone.Answerer{Zones: []*zone.Zone{z}}
		b, v := a.Answer(nil, zone.Asked{Query: changed, From: netip.MustParseAddrPort("192.0.2.53:53"), Time: start})
		if v != zone.Answered {
			continue
		}
		if bit < 16 {
			good++ // the ID, which the signature has, too: whoever forwards a message changes it
			continue
		}
		var got dns.Msg
		if err := got.Unpack(b); err != nil || got.IsTsig() != nil {
			// A letter's case isn't signed (RFC 8945 §4.3.3) in the key's and the algorithm's names.
			at := strings.IndexByte(string(q[12:]), 0) + 12
			if bit/8 < at || changed[bit/8]|0x20 != q[bit/8]|0x20 {
				t.Errorf("bit %d is not signed: %v", bit, got.String())
			}
		}
	}
	if good != 16 {
		t.Errorf("%d of 16 bits of the ID may change", good)
	}
}

func TestTransfersAreForSecondaries(t *testing.T) {
	other, err := unicast.ParseKey([]byte("other:hmac-sha256:" + base64.StdEncoding.EncodeToString([]byte("other"))))
	if err != nil {
		t.Fatal(err)
	}
	z := newZone(t, func(c *zone.Config) {
		c.Secondaries = []zone.Secondary{
			{Address: netip.MustParseAddrPort("192.0.2.53:53")},
			{Address: netip.MustParseAddrPort("192.0.2.54:53"), Key: testKey()},
			{Key: &other},
		}
	})
	for _, c := range []struct {
		from, key, secret string
		allowed           bool
	}{
		{"192.0.2.53:4000", "", "", true},
		{"[::ffff:192.0.2.53]:4000", "", "", true},
		{"192.0.2.54:4000", "", "", false},
		{"192.0.2.54:4000", "transfer.example.com.", testSecret, true},
		{"192.0.2.55:4000", "transfer.example.com.", testSecret, false},
		{"192.0.2.55:4000", "other.", base64.StdEncoding.EncodeToString([]byte("other")), true},
		{"192.0.2.54:4000", "other.", testSecret, false},
		{"192.0.2.55:4000", "", "", false},
	} {
		for _, typ := range []uint16{dns.TypeAXFR, dns.TypeIXFR} {
			m := new(dns.Msg)
			m.SetQuestion("lan.example.com.", typ)
			q, err := m.Pack()
			if err != nil {
				t.Fatal(err)
			}
			if c.key != "" {
				q, _ = signed(t, m, c.key, dns.HmacSHA256, c.secret, start)
			}
			a := zone.Answerer{Zones: []*zone.Zone{z}}
			_, v := a.Answer(nil, zone.Asked{Query: q, From: netip.MustParseAddrPort(c.from), TCP: true, Time: start})
			if (v == zone.Transfer) != c.allowed {
				t.Errorf("%s from %s with key %q: %v", dns.TypeToString[typ], c.from, c.key, v)
			}
		}
	}
	// Nor of a name that is no zone's.
	m := new(dns.Msg)
	m.SetQuestion("_tcp.lan.example.com.", dns.TypeAXFR)
	a := zone.Answerer{Zones: []*zone.Zone{z}}
	q, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	if _, v := a.Answer(nil, zone.Asked{Query: q, From: netip.MustParseAddrPort("192.0.2.53:1"), TCP: true, Time: start}); v != zone.Refused {
		t.Errorf("a transfer of a name inside: %v", v)
	}
}

// One who has the present version gets the SOA record alone, by TCP and by UDP
// (RFC 1995 §2).
func TestIXFR(t *testing.T) {
	z := newZone(t, func(c *zone.Config) {
		c.Secondaries = []zone.Secondary{{Address: netip.MustParseAddrPort("192.0.2.53:53")}}
	})
	put(t, z, laser())
	for serial, want := range map[uint32]int{z.Serial(): 1, z.Serial() - 1: 15, 0: 15} {
		m := new(dns.Msg)
		m.SetIxfr("lan.example.com.", serial, "ns.lan.example.com.", "hostmaster.lan.example.com.")
		q, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		a := zone.Answerer{Zones: []*zone.Zone{z}}
		in := zone.Asked{Query: q, From: netip.MustParseAddrPort("192.0.2.53:1"), TCP: true, Time: start}
		if _, v := a.Answer(nil, in); v != zone.Transfer {
			t.Fatal(v)
		}
		n := 0
		for b := range a.Transfer(in) {
			var got dns.Msg
			if err := got.Unpack(b); err != nil {
				t.Fatal(err)
			}
			n += len(got.Answer)
		}
		if n != want {
			t.Errorf("from %d: %d records, want %d", serial, n, want)
		}
		in.TCP = false
		b, v := a.Answer(nil, in)
		var got dns.Msg
		if err := got.Unpack(b); err != nil || v != zone.Answered || len(got.Answer) != 1 || got.Answer[0].Header().Rrtype != dns.TypeSOA {
			t.Errorf("by UDP: %v %v", v, got.String())
		}
	}
}

func TestKeyWithAnUnknownAlgorithm(t *testing.T) {
	_, err := zone.New(zone.Config{Domain: "x.example", Secondaries: []zone.Secondary{{Key: &unicast.Key{Name: dnswire.Root, Algorithm: "hmac-md5"}}}}, start)
	if err == nil || !strings.Contains(err.Error(), "the algorithm is unknown") {
		t.Error(err)
	}
}
