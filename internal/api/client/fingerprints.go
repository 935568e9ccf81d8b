package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/store"
)

// Fingerprints lists what passive monitoring keeps, newest first, and says where the
// rows go on: after the Cursor it returns, which is zero where there are no more. A
// Limit of 0 asks for 1000 rows.
func (c *Client) Fingerprints(ctx context.Context, f store.ObservationFilter) ([]lanfolk.Observation, store.Cursor, error) {
	var rows []lanfolk.Observation
	header, err := c.callWithHeader(ctx, http.MethodGet, "/fingerprints", fingerprintQuery(f), nil, &rows)
	if err != nil {
		return nil, store.Cursor{}, err
	}
	next, err := nextPage(header)
	return rows, next, err
}

// LatestFingerprint returns the row heard last of those that f asks for, and whether
// there is one.
func (c *Client) LatestFingerprint(ctx context.Context, f store.ObservationFilter) (lanfolk.Observation, bool, error) {
	q := fingerprintQuery(f)
	setFlag(q, "latest", true)
	var rows []lanfolk.Observation
	if err := c.get(ctx, "/fingerprints", q, &rows); err != nil || len(rows) == 0 {
		return lanfolk.Observation{}, false, err
	}
	return rows[0], true, nil
}

func fingerprintQuery(f store.ObservationFilter) url.Values {
	v := url.Values{}
	set(v, "protocol", f.Protocol)
	set(v, "query", f.Query)
	set(v, "fingerprint", f.Fingerprint)
	set(v, "mac", f.MAC.String())
	set(v, "src_mac", f.SrcMAC.String())
	set(v, "dst_mac", f.DstMAC.String())
	if f.IP.IsValid() {
		set(v, "ip", f.IP.String())
	}
	set(v, "interface", f.Link)
	set(v, "gateway", f.Gateway)
	if f.VLAN != nil {
		set(v, "vlan", strconv.Itoa(int(*f.VLAN)))
	}
	if f.Response != nil {
		set(v, "response", strconv.FormatBool(*f.Response))
	}
	setTime(v, "since", f.Since)
	setTime(v, "until", f.Until)
	set(v, "after", f.After.String())
	if f.Limit > 0 {
		v.Set("limit", strconv.Itoa(f.Limit))
	}
	return v
}

// nextPage reads the header Link, which has one link at most.
func nextPage(h http.Header) (store.Cursor, error) {
	target, relation, _ := strings.Cut(h.Get("Link"), ">")
	target, isLink := strings.CutPrefix(target, "<")
	if !isLink || !strings.Contains(relation, `rel="next"`) {
		return store.Cursor{}, nil
	}
	u, err := url.Parse(target)
	if err != nil {
		return store.Cursor{}, err
	}
	return store.ParseCursor(u.Query().Get("after"))
}
