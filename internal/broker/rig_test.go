package broker_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	v5 "github.com/eclipse/paho.golang/packets"
	v3 "github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/lanfolk/lanfolk/internal/broker"
)

const patience = time.Minute // on a busy machine

// rig is a broker that runs on loopback.
type rig struct {
	t    *testing.T
	b    *broker.Broker
	addr string
	log  *lockedBuffer
	end  func() // ends it as a signal does
}

// lockedBuffer is what the broker logs.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func listenLoopback(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// newRig runs a broker until the test or end ends it.
func newRig(t *testing.T, o broker.Options) *rig {
	t.Helper()
	r := &rig{t: t, log: &lockedBuffer{}}
	if len(o.Listeners) == 0 {
		o.Listeners = []broker.Listener{{Listener: listenLoopback(t)}}
	}
	r.addr = o.Listeners[0].Addr().String()
	o.Log = slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	b, err := broker.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	r.b = b
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	r.end = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(patience):
			t.Error("Run doesn't end")
		}
	})
	t.Cleanup(r.end)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(r.log.String())
		}
	})
	return r
}

// peer3 is a client of MQTT 3.1.1, peer5 one of MQTT 5, each with another
// project's codec.
type peer3 struct {
	net.Conn
	t *testing.T
}

type peer5 struct {
	net.Conn
	t *testing.T
}

func (r *rig) dial() net.Conn {
	r.t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	return buffered{c.(*net.TCPConn), bufio.NewReaderSize(c, 64<<10)}
}

// buffered reads ahead: the codecs read byte by byte.
type buffered struct {
	*net.TCPConn
	in *bufio.Reader
}

func (b buffered) Read(p []byte) (int, error) { return b.in.Read(p) }

// connect3 connects a client with a clean session; change may change that.
func (r *rig) connect3(id string, change ...func(*v3.ConnectPacket)) peer3 {
	r.t.Helper()
	p, code := r.try3(id, change...)
	if code != 0 {
		r.t.Fatalf("client %s refused with %d", id, code)
	}
	return p
}

// try3 returns the code of CONNACK, 255 for a connection that ended without.
func (r *rig) try3(id string, change ...func(*v3.ConnectPacket)) (peer3, byte) {
	r.t.Helper()
	c := v3.NewControlPacket(v3.Connect).(*v3.ConnectPacket)
	c.ProtocolName, c.ProtocolVersion, c.CleanSession, c.ClientIdentifier, c.Keepalive = "MQTT", 4, true, id, 60
	for _, f := range change {
		f(c)
	}
	p := peer3{r.dial(), r.t}
	p.send(c)
	ack, err := p.next(patience)
	if err != nil {
		return p, 255
	}
	return p, ack.(*v3.ConnackPacket).ReturnCode
}

func (p peer3) send(c v3.ControlPacket) {
	p.t.Helper()
	if err := c.Write(p); err != nil {
		p.t.Fatal(err)
	}
}

func (p peer3) next(d time.Duration) (v3.ControlPacket, error) {
	if err := p.SetReadDeadline(time.Now().Add(d)); err != nil {
		return nil, err
	}
	return v3.ReadPacket(p)
}

// publish publishes and waits for the acknowledgement of QoS 1.
func (p peer3) publish(topic, payload string, qos byte, retain bool) {
	p.t.Helper()
	m := v3.NewControlPacket(v3.Publish).(*v3.PublishPacket)
	m.TopicName, m.Payload, m.Qos, m.Retain, m.MessageID = topic, []byte(payload), qos, retain, 1
	p.send(m)
	if qos == 1 {
		await[*v3.PubackPacket](p)
	}
}

// await reads until a packet of a type comes.
func await[T v3.ControlPacket](p peer3) T {
	p.t.Helper()
	for {
		x, err := p.next(patience)
		if err != nil {
			p.t.Fatalf("waiting for %T: %v", *new(T), err)
		}
		if y, ok := x.(T); ok {
			return y
		}
	}
}

// subscribe returns the code of SUBACK and what came before it.
func (p peer3) subscribe(id uint16, qos byte, filter string) (code byte, before []*v3.PublishPacket) {
	p.t.Helper()
	s := v3.NewControlPacket(v3.Subscribe).(*v3.SubscribePacket)
	s.MessageID, s.Topics, s.Qoss = id, []string{filter}, []byte{qos}
	p.send(s)
	for {
		x, err := p.next(patience)
		if err != nil {
			p.t.Fatalf("waiting for SUBACK: %v", err)
		}
		switch x := x.(type) {
		case *v3.SubackPacket:
			if x.MessageID != id {
				p.t.Fatalf("SUBACK of %d, want %d", x.MessageID, id)
			}
			return x.ReturnCodes[0], before
		case *v3.PublishPacket:
			before = append(before, x)
		}
	}
}

// message waits for a message and returns "topic payload".
func (p peer3) message() string {
	p.t.Helper()
	m := await[*v3.PublishPacket](p)
	return m.TopicName + " " + string(m.Payload)
}

func (p peer3) disconnect() {
	p.t.Helper()
	p.send(v3.NewControlPacket(v3.Disconnect))
	p.Close()
}

// retained returns what is retained on the topics of a filter.
func (r *rig) retained(filter string) map[string]string {
	r.t.Helper()
	p := r.connect3(fmt.Sprintf("reader-%d", time.Now().UnixNano()))
	defer p.disconnect()
	_, before := p.subscribe(1, 0, filter)
	all := make(map[string]string)
	for _, m := range before {
		all[m.TopicName] = string(m.Payload)
	}
	return all
}

func will3(topic, payload string) func(*v3.ConnectPacket) {
	return func(c *v3.ConnectPacket) {
		c.WillFlag, c.WillTopic, c.WillMessage, c.WillRetain, c.WillQos = true, topic, []byte(payload), true, 2
	}
}

func user3(name, password string) func(*v3.ConnectPacket) {
	return func(c *v3.ConnectPacket) {
		c.UsernameFlag, c.PasswordFlag, c.Username, c.Password = true, true, name, []byte(password)
	}
}

// connect5 connects with MQTT 5 and returns the reason code of CONNACK.
func (r *rig) connect5(id string, change ...func(*v5.Connect)) (peer5, byte) {
	r.t.Helper()
	c := &v5.Connect{ProtocolName: "MQTT", ProtocolVersion: 5, CleanStart: true, ClientID: id, KeepAlive: 60, Properties: &v5.Properties{}}
	for _, f := range change {
		f(c)
	}
	p := peer5{r.dial(), r.t}
	p.send(c)
	ack, ok := p.next().Content.(*v5.Connack)
	if !ok {
		r.t.Fatal("no CONNACK")
	}
	return p, ack.ReasonCode
}

func (p peer5) send(c v5.Packet) {
	p.t.Helper()
	if _, err := c.WriteTo(p); err != nil {
		p.t.Fatal(err)
	}
}

func (p peer5) next() *v5.ControlPacket {
	p.t.Helper()
	if err := p.SetReadDeadline(time.Now().Add(patience)); err != nil {
		p.t.Fatal(err)
	}
	x, err := v5.ReadPacket(p)
	if err != nil {
		p.t.Fatal(err)
	}
	return x
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}
