package broker_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	v3 "github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/lanfolk/lanfolk/internal/broker"
)

func TestLimits(t *testing.T) {
	t.Parallel()
	t.Run("connections that say nothing", func(t *testing.T) {
		c := newRig(t, broker.Options{Limits: broker.Limits{ConnectTimeout: 200 * time.Millisecond}}).dial()
		_ = c.SetReadDeadline(time.Now().Add(patience))
		if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil || strings.Contains(err.Error(), "timeout") {
			t.Errorf("it is left open: %d, %v", n, err)
		}
	})
	r := newRig(t, broker.Options{Limits: broker.Limits{
		Clients: 3, Retained: 2, Message: 1000, Subscriptions: 2, AllSubscriptions: 3, ConnectTimeout: time.Hour,
	}})
	t.Run("first packets", func(t *testing.T) {
		for _, b := range []string{"\x30\x03\x00\x01a", "\x10\xff\xff\xff\x7f", "\x10\x80\x80\x80\x80\x01", "GET / HTTP/1.1\r\n\r\n"} {
			c := r.dial()
			if _, err := c.Write([]byte(b)); err != nil {
				t.Fatal(err)
			}
			_ = c.SetReadDeadline(time.Now().Add(patience))
			if _, err := c.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
				t.Errorf("%q: %v", b, err)
			}
		}
	})
	p := r.connect3("c")
	t.Run("retained", func(t *testing.T) {
		for i := range 4 {
			p.publish(fmt.Sprint(i), "x", 1, true)
		}
		p.publish("0", "new", 1, true)
		if got := r.retained("#"); len(got) != 2 || got["0"] != "new" {
			t.Errorf("retained %v", got)
		}
		if n := r.b.Stats().NotRetained; n != 2 {
			t.Errorf("NotRetained %d", n)
		}
	})
	t.Run("subscriptions", func(t *testing.T) {
		var codes []byte
		for i, f := range []string{"a", "b", "a", "c", strings.Repeat("x/", 40)} {
			code, _ := p.subscribe(uint16(i+1), 0, f)
			codes = append(codes, code)
		}
		if !slices.Equal(codes, []byte{0, 0, 0, 0x80, 0x80}) {
			t.Errorf("codes %v", codes)
		}
		d := r.connect3("d")
		one, _ := d.subscribe(1, 0, "a")
		two, _ := d.subscribe(2, 0, "b")
		if one != 0 || two != 0x80 {
			t.Errorf("another client's codes %d, %d", one, two)
		}
		d.disconnect()
		eventually(t, "farewell", func() bool { return r.b.Stats().Connected == 1 })
	})
	t.Run("clients", func(t *testing.T) {
		for _, id := range []string{"d", "e"} { // once those of before have left
			eventually(t, id, func() bool {
				_, code := r.try3(id)
				return code == 0
			})
		}
		if _, code := r.try3("f"); code != 3 { // server unavailable
			t.Errorf("code %d", code)
		}
	})
	t.Run("large messages", func(t *testing.T) {
		m := v3.NewControlPacket(v3.Publish).(*v3.PublishPacket)
		m.TopicName, m.Payload = "big", make([]byte, 2000)
		p.send(m)
		if _, err := p.next(patience); err == nil {
			t.Error("it is let pass")
		}
	})
}

// A client that takes nothing doesn't hold others up, and what there is no room
// for is counted.
func TestSlowClientLosesMessages(t *testing.T) {
	t.Parallel()
	r := newRig(t, broker.Options{Limits: broker.Limits{WriteBuffer: 16 << 10}})
	r.flood(func() bool { return r.b.Stats().Dropped > 0 })
}

// One that is quick loses nothing, however fast others publish.
func TestQuickClientLosesNothing(t *testing.T) {
	t.Parallel()
	const n = 30_000
	r := newRig(t, broker.Options{})
	quick, busy := r.connect3("quick"), r.connect3("busy")
	quick.subscribe(1, 0, "#")
	var wait sync.WaitGroup
	wait.Go(func() {
		m := v3.NewControlPacket(v3.Publish).(*v3.PublishPacket)
		for i := range n {
			m.TopicName, m.Payload = "n/"+strconv.Itoa(i), []byte("x")
			if err := m.Write(busy); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for i := range n {
		if got, want := quick.message(), "n/"+strconv.Itoa(i)+" x"; got != want {
			t.Fatalf("heard %q, want %q; %d were dropped", got, want, r.b.Stats().Dropped)
		}
	}
	wait.Wait()
}

// A client that takes nothing doesn't stay.
func TestStalledClientIsCutOff(t *testing.T) {
	t.Parallel()
	r := newRig(t, broker.Options{Limits: broker.Limits{Stall: 300 * time.Millisecond, WriteBuffer: 16 << 10}})
	r.flood(func() bool { return r.b.Stats().Stalled == 1 })
	eventually(t, "will", func() bool { return r.b.Stats().Wills == 1 })
}

// flood publishes until something is so, beside a subscriber that reads
// nothing.
func (r *rig) flood(until func() bool) {
	t := r.t
	t.Helper()
	lazy := r.connect3("lazy", will3("lazy", "dead"))
	if err := lazy.Conn.(buffered).SetReadBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}
	lazy.subscribe(1, 0, "#")
	busy := r.connect3("busy")
	m := v3.NewControlPacket(v3.Publish).(*v3.PublishPacket)
	m.TopicName, m.Payload = "news", make([]byte, 10_000)
	eventually(t, "flood", func() bool {
		for range 100 {
			busy.send(m)
		}
		busy.publish("news", "last", 1, false) // which fails the test if it isn't answered in time
		return until()
	})
}
