package dnssd_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/mdns"
	"github.com/lanfolk/lanfolk/packet"
)

// answerLater answers like a host that keeps to RFC 6762 §6: shared records
// after 20 to 120 ms, unique ones at once.
func (x *responder) answerLater() {
	var grams [8]packet.Datagram
	for {
		n, err := x.conn.ReadBatch(grams[:])
		if err != nil {
			return
		}
		for _, g := range grams[:n] {
			answers, extra := x.answers(g.Data)
			if len(answers) == 0 {
				continue
			}
			delay := time.Duration(0)
			if answers[0].Type == dnswire.TypePTR {
				delay = 20*time.Millisecond + rand.N(100*time.Millisecond)
			}
			time.AfterFunc(delay, func() { x.send(answers, extra) })
		}
	}
}

// All of 200 hosts are found soon after the first query, and with few packets.
func TestTwoHundredHostsAreFoundFast(t *testing.T) {
	for _, c := range []struct {
		what    string
		full    bool
		within  time.Duration
		queries int
	}{
		{"full answers", true, 121 * time.Millisecond, 6},
		{"PTR records only", false, 260 * time.Millisecond, 15},
	} {
		t.Run(c.what, func(t *testing.T) {
			inBubble(t, func(r *rig) {
				r.nic.SetAddresses("10.0.0.1/16")
				for i := range 200 {
					ip := fmt.Sprintf("10.0.%d.%d", 1+i/200, 2+i%200)
					nic := r.net.Host(fmt.Sprint("h", i)).Attach(r.wire, "eth0", ip+"/16")
					conn, err := r.net.Host(fmt.Sprint("h", i)).ListenMulticast(nic.Link(), mdns.IPv4.Group())
					if err != nil {
						r.t.Fatal(err)
					}
					x := &responder{records: web(fmt.Sprintf("Web %d", i), fmt.Sprintf("web%d.local", i), 80, ip), extra: c.full, conn: conn}
					done := make(chan struct{})
					go func() { defer close(done); x.answerLater() }()
					r.t.Cleanup(func() { conn.Close(); <-done })
				}
				time.Sleep(5 * time.Second)
				r.capture.Take()
				ctx, cancel := context.WithTimeout(r.t.Context(), 900*time.Millisecond)
				defer cancel()
				b := dnssd.Browser{Source: r.source, Type: "_http._tcp", Resolve: true}
				found := 0
				var last time.Time
				for ev, err := range b.Events(ctx) {
					if err != nil {
						r.t.Fatal(err)
					}
					if ev.Op == dnssd.Add && ev.Resolved {
						found++
						last = time.Now()
					}
				}
				queries := 0
				var first time.Time
				for _, p := range r.capture.Take() {
					if p.Host == "dut" && p.Data[2]&0x80 == 0 && !p.Time.After(last) {
						if queries == 0 {
							first = p.Time
						}
						queries++
					}
				}
				if took := last.Sub(first); found != 200 || took > c.within || queries > c.queries {
					r.t.Errorf("found %d in %v with %d packets, want 200 in %v with at most %d", found, took, queries, c.within, c.queries)
				} else {
					r.t.Logf("found %d in %v with %d packets", found, took, queries)
				}
			})
		})
	}
}
