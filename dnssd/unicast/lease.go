package unicast

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
)

// lease is what a lease record says. Most servers know nothing of leases (RFC 9664),
// so a Registrar writes one beside each name that it keeps, and refreshes it:
//
//	_lease.Web._http._tcp.example.com  TXT  "lease=1" "until=2026-11-21T18:00:00Z" "subtype=_admin" "host=old.example.com"
//	_lease.www.example.com             TXT  "lease=1" "until=2026-11-21T18:00:00Z" "for=Web._http._tcp.example.com"
//
// An instance has one, a host one for each instance that it is kept for. The
// names are of their own, because an instance has one TXT record (RFC 6763 §6.8).
type lease struct {
	until time.Time
	// subtypes are those by which an instance is listed: nothing else leads to
	// them when its owner is gone.
	subtypes []string
	// hosts are those that the instance led to before, and whose addresses are to
	// be removed.
	hosts  []string
	holder string // the instance that a host is kept for
}

const (
	leaseLabel   = "_lease"
	leaseVersion = "lease=1"
	// maxLeases bounds the lease records of a name that are looked at.
	maxLeases = 256
)

// leaseName returns where the lease records of a name are.
func leaseName(n dnswire.Name) (dnswire.Name, error) {
	l, err := n.Prepend(leaseLabel)
	if err != nil {
		return "", fmt.Errorf("unicast: lease of %s: %w", n, err)
	}
	return l, nil
}

// record writes the lease of a name.
func (l lease) record(n dnswire.Name, ttl uint32) (dnswire.RR, error) {
	at, err := leaseName(n)
	if err != nil {
		return dnswire.RR{}, err
	}
	text := []string{leaseVersion, "until=" + l.until.UTC().Format(time.RFC3339)}
	if l.holder != "" {
		text = append(text, "for="+l.holder)
	}
	for _, s := range l.hosts {
		text = append(text, "host="+s)
	}
	for _, s := range l.subtypes {
		text = append(text, "subtype="+s)
	}
	return dnswire.NewTXT(at, ttl, text...)
}

// parseLease reads a record, and says whether it is a lease.
func parseLease(rr dnswire.RR) (l lease, ok bool) {
	text, isTXT := rr.TXT()
	if !isTXT || rr.Type != dnswire.TypeTXT || len(text) < 2 || text[0] != leaseVersion {
		return lease{}, false
	}
	for _, s := range text[1:] {
		key, value, _ := strings.Cut(s, "=")
		switch key {
		case "until":
			t, err := time.Parse(time.RFC3339, value)
			if err != nil || !l.until.IsZero() || t.UTC().Year() < 1970 || t.UTC().Year() > 9999 {
				return lease{}, false
			}
			l.until = t
		case "for":
			l.holder = value
		case "host":
			l.hosts = append(l.hosts, value)
		case "subtype":
			if value != "" && len(value) <= maxLabel {
				l.subtypes = append(l.subtypes, value)
			}
		}
	}
	return l, !l.until.IsZero()
}

// ranOut says whether a lease has run out for sure, whatever the clocks of who wrote it
// and who reads it differ by.
func (l lease) ranOut(now time.Time, grace time.Duration) bool { return now.After(l.until.Add(grace)) }

// holderOf names an instance in the lease of its host.
func holderOf(instance dnswire.Name) string {
	if s := instance.String(); len(s) <= 250 {
		return s
	}
	sum := sha256.Sum256([]byte(instance.Fold()))
	return hex.EncodeToString(sum[:])
}
