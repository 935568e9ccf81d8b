package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/lanfolk/lanfolk/internal/access"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// GatewayChange is what people say of a gateway. What is left out stays as it is.
type GatewayChange struct {
	Name   *string            `json:"name,omitempty" maxLength:"64"`
	Labels map[string]*string `json:"labels,omitempty" maxProperties:"64" doc:"Labels to set; null takes one away. A key has letters, digits and . _ / - between, a value no comma."`
}

// GatewayRevocation says why a gateway is revoked.
type GatewayRevocation struct {
	Why string `json:"why,omitempty" maxLength:"200"`
}

// gatewayChangeRoutes is what people say of gateways.
func (s *Server) gatewayChangeRoutes() {
	describe := func(id, method, path, summary string) huma.Operation {
		op := operation(id, method, path, summary, "fleet", http.StatusNotFound, http.StatusConflict, http.StatusNotImplemented)
		op.MaxBodyBytes = maxBody
		return takes(toManage, op)
	}

	huma.Register(s.api, describe("change-gateway", http.MethodPatch, "/gateways/{ref}", "Set a gateway's name and labels"),
		func(ctx context.Context, in *struct {
			GatewayPath
			Body GatewayChange
		}) (*struct{ Body Gateway }, error) {
			d, g, err := s.deskOf(ctx, in.Ref)
			if err != nil {
				return nil, err
			}
			g, err = d.ChangeGateway(ctx, whoOf(ctx), g.ID, access.Change{Name: in.Body.Name, Labels: in.Body.Labels})
			if err != nil {
				return nil, failed(err)
			}
			s.fleetChanged()
			return &struct{ Body Gateway }{s.wireGateway(g)}, nil
		})

	huma.Register(s.api, describe("revoke-gateway", http.MethodPost, "/gateways/{ref}/revoke", "Revoke a gateway's certificates, which ends what it has going on"),
		func(ctx context.Context, in *struct {
			GatewayPath
			Body GatewayRevocation `required:"false"`
		}) (*struct{}, error) {
			d, g, err := s.deskOf(ctx, in.Ref)
			if err != nil {
				return nil, err
			}
			err = d.RevokeGateway(ctx, whoOf(ctx), g.ID, in.Body.Why)
			s.fleetChanged()
			return done(err)
		})

	huma.Register(s.api, describe("forget-gateway", http.MethodDelete, "/gateways/{ref}", "Drop the record of a gateway that is offline and was revoked"),
		func(ctx context.Context, in *GatewayPath) (*struct{}, error) {
			d, g, err := s.deskOf(ctx, in.Ref)
			if err != nil {
				return nil, err
			}
			err = d.ForgetGateway(ctx, whoOf(ctx), g.ID)
			s.fleetChanged()
			return done(err)
		})
}

// deskOf returns the desk, and the gateway that a caller named.
func (s *Server) deskOf(ctx context.Context, ref string) (*access.Desk, fleet.Standing, error) {
	d, err := s.desk()
	if err != nil {
		return nil, fleet.Standing{}, err
	}
	if !s.listsGateways() {
		return nil, fleet.Standing{}, errNoFleet()
	}
	g, err := s.gateway(ctx, ref)
	if err != nil {
		return nil, fleet.Standing{}, failed(err)
	}
	return d, g, nil
}
