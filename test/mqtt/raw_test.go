package mqtt

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"
)

// raw is a client of MQTT 3.1.1 in a hundred lines, which shares nothing with
// the programs under test. It takes its messages as fast as they come.
type raw struct {
	conn net.Conn
	in   *bufio.Reader
}

// message is one that raw has heard.
type message struct {
	topic, payload string
	retained       bool      // it was kept by the broker
	at             time.Time // when an observer heard it
}

// Packet types and flags, MQTT 3.1.1 §2.2.
const (
	connect   = 0x10
	connack   = 0x20
	publish   = 0x30
	puback    = 0x40
	subscribe = 0x82
	suback    = 0x90
	pingreq   = 0xc0
	goodbye   = 0xe0
)

const patience = 60 * time.Second // for one answer of the broker, on a busy machine

// clients numbers them, for client ids that differ.
var clients atomic.Int64

type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// dialRaw connects a client with a clean session.
func dialRaw(dial dialFunc) (*raw, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := dial(ctx, "tcp", "127.0.0.1:1883")
	if err != nil {
		return nil, err
	}
	r := &raw{conn: c, in: bufio.NewReaderSize(c, 1<<20)}
	body := append(text("MQTT"), 4, 2, 0, 0) // level 4, clean session, no keep alive
	body = append(body, text(fmt.Sprintf("observer-%d", clients.Add(1)))...)
	if err := r.send(connect, body); err != nil {
		c.Close()
		return nil, err
	}
	kind, answer, err := r.read(patience)
	if err == nil && (kind != connack || len(answer) != 2 || answer[1] != 0) {
		err = fmt.Errorf("CONNACK: type %#x %x", kind, answer)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return r, nil
}

func text(s string) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...) }

func (r *raw) send(kind byte, body []byte) error {
	b := []byte{kind}
	for n := len(body); ; {
		d := byte(n % 128)
		if n /= 128; n > 0 {
			d |= 128
		}
		b = append(b, d)
		if n == 0 {
			break
		}
	}
	_ = r.conn.SetWriteDeadline(time.Now().Add(patience))
	_, err := r.conn.Write(append(b, body...))
	return err
}

// read reads a packet; its flags are left in kind only for PUBLISH.
func (r *raw) read(d time.Duration) (kind byte, body []byte, err error) {
	_ = r.conn.SetReadDeadline(time.Now().Add(d))
	if kind, err = r.in.ReadByte(); err != nil {
		return 0, nil, err
	}
	n, err := binary.ReadUvarint(r.in) // the same as MQTT's lengths
	if err != nil {
		return 0, nil, err
	}
	if n > 1<<28 {
		return 0, nil, errors.New("too long a packet")
	}
	body = make([]byte, n)
	_, err = io.ReadFull(r.in, body)
	return kind, body, err
}

// subscribe subscribes at QoS 0. Messages may come before its SUBACK.
func (r *raw) subscribe(heard func(message), filters ...string) error {
	body := []byte{0, 1}
	for _, f := range filters {
		body = append(append(body, text(f)...), 0)
	}
	if err := r.send(subscribe, body); err != nil {
		return err
	}
	for {
		kind, answer, err := r.read(patience)
		switch {
		case err != nil:
			return err
		case kind == suback:
			for _, code := range answer[2:] {
				if code > 2 {
					return fmt.Errorf("subscribe %q: refused with %#x", filters, code)
				}
			}
			return nil
		}
		if m, ok := parse(kind, answer); ok {
			heard(m)
		}
	}
}

// parse reads a PUBLISH of QoS 0.
func parse(kind byte, body []byte) (message, bool) {
	if kind&0xf0 != publish || len(body) < 2 {
		return message{}, false
	}
	n := 2 + int(binary.BigEndian.Uint16(body))
	if n > len(body) {
		return message{}, false
	}
	return message{topic: string(body[2:n]), payload: string(body[n:]), retained: kind&1 != 0}, true
}

// publish publishes at QoS 1 and waits for the answer.
func (r *raw) publish(topic, payload string, retain bool) error {
	kind := byte(publish | 2)
	if retain {
		kind |= 1
	}
	body := append(text(topic), 0, 1)
	if err := r.send(kind, append(body, payload...)); err != nil {
		return err
	}
	for {
		kind, _, err := r.read(patience)
		if err != nil || kind == puback {
			return err
		}
	}
}

// say publishes at QoS 0.
func (r *raw) say(topic, payload string) error {
	return r.send(publish, append(text(topic), payload...))
}

func (r *raw) close() {
	_ = r.send(goodbye, nil)
	r.conn.Close()
}

// retained returns what the broker retains under filters. It ends with a
// message of its own, which comes after all that was retained.
func retained(dial dialFunc, filters ...string) (map[string]string, error) {
	r, err := dialRaw(dial)
	if err != nil {
		return nil, err
	}
	defer r.close()
	all := make(map[string]string)
	heard := func(m message) {
		if m.retained {
			all[m.topic] = m.payload
		}
	}
	end := fmt.Sprintf("observer-end/%d", clients.Add(1))
	if err := r.subscribe(heard, append(filters, end)...); err != nil {
		return nil, err
	}
	if err := r.say(end, "end"); err != nil {
		return nil, err
	}
	for {
		kind, body, err := r.read(patience)
		if err != nil {
			return nil, err
		}
		m, ok := parse(kind, body)
		if ok && m.topic == end {
			return all, nil
		} else if ok {
			heard(m)
		}
	}
}
