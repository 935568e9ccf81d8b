package api

import (
	"crypto/subtle"
	"errors"
	"net/http"

	"github.com/lanfolk/lanfolk/internal/access"
)

// csrfHeader is what a browser's request that changes something carries: the session's
// token, which only our own page can read.
const csrfHeader = "X-CSRF-Token"

// hubCookie is the session's cookie at a hub. By the prefix a browser takes it over TLS
// only, from this host itself and for all of it.
func hubCookie(host string) string { return "__Host-" + cookieName(host) }

// recognise is admit of a hub.
func (s *Server) recognise(r *http.Request, conn connection) (c caller, status int, detail string) {
	if conn.socket {
		who := access.Socket(conn.uid, conn.known)
		return caller{via: access.ViaSocket, uid: conn.uid, pid: conn.pid, known: conn.known, who: who}, 0, ""
	}
	if !sameOrigin(r) {
		return caller{}, http.StatusForbidden, "the request comes from another web page"
	}
	if token, ok := bearer(r); ok {
		who, err := s.o.Access.Token(r.Context(), token, r.RemoteAddr)
		if err != nil {
			return s.unrecognised(err, "the API token is not known here, or not any more")
		}
		return caller{via: access.ViaToken, name: who.Token, addr: r.RemoteAddr, who: who}, 0, ""
	}
	cookie, err := r.Cookie(hubCookie(r.Host))
	if err != nil {
		return caller{}, http.StatusUnauthorized, "sign in, or send an API token"
	}
	session, err := s.o.Access.Session(r.Context(), cookie.Value, r.RemoteAddr)
	if err != nil {
		return s.unrecognised(err, "the session has ended: sign in again")
	}
	if !reads(r.Method) && subtle.ConstantTimeCompare([]byte(r.Header.Get(csrfHeader)), []byte(session.CSRF)) != 1 {
		return caller{}, http.StatusForbidden, "the request lacks the session's token in " + csrfHeader
	}
	return caller{via: access.ViaSession, addr: r.RemoteAddr, who: session.Who}, 0, ""
}

func reads(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// unrecognised tells somebody who isn't known from a failure to find out.
func (s *Server) unrecognised(err error, detail string) (caller, int, string) {
	if errors.Is(err, access.ErrUnrecognised) {
		return caller{}, http.StatusUnauthorized, detail
	}
	s.log.Error("nobody can be recognised", "err", err)
	return caller{}, http.StatusServiceUnavailable, "who you are can't be looked up now"
}
