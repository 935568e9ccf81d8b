package sim

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk/lan/lantest"
	"github.com/lanfolk/lanfolk/test/judge"
)

// town is a link with its hosts.
type town struct {
	t       *testing.T
	random  *rand.Rand
	wire    *lantest.Wire
	hosts   []*host
	capture *lantest.Capture
	began   time.Time
	next    int // for addresses and texts that nobody has had
	did     map[string]int
	wrong   []string // names of services that were not seen right
}

// types are those of the services, without "_tcp".
var types = []string{"_http", "_ipp", "_smb", "_hap"}

const hosts = 50

// TestLinkOfManyHosts is minutes of such a life, and under LANFOLK_SOAK an hour.
func TestLinkOfManyHosts(t *testing.T) {
	span := 4 * time.Minute
	if os.Getenv("LANFOLK_SOAK") != "" {
		span = time.Hour
	}
	if d, err := time.ParseDuration(os.Getenv("LANFOLK_SIM_SPAN")); err == nil {
		span = d
	}
	seed := rand.Uint64()
	if s, err := strconv.ParseUint(os.Getenv("LANFOLK_SIM_SEED"), 10, 64); err == nil {
		seed = s
	}
	t.Logf("LANFOLK_SIM_SEED=%d", seed)
	start := time.Now()
	synctest.Test(t, func(t *testing.T) { simulate(t, seed, span) })
	t.Logf("%v took %v", span, time.Since(start).Round(time.Millisecond))
}

func simulate(t *testing.T, seed uint64, span time.Duration) {
	network := lantest.New(seed)
	w := &town{t: t, random: rand.New(rand.NewPCG(seed, 1)), wire: network.Wire("link"), did: map[string]int{}, began: time.Now()}
	w.capture = w.wire.Capture()
	for i := range hosts {
		h := &host{name: fmt.Sprintf("h%02d", i)}
		h.own = network.Host(h.name)
		h.nic = h.own.Attach(w.wire, "eth0", w.addresses()...)
		w.hosts = append(w.hosts, h)
		w.boot(h)
		time.Sleep(w.upTo(200 * time.Millisecond))
	}
	for time.Since(w.began) < span {
		time.Sleep(w.upTo(4 * time.Second))
		w.event()
	}
	// Peace: everybody who is down comes back, and nothing is lost any more.
	w.wire.SetConditions(lantest.Conditions{})
	for _, h := range w.hosts {
		if h.life == nil {
			w.boot(h)
		}
	}
	// What a dead host said of where its services are lives for two minutes, its
	// list of services for 75; so does a text whose successor's announcements
	// were lost.
	time.Sleep(3 * time.Minute)
	synctest.Wait()
	for _, wrong := range w.compare(false) {
		t.Error(wrong)
	}
	if os.Getenv("LANFOLK_SOAK") != "" {
		time.Sleep(75 * time.Minute)
		synctest.Wait()
		for _, wrong := range w.compare(true) {
			t.Errorf("an hour later: %s", wrong)
		}
	}
	browsers := 0
	for _, h := range w.hosts {
		browsers += len(h.life.browsers)
	}
	w.judge()
	for _, h := range w.hosts {
		h.end()
	}
	t.Logf("%d hosts, %d browsers at the end, events %v", hosts, browsers, w.did)
}

func (w *town) upTo(d time.Duration) time.Duration { return time.Duration(w.random.Int64N(int64(d))) }

func (w *town) addresses() []string {
	w.next++
	return []string{fmt.Sprintf("10.0.%d.%d/16", w.next>>8, w.next&0xff), fmt.Sprintf("fe80::%x/64", w.next)}
}

// label returns an instance name. There are few, so that there are quarrels.
func (w *town) label() string { return fmt.Sprintf("Service %d", w.random.IntN(60)) }

func (w *town) text() string {
	w.next++
	return "n=" + strconv.Itoa(w.next)
}

func (w *town) typ() string { return types[w.random.IntN(len(types))] }

// boot starts a host with a name that another may have, services and browsers.
func (w *town) boot(h *host) {
	h.nic.SetCarrier(true)
	h.start(fmt.Sprintf("host%d", w.random.IntN(40)))
	for range w.random.IntN(3) {
		h.publish(w.label(), w.typ(), uint16(1+w.random.IntN(60000)), w.text())
	}
	for range w.random.IntN(2) {
		if typ := w.typ(); h.life.browsers[typ] == nil {
			h.life.browse(typ)
		}
	}
}

// event lets one thing happen to one host, or to the wire.
func (w *town) event() {
	h := w.hosts[w.random.IntN(len(w.hosts))]
	what := w.random.IntN(100)
	did := ""
	if h.life == nil {
		w.boot(h)
		w.did["start"]++
		return
	}
	offers := h.life.offers()
	switch {
	case what < 8:
		did = "stop"
		h.end()
	case what < 16:
		did = "crash"
		h.crash()
	case what < 24:
		did = "flap"
		h.ends = append(h.ends, time.Now())
		h.nic.SetCarrier(false)
		time.Sleep(w.upTo(8 * time.Second))
		h.starts = append(h.starts, time.Now())
		h.nic.SetCarrier(true)
	case what < 32:
		did = "address"
		h.changes = append(h.changes, time.Now())
		h.nic.SetAddresses(w.addresses()...)
	case what < 47 && len(offers) > 0:
		did = "text"
		offers[w.random.IntN(len(offers))].update(w.text())
	case what < 55 && len(offers) > 0:
		did = "rename"
		s := offers[w.random.IntN(len(offers))]
		h.life.withdraw(s)
		h.publish(w.label(), s.typ, s.port, s.txt)
	case what < 62 && len(offers) > 0:
		did = "withdraw"
		h.life.withdraw(offers[w.random.IntN(len(offers))])
	case what < 75 && len(offers) < 3:
		did = "publish"
		h.publish(w.label(), w.typ(), uint16(1+w.random.IntN(60000)), w.text())
	case what < 90:
		typ := w.typ()
		if h.life.browsers[typ] != nil {
			did = "browse less"
			h.life.unbrowse(typ)
		} else if len(h.life.browsers) < 2 {
			did = "browse"
			h.life.browse(typ)
		}
	default:
		did = "weather"
		w.wire.SetConditions(lantest.Conditions{
			Loss: w.random.Float64() * 0.1, Duplicate: w.random.Float64() * 0.05, Latency: w.upTo(3 * time.Millisecond), Jitter: w.upTo(5 * time.Millisecond),
		})
	}
	if did != "" {
		w.did[did]++
	}
}

// compare holds every browser against the truth. A service that a dead host
// listed may be left over by name until its list's time has run out too, and
// texts may be old until then.
func (w *town) compare(all bool) []string {
	var wrong []string
	for _, h := range w.hosts {
		for typ, b := range h.life.browsers {
			seen := b.picture(all)
			own := h.truth(typ, all)
			for _, other := range w.hosts {
				for label, want := range other.truth(typ, all) {
					got, ok := seen[label]
					if other == h && (!ok || got == "unresolved") {
						continue // it hears of its own only what others said
					}
					if got != want {
						w.wrong = append(w.wrong, strings.ToLower(strings.ReplaceAll(label, " ", "\\ "))+"."+typ)
						wrong = append(wrong, fmt.Sprintf("%s sees %s.%s of %s as %q, it is %q", h.name, label, typ, other.name, got, want))
					}
					delete(seen, label)
				}
			}
			for _, label := range slices.Sorted(maps.Keys(seen)) {
				if _, mine := own[label]; !mine && (all || seen[label] != "unresolved") {
					wrong = append(wrong, fmt.Sprintf("%s sees %s.%s as %q, which is nowhere", h.name, label, typ, seen[label]))
				}
			}
		}
	}
	return wrong
}

// judge holds every packet of every host against the rules.
func (w *town) judge() {
	var packets []judge.Packet
	for _, s := range w.capture.Packets() {
		packets = append(packets, judge.Packet{Time: s.Time, Host: s.Host, Src: s.Src, Dst: s.Dst, TTL: s.TTL, Data: s.Data})
	}
	trace := judge.Read(packets)
	var all []judge.Fault
	for _, h := range w.hosts {
		s := judge.Subject{
			Is:    func(p *judge.Packet) bool { return p.Host == h.name },
			Early: time.Millisecond, Late: 50 * time.Millisecond, Whole: true, DefaultTTLs: true, Starts: h.starts, Ends: h.ends, Changes: h.changes,
		}
		all = append(all, trace.Judge(s)...)
	}
	const most = 20
	lines := judge.Summary(all)
	for _, line := range lines[:min(len(lines), most)] {
		w.t.Error(line)
	}
	if len(w.wrong) > 0 {
		w.history(trace, w.wrong[0])
	}
	for _, f := range all[:min(len(all), 3)] {
		w.before(trace, f)
	}
	if len(lines) > most {
		w.t.Errorf("and %d more", len(lines)-most)
	}
	w.t.Logf("%d packets", len(packets))
}

// before logs what led to a fault: what its host sent and its name's owner said
// in the seconds before.
func (w *town) before(trace *judge.Trace, f judge.Fault) {
	name := ""
	for _, q := range f.Message.Questions {
		name = q.Name
	}
	for _, m := range trace.Messages {
		ago := f.Message.Time.Sub(m.Time)
		if ago < 0 || ago > 5*time.Second || m.Src.Addr().Is4() != f.Message.Src.Addr().Is4() {
			continue
		}
		if m.Host == f.Message.Host || name != "" && strings.Contains(m.Text(), name) {
			text := m.String()
			w.t.Logf("  before: %s", text[:min(len(text), 400)])
		}
	}
}

// history logs the last messages by IPv4 that name a service.
func (w *town) history(trace *judge.Trace, name string) {
	var about []string
	for _, m := range trace.Messages {
		if text := m.String() + m.Text(); m.Src.Addr().Is4() && strings.Contains(text, name) {
			about = append(about, text[:min(len(text), 300)])
		}
	}
	for _, line := range about[max(0, len(about)-40):] {
		w.t.Logf("  %s: %s", name, line)
	}
}
