package hub

import (
	"log/slog"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/internal/config"
	"github.com/lanfolk/lanfolk/store/fleet"
)

func TestHouseIsKept(t *testing.T) {
	t.Parallel()
	h := &Hub{Config: config.Default(), State: t.TempDir(), Log: slog.New(slog.DiscardHandler)}
	if err := h.openStorage(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer h.closeStorage()
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
	if got, want := h.counts.houseDetail(), "dropped 1 join tokens and 0 fingerprint rows, last at "+now.UTC().Format(time.RFC3339); got != want {
		t.Errorf("it says %q; want %q", got, want)
	}
}
