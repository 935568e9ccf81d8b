package mqtt_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.golang/packets"
	packets311 "github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/lanfolk/lanfolk/hemtjanst"
	"github.com/lanfolk/lanfolk/hemtjanst/mqtt"
)

// far is the broker's end of a connection in memory: it accepts who connects and then does as it is told.
type far struct {
	conn net.Conn
	mu   sync.Mutex
	ids  []uint16 // of messages without an answer
	all  int      // messages
}

// farBroker is a broker whose connections end in far. A receive maximum of 0 means MQTT 3.1.1.
func farBroker(t *testing.T, maximum uint16) (*mqtt.Broker, *far) {
	f := &far{}
	b := &mqtt.Broker{URL: "mqtt://far", Version: mqtt.V5}
	if maximum == 0 {
		b.Version = mqtt.V311
	}
	b.Dial = func(context.Context, string, string) (net.Conn, error) {
		near, conn := net.Pipe()
		f.conn = conn
		t.Cleanup(func() { _ = conn.Close() })
		if maximum > 0 {
			go f.serve5(maximum)
		} else {
			go f.serve311()
		}
		return near, nil
	}
	return b, f
}

func (f *far) serve5(maximum uint16) {
	for {
		p, err := packets.ReadPacket(f.conn)
		if err != nil {
			return
		}
		switch m := p.Content.(type) {
		case *packets.Connect:
			_, _ = (&packets.Connack{Properties: &packets.Properties{ReceiveMaximum: &maximum}}).WriteTo(f.conn)
		case *packets.Publish:
			f.took(m.PacketID)
		}
	}
}

func (f *far) serve311() {
	for {
		p, err := packets311.ReadPacket(f.conn)
		if err != nil {
			return
		}
		switch m := p.(type) {
		case *packets311.ConnectPacket:
			_, _ = io.WriteString(f.conn, "\x20\x02\x00\x00")
		case *packets311.PublishPacket:
			f.took(m.MessageID)
		}
	}
}

func (f *far) took(id uint16) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ids = append(f.ids, id)
	f.all++
}

// answer acknowledges the oldest message, in MQTT 5 with a reason.
func (f *far) answer(reason byte, five bool) {
	f.mu.Lock()
	id := f.ids[0]
	f.ids = f.ids[1:]
	f.mu.Unlock()
	b := []byte{0x40, 2, byte(id >> 8), byte(id)}
	if five && reason != 0 {
		b = []byte{0x40, 3, byte(id >> 8), byte(id), reason}
	}
	_, _ = f.conn.Write(b)
}

func (f *far) waiting() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.ids)
}

// No more messages are on their way than the broker takes, and nobody waits for an answer otherwise.
func TestMessagesInFlightAreBounded(t *testing.T) {
	for _, c := range []struct {
		name         string
		maximum      uint16
		want, answer int
	}{{"5", 3, 3, 1}, {"5, the broker takes many", 60000, 1024, 1}, {"3.1.1", 0, 20, 1}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, f := farBroker(t, c.maximum)
				conn, err := b.Connect(t.Context(), hemtjanst.Session{ClientID: "x"})
				if err != nil {
					t.Fatal(err)
				}
				published := make(chan error, 1)
				go func() {
					for range c.want + 10 {
						if err := conn.Publish(t.Context(), hemtjanst.Message{Topic: "t", QoS: 1}); err != nil {
							published <- err
							return
						}
					}
					published <- conn.Flush(t.Context())
				}()
				synctest.Wait()
				if n := f.waiting(); n != c.want {
					t.Errorf("%d in flight, want %d", n, c.want)
				}
				f.answer(0, c.maximum > 0)
				synctest.Wait()
				if n := f.waiting(); n != c.want {
					t.Errorf("%d in flight after an answer, want %d", n, c.want)
				}
				for f.waiting() > 0 {
					f.answer(0, c.maximum > 0)
					synctest.Wait()
				}
				if err := <-published; err != nil || f.all != c.want+10 {
					t.Errorf("%d published, %v", f.all, err)
				}
				_ = conn.Close()
				time.Sleep(time.Minute) // paho's goroutines end
			})
		})
	}
}

func TestWhatABrokerSaysIsPassedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, f := farBroker(t, 10)
		var refused []string
		conn, err := b.Connect(t.Context(), hemtjanst.Session{ClientID: "x", Refused: func(topic string, err error) { refused = append(refused, topic+" "+err.Error()) }})
		if err != nil {
			t.Fatal(err)
		}
		for _, topic := range []string{"a", "b"} {
			if err := conn.Publish(t.Context(), hemtjanst.Message{Topic: topic, QoS: 1}); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		f.answer(packets.PubackNotAuthorized, true)
		f.answer(packets.PubackNoMatchingSubscribers, true)
		if err := conn.Flush(t.Context()); err != nil {
			t.Error(err)
		}
		if len(refused) != 1 || !strings.HasPrefix(refused[0], "a ") {
			t.Errorf("refused %q", refused)
		}
		_, _ = (&packets.Disconnect{ReasonCode: packets.DisconnectSessionTakenOver, Properties: &packets.Properties{}}).WriteTo(f.conn)
		<-conn.Done()
		if err := conn.Err(); !errors.Is(err, hemtjanst.ErrTakenOver) {
			t.Error(err)
		}
		if err := conn.Publish(t.Context(), hemtjanst.Message{Topic: "a", QoS: 1}); !errors.Is(err, hemtjanst.ErrTakenOver) {
			t.Error(err)
		}
		time.Sleep(time.Minute)
	})
}

// Whoever waits for room learns that the connection is lost.
func TestALostConnectionEndsAllWaiting(t *testing.T) {
	for name, maximum := range map[string]uint16{"5": 1, "3.1.1": 0} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, f := farBroker(t, maximum)
				conn, err := b.Connect(t.Context(), hemtjanst.Session{ClientID: "x"})
				if err != nil {
					t.Fatal(err)
				}
				ended := make(chan error, 3)
				go func() {
					for {
						if err := conn.Publish(t.Context(), hemtjanst.Message{Topic: "a", QoS: 1}); err != nil {
							ended <- err
							return
						}
					}
				}()
				synctest.Wait()
				go func() { ended <- conn.Flush(t.Context()) }()
				go func() { ended <- conn.Subscribe(t.Context(), hemtjanst.SubscribeOptions{}, "x") }()
				synctest.Wait()
				_ = f.conn.Close()
				for range 3 {
					if err := <-ended; err == nil {
						t.Error("somebody thinks that all is well")
					}
				}
				<-conn.Done()
				time.Sleep(time.Minute)
			})
		})
	}
}
