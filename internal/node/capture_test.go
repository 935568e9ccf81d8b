package node

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lanfolk/lanfolk/lan"
)

func TestCaptureOfALinkThatIsGoneWaitsToBeDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := fmt.Errorf("capture: %w", lan.ErrLinkGone)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for _, c := range []struct {
			ctx  context.Context
			err  error
			wait time.Duration
		}{
			{ctx, errors.New("other"), 0},
			{t.Context(), nil, 0},
			{ctx, gone, time.Second},
			{t.Context(), gone, droppedSoon}, // still there by the kernel's list: a failure after all
		} {
			start := time.Now()
			if err := untilDropped(c.ctx, c.err); !errors.Is(err, c.err) || time.Since(start) != c.wait {
				t.Errorf("%v: %v after %v", c.err, err, time.Since(start))
			}
		}
	})
}
