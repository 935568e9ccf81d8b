package unicast

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
)

const leased dnswire.Name = "\x03Web\x05_http\x04_tcp\x07example\x03com\x00"

var leaseSeeds = []string{
	"lease=1\nuntil=2026-11-21T18:00:00Z\nsubtype=_admin\nhost=old.example.com\nsubtype=a b", "lease=1\nuntil=2026-11-21T18:00:00+02:00\nfor=Web._http._tcp.example.com",
	"lease=1\nuntil=yesterday", "lease=1\nuntil=9999-12-31T23:59:59-01:00", "lease=2\nuntil=2026-11-21T18:00:00Z", "until=2026-11-21T18:00:00Z\nlease=1", "lease=1", "",
	"lease=1\nuntil=2026-11-21T18:00:00Z\nuntil=1999-11-21T18:00:00Z", "lease=1\nuntil=2026-11-21T18:00:00Z\nlater=key\nsubtype=",
}

// Whatever a record says, what is taken for a lease is one when it is written again.
func FuzzLease(f *testing.F) {
	for _, s := range leaseSeeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		rr, err := dnswire.NewTXT(leased, 60, strings.Split(text, "\n")...)
		if err != nil {
			return
		}
		l, ok := parseLease(rr)
		if !ok {
			return
		}
		again, err := l.record(leased, 60)
		if err != nil {
			return // too many subtypes for a record
		}
		b, ok := parseLease(again)
		if !ok || !b.until.Equal(l.until.Truncate(time.Second)) || b.holder != l.holder || !slices.Equal(b.subtypes, l.subtypes) || !slices.Equal(b.hosts, l.hosts) {
			t.Errorf("%+v was read again as %+v", l, b)
		}
	})
}

func TestLeaseSeeds(t *testing.T) {
	var good int
	for _, s := range leaseSeeds {
		rr, err := dnswire.NewTXT(leased, 60, strings.Split(s, "\n")...)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := parseLease(rr); ok {
			good++
		}
	}
	if good != 3 {
		t.Errorf("%d seeds are leases, want 3", good)
	}
}

func TestLeaseOfALongName(t *testing.T) {
	name, err := dnswire.NameOf(strings.Repeat("ä", 31), "_http", "_tcp", strings.Repeat("x", 63), strings.Repeat("y", 63), strings.Repeat("z", 48))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (lease{}).record(name, 60); err == nil || !strings.Contains(err.Error(), "unicast: lease of") {
		t.Errorf("error %v", err)
	}
	if h := holderOf(name); len(h) > 250 || len(h) < 64 {
		t.Errorf("holder %q", h)
	}
}
