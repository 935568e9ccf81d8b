package enrol

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/lanfolk/lanfolk/internal/enrol/invitation"
	"github.com/lanfolk/lanfolk/reverse/lanfolkpb"
)

// Why a gateway did not enrol, for errors.Is.
var (
	// ErrPin: who answers isn't the gateway's hub. Nothing was told to it.
	ErrPin = errors.New("enrol: this is not the gateway's hub, or somebody is in between; it was told nothing")
	// ErrRefused: the hub says no, and will say so again; the text says why.
	ErrRefused = errors.New("enrol: the hub refuses")
)

// Dial opens a connection to an address, HOST:PORT.
type Dial func(ctx context.Context, address string) (net.Conn, error)

const (
	askWithin   = 30 * time.Second // at one address: dial, TLS, answer
	shakeWithin = 10 * time.Second
	maxAnswer   = 64 << 10 // bytes
)

// Join enrols the gateway at the hub of an invitation, at the first of its addresses
// where that is possible. The error is ErrRefused if asking again makes no sense.
// Otherwise nothing is lost by asking again, with the same invitation: the key is
// kept, and who used the token already gets the same certificate. An identity at
// another hub is kept until this one has given a new one.
func (i *Identity) Join(ctx context.Context, to invitation.Invitation, dial Dial) error {
	if len(to.Addresses) == 0 {
		return errors.New("enrol: the join string has no address, and no hub was found")
	}
	done, err := i.alone(ctx)
	if err != nil {
		return err
	}
	defer done()
	key, err := i.keyFor(to.Pin)
	if err != nil {
		return err
	}
	csr, err := request(key)
	if err != nil {
		return fmt.Errorf("enrol: %w", err)
	}
	var failed error
	for _, address := range to.Addresses {
		answer, ca, err := ask(ctx, address, to, csr, dial)
		if err == nil {
			return i.accept(answer, key, ca, slices.Clone(to.Addresses))
		}
		failed = errors.Join(failed, fmt.Errorf("at %s: %w", address, err))
		if errors.Is(err, ErrRefused) || ctx.Err() != nil {
			break
		}
	}
	return failed
}

// ask sends the request to a hub once it has proved to be the right one, and returns
// its answer and its authority.
func ask(ctx context.Context, address string, to invitation.Invitation, csr []byte, dial Dial) (*lanfolkpb.Enrolled, *x509.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	raw, err := dial(ctx, address)
	if err != nil {
		return nil, nil, fmt.Errorf("enrol: %w", err)
	}
	defer raw.Close()
	var ca *x509.Certificate
	conn, err := handshake(ctx, raw, pinned(to.Pin, &ca))
	if err != nil {
		return nil, nil, err
	}
	cc, err := over(conn)
	if err != nil {
		return nil, nil, err
	}
	defer cc.Close()
	answer, err := lanfolkpb.NewEnrolmentClient(cc).Enrol(ctx, &lanfolkpb.EnrolRequest{Secret: to.Secret, Csr: csr})
	if err != nil {
		return nil, nil, answered(err)
	}
	return answer, ca, nil
}

// pinned is TLS with a hub of which the pin of its authority is known alone. It sets
// ca when that has vouched for the hub, and else ends the handshake before anything
// of the gateway's was sent.
func pinned(pin invitation.Pin, ca **x509.Certificate) *tls.Config {
	config := base()
	// VerifyConnection checks more than what is left out: which authority it is, too.
	config.InsecureSkipVerify = true
	config.VerifyConnection = func(state tls.ConnectionState) error {
		n := slices.IndexFunc(state.PeerCertificates, func(c *x509.Certificate) bool { return invitation.PinOf(c) == pin })
		if n <= 0 { // the first is the hub's own
			return ErrPin
		}
		authority := state.PeerCertificates[n]
		_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{
			Roots: pool(authority), DNSName: HubName, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		})
		if err != nil {
			return err
		}
		*ca = authority
		return nil
	}
	return config
}

// Secure returns the gateway's own connection over raw, if who is at its other end
// proves to be the hub; ErrPin if it is somebody else, who then was told nothing. Of
// what the hub thinks of the gateway the first read tells. After an error raw is
// still to be closed.
func (i *Identity) Secure(ctx context.Context, raw net.Conn) (net.Conn, error) {
	config, err := i.TLS()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, shakeWithin)
	defer cancel()
	conn, err := handshake(ctx, raw, config)
	if err != nil {
		return nil, err
	}
	return conn, nil
}

func handshake(ctx context.Context, raw net.Conn, config *tls.Config) (*tls.Conn, error) {
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, handshakeFailed(err)
	}
	if conn.ConnectionState().NegotiatedProtocol != "h2" {
		return nil, errors.New("enrol: the hub doesn't speak HTTP/2")
	}
	return conn, nil
}

// handshakeFailed says what is wrong with a hub that did not prove to be the right
// one.
func handshakeFailed(err error) error {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	if errors.As(err, &unknown) || errors.As(err, &name) { // the authority didn't vouch for it, or not for a hub
		return fmt.Errorf("%w: %w", ErrPin, err)
	}
	if errors.Is(err, ErrPin) {
		return err
	}
	return fmt.Errorf("enrol: TLS: %w", clock(err))
}

// over returns gRPC on a connection that is there already.
func over(conn net.Conn) (*grpc.ClientConn, error) {
	once := make(chan net.Conn, 1)
	once <- conn
	cc, err := grpc.NewClient("passthrough:///"+HubName,
		grpc.WithTransportCredentials(insecure.NewCredentials()), // conn has TLS
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			select {
			case conn := <-once:
				return conn, nil
			default:
				return nil, errors.New("the connection broke off")
			}
		}),
		grpc.WithDisableServiceConfig(), grpc.WithDisableHealthCheck(), grpc.WithDisableRetry(), grpc.WithNoProxy(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)))
	if err != nil {
		return nil, fmt.Errorf("enrol: %w", err)
	}
	return cc, nil
}

// answered makes an error of the hub's one that says whether to ask again.
func answered(err error) error {
	s := status.Convert(err)
	switch s.Code() {
	case codes.PermissionDenied, codes.Unauthenticated, codes.InvalidArgument, codes.Unimplemented:
		return fmt.Errorf("%w: %s", ErrRefused, s.Message())
	}
	return fmt.Errorf("enrol: no answer, try again: %w", Explain(err))
}

// Renew replaces the certificate by a newer one, over a connection that shows the
// old one. The gateway's id and key stay. ErrRefused as for Join.
func (i *Identity) Renew(ctx context.Context, hub grpc.ClientConnInterface) error {
	before := i.credential()
	done, err := i.alone(ctx)
	if err != nil {
		return err
	}
	defer done()
	c := i.credential()
	switch {
	case c == nil:
		return ErrNotEnrolled
	case before != nil && !before.ca.Equal(c.ca):
		return errors.New("enrol: the gateway has joined another hub meanwhile")
	}
	csr, err := request(c.cert.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		return fmt.Errorf("enrol: %w", err)
	}
	answer, err := lanfolkpb.NewEnrolmentClient(hub).Renew(ctx, &lanfolkpb.RenewRequest{Csr: csr})
	if err != nil {
		return answered(err)
	}
	if id, _ := GatewayOf(c.cert.Leaf); answer.GetGateway() != id {
		return fmt.Errorf("enrol: the hub renewed the certificate of %q; this is %s", clip(answer.GetGateway()), id)
	}
	return i.accept(answer, c.cert.PrivateKey.(*ecdsa.PrivateKey), c.ca, nil)
}
