package deliver_test

import (
	"slices"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/store/fleet"
)

func TestACommandRunsOnceAndItsResultIsKept(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.start()
		g := w.gateway("g1").connect()
		c := w.one("g1", "status")
		if c.State != fleet.Queued || c.By != "ann" || c.Line != "status" || c.Deadline.Sub(c.Created) != time.Minute {
			t.Errorf("submitted: %+v", c)
		}
		c = w.ended(c.ID, time.Second)
		if c.State != fleet.OK || c.Size != 2 || w.output(c.ID) != "ok" || g.count(g.ran, c.ID) != 1 {
			t.Errorf("ended: %+v with %q, ran %d times", c, w.output(c.ID), g.ran[c.ID])
		}
		if got := w.said(c.ID); !slices.Equal(got, []string{"ann run ", "hub result ok"}) {
			t.Errorf("the audit says %q", got)
		}
	})
}
