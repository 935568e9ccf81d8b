package daemon

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/thejerf/suture/v4"
)

func TestTaskStates(t *testing.T) {
	for _, c := range []struct {
		name    string
		run     func(context.Context) error
		cancel  bool
		restart bool
		state   PartState
		err     string
		gain    string
	}{
		{"told to stop", func(ctx context.Context) error { return ctx.Err() }, true, false, Stopped, "", ""},
		{"ended early", func(context.Context) error { return nil }, false, true, Failed, "daemon: ended without being told to", ""},
		{"failed", func(context.Context) error { return errors.New("lan: no buffer") }, false, true, Failed, "lan: no buffer", ""},
		{"not possible here", func(context.Context) error {
			return Unavailable{errors.New("lan: no right to capture"), "sees devices that never announce themselves"}
		}, false, false, Off, "lan: no right to capture", "sees devices that never announce themselves"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if c.cancel {
				cancel()
			}
			p := &Task{Name: "capture eth0", Run: c.run}
			err := p.Serve(ctx)
			if restart := err != nil && !errors.Is(err, suture.ErrDoNotRestart); restart != c.restart {
				t.Errorf("Serve: error %v; restart %v, want %v", err, restart, c.restart)
			}
			s := p.part()
			if s.State != c.state || s.Error != c.err || s.Gain != c.gain {
				t.Errorf("status %+v; want state %s, error %q, gain %q", s, c.state, c.err, c.gain)
			}
		})
	}
}

func TestTaskKeepsItsLastFailureInSight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fail := true
		p := &Task{Name: "mdns", Run: func(ctx context.Context) error {
			if fail {
				return errors.New("lan: link eth0 is gone")
			}
			<-ctx.Done()
			return nil
		}}
		if err := p.Serve(t.Context()); err == nil {
			t.Fatal("Serve: no error")
		}
		fail = false
		ctx, cancel := context.WithCancel(t.Context())
		go func() { _ = p.Serve(ctx) }()
		synctest.Wait()
		if s := p.part(); s.State != Running || s.Error != "lan: link eth0 is gone" || s.Failures != 1 {
			t.Errorf("while it runs again: %+v; want running and the last failure", s)
		}
		cancel()
		synctest.Wait()
		if s := p.part(); s.State != Stopped || s.Error != "" {
			t.Errorf("after the end: %+v; want stopped, no error", s)
		}
	})
}
