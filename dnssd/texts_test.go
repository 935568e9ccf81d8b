package dnssd_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/packet"
)

// raw returns a response with a TXT record of any bytes between two other records.
func raw(instance, data string, before, after dnswire.RR) []byte {
	var b dnswire.Builder
	b.Reset(nil, dnswire.Header{Response: true, Authoritative: true}, 0)
	b.Answer(before)
	// A type that nobody reads becomes TXT.
	b.Answer(dnswire.RR{Name: name(instance), Type: 65280, Class: dnswire.ClassIN, Flush: true, TTL: 120, Data: data})
	b.Answer(after)
	out := b.Bytes()
	for i := range out {
		if out[i] == 0xff && out[i+1] == 0 && out[i+2] == 0x80 && out[i+3] == 1 {
			out[i], out[i+1] = 0, byte(dnswire.TypeTXT)
			return out
		}
	}
	panic("no record")
}

// A TXT record that can't be read costs no other record of its packet, and who
// looks for the service learns why it has none.
func TestBrokenTXTByMulticast(t *testing.T) {
	inBubble(t, func(r *rig) {
		records := web("A", "a.local", 80, "10.0.1.1")
		x := r.respond(r.wire, "a", "10.0.1.1/16", true, records[0], records[1], records[3])
		tiny := "\x16api_ver=v1.0,v1.1,v1.2,v1.3\x0eapi_proto=http\x05pri=0"
		say := func(after time.Duration, data string) {
			time.AfterFunc(after, func() {
				if _, err := x.conn.WriteBatch([]packet.Datagram{{Data: raw("A._http._tcp.local", data, records[0], records[3])}}); err != nil {
					t.Error(err)
				}
			})
		}
		say(300*time.Millisecond, tiny)
		say(20*time.Second, "\x04ro=1")
		say(40*time.Second, "\x04ro=1\x09")
		ctx, cancel := context.WithTimeout(r.t.Context(), 60*time.Second)
		defer cancel()
		var got []string
		b := dnssd.Browser{Source: r.source, Type: "_http._tcp", Resolve: true}
		for ev := range b.Events(ctx) {
			if ev.Op != dnssd.Settled {
				got = append(got, fmt.Sprintf("%.0fs %s %v %q %v", time.Since(r.start).Seconds(), ev.Op, ev.Resolved, ev.TXT, ev.Broken))
			}
		}
		same(t, "events", got, []string{
			"0s add true [] dnssd: TXT record: string 2 is said to have 44 bytes, 25 are left",
			// The old record stays for a second (RFC 6762 §10.2).
			`20s update true ["ro=1"] dnssd: TXT record: string 2 is said to have 44 bytes, 25 are left`,
			`21s update true ["ro=1"] <nil>`,
			`41s update true [] dnssd: TXT record: string 2 is said to have 9 bytes, 0 are left`,
		})
	})
}

// Two records that stand beside each other are two; one that replaces another is one.
func TestSeveralTXTRecordsByMulticast(t *testing.T) {
	inBubble(t, func(r *rig) {
		records := web("A", "a.local", 80, "10.0.1.1")
		second := txt("A._http._tcp.local", "pri=5")
		x := r.respond(r.wire, "a", "10.0.1.1/16", true, append(records, second)...)
		time.AfterFunc(20*time.Second, func() { x.send([]dnswire.RR{second}, nil) })
		ctx, cancel := context.WithTimeout(r.t.Context(), 30*time.Second)
		defer cancel()
		var got []string
		b := dnssd.Browser{Source: r.source, Type: "_http._tcp", Resolve: true}
		for ev := range b.Events(ctx) {
			if ev.Op != dnssd.Settled {
				got = append(got, fmt.Sprintf("%.0fs %s %q %q", time.Since(r.start).Seconds(), ev.Op, ev.TXT, ev.TXTs))
			}
		}
		same(t, "events", got, []string{`0s add ["path=/" "ro"] [["path=/" "ro"] ["pri=5"]]`, `21s update ["pri=5"] []`})
	})
}
