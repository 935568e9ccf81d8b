// Package registry is a mock of an IS-04 v1.3 Registration API, for tests of
// nodes and of the clients that find them a registry. It holds nodes alone, in
// memory:
//
//	POST   /x-nmos/registration/v1.3/resource             201, 200 if it was there, 400 if it isn't one
//	GET    /x-nmos/registration/v1.3/resource/nodes/{id}  200, 404
//	DELETE /x-nmos/registration/v1.3/resource/nodes/{id}  204, 404
//	POST   /x-nmos/registration/v1.3/health/nodes/{id}    200, 404
//
// A node that hasn't sent a heartbeat for 12 s is forgotten (IS-04 v1.3,
// Behaviour: Registration, Heartbeating). It can be told to fail as registries
// do: with a status, with silence, or by not being there at all.
package registry

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Lifetime is how long a node stays without a heartbeat.
const Lifetime = 12 * time.Second

// maxBody bounds a request's body, in bytes.
const maxBody = 1 << 20

// Request is one that came, and what was answered.
type Request struct {
	Time         time.Time
	Method, Path string
	Status       int // 0 for silence
}

// Heartbeat says whether the request is one.
func (r Request) Heartbeat() bool {
	return r.Method == http.MethodPost && strings.Contains(r.Path, "/health/nodes/")
}

// Registry is an http.Handler. Its zero value works.
type Registry struct {
	mu       sync.Mutex
	nodes    map[string]*node
	requests []Request
	status   int           // of every answer, 0 for the right one
	silence  chan struct{} // closed when it ends; nil for none
}

type node struct {
	data json.RawMessage
	resource
	health time.Time
}

// Answer has every request answered with a status, say 503; 0 ends that.
func (g *Registry) Answer(status int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.status = status
}

// Silence has no request answered; connections are accepted and stay open.
func (g *Registry) Silence() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.silence == nil {
		g.silence = make(chan struct{})
	}
}

// Speak ends Silence. What came before stays without an answer.
func (g *Registry) Speak() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.silence != nil {
		close(g.silence)
		g.silence = nil
	}
}

// Forget forgets all nodes, as a registry that starts anew.
func (g *Registry) Forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.nodes = nil
}

// Nodes returns the ids of the nodes that are registered, sorted.
func (g *Registry) Nodes() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.collect(time.Now())
	var ids []string
	for id := range g.nodes {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// Requests returns all requests, in the order in which they came.
func (g *Registry) Requests() []Request {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.requests)
}

// collect forgets the nodes that sent no heartbeat in time.
func (g *Registry) collect(now time.Time) {
	for id, n := range g.nodes {
		if now.Sub(n.health) >= Lifetime {
			delete(g.nodes, id)
		}
	}
}

// ServeHTTP implements http.Handler.
func (g *Registry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	now := time.Now()
	g.mu.Lock()
	silence := g.silence
	a := answer{status: g.status}
	switch {
	case silence != nil:
		a.status = 0
	case g.status != 0:
	case err != nil:
		a = refusal(http.StatusBadRequest, err)
	default:
		g.collect(now)
		a = g.answer(now, r.Method, r.URL.Path, body)
	}
	g.requests = append(g.requests, Request{now, r.Method, r.URL.Path, a.status})
	g.mu.Unlock()
	if silence != nil {
		select {
		case <-silence:
		case <-r.Context().Done():
		}
		panic(http.ErrAbortHandler) // closes the connection without a word
	}
	if a.location != "" {
		w.Header().Set("Location", a.location)
	}
	if a.body != nil {
		w.Header().Set("Content-Type", "application/json")
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) // the client may be gone
}

type answer struct {
	status   int
	location string
	body     []byte
}

// The API's paths.
const (
	root      = "/x-nmos/registration/"
	base      = root + "v1.3/"
	resources = base + "resource"
	nodes     = resources + "/nodes/"
	health    = base + "health/nodes/"
)

// answer does what a request asks for. g.mu is held.
func (g *Registry) answer(now time.Time, method, path string, body []byte) answer {
	get := method == http.MethodGet
	switch path = strings.TrimSuffix(path, "/"); {
	case get && path+"/" == root:
		return ok([]string{"v1.3/"})
	case get && path+"/" == base:
		return ok([]string{"resource/", "health/"})
	case method == http.MethodPost && path == resources:
		return g.register(now, body)
	}
	if id, found := strings.CutPrefix(path, health); found {
		return g.about(now, id, method, true)
	}
	if id, found := strings.CutPrefix(path, nodes); found {
		return g.about(now, id, method, false)
	}
	return refusal(http.StatusNotFound, fmt.Errorf("no %s here", path))
}

// about answers a request for a node or for its health.
func (g *Registry) about(now time.Time, id, method string, isHealth bool) answer {
	n := g.nodes[id]
	if n == nil {
		return refusal(http.StatusNotFound, fmt.Errorf("no node %s here", id))
	}
	switch {
	case isHealth && method == http.MethodPost:
		n.health = now
		fallthrough
	case isHealth && method == http.MethodGet:
		return ok(map[string]string{"health": strconv.FormatInt(n.health.Unix(), 10)})
	case method == http.MethodGet:
		return answer{status: http.StatusOK, location: nodes + n.ID, body: n.data}
	case method == http.MethodDelete && !isHealth:
		delete(g.nodes, n.ID)
		return answer{status: http.StatusNoContent}
	}
	return refusal(http.StatusMethodNotAllowed, fmt.Errorf("no %s here", method))
}

func (g *Registry) register(now time.Time, body []byte) answer {
	var post struct {
		Type string
		Data json.RawMessage
	}
	if err := json.Unmarshal(body, &post); err != nil {
		return refusal(http.StatusBadRequest, err)
	}
	if post.Type != "node" {
		return refusal(http.StatusBadRequest, fmt.Errorf("type %q: this registry holds nodes alone", post.Type))
	}
	n := &node{data: post.Data, health: now}
	if err := n.parse(post.Data); err != nil {
		return refusal(http.StatusBadRequest, err)
	}
	status := http.StatusCreated
	if old := g.nodes[n.ID]; old != nil {
		if n.before(old.resource) {
			return refusal(http.StatusBadRequest, fmt.Errorf("version %s is before %s", n.Version, old.Version))
		}
		status = http.StatusOK
	}
	if g.nodes == nil {
		g.nodes = map[string]*node{}
	}
	g.nodes[n.ID] = n
	return answer{status: status, location: nodes + n.ID, body: post.Data}
}

// resource is what the registry reads of a node's resource.
type resource struct{ ID, Version string }

// keys are those that a node's resource must have, and their JSON type (IS-04
// v1.3, schemas node.json and resource_core.json).
func keys() map[string]any {
	return map[string]any{
		"id": "", "version": "", "label": "", "description": "", "href": "",
		"tags": map[string]any{}, "caps": map[string]any{}, "api": map[string]any{},
		"services": []any{}, "clocks": []any{}, "interfaces": []any{},
	}
}

// parse checks a resource against the parts of its schema that a node gets
// wrong most easily.
func (r *resource) parse(data []byte) error {
	var all map[string]any
	if err := json.Unmarshal(data, &all); err != nil {
		return err
	}
	for key, like := range keys() {
		if want, have := fmt.Sprintf("%T", like), fmt.Sprintf("%T", all[key]); have != want {
			return fmt.Errorf("%s is a %s, want a %s", key, have, want)
		}
	}
	r.ID, _ = all["id"].(string)
	r.Version, _ = all["version"].(string)
	for _, c := range []struct{ value, pattern string }{
		{r.ID, `^[0-9a-f]{8}-[0-9a-f]{4}-[1-5][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`},
		{r.Version, `^[0-9]+:[0-9]+$`},
	} {
		if !regexp.MustCompile(c.pattern).MatchString(c.value) {
			return fmt.Errorf("%q doesn't match %s", c.value, c.pattern)
		}
	}
	var api struct {
		API struct {
			Versions  []string
			Endpoints []struct {
				Host, Protocol string
				Port           int
			}
		}
	}
	if err := json.Unmarshal(data, &api); err != nil {
		return err
	}
	if !slices.Contains(api.API.Versions, "v1.3") {
		return fmt.Errorf("api.versions %q lacks v1.3", api.API.Versions)
	}
	for _, e := range api.API.Endpoints {
		if e.Host == "" || e.Port < 1 || e.Port > 65535 || e.Protocol != "http" && e.Protocol != "https" {
			return fmt.Errorf("endpoint %+v", e)
		}
	}
	return nil
}

// before compares versions, seconds and nanoseconds.
func (r resource) before(o resource) bool {
	var a, b [2]int64
	_, _ = fmt.Sscanf(r.Version, "%d:%d", &a[0], &a[1]) // they were matched
	_, _ = fmt.Sscanf(o.Version, "%d:%d", &b[0], &b[1])
	return slices.Compare(a[:], b[:]) < 0
}

func ok(v any) answer {
	b, err := json.Marshal(v)
	if err != nil {
		return refusal(http.StatusInternalServerError, err)
	}
	return answer{status: http.StatusOK, body: b}
}

// refusal is an error as NMOS APIs write it (IS-04, APIs, Error Codes).
func refusal(status int, err error) answer {
	b, _ := json.Marshal(map[string]any{"code": status, "error": err.Error(), "debug": nil}) // strings and numbers
	return answer{status: status, body: b}
}
