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

// listen has the shed listen to a hub until the test ends.
func listen(t *testing.T, address string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	c := &reverse.Client{ID: "shed", Handler: shed{}, Dial: func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", address)
	}}
	go func() { defer close(ended); _ = c.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
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

	db, err := sql.Open("sqlite", "file:"+filepath.Join(r.state, "hub.db"))
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
	if s := r.status(); !s.Healthy {
		t.Errorf("afterwards %+v", s.Store)
	}
	if g, err := c.Gateway(t.Context(), id); err != nil || g.ConnectedAt == nil || !g.ConnectedAt.Equal(since) {
		t.Errorf("the shed had to connect anew: %+v, %v", g, err)
	}
}
