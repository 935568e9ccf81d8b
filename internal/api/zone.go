package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/lanfolk/lanfolk/internal/find"
)

// Zones are the DNS-SD zones that a node publishes services in. An error of
// ZoneFile for a domain without a zone matches lanfolk.ErrNotFound.
type Zones interface {
	Zones() []find.Zone
	// ZoneFile returns a zone as a zone file, or the part of it that another one can
	// include.
	ZoneFile(domain string, include bool) ([]byte, error)
}

type zoneQuery struct {
	Domain  string `path:"domain" maxLength:"255" doc:"The zone's domain."`
	Include bool   `query:"include" doc:"Only what another zone file can take in by $INCLUDE: no SOA, no NS."`
}

type zoneFile struct {
	ContentType  string `header:"Content-Type"`
	CacheControl string `header:"Cache-Control"`
	Body         []byte
}

func (s *Server) zoneRoutes() {
	huma.Register(s.api, operation("list-zones", http.MethodGet, "/zones", "List the DNS-SD zones that services are published in", "node", http.StatusNotImplemented),
		func(context.Context, *struct{}) (*struct{ Body []find.Zone }, error) {
			if s.o.Zones == nil {
				return nil, errNoZones()
			}
			return &struct{ Body []find.Zone }{s.o.Zones.Zones()}, nil
		})

	op := operation("get-zone-file", http.MethodGet, "/zones/{domain}/file", "Get a DNS-SD zone as a zone file", "node", http.StatusNotFound, http.StatusNotImplemented)
	op.Responses = map[string]*huma.Response{"200": {
		Description: "A zone file (RFC 1035 §5).", Content: map[string]*huma.MediaType{"text/dns": {Schema: &huma.Schema{Type: huma.TypeString}}},
	}}
	op.Middlewares = huma.Middlewares{unhurried}
	huma.Register(s.api, op, func(_ context.Context, in *zoneQuery) (*zoneFile, error) {
		if s.o.Zones == nil {
			return nil, errNoZones()
		}
		text, err := s.o.Zones.ZoneFile(in.Domain, in.Include)
		if err != nil {
			return nil, failed(err)
		}
		return &zoneFile{"text/dns; charset=us-ascii", "no-store", text}, nil
	})
}

func errNoZones() error {
	return huma.NewError(http.StatusNotImplemented, "no zone is published from here")
}
