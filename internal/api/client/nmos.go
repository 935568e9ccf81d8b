package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/lanfolk/lanfolk/internal/find"
)

// Select lets the node choose one of a studio's APIs. The answer's Selected is
// nil where none fits.
func (c *Client) Select(ctx context.Context, r find.SelectRequest) (find.Selection, error) {
	var out find.Selection
	return out, c.get(ctx, "/nmos/select", selectQuery(r), &out)
}

// WatchSelection lets the node choose one of a studio's APIs and yields what
// changes, until ctx or the loop ends. The last pair may hold an error:
// ErrNotRunning when the node ends.
func (c *Client) WatchSelection(ctx context.Context, r find.SelectRequest) iter.Seq2[find.SelectionChange, error] {
	return func(yield func(find.SelectionChange, error) bool) {
		q := selectQuery(r)
		setFlag(q, "return", r.Return)
		set(q, "ca", r.CA)
		setDuration(q, "check_every", r.CheckEvery)
		setDuration(q, "timeout", r.Timeout)
		err := c.lines(ctx, "/nmos/events", q, "text/event-stream", silence, func(line []byte) (bool, error) {
			data, ok := bytes.CutPrefix(line, []byte("data:"))
			if !ok {
				return true, nil // a name, a comment, the end of an event
			}
			var ch find.SelectionChange
			if err := json.Unmarshal(data, &ch); err != nil {
				return false, fmt.Errorf("client: selection: %w", err)
			}
			return yield(ch, nil), nil
		})
		switch {
		case errors.Is(err, errStopped), ctx.Err() != nil:
		case err == nil:
			yield(find.SelectionChange{}, fmt.Errorf("%w: %s has ended", ErrNotRunning, c.where))
		default:
			yield(find.SelectionChange{}, err)
		}
	}
}

func selectQuery(r find.SelectRequest) url.Values {
	q := url.Values{"domain": r.Domains, "server": r.Servers}
	set(q, "type", r.Kind)
	set(q, "api_version", strings.Join(r.Versions, ","))
	set(q, "proto", r.Proto)
	set(q, "mode", r.Mode)
	set(q, "url", r.URL)
	if r.Auth != nil {
		q.Set("auth", strconv.FormatBool(*r.Auth))
	}
	if r.Seed != nil {
		q.Set("seed", strconv.FormatUint(*r.Seed, 10))
	}
	setFlag(q, "development", r.Development)
	setFlag(q, "fall_back", r.FallBack)
	setFlag(q, "merge", r.Merge)
	return q
}

func setDuration(v url.Values, key string, d time.Duration) {
	if d > 0 {
		v.Set(key, d.String())
	}
}
