package registry

import (
	"errors"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"
)

// Server is a Registry that listens.
type Server struct {
	Registry

	t        testing.TB
	listen   func() (net.Listener, error)
	mu       sync.Mutex
	server   *http.Server // nil while it refuses
	listener net.Listener // its own; a server that has just begun may not know of it yet
}

// Serve starts a registry on what listen opens, inside a host of a lab for
// instance. It ends with the test.
func Serve(t testing.TB, listen func() (net.Listener, error)) *Server {
	t.Helper()
	s := &Server{t: t, listen: listen}
	s.Accept()
	t.Cleanup(s.Refuse)
	return s
}

// Refuse ends the server: connections are cut and new ones refused.
func (s *Server) Refuse() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server != nil {
		s.listener.Close()
		_ = s.server.Close() // whatever is left of it ends with the test
		s.server = nil
	}
}

// Accept ends Refuse.
func (s *Server) Accept() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server != nil {
		return
	}
	l, err := s.listen()
	if err != nil {
		s.t.Fatalf("registry: %v", err)
	}
	server := &http.Server{Handler: &s.Registry, ReadHeaderTimeout: time.Minute}
	s.server, s.listener = server, l
	go func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			s.t.Errorf("registry: %v", err)
		}
	}()
}
