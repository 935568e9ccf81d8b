package mqtt

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lanfolk/lanfolk/test/lab"
)

// TestHistories lets devices, bridges, janitors and the broker come, go and die in
// an order that a seed gives, and then compares what the broker retains, and what
// two watchers make of it, with what a model of the protocol's text says. One watcher has seen it all, the other
// looks once at the end. LANFOLK_SOAK plays more of them, LANFOLK_SEED just one.
func TestHistories(t *testing.T) {
	t.Parallel()
	var seeds []uint64
	if s := os.Getenv("LANFOLK_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seeds = []uint64{n}
	} else {
		n := uint64(2)
		if os.Getenv("LANFOLK_SOAK") != "" {
			n = 40
		}
		for i := range n {
			seeds = append(seeds, i+1)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(brokers())) {
		for _, seed := range seeds {
			t.Run(fmt.Sprintf("%s/%d", name, seed), func(t *testing.T) {
				t.Parallel()
				h := &history{
					site: newSite(t, brokers()[name]), rand: rand.New(rand.NewPCG(seed, 0)),
					devices: make(map[string]*singleActor), bridges: make(map[string]*bridgeActor),
					state: make(map[string]string), owner: make(map[string]string),
				}
				h.play(30)
			})
		}
	}
}

// willGrace is lanfolk's default of --will-grace, and when its broker has dealt with what waited for that.
const willGrace = 6 * time.Second

// history is a run of random events.
type history struct {
	*site
	rand    *rand.Rand
	devices map[string]*singleActor // that run
	bridges map[string]*bridgeActor
	janitor component // nil is none
	said    []string
	started time.Time // the broker, last

	// The model: what is to be retained when all has settled.
	state map[string]string
	owner map[string]string // whose a device is: its providerID, by id
	runs  int
}

type singleActor struct {
	component
	root string
}

type bridgeActor struct {
	component
	provider, file string
	devices        map[string]device
}

func (h *history) play(steps int) {
	t := h.t
	defer func() {
		if t.Failed() {
			t.Logf("what happened:\n%s", strings.Join(h.said, "\n"))
		}
	}()
	w := h.host.Lanfolk("mqtt", "watch", "-o", "jsonl", "--broker", h.broker.URL("mqtt")).Start()
	w.WaitText(becomesReady, `"synced"`)
	h.janitor = h.startJanitor(step{})
	for range steps {
		h.step()
		if h.rand.IntN(3) == 0 {
			time.Sleep(time.Duration(h.rand.IntN(2*int(grace.Milliseconds()))) * time.Millisecond)
		}
	}
	if h.janitor == nil {
		h.say("a janitor starts at last")
		h.janitor = h.startJanitor(step{})
	}
	// Who isn't back when the time for that is over is declared dead by lanfolk's broker, and then says otherwise.
	time.Sleep(time.Until(h.started.Add(willGrace)))
	h.wantsJSON(h.state)
	time.Sleep(2 * grace) // for whoever speaks again without need
	h.wantsJSON(h.state)
	want := h.view()
	once := h.host.Lanfolk("mqtt", "watch", "--once", "-o", "jsonl", "--broker", h.broker.URL("mqtt")).Run()
	got, err := replay(once.Stdout)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("a watcher that comes at the end: %v (-want +got):\n%s", err, diff)
	}
	// A watcher that lost the broker several times in a row waits longer and longer.
	lab.Eventually(t, 60*time.Second, "the watcher's view", func() error {
		got, err := replay(w.Stdout())
		for _, all := range []map[string]entry{want, got} {
			for key, e := range all { // what a topic says of a device of a dead bridge isn't told
				e.Said = ""
				all[key] = e
			}
		}
		if err == nil && !cmp.Equal(want, got) {
			err = fmt.Errorf("(-want +got):\n%s", cmp.Diff(want, got))
		}
		return err
	})
}

func (h *history) say(format string, args ...any) {
	h.said = append(h.said, fmt.Sprintf("%3d. ", len(h.said)+1)+fmt.Sprintf(format, args...))
}

func pick[T any](r *rand.Rand, m map[string]T) (string, T) {
	keys := slices.Sorted(maps.Keys(m))
	k := keys[r.IntN(len(keys))]
	return k, m[k]
}

// step does one thing at random.
func (h *history) step() {
	switch n := h.rand.IntN(20); {
	case n < 4:
		h.comes(fmt.Sprintf("single-%d", h.rand.IntN(3)))
	case n < 9:
		h.bridgeComes(fmt.Sprintf("bridge-%d", h.rand.IntN(3)))
	case n < 11 && len(h.devices) > 0:
		id, d := pick(h.rand, h.devices)
		h.ends("device "+id, d)
		h.state["current/"+d.root+"/reachable"] = "0"
		delete(h.devices, id)
	case n < 14 && len(h.bridges) > 0:
		name, b := pick(h.rand, h.bridges)
		h.ends(name+" as "+b.provider, b)
		h.bridgeGone(b)
		delete(h.bridges, name)
	case n < 17 && len(h.bridges) > 0:
		name, b := pick(h.rand, h.bridges)
		h.bridgeChanges(name, b)
	case n < 18:
		if h.janitor == nil {
			h.say("a janitor starts")
			h.janitor = h.startJanitor(step{})
		} else {
			h.ends("the janitor", h.janitor)
			h.janitor = nil
		}
	case n < 19:
		h.somebodySays0()
	default:
		h.say("the broker starts again")
		h.broker.Stop(syscall.SIGTERM)
		h.broker.Start()
		h.started = time.Now()
	}
}

func (h *history) ends(who string, c component) {
	if h.rand.IntN(2) == 0 {
		h.say("%s is killed", who)
		c.kill()
	} else {
		h.say("%s leaves", who)
		c.stop()
	}
}

// comes has a device announce itself, unless it does. Its root may be another one than before.
func (h *history) comes(id string) {
	if h.devices[id] != nil {
		return
	}
	root := fmt.Sprintf("%s/%d", id, h.rand.IntN(2))
	h.say("device %s comes with root %s", id, root)
	h.document = []byte(fmt.Sprintf(`{"run":%d}`, h.rand.IntN(3)))
	h.devices[id] = &singleActor{h.startDevice(step{As: id, ID: id, Root: root, ClientID: id}), root}
	h.state["device/"+id] = with(h.document, root, "")
	h.state["current/"+root+"/reachable"] = "1"
}

// bridgeComes starts a bridge, unless it runs, with some of its own devices and some that move between bridges.
func (h *history) bridgeComes(name string) {
	if h.bridges[name] != nil {
		return
	}
	b := &bridgeActor{devices: make(map[string]device), provider: name}
	if h.rand.IntN(2) == 0 { // it may have the same id as the last time
		h.runs++
		b.provider = fmt.Sprintf("%s-%d", name, h.runs)
	}
	for i := range 3 {
		if h.rand.IntN(2) == 0 {
			h.add(b, fmt.Sprintf("%s-lamp-%d", name, i))
		}
	}
	// What is said of a provider can't be told from what was said of an earlier run with the same id: such a
	// bridge must know all devices that it had.
	for _, id := range slices.Sorted(maps.Keys(h.owner)) {
		if h.owner[id] == b.provider {
			h.add(b, id)
		}
	}
	for i := range 2 {
		if h.rand.IntN(3) == 0 {
			h.add(b, fmt.Sprintf("moving-%d", i))
		}
	}
	h.say("%s comes as %s with %v", name, b.provider, b.devices)
	h.document = []byte(`{"type":"light"}`)
	b.component = h.startBridge(step{As: name, Provider: b.provider, ClientID: name}, values(b.devices))
	b.file = filepath.Join(h.lab.Dir(), name+".jsonl")
	h.bridges[name] = b
	h.state["provider/"+b.provider] = "{}"
	for _, d := range b.devices {
		h.claims(b, d)
	}
}

func (h *history) add(b *bridgeActor, id string) {
	b.devices[id] = device{ID: id, Root: "of/" + id, Reachable: h.rand.IntN(3) > 0}
}

func values(m map[string]device) []device {
	var all []device
	for _, id := range slices.Sorted(maps.Keys(m)) {
		all = append(all, m[id])
	}
	return all
}

func (h *history) claims(b *bridgeActor, d device) {
	h.owner[d.ID] = b.provider
	h.state["device/"+d.ID] = with([]byte(`{"type":"light"}`), d.Root, b.provider)
	h.state["current/"+d.Root+"/reachable"] = map[bool]string{true: "1", false: "0"}[d.Reachable]
}

// bridgeGone is what is left of a bridge, whether it died or left: nothing of it can be reached.
func (h *history) bridgeGone(b *bridgeActor) {
	delete(h.state, "provider/"+b.provider)
	for id, of := range h.owner {
		if of == b.provider {
			h.state["current/of/"+id+"/reachable"] = "0"
		}
	}
}

// bridgeChanges changes one device of a bridge that is still its own: its state, or it is taken off.
func (h *history) bridgeChanges(name string, b *bridgeActor) {
	own := maps.Clone(b.devices)
	maps.DeleteFunc(own, func(id string, _ device) bool { return h.owner[id] != b.provider })
	if len(own) == 0 {
		return
	}
	id, d := pick(h.rand, own)
	if h.rand.IntN(3) == 0 {
		h.say("%s loses %s", name, id)
		delete(b.devices, id)
		delete(h.owner, id)
		delete(h.state, "device/"+id)
		delete(h.state, "current/"+d.Root+"/reachable")
	} else {
		d.Reachable = !d.Reachable
		h.say("%s says %v of %s", name, d.Reachable, id)
		b.devices[id] = d
		h.claims(b, d)
	}
	var lines strings.Builder
	for _, d := range values(b.devices) {
		fmt.Fprintf(&lines, `{"id":%q,"root":%q,"meta":{"type":"light"},"reachable":%v}`+"\n", d.ID, d.Root, d.Reachable)
	}
	if err := os.Rename(h.file("new-"+name, lines.String()), b.file); err != nil {
		h.t.Fatal(err)
	}
	h.wantsJSON(h.only("device/"+id, "current/"+d.Root+"/reachable"))
}

// only returns what the model says of topics.
func (h *history) only(topics ...string) map[string]string {
	part := make(map[string]string)
	for _, t := range topics {
		part[t] = h.state[t] // "" where nothing is to be
	}
	return part
}

// somebodySays0 overwrites what a bridge says of a device of its own.
func (h *history) somebodySays0() {
	for _, name := range slices.Sorted(maps.Keys(h.bridges)) {
		b := h.bridges[name]
		for _, d := range values(b.devices) {
			if d.Reachable && h.owner[d.ID] == b.provider {
				h.say("somebody says 0 of %s", d.ID)
				h.publish(step{Topic: "current/" + d.Root + "/reachable", Payload: "0", Retain: true})
				return
			}
		}
	}
}

// with is metadata with root and provider, in a form that can be compared.
func with(doc []byte, root, provider string) string {
	m := make(map[string]any)
	_ = json.Unmarshal(doc, &m) // it is ours
	m["root"] = root
	if provider != "" {
		m["providerID"] = provider
	}
	b, _ := json.Marshal(m) // as it came
	return string(b)
}

// canonical is JSON with its members in order, or the text itself.
func canonical(text string) string {
	var v any
	if json.Unmarshal([]byte(text), &v) != nil {
		return text
	}
	b, _ := json.Marshal(v) // it was JSON before
	return string(b)
}

// wantsJSON waits until what is retained of the protocol's topics is what is wanted; where
// not all of it is given the rest doesn't matter.
func (h *history) wantsJSON(want map[string]string) {
	h.t.Helper()
	all := len(want) == len(h.state)
	lab.Eventually(h.t, 60*time.Second, "what is retained", func() error {
		got, err := retained(h.host.DialContext, "device/#", "provider/#", "current/#")
		if err != nil {
			return err
		}
		for topic, payload := range got {
			if _, ok := want[topic]; !ok && !all {
				delete(got, topic)
			} else {
				got[topic] = canonical(payload)
			}
		}
		wanted := maps.Clone(want)
		maps.DeleteFunc(wanted, func(_, payload string) bool { return payload == "" })
		if diff := cmp.Diff(wanted, got); diff != "" {
			return fmt.Errorf("(-want +got):\n%s", diff)
		}
		return nil
	})
}

// entry is what a watcher knows of a device or a provider.
type entry struct {
	Root, Provider  string
	Reachable, Said string
	Meta            string
}

// view is what the model says a watcher has to know.
func (h *history) view() map[string]entry {
	all := make(map[string]entry)
	for topic, payload := range h.state {
		if id, ok := strings.CutPrefix(topic, "provider/"); ok {
			all["provider "+id] = entry{Reachable: "null", Said: "null", Meta: payload}
		}
		id, ok := strings.CutPrefix(topic, "device/")
		if !ok {
			continue
		}
		var m struct{ Root, ProviderID string }
		_ = json.Unmarshal([]byte(payload), &m) // it is ours
		said := "null"
		if s := h.state["current/"+m.Root+"/reachable"]; s != "" {
			said = strconv.FormatBool(s == "1")
		}
		all["device "+id] = entry{Root: m.Root, Provider: m.ProviderID, Reachable: said, Said: said, Meta: payload}
	}
	return all
}

// replay applies a watcher's lines, each of which has to be news.
func replay(lines string) (map[string]entry, error) {
	all := make(map[string]entry)
	for line := range strings.Lines(lines) {
		var e struct {
			Event, Kind, ID, Root, Provider string
			Reachable, Said, Meta           json.RawMessage
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			return nil, fmt.Errorf("%w: %s", err, line)
		}
		key := e.Kind + " " + e.ID
		now := entry{e.Root, e.Provider, string(e.Reachable), string(e.Said), canonical(string(e.Meta))}
		before, known := all[key]
		switch {
		case e.Event == "synced":
			continue
		case e.Kind != "device" && e.Kind != "provider",
			e.Event == "add" && known, e.Event != "add" && !known, e.Event == "update" && before == now:
			return nil, fmt.Errorf("no news, after %+v: %s", before, line)
		case e.Event == "remove":
			delete(all, key)
		default:
			all[key] = now
		}
	}
	return all, nil
}
