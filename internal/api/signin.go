package api

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	// signInLifetime is how long a sign-in token waits to be used.
	signInLifetime = 15 * time.Minute
	// sessionLifetime is how long a browser stays signed in after its last
	// renewal, which happens when it comes back after sessionRenewal.
	sessionLifetime = 30 * 24 * time.Hour
	sessionRenewal  = 24 * time.Hour
	// maxSignIns bounds the unused sign-in tokens; the oldest gives way.
	maxSignIns = 32
	// maxSignedOut bounds the sessions that were ended before their time.
	maxSignedOut = 4096
)

// signIns holds the sign-in tokens that nobody has used yet, by their hash.
type signIns struct {
	mu      sync.Mutex
	expires map[[sha256.Size]byte]time.Time
}

// create returns a new token and when it expires.
func (s *signIns) create(now time.Time) (string, time.Time) {
	token, expires := rand.Text()+rand.Text(), now.Add(signInLifetime)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.expires == nil {
		s.expires = make(map[[sha256.Size]byte]time.Time)
	}
	for len(s.expires) >= maxSignIns {
		s.dropOldest()
	}
	s.expires[sha256.Sum256([]byte(token))] = expires
	return token, expires
}

func (s *signIns) dropOldest() {
	var oldest [sha256.Size]byte
	var at time.Time
	for k, t := range s.expires {
		if at.IsZero() || t.Before(at) {
			oldest, at = k, t
		}
	}
	delete(s.expires, oldest)
}

// use says whether the token lets somebody in, and takes it out of use.
func (s *signIns) use(token string, now time.Time) bool {
	sum := sha256.Sum256([]byte(token))
	s.mu.Lock()
	defer s.mu.Unlock()
	expires, ok := s.expires[sum]
	delete(s.expires, sum)
	return ok && now.Before(expires)
}

// sessions makes and checks the values of the page's cookie. A value is
// base64url of: 8 bytes of Unix seconds (the end), 16 random bytes, and the
// HMAC-SHA-256 of both. So a session outlives a restart where the key does.
type sessions struct {
	key []byte

	mu        sync.Mutex
	signedOut map[string]time.Time // payloads ended before their time
}

const sessionPayload = 8 + 16

func (s *sessions) create(now time.Time) (string, time.Time) {
	expires := now.Add(sessionLifetime)
	b := make([]byte, sessionPayload, sessionPayload+sha256.Size)
	binary.BigEndian.PutUint64(b, uint64(expires.Unix()))
	rand.Read(b[8:]) // never fails
	return base64.RawURLEncoding.EncodeToString(append(b, s.mac(b)...)), expires
}

func (s *sessions) mac(payload []byte) []byte {
	h := hmac.New(sha256.New, s.key)
	h.Write(payload)
	return h.Sum(nil)
}

// check returns when the session ends; ok is false for a value that was not
// made here, has ended or was signed out.
func (s *sessions) check(value string, now time.Time) (expires time.Time, ok bool) {
	b, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil || len(b) != sessionPayload+sha256.Size {
		return time.Time{}, false
	}
	payload, mac := b[:sessionPayload], b[sessionPayload:]
	if !hmac.Equal(mac, s.mac(payload)) {
		return time.Time{}, false
	}
	expires = time.Unix(int64(binary.BigEndian.Uint64(payload)), 0)
	if !now.Before(expires) {
		return time.Time{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, out := s.signedOut[string(payload)]; out {
		return time.Time{}, false
	}
	return expires, true
}

// end signs a valid session out.
func (s *sessions) end(value string, now time.Time) {
	expires, ok := s.check(value, now)
	if !ok {
		return
	}
	b, _ := base64.RawURLEncoding.DecodeString(value)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.signedOut == nil {
		s.signedOut = make(map[string]time.Time)
	}
	for k, t := range s.signedOut {
		if !now.Before(t) || len(s.signedOut) >= maxSignedOut {
			delete(s.signedOut, k)
		}
	}
	s.signedOut[string(b[:sessionPayload])] = expires
}

// cookieName tells the nodes of one host apart: a browser sends a cookie to
// every port (RFC 6265 §8.5).
func cookieName(host string) string {
	_, port, err := net.SplitHostPort(host)
	if err != nil || strings.Trim(port, "0123456789") != "" {
		return "lanfolk"
	}
	return "lanfolk-" + port
}

func sessionCookie(r *http.Request, value string, expires time.Time) *http.Cookie {
	return &http.Cookie{
		Name: cookieName(r.Host), Value: value, Path: "/", Expires: expires.UTC(),
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil,
	}
}
