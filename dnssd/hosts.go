package dnssd

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/lanfolk/lanfolk/mdns"
)

// maxHostEvents is how many events may wait for a slow reader of Hosts.
const maxHostEvents = 1 << 14

// HostEvent says that a host has an address, or no longer does.
type HostEvent struct {
	Op        Op // Add, Update (it holds longer) or Remove
	Host      string
	Addr      netip.Addr
	Link      int // index
	Interface string
	Family    mdns.Family // of the packet that said so
	Source    netip.Addr  // who said so
	Time      time.Time
	Expires   time.Time
}

// Hosts hears of all hosts' addresses without asking for any. It is an
// observer for mdns.Engine; the zero Hosts is ready.
type Hosts struct {
	mu      sync.Mutex
	ready   chan struct{}
	queue   []HostEvent
	dropped uint64
}

var _ mdns.Observer = (*Hosts)(nil)

// Heard implements mdns.Observer.
func (h *Hosts) Heard(*mdns.Packet) {}

// Changed implements mdns.Observer.
func (h *Hosts) Changed(ev mdns.Event) {
	addr, ok := ev.RR.Addr()
	if !ok {
		return
	}
	op := Add
	switch ev.Op {
	case mdns.OpUpdate:
		op = Update
	case mdns.OpRemove:
		op = Remove
	}
	h.mu.Lock()
	if len(h.queue) < maxHostEvents {
		h.queue = append(h.queue, HostEvent{
			Op: op, Host: ev.RR.Name.String(), Addr: addr,
			Link: ev.Zone.Link, Interface: ev.Zone.Interface, Family: ev.Zone.Family, Source: ev.Source, Time: ev.Time, Expires: ev.Expires,
		})
	} else {
		h.dropped++
	}
	ready := h.wake()
	h.mu.Unlock()
	select {
	case ready <- struct{}{}:
	default:
	}
}

// wake returns the channel that says that there are events. h.mu is held.
func (h *Hosts) wake() chan struct{} {
	if h.ready == nil {
		h.ready = make(chan struct{}, 1)
	}
	return h.ready
}

// Next waits for events and returns them in order. The error is ctx's. One
// goroutine at a time may call it.
func (h *Hosts) Next(ctx context.Context) ([]HostEvent, error) {
	for {
		h.mu.Lock()
		out, ready := h.queue, h.wake()
		h.queue = nil
		h.mu.Unlock()
		if len(out) > 0 {
			return out, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-ready:
		}
	}
}

// Dropped returns how many events found the queue full.
func (h *Hosts) Dropped() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.dropped
}
