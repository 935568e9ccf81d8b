//go:build linux

package bench

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/hemtjanst"
	"github.com/lanfolk/lanfolk/hemtjanst/mqtt"
	"github.com/lanfolk/lanfolk/test/lab"
)

// bridged is how many devices the benchmarks' bridge has.
const bridged = 100_000

// BenchmarkHemtjanst measures the janitor and the watcher beside a bare client that does no more than to receive or to
// send as many messages, in turn, on the same broker:
//
//   - start: until all that is retained is known;
//   - death: from a bridge's will to the last of its devices' marks, and to the first;
//
// each as a ratio to the bare client's time.
func BenchmarkHemtjanst(b *testing.B) {
	lab.Require(b, "root", "ip", "mosquitto")
	brokers := map[string]struct {
		lab.MQTT
		flying int // messages on their way at a time, as many as the broker takes
	}{
		"mosquitto": {lab.MQTT{}, 20},
		"lanfolk":   {lab.MQTT{Lanfolk: true}, 1024},
	}
	for _, name := range slices.Sorted(maps.Keys(brokers)) {
		b.Run(name, func(b *testing.B) {
			x := brokers[name]
			h := lab.New(b).Host("broker")
			m := h.MQTT(x.MQTT)
			s := &bridgedBench{b: b, flying: x.flying, dial: func() (net.Conn, error) {
				return h.DialContext(context.Background(), "tcp", "127.0.0.1:1883")
			}, broker: &mqtt.Broker{URL: m.URL("mqtt"), Dial: h.DialContext}}
			s.announce()
			for b.Loop() {
				s.start()
				s.death()
			}
			for _, what := range []string{"start", "watch", "death"} {
				slices.Sort(s.ratios[what])
				b.ReportMetric(s.ratios[what][len(s.ratios[what])/2], what+"/floor")
			}
			slices.Sort(s.first)
			b.ReportMetric(float64(s.first[len(s.first)/2].Microseconds())/1000, "first-ms")
			b.ReportMetric(0, "ns/op")
		})
	}
}

type bridgedBench struct {
	b      *testing.B
	flying int
	dial   func() (net.Conn, error)
	broker *mqtt.Broker
	ratios map[string][]float64
	first  []time.Duration
}

func reachableTopic(i int) string { return fmt.Sprintf("current/u1/bulk/%d/reachable", i) }

// announce publishes what a bridge does.
func (s *bridgedBench) announce() {
	c := s.connect("announcer", "")
	defer c.close()
	s.publish(c, bridged, func(i int) (string, string) {
		return fmt.Sprintf("device/bulk-%d", i),
			fmt.Sprintf(`{"name":"Kitchen","type":"light","features":{"on":{},"brightness":{"min":10}},"root":"u1/bulk/%d","providerID":"P1"}`, i)
	})
}

// revive says that the bridge is there and all its devices can be reached, and returns its connection and how long a
// bare client takes for the latter.
func (s *bridgedBench) revive() (bridge *bareMQTT, took time.Duration) {
	bridge = s.connect("bridge", "provider/P1")
	s.publish(bridge, 1, func(int) (string, string) { return "provider/P1", "{}" })
	c := s.connect("floor", "")
	defer c.close()
	began := time.Now()
	s.publish(c, bridged, func(i int) (string, string) { return reachableTopic(i), "1" })
	return bridge, time.Since(began)
}

// start measures a janitor and a watcher from nothing until they know everything.
func (s *bridgedBench) start() {
	bridge, _ := s.revive()
	floor := s.receive()
	began := time.Now()
	ready := make(chan time.Time, 1)
	leave := s.run((&hemtjanst.Janitor{Broker: s.broker, Ready: func() { ready <- time.Now() }}).Run)
	s.note("start", (<-ready).Sub(began), floor)
	leave()
	began = time.Now()
	leave = s.run((&hemtjanst.Watcher{Broker: s.broker, Event: func(e hemtjanst.Event) {
		if e.Kind == hemtjanst.Complete {
			ready <- time.Now()
		}
	}}).Run)
	s.note("watch", (<-ready).Sub(began), floor)
	leave()
	bridge.leave("provider/P1")
}

// death measures from a bridge's will to the marks, without a grace time.
func (s *bridgedBench) death() {
	bridge, floor := s.revive()
	var first, last time.Time
	n := 0
	ready, done := make(chan bool), make(chan bool)
	j := &hemtjanst.Janitor{Broker: s.broker, Grace: -1, Ready: func() { close(ready) }, Events: func(events []hemtjanst.JanitorEvent) {
		for _, e := range events {
			if e.Kind != hemtjanst.Marked {
				continue
			}
			if n++; n == 1 {
				first = time.Now()
			}
			if n == bridged {
				last = time.Now()
				close(done)
			}
		}
	}}
	leave := s.run(j.Run)
	defer leave()
	<-ready
	observer := s.connect("observer", "")
	defer observer.close()
	observer.subscribe("provider/#")
	for kind := byte(0); kind != 0x90; { // SUBACK
		kind, _ = observer.read()
	}
	heard := make(chan time.Time, 1)
	go func() {
		for {
			kind, body := observer.read()
			if kind&0xf0 == 0x30 && len(body) == 2+len("provider/P1") { // an empty payload
				heard <- time.Now()
				return
			}
		}
	}()
	_ = bridge.Conn.(*net.TCPConn).SetLinger(0)
	bridge.Close()
	will := <-heard
	select {
	case <-done:
	case <-time.After(2 * time.Minute):
		s.b.Fatalf("%d of %d devices marked: %+v", n, bridged, j.Status())
	}
	s.first = append(s.first, first.Sub(will))
	s.note("death", last.Sub(will), floor)
}

func (s *bridgedBench) note(what string, took, floor time.Duration) {
	if s.ratios == nil {
		s.ratios = map[string][]float64{}
	}
	s.b.Logf("%s %v, a bare client %v", what, took.Round(time.Millisecond), floor.Round(time.Millisecond))
	s.ratios[what] = append(s.ratios[what], took.Seconds()/floor.Seconds())
}

func (s *bridgedBench) run(role func(context.Context) error) (leave func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var g sync.WaitGroup
	g.Go(func() {
		if err := role(ctx); err != nil {
			s.b.Error(err)
		}
	})
	return func() {
		cancel()
		g.Wait()
	}
}

// receive returns how long a bare client takes to receive everything.
func (s *bridgedBench) receive() time.Duration {
	began := time.Now()
	c := s.connect("receiver", "")
	defer c.close()
	c.subscribe("provider/#", "device/#", "current/#")
	for n := 0; n < 2*bridged+1; {
		if kind, _ := c.read(); kind&0xf0 == 0x30 {
			n++
		}
	}
	return time.Since(began)
}

// publish publishes retained messages at QoS 1, with as many on their way at a time as the broker takes.
func (s *bridgedBench) publish(c *bareMQTT, n int, message func(int) (topic, payload string)) {
	room := make(chan bool, s.flying)
	var g sync.WaitGroup
	g.Go(func() {
		for range n {
			if kind, _ := c.read(); kind != 0x40 {
				c.b.Errorf("packet of type %#x where a PUBACK was due", kind)
				return
			}
			<-room
		}
	})
	var packet []byte
	for i := range n {
		select {
		case room <- true:
		default: // the broker takes no more: what there is goes out
			c.write(packet)
			packet = packet[:0]
			room <- true
		}
		topic, payload := message(i)
		packet = appendPacket(packet, 0x33, appendText(nil, topic), binary.BigEndian.AppendUint16(nil, uint16(i%65535+1)), []byte(payload))
	}
	c.write(packet)
	g.Wait()
}

// bareMQTT is a client of MQTT 3.1.1 that does nothing that it needn't.
type bareMQTT struct {
	net.Conn
	b  *testing.B
	in *bufio.Reader
}

// connect connects; a will is an empty retained message.
func (s *bridgedBench) connect(id, will string) *bareMQTT {
	conn, err := s.dial()
	if err != nil {
		s.b.Fatal(err)
	}
	c := &bareMQTT{conn, s.b, bufio.NewReaderSize(conn, 1<<18)}
	flags, wills := byte(2), []byte(nil) // a clean session
	if will != "" {
		flags |= 4 | 2<<3 | 1<<5
		wills = appendText(appendText(nil, will), "")
	}
	c.write(appendPacket(nil, 0x10, appendText(nil, "MQTT"), []byte{4, flags, 0, 0}, appendText(nil, id), wills))
	if kind, body := c.read(); kind != 0x20 || body[1] != 0 {
		s.b.Fatalf("CONNACK %x %x", kind, body)
	}
	return c
}

func appendText(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

func appendPacket(b []byte, kind byte, parts ...[]byte) []byte {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	b = binary.AppendUvarint(append(b, kind), uint64(n)) // the same as MQTT's lengths
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

func (c *bareMQTT) write(b []byte) {
	if _, err := c.Write(b); err != nil {
		c.b.Error(err)
	}
}

// read returns a packet; kind is 0 when there are no more.
func (c *bareMQTT) read() (kind byte, body []byte) {
	kind, err := c.in.ReadByte()
	if err != nil {
		return 0, nil
	}
	n, err := binary.ReadUvarint(c.in)
	if err != nil {
		return 0, nil
	}
	body = make([]byte, n)
	if _, err := io.ReadFull(c.in, body); err != nil {
		return 0, nil
	}
	return kind, body
}

func (c *bareMQTT) subscribe(filters ...string) {
	body := []byte{0, 1}
	for _, f := range filters {
		body = append(appendText(body, f), 0)
	}
	c.write(appendPacket(nil, 0x82, body))
}

// leave clears a topic and says farewell.
func (c *bareMQTT) leave(topic string) {
	c.write(appendPacket(nil, 0x31, appendText(nil, topic)))
	c.close()
}

func (c *bareMQTT) close() {
	c.write(appendPacket(nil, 0xe0))
	c.Conn.Close()
}
