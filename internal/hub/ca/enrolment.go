package ca

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/lanfolk/lanfolk/internal/enrol"
	"github.com/lanfolk/lanfolk/reverse"
	"github.com/lanfolk/lanfolk/reverse/lanfolkpb"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// enrolment keeps the methods of the service out of Registrar's. What is final is
// PERMISSION_DENIED, UNAUTHENTICATED or INVALID_ARGUMENT; what may be tried again is
// RESOURCE_EXHAUSTED or UNAVAILABLE.
type enrolment struct {
	lanfolkpb.UnimplementedEnrolmentServer
	r *Registrar
}

// maxSecretLen bounds what is hashed, in bytes.
const maxSecretLen = 128

// Enrol implements lanfolkpb.EnrolmentServer.
func (e enrolment) Enrol(ctx context.Context, req *lanfolkpb.EnrolRequest) (answer *lanfolkpb.Enrolled, err error) {
	r, now := e.r, e.r.now()
	defer func() { r.count(err) }()
	if _, secure := reverse.Certificate(ctx); !secure {
		return nil, status.Error(codes.PermissionDenied, "ca: enrolment needs TLS")
	}
	from := caller(ctx)
	if err := r.attempts.allow(from, now); err != nil {
		return nil, err
	}
	key, err := requested(req.GetCsr())
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "ca: %v", err)
	}
	sum, err := keySum(key)
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "ca: %v", err)
	}
	if n := len(req.GetSecret()); n == 0 || n > maxSecretLen {
		return nil, status.Errorf(codes.InvalidArgument, "ca: the secret has %d bytes; want 1 to %d", n, maxSecretLen)
	}
	hash := fleet.HashSecret(req.GetSecret())
	answer, err = r.enrol(ctx, attempt{hash: hash, key: key, sum: sum, from: from, now: now})
	if err != nil {
		return nil, err
	}
	r.attempts.giveBack(from)
	return answer, nil
}

// An attempt is one call of Enrol.
type attempt struct {
	hash [32]byte // of the token's secret
	key  *ecdsa.PublicKey
	sum  [32]byte // of the key
	from string
	now  time.Time
}

func (r *Registrar) enrol(ctx context.Context, a attempt) (*lanfolkpb.Enrolled, error) {
	t, err := r.Tokens.Token(ctx, a.hash, a.now)
	again := !t.Used.IsZero()
	switch {
	case err != nil:
	case !again:
		t, err = r.use(ctx, a, t)
	case t.Key != a.sum:
		err = fmt.Errorf("%w by another key", fleet.ErrUsed)
	}
	if err != nil {
		return nil, r.refuse(ctx, a, t, err)
	}
	// What the token holds, not what was just made: another call may have been first.
	answer, cert, err := recall(t.Answer)
	if err == nil {
		err = r.record(ctx, a, answer, again)
	}
	if err != nil {
		return nil, r.refuse(ctx, a, t, err)
	}
	r.ended(ctx, fleet.Entry{
		Who: "gateway", What: "enrol", Gateway: answer.GetGateway(), Ref: t.ID, Detail: about(cert, a.sum, a.from),
	}, nil)
	return answer, nil
}

// use makes the answer to a token's first use, tells the audit of it, and binds the
// token to the key. With an error it returns the token as it was.
func (r *Registrar) use(ctx context.Context, a attempt, t fleet.Token) (fleet.Token, error) {
	id, name, err := r.identity(ctx, a, t)
	if err != nil {
		return t, err
	}
	answer, cert, err := r.certify(id, name, a.key, a.now)
	if err != nil {
		return t, err
	}
	b, err := proto.Marshal(answer)
	if err != nil {
		return t, err
	}
	intent := fleet.Entry{Time: a.now, Who: "gateway", What: "enrol", Gateway: id, Ref: t.ID, Detail: about(cert, a.sum, a.from)}
	if err := r.note(ctx, intent); err != nil {
		return t, err
	}
	used, err := r.Tokens.UseToken(ctx, a.hash, a.sum, b, a.now)
	if err != nil {
		return t, err
	}
	return used, nil
}

// identity returns who the gateway is that uses a token: the one for which it was
// made, the one that has the key already, or a new one.
func (r *Registrar) identity(ctx context.Context, a attempt, t fleet.Token) (id, name string, err error) {
	var g fleet.Standing
	if t.Gateway != "" {
		g, err = r.Gateways.Gateway(ctx, t.Gateway, a.now)
	} else {
		g, err = r.ofKey(ctx, a)
		if errors.Is(err, fleet.ErrUnknown) {
			return enrol.NewGateway(), t.Name, nil
		}
	}
	if err != nil {
		return "", "", err
	}
	if !g.Revoked.IsZero() {
		return "", "", errRevoked(g.ID)
	}
	if err := r.Revocations.Check(g.ID); err != nil {
		return "", "", err
	}
	if t.Name != "" {
		return g.ID, t.Name, nil
	}
	return g.ID, g.Name, nil
}

// ofKey returns the gateway that has a key and wasn't revoked. A revocation that the hub
// didn't survive may be missing from a record: it is made up for.
func (r *Registrar) ofKey(ctx context.Context, a attempt) (fleet.Standing, error) {
	for {
		g, err := r.Gateways.GatewayOf(ctx, a.sum, a.now)
		if err != nil || r.Revocations.Check(g.ID) == nil {
			return g, err
		}
		if err := r.Gateways.MarkRevoked(ctx, g.ID, a.now); err != nil {
			return g, err
		}
	}
}

// certify makes a gateway's certificate, and the answer that holds it.
func (r *Registrar) certify(id, name string, key *ecdsa.PublicKey, now time.Time) (*lanfolkpb.Enrolled, *x509.Certificate, error) {
	cert, err := r.Authority.Client(id, key, now)
	if err != nil {
		return nil, nil, err
	}
	return &lanfolkpb.Enrolled{
		Gateway: id, Name: name, Chain: [][]byte{cert.Raw, r.Authority.cert.Raw}, RenewAfter: renewAt(cert).Unix(),
	}, cert, nil
}

func recall(b []byte) (*lanfolkpb.Enrolled, *x509.Certificate, error) {
	var answer lanfolkpb.Enrolled
	if err := proto.Unmarshal(b, &answer); err != nil {
		return nil, nil, err
	}
	if len(answer.GetChain()) == 0 {
		return nil, nil, errors.New("it has no certificate")
	}
	cert, err := x509.ParseCertificate(answer.GetChain()[0])
	return &answer, cert, err
}

// record sees to it that the gateway has its record, with its key. When the same answer
// is given again it has, and what changed since stays; unless the hub died before this
// the last time.
func (r *Registrar) record(ctx context.Context, a attempt, answer *lanfolkpb.Enrolled, again bool) error {
	id := answer.GetGateway()
	if err := r.Revocations.Check(id); err != nil {
		return err
	}
	if again {
		g, err := r.Gateways.Gateway(ctx, id, a.now)
		switch {
		case err == nil && !g.Revoked.IsZero():
			return errRevoked(id)
		case err == nil && g.Key == a.sum:
			return nil
		case err != nil && !errors.Is(err, fleet.ErrUnknown):
			return err
		}
	}
	_, err := r.Gateways.Enrol(ctx, fleet.Gateway{ID: id, Name: answer.GetName(), Key: a.sum, Enrolled: a.now})
	if errors.Is(err, fleet.ErrFenced) {
		return errRevoked(id)
	}
	return err
}

// refuse returns what the gateway is told, and tells the audit.
func (r *Registrar) refuse(ctx context.Context, a attempt, t fleet.Token, why error) error {
	var told error
	switch {
	case status.Code(why) == codes.PermissionDenied:
		told = why
	case errors.Is(why, fleet.ErrExpired):
		told = status.Error(codes.PermissionDenied, "ca: the token expired; ask for a new one (lanfolk hub token create)")
	case errors.Is(why, fleet.ErrUsed):
		told = status.Error(codes.PermissionDenied, "ca: the token was used by another machine, or by this one with another key; ask for a new one")
	case errors.Is(why, fleet.ErrUnknown) && (t.ID == "" || t.Gateway == ""):
		told = status.Error(codes.PermissionDenied, "ca: the hub doesn't know this token; it was removed, or it is another hub's")
	case errors.Is(why, fleet.ErrUnknown):
		told = status.Errorf(codes.PermissionDenied, "ca: the token is for the gateway %s, which was removed", t.Gateway)
	default:
		return r.broken("enrol a gateway", why)
	}
	// Strangers must not fill the audit.
	if _, ok := r.strangers.take("", a.now); ok || t.ID != "" {
		r.ended(ctx, fleet.Entry{
			Who: "gateway", What: "enrol", Gateway: t.Gateway, Ref: t.ID, Detail: "from " + a.from,
		}, errors.New("refused: "+status.Convert(told).Message()))
	}
	return told
}

// broken is for what isn't the gateway's fault: it may try again.
func (r *Registrar) broken(doing string, err error) error {
	r.log().Error("a gateway gets no certificate", slog.String("what", doing), slog.Any("err", err))
	return status.Error(codes.Unavailable, "ca: the hub can't give certificates just now; try again")
}

// Renew implements lanfolkpb.EnrolmentServer.
func (e enrolment) Renew(ctx context.Context, req *lanfolkpb.RenewRequest) (answer *lanfolkpb.Enrolled, err error) {
	r, now := e.r, e.r.now()
	defer func() { r.count(err) }()
	shown, secure := reverse.Certificate(ctx)
	if !secure || shown == nil {
		return nil, status.Error(codes.Unauthenticated, "ca: who renews a certificate has to show it")
	}
	id, err := r.Revocations.Authenticate(ctx, shown)
	if err != nil {
		return nil, err
	}
	if err := r.renewals.allow(id, now); err != nil {
		return nil, err
	}
	key, err := requested(req.GetCsr())
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "ca: %v", err)
	}
	sum, err := keySum(key)
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "ca: %v", err)
	}
	return r.renew(ctx, attempt{key: key, sum: sum, from: caller(ctx), now: now}, id)
}

func (r *Registrar) renew(ctx context.Context, a attempt, id string) (*lanfolkpb.Enrolled, error) {
	g, err := r.Gateways.Gateway(ctx, id, a.now)
	switch {
	case errors.Is(err, fleet.ErrUnknown):
		return nil, status.Errorf(codes.PermissionDenied, "ca: the gateway %s was removed", id)
	case err != nil:
		return nil, r.broken("renew a certificate", err)
	case !g.Revoked.IsZero():
		return nil, errRevoked(id)
	}
	answer, cert, err := r.certify(id, g.Name, a.key, a.now)
	if err != nil {
		return nil, r.broken("renew a certificate", err)
	}
	entry := fleet.Entry{Time: a.now, Who: "gateway", What: "renew", Gateway: id, Detail: about(cert, a.sum, a.from)}
	if err := r.note(ctx, entry); err != nil {
		return nil, r.broken("renew a certificate", err)
	}
	_, err = r.Gateways.Enrol(ctx, fleet.Gateway{ID: id, Key: a.sum, Enrolled: a.now})
	r.ended(ctx, entry, err)
	switch {
	case errors.Is(err, fleet.ErrFenced):
		return nil, errRevoked(id)
	case err != nil:
		return nil, r.broken("renew a certificate", err)
	}
	return answer, nil
}

// allow counts an attempt, and refuses it if there were too many.
func (l *limiter) allow(who string, now time.Time) error {
	if wait, ok := l.take(who, now); !ok {
		return status.Errorf(codes.ResourceExhausted, "ca: too many attempts from %s; try again in %s", who, wait.Round(time.Second))
	}
	return nil
}

// caller returns whose attempts count together.
func caller(ctx context.Context) string {
	if p, ok := peer.FromContext(ctx); ok {
		return reverse.Source(p.Addr)
	}
	return reverse.Source(nil)
}
