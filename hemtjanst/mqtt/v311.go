package mqtt

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/lanfolk/lanfolk/hemtjanst"
)

// maxInFlight311 is how many messages are on their way at a time by MQTT 3.1.1, in which a broker can't
// say how many it takes: Mosquitto takes 20, acknowledges more, and loses them.
const maxInFlight311 = 20

// conn311 is a connection by MQTT 3.1.1.
type conn311 struct {
	ending
	client paho.Client
	pipe   *pipe
	// turn has a value while nobody publishes; who has it owns flying, the messages without an answer.
	turn   chan struct{}
	flying *[]paho.Token
}

// connect311 begins a session by MQTT 3.1.1.
func connect311(ctx context.Context, p *pipe, t target, s hemtjanst.Session) (hemtjanst.Conn, error) {
	c := &conn311{ending: newEnding(), pipe: p, turn: make(chan struct{}, 1), flying: new([]paho.Token)}
	c.turn <- struct{}{}
	p.receive = s.Receive
	o := paho.NewClientOptions().AddBroker("tcp://" + t.address).
		SetCustomOpenConnectionFn(func(*url.URL, paho.ClientOptions) (net.Conn, error) { return p, nil }).
		SetProtocolVersion(4).SetClientID(s.ClientID).SetCleanSession(true).
		SetAutoReconnect(false).SetConnectRetry(false).
		SetKeepAlive(max(time.Second, s.KeepAlive)).SetPingTimeout(max(time.Second, s.KeepAlive)).
		SetUsername(t.user).SetPassword(t.password).
		SetConnectionLostHandler(func(_ paho.Client, err error) { c.end(err) }).
		SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) {
			if s.Receive != nil {
				s.Receive(hemtjanst.Message{Topic: m.Topic(), Payload: compact(m.Payload()), Retain: m.Retained(), QoS: m.Qos()})
			}
		})
	if w := s.Will; w != nil {
		o.SetBinaryWill(w.Topic, w.Payload, w.QoS, w.Retain)
	}
	c.client = paho.NewClient(o)
	token := c.client.Connect()
	select {
	case <-token.Done():
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err := token.Error(); err != nil {
		if ack, ok := token.(*paho.ConnectToken); ok && ack.ReturnCode() != packets.ErrNetworkError && ack.ReturnCode() != packets.Accepted {
			return nil, refusal311(ack.ReturnCode())
		}
		return nil, fmt.Errorf("mqtt: %w", err)
	}
	return c, nil
}

// refusal311 says why a broker doesn't let us in.
func refusal311(code byte) error {
	switch code {
	case packets.ErrRefusedBadProtocolVersion:
		return errVersion
	case packets.ErrRefusedIDRejected, packets.ErrRefusedBadUsernameOrPassword, packets.ErrRefusedNotAuthorised:
		return fmt.Errorf("%w: %w", hemtjanst.ErrDenied, packets.ConnErrors[code])
	}
	return fmt.Errorf("mqtt: the broker refuses the connection, code %d", code)
}

// await waits for the broker's answer.
func (c *conn311) await(ctx context.Context, t paho.Token) error {
	select {
	case <-t.Done():
		return c.because(t.Error())
	case <-c.done:
		return c.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *conn311) Subscribe(ctx context.Context, _ hemtjanst.SubscribeOptions, filters ...string) error {
	ctx, cancel := context.WithTimeout(ctx, answer)
	defer cancel()
	all := make(map[string]byte, len(filters))
	for _, f := range filters {
		all[f] = 0
	}
	t := c.client.SubscribeMultiple(all, nil)
	if err := c.await(ctx, t); err != nil {
		return err
	}
	if t, ok := t.(*paho.SubscribeToken); ok {
		for f, code := range t.Result() {
			if code == 0x80 {
				return fmt.Errorf("mqtt: subscribe to %s: %w", f, errors.New("refused"))
			}
		}
	}
	return nil
}

func (c *conn311) Unsubscribe(ctx context.Context, filters ...string) error {
	ctx, cancel := context.WithTimeout(ctx, answer)
	defer cancel()
	return c.await(ctx, c.client.Unsubscribe(filters...))
}

func (c *conn311) Publish(ctx context.Context, m hemtjanst.Message) error {
	if err := c.take(ctx); err != nil {
		return err
	}
	defer c.give()
	if err := c.settle(ctx, maxInFlight311-1); err != nil {
		return err
	}
	payload := m.Payload
	if payload == nil {
		payload = []byte{}
	}
	*c.flying = append(*c.flying, c.client.Publish(m.Topic, min(m.QoS, 1), m.Retain, payload))
	return nil
}

// settle waits until at most n messages have no answer. Brokers answer in order.
func (c *conn311) settle(ctx context.Context, n int) error {
	for len(*c.flying) > n {
		if err := c.await(ctx, (*c.flying)[0]); err != nil {
			return err
		}
		(*c.flying)[0] = nil
		*c.flying = (*c.flying)[1:]
	}
	return nil
}

func (c *conn311) Flush(ctx context.Context) error {
	if err := c.take(ctx); err != nil {
		return err
	}
	defer c.give()
	return c.settle(ctx, 0)
}

func (c *conn311) take(ctx context.Context) error {
	select {
	case <-c.turn:
		return nil
	case <-c.done:
		return c.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *conn311) give() { c.turn <- struct{}{} }

func (c *conn311) NoLocal() bool { return false }

func (c *conn311) Disconnect(context.Context) error {
	c.client.Disconnect(uint(drain / time.Millisecond))
	err := c.pipe.Close()
	c.end(net.ErrClosed)
	return err
}

func (c *conn311) Close() error {
	err := c.pipe.Close()
	c.end(net.ErrClosed)
	return err
}
