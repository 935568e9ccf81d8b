package api_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/api"
	"github.com/lanfolk/lanfolk/internal/api/client"
	"github.com/lanfolk/lanfolk/internal/find"
)

// pipes is a listener whose connections are in memory, for virtual time.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func newPipes() pipes { return pipes{make(chan net.Conn), make(chan struct{})} }

func (l pipes) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l pipes) Close() error {
	select {
	case <-l.closed:
	default:
		close(l.closed)
	}
	return nil
}

func (l pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 4747} }

// dial sends a request for a stream and returns the connection.
func (l pipes) dial(t *testing.T, path string) net.Conn {
	t.Helper()
	ours, theirs := net.Pipe()
	l.conns <- theirs
	if _, err := fmt.Fprintf(ours, "GET %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n\r\n", path, apiToken); err != nil {
		t.Fatal(err)
	}
	return ours
}

// bubble serves in virtual time.
func bubble(t *testing.T, v api.Inventory, f func(l pipes), change ...func(*api.Options)) {
	synctest.Test(t, func(t *testing.T) {
		o := api.Options{Inventory: v, Tokens: testTokens(t)}
		for _, f := range change {
			f(&o)
		}
		s, err := api.New(o)
		if err != nil {
			t.Fatal(err)
		}
		l := newPipes()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- s.Serve(ctx, l) }()
		f(l)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestAQuietStreamLivesAndSaysSo(t *testing.T) {
	bubble(t, newInventory(), func(l pipes) {
		conn := l.dial(t, "/api/v1/events")
		defer conn.Close()
		start, lines := time.Now(), bufio.NewScanner(conn)
		var alive []time.Duration
		for lines.Scan() && len(alive) < 40 {
			if lines.Text() == ": alive" {
				alive = append(alive, time.Since(start))
			}
		}
		// Ten minutes: longer than the timeouts for other requests.
		if len(alive) != 40 || alive[0] != 15*time.Second || alive[39] != 10*time.Minute {
			t.Errorf("signs of life after %v (%v)", alive, lines.Err())
		}
	})
}

// chatty has news without end.
type chatty struct {
	*inventory
	started, ended *time.Time
}

func (c chatty) Watch(ctx context.Context, _ lanfolk.Filter) <-chan lanfolk.Event {
	events := make(chan lanfolk.Event)
	*c.started = time.Now()
	go func() {
		defer close(events)
		for {
			select {
			case events <- lanfolk.Event{Op: lanfolk.OpUpdate, Device: printer()}:
			case <-ctx.Done():
				*c.ended = time.Now()
				return
			}
		}
	}()
	return events
}

func TestAClientThatTakesNothingIsCutOff(t *testing.T) {
	var started, ended time.Time
	bubble(t, chatty{newInventory(), &started, &ended}, func(l pipes) {
		conn := l.dial(t, "/api/v1/events")
		defer conn.Close()
		// The headers and one comment are taken, and then nothing.
		lines := bufio.NewScanner(conn)
		for lines.Scan() && lines.Text() != ": lanfolk" {
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if took := ended.Sub(started); took != 30*time.Second {
			t.Errorf("cut off after %v", took)
		}
	})
}

// slowFinder takes its time before it finds nothing.
type slowFinder struct{ takes time.Duration }

func (f slowFinder) Find(context.Context, find.Request, func(find.Answer)) error {
	time.Sleep(f.takes)
	return find.ErrNoAnswer
}

func TestALongSearchIsAnswered(t *testing.T) {
	bubble(t, newInventory(), func(l pipes) {
		conn := l.dial(t, "/api/v1/find?q=printer&timeout=4m")
		defer conn.Close()
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != 504 || !strings.Contains(string(body), "nobody answered") {
			t.Errorf("%d %s %v", resp.StatusCode, body, err)
		}
	}, func(o *api.Options) { o.Finder = slowFinder{3 * time.Minute} })
}

func TestStreamsAreLimited(t *testing.T) {
	n := serve(t, newInventory(printer()))
	c := client.Unix(n.socket)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	synced := make(chan bool)
	for range 128 {
		go func() {
			for e := range c.Watch(ctx, lanfolk.Filter{}) {
				if e.Op == lanfolk.OpSynced {
					synced <- true
				}
			}
			synced <- false
		}()
	}
	for range 128 {
		if !<-synced {
			t.Fatal("a stream ended")
		}
	}
	var refused *client.Error
	for _, err := range c.Watch(t.Context(), lanfolk.Filter{}) {
		if !errors.As(err, &refused) || refused.Status != http.StatusServiceUnavailable || !strings.Contains(refused.Detail, "too many streams") {
			t.Errorf("the 129th stream: %v", err)
		}
	}
	cancel()
	for range 128 {
		<-synced
	}
	eventually(t, "a place becomes free", func() (ok bool) {
		for _, err := range c.Watch(t.Context(), lanfolk.Filter{}) {
			ok = err == nil
			break
		}
		return ok
	})
}

func TestSignInsAndSessionsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := api.New(api.Options{Inventory: newInventory()})
		if err != nil {
			t.Fatal(err)
		}
		call := func(method, body, cookie string) *http.Response {
			r := httptest.NewRequest(method, "http://localhost:4747/api/v1/session", strings.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			if cookie != "" {
				r.Header.Set("Cookie", "lanfolk-4747="+cookie)
			}
			w := httptest.NewRecorder()
			s.Handler().ServeHTTP(w, r)
			return w.Result()
		}
		signIn := func() *http.Response {
			return call("POST", `{"token":"`+strings.TrimPrefix(s.SignInPath(), "/signin#")+`"}`, "")
		}
		late := strings.TrimPrefix(s.SignInPath(), "/signin#")
		time.Sleep(15 * time.Minute)
		if r := call("POST", `{"token":"`+late+`"}`, ""); r.StatusCode != 401 {
			t.Errorf("a sign-in token after 15 minutes: %d", r.StatusCode)
		}
		first := signIn().Cookies()[0].Value
		time.Sleep(23 * time.Hour)
		if r := call("GET", "", first); r.StatusCode != 200 || len(r.Cookies()) != 0 {
			t.Errorf("after 23 hours: %d %v", r.StatusCode, r.Cookies())
		}
		time.Sleep(2 * time.Hour)
		r := call("GET", "", first)
		if r.StatusCode != 200 || len(r.Cookies()) != 1 {
			t.Fatalf("after a day the session is not renewed: %d %v", r.StatusCode, r.Cookies())
		}
		renewed := r.Cookies()[0].Value
		time.Sleep(29 * 24 * time.Hour)
		if r := call("GET", "", first); r.StatusCode != 401 {
			t.Errorf("the first cookie after 30 days: %d", r.StatusCode)
		}
		if r := call("GET", "", renewed); r.StatusCode != 200 {
			t.Errorf("the renewed cookie: %d", r.StatusCode)
		}
		// Old sign-in tokens give way to new ones.
		oldest := strings.TrimPrefix(s.SignInPath(), "/signin#")
		time.Sleep(time.Second)
		for range 32 {
			s.SignInPath()
		}
		if r := call("POST", `{"token":"`+oldest+`"}`, ""); r.StatusCode != 401 {
			t.Errorf("the oldest of 33 sign-in tokens: %d", r.StatusCode)
		}
	})
}
