package presence_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lanfolk/lanfolk/internal/hub/presence"
	"github.com/lanfolk/lanfolk/reverse"
	"github.com/lanfolk/lanfolk/reverse/lanfolkpb"
	"github.com/lanfolk/lanfolk/store"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// flaky is fleet.Sessions while the database may be away.
type flaky struct {
	fleet.Sessions
	away *atomic.Bool
}

func (f flaky) gone() error {
	if f.away.Load() {
		return fmt.Errorf("test: %w", store.ErrAway)
	}
	return nil
}

func (f flaky) Attend(ctx context.Context, hub string, now, until time.Time) (uint64, error) {
	if err := f.gone(); err != nil {
		return 0, err
	}
	return f.Sessions.Attend(ctx, hub, now, until)
}

func (f flaky) Extend(ctx context.Context, hub string, run uint64, until time.Time) error {
	if err := f.gone(); err != nil {
		return err
	}
	return f.Sessions.Extend(ctx, hub, run, until)
}

func (f flaky) Begin(ctx context.Context, s fleet.Session) (begun, replaced fleet.Session, err error) {
	if err := f.gone(); err != nil {
		return fleet.Session{}, fleet.Session{}, err
	}
	return f.Sessions.Begin(ctx, s)
}

func (f flaky) End(ctx context.Context, gateway string, epoch uint64, when time.Time, why string) (bool, error) {
	if err := f.gone(); err != nil {
		return false, err
	}
	return f.Sessions.End(ctx, gateway, epoch, when, why)
}

// A hub is a roll over SQLite.
type hub struct {
	t testing.TB
	*presence.Roll
	sessions fleet.Sessions
	away     *atomic.Bool
	left     []reverse.Session
	stop     func() error
}

// withHub runs a test in a bubble with a hub that has the gateways g1 and g2.
func withHub(t *testing.T, test func(t *testing.T, h *hub)) {
	synctest.Test(t, func(t *testing.T) {
		db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "hub.db"), store.Options{})
		noErr(t, err)
		defer db.Close()
		f, err := fleet.Open(t.Context(), db, fleet.Options{})
		noErr(t, err)
		for _, id := range []string{"g1", "g2"} {
			_, err := f.Sessions.Enrol(t.Context(), fleet.Gateway{ID: id, Name: "name of " + id, Enrolled: time.Now()})
			noErr(t, err)
		}
		h := &hub{t: t, sessions: f.Sessions, away: new(atomic.Bool)}
		h.start()
		test(t, h)
		h.away.Store(false)
		noErr(t, h.stop())
	})
}

// start runs a roll of hub h1.
func (h *hub) start() {
	r := &presence.Roll{Sessions: flaky{h.sessions, h.away}, Hub: "h1", Version: "1.0"}
	r.Left = func(s reverse.Session) { h.left = append(h.left, s) }
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	synctest.Wait()
	h.Roll, h.stop = r, func() error { cancel(); return <-ended }
}

func peer(id string) reverse.Peer {
	return reverse.Peer{Gateway: id, Address: netip.MustParseAddrPort("192.0.2.1:1234"), Native: true}
}

// begin begins a session of a gateway.
func (h *hub) begin(id string) reverse.Session {
	h.t.Helper()
	epoch, err := h.Begin(h.t.Context(), peer(id))
	noErr(h.t, err)
	return reverse.Session{Peer: peer(id), Epoch: epoch, Since: time.Now()}
}

func (h *hub) standing(id string) fleet.Standing {
	h.t.Helper()
	synctest.Wait()
	s, err := h.sessions.Gateway(h.t.Context(), id, time.Now())
	noErr(h.t, err)
	return s
}

func noErr(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWhoComesAndGoes(t *testing.T) {
	withHub(t, func(t *testing.T, h *hub) {
		ctx, cancel := context.WithCancel(t.Context())
		changes := h.Watch(ctx)
		welcome, err := h.Greet(ctx, peer("g1"), &lanfolkpb.HelloRequest{Version: "2.0\x00\n" + strings.Repeat("é", 100)})
		noErr(t, err)
		if welcome.GetName() != "name of g1" || welcome.GetGateway() != "g1" || welcome.GetVersion() != "1.0" {
			t.Errorf("greeted with %v", welcome)
		}
		s := h.begin("g1")
		if got := <-changes; !got.Online || got.ID != "g1" || got.Session.Epoch != s.Epoch || h.Count() != 1 {
			t.Errorf("came: %+v", got)
		}
		if got := h.standing("g1"); got.Address != "192.0.2.1:1234" || got.Version != "2.0"+strings.Repeat("é", 48) {
			t.Errorf("on record as %+v", got)
		}
		h.End(s, errors.New("it went"))
		if got := <-changes; got.Online || got.Session.Why != "it went" || h.Count() != 0 {
			t.Errorf("went: %+v", got)
		}
		if len(h.left) != 1 || h.left[0] != s {
			t.Errorf("told that %v left", h.left)
		}
		cancel()
		for range changes {
		}
	})
}

func TestALateEndHidesNoNewSession(t *testing.T) {
	withHub(t, func(t *testing.T, h *hub) {
		old := h.begin("g1")
		h.begin("g1")
		h.End(old, reverse.ErrReplaced)
		if got := h.standing("g1"); !got.Online || got.Session.Epoch == old.Epoch || h.Count() != 1 {
			t.Errorf("after the late end: %+v", got)
		}
	})
}

func TestWhileTheDatabaseIsAway(t *testing.T) {
	withHub(t, func(t *testing.T, h *hub) {
		stays, goes := h.begin("g1"), h.begin("g2")
		h.away.Store(true)
		if _, err := h.Begin(t.Context(), peer("g1")); status.Code(err) != codes.Unavailable {
			t.Errorf("a gateway that comes is told %v", err)
		}
		h.End(goes, errors.New("it went"))
		time.Sleep(5 * time.Minute)
		if got := h.standing("g1"); got.Online {
			t.Error("the lease is over, and a session counts still")
		}
		h.away.Store(false)
		time.Sleep(40 * time.Second)
		if got := h.standing("g1"); !got.Online || got.Session.Epoch != stays.Epoch {
			t.Errorf("who stayed: %+v", got)
		}
		if got := h.standing("g2"); got.Online || time.Since(got.Session.Ended) < 5*time.Minute {
			t.Errorf("who went: %+v", got)
		}
	})
}

func TestAHubThatEndsTakesItsSessionsAlong(t *testing.T) {
	withHub(t, func(t *testing.T, h *hub) {
		h.begin("g1")
		noErr(t, h.stop())
		if got := h.standing("g1"); got.Online || got.Session.Why != "the hub went down" {
			t.Errorf("after the end: %+v", got)
		}
		if _, err := h.Begin(t.Context(), peer("g1")); status.Code(err) != codes.Unavailable {
			t.Errorf("after the end a gateway is told %v", err)
		}
		h.start()
		h.begin("g1")
		if got := h.standing("g1"); !got.Online {
			t.Errorf("after a new start: %+v", got)
		}
	})
}

func TestTwoProcessesAsOneHub(t *testing.T) {
	withHub(t, func(t *testing.T, h *hub) {
		stopFirst := h.stop
		h.start()
		time.Sleep(time.Minute)
		if err := stopFirst(); !errors.Is(err, fleet.ErrFenced) || !strings.Contains(err.Error(), `as hub "h1"`) {
			t.Errorf("the first one ends with %v", err)
		}
	})
}

func TestWhoMayNotListen(t *testing.T) {
	withHub(t, func(t *testing.T, h *hub) {
		noErr(t, h.sessions.MarkRevoked(t.Context(), "g1", time.Now()))
		for id, want := range map[string]string{"g1": "gateway g1 is revoked", "g9": "this hub has no record of gateway g9: join again"} {
			_, err := h.Begin(t.Context(), peer(id))
			if status.Code(err) != codes.PermissionDenied || status.Convert(err).Message() != want {
				t.Errorf("%s is told %v", id, err)
			}
		}
	})
}

func TestGatewaysThatStayAreSeen(t *testing.T) {
	withHub(t, func(t *testing.T, h *hub) {
		h.begin("g1")
		for range 5 {
			time.Sleep(2 * time.Minute)
			if got := h.standing("g1"); !got.Online || time.Since(got.LastSeen) > seenWithin {
				t.Fatalf("seen %v ago, online %v", time.Since(got.LastSeen), got.Online)
			}
		}
	})
}

const seenWithin = 80 * time.Second
