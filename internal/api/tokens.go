package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/lanfolk/lanfolk/internal/access"
	"github.com/lanfolk/lanfolk/internal/api/wire"
)

// APITokenRequest asks for an API token.
type APITokenRequest struct {
	User string `json:"user,omitempty" maxLength:"64" doc:"Whose it is. Left out: the caller's own."`
	Name string `json:"name,omitempty" maxLength:"64" doc:"What it is for."`
	TTL  string `json:"ttl,omitempty" maxLength:"32" doc:"How long it lasts: 720h. Left out: for ever."`
}

// JoinTokenRequest asks for a token that lets a gateway join.
type JoinTokenRequest struct {
	Name    string `json:"name,omitempty" maxLength:"64" doc:"What the gateway will be called."`
	Gateway string `json:"gateway,omitempty" maxLength:"128" doc:"The gateway with a record that is to join again, by its id or name. Left out: whoever has the token, as a new one."`
	TTL     string `json:"ttl,omitempty" maxLength:"32" doc:"How long it lasts: 1h."`

	NoAddress bool `json:"no_address,omitempty" doc:"Leave out where the hub is: the gateway looks for it by DNS-SD, and knows it by its authority."`
}

func (s *Server) tokenRoutes() {
	huma.Register(s.api, takes(toSelf, administer("list-api-tokens", http.MethodGet, "/api-tokens", "List API tokens: all to admins, their own to others")),
		func(ctx context.Context, in *struct {
			User string `query:"user" maxLength:"64" doc:"Of this user."`
		}) (*struct{ Body []wire.APIToken }, error) {
			d, err := s.desk()
			if err != nil {
				return nil, err
			}
			tokens, err := d.APITokens(ctx, whoOf(ctx), in.User)
			if err != nil {
				return nil, failed(err)
			}
			return &struct{ Body []wire.APIToken }{each(tokens, wireAPIToken)}, nil
		})

	huma.Register(s.api, takes(toSelf, administer("create-api-token", http.MethodPost, "/api-tokens", "Make an API token: their own for all who are signed in, anybody's for admins", http.StatusNotFound)),
		func(ctx context.Context, in *struct{ Body APITokenRequest }) (*struct{ Body wire.NewAPIToken }, error) {
			d, err := s.desk()
			if err != nil {
				return nil, err
			}
			ttl, err := lifetime(in.Body.TTL)
			if err != nil {
				return nil, err
			}
			n := access.NewAPIToken{User: in.Body.User, Name: in.Body.Name}
			if ttl > 0 {
				n.Expires = time.Now().Add(ttl)
			}
			secret, t, err := d.CreateAPIToken(ctx, whoOf(ctx), n)
			if err != nil {
				return nil, failed(err)
			}
			return &struct{ Body wire.NewAPIToken }{wire.NewAPIToken{APIToken: wireAPIToken(t), Token: secret}}, nil
		})

	huma.Register(s.api, takes(toSelf, administer("revoke-api-token", http.MethodDelete, "/api-tokens/{id}", "End an API token: one's own, any for admins", http.StatusNotFound)),
		func(ctx context.Context, in *IDPath) (*struct{}, error) {
			d, err := s.desk()
			if err != nil {
				return nil, err
			}
			return done(d.RevokeAPIToken(ctx, whoOf(ctx), in.ID))
		})
}

// registrarRoutes is how gateways come to the hub, and go.
func (s *Server) registrarRoutes() {
	huma.Register(s.api, takes(toManage, administer("list-join-tokens", http.MethodGet, "/join-tokens", "List tokens that let gateways join, the newest first")),
		func(ctx context.Context, _ *struct{}) (*struct{ Body []wire.JoinToken }, error) {
			d, err := s.desk()
			if err != nil {
				return nil, err
			}
			tokens, err := d.JoinTokens(ctx, whoOf(ctx))
			if err != nil {
				return nil, failed(err)
			}
			return &struct{ Body []wire.JoinToken }{each(tokens, wireJoinToken)}, nil
		})

	huma.Register(s.api, administer("create-join-token", http.MethodPost, "/join-tokens", "Make a token that lets one gateway join", http.StatusNotFound),
		func(ctx context.Context, in *struct{ Body JoinTokenRequest }) (*struct{ Body wire.NewJoinToken }, error) {
			d, err := s.desk()
			if err != nil {
				return nil, err
			}
			r := access.JoinRequest{Name: in.Body.Name, NoAddress: in.Body.NoAddress}
			if r.TTL, err = lifetime(in.Body.TTL); err != nil {
				return nil, err
			}
			if in.Body.Gateway != "" {
				_, g, err := s.deskOf(ctx, in.Body.Gateway)
				if err != nil {
					return nil, err
				}
				r.Gateway = g.ID
			}
			text, t, err := d.Invite(ctx, whoOf(ctx), r)
			if err != nil {
				return nil, failed(err)
			}
			return &struct{ Body wire.NewJoinToken }{wire.NewJoinToken{JoinToken: wireJoinToken(t), Token: text}}, nil
		})

	huma.Register(s.api, administer("remove-join-token", http.MethodDelete, "/join-tokens/{id}", "Take back a token that lets a gateway join", http.StatusNotFound),
		func(ctx context.Context, in *IDPath) (*struct{}, error) {
			d, err := s.desk()
			if err != nil {
				return nil, err
			}
			return done(d.RemoveJoinToken(ctx, whoOf(ctx), in.ID))
		})

	huma.Register(s.api, takes(toManage, administer("list-revocations", http.MethodGet, "/revocations", "List gateways whose certificates were revoked")),
		func(ctx context.Context, _ *struct{}) (*struct{ Body []wire.Revocation }, error) {
			d, err := s.desk()
			if err != nil {
				return nil, err
			}
			revoked, err := d.Revoked(ctx, whoOf(ctx))
			if err != nil {
				return nil, failed(err)
			}
			return &struct{ Body []wire.Revocation }{each(revoked, wireRevocation)}, nil
		})
}

// lifetime reads how long a token shall last; 0 is what is left out.
func lifetime(ttl string) (time.Duration, error) {
	if ttl == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(ttl)
	if err != nil || d <= 0 {
		return 0, refused("body.ttl", "want a time as 1h or 720h", ttl)
	}
	return d, nil
}
