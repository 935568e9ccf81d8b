package mqtt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"

	"github.com/lanfolk/lanfolk/hemtjanst"
)

// answer is how long a broker has to answer to a subscription.
const answer = time.Minute

// conn5 is a connection by MQTT 5.
type conn5 struct {
	ending
	client  *paho.Client
	plain   bool // the broker takes retained messages at QoS 1
	session *session5
	pipe    *pipe
}

// connect5 begins a session by MQTT 5.
func connect5(ctx context.Context, p *pipe, t target, s hemtjanst.Session) (hemtjanst.Conn, error) {
	c := &conn5{ending: newEnding(), session: newSession5(s.Refused, s.Taken), pipe: p}
	p.receive, p.five, p.answered = s.Receive, true, c.session.puback
	c.client = paho.NewClient(paho.ClientConfig{
		Conn:    p,
		Session: c.session,
		// paho means it for each packet, and a message may well wait for longer until it is its turn.
		PacketTimeout: 24 * time.Hour,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(r paho.PublishReceived) (bool, error) {
			if s.Receive != nil {
				s.Receive(hemtjanst.Message{Topic: r.Packet.Topic, Payload: compact(r.Packet.Payload), Retain: r.Packet.Retain, QoS: r.Packet.QoS})
			}
			return true, nil
		}},
		OnServerDisconnect: func(d *paho.Disconnect) { c.end(reason5(d.ReasonCode)) },
		OnClientError:      func(err error) { c.end(err) },
	})
	connect := &paho.Connect{
		ClientID:   s.ClientID,
		CleanStart: true,
		KeepAlive:  uint16(min(max(1, (s.KeepAlive+time.Second-1)/time.Second), math.MaxUint16)),
		Properties: &paho.ConnectProperties{
			MaximumPacketSize:  paho.Uint32(maxPacket),
			ReceiveMaximum:     paho.Uint16(maxInFlight), // also of what paho keeps for us
			RequestProblemInfo: true,
		},
	}
	if w := s.Will; w != nil {
		connect.WillMessage = &paho.WillMessage{Topic: w.Topic, Payload: w.Payload, Retain: w.Retain, QoS: w.QoS}
		connect.WillProperties = &paho.WillProperties{}
	}
	if t.user != "" {
		connect.UsernameFlag, connect.Username = true, t.user
	}
	if t.password != "" {
		connect.PasswordFlag, connect.Password = true, []byte(t.password)
	}
	ack, err := c.client.Connect(ctx, connect)
	switch {
	case ack != nil && ack.ReasonCode != 0:
		if err == nil { // paho takes 3.1.1's codes, which are below 0x80, for success
			_ = p.Close()
		}
		return nil, refusal5(ack)
	case err != nil && ctx.Err() == nil && hungUp(err):
		return nil, fmt.Errorf("%w: %w", errVersion, err)
	case err != nil:
		return nil, fmt.Errorf("mqtt: %w", err)
	}
	c.plain = ack.Properties == nil || (ack.Properties.MaximumQoS == nil || *ack.Properties.MaximumQoS > 0) && ack.Properties.RetainAvailable
	go func() {
		<-c.client.Done()
		// paho says why a moment later.
		time.AfterFunc(200*time.Millisecond, func() { c.end(net.ErrClosed) })
	}()
	return c, nil
}

// hungUp says whether the broker ended the connection without an answer, as old ones do that don't know
// the version.
func hungUp(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, errPacket)
}

// refusal5 says why a broker doesn't let us in.
func refusal5(ack *paho.Connack) error {
	switch code := ack.ReasonCode; {
	case code == 1 || code == packets.ConnackUnsupportedProtocolVersion:
		return errVersion
	case code < 0x80: // of 3.1.1: it would answer likewise there
		return fmt.Errorf("%w: %w", errVersion, refusal311(code))
	default:
		why := (&packets.Connack{ReasonCode: code}).Reason()
		if ack.Properties != nil && ack.Properties.ReasonString != "" {
			why = ack.Properties.ReasonString
		}
		switch code {
		case packets.ConnackInvalidClientID, packets.ConnackBadUsernameOrPassword, packets.ConnackNotAuthorized, packets.ConnackBanned, packets.ConnackBadAuthenticationMethod:
			return fmt.Errorf("%w: %s", hemtjanst.ErrDenied, why)
		}
		return fmt.Errorf("mqtt: the broker refuses the connection: %s", why)
	}
}

// reason5 says why a broker ended a connection.
func reason5(code byte) error {
	if code == packets.DisconnectSessionTakenOver {
		return hemtjanst.ErrTakenOver
	}
	return fmt.Errorf("mqtt: the broker ended the connection: %s", (&packets.Disconnect{ReasonCode: code}).Reason())
}

func (c *conn5) Subscribe(ctx context.Context, o hemtjanst.SubscribeOptions, filters ...string) error {
	ctx, cancel := context.WithTimeout(ctx, answer)
	defer cancel()
	sub := &paho.Subscribe{}
	for _, f := range filters {
		sub.Subscriptions = append(sub.Subscriptions, paho.SubscribeOptions{Topic: f, NoLocal: o.NoLocal})
	}
	ack, err := c.client.Subscribe(ctx, sub)
	if ack != nil {
		for i, code := range ack.Reasons {
			if code >= 0x80 && i < len(filters) {
				return fmt.Errorf("mqtt: subscribe to %s: %s", filters[i], (&packets.Suback{Reasons: []byte{code}}).Reason(0))
			}
		}
	}
	return c.because(err)
}

func (c *conn5) Unsubscribe(ctx context.Context, filters ...string) error {
	ctx, cancel := context.WithTimeout(ctx, answer)
	defer cancel()
	if ack, err := c.client.Unsubscribe(ctx, &paho.Unsubscribe{Topics: filters}); ack == nil {
		return c.because(err) // what wasn't subscribed to is no matter
	}
	return nil
}

func (c *conn5) Publish(ctx context.Context, m hemtjanst.Message) error {
	select {
	case <-c.done:
		return c.Err()
	default:
	}
	if m.QoS > 0 && c.plain && m.Topic != "" && len(m.Topic) <= math.MaxUint16 {
		return c.because(c.send(ctx, m))
	}
	_, err := c.client.PublishWithOptions(ctx, &paho.Publish{Topic: m.Topic, Payload: m.Payload, Retain: m.Retain, QoS: min(m.QoS, 1)},
		paho.PublishOptions{Method: paho.PublishMethod_AsyncSend})
	return c.because(err)
}

// send publishes at QoS 1 (MQTT 5, 3.3). paho takes several times as long, and leaves much to be collected.
func (c *conn5) send(ctx context.Context, m hemtjanst.Message) error {
	id, err := c.session.message(ctx, m.Topic)
	if err != nil {
		return err
	}
	first := byte(0x32)
	if m.Retain {
		first |= 1
	}
	rest := 2 + len(m.Topic) + 2 + 1 + len(m.Payload)
	b := make([]byte, 0, 5+rest)
	b = binary.AppendUvarint(append(b, first), uint64(rest)) // the same as MQTT's lengths
	b = append(binary.BigEndian.AppendUint16(b, uint16(len(m.Topic))), m.Topic...)
	b = append(binary.BigEndian.AppendUint16(b, id), 0) // no properties
	b = append(b, m.Payload...)
	c.pipe.Lock()
	defer c.pipe.Unlock()
	_, err = c.pipe.Write(b)
	return err
}

func (c *conn5) Flush(ctx context.Context) error { return c.because(c.session.flush(ctx)) }

func (c *conn5) NoLocal() bool { return true }

func (c *conn5) Disconnect(context.Context) error {
	err := c.client.Disconnect(&paho.Disconnect{})
	c.end(net.ErrClosed)
	return err
}

func (c *conn5) Close() error {
	err := c.pipe.Close()
	c.end(net.ErrClosed)
	return err
}

// ending is how a connection ended.
type ending struct {
	once *sync.Once
	done chan struct{}
	err  *error
}

func newEnding() ending { return ending{new(sync.Once), make(chan struct{}), new(error)} }

// end notes why the connection ended; the first reason counts.
func (e ending) end(err error) {
	e.once.Do(func() {
		*e.err = err
		close(e.done)
	})
}

// Done is closed when the connection has ended.
func (e ending) Done() <-chan struct{} { return e.done }

// Err says why it has.
func (e ending) Err() error {
	select {
	case <-e.done:
		return *e.err
	default:
		return nil
	}
}

// because returns why the connection ended in the place of an error that only says that it did.
func (e ending) because(err error) error {
	if err == nil {
		return nil
	}
	if why := e.Err(); why != nil {
		return why
	}
	return fmt.Errorf("mqtt: %w", err)
}

// compact returns a payload without the room behind it that paho leaves.
func compact(b []byte) []byte {
	if cap(b) > 2*len(b) {
		return bytes.Clone(b)
	}
	return b
}
