package registry_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk/test/registry"
)

const id = "3b8be755-08ff-452b-b217-c9151eb21193"

func node(version string) string {
	return fmt.Sprintf(`{"type":"node","data":{"id":%q,"version":%q,"label":"","description":"","tags":{},"href":"http://192.0.2.1:80/","caps":{},
		"api":{"versions":["v1.3"],"endpoints":[{"host":"192.0.2.1","port":80,"protocol":"http"}]},"services":[],"clocks":[],"interfaces":[]}}`, id, version)
}

func TestRegistry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g registry.Registry
		do := func(want int, method, path, body string) *httptest.ResponseRecorder {
			t.Helper()
			w := httptest.NewRecorder()
			g.ServeHTTP(w, httptest.NewRequest(method, "/x-nmos/registration/"+path, strings.NewReader(body)))
			if w.Code != want {
				t.Errorf("%s %s: %d %s, want %d", method, path, w.Code, w.Body, want)
			}
			if w.Body.Len() > 0 && !json.Valid(w.Body.Bytes()) {
				t.Errorf("%s %s: %s is no JSON", method, path, w.Body)
			}
			return w
		}
		do(200, "GET", "", "")
		do(200, "GET", "v1.3/", "")
		do(404, "GET", "v1.4/", "")
		do(404, "POST", "v1.3/health/nodes/"+id, "")
		w := do(201, "POST", "v1.3/resource", node("2:0"))
		if at := w.Header().Get("Location"); at != "/x-nmos/registration/v1.3/resource/nodes/"+id {
			t.Errorf("Location %s", at)
		}
		do(200, "POST", "v1.3/resource", node("2:1"))
		do(400, "POST", "v1.3/resource", node("1:9"))
		do(400, "POST", "v1.3/resource", strings.Replace(node("3:0"), `"tags":{}`, `"tags":[]`, 1))
		do(400, "POST", "v1.3/resource", strings.Replace(node("3:0"), id, "me", 1))
		do(400, "POST", "v1.3/resource", strings.Replace(node("3:0"), "v1.3", "v1.2", 1))
		do(400, "POST", "v1.3/resource", `{"type":"device","data":{}}`)
		do(400, "POST", "v1.3/resource", `{`)
		do(200, "GET", "v1.3/resource/nodes/"+id, "")
		do(405, "PUT", "v1.3/resource/nodes/"+id, "")
		time.Sleep(registry.Lifetime - time.Millisecond)
		do(200, "POST", "v1.3/health/nodes/"+id, "")
		time.Sleep(registry.Lifetime - time.Millisecond)
		do(200, "GET", "v1.3/health/nodes/"+id, "") // that is no heartbeat
		time.Sleep(time.Millisecond)
		do(404, "POST", "v1.3/health/nodes/"+id, "")
		do(201, "POST", "v1.3/resource", node("2:0"))
		if n := g.Nodes(); len(n) != 1 || n[0] != id {
			t.Errorf("nodes %q", n)
		}
		g.Answer(http.StatusServiceUnavailable)
		do(503, "POST", "v1.3/health/nodes/"+id, "")
		g.Answer(0)
		do(204, "DELETE", "v1.3/resource/nodes/"+id, "")
		do(404, "DELETE", "v1.3/resource/nodes/"+id, "")
		if n := g.Nodes(); len(n) != 0 {
			t.Errorf("nodes %q", n)
		}

		g.Silence()
		ended := make(chan any, 1)
		go func() {
			defer func() { ended <- recover() }()
			g.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/x-nmos/registration/v1.3/health/nodes/"+id, nil))
		}()
		time.Sleep(time.Hour)
		synctest.Wait()
		if r := g.Requests(); len(ended) > 0 || r[len(r)-1].Status != 0 || !r[len(r)-1].Heartbeat() {
			t.Error("silence is broken")
		}
		g.Speak()
		if why := <-ended; why != http.ErrAbortHandler {
			t.Errorf("silence ended with %v", why)
		}
	})
}
