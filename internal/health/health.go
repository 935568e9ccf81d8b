// Package health asks again and again whether a service works.
package health

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// Probe tries once whether something works; nil says that it does.
type Probe func(ctx context.Context) error

// Dial opens a connection, as net.Dialer.DialContext does.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// TCP returns a probe that wants a connection to be accepted.
func TCP(dial Dial, address string) Probe {
	return func(ctx context.Context) error {
		c, err := dial(ctx, "tcp", address)
		if err != nil {
			return fmt.Errorf("health: %w", err)
		}
		c.Close() // nothing was said
		return nil
	}
}

// HTTP returns a probe that wants the status when it gets the page; 0 means any
// from 200 to 399. Redirections aren't followed.
func HTTP(dial Dial, url string, status int) Probe {
	client := &http.Client{
		// A new connection each time: that there is one to be had is asked, too.
		Transport:     &http.Transport{DialContext: dial, DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return func(ctx context.Context) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
		if err != nil {
			return fmt.Errorf("health: %w", err)
		}
		r.Header.Set("User-Agent", "lanfolk")
		a, err := client.Do(r)
		if err != nil {
			return fmt.Errorf("health: %w", err)
		}
		a.Body.Close() // the status is all that counts
		if a.StatusCode != status && (status != 0 || a.StatusCode < 200 || a.StatusCode > 399) {
			return fmt.Errorf("health: get %s: status %d", url, a.StatusCode)
		}
		return nil
	}
}

// Check says how often something is tried, and what follows.
type Check struct {
	Probe    Probe
	Interval time.Duration // from one try's beginning to the next one's
	Timeout  time.Duration // after which a try has failed
	// Rises and Falls are how many tries in a row must work, or fail, to
	// change the verdict. The first try of all decides alone.
	Rises, Falls int
}

// ErrCheck says that a Check lacks something.
var ErrCheck = errors.New("health: a check needs a probe, an interval and a timeout")

// Run tries until ctx ends; then it returns nil. verdict is called with nil when
// the service works and with the last error when it doesn't, first after the
// first try and then when that changes.
func (c Check) Run(ctx context.Context, verdict func(error)) error {
	if c.Probe == nil || c.Interval <= 0 || c.Timeout <= 0 {
		return ErrCheck
	}
	tick := time.NewTicker(c.Interval)
	defer tick.Stop()
	var t tally
	for {
		err := c.try(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if t.count(err == nil, c.Rises, c.Falls) {
			verdict(err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (c Check) try(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	return c.Probe(ctx)
}

// tally comes to a verdict from tries.
type tally struct {
	known, up bool
	against   int // tries in a row that speak against the verdict
}

// count takes a try in and says whether the verdict is new.
func (t *tally) count(ok bool, rises, falls int) bool {
	need := falls
	if ok {
		need = rises
	}
	switch {
	case !t.known:
		t.known = true
	case ok == t.up:
		t.against = 0
		return false
	default:
		if t.against++; t.against < need {
			return false
		}
	}
	t.up, t.against = ok, 0
	return true
}
