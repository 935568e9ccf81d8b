package api

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/store"
)

// Fingerprints is what passive monitoring keeps: a store.Recorder, which looks into
// memory and the database together.
type Fingerprints interface {
	// Latest returns the row heard last of those that f asks for, and whether
	// there is one.
	Latest(ctx context.Context, f store.ObservationFilter) (lanfolk.Observation, bool, error)
	// ObservationPage returns rows, the one heard last first, and where they go on.
	ObservationPage(ctx context.Context, f store.ObservationFilter) ([]lanfolk.Observation, store.Cursor, error)
}

// Fingerprint is a row as it goes out.
type Fingerprint struct {
	lanfolk.Observation
	Hash string `json:"fingerprint_hash" doc:"The fingerprint's key, 24 hexadecimal digits; empty if there is none."`
}

// defaultFingerprints is how many rows are answered when the caller names no
// number.
const defaultFingerprints = 1000

type fingerprintQuery struct {
	Protocol    string    `query:"protocol" maxLength:"32" doc:"Only this protocol."`
	Query       string    `query:"query" maxLength:"1024" doc:"The name asked for or announced; * stands for any characters."`
	Fingerprint string    `query:"fingerprint" maxLength:"4096" doc:"The fingerprint's text, or its hash."`
	MAC         string    `query:"mac" maxLength:"17" doc:"The MAC on either side."`
	SrcMAC      string    `query:"src_mac" maxLength:"17" doc:"The MAC that sent."`
	DstMAC      string    `query:"dst_mac" maxLength:"17" doc:"The MAC that it was sent to."`
	IP          string    `query:"ip" maxLength:"64" doc:"The IP address on either side, in the last packet."`
	Interface   string    `query:"interface" maxLength:"64" doc:"Heard on this interface."`
	Gateway     string    `query:"gateway" maxLength:"255" doc:"Heard by this gateway."`
	VLAN        string    `query:"vlan" maxLength:"4" pattern:"^[0-9]*$" doc:"Heard in this VLAN; 0 is none."`
	Response    string    `query:"response" enum:"true,false" doc:"Only answers and announcements, or only questions."`
	Since       time.Time `query:"since" doc:"Heard at this time or later."`
	Until       time.Time `query:"until" doc:"Heard last before this time."`
	Latest      bool      `query:"latest" doc:"Only the newest row."`
	Limit       int       `query:"limit" minimum:"0" maximum:"100000" doc:"At most so many rows, 1000 if it is left out."`
	After       string    `query:"after" maxLength:"64" doc:"Go on where a page ended, as the header Link of its answer says."`

	self url.URL
}

// Resolve keeps the request's address for the header Link.
func (in *fingerprintQuery) Resolve(ctx huma.Context) []error {
	in.self = ctx.URL()
	return nil
}

// fingerprintPage is an answer.
type fingerprintPage struct {
	// Link names the next page, if there is one (RFC 8288).
	Link string `header:"Link" doc:"The next page's address with rel=\"next\", where there are more rows."`
	Body []Fingerprint
}

func (s *Server) fingerprintRoutes() {
	op := operation("list-fingerprints", http.MethodGet, "/fingerprints", "List what passive monitoring keeps, newest first", "passive", http.StatusNotImplemented)
	op.Description = "What waits in memory is in it. Where there are more rows than the limit the header Link names the next page."
	huma.Register(s.api, op, s.fingerprints)
}

func (s *Server) fingerprints(ctx context.Context, in *fingerprintQuery) (*fingerprintPage, error) {
	if s.o.Fingerprints == nil {
		return nil, huma.NewError(http.StatusNotImplemented, "no fingerprints are kept here")
	}
	f, err := in.filter()
	if err != nil {
		return nil, err
	}
	if in.Latest {
		row, ok, err := s.o.Fingerprints.Latest(ctx, f)
		if err != nil {
			return nil, failed(err)
		}
		page := &fingerprintPage{Body: []Fingerprint{}}
		if ok {
			page.Body = append(page.Body, wireFingerprint(row))
		}
		return page, nil
	}
	rows, next, err := s.o.Fingerprints.ObservationPage(ctx, f)
	if err != nil {
		return nil, failed(err)
	}
	page := &fingerprintPage{Body: make([]Fingerprint, len(rows))}
	for i, o := range rows {
		page.Body[i] = wireFingerprint(o)
	}
	if !next.IsZero() {
		page.Link = in.next(next)
	}
	return page, nil
}

// next writes the header Link of a page.
func (in *fingerprintQuery) next(at store.Cursor) string {
	q := in.self.Query()
	q.Set("after", at.String())
	return fmt.Sprintf(`<%s?%s>; rel="next"`, in.self.Path, q.Encode())
}

func wireFingerprint(o lanfolk.Observation) Fingerprint {
	return Fingerprint{wireObservation(o), store.FingerprintHash(o.Fingerprint)}
}

// filter reads the query.
func (in *fingerprintQuery) filter() (store.ObservationFilter, error) {
	f := store.ObservationFilter{
		Protocol: in.Protocol, Query: in.Query, Fingerprint: in.Fingerprint, Link: in.Interface, Gateway: in.Gateway,
		Since: in.Since, Until: in.Until, Limit: in.Limit,
	}
	for _, m := range []struct {
		name, text string
		to         *lanfolk.MAC
	}{{"mac", in.MAC, &f.MAC}, {"src_mac", in.SrcMAC, &f.SrcMAC}, {"dst_mac", in.DstMAC, &f.DstMAC}} {
		if m.text == "" {
			continue
		}
		var err error
		if *m.to, err = lanfolk.ParseMAC(m.text); err != nil {
			return f, refused("query."+m.name, err.Error(), m.text)
		}
	}
	var err error
	if in.IP != "" {
		if f.IP, err = netip.ParseAddr(in.IP); err != nil {
			return f, refused("query.ip", "is no IP address", in.IP)
		}
	}
	if in.VLAN != "" {
		n, err := strconv.ParseUint(in.VLAN, 10, 12)
		if err != nil {
			return f, refused("query.vlan", "is no number from 0 to 4095", in.VLAN)
		}
		vlan := uint16(n)
		f.VLAN = &vlan
	}
	if in.Response != "" {
		response := in.Response == "true"
		f.Response = &response
	}
	if f.After, err = store.ParseCursor(in.After); err != nil {
		return f, refused("query.after", "is no cursor: want what the header Link gave", in.After)
	}
	if f.Limit == 0 {
		f.Limit = defaultFingerprints
	}
	return f, nil
}
