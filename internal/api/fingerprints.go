package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/store"
)

// defaultFingerprints is how many rows are answered when the caller names no
// number.
const defaultFingerprints = 1000

type fingerprintQuery struct {
	Protocol string    `query:"protocol" maxLength:"32" doc:"Only this protocol."`
	Query    string    `query:"query" maxLength:"1024" doc:"The name asked for or announced; * stands for any characters."`
	MAC      string    `query:"mac" maxLength:"17" doc:"The MAC on either side."`
	Since    time.Time `query:"since" doc:"Heard at this time or later."`
	Latest   bool      `query:"latest" doc:"Only the newest row."`
	Limit    int       `query:"limit" minimum:"0" maximum:"100000" doc:"At most so many rows, 1000 if it is left out."`
}

func (s *Server) fingerprintRoutes() {
	huma.Register(s.api, operation("list-fingerprints", http.MethodGet, "/fingerprints", "List what passive monitoring keeps, newest first", "passive", http.StatusNotImplemented),
		func(ctx context.Context, in *fingerprintQuery) (*struct{ Body []lanfolk.Observation }, error) {
			if s.o.Fingerprints == nil {
				return nil, huma.NewError(http.StatusNotImplemented, "no fingerprints are kept here")
			}
			f := store.ObservationFilter{Protocol: in.Protocol, Query: in.Query, Since: in.Since, Limit: in.Limit}
			if in.MAC != "" {
				var err error
				if f.MAC, err = lanfolk.ParseMAC(in.MAC); err != nil {
					return nil, refused("query.mac", err.Error(), in.MAC)
				}
			}
			if f.Limit == 0 {
				f.Limit = defaultFingerprints
			}
			if in.Latest {
				f.Limit = 1
			}
			rows, err := s.o.Fingerprints(ctx, f)
			if err != nil {
				return nil, failed(err)
			}
			body := make([]lanfolk.Observation, len(rows))
			for i, o := range rows {
				body[i] = wireObservation(o)
			}
			return &struct{ Body []lanfolk.Observation }{body}, nil
		})
}
