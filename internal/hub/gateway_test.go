package hub_test

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/internal/api/client"
	"github.com/lanfolk/lanfolk/internal/api/wire"
	"github.com/lanfolk/lanfolk/internal/config"
	"github.com/lanfolk/lanfolk/reverse"
	"github.com/lanfolk/lanfolk/reverse/lanfolkpb"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// shed is a gateway for which nobody vouches, that answers each command alike.
type shed struct{}

func (shed) Hello() *lanfolkpb.HelloRequest      { return &lanfolkpb.HelloRequest{Version: "test"} }
func (shed) Welcome(*lanfolkpb.Welcome)          {}
func (shed) Accept(string, string) (bool, error) { return true, nil }
func (shed) Delivered(string, error)             {}

func (shed) Run(context.Context, string, string, reverse.Terms) *reverse.Outgoing {
	const text = "all is dry"
	end := reverse.End{Status: reverse.StatusOK, SHA256: sha256.Sum256([]byte(text)), Total: uint64(len(text))}
	return &reverse.Outgoing{Type: reverse.TypeResult, Content: strings.NewReader(text), End: func() reverse.End { return end }, Fresh: true}
}

// listen has the shed listen to a hub until stop is called, or the test ends.
func listen(t *testing.T, address string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	c := &reverse.Client{ID: "shed", Handler: shed{}, Dial: func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", address)
	}}
	go func() { defer close(ended); _ = c.Run(ctx) }()
	stop = func() { cancel(); <-ended }
	t.Cleanup(stop)
	return stop
}

// ask has the shed run a command, and returns how that ended.
func ask(t *testing.T, c *client.Client) (wire.Command, error) {
	t.Helper()
	made, err := c.Run(t.Context(), wire.NewCommand{Line: "status", Gateways: []string{"insecure/shed"}})
	if err != nil || len(made) != 1 {
		return wire.Command{}, err
	}
	last := made[0]
	until(t, "the command ends", func() bool {
		if last, err = c.Command(t.Context(), last.ID); err != nil {
			t.Fatal(err)
		}
		return last.Ended != nil
	})
	return last, nil
}

// While the database takes nothing, gateways stay connected, and what can't be put on
// record isn't done; then all goes on.
func TestGatewaysStayWhileTheDatabaseIsLocked(t *testing.T) {
	t.Parallel()
	r := start(t, t.TempDir(), loopback)
	c := client.Unix(config.HubSocketPath(r.state))
	defer c.Close()
	listen(t, r.status().Insecure)
	const id = "insecure/shed"
	var since time.Time
	until(t, "the shed is online", func() bool {
		g, err := c.Gateway(t.Context(), id)
		if err == nil && g.ConnectedAt != nil {
			since = *g.ConnectedAt
		}
		return err == nil && g.State == "online"
	})
	if last, err := ask(t, c); err != nil || last.Status != "ok" || last.Output != "all is dry" {
		t.Fatalf("the shed answers %+v, %v", last, err)
	}
	if s := r.status(); s.Gateways.Total != 1 || s.Gateways.Online != 1 || s.Gateways.Insecure != 1 || s.Results.Whole != 1 {
		t.Errorf("status %+v %+v", s.Gateways, s.Results)
	}

	// The hub may be writing just now.
	db, err := sql.Open("sqlite", "file:"+filepath.Join(r.state, "hub.db")+"?_pragma=busy_timeout(60000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	other, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := other.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	if last, err := ask(t, c); err == nil || !strings.Contains(err.Error(), "locked by another process") {
		t.Errorf("a command that can't be put on record: %+v, %v", last, err)
	}
	if s := r.status(); s.Store.Healthy || s.Healthy || s.Store.Since == nil || !strings.Contains(s.Store.Error, "locked") {
		t.Errorf("status of the store %+v", s.Store)
	}
	if _, err := other.ExecContext(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if last, err := ask(t, c); err != nil || last.Status != "ok" {
		t.Errorf("afterwards the shed answers %+v, %v", last, err)
	}
	// What failed meanwhile may be noted after what went well.
	until(t, "the hub is healthy afterwards", func() bool { return r.status().Healthy })
	if g, err := c.Gateway(t.Context(), id); err != nil || g.ConnectedAt == nil || !g.ConnectedAt.Equal(since) {
		t.Errorf("the shed had to connect anew: %+v, %v", g, err)
	}
}

// A command that waits for its gateway is sent only if who asked for it may have it run
// still.
func TestAQueuedCommandOfSomebodyWhoIsGone(t *testing.T) {
	t.Parallel()
	ctx, r := t.Context(), start(t, t.TempDir(), loopback)
	c := client.Unix(config.HubSocketPath(r.state))
	defer c.Close()
	const id = "insecure/shed"
	is := func(state string) func() bool {
		return func() bool { g, err := c.Gateway(ctx, id); return err == nil && g.State == state }
	}
	away := listen(t, r.status().Insecure)
	until(t, "the shed is online", is("online"))
	away()
	until(t, "the shed is offline", is("offline"))
	asked := make(map[string]string) // who, and the command's id
	for _, name := range []string{"ann", "ben", "eve"} {
		if _, err := c.CreateUser(ctx, name, map[string]string{"ann": "admin", "ben": "operator", "eve": "operator"}[name], ""); err != nil {
			t.Fatal(err)
		}
		token, err := c.CreateAPIToken(ctx, name, "", 0)
		if err != nil {
			t.Fatal(err)
		}
		by := r.by(token.Token)
		defer by.Close()
		made, err := by.Run(ctx, wire.NewCommand{Line: "status", Gateways: []string{id}, Queue: true})
		if err != nil || len(made) != 1 {
			t.Fatalf("%s: %+v, %v", name, made, err)
		}
		asked[name] = made[0].ID
	}
	if err := c.RemoveUser(ctx, "ben"); err != nil {
		t.Fatal(err)
	}
	if err := c.SetRole(ctx, "eve", "viewer"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2*time.Second + 100*time.Millisecond) // for so long the hub believes what it looked up
	listen(t, r.status().Insecure)
	for name, want := range map[string]struct{ status, text string }{
		"ann": {"ok", ""},
		"ben": {"denied", `not sent: the account of "ben" who asked for it is gone`},
		"eve": {"denied", "not sent: eve may not have it run any more: denied: status runs commands; that takes an operator"},
	} {
		var last wire.Command
		until(t, name+"'s command ends", func() (ended bool) {
			var err error
			if last, err = c.Command(ctx, asked[name]); err != nil {
				t.Fatal(err)
			}
			return last.Ended != nil
		})
		if last.Status != want.status || last.Error != want.text {
			t.Errorf("%s: %+v; want %+v", name, last, want)
		}
		said, err := c.Audit(ctx, fleet.AuditFilter{Ref: last.ID, What: "result"})
		if err != nil || len(said) != 1 || said[0].Outcome != want.status || !strings.HasSuffix(said[0].Detail, want.text) {
			t.Errorf("%s: the audit says %+v, %v", name, said, err)
		}
	}
}
