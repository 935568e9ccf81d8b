package hub

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/lanfolk/lanfolk/internal/daemon"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// Kind tells a hub's status from a node's.
const Kind = "hub"

// Status is what `lanfolk status` shows of a hub.
type Status struct {
	Kind    string `json:"kind" enum:"hub"`
	Name    string `json:"name"`
	Version string `json:"version"`
	PID     int    `json:"pid"`
	State   string `json:"state"` // the state folder
	Config  string `json:"config"`
	Page    string `json:"page"` // the page's address
	// Network names the network namespace that the hub lives in, as a node's does.
	Network string    `json:"network"`
	Started time.Time `json:"started"`
	// Healthy says that every part that could run does, that the database takes what is
	// written, and that the audit's head is where it should be.
	Healthy bool          `json:"healthy"`
	Parts   []daemon.Part `json:"parts"`

	GRPC      string   `json:"grpc"`          // where gateways dial
	Insecure  string   `json:"insecure_grpc"` // where clients without TLS do, "" for nowhere
	Addresses []string `json:"addresses"`     // those in join strings
	Pin       string   `json:"pin"`           // of the hub's authority, in join strings

	Store     Store     `json:"store"`
	Gateways  Gateways  `json:"gateways"`
	Commands  Commands  `json:"commands"`
	Results   Results   `json:"results"`
	Inventory Inventory `json:"inventory"`
	Audit     Audit     `json:"audit"`
}

// Store is how the hub's database is.
type Store struct {
	Path    string     `json:"path"`
	Healthy bool       `json:"healthy"`
	Error   string     `json:"error"`
	Since   *time.Time `json:"since"` // since when it fails, if that is known
}

// Gateways counts those on record.
type Gateways struct {
	Total    int `json:"total"`
	Online   int `json:"online"`
	Insecure int `json:"insecure"` // for which nobody vouches
	Revoked  int `json:"revoked"`
}

// Commands counts commands.
type Commands struct {
	Outstanding int `json:"outstanding"` // that haven't ended
}

// Results is what commands' results take.
type Results struct {
	Bytes    int64 `json:"bytes"`
	MaxBytes int64 `json:"max_bytes"`
	Whole    int   `json:"whole"`
	Partial  int   `json:"partial"`
}

// Inventory counts what the gateways tell of.
type Inventory struct {
	Devices  int `json:"devices"`
	Services int `json:"services"`
}

// Audit is the end of the audit, and up to where it is sealed.
type Audit struct {
	Entries  uint64     `json:"entries"`
	Head     string     `json:"head"` // its hash
	Sealed   uint64     `json:"sealed"`
	SealedAt *time.Time `json:"sealed_at"`
	Error    string     `json:"error"` // why no newer seal is where it should be
}

// Status returns how the hub is. What can't be read is left out, and the store says why.
func (h *Hub) Status(ctx context.Context) Status {
	s := Status{
		Kind: Kind, Name: h.name(), Version: h.Version, PID: os.Getpid(), State: h.State, Config: h.ConfigPath, Page: h.self.page,
		Network: daemon.Network(), Started: h.started.UTC(), Parts: h.tasks.Parts(),
		GRPC: h.listeners.grpc.Addr().String(), Addresses: h.self.addresses, Pin: h.authority.Pin().String(),
		Store: h.storeStatus(),
	}
	told := h.inventory.Stats()
	s.Inventory = Inventory{Devices: told.Devices, Services: told.Services}
	if at := h.listeners.insecure; at != nil {
		s.Insecure = at.Addr().String()
	}
	note := func(err error) {
		if err != nil && s.Store.Healthy {
			s.Store.Healthy, s.Store.Error = false, err.Error()
		}
	}
	var err error
	s.Gateways, err = h.countGateways(ctx)
	note(err)
	outstanding, err := h.fleet.Commands.Outstanding(ctx, "")
	s.Commands.Outstanding = len(outstanding)
	note(err)
	room, err := h.fleet.Blobs.Usage(ctx)
	s.Results = Results{Bytes: room.Bytes, MaxBytes: room.MaxBytes, Whole: room.Blobs, Partial: room.Partial}
	note(err)
	s.Audit, err = h.auditStatus(ctx)
	note(err)
	s.Healthy = h.unhealthy() == nil && s.Store.Healthy
	return s
}

func (h *Hub) countGateways(ctx context.Context) (n Gateways, err error) {
	all, err := h.fleet.Sessions.Gateways(ctx, fleet.GatewayFilter{}, time.Now())
	for i := range all {
		n.Total++
		if all[i].Online {
			n.Online++
		}
		if all[i].Insecure() {
			n.Insecure++
		}
		if !all[i].Revoked.IsZero() {
			n.Revoked++
		}
	}
	return n, err
}

func (h *Hub) auditStatus(ctx context.Context) (a Audit, err error) {
	head, err := h.fleet.Audit.Head(ctx)
	if err == nil {
		a.Entries, a.Head = head.Seq, hex.EncodeToString(head.Hash[:])
	}
	last, when, sealErr := h.seals.state()
	if a.Sealed = last.Seq; !when.IsZero() {
		when = when.UTC()
		a.SealedAt = &when
	}
	if sealErr != nil {
		a.Error = sealErr.Error()
	}
	return a, err
}

// storeStatus says whether the database takes what is written: the hub's lease is
// extended all the time.
func (h *Hub) storeStatus() Store {
	s := Store{Path: h.db.Name(), Healthy: true}
	since, err := h.pulse.feel()
	if err == nil {
		err = h.db.Health()
	}
	if err != nil {
		s.Healthy, s.Error = false, err.Error()
	}
	if !since.IsZero() {
		since = since.UTC()
		s.Since = &since
	}
	return s
}

// unhealthy returns what is wrong, nil if nothing is: for /healthz.
func (h *Hub) unhealthy() error {
	var wrong []string
	if s := h.storeStatus(); !s.Healthy {
		wrong = append(wrong, "store: "+s.Error)
	}
	if _, _, err := h.seals.state(); err != nil {
		wrong = append(wrong, err.Error())
	}
	for _, p := range h.tasks.Parts() {
		if p.State == daemon.Failed {
			wrong = append(wrong, p.Name+": "+p.Error)
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	return errors.New(strings.Join(wrong, "; "))
}

func (h *Hub) grpcDetail() string {
	s := h.wire.Stats()
	return fmt.Sprintf("%d gateways listen; %d commands sent, %d results came", len(h.wire.Online()), s.Commands, s.Results)
}

func (h *Hub) inventoryDetail() string {
	s := h.inventory.Stats()
	return fmt.Sprintf("%d gateways have told of %d devices and %d services", s.Gateways, s.Devices, s.Services)
}

func (h *Hub) inventoryCounters() map[string]uint64 {
	s := h.inventory.Stats()
	return map[string]uint64{
		"batches": s.Batches, "again": s.Again, "bytes": s.Bytes, "rows": s.Rows,
		"refused: invalid": s.Invalid, "refused: quota": s.Quota, "refused: epoch": s.Epoch, "refused: gap": s.Gap, "refused: storage": s.Store,
	}
}

// grpcCounters are what the wire counted.
func (h *Hub) grpcCounters() map[string]uint64 {
	s := h.wire.Stats()
	return map[string]uint64{
		"commands": s.Commands, "chunks": s.Chunks, "bytes": s.Bytes, "results": s.Results, "replaced": s.Replaced, "overdue": s.Overdue,
		"refused: handshake": s.Handshake, "refused: enrolment": h.registrar.Refused(),
		"refused: identity": s.Identity, "refused: oversize": s.Oversize, "refused: meta": s.Meta, "refused: order": s.Order,
		"refused: too large": s.TooLarge, "refused: hash": s.Mismatch, "refused: unexpected": s.Unexpected, "refused: storage": s.Storage,
		"refused: other": s.Other,
	}
}
