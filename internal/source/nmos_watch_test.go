package source

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/internal/find"
	"github.com/lanfolk/lanfolk/nmos"
)

// What is chosen is told at once; of the others, which may change without end,
// the last word now and then.
func TestWatchTellsUpdatesNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &nmos.Advert{Found: nmos.Found{Instance: dnssd.Instance{Name: "A"}, Targets: []nmos.Target{{Host: "a", Port: 80}}}, Proto: "http"}
		b := &nmos.Advert{Found: nmos.Found{Instance: dnssd.Instance{Name: "B"}, Targets: []nmos.Target{{Host: "b", Port: 80}}}, Proto: "http"}
		start := time.Now()
		ctx, stop := context.WithCancel(t.Context())
		states := func(yield func(nmos.State) bool) {
			say := func(complete bool, sel *nmos.Advert, since time.Time, reason string) bool {
				st := nmos.State{Time: time.Now(), Complete: complete, Since: since, Reason: reason}
				if sel != nil {
					st.Selected = &nmos.Selection{Advert: sel, Target: sel.Targets[0]}
				}
				return yield(st)
			}
			since := start
			say(false, nil, since, "looking")
			say(true, a, since, "0")
			for i := range 500 { // one each millisecond
				time.Sleep(time.Millisecond)
				if !say(true, a, since, fmt.Sprint(i+1)) {
					return
				}
			}
			say(true, b, time.Now(), "A failed")
			say(true, nil, time.Now(), "B failed")
			say(true, nil, time.Now(), "still")
			<-ctx.Done()
		}
		var told []string
		w := watch{}
		w.yield = func(ch find.SelectionChange, _ error) bool {
			told = append(told, fmt.Sprintf("%d ms: %s %s", time.Since(start).Milliseconds(), ch.Event, ch.Reason))
			return ch.Reason != "still"
		}
		w.tell(ctx, stop, states, nil)
		want := []string{"0 ms: selected 0", "200 ms: update ", "400 ms: update ", "500 ms: selected A failed", "500 ms: none B failed", "700 ms: update still"}
		if !slices.EqualFunc(told, want, strings.HasPrefix) {
			t.Errorf("told %q, want %q", told, want)
		}
		if !w.enough || ctx.Err() == nil {
			t.Error("the reader had enough, and it goes on")
		}
	})
}
