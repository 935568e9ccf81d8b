package dnssd_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/mdns"
)

// script is a source whose events are written down beforehand.
type script struct {
	steps []step
	done  error // how Next ends
}

type step struct {
	after  time.Duration
	events []mdns.Event
}

func (s *script) Via() string             { return "script" }
func (s *script) Feed(bool) dnssd.Feed    { return s }
func (s *script) Ask(...mdns.Question)    {}
func (s *script) Forget(...mdns.Question) {}
func (s *script) Close()                  {}
func (s *script) events(d time.Duration, op mdns.Op, rrs ...dnswire.RR) *script {
	x := step{after: d}
	for _, rr := range rrs {
		x.events = append(x.events, mdns.Event{Op: op, RR: rr, Zone: mdns.Zone{Link: 2, Interface: "eth0", Family: mdns.IPv4}})
	}
	if op == mdns.OpReset {
		x.events = []mdns.Event{{Op: op}}
	}
	s.steps = append(s.steps, x)
	return s
}

func (s *script) Next(ctx context.Context) ([]mdns.Event, error) {
	if len(s.steps) == 0 {
		if s.done != nil {
			return nil, s.done
		}
		<-ctx.Done()
		return nil, ctx.Err()
	}
	start := time.Now()
	select {
	case <-ctx.Done():
		s.steps[0].after -= time.Since(start)
		return nil, ctx.Err()
	case <-time.After(s.steps[0].after):
	}
	ev := s.steps[0].events
	for i := range ev {
		ev[i].Time = time.Now()
		ev[i].Expires = ev[i].Time.Add(time.Duration(ev[i].RR.TTL) * time.Second)
	}
	s.steps = s.steps[1:]
	return ev, nil
}

func TestLostEventsOnlyShowInWhatChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stays, goes := web("NAS", "nas.local", 80, "10.0.0.9", "fe80::9"), web("UPS", "ups.local", 80, "10.0.0.8", "fe80::8")
		// Addresses come once they were asked for.
		src := (&script{}).events(0, mdns.OpAdd, append(stays[:3:3], goes[:3]...)...).
			events(time.Millisecond, mdns.OpAdd, append(stays[3:5:5], goes[3:]...)...).
			events(10*time.Second, mdns.OpReset)
		for _, rr := range stays { // one by one, the pointer first
			src.events(50*time.Millisecond, mdns.OpAdd, rr)
		}
		b := resolveHTTP
		b.Source = src
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		got, err := lines(b.Events(ctx))
		if err != nil {
			t.Fatal(err)
		}
		same(t, "events", got, []string{
			`add NAS._http._tcp.local nas.local:80 [10.0.0.9 fe80::9] ["path=/" "ro"] on eth0`,
			`add UPS._http._tcp.local ups.local:80 [10.0.0.8 fe80::8] ["path=/" "ro"] on eth0`,
			"settled",
			`remove UPS._http._tcp.local ups.local:80 [10.0.0.8 fe80::8] ["path=/" "ro"] on eth0`,
		})
	})
}

func TestErrorOfTheSourceEndsTheSearch(t *testing.T) {
	b := resolveHTTP
	b.Source = &script{done: mdns.ErrStopped}
	if _, err := lines(b.Events(t.Context())); !errors.Is(err, mdns.ErrStopped) {
		t.Errorf("error %v, want %v", err, mdns.ErrStopped)
	}
}
