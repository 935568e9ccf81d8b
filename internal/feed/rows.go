package feed

import (
	"fmt"
	"net/netip"
	"time"
	"unicode/utf8"

	"github.com/lanfolk/lanfolk"
)

// rowDoc is what was heard of one row as it travels. Its times are nanoseconds: rows are
// told apart by them when they are shown.
type rowDoc struct {
	Link        string           `json:"interface,omitempty"`
	VLAN        uint16           `json:"vlan,omitempty"`
	Protocol    string           `json:"protocol"`
	Response    bool             `json:"response,omitempty"`
	Query       string           `json:"query,omitempty"`
	Fingerprint string           `json:"fingerprint,omitempty"`
	SrcMAC      lanfolk.MAC      `json:"src_mac"`
	DstMAC      lanfolk.MAC      `json:"dst_mac"`
	DstClass    lanfolk.DstClass `json:"dst_class,omitempty"`
	SrcIP       netip.Addr       `json:"src_ip,omitzero"`
	DstIP       netip.Addr       `json:"dst_ip,omitzero"`
	First       int64            `json:"first"`
	Last        int64            `json:"last"`
	Count       uint64           `json:"count"`
	// RawQuery and RawFingerprint hold what isn't UTF-8.
	RawQuery       []byte `json:"raw_query,omitempty"`
	RawFingerprint []byte `json:"raw_fingerprint,omitempty"`
}

// RowsHeader begins a batch of rows; a row's line is added by AppendRow.
func RowsHeader() []byte { return appendJSON(nil, header{Feed: "fingerprints", Version: version}) }

// AppendRow appends the line of a row, without its gateway.
func AppendRow(to []byte, o *lanfolk.Observation) []byte {
	x := rowDoc{
		Link: o.Link, VLAN: o.VLAN, Protocol: o.Protocol, Response: o.Response, Query: o.Query, Fingerprint: o.Fingerprint,
		SrcMAC: o.SrcMAC, DstMAC: o.DstMAC, DstClass: o.DstClass, SrcIP: o.SrcIP, DstIP: o.DstIP,
		Last: nanos(o.Last), Count: min(o.Count, maxCount),
	}
	if x.First = x.Last; !o.First.IsZero() {
		x.First = min(x.Last, nanos(o.First))
	}
	if !utf8.ValidString(x.Query) {
		x.Query, x.RawQuery = "", []byte(x.Query)
	}
	if !utf8.ValidString(x.Fingerprint) {
		x.Fingerprint, x.RawFingerprint = "", []byte(x.Fingerprint)
	}
	return appendJSON(to, x)
}

// maxCount bounds the packets of a row: sums of such stay far below what a database
// can count.
const maxCount = 1 << 40

// nanos is a moment in nanoseconds since 1970, and none before.
func nanos(t time.Time) int64 {
	if t.Year() < 1970 || t.Year() > 2261 {
		return 0
	}
	return t.UnixNano()
}

// ParseRow reads a line that AppendRow wrote.
func ParseRow(line []byte) (lanfolk.Observation, error) {
	var x rowDoc
	if err := unmarshal(line, &x); err != nil {
		return lanfolk.Observation{}, err
	}
	if len(x.RawQuery) > 0 {
		x.Query = string(x.RawQuery)
	}
	if len(x.RawFingerprint) > 0 {
		x.Fingerprint = string(x.RawFingerprint)
	}
	o := lanfolk.Observation{
		ObservationKey: lanfolk.ObservationKey{
			Link: x.Link, VLAN: x.VLAN, Protocol: x.Protocol, Response: x.Response, Query: x.Query, Fingerprint: x.Fingerprint,
			SrcMAC: x.SrcMAC, DstMAC: x.DstMAC, DstClass: x.DstClass,
		},
		SrcIP: x.SrcIP, DstIP: x.DstIP, First: time.Unix(0, x.First).UTC(), Last: time.Unix(0, x.Last).UTC(), Count: x.Count,
	}
	if x.First < 0 || x.First > x.Last || x.Count > maxCount {
		return o, fmt.Errorf("first: %d, last: %d, count: %d", x.First, x.Last, x.Count)
	}
	return o, CheckRow(&o)
}

// CheckRow returns an error for a row that can't travel.
func CheckRow(o *lanfolk.Observation) error {
	var c checks
	c.that(o.Protocol != "", "protocol: none")
	c.texts("row", []string{o.Protocol, o.Link, o.Query})
	c.that(len(o.Fingerprint) <= MaxDoc, "fingerprint: %d bytes, at most %d", len(o.Fingerprint), MaxDoc)
	c.that(o.VLAN < 4096, "vlan: %d", o.VLAN)
	c.that(o.Count > 0, "count: none")
	switch o.DstClass {
	case "", lanfolk.Unicast, lanfolk.Multicast, lanfolk.Broadcast:
	default:
		c.that(false, "dst_class: %q is none", clip(string(o.DstClass)))
	}
	return c.err
}

// ParseRows reads a batch of rows.
func ParseRows(data []byte) ([]lanfolk.Observation, error) {
	if _, err := parseHeader(data, "fingerprints"); err != nil {
		return nil, err
	}
	var rows []lanfolk.Observation
	for n, line := range lines(data) {
		if n == 1 {
			continue
		}
		o, err := ParseRow(line)
		if err != nil {
			return nil, at(n, err)
		}
		rows = append(rows, o)
	}
	return rows, nil
}
