package health_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk/internal/health"
)

func TestVerdictsFollowTriesInARow(t *testing.T) {
	for _, c := range []struct {
		tries string // + works, - fails
		want  string // when verdicts came, in tries
	}{
		{"++++", "0+"},
		{"----", "0-"},
		{"+--+--+", "0+"},
		{"+---+-++--", "0+ 3- 7+"},
		{"-+-++", "0- 4+"},
	} {
		synctest.Test(t, func(t *testing.T) {
			start, n := time.Now(), 0
			ctx, cancel := context.WithCancel(t.Context())
			check := health.Check{
				Interval: 10 * time.Second, Timeout: 2 * time.Second, Rises: 2, Falls: 3,
				Probe: func(context.Context) error {
					if n++; n > len(c.tries) {
						cancel()
						return nil
					}
					if c.tries[n-1] == '-' {
						return errors.New("no")
					}
					return nil
				},
			}
			var got []string
			err := check.Run(ctx, func(err error) {
				got = append(got, fmt.Sprintf("%d%s", time.Since(start)/(10*time.Second), map[bool]string{true: "+", false: "-"}[err == nil]))
			})
			if s := strings.Join(got, " "); s != c.want || err != nil {
				t.Errorf("%s: verdicts %q, %v; want %q", c.tries, s, err, c.want)
			}
		})
	}
}

func TestATryThatTakesTooLongHasFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		check := health.Check{Interval: 10 * time.Second, Timeout: 2 * time.Second, Probe: func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}}
		err := check.Run(ctx, func(err error) {
			if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 2*time.Second {
				t.Errorf("%v after %v", err, time.Since(start))
			}
			cancel()
		})
		if err != nil {
			t.Error(err)
		}
	})
}

func TestACheckNeedsAProbeAndTimes(t *testing.T) {
	if err := (health.Check{}).Run(t.Context(), nil); !errors.Is(err, health.ErrCheck) {
		t.Errorf("error %v, want %v", err, health.ErrCheck)
	}
}

func TestProbes(t *testing.T) {
	var paths []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		paths = append(paths, r.URL.Path)
		switch r.URL.Path {
		case "/moved":
			http.Redirect(w, r, "/good", http.StatusFound)
		case "/sick":
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer s.Close()
	dial := (&net.Dialer{}).DialContext
	address := s.Listener.Addr().String()
	for _, c := range []struct {
		probe health.Probe
		want  string
	}{
		{health.TCP(dial, address), ""},
		{health.HTTP(dial, s.URL+"/good", 0), ""},
		{health.HTTP(dial, s.URL+"/moved", 0), ""},
		{health.HTTP(dial, s.URL+"/moved", 200), "health: get " + s.URL + "/moved: status 302"},
		{health.HTTP(dial, s.URL+"/sick", 0), "health: get " + s.URL + "/sick: status 503"},
		{health.HTTP(dial, s.URL+"/sick", 503), ""},
	} {
		if err := c.probe(t.Context()); c.want == "" && err != nil || c.want != "" && fmt.Sprint(err) != c.want {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
	if want := []string{"/good", "/moved", "/moved", "/sick", "/sick"}; !slices.Equal(paths, want) {
		t.Errorf("got %q, want %q", paths, want)
	}
	s.Close()
	for _, p := range []health.Probe{health.TCP(dial, address), health.HTTP(dial, "http://"+address, 0)} {
		if err := p(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "health: ") {
			t.Errorf("nobody there: %v", err)
		}
	}
}
