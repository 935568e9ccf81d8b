package bridge_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/hemtjanst"
	"github.com/lanfolk/lanfolk/internal/bridge"
)

// mqttTarget writes down what is announced.
type mqttTarget struct {
	mu   sync.Mutex
	said []string
}

func (x *mqttTarget) note(text string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.said = append(x.said, text)
}

func (x *mqttTarget) Put(d hemtjanst.BridgeDevice) error {
	x.note(fmt.Sprintf("%s %v %s", strings.TrimPrefix(d.ID, "lanfolk/n/"), d.Reachable, d.Metadata.JSON()))
	return nil
}

func (x *mqttTarget) Remove(id string) {
	x.note(strings.TrimPrefix(id, "lanfolk/n/") + " removed")
}

// take returns what was said since the last call.
func (x *mqttTarget) take() []string {
	synctest.Wait()
	x.mu.Lock()
	defer x.mu.Unlock()
	said := x.said
	x.said = nil
	slices.Sort(said)
	return said
}

func newMQTT(target bridge.MQTTTarget) *bridge.MQTT {
	return &bridge.MQTT{Types: []string{"_IPP._tcp"}, Not: []string{"mqtt"}, Prefix: "lanfolk/n", Forget: time.Hour, Target: target}
}

func runMQTT(m *bridge.MQTT) (tell func(...lanfolk.Event)) {
	changes := make(chan lanfolk.Event)
	go m.Run(changes)
	return func(all ...lanfolk.Event) {
		for _, ev := range all {
			changes <- ev
		}
		if all == nil {
			close(changes)
		}
		time.Sleep(time.Second)
	}
}

func printer(id, link string, state lanfolk.State, addresses ...string) lanfolk.Event {
	s := &lanfolk.Service{
		ID: id, Name: "Laser / 3. Stock", Type: "_ipp._tcp", Protocol: "mdns", Host: "Laser.local", Port: 631, State: state, Interface: link,
		Attributes: map[string]string{"usb_MFG": "Acme", "rp": "ipp/print"},
	}
	for _, a := range addresses {
		s.Addresses = append(s.Addresses, netip.MustParseAddr(a))
	}
	return lanfolk.Event{Op: lanfolk.OpAdd, Service: s}
}

func removed(ev lanfolk.Event) lanfolk.Event { ev.Op = lanfolk.OpRemove; return ev }

func wantSaid(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("said\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

const (
	laser     = "laser-3-stock-1cfde67154e82918"
	laserMeta = `{"name":"Laser / 3. Stock","type":"_ipp._tcp","manufacturer":"Acme","host":"Laser.local","addresses":[%s],"port":631,"txt":{"rp":"ipp/print","usb_MFG":"Acme"},"features":{},"protocol":"mdns"}`
)

var synced = lanfolk.Event{Op: lanfolk.OpSynced}

// A printer on two links is one device; only changes are said; it stays, out of reach, for a while
// once it has left.
func TestMQTTAnnounces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		target := &mqttTarget{}
		m := newMQTT(target)
		tell := runMQTT(m)
		defer tell()
		one, two := printer("1", "eth0", lanfolk.Reachable, "192.0.2.7", "fe80::7"), printer("2", "eth1", lanfolk.Reachable, "198.51.100.7")
		tell(one)
		wantSaid(t, target.take())
		other := printer("3", "eth0", lanfolk.Reachable)
		other.Service.Protocol, other.Service.Name = "mqtt", "Other"
		web := printer("4", "eth0", lanfolk.Reachable)
		web.Service.Type = "_http._tcp"
		tell(other, web, synced)
		said := target.take()
		wantSaid(t, said, laser+" true "+fmt.Sprintf(laserMeta, `"192.0.2.7"`))
		tell(two)
		wantSaid(t, target.take(), laser+" true "+fmt.Sprintf(laserMeta, `"192.0.2.7","198.51.100.7"`))
		tell(two, one, lanfolk.Event{Op: lanfolk.OpUpdate, Service: one.Service})
		wantSaid(t, target.take())
		tell(removed(two))
		wantSaid(t, target.take(), laser+" true "+fmt.Sprintf(laserMeta, `"192.0.2.7"`))
		tell(printer("1", "eth0", lanfolk.Unreachable, "192.0.2.7"))
		wantSaid(t, target.take(), laser+" false "+fmt.Sprintf(laserMeta, `"192.0.2.7"`))
		tell(removed(one))
		wantSaid(t, target.take())
		if s := m.Stats(); s != (bridge.MQTTStats{Devices: 1}) {
			t.Errorf("%+v", s)
		}
		late := printer("5", "eth0", lanfolk.Reachable)
		late.Service.Name = "Late"
		tell(late) // one that waits to be forgotten holds nothing up
		if said := target.take(); len(said) != 1 || !strings.HasPrefix(said[0], "late-") {
			t.Errorf("%q", said)
		}
		time.Sleep(time.Hour)
		wantSaid(t, target.take(), laser+" removed")
		tell(one)
		wantSaid(t, target.take(), laser+" true "+fmt.Sprintf(laserMeta, `"192.0.2.7"`))
	})
}

// What an earlier run has left is out of reach until its service comes, and cleared if it doesn't.
func TestMQTTAdopts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		target := &mqttTarget{}
		m := newMQTT(target)
		tell := runMQTT(m)
		defer tell()
		for _, id := range []string{"lanfolk/n/" + laser, "lanfolk/n/ghost", "lanfolk/other/laser", "lanfolk/n"} {
			m.Adopt(hemtjanst.Device{ID: id})
		}
		tell(printer("1", "eth0", lanfolk.Reachable), synced)
		wantSaid(t, target.take(), "ghost false {}", laser+" true "+fmt.Sprintf(laserMeta, ""))
		m.Adopt(hemtjanst.Device{ID: "lanfolk/n/second"})
		time.Sleep(time.Second)
		wantSaid(t, target.take(), "second false {}")
		m.Adopt(hemtjanst.Device{ID: "lanfolk/n/second"})
		time.Sleep(time.Hour - 2*time.Second)
		wantSaid(t, target.take())
		time.Sleep(time.Second)
		wantSaid(t, target.take(), "ghost removed")
		time.Sleep(2 * time.Second)
		wantSaid(t, target.take(), "second removed")
	})
}

// What an earlier run left on the broker may be told before its service is heard.
func TestMQTTHearsTheServiceOfWhatItAdopted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		target := &mqttTarget{}
		m := newMQTT(target)
		tell := runMQTT(m)
		defer tell()
		m.Adopt(hemtjanst.Device{ID: "lanfolk/n/" + laser})
		tell(synced)
		wantSaid(t, target.take(), laser+" false {}")
		one := printer("1", "eth0", lanfolk.Reachable)
		tell(one)
		wantSaid(t, target.take(), laser+" true "+fmt.Sprintf(laserMeta, ""))
		tell(removed(one))
		wantSaid(t, target.take(), laser+" false "+fmt.Sprintf(laserMeta, ""))
	})
}

// Strangers' printers don't fill the broker.
func TestMQTTIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		target := &mqttTarget{}
		m := newMQTT(target)
		tell := runMQTT(m)
		defer tell()
		var all []lanfolk.Event
		for i := range 10_100 {
			ev := printer(fmt.Sprint(i), "eth0", lanfolk.Reachable)
			ev.Service.Name = fmt.Sprint("\x1b+/#$ ", i)
			all = append(all, ev)
		}
		tell(append(all, synced)...)
		if s := m.Stats(); s.Devices != 10_000 || s.Full != 100 || s.Refused != 0 || len(target.take()) != 10_000 {
			t.Errorf("%+v", s)
		}
	})
}
