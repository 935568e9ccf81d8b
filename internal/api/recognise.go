package api

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/lanfolk/lanfolk/internal/access"
)

// csrfHeader is what a browser's request that changes something carries: the session's
// token, which only our own page can read.
const csrfHeader = "X-CSRF-Token"

// recheckEvery is how often a stream asks whether its caller may still have it.
const recheckEvery = 2 * time.Second

// The types of the problems that the page tells apart (RFC 9457 §3.1.1).
const (
	problemSignIn    = "urn:lanfolk:problem:sign-in"     // by name and password
	problemNoAccount = "urn:lanfolk:problem:no-accounts" // so nobody can
)

// noAccounts says how to make the first one.
const noAccounts = "there are no accounts yet: on the hub's machine, run: lanfolk hub user create NAME"

// A refusal is how somebody is sent away.
type refusal struct {
	status       int
	kind, detail string
}

func (f *refusal) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(f.status)
	// An error means that the client has gone.
	_ = json.NewEncoder(w).Encode(huma.ErrorModel{Type: f.kind, Title: http.StatusText(f.status), Status: f.status, Detail: f.detail})
}

// hubCookie is the session's cookie at a hub. By the prefix a browser takes it over TLS
// only, from this host itself and for all of it.
func hubCookie(host string) string { return "__Host-" + cookieName(host) }

func hubSessionCookie(r *http.Request, value string, expires time.Time) *http.Cookie {
	return &http.Cookie{
		Name: hubCookie(r.Host), Value: value, Path: "/", Expires: expires.UTC(),
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: true,
	}
}

// recognise is admit of a hub.
func (s *Server) recognise(r *http.Request, conn connection) (caller, *refusal) {
	if conn.socket {
		who := access.Socket(conn.uid, conn.known)
		return caller{via: access.ViaSocket, uid: conn.uid, pid: conn.pid, known: conn.known, who: who}, nil
	}
	if !sameOrigin(r) {
		return caller{}, &refusal{status: http.StatusForbidden, detail: "the request comes from another web page"}
	}
	if secretInAddress(r.URL.Query()) {
		return caller{}, &refusal{status: http.StatusBadRequest, detail: "a token in an address ends in logs: send it in the header Authorization, and revoke this one"}
	}
	desk, addr := s.o.Access, r.RemoteAddr
	if token, ok := bearer(r); ok {
		again := func(ctx context.Context) (access.Who, error) { return desk.Token(ctx, token, addr) }
		who, err := again(r.Context())
		if err != nil {
			return caller{}, s.stranger(err, &refusal{status: http.StatusUnauthorized, detail: "the API token is not known here, or not any more"})
		}
		return caller{via: access.ViaToken, name: who.Token, addr: addr, who: who, again: again}, nil
	}
	cookie, err := r.Cookie(hubCookie(r.Host))
	if err != nil {
		return caller{}, s.signInFirst(r.Context(), "sign in, or send an API token")
	}
	session, err := desk.Session(r.Context(), cookie.Value, addr)
	if err != nil {
		return caller{}, s.stranger(err, s.signInFirst(r.Context(), "the session has ended: sign in again"))
	}
	if !reads(r.Method) && !csrf(r, session) {
		return caller{}, &refusal{status: http.StatusForbidden, detail: "the request lacks the session's token in " + csrfHeader}
	}
	again := func(ctx context.Context) (access.Who, error) {
		session, err := desk.Session(ctx, cookie.Value, addr)
		return session.Who, err
	}
	return caller{via: access.ViaSession, addr: addr, who: session.Who, session: session, again: again}, nil
}

func reads(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// csrf says whether a request carries the token of its cookie's session.
func csrf(r *http.Request, session access.Session) bool {
	return subtle.ConstantTimeCompare([]byte(r.Header.Get(csrfHeader)), []byte(session.CSRF)) == 1
}

// secretInAddress says whether somebody sends a secret where logs and histories keep it.
func secretInAddress(query url.Values) bool {
	return slices.ContainsFunc([]string{"access_token", "api_token", "api_key", "token", "password"}, query.Has)
}

// signInFirst sends somebody to the sign-in, if there is anybody who could.
func (s *Server) signInFirst(ctx context.Context, detail string) *refusal {
	if there, err := s.o.Access.HasAccounts(ctx); err == nil && !there {
		return &refusal{http.StatusUnauthorized, problemNoAccount, noAccounts}
	}
	return &refusal{http.StatusUnauthorized, problemSignIn, detail}
}

// stranger tells somebody who isn't known from a failure to find out.
func (s *Server) stranger(err error, f *refusal) *refusal {
	if errors.Is(err, access.ErrUnrecognised) {
		return f
	}
	s.log.Debug("nobody can be recognised", "err", err) // the status tells of the database
	return &refusal{status: http.StatusServiceUnavailable, detail: "who you are can't be looked up now"}
}

// recheck ends a stream when its caller isn't who he was any more. It returns when ctx
// ends.
func (s *Server) recheck(ctx context.Context, end context.CancelFunc, c caller) {
	tick := time.NewTicker(recheckEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		who, err := c.again(ctx)
		switch {
		case errors.Is(err, access.ErrUnrecognised), err == nil && !access.Same(who, c.who):
			s.log.InfoContext(ctx, "stream ended: what its caller may do has changed", "user", c.who.Name)
			end()
			return
		case err != nil: // nobody can tell now; ask again
		}
	}
}
