package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/lanfolk/lanfolk/internal/api/wire"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// GatewayFilter says which gateways are meant; the zero value is all.
type GatewayFilter struct {
	State    string            // "online" or "offline"
	Selector map[string]string // labels that they have, all of them
	Text     string            // occurs in the id, name, address, version or labels
}

func (f GatewayFilter) query() url.Values {
	v := url.Values{}
	set(v, "state", f.State)
	set(v, "selector", fleet.SelectorText(f.Selector))
	set(v, "q", f.Text)
	return v
}

// Gateways lists the gateways that f chooses, by id.
func (c *Client) Gateways(ctx context.Context, f GatewayFilter) ([]wire.Gateway, error) {
	var out []wire.Gateway
	return out, c.get(ctx, "/gateways", f.query(), &out)
}

// Gateway returns the gateway that ref names: an id, or a name that only one has.
func (c *Client) Gateway(ctx context.Context, ref string) (wire.Gateway, error) {
	var out wire.Gateway
	return out, c.get(ctx, "/gateways/"+url.PathEscape(ref), nil, &out)
}

// WatchGateways yields an add for every gateway that f chooses, a synced, and then
// what changes, until ctx ends or the loop does. The last pair may hold an error:
// ErrNotRunning when the hub ends.
func (c *Client) WatchGateways(ctx context.Context, f GatewayFilter) iter.Seq2[wire.GatewayEvent, error] {
	return watch[wire.GatewayEvent](ctx, c, "/gateways/events", f.query())
}

// Run has a command run, and returns when it is kept: what becomes of it at each
// gateway. A gateway for which the caller may not have it run comes back as denied;
// ErrDenied says that he may for none.
func (c *Client) Run(ctx context.Context, r wire.NewCommand) ([]wire.Command, error) {
	var out []wire.Command
	return out, c.call(ctx, http.MethodPost, "/commands", nil, r, &out)
}

// CommandFilter says which commands are meant; the zero value is all.
type CommandFilter struct {
	Gateway  string // id or name
	By       string
	Statuses []string
	Before   string // older than this id
	Limit    int    // 0 asks for 100
}

// Commands lists commands without their outputs, newest first, and says whether there
// may be more.
func (c *Client) Commands(ctx context.Context, f CommandFilter) ([]wire.Command, bool, error) {
	v := url.Values{}
	set(v, "gateway", f.Gateway)
	set(v, "by", f.By)
	set(v, "status", strings.Join(f.Statuses, ","))
	set(v, "before", f.Before)
	if f.Limit > 0 {
		v.Set("limit", strconv.Itoa(f.Limit))
	}
	var out []wire.Command
	header, err := c.callWithHeader(ctx, http.MethodGet, "/commands", v, nil, &out)
	return out, header.Get("Link") != "", err
}

// Command returns a command, with the beginning of its result where that is text.
func (c *Client) Command(ctx context.Context, id string) (wire.Command, error) {
	var out wire.Command
	return out, c.get(ctx, commandPath(id), nil, &out)
}

// CancelCommand asks for a command's end, which may come later, or too late.
func (c *Client) CancelCommand(ctx context.Context, id string) (wire.Command, error) {
	var out wire.Command
	return out, c.call(ctx, http.MethodPost, commandPath(id)+"/cancel", nil, nil, &out)
}

// outputTries is how often a result is asked for again when the hub broke it off: for
// about a minute.
const outputTries = 10

// Output writes a command's result to w: what has come so far, with follow also what
// comes until the command has ended. It returns how many bytes there were. Where the hub
// breaks off, as it does when it starts anew or when nothing is taken for long, it goes on
// from there.
func (c *Client) Output(ctx context.Context, id string, follow bool, w io.Writer) (int64, error) {
	var n int64
	for tries := 0; ; {
		m, begun, err := c.outputFrom(ctx, id, n, follow, w)
		n += m
		if err == nil || !errors.Is(err, ErrNotRunning) || n == 0 && !begun && tries == 0 {
			return n, err
		}
		if m > 0 {
			tries = 0
		}
		if tries++; tries > outputTries {
			return n, err
		}
		select {
		case <-time.After(time.Duration(tries) * time.Second):
		case <-ctx.Done():
			return n, context.Cause(ctx)
		}
	}
}

// outputFrom also says whether there was an answer.
func (c *Client) outputFrom(ctx context.Context, id string, offset int64, follow bool, w io.Writer) (n int64, begun bool, err error) {
	q := url.Values{}
	setFlag(q, "follow", follow)
	if offset > 0 {
		q.Set("offset", strconv.FormatInt(offset, 10))
	}
	resp, err := c.send(ctx, http.MethodGet, commandPath(id)+"/output", q, nil, "*/*")
	if err != nil {
		return 0, false, err
	}
	defer resp.Body.Close()
	why := func(err error) error { return c.why(ctx, err) }
	n, err = io.CopyBuffer(onlyWriter{w}, onlyReader{resp.Body, why}, make([]byte, 256<<10))
	return n, true, err
}

// onlyReader and onlyWriter have no other methods, so that the buffer is used. The
// reader's errors are the server's, the writer's are the caller's.
type (
	onlyReader struct {
		r   io.Reader
		why func(error) error
	}
	onlyWriter struct{ w io.Writer }
)

func (r onlyReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = r.why(err)
	}
	return n, err
}

func (w onlyWriter) Write(p []byte) (int, error) { return w.w.Write(p) }

// WatchedCommands say which commands to watch; the zero value is all, beginning with the
// newest 100.
type WatchedCommands struct {
	From, To string // ids: those of one request lie between its first and its last
	Gateway  string // id or name
	By       string
}

// WatchCommands yields an add for each command, a synced, and then what changes, without
// the outputs, until ctx ends or the loop does. Of changes that come fast only the last
// of a command may be told. The last pair may hold an error: ErrNotRunning when the hub
// ends.
func (c *Client) WatchCommands(ctx context.Context, w WatchedCommands) iter.Seq2[wire.CommandEvent, error] {
	v := url.Values{}
	set(v, "from", w.From)
	set(v, "to", w.To)
	set(v, "gateway", w.Gateway)
	set(v, "by", w.By)
	return watch[wire.CommandEvent](ctx, c, "/commands/events", v)
}

func commandPath(id string) string { return "/commands/" + url.PathEscape(id) }

// watch yields the events of a stream.
func watch[E any](ctx context.Context, c *Client, path string, query url.Values) iter.Seq2[E, error] {
	return func(yield func(E, error) bool) {
		err := c.lines(ctx, path, query, "text/event-stream", silence, func(line []byte) (bool, error) {
			data, ok := bytes.CutPrefix(line, []byte("data:"))
			if !ok {
				return true, nil // a name, a comment, the end of an event
			}
			var e E
			if err := json.Unmarshal(data, &e); err != nil {
				return false, fmt.Errorf("client: event: %w", err)
			}
			return yield(e, nil), nil
		})
		var none E
		switch {
		case errors.Is(err, errStopped):
		case err == nil:
			yield(none, fmt.Errorf("%w: %s has ended", ErrNotRunning, c.where))
		default:
			yield(none, err)
		}
	}
}
