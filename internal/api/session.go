package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/lanfolk/lanfolk/internal/access"
	"github.com/lanfolk/lanfolk/internal/api/wire"
)

// Session says who the caller is taken for.
type Session struct {
	Via   string `json:"via" enum:"socket,token,session" doc:"How the caller is known."`
	Token string `json:"token" doc:"The API token's name; at a hub its id."`
	*HubSession
}

// HubSession is what a hub says more.
type HubSession struct {
	Name    string       `json:"name" required:"false" doc:"The user's name, or uid:N on the unix socket."`
	Role    string       `json:"role" required:"false" enum:"viewer,operator,admin"`
	Grants  []wire.Grant `json:"grants" required:"false" doc:"What the user may do at some gateways beside what the role says."`
	CSRF    string       `json:"csrf,omitempty" doc:"What each request with this cookie that changes something carries in X-CSRF-Token."`
	Expires time.Time    `json:"expires,omitzero" doc:"When the cookie's session ends."`
}

// SignIn lets a browser in once.
type SignIn struct {
	Path    string    `json:"path" doc:"What to open in a browser, behind the page's address."`
	Expires time.Time `json:"expires"`
}

// credentials are what a browser signs in with.
type credentials struct {
	Token    string `json:"token,omitempty" maxLength:"256" doc:"At a node: the sign-in token. It works once and for a short time."`
	Name     string `json:"name,omitempty" maxLength:"128" doc:"At a hub."`
	Password string `json:"password,omitempty" maxLength:"1024" doc:"At a hub."`
}

type withCookie struct {
	Cookie http.Cookie `header:"Set-Cookie"`
}

func (s *Server) sessionRoutes() {
	huma.Register(s.api, takes(toSelf, operation("get-session", http.MethodGet, "/session", "Say who the caller is taken for", "session")),
		func(ctx context.Context, _ *struct{}) (*struct{ Body Session }, error) {
			who := callerOf(ctx)
			out := Session{Via: who.via, Token: who.name}
			if s.o.Access != nil {
				out.HubSession = &HubSession{
					Name: who.who.Name, Role: string(who.who.Role), Grants: wireGrants(who.who.Grants),
					CSRF: who.session.CSRF, Expires: who.session.Expires.UTC(),
				}
			}
			return &struct{ Body Session }{out}, nil
		})

	open := operation("sign-in", http.MethodPost, "/session", "Take a sign-in token, or a name and a password, for a cookie", "session", http.StatusTooManyRequests)
	open.Security = []map[string][]string{}
	open.MaxBodyBytes = 4096
	open.Middlewares = huma.Middlewares{keepRequest}
	huma.Register(s.api, open, func(ctx context.Context, in *struct{ Body credentials }) (*withCookie, error) {
		if s.o.Access != nil {
			return s.signInByName(ctx, in.Body)
		}
		now := time.Now()
		if !s.signIns.use(in.Body.Token, now) {
			return nil, huma.NewError(http.StatusUnauthorized, "this sign-in link was used already, or has expired")
		}
		value, expires := s.sessions.create(now)
		s.audit(ctx, "browser signed in")
		return &withCookie{*sessionCookie(requestOf(ctx), value, expires)}, nil
	})

	shut := operation("sign-out", http.MethodDelete, "/session", "End the session of the cookie", "session")
	shut.Security = []map[string][]string{}
	shut.Middlewares = huma.Middlewares{keepRequest}
	huma.Register(s.api, shut, func(ctx context.Context, _ *struct{}) (*withCookie, error) {
		r := requestOf(ctx)
		if s.o.Access != nil {
			return s.signOutByName(ctx, r)
		}
		if c, err := r.Cookie(cookieName(r.Host)); err == nil {
			s.sessions.end(c.Value, time.Now())
		}
		return &withCookie{gone(sessionCookie(r, "", time.Unix(1, 0)))}, nil
	})

	huma.Register(s.api, operation("create-sign-in", http.MethodPost, "/sign-ins", "Make a sign-in token, on a node's unix socket only", "session", http.StatusNotImplemented),
		func(ctx context.Context, _ *struct{}) (*struct{ Body SignIn }, error) {
			if s.o.Access != nil {
				return nil, huma.NewError(http.StatusNotImplemented, "at a hub people sign in by name and password")
			}
			if callerOf(ctx).via != "socket" {
				return nil, huma.NewError(http.StatusForbidden, "only the unix socket makes sign-in tokens")
			}
			token, expires := s.signIns.create(time.Now())
			s.audit(ctx, "sign-in token made")
			return &struct{ Body SignIn }{SignIn{signInPath(token), expires.UTC()}}, nil
		})
}

func gone(c *http.Cookie) http.Cookie {
	c.MaxAge = -1
	return *c
}

// signInByName begins a session at a hub. It is always a new one, and the one that the
// browser brought ends: whoever slipped that to it knows nothing (session fixation).
func (s *Server) signInByName(ctx context.Context, c credentials) (*withCookie, error) {
	if c.Token != "" || c.Name == "" || c.Password == "" {
		return nil, refused("body", "want name and password: this is a hub", nil)
	}
	r := requestOf(ctx)
	session, err := s.o.Access.SignIn(ctx, c.Name, c.Password, r.RemoteAddr)
	if soon, ok := errors.AsType[access.TooSoon](err); ok {
		wait := strconv.Itoa(max(int(soon.Wait/time.Second), 1))
		return nil, huma.ErrorWithHeaders(huma.NewError(http.StatusTooManyRequests, "too many tries; wait "+wait+" s"), http.Header{"Retry-After": {wait}})
	}
	if errors.Is(err, access.ErrUnrecognised) {
		f := s.signInFirst(ctx, "the name or the password is wrong")
		return nil, &huma.ErrorModel{Type: f.kind, Title: http.StatusText(f.status), Status: f.status, Detail: f.detail}
	}
	if err != nil {
		return nil, failed(err)
	}
	if old, err := r.Cookie(hubCookie(r.Host)); err == nil {
		if err := s.o.Access.SignOut(ctx, old.Value, r.RemoteAddr); err != nil {
			s.log.WarnContext(ctx, "the session before isn't ended", "err", err)
		}
	}
	return &withCookie{*hubSessionCookie(r, session.Secret, session.Expires)}, nil
}

func (s *Server) signOutByName(ctx context.Context, r *http.Request) (*withCookie, error) {
	out := &withCookie{gone(hubSessionCookie(r, "", time.Unix(1, 0)))}
	cookie, err := r.Cookie(hubCookie(r.Host))
	if err != nil {
		return out, nil
	}
	session, err := s.o.Access.Session(ctx, cookie.Value, r.RemoteAddr)
	switch {
	case errors.Is(err, access.ErrUnrecognised):
		return out, nil // it has ended
	case err != nil:
		return nil, failed(err)
	case !csrf(r, session):
		return nil, huma.NewError(http.StatusForbidden, "the request lacks the session's token in "+csrfHeader)
	}
	if err := s.o.Access.SignOut(ctx, cookie.Value, r.RemoteAddr); err != nil {
		return nil, failed(err)
	}
	return out, nil
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
