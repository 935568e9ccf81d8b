package mqtt

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// relay stands between clients and a broker, counts connections, and can be what
// a broker at the other end of a bad or an old network is.
type relay struct {
	url     string
	dial    dialFunc
	connect atomic.Int64 // connections that were made

	// Set before the first client comes.
	only311 bool          // MQTT 5 isn't understood
	hangsUp bool          // which is said by hanging up, not by a CONNACK
	pace    time.Duration // between pieces of a few hundred bytes towards the client
	inject  chan []byte   // each sent to some client that was accepted and then quiet for a while; may be nil

	closed  atomic.Bool
	running sync.WaitGroup
}

// newRelay listens in the site's host.
func (s *site) newRelay(r *relay) *relay {
	t := s.t
	t.Helper()
	r.dial = s.host.DialContext
	var l net.Listener
	if err := s.host.Do(func() (err error) {
		l, err = net.Listen("tcp", "127.0.0.1:0")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	r.url = "mqtt://" + l.Addr().String()
	r.running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r.connect.Add(1)
			r.running.Go(func() { r.serve(t, c) })
		}
	})
	t.Cleanup(func() {
		r.closed.Store(true)
		l.Close()
	})
	return r
}

func (r *relay) serve(t *testing.T, client net.Conn) {
	defer client.Close()
	first := make([]byte, 4096)
	n, err := io.ReadAtLeast(client, first, 14) // no CONNECT is shorter
	if err != nil {
		return
	}
	// CONNECT: a byte of type, the length in one or two, "MQTT" with its length, the level.
	at := 2
	if n > 1 && first[1]&0x80 != 0 {
		at = 3
	}
	if r.only311 && n > at+6 && first[at+6] == 5 {
		if !r.hangsUp {
			_, _ = client.Write([]byte{connack, 2, 0, 1}) // unacceptable protocol version
		}
		return
	}
	broker, err := r.dial(t.Context(), "tcp", "127.0.0.1:1883")
	if err != nil {
		return
	}
	defer broker.Close()
	if _, err := broker.Write(first[:n]); err != nil {
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer broker.Close()
		_, _ = io.Copy(broker, client)
	}()
	r.answer(client, broker)
	client.Close()
	<-done
}

// answer passes on what the broker says.
func (r *relay) answer(client, broker net.Conn) {
	piece := make([]byte, 64<<10)
	if r.pace > 0 {
		piece = piece[:512]
	}
	var at framing
	for !r.closed.Load() {
		_ = broker.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		n, err := broker.Read(piece)
		if n > 0 {
			if _, err := client.Write(piece[:n]); err != nil {
				return
			}
			at.pass(piece[:n])
			time.Sleep(r.pace)
		}
		if e, ok := err.(net.Error); ok && e.Timeout() {
			if !at.between() {
				continue
			}
			select {
			case b := <-r.inject:
				if _, err := client.Write(b); err != nil {
					return
				}
			default:
			}
			continue
		}
		if err != nil {
			return
		}
	}
}

// framing says where in a stream of packets one is, MQTT 3.1.1 §2.2.
type framing struct {
	packets int // that are whole
	header  int // bytes of the fixed header of the one that isn't
	length  int // of its body, as far as the header says
	body    int // bytes of that to come; -1 while the header isn't whole
}

// pass takes in what comes next.
func (f *framing) pass(b []byte) {
	for len(b) > 0 {
		if f.header > 0 && f.body >= 0 {
			n := min(f.body, len(b))
			b, f.body = b[n:], f.body-n
		} else {
			if f.header == 0 {
				f.length, f.body = 0, -1
			} else if f.length |= int(b[0]&0x7f) << (7 * (f.header - 1)); b[0] < 0x80 {
				f.body = f.length
			}
			f.header++
			b = b[1:]
		}
		if f.body == 0 {
			f.header = 0
			f.packets++
		}
	}
}

// between says whether a packet has just ended.
func (f *framing) between() bool { return f.packets > 0 && f.header == 0 }
