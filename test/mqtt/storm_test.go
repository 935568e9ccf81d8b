package mqtt

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/hemtjanst"
	"github.com/lanfolk/lanfolk/hemtjanst/mqtt"
	"github.com/lanfolk/lanfolk/test/lab"
)

// A broker that dies and forgets everything is told all of it again by everyone, without being stormed
// while it is away or when it is back.
func TestReconnectStorm(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]lab.MQTT{"mosquitto": {}, "lanfolk": {Lanfolk: true}} { // nothing is kept
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, m)
			r := s.newRelay(&relay{})
			const n = 200
			ctx, cancel := context.WithCancel(t.Context())
			var running sync.WaitGroup
			defer running.Wait()
			defer cancel()
			for i := range n {
				a := &hemtjanst.Announcer{
					Broker: &mqtt.Broker{URL: r.url, Dial: s.host.DialContext},
					ID:     fmt.Sprintf("dev-%d", i), Root: fmt.Sprintf("storm/%d", i),
				}
				running.Go(func() {
					if err := a.Run(ctx); err != nil {
						t.Error(err)
					}
				})
			}
			all := &allUnder{Prefix: "current/storm", Payload: "1", Count: n}
			lab.Eventually(t, 30*time.Second, "all announced", func() error { return s.checkAll(all) })
			before := r.connect.Load()
			s.broker.Stop(syscall.SIGKILL)
			time.Sleep(2 * time.Second)
			s.broker.Start()
			lab.Eventually(t, 60*time.Second, "all announced again", func() error { return s.checkAll(all) })
			if made := r.connect.Load() - before; made > 12*n {
				t.Errorf("%d clients made %d connections for one restart", n, made)
			} else {
				t.Logf("%d clients made %d connections for one restart", n, made)
			}
		})
	}
}
