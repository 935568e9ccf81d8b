package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// Session says who the caller is taken for.
type Session struct {
	Via   string `json:"via" enum:"socket,token,session" doc:"How the caller is known."`
	Token string `json:"token" doc:"The API token's name."`
}

// SignIn lets a browser in once.
type SignIn struct {
	Path    string    `json:"path" doc:"What to open in a browser, behind the page's address."`
	Expires time.Time `json:"expires"`
}

func (s *Server) sessionRoutes() {
	huma.Register(s.api, operation("get-session", http.MethodGet, "/session", "Say who the caller is taken for", "session"),
		func(ctx context.Context, _ *struct{}) (*struct{ Body Session }, error) {
			who := callerOf(ctx)
			return &struct{ Body Session }{Session{who.via, who.name}}, nil
		})

	open := operation("sign-in", http.MethodPost, "/session", "Take a sign-in token for a cookie", "session")
	open.Security = []map[string][]string{}
	open.MaxBodyBytes = 4096
	open.Middlewares = huma.Middlewares{keepRequest}
	huma.Register(s.api, open, func(ctx context.Context, in *struct {
		Body struct {
			Token string `json:"token" maxLength:"256" doc:"The sign-in token: it works once and for a short time."`
		}
	}) (*struct {
		Cookie http.Cookie `header:"Set-Cookie"`
	}, error) {
		now := time.Now()
		if !s.signIns.use(in.Body.Token, now) {
			return nil, huma.NewError(http.StatusUnauthorized, "this sign-in link was used already, or has expired")
		}
		value, expires := s.sessions.create(now)
		s.audit(ctx, "browser signed in")
		return &struct {
			Cookie http.Cookie `header:"Set-Cookie"`
		}{*sessionCookie(requestOf(ctx), value, expires)}, nil
	})

	shut := operation("sign-out", http.MethodDelete, "/session", "End the session of the cookie", "session")
	shut.Security = []map[string][]string{}
	shut.Middlewares = huma.Middlewares{keepRequest}
	huma.Register(s.api, shut, func(ctx context.Context, _ *struct{}) (*struct {
		Cookie http.Cookie `header:"Set-Cookie"`
	}, error) {
		r := requestOf(ctx)
		if c, err := r.Cookie(cookieName(r.Host)); err == nil {
			s.sessions.end(c.Value, time.Now())
		}
		gone := sessionCookie(r, "", time.Unix(1, 0))
		gone.MaxAge = -1
		return &struct {
			Cookie http.Cookie `header:"Set-Cookie"`
		}{*gone}, nil
	})

	huma.Register(s.api, operation("create-sign-in", http.MethodPost, "/sign-ins", "Make a sign-in token, on the unix socket only", "session"),
		func(ctx context.Context, _ *struct{}) (*struct{ Body SignIn }, error) {
			if callerOf(ctx).via != "socket" {
				return nil, huma.NewError(http.StatusForbidden, "only the unix socket makes sign-in tokens")
			}
			token, expires := s.signIns.create(time.Now())
			s.audit(ctx, "sign-in token made")
			return &struct{ Body SignIn }{SignIn{signInPath(token), expires.UTC()}}, nil
		})
}

// keepRequest lets a handler see the whole request.
func keepRequest(ctx huma.Context, next func(huma.Context)) {
	r, _ := humago.Unwrap(ctx)
	next(huma.WithValue(ctx, requestKey, r))
}

func requestOf(ctx context.Context) *http.Request {
	r, _ := ctx.Value(requestKey).(*http.Request)
	return r
}
