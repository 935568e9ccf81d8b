package mqtt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/google/go-cmp/cmp"

	"github.com/lanfolk/lanfolk/hemtjanst"
)

// feed is a connection from which bytes come, and to which nothing goes.
type feed struct {
	net.Conn // nil: nothing else is called
	r        io.Reader
}

func (f feed) Read(b []byte) (int, error)       { return f.r.Read(b) }
func (f feed) Write(b []byte) (int, error)      { return len(b), nil }
func (f feed) SetWriteDeadline(time.Time) error { return nil }
func (f feed) Close() error                     { return nil }

// through returns what paho reads of a stream, what goes past it, and the error at the end.
func through(r io.Reader, five bool) (rest []byte, past []hemtjanst.Message, skipped uint64, err error) {
	var count atomic.Uint64
	p := newPipe(feed{r: r}, &count)
	defer p.Close()
	p.five, p.receive = five, func(m hemtjanst.Message) { past = append(past, m) }
	rest, err = io.ReadAll(p)
	return rest, past, count.Load(), err
}

// packet puts a fixed header before a body.
func packet(first byte, body string) string {
	return string(binary.AppendUvarint([]byte{first}, uint64(len(body)))) + body
}

const (
	suback = "\x90\x03\x00\x01\x00"
	topic  = "\x00\x08device/a"
)

func TestMessagesGoPastPahoAndTheRestToIt(t *testing.T) {
	stream := suback + packet(0x31, topic+"\x00{}") + packet(0x32, topic+"\x00\x07\x00x") + packet(0x30, topic+"\x02\x01\x01") + suback
	for name, r := range map[string]io.Reader{"whole": bytes.NewReader([]byte(stream)), "bytes": iotest.OneByteReader(bytes.NewReader([]byte(stream)))} {
		rest, past, _, err := through(r, true)
		if err != nil || string(rest) != suback+packet(0x32, topic+"\x00\x07\x00x")+suback {
			t.Errorf("%s: rest %q, %v", name, rest, err)
		}
		want := []hemtjanst.Message{{Topic: "device/a", Payload: []byte("{}"), Retain: true}, {Topic: "device/a", Payload: []byte{}}}
		if diff := cmp.Diff(want, past); diff != "" {
			t.Error(name, diff)
		}
	}
	_, past, _, err := through(bytes.NewReader([]byte(packet(0x31, topic+"{}"))), false)
	if err != nil || len(past) != 1 || string(past[0].Payload) != "{}" {
		t.Errorf("by 3.1.1: %v, %v", past, err)
	}
}

func TestAMessageOfAbsurdSizeIsSkipped(t *testing.T) {
	huge := packet(0x31, topic+"\x00"+string(make([]byte, maxPacket)))
	_, past, skipped, err := through(bytes.NewReader([]byte(huge+packet(0x30, topic+"\x00x"))), true)
	if err != nil || skipped != 1 || len(past) != 1 || string(past[0].Payload) != "x" {
		t.Errorf("%d skipped, %d past, %v", skipped, len(past), err)
	}
	// One that must be answered, or that is no message, is refused.
	if _, _, _, err := through(bytes.NewReader([]byte(packet(0x32, topic+"\x00"+string(make([]byte, maxPacket))))), true); !errors.Is(err, errPacket) {
		t.Error(err)
	}
}

func TestWhatIsNoMQTTEndsTheConnection(t *testing.T) {
	for _, s := range []string{"\x30\xff\xff\xff\xff\x01", packet(0x30, ""), packet(0x30, "\x00\x09device/a"), packet(0x30, "\x00\x00\x00"), packet(0x30, topic),
		packet(0x30, topic+"\x05x"), packet(0x30, topic+"\x80\x80\x80\x80\x01"), packet(0x30, "\x00\x01\xff\x00")} {
		if _, _, _, err := through(bytes.NewReader([]byte(s)), true); !errors.Is(err, errPacket) {
			t.Errorf("%q: %v", s, err)
		}
	}
	if _, _, _, err := through(bytes.NewReader([]byte("\x30")), true); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
}

// What goes past paho is what paho would read.
func FuzzPipe(f *testing.F) {
	for _, s := range []string{suback, packet(0x31, topic+"\x00{}"), packet(0x30, topic+"\x02\x01\x01x") + suback, packet(0x32, topic+"\x00\x01\x00x"), "\x30\xff\xff\xff\xff", packet(0x30, topic+"\x05x")} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		_, past, _, err := through(bytes.NewReader(stream), true)
		_, again, _, err2 := through(iotest.OneByteReader(bytes.NewReader(stream)), true)
		if diff := cmp.Diff(past, again); diff != "" || (err == nil) != (err2 == nil) {
			t.Fatalf("byte by byte: %s %v, %v", diff, err, err2)
		}
		// Up to where paho can't read on.
		r := bytes.NewReader(stream)
		for len(past) > 0 {
			p, err := packets.ReadPacket(r)
			if err != nil {
				return // it knows the properties, which don't matter here
			}
			m, ok := p.Content.(*packets.Publish)
			if !ok || m.QoS != 0 {
				continue
			}
			if m.Topic != past[0].Topic || !bytes.Equal(m.Payload, past[0].Payload) || m.Retain != past[0].Retain {
				t.Fatalf("paho reads %+v, not %+v", m, past[0])
			}
			past = past[1:]
		}
	})
}

// A connection is read however little is done with what came, and written in large pieces.
func TestThePipeNeverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		p := newPipe(near, new(atomic.Uint64))
		sent := bytes.Repeat([]byte(packet(0x40, "\x00\x01")), 200_000)
		go func() {
			_, _ = far.Write(sent)
			_ = far.Close()
		}()
		synctest.Wait() // the far end is done, though nobody has read
		got, err := io.ReadAll(p)
		if err != nil || !bytes.Equal(got, sent) {
			t.Errorf("%d bytes of %d, %v", len(got), len(sent), err)
		}
		_ = p.Close()

		near, far = net.Pipe()
		p = newPipe(near, new(atomic.Uint64))
		for range 1000 {
			if _, err := p.Write([]byte("0123456789")); err != nil {
				t.Fatal(err)
			}
		}
		reads := 0
		go func() {
			buf := make([]byte, 20_000)
			for {
				if _, err := far.Read(buf); err != nil {
					return
				}
				reads++
			}
		}()
		synctest.Wait()
		if reads > 10 {
			t.Errorf("written in %d pieces", reads)
		}
		// Whoever stops reading doesn't keep us from leaving.
		near, _ = net.Pipe()
		stuck := newPipe(near, new(atomic.Uint64))
		_, _ = stuck.Write([]byte("x"))
		begin := time.Now()
		_ = stuck.Close()
		if d := time.Since(begin); d != drain {
			t.Errorf("closed after %v", d)
		}
		if _, err := stuck.Write([]byte("x")); err == nil {
			t.Error("may write to what is closed")
		}
		_ = p.Close()
		_ = far.Close()
	})
}

func TestAnswersToMessagesGoPastPaho(t *testing.T) {
	type answer struct {
		id   uint16
		code byte
	}
	stream := "\x40\x02\x01\x02" + suback + "\x40\x03\x00\x07\x87" + "\x40\x04\x00\x08\x10\x00"
	for name, r := range map[string]io.Reader{"whole": bytes.NewReader([]byte(stream)), "bytes": iotest.OneByteReader(bytes.NewReader([]byte(stream)))} {
		var got []answer
		p := newPipe(feed{r: r}, new(atomic.Uint64))
		p.answered = func(id uint16, code byte) { got = append(got, answer{id, code}) }
		rest, err := io.ReadAll(p)
		if want := []answer{{0x102, 0}, {7, 0x87}, {8, 0x10}}; err != nil || string(rest) != suback || !slices.Equal(got, want) {
			t.Errorf("%s: answers %v, rest %q, %v", name, got, rest, err)
		}
		_ = p.Close()
	}
	p := newPipe(feed{r: bytes.NewReader([]byte("\x40\x01\x00"))}, new(atomic.Uint64))
	defer p.Close()
	p.answered = func(uint16, byte) { t.Error("took half an answer") }
	if _, err := io.ReadAll(p); !errors.Is(err, errPacket) {
		t.Error(err)
	}
}
