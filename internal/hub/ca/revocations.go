package ca

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lanfolk/lanfolk/internal/enrol"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// RevocationLog keeps revocations; fleet.Once does.
type RevocationLog interface {
	Revoke(ctx context.Context, r fleet.Revocation) error
	Revocations(ctx context.Context, after uint64) ([]fleet.Revocation, error)
}

// Audit keeps what was done; fleet.Audit does. Append returns when it is kept.
type Audit interface {
	Append(ctx context.Context, entries ...fleet.Entry) (fleet.Head, error)
}

// Revocations says whose certificates are good for nothing any more. The fields are
// set before Load is called; the methods may be called at once.
type Revocations struct {
	Kept     RevocationLog
	Gateways Gateways
	Audit    Audit
	// Drop ends what a gateway has going on: reverse.Server's Drop.
	Drop func(gateway string, why error)
	Log  *slog.Logger     // nil is silent
	Now  func() time.Time // nil is time.Now

	mu       sync.Mutex
	revoked  map[string]time.Time // when this run heard of it, by gateway; zero: it was so before
	position uint64               // of the newest that was read
	shown    map[string]time.Time // when the certificate expires that a gateway showed last
	failing  bool                 // the log could not be read last time
}

// When Run looks.
const (
	readEvery = 2 * time.Second // what other hubs revoked
	// dropAgain is for how long a revoked gateway is dropped again: it may have been
	// between the check and its session when it was revoked.
	dropAgain = 30 * time.Second
)

// Load reads what was revoked. The hub serves nobody before it has succeeded.
func (r *Revocations) Load(ctx context.Context) error {
	return r.read(ctx, time.Time{})
}

// read takes what is new in the log; heard is when.
func (r *Revocations) read(ctx context.Context, heard time.Time) error {
	r.mu.Lock()
	after := r.position
	r.mu.Unlock()
	list, err := r.Kept.Revocations(ctx, after)
	if err != nil {
		return fmt.Errorf("ca: read revocations: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, v := range list {
		r.position = max(r.position, v.Position)
		r.add(v.Subject, heard)
	}
	return nil
}

// add is called with the mutex held.
func (r *Revocations) add(gateway string, heard time.Time) {
	if r.revoked == nil {
		r.revoked = make(map[string]time.Time)
	}
	if _, known := r.revoked[gateway]; !known {
		r.revoked[gateway] = heard
	}
}

// Check returns an error if a gateway was revoked.
func (r *Revocations) Check(gateway string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, revoked := r.revoked[gateway]; revoked {
		return errRevoked(gateway)
	}
	return nil
}

func errRevoked(gateway string) error {
	return status.Errorf(codes.PermissionDenied, "ca: the gateway %s was revoked; only a new token lets this machine in again, under a new id", gateway)
}

func errExpired(gateway string, when time.Time) error {
	return status.Errorf(codes.Unauthenticated, "ca: the certificate of %s expired at %s; renew it before, or join again", gateway, when.Format(time.RFC3339))
}

// Authenticate is for reverse.Server: it returns the gateway whose certificate was
// verified in a handshake, unless it was revoked, or the certificate expired since.
func (r *Revocations) Authenticate(_ context.Context, cert *x509.Certificate) (string, error) {
	id, err := enrol.GatewayOf(cert)
	if err != nil {
		return "", status.Error(codes.Unauthenticated, err.Error())
	}
	now := r.now()
	if now.After(cert.NotAfter) {
		return "", errExpired(id, cert.NotAfter)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, revoked := r.revoked[id]; revoked {
		return "", errRevoked(id)
	}
	if r.shown == nil {
		r.shown = make(map[string]time.Time)
	}
	r.shown[id] = cert.NotAfter
	return id, nil
}

// Revoke ends what a gateway's certificates are good for, and what it has going on
// now. by is who asks for it.
func (r *Revocations) Revoke(ctx context.Context, gateway, by, why string) error {
	now := r.now()
	if _, err := r.Gateways.Gateway(ctx, gateway, now); err != nil {
		return fmt.Errorf("ca: revoke: %w", err)
	}
	entry := fleet.Entry{Time: now, Who: by, What: "revoke", Gateway: gateway, Detail: why}
	if _, err := r.Audit.Append(ctx, entry); err != nil {
		return fmt.Errorf("ca: revoke: %w", err)
	}
	ctx = context.WithoutCancel(ctx) // half of it would be neither here nor there
	err := r.Kept.Revoke(ctx, fleet.Revocation{Subject: gateway, When: now, By: by, Why: why})
	if err == nil {
		r.mu.Lock()
		r.add(gateway, now)
		r.mu.Unlock()
		r.drop(gateway, errRevoked(gateway))
		// The record is what people see; the revocation holds without it.
		err = r.Gateways.MarkRevoked(ctx, gateway, now)
	}
	entry.Time, entry.Outcome = r.now(), "ok"
	if err != nil {
		entry.Outcome = err.Error()
	}
	if _, failed := r.Audit.Append(ctx, entry); failed != nil {
		r.log().Error("how a revocation ended isn't in the audit", slog.String("gateway", gateway), slog.Any("err", failed))
	}
	if err != nil {
		return fmt.Errorf("ca: revoke: %w", err)
	}
	return nil
}

// Run looks for what other hubs revoked and what expired, until ctx is done; then it
// returns nil.
func (r *Revocations) Run(ctx context.Context) error {
	tick := time.NewTicker(readEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			r.complain(ctx, r.read(ctx, r.now()))
			r.sweep()
		}
	}
}

// complain logs a failure of the log once.
func (r *Revocations) complain(ctx context.Context, err error) {
	r.mu.Lock()
	changed := r.failing != (err != nil)
	r.failing = err != nil
	r.mu.Unlock()
	switch {
	case !changed || ctx.Err() != nil:
	case err != nil:
		r.log().Error("what other hubs revoke isn't heard", slog.Any("err", err))
	default:
		r.log().Info("what other hubs revoke is heard again")
	}
}

// sweep drops gateways that were revoked lately, and whose certificate expired.
func (r *Revocations) sweep() {
	now := r.now()
	drop := make(map[string]error)
	r.mu.Lock()
	for id, expires := range r.shown {
		if now.After(expires) {
			drop[id] = errExpired(id, expires)
			delete(r.shown, id)
		}
	}
	for id, when := range r.revoked {
		if now.Sub(when) < dropAgain {
			drop[id] = errRevoked(id)
			delete(r.shown, id)
		}
	}
	r.mu.Unlock()
	for id, why := range drop {
		r.drop(id, why)
	}
}

func (r *Revocations) drop(gateway string, why error) {
	if r.Drop != nil {
		r.Drop(gateway, why)
	}
}

func (r *Revocations) now() time.Time {
	if r.Now != nil {
		return r.Now()
	}
	return time.Now()
}

func (r *Revocations) log() *slog.Logger {
	if r.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return r.Log
}
