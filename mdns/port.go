package mdns

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/packet"
)

const (
	readBatch    = 32 // packets read at once
	portBatches  = 32 // batches of one socket that may wait for the engine
	sendQueue    = 512
	batchBuffer  = 16 << 10 // bytes a batch begins with
	batchKeep    = 64 << 10 // bytes a batch may keep
	maxDatagram  = maxPacket
	writeAtOnce  = 32
	sendErrorLog = 1 // errors of one socket that are logged; the rest are counted
)

// port is an open socket with the goroutine that reads it and the one that
// writes it.
type port struct {
	place *place
	conn  Conn
	out   chan packet.Datagram
	// flush is closed to have what is in out sent and then no more; flushed is
	// closed when that is done.
	flush, flushed chan struct{}
	free           chan *batch
	done           chan struct{}
	made           int // batches
	stats          *counters

	relays []Relay
	zone   Zone
	queue  chan<- *batch

	draining sync.Mutex // held while packets are relayed
	drained  [readBatch]packet.Datagram

	silent bool
	busy   *atomic.Int32
	deaf   *atomic.Bool
	spare  *batch // for relays while all others wait for the engine

	sendErrors atomic.Uint64
}

// batch is some packets on their way from a reader to the engine, with room
// for their bytes.
type batch struct {
	port    *port
	packets []Packet
	buf     []byte
}

type portError struct {
	port *port
	err  error
}

// startPort gives the place an open socket.
func startPort(c *core, p *place, conn Conn) {
	t := &port{
		place: p, conn: conn, stats: &c.engine.stats,
		out: make(chan packet.Datagram, sendQueue), flush: make(chan struct{}), flushed: make(chan struct{}),
		free: make(chan *batch, portBatches), done: make(chan struct{}),
		relays: c.engine.Relays, deaf: &c.relayOnly, busy: &c.busyReaders, silent: c.engine.Silent,
	}
	t.zone, t.queue = p.zone.id, c.queue
	p.port = t
	c.relayOpened(p)
	zone := p.zone.id
	c.tasks.Go(func() {
		err := t.read(zone, c.queue)
		select {
		case c.fails <- portError{t, err}:
		case <-t.done:
		}
	})
	c.tasks.Go(func() {
		t.write(c, zone)
		close(t.flushed)
	})
}

// close makes both goroutines end.
func (t *port) close() {
	close(t.done)
	t.conn.Close() // nothing is left to lose
}

// read parses what comes and hands it over until the socket fails.
func (t *port) read(zone Zone, queue chan<- *batch) error {
	var grams [readBatch]packet.Datagram
	wait := waiter{conn: t.conn, relays: len(t.relays) > 0, busy: t.busy}
	for {
		n, err := wait.read(grams[:])
		if err != nil {
			return err
		}
		t.stats.received.Add(uint64(n))
		b := t.batch()
		if b == nil {
			t.stats.drop(dropQueue, n)
			if len(t.relays) == 0 {
				continue
			}
			b = t.spareBatch()
		}
		if len(t.relays) == 0 {
			b.fill(zone, grams[:n], t.stats, false)
		} else {
			t.draining.Lock()
			b.fill(zone, grams[:n], t.stats, true)
			b.packets = t.relay(zone, b.packets)
			t.draining.Unlock()
		}
		if b == t.spare {
			continue
		}
		if len(b.packets) == 0 {
			t.free <- b
			continue
		}
		select {
		case queue <- b:
		case <-t.done:
			return errors.New("mdns: socket closed")
		}
	}
}

// batch returns an empty batch, nil if all are waiting for the engine.
func (t *port) batch() *batch {
	select {
	case b := <-t.free:
		return b
	default:
	}
	if t.made == portBatches {
		return nil
	}
	t.made++
	return t.newBatch()
}

func (t *port) newBatch() *batch {
	return &batch{port: t, packets: make([]Packet, 0, readBatch), buf: make([]byte, 0, batchBuffer)}
}

// spareBatch returns the batch that is never handed to the engine.
func (t *port) spareBatch() *batch {
	if t.spare == nil {
		t.spare = t.newBatch()
	}
	return t.spare
}

// fill copies the well-formed messages among the datagrams into the batch, and
// the others, too, if all are wanted.
func (b *batch) fill(zone Zone, grams []packet.Datagram, stats *counters, all bool) {
	if cap(b.buf) > batchKeep {
		b.buf = make([]byte, 0, batchBuffer)
	}
	size := 0
	for i := range grams {
		size += len(grams[i].Data)
	}
	if size > cap(b.buf) {
		b.buf = make([]byte, 0, size)
	}
	b.packets, b.buf = b.packets[:0], b.buf[:0]
	now := time.Now()
	for i := range grams {
		g := &grams[i]
		if len(g.Data) > maxDatagram {
			stats.drop(dropSize, 1)
			continue
		}
		at := len(b.buf)
		b.buf = append(b.buf, g.Data...)
		data := b.buf[at:len(b.buf):len(b.buf)]
		m, err := dnswire.Parse(data)
		if err != nil {
			var e *dnswire.Error
			if errors.As(err, &e) {
				stats.bad(e.Reason)
			}
			if !all {
				continue
			}
		}
		b.packets = append(b.packets, Packet{Zone: zone, Src: g.Src, Dst: g.Dst, Time: now, Message: m, Data: data, Malformed: err})
	}
}

// write sends what the engine queued until the socket is closed.
func (t *port) write(c *core, zone Zone) {
	grams := make([]packet.Datagram, 0, writeAtOnce)
	for {
		select {
		case <-t.done:
			return
		case d := <-t.out:
			grams = append(grams[:0], d)
		case <-t.flush:
			select {
			case d := <-t.out:
				grams = append(grams[:0], d)
			default:
				return
			}
		}
	more:
		for len(grams) < writeAtOnce {
			select {
			case d := <-t.out:
				grams = append(grams, d)
			default:
				break more
			}
		}
		n, err := t.conn.WriteBatch(grams)
		t.stats.sent.Add(uint64(n))
		if err != nil {
			t.stats.sendErrors.Add(uint64(len(grams) - n))
			if t.sendErrors.Add(1) == sendErrorLog {
				c.log.Warn("packet not sent", "if", zone.Interface, "family", zone.Family.String(), "err", err)
			}
		}
	}
}
