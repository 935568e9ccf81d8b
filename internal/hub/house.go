package hub

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/lanfolk/lanfolk/internal/hub/deliver"
	"github.com/lanfolk/lanfolk/store"
	"github.com/lanfolk/lanfolk/store/fleet"
)

const (
	// cleanEvery is how often what nobody needs any more is dropped; the first time soon
	// after the start, when it doesn't get into the way of gateways that come back.
	cleanEvery = 24 * time.Hour
	cleanFirst = 5 * time.Minute
	// cleanAgain is how long is waited after a failure.
	cleanAgain = time.Hour
	// cutAtOnce is how many entries of the audit go in one step: they are in memory, each with
	// a line of up to 64 KiB perhaps, and nobody appends meanwhile.
	cutAtOnce = 1000
	// tokensFor is how long a token that let a gateway in, or nobody, is listed after
	// its end. The audit has it longer.
	tokensFor = 30 * 24 * time.Hour
)

// counts is what keeping house did.
type counts struct {
	mu      sync.Mutex
	when    time.Time
	tokens  int
	entries int // of the audit
	rows    store.Forgotten
	err     error
}

// keepHouse drops what nobody needs any more. Commands and their results are the
// dispatcher's, what gateways told is the inventory's to drop.
func (h *Hub) keepHouse(ctx context.Context) error {
	next := time.NewTimer(cleanFirst)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-next.C:
		}
		err := h.clean(ctx, time.Now())
		h.counts.ended(time.Now(), err)
		if err != nil && ctx.Err() == nil {
			h.Log.Warn("what is old could not all be dropped", "err", err)
			next.Reset(cleanAgain)
			continue
		}
		next.Reset(cleanEvery)
	}
}

// clean does it once. What fails keeps nothing else from being done.
func (h *Hub) clean(ctx context.Context, now time.Time) error {
	tokens, err := h.fleet.Once.ForgetTokens(ctx, now.Add(-tokensFor))
	c := h.Config.Passive
	rows, rowsErr := h.db.Opened().ForgetObservations(ctx, now, store.Retention{
		MaxAge: c.Retention.Duration(), MaxRows: int64(c.MaxRows), MaxShare: int64(c.MaxRowsPerMAC), MaxBytes: int64(c.MaxMegabytes) * 1_000_000,
	})
	entries, cutErr := h.cutAudit(ctx, now)
	h.counts.add(tokens, entries, rows)
	return errors.Join(err, rowsErr, cutErr, h.fleet.Accounts.Forget(ctx, now))
}

// cutAudit lets entries of the audit go that are old. The heads that were sealed with them
// can't be compared any more afterwards, so they are before: whoever makes all hashes anew
// could make all entries old.
func (h *Hub) cutAudit(ctx context.Context, now time.Time) (n int, err error) {
	before := now.Add(-h.Config.Hub.Audit.Retention.Duration())
	for {
		from, err := h.fleet.Audit.Start(ctx)
		if err != nil {
			return n, err
		}
		sealed, err := h.seals.between(from.Seq, from.Seq+cutAtOnce)
		if err != nil {
			return n, err
		}
		cut, err := h.fleet.Audit.Cut(ctx, before, cutAtOnce, func(start fleet.Checkpoint, gone []fleet.Head) (fleet.Checkpoint, fleet.Entry, error) {
			last := gone[len(gone)-1]
			return last.Checkpoint(h.sealKey), fleet.Entry{
				Time: now, Who: deliver.HubName, What: "audit.cut", Ref: strconv.FormatUint(last.Seq, 10),
				Detail: fmt.Sprintf("%d entries up to this number, from before %s", len(gone), before.UTC().Format(time.RFC3339)), Outcome: "ok",
			}, h.mayGo(from, start, gone, sealed)
		})
		if n += cut; err != nil || cut < cutAtOnce {
			return n, err
		}
	}
}

// mayGo says why entries may not go with the hub's signature.
func (h *Hub) mayGo(from, start fleet.Checkpoint, gone []fleet.Head, sealed []fleet.Seal) error {
	if start != from {
		return errors.New("hub: another hub cuts the audit now")
	}
	for _, s := range sealed {
		if i := s.Seq - gone[0].Seq; i < uint64(len(gone)) && s.Hash != hex.EncodeToString(gone[i].Hash[:]) {
			return fmt.Errorf("hub: %w: entry %d isn't the one that was sealed", fleet.ErrTampered, s.Seq)
		}
	}
	return start.Check(h.sealKey.Public().(ed25519.PublicKey)) // what somebody else signed gets no signature of ours
}

func (c *counts) add(tokens, entries int, rows store.Forgotten) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tokens += tokens
	c.entries += entries
	c.rows.Age += rows.Age
	c.rows.Share += rows.Share
	c.rows.Room += rows.Room
}

func (c *counts) ended(when time.Time, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.when, c.err = when, err
}

func (c *counts) houseDetail() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.err != nil:
		return "not all that is old could be dropped: " + c.err.Error()
	case c.when.IsZero():
		return ""
	}
	return fmt.Sprintf("dropped %d join tokens, %d entries of the audit and %d fingerprint rows, last at %s", c.tokens, c.entries, c.rows.Age+c.rows.Share+c.rows.Room, c.when.UTC().Format(time.RFC3339))
}
