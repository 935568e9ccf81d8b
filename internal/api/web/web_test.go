package web_test

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk/internal/api/web"
)

func get(t *testing.T, method, path string, headers ...string) (*http.Response, string) {
	t.Helper()
	h, err := web.Handler()
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	var body io.Reader = w.Body
	if w.Header().Get("Content-Encoding") == "gzip" {
		if body, err = gzip.NewReader(w.Body); err != nil {
			t.Fatal(err)
		}
	}
	b, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Result(), string(b)
}

func TestFilesAreServed(t *testing.T) {
	for path, want := range map[string]string{
		"/": "text/html; charset=utf-8", "/signin": "text/html; charset=utf-8", "/app.css": "text/css; charset=utf-8",
		"/app.js": "text/javascript; charset=utf-8", "/icon.svg": "image/svg+xml",
	} {
		plain, body := get(t, "GET", path)
		if plain.StatusCode != 200 || plain.Header.Get("Content-Type") != want || body == "" {
			t.Errorf("%s: %d %s", path, plain.StatusCode, plain.Header.Get("Content-Type"))
		}
		packed, same := get(t, "GET", path, "Accept-Encoding", "br, gzip")
		if packed.Header.Get("Content-Encoding") != "gzip" || same != body {
			t.Errorf("%s: not the same when compressed", path)
		}
		if packed.Header.Get("ETag") == plain.Header.Get("ETag") || packed.Header.Get("Vary") != "Accept-Encoding" {
			t.Errorf("%s: the two encodings share an ETag", path)
		}
		for _, tag := range []string{plain.Header.Get("ETag"), `"x", W/` + plain.Header.Get("ETag")} {
			if again, body := get(t, "GET", path, "If-None-Match", tag); again.StatusCode != 304 || body != "" {
				t.Errorf("%s with %s: %d", path, tag, again.StatusCode)
			}
		}
		if head, body := get(t, "HEAD", path); head.StatusCode != 200 || body != "" || head.Header.Get("Content-Length") == "" {
			t.Errorf("HEAD %s: %d %q", path, head.StatusCode, body)
		}
		if post, _ := get(t, "POST", path); post.StatusCode != 405 {
			t.Errorf("POST %s: %d", path, post.StatusCode)
		}
	}
	for _, path := range []string{"/nothing", "/web.go", "/../app.js", "/app.js/"} {
		if r, _ := get(t, "GET", path); r.StatusCode != 404 {
			t.Errorf("%s: %d", path, r.StatusCode)
		}
	}
}

// TestThePageLoadsNothingFromElsewhere holds also that nothing in it needs a
// weaker policy, and that no text can become markup.
func TestThePageLoadsNothingFromElsewhere(t *testing.T) {
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	address := regexp.MustCompile(`(https?:)?//[a-z0-9]`)
	inline := regexp.MustCompile(`<script(?:[^>]*)>[^<]|<style|\sstyle=|\son[a-z]+=|javascript:`)
	markup := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment|DOMParser|\beval\(|new Function|srcdoc`)
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".go") {
			continue
		}
		b, err := os.ReadFile(e.Name())
		if err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(string(b), "http://www.w3.org/2000/svg", "")
		if m := address.FindString(text); m != "" {
			t.Errorf("%s names another host: %s", e.Name(), m)
		}
		if strings.HasSuffix(e.Name(), ".html") || strings.HasSuffix(e.Name(), ".svg") {
			if m := inline.FindString(text); m != "" {
				t.Errorf("%s: inline: %s", e.Name(), m)
			}
		}
		if m := markup.FindString(text); m != "" {
			t.Errorf("%s makes markup of text: %s", e.Name(), m)
		}
	}
}
