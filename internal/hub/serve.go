package hub

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"

	"google.golang.org/grpc"

	"github.com/lanfolk/lanfolk/internal/config"
	"github.com/lanfolk/lanfolk/internal/daemon"
)

// listeners are where the hub is reached.
type listeners struct {
	socket   net.Listener
	page     net.Listener // TLS
	grpc     net.Listener // without the TLS: gRPC does that
	insecure net.Listener // nil: nowhere
}

// listen opens them, and so finds out by which names and addresses the hub is reached.
func (h *Hub) listen(ctx context.Context) (err error) {
	l, c := &h.listeners, h.Config.Hub
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	open := func(at config.Listen, what, flag string) (net.Listener, error) {
		ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address(at))
		if err != nil {
			return nil, fmt.Errorf("hub: %s: %w; choose another with %s", what, err, flag)
		}
		return ln, nil
	}
	if l.grpc, err = open(c.GRPC, "the address for gateways", "--grpc"); err != nil {
		return err
	}
	if l.page, err = open(c.Listen, "the page's address", "--listen"); err != nil {
		return err
	}
	if at := c.Insecure.GRPC; at.On() {
		if l.insecure, err = open(at.Listen, "the address without TLS", "--insecure-grpc"); err != nil {
			return err
		}
	}
	if l.socket, err = daemon.ListenSocket(config.HubSocketPath(h.State)); err != nil {
		return err
	}
	if h.self, err = newSelf(h.Config, l.grpc.Addr(), l.page.Addr()); err != nil {
		return err
	}
	return nil
}

// address is where net shall listen: all of IPv6's addresses mean all of the
// machine's, even on one without IPv6.
func address(at config.Listen) string {
	if at.Addr() == anyIPv6 {
		return fmt.Sprintf(":%d", at.Port())
	}
	return at.String()
}

// close closes all that nobody serves yet; a second time harms nothing.
func (l *listeners) close() {
	for _, ln := range []net.Listener{l.socket, l.page, l.grpc, l.insecure} {
		if ln != nil {
			_ = ln.Close() // nothing is lost
		}
	}
}

// gatewayServer is the gRPC server for gateways, and for who wants to become one.
func (h *Hub) gatewayServer() *grpc.Server {
	server := h.wire.GRPC(h.authority.ServerTLS(h.self.names, h.revocations, nil))
	h.registrar.Register(server)
	return server
}

// pageTLS wraps the page's listener. Its certificate is the authority's, or that of
// the config's files.
func (h *Hub) pageTLS() error {
	c := &tls.Config{
		MinVersion:     tls.VersionTLS13,
		NextProtos:     []string{"http/1.1"},
		GetCertificate: h.authority.ServerTLS(h.self.names, h.revocations, nil).GetCertificate,
	}
	if f := h.Config.Hub.CertFile; f != "" {
		pair := &keyPair{cert: f, key: h.Config.Hub.KeyFile, log: h.Log}
		if err := pair.read(); err != nil {
			return err
		}
		c.GetCertificate = pair.get
	}
	h.listeners.page = tls.NewListener(h.listeners.page, c)
	return nil
}
