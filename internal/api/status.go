package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
)

func (s *Server) statusRoutes() {
	op := operation("get-status", http.MethodGet, "/status", "Say how the node is", "node", http.StatusNotImplemented)
	if s.o.StatusType != nil {
		op.Responses = map[string]*huma.Response{"200": {
			Description: "OK", Content: map[string]*huma.MediaType{"application/json": {Schema: s.schema(s.o.StatusType, "Status")}},
		}}
	}
	huma.Register(s.api, op, func(context.Context, *struct{}) (*struct{ Body any }, error) {
		if s.o.Status == nil {
			return nil, huma.NewError(http.StatusNotImplemented, "no status is kept here")
		}
		return &struct{ Body any }{s.o.Status()}, nil
	})
}
