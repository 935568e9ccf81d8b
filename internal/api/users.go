package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/lanfolk/lanfolk/internal/access"
	"github.com/lanfolk/lanfolk/internal/api/wire"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// UserPath names one account.
type UserPath struct {
	Name string `path:"name" maxLength:"64"`
}

// NewUser is an account to make.
type NewUser struct {
	Name     string `json:"name" maxLength:"64" doc:"Lower-case letters a to z, digits, and after the first any of . _ - @ +"`
	Role     string `json:"role,omitempty" enum:"viewer,operator,admin" doc:"What it may do everywhere. Left out: admin for the first account, viewer for others."`
	Password string `json:"password,omitempty" maxLength:"1024" doc:"Left out: the account can use API tokens only."`
}

// UserChange changes an account. What is left out stays as it is.
type UserChange struct {
	Role     string `json:"role,omitempty" enum:"viewer,operator,admin"`
	Password string `json:"password,omitempty" maxLength:"1024" doc:"It ends all of the user's sign-ins."`
	Current  string `json:"current_password,omitempty" maxLength:"1024" doc:"The password of now, for users who change their own."`
}

// NewGrant is a grant to make.
type NewGrant struct {
	User     string            `json:"user" maxLength:"64"`
	Verb     string            `json:"verb" enum:"exec,get,capture"`
	Selector map[string]string `json:"selector,omitempty" maxProperties:"64" doc:"Labels that the gateway has, all of them. Empty: every gateway."`
}

// desk is where people are looked after; a node has none.
func (s *Server) desk() (*access.Desk, error) {
	if s.o.Access == nil {
		return nil, errNoFleet()
	}
	return s.o.Access, nil
}

// administer describes an operation on people and what belongs to them.
func administer(id, method, path, summary string, errors ...int) huma.Operation {
	op := operation(id, method, path, summary, "people", append(errors, http.StatusNotImplemented)...)
	op.MaxBodyBytes = maxBody
	return op
}

func (s *Server) userRoutes() {
	huma.Register(s.api, takes(toManage, administer("list-users", http.MethodGet, "/users", "List the hub's accounts")),
		func(ctx context.Context, _ *struct{}) (*struct{ Body []wire.User }, error) {
			d, err := s.desk()
			if err != nil {
				return nil, err
			}
			users, err := d.Users(ctx, whoOf(ctx))
			if err != nil {
				return nil, failed(err)
			}
			return &struct{ Body []wire.User }{each(users, wireUser)}, nil
		})

	huma.Register(s.api, administer("create-user", http.MethodPost, "/users", "Make an account", http.StatusConflict),
		func(ctx context.Context, in *struct{ Body NewUser }) (*struct{ Body wire.User }, error) {
			d, err := s.desk()
			if err != nil {
				return nil, err
			}
			u, err := d.CreateUser(ctx, whoOf(ctx), access.NewUser{Name: in.Body.Name, Role: fleet.Role(in.Body.Role), Password: in.Body.Password})
			if err != nil {
				return nil, failed(err)
			}
			return &struct{ Body wire.User }{wireUser(u)}, nil
		})

	huma.Register(s.api, takes(toSelf, administer("change-user", http.MethodPatch, "/users/{name}", "Change an account's role or password", http.StatusNotFound, http.StatusConflict)),
		func(ctx context.Context, in *struct {
			UserPath
			Body UserChange
		}) (*struct{}, error) {
			d, err := s.desk()
			if err != nil {
				return nil, err
			}
			if in.Body.Password != "" { // before anything is done
				if err := access.CheckPassword(in.Body.Password); err != nil {
					return nil, failed(err)
				}
			}
			if in.Body.Role != "" {
				err = d.SetRole(ctx, whoOf(ctx), in.Name, fleet.Role(in.Body.Role))
			}
			if err == nil && in.Body.Password != "" {
				err = d.SetPassword(ctx, whoOf(ctx), in.Name, in.Body.Current, in.Body.Password)
			}
			return done(err)
		})

	huma.Register(s.api, administer("remove-user", http.MethodDelete, "/users/{name}", "Remove an account with its sign-ins, API tokens and grants", http.StatusNotFound, http.StatusConflict),
		func(ctx context.Context, in *UserPath) (*struct{}, error) {
			d, err := s.desk()
			if err != nil {
				return nil, err
			}
			return done(d.RemoveUser(ctx, whoOf(ctx), in.Name))
		})

	huma.Register(s.api, takes(toSelf, administer("list-grants", http.MethodGet, "/grants", "List grants: all to admins, their own to others")),
		func(ctx context.Context, in *struct {
			User string `query:"user" maxLength:"64" doc:"Of this user."`
		}) (*struct{ Body []wire.Grant }, error) {
			d, err := s.desk()
			if err != nil {
				return nil, err
			}
			if who := whoOf(ctx); in.User == "" && who.MayManage() != nil {
				in.User = who.Name
			}
			grants, err := d.Grants(ctx, whoOf(ctx), in.User)
			if err != nil {
				return nil, failed(err)
			}
			return &struct{ Body []wire.Grant }{wireGrants(grants)}, nil
		})

	huma.Register(s.api, administer("create-grant", http.MethodPost, "/grants", "Let a user run exec, get or capture at gateways with certain labels", http.StatusNotFound, http.StatusConflict),
		func(ctx context.Context, in *struct{ Body NewGrant }) (*struct{ Body wire.Grant }, error) {
			d, err := s.desk()
			if err != nil {
				return nil, err
			}
			g, err := d.Grant(ctx, whoOf(ctx), in.Body.User, in.Body.Verb, in.Body.Selector)
			if err != nil {
				return nil, failed(err)
			}
			return &struct{ Body wire.Grant }{wireGrant(g)}, nil
		})

	huma.Register(s.api, administer("remove-grant", http.MethodDelete, "/grants/{id}", "Take a grant back", http.StatusNotFound),
		func(ctx context.Context, in *IDPath) (*struct{}, error) {
			d, err := s.desk()
			if err != nil {
				return nil, err
			}
			return done(d.RemoveGrant(ctx, whoOf(ctx), in.ID))
		})
}

// IDPath names one thing by its id.
type IDPath struct {
	ID string `path:"id" maxLength:"128"`
}

// done answers a change that has nothing to show.
func done(err error) (*struct{}, error) {
	if err != nil {
		return nil, failed(err)
	}
	return nil, nil
}
