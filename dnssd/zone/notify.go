package zone

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
)

// Times of NOTIFY messages (RFC 1996 §3.6).
const (
	// notifyWait gathers the changes of a moment.
	notifyWait = 100 * time.Millisecond
	// notifyEvery is how long it takes at least from one version that secondaries are
	// told of to the next.
	notifyEvery = time.Second
	// notifyTimeout is how long the first answer may take; each next one may take
	// twice as long.
	notifyTimeout = time.Second
	notifyTries   = 6
)

// Notifier tells a zone's secondaries of changes.
type Notifier struct {
	Zone *Zone
	// Dial opens a connected UDP socket to a secondary: network is "udp". It must
	// leave from an address that the secondary knows as that of a primary.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	Log  *slog.Logger // nil is silent

	told, failed atomic.Uint64
}

// Stats returns how many times a secondary was told of a version, and how many
// times one didn't answer.
func (n *Notifier) Stats() (told, failed uint64) { return n.told.Load(), n.failed.Load() }

// Run tells all secondaries of the zone as it is now, and of each change, until ctx
// ends.
func (n *Notifier) Run(ctx context.Context) error {
	log := n.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	var tasks sync.WaitGroup
	defer tasks.Wait()
	for i, s := range n.Zone.secondaries {
		if s.Address.Addr().IsValid() && s.Address.Port() != 0 {
			tasks.Go(func() { n.follow(ctx, s.Address, n.Zone.keys[i], log) })
		}
	}
	<-ctx.Done()
	return nil
}

// follow tells one secondary. A version that comes while it is told of one takes
// that one's place.
func (n *Notifier) follow(ctx context.Context, to netip.AddrPort, key *keyed, log *slog.Logger) {
	silent := false
	for {
		changed, begun := n.Zone.Changed(), time.Now()
		switch n.tell(ctx, to, key, changed) {
		case heard:
			n.told.Add(1)
			if silent {
				log.Info("a secondary answers again", "addr", to)
			}
			silent = false
		case unheard:
			n.failed.Add(1)
			if !silent {
				log.Warn("a secondary doesn't answer when told of a change", "addr", to, "source", n.Zone.Domain())
			}
			silent = true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(max(notifyWait, time.Until(begun.Add(notifyEvery)))):
		case <-ctx.Done():
			return
		}
	}
}

// outcome is what came of telling a secondary.
type outcome uint8

const (
	heard   outcome = iota
	unheard         // it never answered
	stale           // there is something newer to tell
)

// tell sends the message until the secondary answers, or there is something newer to
// tell.
func (n *Notifier) tell(ctx context.Context, to netip.AddrPort, key *keyed, newer <-chan struct{}) outcome {
	timeout := notifyTimeout
	for range notifyTries {
		if n.once(ctx, to, key, timeout) {
			return heard
		}
		select {
		case <-newer:
			return stale
		case <-ctx.Done():
			return stale
		default:
		}
		timeout *= 2
	}
	return unheard
}

// once sends the message and waits for its answer.
func (n *Notifier) once(ctx context.Context, to netip.AddrPort, key *keyed, timeout time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	c, err := n.Dial(ctx, "udp", to.String())
	if err != nil {
		<-ctx.Done()
		return false
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	var id [2]byte
	rand.Read(id[:])
	now := time.Now()
	msg, mac := n.Zone.notification(binary.BigEndian.Uint16(id[:]), key, now)
	if _, err := c.Write(msg); err != nil {
		<-ctx.Done() // not at once again
		return false
	}
	buf := make([]byte, maxQuery)
	for {
		size, err := c.Read(buf)
		if err != nil {
			<-ctx.Done()
			return false
		}
		if answers(buf[:size], msg, key, mac, time.Now()) {
			return true
		}
	}
}

// answers says whether a message answers a NOTIFY, with the signature that it
// should have. Whatever else it says, the secondary has heard.
func answers(b, asked []byte, key *keyed, mac []byte, now time.Time) bool {
	m, err := dnswire.Parse(b)
	if err != nil || !m.Response || m.Opcode != dnswire.OpcodeNotify || m.ID != binary.BigEndian.Uint16(asked) {
		return false
	}
	if key == nil {
		return true
	}
	for r := range m.Records() {
		if s, ok := parseSignature(r); ok && r.Type == dnswire.TypeTSIG {
			return s.name == key.name && s.algorithm == key.algorithm && key.check(b, s, mac, now) == 0
		}
	}
	return false
}
