package reverse

import (
	"context"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// ClientID is the metadata key by which a client without a certificate says who
// it is.
const ClientID = "client-id"

// insecurePrefix sets the ids that nobody vouches for apart from enrolled ones.
const insecurePrefix = "insecure/"

// maxName bounds the name of a client without a certificate.
const maxName = 64

// who finds out which gateway a call comes from. Claimed is the id in the
// request. On a connection without TLS the id may be missing: then the Peer's
// Gateway is empty.
func (s *Server) who(ctx context.Context, claimed string) (Peer, *connection, error) {
	c, err := connectionOf(ctx)
	if err != nil {
		return Peer{}, nil, status.Error(codes.Internal, err.Error())
	}
	p := Peer{Address: c.address(), Insecure: !c.secure, Native: c.native.Load()}
	claims := metadata.ValueFromIncomingContext(ctx, ClientID)
	if claimed != "" {
		claims = append(claims, claimed)
	}
	if c.secure {
		p.Gateway, err = s.enrolled(ctx, c, claims)
	} else {
		p.Gateway, err = named(claims)
	}
	if err != nil {
		s.count.Identity.Add(1)
		return Peer{}, nil, err
	}
	return p, c, nil
}

// enrolled returns the gateway of the connection's certificate; each claim must
// be the same.
func (s *Server) enrolled(ctx context.Context, c *connection, claims []string) (string, error) {
	if c.cert == nil {
		return "", status.Error(codes.Unauthenticated, "reverse: no client certificate: the gateway is not enrolled")
	}
	id, err := s.Authenticate(ctx, c.cert)
	if err != nil {
		if _, ok := status.FromError(err); ok {
			return "", err
		}
		return "", status.Error(codes.Unauthenticated, err.Error())
	}
	for _, claim := range claims {
		if claim != id {
			return "", status.Errorf(codes.PermissionDenied, "reverse: the id %q is not the certificate's, %q", clip(claim), id)
		}
	}
	return id, nil
}

// named returns the gateway that claims name, "" if there are none.
func named(claims []string) (string, error) {
	if len(claims) == 0 {
		return "", nil
	}
	for _, claim := range claims {
		if claim != claims[0] {
			return "", status.Errorf(codes.InvalidArgument, "reverse: two ids, %q and %q", clip(claims[0]), clip(claim))
		}
	}
	if !validName(claims[0]) {
		return "", status.Errorf(codes.InvalidArgument,
			"reverse: the id %q: want 1 to %d of A-Z, a-z, 0-9, '.', '_' and '-', the first a letter or digit", clip(claims[0]), maxName)
	}
	return insecurePrefix + claims[0], nil
}

func validName(s string) bool {
	if s == "" || len(s) > maxName || strings.ContainsRune("._-", rune(s[0])) {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._-", r)
	})
}
