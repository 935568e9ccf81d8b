package api

import (
	"context"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/lanfolk/lanfolk/internal/api/wire"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// GatewayPath names one gateway.
type GatewayPath struct {
	Ref string `path:"ref" maxLength:"255" doc:"The gateway's id, or a name that only one gateway has."`
}

// GatewayQuery says which gateways are meant.
type GatewayQuery struct {
	State    string `query:"state" enum:"online,offline" doc:"In this state."`
	Selector string `query:"selector" maxLength:"4096" doc:"With all of these labels: key=value,key=value."`
	Q        string `query:"q" maxLength:"255" doc:"Occurs in the id, name, address, version or labels, in any case."`
}

// match returns what the query asks for.
func (q *GatewayQuery) match() (func(Gateway) bool, error) {
	selector, err := fleet.ParseSelector(q.Selector)
	if err != nil {
		return nil, refused("query.selector", err.Error(), q.Selector)
	}
	text := strings.ToLower(q.Q)
	return func(g Gateway) bool {
		return (q.State == "" || g.State == q.State) && fleet.Matches(selector, g.Labels) &&
			(text == "" || strings.Contains(strings.ToLower(strings.Join(
				[]string{g.ID, g.Name, g.Address, g.Version, fleet.SelectorText(g.Labels)}, "\n")), text))
	}, nil
}

func (s *Server) gatewayRoutes() {
	huma.Register(s.api, operation("list-gateways", http.MethodGet, "/gateways", "List gateways", "fleet", http.StatusNotImplemented),
		func(ctx context.Context, in *GatewayQuery) (*struct{ Body []Gateway }, error) {
			if !s.listsGateways() {
				return nil, errNoFleet()
			}
			match, err := in.match()
			if err != nil {
				return nil, err
			}
			p, err := s.roster.get(ctx, 0)
			if err != nil {
				return nil, failed(err)
			}
			out := make([]Gateway, 0, len(p.list))
			for _, standing := range p.list {
				if g := s.wireGateway(standing); match(g) {
					out = append(out, g)
				}
			}
			return &struct{ Body []Gateway }{out}, nil
		})

	huma.Register(s.api, operation("get-gateway", http.MethodGet, "/gateways/{ref}", "Get a gateway", "fleet",
		http.StatusNotFound, http.StatusConflict, http.StatusNotImplemented),
		func(ctx context.Context, in *GatewayPath) (*struct{ Body Gateway }, error) {
			if !s.listsGateways() {
				return nil, errNoFleet()
			}
			g, err := s.gateway(ctx, in.Ref)
			if err != nil {
				return nil, failed(err)
			}
			return &struct{ Body Gateway }{s.wireGateway(g)}, nil
		})

	op := operation("watch-gateways", http.MethodGet, "/gateways/events", "Watch gateways", "fleet",
		http.StatusServiceUnavailable, http.StatusNotImplemented)
	op.Description = "Server-sent events: an add for every gateway that fits, a synced, then what changes. That a gateway was there again is no change. " +
		"Comments keep a quiet stream alive. A client that takes nothing for 30 seconds is cut off."
	op.Responses = s.eventResponse(wire.GatewayEvent{}, "GatewayEvent")
	huma.Register(s.api, op, func(ctx context.Context, in *GatewayQuery) (*huma.StreamResponse, error) {
		if !s.listsGateways() {
			return nil, errNoFleet()
		}
		match, err := in.match()
		if err != nil {
			return nil, err
		}
		ctx, done, err := s.stream(ctx)
		if err != nil {
			return nil, failed(err)
		}
		return &huma.StreamResponse{Body: func(c huma.Context) {
			defer done()
			_, w := humago.Unwrap(c)
			if err := s.watchGateways(ctx, newEventWriter(w, "text/event-stream"), match); err != nil && ctx.Err() == nil {
				s.log.DebugContext(ctx, "stream of gateways cut off", "err", err)
			}
		}}, nil
	})
}

// eventResponse describes a stream of events of one kind, and its synced.
func (s *Server) eventResponse(event any, name string) map[string]*huma.Response {
	return map[string]*huma.Response{"200": {
		Description: "The name of each event is its field event, its data one of these as JSON.",
		Content: map[string]*huma.MediaType{"text/event-stream": {Schema: &huma.Schema{OneOf: []*huma.Schema{
			s.schema(event, name), s.schema(SyncedEvent{}, "SyncedEvent"),
		}}}},
	}}
}

func (s *Server) listsGateways() bool { return s.o.Fleet != nil && s.o.Fleet.Gateways != nil }

func (s *Server) wireGateway(standing fleet.Standing) Gateway {
	devices := 0
	if s.o.Fleet.Counts != nil {
		devices = s.o.Fleet.Counts.Devices(standing.ID)
	}
	return wireGateway(standing, devices)
}
