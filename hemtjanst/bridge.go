package hemtjanst

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
)

// Bridge announces devices that it connects to the broker. Broker must be set; no field may be changed
// once any method was called.
type Bridge struct {
	Broker Transport
	Tenant string
	// Provider is the bridge's id. A fresh one is made up if it is empty, as it should be: then the will
	// of an earlier process can't be taken for this one's.
	Provider string
	// ClientID should be the same after a restart, so that the broker ends a connection that broke
	// without its knowing. If it is empty it is made of Tenant and Provider.
	ClientID  string
	Metadata  Metadata // of the provider
	KeepAlive time.Duration
	// Announced, if set, is called each time the broker has taken in everything after a connect.
	Announced func()
	Log       *slog.Logger // nil is silent

	once     sync.Once
	provider string
	speaker  speaker
}

// BridgeDevice is a device of a bridge. Its metadata's root and providerID are set by the bridge.
type BridgeDevice struct {
	ID, Root  string
	Metadata  Metadata
	Reachable bool
}

// ProviderID returns the bridge's id.
func (b *Bridge) ProviderID() string {
	b.once.Do(func() {
		if b.provider = b.Provider; b.provider == "" {
			b.provider = uuid.NewString()
		}
	})
	return b.provider
}

// Set makes these the bridge's devices. Those that are no longer among them are cleared from the broker.
// If one of them can't be announced, or two have the same id or root, nothing changes. It may be called at any time, as
// may Put and Remove; what changes is published.
func (b *Bridge) Set(devices []BridgeDevice) error {
	all := make([]claim, 0, len(devices))
	for _, d := range devices {
		c, err := b.claim(d)
		if err != nil {
			return err
		}
		all = append(all, c)
	}
	return b.speaker.set(all)
}

// Put adds a device, or changes the one with its id.
func (b *Bridge) Put(d BridgeDevice) error {
	c, err := b.claim(d)
	if err != nil {
		return err
	}
	return b.speaker.put(c)
}

// Remove clears a device from the broker.
func (b *Bridge) Remove(id string) { b.speaker.remove(id) }

func (b *Bridge) claim(d BridgeDevice) (claim, error) {
	return b.speaker.check(d.ID, d.Root, d.Metadata, d.Reachable, b.ProviderID())
}

// Status says how the bridge is connected. It may be called at any time.
func (b *Bridge) Status() Status { return b.speaker.status.get() }

// Run announces the bridge and its devices until ctx is done, says that they can't be reached any more and
// returns nil. A connection that is lost is made again. It fails if the bridge can't be announced, and if the
// broker refuses the first connection.
func (b *Bridge) Run(ctx context.Context) error {
	if b.Broker == nil {
		return errNoBroker
	}
	t := Topics{b.Tenant}
	if err := t.Check(); err != nil {
		return err
	}
	id := b.ProviderID()
	if err := CheckName(id); err != nil {
		return fmt.Errorf("provider id: %w", err)
	}
	s := &b.speaker
	s.broker, s.topics, s.keepAlive, s.log, s.announced = b.Broker, t, b.KeepAlive, silentIfNil(b.Log), b.Announced
	s.provider, s.meta = id, string(b.Metadata.JSON())
	if s.clientID = b.ClientID; s.clientID == "" {
		s.clientID = stableID("bridge", b.Tenant, id)
	}
	return s.run(ctx, Message{Topic: t.Provider(id), Retain: true, QoS: 2})
}
