package hostapd_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk/internal/hostapd"
)

const (
	macA = "02:00:5e:10:00:01"
	macB = "02:00:5e:10:00:02"
	macC = "02:00:5e:10:00:03"
)

// rig is a Watcher that runs, and what it told.
type rig struct {
	*hostapd.Watcher
	t  *testing.T
	mu sync.Mutex
	// here are the stations as those know them that were told.
	here map[string]hostapd.Report
	told int
}

func run(t *testing.T, f *fake) *rig {
	t.Helper()
	r := &rig{t: t, here: map[string]hostapd.Report{}}
	r.Watcher = &hostapd.Watcher{Folders: []string{filepath.Dir(f.path), "/nonexistent"}, Dial: f.dial, Tell: r.tell}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return r
}

func (r *rig) tell(reports ...hostapd.Report) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, x := range reports {
		m := x.Station.MAC
		mac := fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
		r.told++
		if delete(r.here, mac); !x.Gone {
			r.here[mac] = x
		}
	}
}

// count is how many reports there were.
func (r *rig) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.told
}

// report returns what was told last of a station that is connected.
func (r *rig) report(mac string) hostapd.Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.here[mac]
}

// want checks who is connected once nothing moves any more.
func (r *rig) want(when string, macs ...string) {
	r.t.Helper()
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range macs {
		if _, ok := r.here[m]; !ok {
			r.t.Errorf("%s: %s isn't told of", when, m)
		}
	}
	if len(r.here) != len(macs) {
		r.t.Errorf("%s: %d are connected, want %d", when, len(r.here), len(macs))
	}
}

func (r *rig) state() hostapd.State {
	r.t.Helper()
	s := r.States()
	if len(s) != 1 {
		r.t.Fatalf("%d interfaces: %+v", len(s), s)
	}
	return s[0]
}

func TestStationsComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, macA)
		f.pending = []string{macC} // not yet through its handshake
		r := run(t, f)
		r.want("at the start", macA)
		f.connect(macB)
		r.want("one comes", macA, macB)
		x := r.report(macB)
		if x.Interface != "wlan0" || x.Radio != (hostapd.Radio{Enabled: true, SSID: "lab", BSSID: "02:00:5e:20:00:00"}) {
			t.Errorf("%+v", x)
		}
		if s := x.Station; s.Signal != -52 || s.Connected != time.Minute || s.Idle != 1500*time.Millisecond || s.RxBytes != 1000 || s.TxBytes != 2000 {
			t.Errorf("%+v", s)
		}
		f.disconnect(macA)
		r.want("one goes", macB)
		if s := r.state(); !s.Attached || s.Err != nil || s.Stations != 1 || s.Events != 2 || s.Attaches != 1 {
			t.Errorf("%+v", s)
		}
		f.do(func() {
			f.say("AP-STA-DISCONNECTED %s", macC)
			f.say("AP-STA-CONNECTED nobody")
			f.say("AP-STA-POSSIBLE-PSK-MISMATCH %s", macC)
		})
		r.want("events about nobody", macB)
	})
}

// An event that was lost is made good by the next list; all are told again with it.
func TestStationsAreListedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, macA)
		r := run(t, f)
		r.want("at the start", macA)
		f.do(func() { f.stations = []string{macB} })
		told := r.count()
		time.Sleep(hostapd.Refresh + 3*time.Second)
		r.want("a while later", macB)
		if n := r.count() - told; n != 2 {
			t.Errorf("%d reports, want 2", n)
		}
	})
}

func TestAStationThatLeavesWhileTheListIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, macA, macB, macC)
		f.leave = macB
		r := run(t, f)
		r.want("at the start", macA, macC)
	})
}

func TestHostapdStartsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, macA)
		r := run(t, f)
		r.want("at the start", macA)
		f.kill()
		time.Sleep(3 * time.Second)
		r.want("it was killed")
		if s := r.state(); s.Attached || s.Err == nil || s.Stations != 0 {
			t.Errorf("%+v", s)
		}
		f.do(func() { f.dead, f.stations = false, []string{macB} })
		time.Sleep(3 * time.Second)
		r.want("it is there again", macB)
		f.connect(macC)
		r.want("it tells events again", macB, macC)
		if s := r.state(); !s.Attached || s.Attaches != 2 {
			t.Errorf("%+v", s)
		}
	})
}

func TestHostapdEndsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, macA)
		r := run(t, f)
		r.want("at the start", macA)
		f.do(func() { f.say("CTRL-EVENT-TERMINATING ") })
		r.want("it said so")
		if err := os.Remove(f.path); err != nil {
			t.Fatal(err)
		}
		f.do(func() { f.dead = true })
		time.Sleep(10 * time.Second)
		if s := r.States(); len(s) != 0 {
			t.Errorf("the socket is gone, and still %+v", s)
		}
		f.do(func() { f.dead, f.conns = false, nil })
		f.socket(t)
		time.Sleep(3 * time.Second)
		r.want("it is there again", macA)
	})
}

// A hostapd that doesn't answer, stopped or busy, keeps its stations: they run out by themselves.
func TestHostapdIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, macA)
		r := run(t, f)
		r.want("at the start", macA)
		f.do(func() { f.mute = true })
		time.Sleep(time.Minute)
		r.want("it is silent", macA)
		if s := r.state(); s.Attached || s.Err == nil || !strings.HasPrefix(s.Err.Error(), "hostapd: no answer within 2s") {
			t.Errorf("%+v", s)
		}
		f.do(func() { f.mute, f.stations = false, []string{macB} })
		time.Sleep(5 * time.Second)
		r.want("it speaks again", macB)
	})
}

// More events than can wait are made good by a list.
func TestAStormOfEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		r := run(t, f)
		r.want("at the start")
		f.do(func() {
			for range 1000 {
				f.say("AP-STA-CONNECTED %s", macA)
				f.say("AP-STA-DISCONNECTED %s", macA)
			}
			f.stations = []string{macB}
		})
		r.want("after it", macB)
	})
}

func TestASocketThatIsNotAllowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, macA)
		r := &rig{t: t, here: map[string]hostapd.Report{}}
		w := &hostapd.Watcher{Folders: []string{filepath.Dir(f.path)}, Dial: func(string) (hostapd.Conn, error) { return nil, errNoDial }, Tell: r.tell}
		r.Watcher = w
		ctx, cancel := context.WithCancel(t.Context())
		go w.Run(ctx)
		r.want("never")
		if s := r.state(); s.Attached || s.Err != errNoDial {
			t.Errorf("%+v", s)
		}
		cancel()
	})
}

// Nothing but questions is sent, and in the end that nobody listens any more.
func TestWhatIsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, macA)
		r := &rig{t: t, here: map[string]hostapd.Report{}}
		w := &hostapd.Watcher{Folders: []string{filepath.Dir(f.path)}, Dial: f.dial, Tell: r.tell}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if err := w.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(f.asked, " | "); got != "ATTACH | STATUS | STA-FIRST | STA-NEXT "+macA+" | PING | DETACH" {
			t.Error(got)
		}
	})
}
