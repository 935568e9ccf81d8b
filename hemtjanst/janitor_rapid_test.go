package hemtjanst_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/lanfolk/lanfolk/hemtjanst"
)

// house is a broker with bridges and janitors that come, go, and die.
type house struct {
	t        *rapid.T
	b        *fakeBroker
	bridges  map[string]*tenant
	janitors map[string]context.CancelFunc
	all      sync.WaitGroup
	number   int
}

// tenant is a bridge that runs.
type tenant struct {
	*hemtjanst.Bridge
	leave context.CancelFunc
	has   map[string]bool // its devices, and whether they can be reached
}

func (h *house) run(f func(context.Context) error) context.CancelFunc {
	ctx, leave := context.WithCancel(context.Background())
	h.all.Go(func() {
		if err := f(ctx); err != nil {
			h.t.Error(err)
		}
	})
	return leave
}

// kill ends a client for good, without a farewell.
func (h *house) kill(client string, leave context.CancelFunc) {
	h.b.mu.Lock()
	for c := range h.b.conns {
		if c.s.ClientID == client {
			h.b.dead[c] = true
		}
	}
	h.b.mu.Unlock()
	leave()
	synctest.Wait()
}

func (h *house) step() {
	t := h.t
	pick := func(names ...string) string { return rapid.SampledFrom(names).Draw(t, "which") }
	switch rapid.SampledFrom([]string{"join", "join", "kill bridge", "leave", "cut", "move", "toggle", "janitor", "kill janitor", "cut janitor", "stale will", "lie", "wait", "wait"}).Draw(t, "step") {
	case "join":
		h.number++
		id := fmt.Sprint("P", h.number)
		x := &tenant{&hemtjanst.Bridge{Broker: h.b, Provider: id, ClientID: "bridge" + id}, nil, map[string]bool{}}
		h.bridges[id] = x
		for range 2 {
			h.give(id, pick("a", "b", "c", "d", "e"), true)
		}
		x.leave = h.run(x.Run)
	case "kill bridge", "leave", "cut", "stale will", "toggle", "move":
		if len(h.bridges) == 0 {
			return
		}
		var ids []string
		for i := range h.number + 1 {
			if h.bridges[fmt.Sprint("P", i)] != nil {
				ids = append(ids, fmt.Sprint("P", i))
			}
		}
		id := pick(ids...)
		x := h.bridges[id]
		switch rapid.SampledFrom([]string{"kill", "leave", "cut", "stale will", "toggle", "move"}).Draw(t, "what") {
		case "kill":
			h.kill("bridge"+id, x.leave)
			delete(h.bridges, id)
		case "leave":
			x.leave()
			delete(h.bridges, id)
		case "cut":
			h.b.cutOff("bridge" + id)
		case "stale will":
			h.b.say("provider/"+id, "")
		case "toggle", "move":
			h.give(id, pick("a", "b", "c", "d", "e"), rapid.Bool().Draw(t, "reachable"))
		}
	case "janitor":
		if len(h.janitors) < 3 {
			h.number++
			id := fmt.Sprint("janitor", h.number)
			h.janitors[id] = h.run((&hemtjanst.Janitor{Broker: h.b, ClientID: id}).Run)
		}
	case "kill janitor":
		for id, leave := range h.janitors {
			h.kill(id, leave)
			delete(h.janitors, id)
			break
		}
	case "cut janitor":
		h.b.cutOff(pick("janitor", "lf"))
	case "lie":
		h.b.say("current/r/"+pick("a", "b", "c", "d", "e")+"/reachable", pick("0", "1"))
	case "wait":
		time.Sleep(time.Duration(rapid.IntRange(0, 8000).Draw(t, "ms")) * time.Millisecond)
	}
	if rapid.Bool().Draw(t, "settle") {
		synctest.Wait()
	}
}

// give has a bridge announce a device, and no other one that runs.
func (h *house) give(id, device string, reachable bool) {
	for other, x := range h.bridges {
		if _, has := x.has[device]; has && other != id {
			// It is the bridge of a device that has moved: it knows by the metadata.
			delete(x.has, device)
		}
	}
	x := h.bridges[id]
	x.has[device] = reachable
	if err := x.Put(hemtjanst.BridgeDevice{ID: device, Root: "r/" + device, Reachable: reachable}); err != nil {
		h.t.Fatal(err)
	}
}

// Whatever happened: in the end all devices of providers that are gone are said to be unreachable, those of the living
// are as their bridges say, and no janitor has ever marked a device whose provider was there.
func TestJanitorsLeadToWhatIsSo(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		synctest.Test(t, func(*testing.T) {
			h := &house{t: rt, b: newFake(), bridges: map[string]*tenant{}, janitors: map[string]context.CancelFunc{}}
			h.b.dead = map[*fakeConn]bool{}
			h.b.judge = func(c *fakeConn, m hemtjanst.Message) {
				if c == nil || !strings.HasPrefix(c.s.ClientID, "lf") || !strings.HasSuffix(m.Topic, "/reachable") {
					return // nobody but janitors has a client id that was made up here
				}
				if string(m.Payload) != "0" {
					rt.Errorf("a janitor says %s %s", m.Topic, m.Payload)
				}
				if p := h.providerAt(m.Topic); h.b.retained["provider/"+p] != "" {
					rt.Errorf("%s is marked, and its provider %s is there", m.Topic, p)
				}
			}
			for range rapid.IntRange(1, 40).Draw(rt, "steps") {
				h.step()
			}
			h.janitors["last"] = h.run((&hemtjanst.Janitor{Broker: h.b, ClientID: "last"}).Run)
			time.Sleep(5 * time.Minute)
			synctest.Wait()
			for topic, said := range h.b.state() {
				root, ok := strings.CutSuffix(topic, "/reachable")
				if !ok {
					continue
				}
				provider := h.providerAt(topic)
				x := h.bridges[provider]
				if provider == "" {
					continue // nothing but a lie about a device that never was
				}
				want := "0"
				if x != nil && x.has[strings.TrimPrefix(root, "current/r/")] {
					want = "1"
				}
				if x != nil && want == "0" {
					continue // a lie that says 1 is nobody's to put right
				}
				if said != want {
					rt.Errorf("%s of %s is %q, want %q", topic, provider, said, want)
				}
			}
			for _, x := range h.bridges {
				x.leave()
			}
			for _, leave := range h.janitors {
				leave()
			}
			h.all.Wait()
		})
	})
}

// providerAt returns which provider the device has that a reachable topic is of. The broker is locked, or at rest.
func (h *house) providerAt(topic string) string {
	var d struct{ ProviderID string }
	id := strings.TrimSuffix(strings.TrimPrefix(topic, "current/r/"), "/reachable")
	if json.Unmarshal([]byte(h.b.retained["device/"+id]), &d) != nil {
		return ""
	}
	return d.ProviderID
}
