package ca

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"google.golang.org/grpc"

	"github.com/lanfolk/lanfolk/internal/enrol/invitation"
	"github.com/lanfolk/lanfolk/reverse/lanfolkpb"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// Tokens keeps what lets gateways enrol; fleet.Once does.
type Tokens interface {
	AddToken(ctx context.Context, t fleet.Token) error
	Token(ctx context.Context, hash [32]byte, now time.Time) (fleet.Token, error)
	UseToken(ctx context.Context, hash, key [32]byte, answer []byte, now time.Time) (fleet.Token, error)
}

// Gateways keeps the gateways' records; fleet.Sessions does.
type Gateways interface {
	Enrol(ctx context.Context, g fleet.Gateway) (fleet.Gateway, error)
	Gateway(ctx context.Context, id string, now time.Time) (fleet.Standing, error)
	GatewayOf(ctx context.Context, key [32]byte, now time.Time) (fleet.Standing, error)
	MarkRevoked(ctx context.Context, id string, when time.Time) error
}

// A Registrar decides who gets a certificate of the authority's. The fields are set
// before Register is called; the methods may be called at once.
type Registrar struct {
	Authority   *Authority
	Revocations *Revocations
	Tokens      Tokens
	Gateways    Gateways
	Audit       Audit
	Log         *slog.Logger     // nil is silent
	Now         func() time.Time // nil is time.Now

	attempts  limiter // by address
	renewals  limiter // by gateway
	strangers limiter // of whom the audit hears, all in one account
	refused   atomic.Uint64
}

// Refused returns how many times somebody asked for a certificate and got none.
func (r *Registrar) Refused() uint64 { return r.refused.Load() }

func (r *Registrar) count(err error) {
	if err != nil {
		r.refused.Add(1)
	}
}

// Register adds lanfolk.v1.Enrolment to a server that reverse.Server.GRPC made with
// ServerTLS.
func (r *Registrar) Register(s grpc.ServiceRegistrar) {
	lanfolkpb.RegisterEnrolmentServer(s, enrolment{r: r})
}

// Bounds of tokens.
const (
	DefaultTTL = time.Hour
	// MaxTTL is less than a certificate's life: for as long as a token lasts its
	// answer is given again.
	MaxTTL  = 7 * 24 * time.Hour
	maxName = 64 // bytes
)

// A TokenRequest is what an invitation is made of.
type TokenRequest struct {
	Name    string        // what the gateway will be called; "" keeps the name of one with a record
	Gateway string        // the id of one with a record, that is to join again; "" is whoever comes
	TTL     time.Duration // 0 is DefaultTTL; at most MaxTTL
	By      string        // who asks
	// Addresses are where the hub is, HOST:PORT; none makes the gateway look for it.
	Addresses []string
}

// Invite makes a token. The string that it returns is told nowhere else: of the
// secret in it only a hash is kept.
func (r *Registrar) Invite(ctx context.Context, q TokenRequest) (string, fleet.Token, error) {
	text, t, err := r.invite(ctx, q)
	if err != nil {
		return "", fleet.Token{}, fmt.Errorf("ca: make a token: %w", err)
	}
	return text, t, nil
}

func (r *Registrar) invite(ctx context.Context, q TokenRequest) (string, fleet.Token, error) {
	now := r.now()
	if q.TTL == 0 {
		q.TTL = DefaultTTL
	}
	if q.TTL < 0 || q.TTL > MaxTTL {
		return "", fleet.Token{}, fmt.Errorf("%w: it would last %s; want up to %s", fleet.ErrInvalid, q.TTL, MaxTTL)
	}
	if err := checkName(q.Name); err != nil {
		return "", fleet.Token{}, err
	}
	if q.Gateway != "" {
		g, err := r.Gateways.Gateway(ctx, q.Gateway, now)
		switch {
		case err != nil:
			return "", fleet.Token{}, err
		case g.Insecure():
			return "", fleet.Token{}, fmt.Errorf("%w: %s is an id that nobody vouches for", fleet.ErrInvalid, q.Gateway)
		case !g.Revoked.IsZero():
			return "", fleet.Token{}, fmt.Errorf("%w: %s was revoked; it comes back under a new id only", fleet.ErrInvalid, q.Gateway)
		}
	}
	secret := fleet.NewSecret()
	text, err := invitation.Invitation{Addresses: q.Addresses, Secret: secret, Pin: r.Authority.Pin()}.Encode()
	if err != nil {
		return "", fleet.Token{}, err
	}
	t := fleet.Token{
		ID: "t" + strings.ToLower(rand.Text()[:12]), Hash: fleet.HashSecret(secret), Name: q.Name, Gateway: q.Gateway,
		By: q.By, Created: now, Expires: now.Add(q.TTL),
	}
	entry := fleet.Entry{
		Time: now, Who: q.By, What: "token.create", Gateway: q.Gateway, Ref: t.ID,
		Detail: fmt.Sprintf("name %q, until %s", q.Name, t.Expires.UTC().Format(time.RFC3339)),
	}
	if err := r.note(ctx, entry); err != nil {
		return "", fleet.Token{}, err
	}
	err = r.Tokens.AddToken(ctx, t)
	r.ended(ctx, entry, err)
	if err != nil {
		return "", fleet.Token{}, err
	}
	return text, t, nil
}

func checkName(s string) error {
	if len(s) > maxName || !utf8.ValidString(s) || strings.ContainsFunc(s, func(c rune) bool { return !unicode.IsPrint(c) }) {
		return fmt.Errorf("%w: the name %q: want at most %d bytes that can be printed", fleet.ErrInvalid, s, maxName)
	}
	return nil
}

// note puts an intent into the audit: what it is about may go on only then.
func (r *Registrar) note(ctx context.Context, e fleet.Entry) error {
	if _, err := r.Audit.Append(ctx, e); err != nil {
		return fmt.Errorf("the audit can't be written: %w", err)
	}
	return nil
}

// ended puts into the audit how something ended that is there already, or that was
// refused. A failure doesn't undo it, nor that whoever asked has gone.
func (r *Registrar) ended(ctx context.Context, e fleet.Entry, err error) {
	e.Time, e.Outcome = r.now(), "ok"
	if err != nil {
		e.Outcome = err.Error()
	}
	if _, err := r.Audit.Append(context.WithoutCancel(ctx), e); err != nil {
		r.log().Error("how something ended isn't in the audit", slog.String("what", e.What), slog.String("ref", e.Ref), slog.Any("err", err))
	}
}

// keySum is what is kept of a gateway's key: SHA-256 of its SubjectPublicKeyInfo.
func keySum(key *ecdsa.PublicKey) ([32]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return [32]byte{}, err
	}
	return sha256.Sum256(der), nil
}

// about says in the audit which certificate it is.
func about(cert *x509.Certificate, sum [32]byte, from string) string {
	return fmt.Sprintf("from %s, key %s, serial %s, until %s", from, hex.EncodeToString(sum[:8]),
		hex.EncodeToString(cert.SerialNumber.Bytes()), cert.NotAfter.UTC().Format(time.RFC3339))
}

func (r *Registrar) now() time.Time {
	if r.Now != nil {
		return r.Now()
	}
	return time.Now()
}

func (r *Registrar) log() *slog.Logger {
	if r.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return r.Log
}
