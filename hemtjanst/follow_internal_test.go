package hemtjanst

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// echo is a transport whose broker retains nothing and sends everything back after a time.
type echo struct {
	after   time.Duration
	receive func(Message)
	done    chan struct{}
}

func (e *echo) Connect(_ context.Context, s Session) (Conn, error) {
	e.receive, e.done = s.Receive, make(chan struct{})
	return e, nil
}

func (e *echo) Publish(_ context.Context, m Message) error {
	time.AfterFunc(e.after, func() { e.receive(m) })
	return nil
}

func (e *echo) Subscribe(context.Context, SubscribeOptions, ...string) error { return nil }
func (e *echo) Unsubscribe(context.Context, ...string) error                 { return nil }
func (e *echo) Flush(context.Context) error                                  { return nil }
func (e *echo) NoLocal() bool                                                { return true }
func (e *echo) Done() <-chan struct{}                                        { return e.done }
func (e *echo) Err() error                                                   { return nil }
func (e *echo) Disconnect(context.Context) error                             { return nil }
func (e *echo) Close() error                                                 { return nil }

// A snapshot whose end comes in time is whole, however late the one who waits for it has his turn.
func TestWhoIsLateHimselfBlamesNobody(t *testing.T) {
	for _, c := range []struct {
		name                string
		end, stops, forLong time.Duration // when the end comes, and when the follower stops and for how long
		unconfirmed         bool
	}{
		{"it waits to be taken", quiet - time.Second, time.Second, quiet, false},
		{"it has just come", quiet - time.Millisecond, quiet - 2*time.Millisecond, 10 * time.Millisecond, false},
		{"it is read when all go on", quiet + time.Minute + late/2, time.Second, quiet + time.Minute - time.Second, false},
		{"it doesn't come", time.Hour, time.Second, time.Minute, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			for range 20 { // of what is ready at the same time any may come first
				synctest.Test(t, func(t *testing.T) {
					began := time.Now()
					stops := began.Add(c.stops)
					var told []string
					f := &follower{
						broker: &echo{after: c.end}, clientID: "x", log: silentIfNil(nil), status: &status{}, model: &Model{},
						events: func(_ time.Time, events []Event) {
							for _, e := range events {
								told = append(told, strings.TrimSpace(e.Kind.String()+map[bool]string{true: " unconfirmed"}[e.Unconfirmed]))
							}
						},
						due:     func() time.Time { return stops },
						advance: func(time.Time) { stops = time.Time{}; time.Sleep(c.forLong) },
					}
					ctx, cancel := context.WithTimeout(t.Context(), c.stops+c.forLong+2*quiet)
					defer cancel()
					if err := f.run(ctx); err != nil {
						t.Error(err)
					}
					if len(told) == 0 || (told[0] == "complete unconfirmed") != c.unconfirmed {
						t.Errorf("told %q", told)
					}
				})
			}
		})
	}
}
