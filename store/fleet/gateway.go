package fleet

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"
)

// A Gateway is what a hub has on record about one.
type Gateway struct {
	ID      string
	Name    string            // what people call it; not unique
	Labels  map[string]string // set at the hub only
	Key     [32]byte          // SHA-256 of its public key (SubjectPublicKeyInfo); zero for an insecure one
	Version string            // of its program, as it said last
	Address string            // where it dialled from last
	// Enrolled is when it got its first certificate; zero for an insecure one.
	Enrolled time.Time
	Revoked  time.Time // zero: it isn't
	LastSeen time.Time // zero: never
}

// InsecurePrefix begins the ids of gateways for which nobody vouches.
const InsecurePrefix = "insecure/"

// Insecure says whether nobody vouches for the gateway's id.
func (g *Gateway) Insecure() bool { return strings.HasPrefix(g.ID, InsecurePrefix) }

// A Session is a gateway that listens at a hub, or did.
type Session struct {
	Gateway string
	Epoch   uint64 // rises with each session of the gateway
	Hub     string // which hub, and
	Run     uint64 // which run of it
	Address string
	Version string
	Since   time.Time
	Ended   time.Time // zero: it hasn't
	Why     string    // it ended
}

// A Standing is a gateway with its newest session.
type Standing struct {
	Gateway
	Session Session // zero where there never was one
	Online  bool    // the session goes on, and so does its hub's lease
}

// GatewayFilter says which gateways are meant; the zero value is all.
type GatewayFilter struct {
	ID       string            // exactly this one
	Selector map[string]string // labels that they have, all of them
	After    string            // ids above this one
	Limit    int               // at most so many; 0 is no limit
}

// Matches says whether labels has all pairs of the selector.
func Matches(selector, labels map[string]string) bool {
	for key, value := range selector {
		if have, ok := labels[key]; !ok || have != value {
			return false
		}
	}
	return true
}

// SelectorText writes a selector or labels as key=value,key=value in order.
func SelectorText(selector map[string]string) string {
	pairs := make([]string, 0, len(selector))
	for _, key := range slices.Sorted(maps.Keys(selector)) {
		pairs = append(pairs, key+"="+selector[key])
	}
	return strings.Join(pairs, ",")
}

// Sessions keeps the gateways' records and which hub holds each. All of its
// methods may be called at once, by several hubs too.
type Sessions interface {
	// Enrol makes a gateway's record. For one that has the id already it changes
	// the key and the name, if that is not empty, and keeps the rest; it returns
	// the record. A revoked one stays as it is: ErrFenced.
	Enrol(ctx context.Context, g Gateway) (Gateway, error)
	// Gateways returns records and their newest sessions by id in order. With now
	// it decides who is online.
	Gateways(ctx context.Context, f GatewayFilter, now time.Time) ([]Standing, error)
	// Gateway returns one; ErrUnknown.
	Gateway(ctx context.Context, id string, now time.Time) (Standing, error)
	// GatewayOf returns the one, not revoked, that has a key; ErrUnknown.
	GatewayOf(ctx context.Context, key [32]byte, now time.Time) (Standing, error)
	// Rename and SetLabels change what people say of a gateway; labels replace
	// all that it had.
	Rename(ctx context.Context, id, name string) error
	SetLabels(ctx context.Context, id string, labels map[string]string) error
	// MarkRevoked puts the moment on record; that it is revoked is said by Once.
	MarkRevoked(ctx context.Context, id string, when time.Time) error
	// Forget drops a gateway's record and session. Commands and blobs stay.
	Forget(ctx context.Context, id string) error

	// Attend says that a hub begins: its lease lasts until until. Sessions of
	// earlier runs of the same name have ended thereby. It returns the run's
	// number, which is above the earlier ones'.
	Attend(ctx context.Context, hub string, now, until time.Time) (run uint64, err error)
	// Extend moves the lease's end of a hub, and with it that of all its
	// sessions. ErrFenced: another process runs as that hub.
	Extend(ctx context.Context, hub string, run uint64, until time.Time) error
	// Leave ends a hub's lease; its sessions end with it.
	Leave(ctx context.Context, hub string, run uint64, now time.Time) error

	// Begin makes a session the gateway's newest, and so ends the one before. It
	// takes Gateway, Hub, Run, Address, Version and Since, and returns it with its
	// Epoch, and which one it replaced: zero if none was going on. For an insecure
	// gateway it makes the record too; else there is ErrUnknown without one, and
	// ErrFenced if it is revoked, or if the run has been taken over.
	Begin(ctx context.Context, s Session) (begun, replaced Session, err error)
	// Seen says that a session's gateway was there at a moment. An older session
	// than the newest changes nothing: ErrFenced.
	Seen(ctx context.Context, gateway string, epoch uint64, when time.Time) error
	// End ends a session. If it isn't the newest of its gateway, or ended before,
	// nothing changes and ended is false: so a late end never hides a new session.
	End(ctx context.Context, gateway string, epoch uint64, when time.Time, why string) (ended bool, err error)
}
