package hemtjanst

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
)

// Errors of a Purge.
var (
	// ErrNoDevice means that the broker knows no device with the id.
	ErrNoDevice = errors.New("no such device on the broker")
	// ErrAlive means that the device is announced by somebody.
	ErrAlive = errors.New("the device is alive")
	// ErrReturned means that what was cleared came back.
	ErrReturned = errors.New("what was cleared came back: somebody still announces it")
)

// maxPurges is how often what comes back is cleared again.
const maxPurges = 3

// Purge clears a device that nobody announces any more from the broker: what is retained on its own topics, and
// on none of another device, be its root the same or inside this one's. Broker must be set.
type Purge struct {
	Broker    Transport
	Tenant    string
	ClientID  string // made up if it is empty
	KeepAlive time.Duration
	DryRun    bool         // finds out what would be cleared, and clears nothing
	Force     bool         // clears a device that is alive, too
	Log       *slog.Logger // nil is silent
}

// Purged is what a Purge found.
type Purged struct {
	Cleared []string // topics that were cleared, or would be
	Kept    []string // topics under the device's root that belong to another device
}

// Run purges the device with an id. Who is alive: a device whose provider has a topic, and one without a
// provider that says 1. The error then is an ErrAlive.
func (p *Purge) Run(ctx context.Context, id string) (Purged, error) {
	if p.Broker == nil {
		return Purged{}, errNoBroker
	}
	t := Topics{p.Tenant}
	if err := t.Check(); err != nil {
		return Purged{}, err
	}
	if err := CheckName(id); err != nil {
		return Purged{}, fmt.Errorf("device id: %w", err)
	}
	client := p.ClientID
	if client == "" {
		client = randomID()
	}
	q := newQueue()
	defer q.close()
	attempt, cancel := context.WithTimeout(ctx, connecting)
	conn, err := p.Broker.Connect(attempt, Session{ClientID: client, KeepAlive: p.KeepAlive, Receive: q.push})
	cancel()
	if err != nil {
		return Purged{}, fmt.Errorf("hemtjanst: connect: %w", err)
	}
	defer func() { _ = conn.Close() }() // it has no will
	r := &purge{p, silentIfNil(p.Log), t, conn, q, map[string]string{}}
	done, err := r.run(ctx, id)
	if err != nil {
		return done, fmt.Errorf("hemtjanst: purge %s: %w", id, err)
	}
	leave, cancel := context.WithTimeout(ctx, farewell)
	defer cancel()
	return done, conn.Disconnect(leave)
}

// purge is a Purge that runs.
type purge struct {
	*Purge
	log      *slog.Logger
	topics   Topics
	conn     Conn
	in       *queue
	retained map[string]string
}

func (r *purge) run(ctx context.Context, id string) (done Purged, err error) {
	pre := r.topics.prefix()
	if err := r.look(ctx, pre+"provider/#", pre+"device/#"); err != nil {
		return done, err
	}
	doc, ok := r.retained[r.topics.Device(id)]
	if !ok {
		return done, ErrNoDevice
	}
	meta, err := ParseMetadata([]byte(doc))
	if err != nil {
		r.log.Warn("its metadata can't be read, so that nothing but the metadata is cleared", "device", id, "err", err)
	}
	root := meta.Root()
	if unusable(root) != "" {
		root = ""
	}
	if root != "" {
		if err := r.look(ctx, r.topics.Current(root, "#"), r.topics.Desired(root, "#")); err != nil {
			return done, err
		}
	}
	others := r.roots(id)
	for n := 0; ; n++ {
		if err := r.alive(id, meta, root); err != nil && !r.Force {
			return done, err
		}
		var own []string
		own, done.Kept = r.own(id, root, others)
		if n == 0 || len(own) > 0 {
			done.Cleared = union(done.Cleared, own)
		}
		if r.DryRun || len(own) == 0 {
			return done, nil
		}
		if n == maxPurges {
			return done, ErrReturned
		}
		if err := r.clear(ctx, own); err != nil {
			return done, err
		}
		// Somebody may have spoken meanwhile, a janitor for one.
		filters := []string{r.topics.Device(id)}
		if root != "" {
			filters = append(filters, r.topics.Current(root, "#"), r.topics.Desired(root, "#"))
		}
		if err := r.look(ctx, filters...); err != nil {
			return done, err
		}
	}
}

func union(a, b []string) []string {
	for _, s := range b {
		if !slices.Contains(a, s) {
			a = append(a, s)
		}
	}
	return a
}

// alive says whether somebody announces the device.
func (r *purge) alive(id string, meta Metadata, root string) error {
	provider := meta.Provider()
	switch {
	case provider != "" && r.retained[r.topics.Provider(provider)] != "":
		return fmt.Errorf("%w: its provider %s is there", ErrAlive, provider)
	case provider == "" && root != "" && r.retained[r.topics.Reachable(root)] == "1":
		return fmt.Errorf("%w: %s says 1", ErrAlive, r.topics.Reachable(root))
	case r.retained[r.topics.Provider(id)] != "":
		return fmt.Errorf("%w: it is a provider, too", ErrAlive)
	}
	return nil
}

// roots returns the roots of all devices but one.
func (r *purge) roots(but string) map[string]bool {
	all := map[string]bool{}
	for topic, doc := range r.retained {
		if kind, id := r.topics.Parse(topic); kind != DeviceTopic || id == but {
			continue
		}
		if meta, err := ParseMetadata([]byte(doc)); err == nil {
			all[meta.Root()] = true
		}
	}
	return all
}

// own returns the topics that are the device's own, its state's before its metadata's, and those under its root that
// are another one's: of the roots that a topic is under the longest counts.
func (r *purge) own(id, root string, others map[string]bool) (own, kept []string) {
	for topic := range r.retained {
		rest, ok := under(topic, r.topics.Current(root, ""))
		if !ok {
			rest, ok = under(topic, r.topics.Desired(root, ""))
		}
		if !ok || root == "" {
			continue
		}
		if theirs(root, rest, others) {
			kept = append(kept, topic)
		} else {
			own = append(own, topic)
		}
	}
	slices.Sort(own)
	slices.Sort(kept)
	if topic := r.topics.Device(id); r.retained[topic] != "" {
		own = append(own, topic)
	}
	return own, kept
}

func under(topic, prefix string) (rest string, ok bool) {
	rest, ok = strings.CutPrefix(topic, prefix)
	return rest, ok && rest != ""
}

// theirs says whether what stands at rest under a root is under another's root as well, that is the same or
// longer.
func theirs(root, rest string, others map[string]bool) bool {
	if others[root] {
		return true
	}
	for i := range len(rest) {
		if rest[i] == '/' && others[root+"/"+rest[:i]] {
			return true
		}
	}
	return false
}

// clear takes away what is retained on topics.
func (r *purge) clear(ctx context.Context, topics []string) error {
	for _, t := range topics {
		if err := r.conn.Publish(ctx, Message{Topic: t, Retain: true, QoS: 1}); err != nil {
			return err
		}
		delete(r.retained, t)
	}
	return r.conn.Flush(ctx)
}

// look takes in what is retained under filters, at least twice: a broker may leave something out.
func (r *purge) look(ctx context.Context, filters ...string) error {
	for n, last := 0, -1; n < maxLooks && last != len(r.retained); n++ {
		if last = len(r.retained); n == 0 {
			last = -1
		}
		end := r.topics.sentinel(randomID())
		if err := r.conn.Subscribe(ctx, SubscribeOptions{}, slices.Concat(filters, []string{end})...); err != nil {
			return err
		}
		if err := r.conn.Publish(ctx, Message{Topic: end, Payload: make([]byte, sentinelSize)}); err != nil {
			return err
		}
		if err := r.until(ctx, end); err != nil {
			return err
		}
		if err := r.conn.Unsubscribe(ctx, end); err != nil {
			return err
		}
	}
	return nil
}

// until takes messages in until the one comes that ends them, or none for a while.
func (r *purge) until(ctx context.Context, end string) error {
	for {
		began := time.Now()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.conn.Done():
			return orClosed(r.conn.Err())
		case <-time.After(quiet):
			if len(r.in.ready) > 0 || time.Since(began) >= quiet+late {
				continue // it is we who are late
			}
			r.log.Warn("MQTT broker doesn't send our own message back, may lack the rest of what is retained")
			return nil
		case <-r.in.ready:
		}
		ended := false
		all, _ := r.in.take(nil)
		for _, m := range all {
			switch _, known := r.retained[m.Topic]; {
			case m.Topic == end:
				ended = true
			case len(m.Payload) == 0:
				delete(r.retained, m.Topic)
			case m.Retain || known: // what is said just now need not be kept
				r.retained[m.Topic] = string(m.Payload)
			}
		}
		if ended {
			return nil
		}
	}
}
