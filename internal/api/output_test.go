package api_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk/internal/api"
	"github.com/lanfolk/lanfolk/internal/api/client"
	"github.com/lanfolk/lanfolk/reverse"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// answered is a command that ended with a result.
func (h *hub) answered(t *testing.T, line, text string, kind reverse.Type) fleet.Command {
	t.Helper()
	made, err := h.Submit(t.Context(), fleet.Request{By: "test", Line: line, Gateways: []fleet.Gateway{{ID: "gnorth"}}})
	if err != nil {
		t.Fatal(err)
	}
	if text != "" {
		h.say(made[0].ID, text)
	}
	c := h.end(made[0].ID, fleet.OK)
	c.Type = uint32(kind)
	h.put(c)
	return c
}

func TestAResultIsNoPage(t *testing.T) {
	h := houses()
	n := serve(t, newInventory(), h.options)
	const page = "<html><script>alert(1)</script>"
	for _, c := range []struct {
		line string
		kind reverse.Type
		want string // type and name
	}{
		{"get ../x/evil.html", reverse.TypeFile, `application/octet-stream attachment; filename=evil.html`},
		{`get "a\"; filename=b.html"`, reverse.TypeFile, `application/octet-stream attachment; filename="a\"; filename=b.html"`},
		{"get /", reverse.TypeFile, `application/octet-stream attachment; filename=ID.bin`},
		{"exec evil", reverse.TypeResult, `application/octet-stream attachment; filename=ID.bin`},
		{"status", reverse.TypeResult, `application/json attachment; filename=ID.json`},
		{"find x", reverse.TypeResult, `application/jsonl attachment; filename=ID.jsonl`},
		{"list", reverse.TypeListing, `application/json attachment; filename=ID.json`},
		{"capture eth0 5", reverse.TypeFile, `application/vnd.tcpdump.pcap attachment; filename=ID.pcap`},
		{"get x", reverse.TypeError, `text/plain; charset=utf-8 attachment; filename=ID.txt`},
		{"text/html", reverse.Type(99), `text/plain; charset=utf-8 attachment; filename=ID.txt`},
	} {
		made := h.answered(t, c.line, page, c.kind)
		resp, body := n.call(t, "GET", "/api/v1/commands/"+made.ID+"/output", "")
		got := strings.ReplaceAll(resp.Header.Get("Content-Type")+" "+resp.Header.Get("Content-Disposition"), made.ID, "ID")
		if resp.StatusCode != 200 || body != page || got != c.want {
			t.Errorf("%s: %d %q %s; want %s", c.line, resp.StatusCode, body, got, c.want)
		}
		for header, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox", "Cache-Control": "no-store", "X-Frame-Options": "DENY"} {
			if !strings.Contains(resp.Header.Get(header), want) {
				t.Errorf("%s: %s is %q", c.line, header, resp.Header.Get(header))
			}
		}
	}
}

func TestAPartOfAResult(t *testing.T) {
	h := houses()
	n := serve(t, newInventory(), h.options)
	made, none := h.answered(t, "get x", "0123456789", reverse.TypeFile), h.answered(t, "status", "", reverse.TypeResult)
	for _, c := range []struct {
		id, query, span string
		status          int
		body, header    string
	}{
		{made.ID, "", "", 200, "0123456789", ""},
		{made.ID, "?offset=4", "", 200, "456789", ""},
		{made.ID, "?offset=10", "", 200, "", ""},
		{made.ID, "?offset=9223372036854775807", "", 200, "", ""},
		{made.ID, "?follow=true&offset=8", "", 200, "89", ""},
		{made.ID, "", "bytes=2-4", 206, "234", "bytes 2-4/10"},
		{made.ID, "", "bytes=7-", 206, "789", "bytes 7-9/10"},
		{made.ID, "", "bytes=-3", 206, "789", "bytes 7-9/10"},
		{made.ID, "", "bytes=-30", 206, "0123456789", "bytes 0-9/10"},
		{made.ID, "", "bytes=8-9223372036854775807", 206, "89", "bytes 8-9/10"},
		{made.ID, "", "bytes=10-", 416, "", "bytes */10"},
		{made.ID, "", "bytes=4-2", 200, "0123456789", ""},
		{made.ID, "", "bytes=0-1,4-5", 200, "0123456789", ""},
		{made.ID, "", "lines=0-1", 200, "0123456789", ""},
		{made.ID, "?offset=3", "bytes=0-1", 200, "3456789", ""},
		{none.ID, "", "", 200, "", ""},
		{none.ID, "", "bytes=0-", 416, "", "bytes */0"},
		{"nothing", "", "", 404, "", ""},
	} {
		var headers []string
		if c.span != "" {
			headers = []string{"Range", c.span}
		}
		resp, body := n.call(t, "GET", "/api/v1/commands/"+c.id+"/output"+c.query, "", headers...)
		if resp.StatusCode != c.status || resp.StatusCode < 300 && body != c.body || resp.Header.Get("Content-Range") != c.header {
			t.Errorf("%s %s: %d %q %q; want %d %q %q", c.query, c.span, resp.StatusCode, body, resp.Header.Get("Content-Range"), c.status, c.body, c.header)
		}
	}
	resp, _ := n.call(t, "GET", "/api/v1/commands/"+made.ID+"/output", "")
	if got, want := resp.Header.Get("Repr-Digest"), "sha-256=:hNiYd/DUBB77a/kaFvAkjy/Vc+avBcGflr7bn4gveII=:"; got != want {
		t.Errorf("digest %q", got)
	}
	// What was dropped for want of room is gone, and not empty.
	h.mu.Lock()
	delete(h.results, made.ID)
	h.mu.Unlock()
	if resp, body := n.call(t, "GET", "/api/v1/commands/"+made.ID+"/output", ""); resp.StatusCode != 404 || !strings.Contains(body, "isn't kept any more") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

func TestTheBeginningOfAResultGoesWithACommand(t *testing.T) {
	h := houses()
	n := serve(t, newInventory(), h.options)
	long := strings.Repeat("a", 64<<10-1)
	for _, c := range []struct{ text, want string }{
		{"", ""},
		{"Büro\x00\n", "Büro\x00\n"},
		{long + "b", long + "b"},
		{long + "bc", long + "b"},
		{long + "ü", long},
		{long + "üü", long},
		{long[1:] + "üü", long[1:] + "ü"},
		{"\xff", ""},
		{"cut \xc3", ""},
		{"\x89PNG\r\n", ""},
	} {
		made := h.answered(t, "exec x", c.text, reverse.TypeResult)
		_, body := n.call(t, "GET", "/api/v1/commands/"+made.ID, "")
		got := decoded[api.Command](t, body)
		if got.Output != c.want || got.Size != int64(len(c.text)) {
			t.Errorf("%d bytes that end with %q: %d that end with %q, size %d", len(c.text), c.text[max(0, len(c.text)-4):], len(got.Output), got.Output[max(0, len(got.Output)-4):], got.Size)
		}
	}
	// While it comes, the last character may not be whole yet.
	made, err := h.Submit(t.Context(), fleet.Request{By: "test", Line: "exec x", Gateways: []fleet.Gateway{{ID: "gnorth"}}})
	if err != nil {
		t.Fatal(err)
	}
	h.say(made[0].ID, "cut \xc3")
	_, body := n.call(t, "GET", "/api/v1/commands/"+made[0].ID, "")
	if got := decoded[api.Command](t, body); got.Output != "cut " || got.Status != "running" {
		t.Errorf("%+v", got)
	}
}

func TestAResultIsFollowed(t *testing.T) {
	h := houses()
	made, err := h.Submit(t.Context(), fleet.Request{By: "test", Line: "exec x", Gateways: []fleet.Gateway{{ID: "gnorth"}}})
	if err != nil {
		t.Fatal(err)
	}
	id := made[0].ID
	bubble(t, newInventory(), func(l pipes) {
		h.changed = make(chan struct{}) // of the bubble
		follow := func() (*http.Response, io.Reader) {
			conn := l.dial(t, "/api/v1/commands/"+id+"/output?follow=true")
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			return resp, resp.Body
		}
		resp, body := follow()
		_, stuck := follow() // who takes nothing holds nobody up
		if resp.StatusCode != 200 || resp.ContentLength != -1 {
			t.Errorf("%+v", resp)
		}
		buf := make([]byte, 100)
		for i := range 5 {
			time.Sleep(10 * time.Minute) // longer than any timeout
			h.say(id, fmt.Sprintf("line %d\n", i))
			if n, err := body.Read(buf); err != nil || string(buf[:n]) != fmt.Sprintf("line %d\n", i) {
				t.Fatalf("%q %v", buf[:n], err)
			}
		}
		h.say(id, "the end")
		h.end(id, fleet.OK)
		if b, err := io.ReadAll(body); err != nil || string(b) != "the end" {
			t.Errorf("%q %v", b, err)
		}
		// It was cut off after 30 seconds, and that shows.
		time.Sleep(time.Minute)
		synctest.Wait()
		if b, err := io.ReadAll(stuck); err == nil {
			t.Errorf("%q is taken for all", b)
		}
	}, h.options)
}

// breaking is a hub whose results break off.
type breaking struct {
	*hub
	after int
}

func (b breaking) Output(ctx context.Context, id string, offset int64, follow bool) (io.ReadCloser, error) {
	r, err := b.hub.Output(ctx, id, offset, follow)
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(io.LimitReader(r, int64(b.after)), failing{}), r}, nil
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("the disk is away") }

func TestTheClientGoesOnWhereAResultBrokeOff(t *testing.T) {
	t.Parallel()
	h := houses()
	made := h.answered(t, "get x", strings.Repeat("0123456789", 3), reverse.TypeFile)
	n := serve(t, newInventory(), h.options, func(o *api.Options) { o.Fleet.Runner = breaking{h, 20} })
	var got bytes.Buffer
	c := client.Unix(n.socket)
	size, err := c.Output(t.Context(), made.ID, false, &got)
	if err != nil || size != 30 || sha256.Sum256(got.Bytes()) != made.SHA256 {
		t.Errorf("%d %q %v", size, got.String(), err)
	}
	if _, err := c.Output(t.Context(), "nothing", false, &got); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("none: %v", err)
	}
	// Who can't write stops, with his own error.
	full := errors.New("full")
	if _, err := c.Output(t.Context(), made.ID, false, writer(func([]byte) (int, error) { return 0, full })); !errors.Is(err, full) {
		t.Errorf("a full disk: %v", err)
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

func TestAResultThatIsTooShortIsBrokenOff(t *testing.T) {
	t.Parallel()
	h := houses()
	made := h.answered(t, "get x", "0123456789", reverse.TypeFile)
	h.results[made.ID] = []byte("01234")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := serve(t, newInventory(), h.options, func(o *api.Options) { o.Fleet.Runner = &patient{hub: h, tries: 3, enough: cancel} })
	var got bytes.Buffer
	if size, err := client.Unix(n.socket).Output(ctx, made.ID, false, &got); !errors.Is(err, context.Canceled) || size != 5 {
		t.Errorf("%d bytes, %v", size, err)
	}
}

// patient is a hub whose results are asked for a few times, until it is enough.
type patient struct {
	*hub
	tries  int
	enough func()
}

func (p *patient) Output(ctx context.Context, id string, offset int64, follow bool) (io.ReadCloser, error) {
	if p.tries--; p.tries == 0 {
		p.enough()
	}
	return p.hub.Output(ctx, id, offset, follow)
}
