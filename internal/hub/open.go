package hub

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc/status"

	"github.com/lanfolk/lanfolk/internal/access"
	"github.com/lanfolk/lanfolk/internal/daemon"
	"github.com/lanfolk/lanfolk/internal/database"
	"github.com/lanfolk/lanfolk/internal/enrol"
	"github.com/lanfolk/lanfolk/internal/hub/ca"
	"github.com/lanfolk/lanfolk/internal/hub/deliver"
	"github.com/lanfolk/lanfolk/internal/hub/inventory"
	"github.com/lanfolk/lanfolk/internal/hub/presence"
	"github.com/lanfolk/lanfolk/reverse"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// again is how often a database that is away is tried.
const again = 3 * time.Second

const mebibyte = 1 << 20

// name is what this hub is called in its database.
func (h *Hub) name() string { return cmp.Or(h.Config.Name, "hub") }

// openStorage opens the database and what lies beside it. Nobody can be served
// before it is known who was revoked, so a server that is away is waited for.
func (h *Hub) openStorage(ctx context.Context) (err error) {
	c := h.Config.Store.Hub()
	// A node of the same name may share the database; what people say of its devices isn't ours.
	if h.db, err = database.New(c, "hub "+h.name(), h.State, h.Log); err != nil {
		return err
	}
	if err := database.Hub().Write(c, h.State); err != nil { // a full disk, say
		h.Log.Warn("commands can't see where the database is", "err", err)
	}
	if err := h.openDatabase(ctx); err != nil {
		return err
	}
	if err := h.makeFolder(); err != nil {
		return errors.Join(err, h.db.Close())
	}
	r := h.Config.Hub.Results
	h.fleet, err = fleet.Open(ctx, h.db.Opened(), fleet.Options{
		BlobFolder: h.folder("results"), Retention: r.Retention.Duration(),
		MaxBytes: int64(r.MaxAll) * mebibyte, MaxGatewayBytes: int64(r.MaxGateway) * mebibyte, MaxBlobBytes: int64(r.MaxOne) * mebibyte,
	})
	if err != nil {
		return errors.Join(err, h.db.Close())
	}
	h.fleet.Sessions, h.fleet.Commands, h.fleet.Audit = leases{h.fleet.Sessions, &h.pulse}, orders{h.fleet.Commands, &h.pulse}, records{h.fleet.Audit, &h.pulse}
	return nil
}

func (h *Hub) openDatabase(ctx context.Context) error {
	for told := false; ; told = true {
		err := h.db.Open(ctx)
		if err == nil || !h.db.Remote() || ctx.Err() != nil {
			return err
		}
		if !told {
			h.Log.Error("the database can't be opened; waiting for it", "err", err)
		}
		select {
		case <-time.After(again):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (h *Hub) closeStorage() {
	if h.fleet == nil {
		return
	}
	if err := errors.Join(h.fleet.Close(), h.db.Close()); err != nil {
		h.Log.Warn("the database was not closed as it should", "err", err)
	}
}

// openAuthority opens what says who is a gateway of this hub, and who not any more.
func (h *Hub) openAuthority(ctx context.Context) (err error) {
	if h.authority, err = ca.Open(h.folder("ca.pem")); err != nil {
		return err
	}
	// For who opens the page or the API: in ca.pem the key stands beside it.
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.authority.Certificate().Raw})
	if err := writeFile(filepath.Join(h.State, "hub-ca.pem"), cert, 0o644); err != nil {
		return fmt.Errorf("hub: the authority's certificate: %w", err)
	}
	if h.sealKey, err = openKey(h.folder("seal.key")); err != nil {
		return err
	}
	h.seals = &seals{
		audit: h.fleet.Audit, key: h.sealKey, every: h.Config.Hub.Seals.Interval.Duration(),
		places: []string{h.folder("seals.jsonl")}, log: h.Log,
	}
	if p := h.Config.Hub.Seals.Path; p != "" {
		h.seals.places = append(h.seals.places, p)
	}
	h.revocations = &ca.Revocations{Kept: h.fleet.Once, Gateways: h.fleet.Sessions, Audit: h.fleet.Audit, Log: h.Log}
	h.registrar = &ca.Registrar{
		Authority: h.authority, Revocations: h.revocations, Tokens: h.fleet.Once, Gateways: h.fleet.Sessions, Audit: h.fleet.Audit, Log: h.Log,
	}
	return h.revocations.Load(ctx)
}

// openGateways makes what serves gateways: who is there, what they are told and what
// they tell.
func (h *Hub) openGateways(ctx context.Context) (err error) {
	c := h.Config.Hub
	h.inventory, err = inventory.Open(ctx, inventory.Options{
		Feed: h.fleet.Feed, Words: h.db.Opened(), Log: h.Log,
		Limits: inventory.Limits{Items: c.Inventory.MaxGatewayItems, Bytes: int64(c.Inventory.MaxGatewayMegabytes) * mebibyte, All: cmp.Or(c.Inventory.MaxItems, itemsFor(daemon.Memory()))},
	})
	if err != nil {
		return err
	}
	h.roll = &presence.Roll{Sessions: h.fleet.Sessions, Hub: h.name(), Version: h.Version, Logger: h.Log}
	h.dispatcher = &deliver.Dispatcher{
		Log: h.fleet.Commands, Blobs: h.fleet.Blobs, Audit: h.fleet.Audit, Greet: h.roll.Greet, Logger: h.Log,
		MaxBytes: uint64(c.Results.MaxOne) * mebibyte, MaxOutstanding: c.Commands.MaxOutstanding, Retention: c.Commands.Retention.Duration(),
	}
	h.wire = &reverse.Server{
		Authenticate: h.revocations.Authenticate, Sessions: h.roll, Control: h.dispatcher, Results: h.dispatcher, Feeds: h.inventory,
		Listening: h.dispatcher.Arrived, Log: h.Log,
	}
	h.dispatcher.Wire, h.roll.Left, h.revocations.Drop = h.wire, h.dispatcher.Left, h.drop
	h.desk = &access.Desk{
		Accounts: h.fleet.Accounts, Audit: h.fleet.Audit, Gateways: h.fleet.Sessions, Tokens: h.fleet.Once,
		Registrar: inviter{h}, Revocations: h.revocations, SealKey: h.sealKey, Log: h.Log,
		Changed: func(_ context.Context, g fleet.Standing) { h.inventory.Gateway(g) },
		Forgotten: func(ctx context.Context, id string) {
			if err := h.inventory.Forget(ctx, id); err != nil {
				h.Log.Warn("what a forgotten gateway told could not be dropped", "gateway", id, "err", err)
			}
		},
	}
	h.dispatcher.Objection = h.desk.Objection
	return nil
}

// drop ends what a gateway has going on, and its commands if it was revoked.
func (h *Hub) drop(gateway string, why error) {
	h.wire.Drop(gateway, why)
	if h.revocations.Check(gateway) != nil {
		h.dispatcher.Banish(gateway, status.Convert(why).Message())
	}
}

// inviter makes join strings that lead here.
type inviter struct{ *Hub }

// Invite implements access.Registrar.
func (i inviter) Invite(ctx context.Context, r access.JoinRequest) (string, fleet.Token, error) {
	q := ca.TokenRequest{Name: r.Name, Gateway: r.Gateway, TTL: r.TTL, By: r.By}
	if !r.NoAddress {
		q.Addresses = i.self.addresses
	}
	return i.registrar.Invite(ctx, q)
}

// openKey reads a private key of Ed25519, in PEM (PKCS #8, RFC 5958), and makes one
// where there is none. One that others may read signs nothing.
func openKey(path string) (ed25519.PrivateKey, error) {
	text, err := enrol.ReadSecret(path)
	if errors.Is(err, fs.ErrNotExist) {
		return makeKey(path)
	}
	if err != nil {
		return nil, fmt.Errorf("hub: the key of the audit's seals: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, fmt.Errorf("hub: the key of the audit's seals: %s holds no private key in PEM", path)
	}
	any, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("hub: the key of the audit's seals: %s: %w", path, err)
	}
	key, ok := any.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("hub: the key of the audit's seals: %s holds no key of Ed25519", path)
	}
	return key, nil
}

func makeKey(path string) (ed25519.PrivateKey, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("hub: the key of the audit's seals: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("hub: the key of the audit's seals: %w", err)
	}
	if err := enrol.CreateSecret(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})); err != nil {
		return nil, fmt.Errorf("hub: the key of the audit's seals: %w", err)
	}
	return key, nil
}

// writeFile writes a file that is either whole or not there.
func writeFile(path string, text []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
