package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/find"
)

const (
	// silence is how long a stream may say nothing: the server sends a sign of
	// life every 15 seconds.
	silence = 45 * time.Second
	// maxLine is the longest line of a stream, in bytes.
	maxLine = 64 << 20
)

var errSilent = errors.New("client: the node has said nothing for too long")

// Watch yields an OpAdd for everything that f chooses, an OpSynced, and then
// what changes, until ctx ends or the loop does. The last pair may hold an
// error: ErrNotRunning when the node ends.
//
// Filter.Kind chooses devices or services; without it both come, and then the
// list of services in a device is empty.
func (c *Client) Watch(ctx context.Context, f lanfolk.Filter) iter.Seq2[lanfolk.Event, error] {
	return func(yield func(lanfolk.Event, error) bool) {
		q := filterQuery(f)
		q.Set("kind", "all")
		set(q, "kind", string(f.Kind))
		err := c.lines(ctx, "/events", q, "text/event-stream", silence, func(line []byte) (bool, error) {
			data, ok := bytes.CutPrefix(line, []byte("data:"))
			if !ok {
				return true, nil // a name, a comment, the end of an event
			}
			e, err := event(data)
			if err != nil {
				return false, err
			}
			return yield(e, nil), nil
		})
		switch {
		case errors.Is(err, errStopped):
		case err == nil:
			yield(lanfolk.Event{}, fmt.Errorf("%w: %s has ended", ErrNotRunning, c.where))
		default:
			yield(lanfolk.Event{}, err)
		}
	}
}

func event(data []byte) (lanfolk.Event, error) {
	var head struct {
		Event lanfolk.Op   `json:"event"`
		Kind  lanfolk.Kind `json:"kind"`
	}
	err := json.Unmarshal(data, &head)
	e := lanfolk.Event{Op: head.Event}
	switch {
	case err != nil:
	case head.Kind == lanfolk.KindDevice:
		e.Device = new(lanfolk.Device)
		err = json.Unmarshal(data, e.Device)
	case head.Kind == lanfolk.KindService:
		e.Service = new(lanfolk.Service)
		err = json.Unmarshal(data, e.Service)
	}
	if err != nil {
		return e, fmt.Errorf("client: event: %w", err)
	}
	return e, nil
}

// FindOptions say how to search.
type FindOptions struct {
	Via     []string      // protocols, all if empty
	Timeout time.Duration // the server's 3 s if 0
	First   bool
}

// Find asks the network through the node and yields answers as they come. The
// last pair may hold an error: ErrNoAnswer when nobody answered, ErrNotFound
// when somebody who must know said that there is none.
func (c *Client) Find(ctx context.Context, query string, o FindOptions) iter.Seq2[find.Answer, error] {
	return func(yield func(find.Answer, error) bool) {
		q := url.Values{"q": {query}}
		set(q, "via", strings.Join(o.Via, ","))
		if o.Timeout > 0 {
			q.Set("timeout", o.Timeout.String())
		}
		setFlag(q, "first", o.First)
		err := c.lines(ctx, "/find", q, "application/jsonl", o.Timeout+silence, func(line []byte) (bool, error) {
			e, err := event(line)
			if err != nil {
				return false, err
			}
			var more struct {
				Heard *lanfolk.Observation `json:"heard"`
			}
			if err := json.Unmarshal(line, &more); err != nil {
				return false, fmt.Errorf("client: find: %w", err)
			}
			return yield(find.Answer{Service: e.Service, Device: e.Device, Heard: more.Heard}, nil), nil
		})
		if err != nil && !errors.Is(err, errStopped) {
			yield(find.Answer{}, err)
		}
	}
}

// Browse looks through the node for services as they come and go, until ctx or
// the loop ends or, with Once, things have settled. The last pair may hold an
// error: ErrNotRunning when the node ends.
func (c *Client) Browse(ctx context.Context, r find.BrowseRequest) iter.Seq2[find.Instance, error] {
	return func(yield func(find.Instance, error) bool) {
		q := url.Values{}
		set(q, "type", r.Type)
		for _, t := range r.Also {
			q.Add("also", t)
		}
		setFlag(q, "resolve", r.Resolve)
		setFlag(q, "once", r.Once)
		err := c.lines(ctx, "/browse", q, "application/jsonl", silence, func(line []byte) (bool, error) {
			var i find.Instance
			if err := json.Unmarshal(line, &i); err != nil {
				return false, fmt.Errorf("client: browse: %w", err)
			}
			return yield(i, nil), nil
		})
		if err != nil && !errors.Is(err, errStopped) && ctx.Err() == nil {
			yield(find.Instance{}, err)
		}
	}
}

// errStopped says that the reader of a stream wants no more.
var errStopped = errors.New("client: stopped")

// lines calls each with the lines of an answer until it returns false, which
// gives errStopped. nil is the answer's proper end. A line must come within
// the time quiet.
func (c *Client) lines(ctx context.Context, path string, query url.Values, accept string, quiet time.Duration, each func([]byte) (bool, error)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	resp, err := c.send(ctx, http.MethodGet, path, query, nil, accept)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	for {
		// The time that each takes is not the server's.
		watchdog := time.AfterFunc(quiet, func() { cancel(errSilent) })
		ok := lines.Scan()
		watchdog.Stop()
		if !ok {
			break
		}
		if len(lines.Bytes()) == 0 {
			continue
		}
		if more, err := each(lines.Bytes()); err != nil {
			return err
		} else if !more {
			return errStopped
		}
	}
	if err := lines.Err(); err != nil {
		if errors.Is(err, bufio.ErrTooLong) {
			return fmt.Errorf("client: a line of the stream is over %d bytes", maxLine)
		}
		if accept == "text/event-stream" && errors.Is(err, io.ErrUnexpectedEOF) && ctx.Err() == nil {
			return nil // the node ended, perhaps in the middle of a chunk
		}
		return c.why(ctx, err)
	}
	return nil
}
