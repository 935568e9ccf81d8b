package nmos

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"
	"github.com/miekg/dns"

	"github.com/lanfolk/lanfolk/test/lab"
)

// change is a line of `lanfolk nmos select --watch -o jsonl`.
type change struct {
	Event  string    `json:"event"` // "selected", "none"
	Time   time.Time `json:"time"`
	Reason string    `json:"reason"`
	selection
}

// label names what is selected as an api is named, "" for nothing.
func (ch change) label(apis map[string]*api) string {
	if ch.Selected == nil {
		return ""
	}
	if place := fmt.Sprintf("%s@%s:%d", ch.Selected.Instance, ch.Selected.Host, ch.Selected.Port); apis[place] != nil {
		return place
	}
	return ch.Selected.Instance
}

// How often the selected API is tried in these tests, and for how long.
const (
	tryEvery   = 500 * time.Millisecond
	tryTimeout = 5 * time.Second // what works is given time on a busy machine
)

// watcher is `lanfolk nmos select --watch`.
type watcher struct {
	*lab.Process
	s    *site
	apis map[string]*api
	seen int
}

func (s *site) watch(apis map[string]*api, args ...string) *watcher {
	s.t.Helper()
	c := s.desk.Lanfolk(append([]string{"nmos", "select", "--watch", "-o", "jsonl", "--check-every", tryEvery.String(), "--timeout", tryTimeout.String()}, args...)...)
	c.User, c.Env = lab.Nobody, s.env
	return &watcher{Process: c.Start(), s: s, apis: apis}
}

// changes returns what was said so far.
func (w *watcher) changes() []change {
	w.s.t.Helper()
	var all []change
	for line := range strings.Lines(w.Stdout()) {
		var ch change
		if !strings.HasSuffix(line, "\n") {
			break
		}
		if err := json.Unmarshal([]byte(line), &ch); err != nil {
			w.s.t.Fatalf("%v in %s", err, line)
		}
		all = append(all, ch)
	}
	return all
}

// next waits for the next change.
func (w *watcher) next(d time.Duration) change {
	w.s.t.Helper()
	var all []change
	lab.Eventually(w.s.t, d, fmt.Sprintf("change %d of the selection", w.seen+1), func() error {
		if all = w.changes(); len(all) <= w.seen {
			return fmt.Errorf("%d so far", len(all))
		}
		return nil
	})
	ch := all[w.seen]
	w.seen++
	if ch.Reason == "" || (ch.Event == "selected") != (ch.Selected != nil) {
		w.s.t.Errorf("a change without its reason, or its selection: %+v", ch)
	}
	return ch
}

// selects waits for the next change and fails the test unless it is to one of
// the labels.
func (w *watcher) selects(d time.Duration, labels ...string) string {
	w.s.t.Helper()
	ch := w.next(d)
	got := ch.label(w.apis)
	for _, l := range labels {
		if l == got {
			return got
		}
	}
	w.s.t.Fatalf("selected %q (%s), want one of %q", got, ch.Reason, labels)
	return ""
}

// tried returns the labels of the attempts so far, in order, each once where it
// came several times in a row.
func (s *site) tried(apis map[string]*api) []string {
	var out []string
	for _, a := range s.attempts(apis) {
		if len(out) == 0 || out[len(out)-1] != a.label {
			out = append(out, a.label)
		}
	}
	return out
}

// questions returns when the desk asked a question by IPv4, by unicast DNS or
// by mDNS.
func (s *site) questions(name string, types ...uint16) []time.Time {
	var out []time.Time
	mine := s.desk.Link(s.net).MAC.String()
	for _, f := range s.wire.Frames() {
		payload, _, port, ok := f.UDP()
		if _, v4 := f.NetworkLayer().(*layers.IPv4); !v4 || !ok || port != 53 && port != 5353 || f.LinkLayer().LinkFlow().Src().String() != mine {
			continue
		}
		var m dns.Msg
		if m.Unpack(payload) != nil || m.Response {
			continue
		}
		for _, q := range m.Question {
			for _, typ := range types {
				if q.Qtype == typ && strings.EqualFold(q.Name, name) {
					out = append(out, f.Time)
				}
			}
		}
	}
	return out
}

// eachWay publishes a case by unicast DNS and by mDNS, each on a site of its own.
// args say for what the client looks, and how.
func eachWay(t *testing.T, name string, f func(t *testing.T, s *site, c testCase, args []string)) {
	t.Helper()
	c := loadCase(t, name)
	t.Run("unicast", func(t *testing.T) {
		t.Parallel()
		s := newSite(t)
		s.bind(c)
		f(t, s, c, c.unicastArgs())
	})
	t.Run("mdns", func(t *testing.T) {
		t.Parallel()
		c := c.inLocal()
		s := newSite(t)
		s.publishLocal(c)
		f(t, s, c, append(c.needs(), "--mode", "mdns"))
	})
}
