package api

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/lanfolk/lanfolk/reverse"
	"github.com/lanfolk/lanfolk/store/fleet"
)

const (
	// maxOutput is how much of a result goes with a command, in bytes.
	maxOutput = 64 << 10
	// outputChunk is how much of a result is read and written at once, in bytes.
	outputChunk = 256 << 10
)

// excerpt returns a result's beginning, if that is text.
func (s *Server) excerpt(ctx context.Context, c fleet.Command) (string, error) {
	if c.State.Ended() && c.Size == 0 {
		return "", nil
	}
	r, err := s.o.Fleet.Runner.Output(ctx, c.ID, 0, false)
	if errors.Is(err, fleet.ErrUnknown) { // nothing came, or it was dropped
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, maxOutput+1))
	if err != nil {
		return "", err
	}
	// The last character may be cut, at the limit or where the result goes on.
	text := string(b)
	if len(b) > maxOutput || !c.State.Ended() {
		text = validPrefix(text, maxOutput)
	}
	if !utf8.ValidString(text) {
		return "", nil
	}
	return text, nil
}

// validPrefix returns the first n bytes of s at most, without a character that is cut.
func validPrefix(s string, n int) string {
	s = s[:min(len(s), n)]
	for i := len(s) - 1; i >= 0 && i >= len(s)-utf8.UTFMax; i-- {
		if utf8.RuneStart(s[i]) {
			if !utf8.FullRuneInString(s[i:]) {
				return s[:i]
			}
			break
		}
	}
	return s
}

type outputQuery struct {
	CommandPath
	Offset int64  `query:"offset" minimum:"0" doc:"Leave out so many bytes."`
	Follow bool   `query:"follow" doc:"Go on with what comes until the command has ended."`
	Range  string `header:"Range" doc:"One range of bytes of a result that is whole (RFC 9110); where there is more in it, it means nothing."`
}

func (s *Server) outputRoutes() {
	op := operation("get-command-output", http.MethodGet, "/commands/{id}/output", "Get a command's result", "fleet",
		http.StatusNotFound, http.StatusRequestedRangeNotSatisfiable, http.StatusServiceUnavailable, http.StatusNotImplemented)
	op.Description = "The result as it is, any size: what has come so far, with follow also what comes. It is for who asked for it, for admins, " +
		"and for whoever might have it run himself; what only reads, for viewers. Its bytes are a gateway's word: no browser takes them for a page. " +
		"A client that takes nothing for 30 seconds is cut off."
	op.Responses = map[string]*huma.Response{
		"200": {Description: "The result.", Content: map[string]*huma.MediaType{"application/octet-stream": {}}},
		"206": {Description: "A part of it.", Content: map[string]*huma.MediaType{"application/octet-stream": {}}},
	}
	huma.Register(s.api, takes(toSelf, op), s.output)
}

func (s *Server) output(ctx context.Context, in *outputQuery) (*huma.StreamResponse, error) {
	if !s.runsCommands() {
		return nil, errNoFleet()
	}
	c, err := s.o.Fleet.Runner.Command(ctx, in.ID)
	if err != nil {
		return nil, failed(err)
	}
	if err := s.mayReadOutput(ctx, c); err != nil {
		return nil, failed(err)
	}
	// What has ended has all that it will have.
	part := span{from: in.Offset, to: -1, status: http.StatusOK}
	if c.State.Ended() {
		if part, err = spanOf(in, c.Size); err != nil {
			return nil, err
		}
	}
	ctx, done, err := s.stream(ctx)
	if err != nil {
		return nil, failed(err)
	}
	r, err := s.o.Fleet.Runner.Output(ctx, c.ID, part.from, in.Follow && !c.State.Ended())
	if errors.Is(err, fleet.ErrUnknown) && c.Size == 0 {
		r, err = io.NopCloser(strings.NewReader("")), nil
	}
	if err != nil {
		done()
		if errors.Is(err, fleet.ErrUnknown) {
			return nil, huma.NewError(http.StatusNotFound, "the result isn't kept any more")
		}
		return nil, failed(err)
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		defer done()
		defer r.Close()
		_, w := humago.Unwrap(hc)
		outputHeaders(w.Header(), c, part)
		w.WriteHeader(part.status)
		if err := copyOutput(w, r, part); err != nil {
			s.log.DebugContext(ctx, "a result was cut off", "command", c.ID, "err", err)
			panic(http.ErrAbortHandler) // so that the client doesn't take it for all
		}
	}}, nil
}

// span is the part of a result that goes out.
type span struct {
	from, to int64 // to is behind the last byte; -1 is the end, wherever that will be
	whole    int64
	status   int
}

// spanOf reads which part of a result of so many bytes is wanted.
func spanOf(in *outputQuery, size int64) (span, error) {
	all := span{from: min(in.Offset, size), to: size, whole: size, status: http.StatusOK}
	text, ok := strings.CutPrefix(in.Range, "bytes=")
	first, last, two := strings.Cut(text, "-")
	if !ok || !two || strings.Contains(text, ",") || in.Offset > 0 || in.Follow {
		return all, nil
	}
	from, err1 := strconv.ParseUint(first, 10, 63)
	to, err2 := strconv.ParseUint(last, 10, 63)
	part := span{whole: size, status: http.StatusPartialContent}
	switch {
	case err1 == nil && last == "":
		part.from, part.to = int64(from), size
	case err1 == nil && err2 == nil && from <= to:
		part.from, part.to = int64(from), min(size, int64(min(to, uint64(size)))+1)
	case first == "" && err2 == nil && to > 0:
		part.from, part.to = max(0, size-int64(to)), size
	default:
		return all, nil // one that can't be read is as good as none
	}
	if part.from >= size {
		return all, huma.ErrorWithHeaders(huma.NewError(http.StatusRequestedRangeNotSatisfiable, fmt.Sprintf("the result has %d bytes", size)),
			http.Header{"Content-Range": {fmt.Sprintf("bytes */%d", size)}})
	}
	return part, nil
}

// outputHeaders says what a result is. A browser stores it: whatever a gateway made it
// look like, it is shown by no page of this hub.
func outputHeaders(h http.Header, c fleet.Command, part span) {
	kind, name := kindOf(c)
	h.Set("Content-Type", kind)
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": name}))
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; sandbox")
	h.Set("X-Accel-Buffering", "no") // a proxy must not wait for more
	if part.to < 0 {
		return
	}
	h.Set("Accept-Ranges", "bytes")
	h.Set("Content-Length", strconv.FormatInt(part.to-part.from, 10))
	if part.status == http.StatusPartialContent {
		h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", part.from, part.to-1, part.whole))
	}
	if c.SHA256 != [32]byte{} {
		h.Set("ETag", `"`+c.ID+`"`)
		h.Set("Repr-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(c.SHA256[:])+":") // RFC 9530
	}
}

// kindOf returns a result's media type and under which name it may be stored. It is what
// our own gateways send; others may send anything.
func kindOf(c fleet.Command) (kind, name string) {
	words, err := reverse.Split(c.Line)
	if err != nil {
		words = []string{""}
	}
	if t := reverse.Type(c.Type); t == reverse.TypeResult || t == reverse.TypeListing || t == reverse.TypeFile {
		switch words[0] {
		case "capture":
			return "application/vnd.tcpdump.pcap", c.ID + ".pcap"
		case "get":
			if base := path.Base(path.Clean("/" + strings.Join(words[1:], ""))); base != "/" {
				return "application/octet-stream", base
			}
		case "list", "status", "devices", "services", "fingerprints":
			return "application/json", c.ID + ".json"
		case "find", "browse":
			return "application/jsonl", c.ID + ".jsonl"
		}
		return "application/octet-stream", c.ID + ".bin"
	}
	return "text/plain; charset=utf-8", c.ID + ".txt"
}

// copyOutput writes what r has, at once whenever there is more. The client has
// writeTimeout for each piece.
func copyOutput(w http.ResponseWriter, r io.Reader, part span) error {
	if part.to >= 0 {
		r = io.LimitReader(r, part.to-part.from)
	}
	control := http.NewResponseController(w)
	flush := func() error {
		err := control.SetWriteDeadline(time.Now().Add(writeTimeout))
		if err == nil {
			err = control.Flush()
		}
		if errors.Is(err, http.ErrNotSupported) { // a test's recorder
			return nil
		}
		return err
	}
	if err := flush(); err != nil { // the client learns that it is heard
		return err
	}
	buf := make([]byte, outputChunk)
	sent := int64(0)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if err := flush(); err != nil { // a new deadline
				return err
			}
			if _, err := w.Write(buf[:n]); err != nil {
				return err
			}
			if sent += int64(n); part.to < 0 {
				if err := flush(); err != nil {
					return err
				}
			}
		}
		switch {
		case err == io.EOF && part.to >= 0 && sent < part.to-part.from:
			return errors.Join(fmt.Errorf("%w after %d of %d bytes", io.ErrUnexpectedEOF, sent, part.to-part.from), flush())
		case err == io.EOF:
			return nil
		case err != nil:
			return errors.Join(err, flush()) // the client goes on behind what it has
		}
	}
}
