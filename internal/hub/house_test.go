package hub

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/internal/config"
	"github.com/lanfolk/lanfolk/store"
	"github.com/lanfolk/lanfolk/store/fleet"
)

func TestHouseIsKept(t *testing.T) {
	t.Parallel()
	h := &Hub{Config: config.Default(), State: t.TempDir(), Log: slog.New(slog.DiscardHandler)}
	if err := h.openStorage(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer h.closeStorage()
	if err := h.openAuthority(t.Context()); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for name, expires := range map[string]time.Time{"old": now.Add(-tokensFor - time.Hour), "new": now.Add(-time.Hour)} {
		token := fleet.Token{ID: name, Hash: fleet.HashSecret(name), Created: expires.Add(-time.Hour), Expires: expires}
		if err := h.fleet.Once.AddToken(t.Context(), token); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.clean(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	left, err := h.fleet.Once.Tokens(t.Context())
	if err != nil || len(left) != 1 || left[0].ID != "new" || h.counts.tokens != 1 {
		t.Errorf("tokens %+v are left, %d dropped, %v; want the new one", left, h.counts.tokens, err)
	}
	h.counts.ended(now, nil)
	if got, want := h.counts.houseDetail(), "dropped 1 join tokens, 0 entries of the audit and 0 fingerprint rows, last at "+now.UTC().Format(time.RFC3339); got != want {
		t.Errorf("it says %q; want %q", got, want)
	}
}

// Entries of the audit that are old go, and what is left is verified by the hub's key.
func TestAuditIsCut(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	h := &Hub{Config: config.Default(), State: t.TempDir(), Log: slog.New(slog.DiscardHandler)}
	if err := h.openStorage(ctx); err != nil {
		t.Fatal(err)
	}
	defer h.closeStorage()
	if err := h.openAuthority(ctx); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	old := make([]fleet.Entry, cutAtOnce+5)
	for i := range old {
		old[i] = fleet.Entry{Time: now.Add(-h.Config.Hub.Audit.Retention.Duration() - time.Hour), Who: "ann", What: "run"}
	}
	if _, err := h.fleet.Audit.Append(ctx, old...); err != nil {
		t.Fatal(err)
	}
	if err := h.seals.write(ctx); err != nil {
		t.Fatal(err)
	}
	head, err := h.fleet.Audit.Append(ctx, fleet.Entry{Time: now, Who: "ben", What: "run"})
	if err != nil {
		t.Fatal(err)
	}
	seal := head.Sign(h.sealKey)
	// Nothing goes while it isn't what was sealed once, or somebody else sealed it.
	_, another, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	own := h.folder("seals.jsonl")
	good, err := os.ReadFile(own)
	if err != nil {
		t.Fatal(err)
	}
	was := fleet.Head{Seq: 3, Hash: [32]byte{1}}
	for _, s := range []fleet.Seal{was.Sign(h.sealKey), was.Sign(another)} {
		line, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(own, slices.Concat(good, []byte("{\"seq\":3,\n"), line, []byte("\n")), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := h.clean(ctx, now); !errors.Is(err, fleet.ErrTampered) || h.counts.entries != 0 {
			t.Errorf("what isn't what was sealed: %v, %d went", err, h.counts.entries)
		}
	}
	if err := os.WriteFile(own, good, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time there is nothing to do
		if err := h.clean(ctx, now); err != nil {
			t.Fatal(err)
		}
	}
	last, start, err := fleet.Verify(ctx, h.fleet.Audit, seal)
	if err != nil || start.Seq != cutAtOnce+5 || last != start.Seq+3 || h.counts.entries != len(old) {
		t.Errorf("the audit is from %d to %d, %d went, %v", start.Seq, last, h.counts.entries, err)
	}
	said, err := h.fleet.Audit.Entries(ctx, fleet.AuditFilter{What: "audit.cut"})
	if err != nil || len(said) != 2 || said[0].Who != "hub" || !strings.HasPrefix(said[0].Detail, "5 entries up to this number, from before ") {
		t.Errorf("it says %+v, %v", said, err)
	}

	// A row that somebody made old doesn't go with the hub's signature.
	err = h.db.Opened().Write(ctx, "change the audit", func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE fleet_audit SET time = 1 WHERE seq = $1", int64(head.Seq))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.clean(ctx, now); !errors.Is(err, fleet.ErrTampered) {
		t.Errorf("a changed row: %v", err)
	}
}
