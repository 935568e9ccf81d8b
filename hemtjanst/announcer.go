package hemtjanst

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
)

// Announcer announces a device that connects to the broker itself. Broker, ID and Root must be set; no
// field may be changed once Run was called.
type Announcer struct {
	Broker Transport
	Tenant string
	ID     string
	Root   string
	// Metadata is what the device says of itself. Its root is set to Root.
	Metadata Metadata
	// ClientID is made of Tenant and ID if it is empty, and so the same after a restart: then the
	// broker ends a connection that broke without its knowing.
	ClientID  string
	KeepAlive time.Duration
	// Announced, if set, is called each time the broker has taken in everything after a connect.
	Announced func()
	Log       *slog.Logger // nil is silent

	speaker speaker
}

// ErrProvider means that a device of an Announcer names a provider, of which it has none.
var ErrProvider = errors.New("hemtjanst: a device that connects itself has no providerID")

// Run announces the device until ctx is done, says that it can't be reached any more and returns
// nil. A connection that is lost is made again. It fails if what is to be announced can't be, and if the
// broker refuses the first connection.
func (a *Announcer) Run(ctx context.Context) error {
	if a.Broker == nil {
		return errNoBroker
	}
	t := Topics{a.Tenant}
	if err := t.Check(); err != nil {
		return err
	}
	c, err := a.claim(a.Metadata)
	if err != nil {
		return err
	}
	s := &a.speaker
	s.mu.Lock()
	known := len(s.claims) > 0 // Update was called
	s.mu.Unlock()
	if !known {
		if err := s.set([]claim{c}); err != nil {
			return err
		}
	}
	s.broker, s.topics, s.keepAlive, s.log, s.announced = a.Broker, t, a.KeepAlive, silentIfNil(a.Log), a.Announced
	if s.clientID = a.ClientID; s.clientID == "" {
		s.clientID = stableID("device", a.Tenant, a.ID)
	}
	return s.run(ctx, Message{Topic: t.Reachable(a.Root), Payload: []byte("0"), Retain: true, QoS: 2})
}

// Update changes the device's metadata. It may be called at any time.
func (a *Announcer) Update(meta Metadata) error {
	c, err := a.claim(meta)
	if err != nil {
		return err
	}
	return a.speaker.put(c)
}

// Status says how the device is connected. It may be called at any time.
func (a *Announcer) Status() Status { return a.speaker.status.get() }

func (a *Announcer) claim(meta Metadata) (claim, error) {
	if p := meta.Provider(); p != "" {
		return claim{}, fmt.Errorf("%w: %q", ErrProvider, p)
	}
	return a.speaker.check(a.ID, a.Root, meta, true, "")
}

// stableID makes a client id of parts, of a length that every broker takes.
func stableID(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return "lf" + hex.EncodeToString(sum[:10])
}
