package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/lanfolk/lanfolk"
)

func (s *Server) serviceRoutes() {
	huma.Register(s.api, operation("list-services", http.MethodGet, "/services", "List services", "inventory"),
		func(_ context.Context, in *FilterQuery) (*struct{ Body []*lanfolk.Service }, error) {
			f, err := in.filter()
			if err != nil {
				return nil, err
			}
			return &struct{ Body []*lanfolk.Service }{wireServices(s.o.Inventory.Services(f))}, nil
		})
}
