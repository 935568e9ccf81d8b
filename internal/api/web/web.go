// Package web holds the page: plain HTML, CSS and JavaScript modules, embedded.
// There is no build step. The page shows text from the network, which may be
// hostile: it only ever sets text, never markup, and makes characters visible
// that would hide or turn text around.
package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
)

//go:embed index.html signin.html *.css *.js *.svg
var files embed.FS

// file is one file of the page, ready to be sent.
type file struct {
	contentType, etag string
	plain             []byte
	gzipped           func() []byte // packs it when it is first asked for: most nodes' pages never are
}

// Handler answers with the page's files. They are public: what the page shows
// comes from the API.
func Handler() (http.Handler, error) {
	served := make(map[string]file)
	entries, err := fs.ReadDir(files, ".")
	if err != nil {
		return nil, fmt.Errorf("web: %w", err)
	}
	for _, e := range entries {
		f, err := load(e.Name())
		if err != nil {
			return nil, fmt.Errorf("web: %s: %w", e.Name(), err)
		}
		served["/"+e.Name()] = f
	}
	served["/"], served["/signin"] = served["/index.html"], served["/signin.html"]
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, ok := served[r.URL.Path]
		switch {
		case !ok:
			http.NotFound(w, r)
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		default:
			f.serve(w, r)
		}
	}), nil
}

func load(name string) (file, error) {
	plain, err := files.ReadFile(name)
	if err != nil {
		return file{}, err
	}
	sum := sha256.Sum256(plain)
	return file{
		contentType: contentType(name), etag: `"` + hex.EncodeToString(sum[:12]) + `"`,
		plain: plain, gzipped: sync.OnceValue(func() []byte { return pack(plain) }),
	}, nil
}

func pack(plain []byte) []byte {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err == nil {
		_, err = z.Write(plain)
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		panic(err) // neither the level nor memory can be wrong
	}
	return b.Bytes()
}

// contentType does not ask the host's tables, which may say otherwise.
func contentType(name string) string {
	switch path.Ext(name) {
	case ".html":
		return "text/html; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	}
	return mime.TypeByExtension(path.Ext(name))
}

func (f file) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", f.contentType)
	h.Set("Cache-Control", "no-cache") // ask each time whether the ETag holds
	h.Set("Vary", "Accept-Encoding")
	body, etag := f.plain, f.etag
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		// Another encoding is another representation (RFC 9110 §8.8.3).
		body, etag = f.gzipped(), strings.TrimSuffix(f.etag, `"`)+`-gzip"`
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("ETag", etag)
	for _, tag := range strings.Split(r.Header.Get("If-None-Match"), ",") {
		if strings.TrimPrefix(strings.TrimSpace(tag), "W/") == etag {
			h.Del("Content-Encoding")
			h.Del("Content-Type")
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if r.Method == http.MethodHead {
		return
	}
	// An error means that the client has gone.
	_, _ = w.Write(body)
}
