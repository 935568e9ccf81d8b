package mqtt

import (
	"context"
	"fmt"
	"io"
	"math"
	"sync"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho/log"
	"github.com/eclipse/paho.golang/paho/session"
)

// maxInFlight is how many messages are on their way at a time, if the broker takes more.
const maxInFlight = 1024

// session5 is the state of one connection's session, which ends with it. In paho's own each
// message costs a goroutine, and whoever publishes must wait for its answer to learn of it.
type session5 struct {
	refused func(topic string, err error)
	taken   func(topic string)

	mu       sync.Mutex
	changed  sync.Cond // something was answered, or the connection is lost
	conn     io.Writer
	waiting  map[uint16]waiting // for the broker's answer, by packet identifier
	last     uint16
	flying   int // messages without an answer
	maximum  int
	lost     bool
	answered uint64 // messages
}

// waiting is a packet that the broker has to answer.
type waiting struct {
	answer chan<- packets.ControlPacket // of what isn't a message
	topic  string                       // of a message
}

var _ session.SessionManager = (*session5)(nil)

func newSession5(refused func(string, error), taken func(string)) *session5 {
	s := &session5{refused: refused, taken: taken, waiting: map[uint16]waiting{}}
	s.changed.L = &s.mu
	return s
}

// ConAckReceived begins the session.
func (s *session5) ConAckReceived(w io.Writer, _ *packets.Connect, ca *packets.Connack) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn, s.maximum = w, maxInFlight
	if ca.Properties != nil && ca.Properties.ReceiveMaximum != nil {
		s.maximum = min(s.maximum, max(1, int(*ca.Properties.ReceiveMaximum)))
	}
	return nil
}

// ConnectionLost ends the session, and everyone's waiting.
func (s *session5) ConnectionLost(*packets.Disconnect) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lost {
		return nil
	}
	s.lost = true
	for _, w := range s.waiting {
		if w.answer != nil {
			w.answer <- packets.ControlPacket{} // it has room for one; paho takes an empty one for the end
		}
	}
	clear(s.waiting)
	s.changed.Broadcast()
	return nil
}

// AddToSession gives a packet its identifier. For a message it waits until the broker takes one more.
func (s *session5) AddToSession(ctx context.Context, p session.Packet, answer chan<- packets.ControlPacket) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m, ok := p.(*packets.Publish); ok {
		if err := s.enter(ctx); err != nil {
			return err
		}
		id, err := s.identify(waiting{topic: m.Topic})
		p.SetIdentifier(id)
		return err
	}
	id, err := s.identify(waiting{answer: answer})
	p.SetIdentifier(id)
	return err
}

// message is AddToSession for a message that isn't paho's.
func (s *session5) message(ctx context.Context, topic string) (id uint16, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	return s.identify(waiting{topic: topic})
}

// enter waits until the broker takes one more message. The lock is held.
func (s *session5) enter(ctx context.Context) error {
	if err := s.wait(ctx, func() bool { return s.flying < s.maximum }); err != nil {
		return err
	}
	s.flying++
	return nil
}

// identify returns an identifier for what waits. The lock is held.
func (s *session5) identify(w waiting) (uint16, error) {
	if s.lost {
		return 0, session.ErrNoConnection
	}
	for range math.MaxUint16 {
		if s.last++; s.last == 0 {
			s.last = 1
		}
		if _, used := s.waiting[s.last]; !used {
			s.waiting[s.last] = w
			return s.last, nil
		}
	}
	return 0, session.ErrPacketIdentifiersExhausted
}

// wait returns when done does, or with an error; the lock is held when it is called and when it returns.
func (s *session5) wait(ctx context.Context, done func() bool) error {
	if done() && !s.lost {
		return nil
	}
	stop := context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.changed.Broadcast()
	})
	defer stop()
	for !s.lost && !done() {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		s.changed.Wait()
	}
	if s.lost {
		return session.ErrNoConnection
	}
	return nil
}

// flush waits until all messages have their answer.
func (s *session5) flush(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := s.answered + uint64(s.flying)
	return s.wait(ctx, func() bool { return s.answered >= last })
}

// PacketReceived takes in an answer, or hands a message on.
func (s *session5) PacketReceived(p *packets.ControlPacket, messages chan<- *packets.Publish) error {
	switch c := p.Content.(type) {
	case *packets.Publish:
		if c.QoS == 1 { // nothing is subscribed to at QoS 2
			messages <- c
		}
		return nil
	case *packets.Suback:
		s.pass(c.PacketID, p)
	case *packets.Unsuback:
		s.pass(c.PacketID, p)
	}
	return nil
}

// puback takes in the answer to a message.
func (s *session5) puback(id uint16, code byte) {
	s.mu.Lock()
	w, ok := s.waiting[id]
	if !ok || w.answer != nil {
		s.mu.Unlock()
		return
	}
	delete(s.waiting, id)
	s.flying--
	s.answered++
	s.changed.Broadcast()
	s.mu.Unlock()
	switch {
	case code < 0x80 && s.taken != nil:
		s.taken(w.topic)
	case code >= 0x80 && s.refused != nil:
		s.refused(w.topic, fmt.Errorf("mqtt: %s", (&packets.Puback{ReasonCode: code}).Reason()))
	}
}

// pass gives an answer to the one who waits for it.
func (s *session5) pass(id uint16, p *packets.ControlPacket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w, ok := s.waiting[id]; ok && w.answer != nil {
		delete(s.waiting, id)
		w.answer <- *p
	}
}

// Ack answers to a message that was handed on.
func (s *session5) Ack(m *packets.Publish) error {
	if m.QoS != 1 {
		return nil
	}
	s.mu.Lock()
	conn := s.conn
	s.mu.Unlock()
	_, err := (&packets.Puback{PacketID: m.PacketID, Properties: &packets.Properties{}}).WriteTo(conn)
	return err
}

// Close ends the session.
func (s *session5) Close() error { return s.ConnectionLost(nil) }

// SetErrorLogger and SetDebugLogger do nothing.
func (s *session5) SetErrorLogger(log.Logger) {}
func (s *session5) SetDebugLogger(log.Logger) {}
