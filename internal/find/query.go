package find

import (
	"fmt"
	"net/netip"
	"strings"
	"unicode/utf8"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/syncthing"
)

// Query is what somebody looks for. Just one field beside Text is set; with
// none, Text is a bare word: a host or device name.
type Query struct {
	Text string
	// ServiceType is a DNS-SD type, "_ipp._tcp", perhaps with a subtype
	// before it, "_universal._sub._ipp._tcp".
	ServiceType string
	Host        string // a name with a dot: "nas.local"
	Addr        netip.Addr
	MAC         lanfolk.MAC
	Device      syncthing.DeviceID // a device of Syncthing's
}

// maxQuery is the longest query in bytes: a DNS name has at most 253.
const maxQuery = 255

// ParseQuery tells what kind of thing text names.
func ParseQuery(text string) (Query, error) {
	q := Query{Text: strings.TrimSpace(text)}
	switch {
	case q.Text == "":
		return Query{}, fmt.Errorf("find: the query is empty")
	case len(q.Text) > maxQuery:
		return Query{}, fmt.Errorf("find: the query has %d bytes; at most %d", len(q.Text), maxQuery)
	case !utf8.ValidString(q.Text):
		return Query{}, fmt.Errorf("find: the query is not UTF-8")
	}
	if addr, err := netip.ParseAddr(q.Text); err == nil {
		q.Addr = addr.Unmap()
		return q, nil
	}
	if strings.Count(q.Text, ":")+strings.Count(q.Text, "-") == 5 {
		if mac, err := lanfolk.ParseMAC(q.Text); err == nil {
			q.MAC = mac
			return q, nil
		}
	}
	name := strings.TrimSuffix(strings.TrimSuffix(q.Text, "."), ".local")
	if strings.HasPrefix(name, "_") || strings.Contains(name, "._sub._") {
		if !strings.HasSuffix(name, "._tcp") && !strings.HasSuffix(name, "._udp") {
			return Query{}, fmt.Errorf("find: %q is no service type: it must end in ._tcp or ._udp (RFC 6763 §7)", q.Text)
		}
		q.ServiceType = name
		return q, nil
	}
	if strings.Contains(q.Text, ".") {
		q.Host = strings.TrimSuffix(q.Text, ".")
		return q, nil
	}
	return q, q.device()
}

// device reads a word that is a device ID. Others of the same length stay words, but for
// those that look like an ID with check digits: these are there to find slips.
func (q *Query) device() error {
	id, err := syncthing.ParseID(q.Text)
	digits := len(separators().Replace(q.Text))
	switch {
	case err == nil && (digits != plainDigits || grouped(q.Text)):
		q.Device = id
	case err != nil && digits == checkedDigits && grouped(q.Text):
		return fmt.Errorf("find: %s", strings.TrimPrefix(err.Error(), "syncthing: "))
	}
	return nil
}

// A device ID has 56 digits in groups of seven, or 52 without check digits.
const (
	checkedDigits = 56
	plainDigits   = 52
	groupDigits   = 7
)

// grouped says whether a word consists of letters and figures, in groups of seven or in one.
func grouped(text string) bool {
	groups := strings.FieldsFunc(text, func(r rune) bool { return r == '-' || r == ' ' })
	for i, g := range groups {
		if len(groups) > 1 && len(g) != groupDigits && i < len(groups)-1 ||
			strings.ContainsFunc(g, func(r rune) bool { return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') }) {
			return false
		}
	}
	return true
}

func separators() *strings.Replacer { return strings.NewReplacer("-", "", " ", "") }

// LocalHost is the mDNS name to look up for a query that names a host: a bare
// word is taken as a name in .local.
func (q Query) LocalHost() string {
	switch {
	case q.Host != "":
		return q.Host
	case q.ServiceType == "" && !q.Addr.IsValid() && q.MAC == (lanfolk.MAC{}) && q.Device == (syncthing.DeviceID{}) && !strings.ContainsAny(q.Text, " /"):
		return q.Text + ".local"
	}
	return ""
}
