package lantest

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/lanfolk/lanfolk/packet"
)

// Network is a set of wires and hosts. Create it with New.
type Network struct {
	mu     sync.Mutex
	random *rand.Rand
	wires  map[string]*Wire
	hosts  map[string]*Host
	macs   uint32
	due    deliveries
	seq    uint64
	timer  *time.Timer
}

// New makes a network without wires and hosts. The seed decides what the
// Conditions of the wires leave to chance.
func New(seed uint64) *Network {
	return &Network{
		random: rand.New(rand.NewPCG(seed, seed)),
		wires:  make(map[string]*Wire),
		hosts:  make(map[string]*Host),
	}
}

// Wire returns the wire (a link-local network: a switch, a VLAN) of that name,
// which the first call makes.
func (n *Network) Wire(name string) *Wire {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.wire(name)
}

func (n *Network) wire(name string) *Wire {
	w := n.wires[name]
	if w == nil {
		w = &Wire{network: n, name: name}
		n.wires[name] = w
	}
	return w
}

// Host returns the host of that name, which the first call makes. It has a
// loopback link, lo, with 127.0.0.1/8 and ::1/128.
func (n *Network) Host(name string) *Host {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.hosts[name]
	if h == nil {
		h = &Host{network: n, name: name, watchers: make(map[chan struct{}]struct{})}
		n.hosts[name] = h
		h.attach(n.wire("lo of "+name), packet.Link{
			Name: "lo", MTU: 65536, Flags: net.FlagUp | net.FlagRunning | net.FlagLoopback,
			Prefixes: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8"), netip.MustParsePrefix("::1/128")},
		})
	}
	return h
}

// Conditions say how bad a wire is. The zero value is a perfect one: packets arrive at once
// and in order. What a host sends to itself is not affected.
type Conditions struct {
	Loss      float64 // probability from 0 to 1, for each packet and receiving interface
	Duplicate float64 // probability that it arrives twice
	Reorder   float64 // probability that it is held back, behind what is sent next
	Latency   time.Duration
	Jitter    time.Duration // up to so much is added to the latency at random; it may swap packets
}

// reorderDelay is added to what is held back.
const reorderDelay = 10 * time.Millisecond

// Wire is what connects interfaces.
type Wire struct {
	network    *Network
	name       string
	nics       []*NIC
	conditions Conditions
	captures   []*Capture
}

// Name returns the wire's name.
func (w *Wire) Name() string { return w.name }

// SetConditions changes how bad the wire is for packets sent from now on.
func (w *Wire) SetConditions(c Conditions) {
	w.network.mu.Lock()
	defer w.network.mu.Unlock()
	w.conditions = c
}

// Inject puts a packet on the wire as if a host had sent it that isn't part of the
// network, with any source and destination. A TTL of 0 means 255.
func (w *Wire) Inject(d packet.Datagram) {
	w.network.mu.Lock()
	defer w.network.mu.Unlock()
	if d.TTL == 0 {
		d.TTL = 255
	}
	d.Src = netip.AddrPortFrom(d.Src.Addr().Unmap().WithZone(""), d.Src.Port())
	d.Dst = netip.AddrPortFrom(d.Dst.Addr().Unmap().WithZone(""), d.Dst.Port())
	d.Data = append([]byte(nil), d.Data...)
	w.transmit(nil, d)
}

// transmit brings d, which from sent (nil: Inject), to every other interface on the
// wire, as the conditions allow.
func (w *Wire) transmit(from *NIC, d packet.Datagram) {
	n := w.network
	w.record(from, d)
	for _, nic := range w.nics {
		if nic == from || !nic.accepts(d.Dst.Addr()) {
			continue
		}
		c := w.conditions
		if c.Loss > 0 && n.random.Float64() < c.Loss {
			continue
		}
		copies := 1
		if c.Duplicate > 0 && n.random.Float64() < c.Duplicate {
			copies = 2
		}
		for range copies {
			delay := c.Latency
			if c.Jitter > 0 {
				delay += time.Duration(n.random.Int64N(int64(c.Jitter) + 1))
			}
			if c.Reorder > 0 && n.random.Float64() < c.Reorder {
				delay += c.Jitter + reorderDelay
			}
			if delay <= 0 {
				nic.receive(d, false)
				continue
			}
			n.seq++
			heap.Push(&n.due, delivery{time.Now().Add(delay), n.seq, nic, d})
		}
	}
	n.schedule()
}

// schedule sets the one timer that delivers what is under way. One timer for
// all keeps the order of packets that are due at the same moment.
func (n *Network) schedule() {
	if len(n.due) == 0 {
		return
	}
	wait := time.Until(n.due[0].at)
	if n.timer == nil {
		n.timer = time.AfterFunc(wait, n.deliver)
		return
	}
	n.timer.Reset(wait)
}

func (n *Network) deliver() {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	for len(n.due) > 0 && !n.due[0].at.After(now) {
		d := heap.Pop(&n.due).(delivery)
		d.nic.receive(d.datagram, false)
	}
	n.schedule()
}

type delivery struct {
	at       time.Time
	seq      uint64
	nic      *NIC
	datagram packet.Datagram
}

// deliveries is a heap by time and then by the order of sending.
type deliveries []delivery

func (q deliveries) Len() int { return len(q) }
func (q deliveries) Less(i, j int) bool {
	if !q[i].at.Equal(q[j].at) {
		return q[i].at.Before(q[j].at)
	}
	return q[i].seq < q[j].seq
}
func (q deliveries) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *deliveries) Push(x any)   { *q = append(*q, x.(delivery)) }
func (q *deliveries) Pop() any {
	last := len(*q) - 1
	d := (*q)[last]
	(*q)[last] = delivery{}
	*q = (*q)[:last]
	return d
}

// Sent is a packet as it was put on a wire.
type Sent struct {
	packet.Datagram // Link is the sender's; 0 for what was injected
	Host            string
	Interface       string
}

func (s Sent) String() string {
	return fmt.Sprintf("%s %s %v > %v, %d bytes", s.Host, s.Interface, s.Src, s.Dst, len(s.Data))
}

// Capture records every packet that is sent on a wire, those that are then
// lost, too. (What a host sends to its own address never gets onto the wire.)
type Capture struct {
	wire *Wire
	sent []Sent
}

// Capture starts to record.
func (w *Wire) Capture() *Capture {
	w.network.mu.Lock()
	defer w.network.mu.Unlock()
	c := &Capture{wire: w}
	w.captures = append(w.captures, c)
	return c
}

// Packets returns what was recorded, in the order of sending.
func (c *Capture) Packets() []Sent {
	c.wire.network.mu.Lock()
	defer c.wire.network.mu.Unlock()
	return append([]Sent(nil), c.sent...)
}

// Take returns what was recorded since the last Take, or since the beginning.
func (c *Capture) Take() []Sent {
	c.wire.network.mu.Lock()
	defer c.wire.network.mu.Unlock()
	sent := c.sent
	c.sent = nil
	return sent
}

func (w *Wire) record(from *NIC, d packet.Datagram) {
	if len(w.captures) == 0 {
		return
	}
	s := Sent{Datagram: d}
	s.Time = time.Now()
	s.Link = 0
	if from != nil {
		s.Host, s.Interface, s.Link = from.host.name, from.link.Name, from.link.Index
	}
	for _, c := range w.captures {
		c.sent = append(c.sent, s)
	}
}
