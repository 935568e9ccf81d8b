package client

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"syscall"
)

// What a caller may want to tell apart. Test with errors.Is.
var (
	ErrNotRunning = errors.New("no node or hub is running there") // nothing listens, or it has ended
	ErrDenied     = errors.New("denied")
	ErrNotFound   = errors.New("not found")
	ErrNoAnswer   = errors.New("nobody answered")
)

// ErrNobodyListens is the kind of ErrNotRunning of a call that nobody heard.
var ErrNobodyListens = fmt.Errorf("%w: nothing listens", ErrNotRunning)

// Error is an answer that says what is wrong (RFC 9457).
type Error struct {
	Status int    `json:"status"` // of HTTP
	Title  string `json:"title"`
	Detail string `json:"detail"`
	Errors []struct {
		Message  string `json:"message"`
		Location string `json:"location"`
	} `json:"errors"`
}

// Error implements error.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Detail)
	if e.Detail == "" {
		fmt.Fprintf(&b, "%d %s", e.Status, e.Title)
	}
	for i, d := range e.Errors {
		b.WriteString(map[bool]string{true: ": ", false: "; "}[i == 0])
		if d.Location != "" {
			b.WriteString(d.Location + " ")
		}
		b.WriteString(d.Message)
	}
	return b.String()
}

// Is makes statuses match the errors above.
func (e *Error) Is(target error) bool {
	switch target {
	case ErrDenied:
		return e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden || e.Status == http.StatusMisdirectedRequest
	case ErrNotFound:
		return e.Status == http.StatusNotFound
	case ErrNoAnswer:
		return e.Status == http.StatusGatewayTimeout
	}
	return false
}

// problemOf makes an error of an answer.
func problemOf(resp *http.Response) error {
	e := &Error{}
	b, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err == nil && strings.HasSuffix(resp.Header.Get("Content-Type"), "json") {
		err = json.Unmarshal(b, e)
	}
	if err != nil {
		e = &Error{} // the status says enough
	}
	e.Status, e.Title = resp.StatusCode, http.StatusText(resp.StatusCode)
	if strings.HasPrefix(resp.Header.Get("Location"), prefix) {
		// The server cleans paths: "", "." and ".." in them are nobody's name.
		e.Status, e.Detail = http.StatusNotFound, "nothing has such a name"
	}
	return e
}

// why says of a failed call what it means for the caller.
func (c *Client) why(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w at %s", ErrNobodyListens, c.where)
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: %s broke the connection off", ErrNotRunning, c.where)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: you may not open %s", ErrDenied, c.where)
	}
	var unknown x509.UnknownAuthorityError
	if errors.As(err, &unknown) {
		return fmt.Errorf("client: %w: a hub's certificate is signed by its own authority; give that one's certificate, as --ca-file does", err)
	}
	return fmt.Errorf("client: %w", err)
}
