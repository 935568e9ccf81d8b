package newest_test

import (
	"context"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"

	"github.com/lanfolk/lanfolk/internal/hub/newest"
)

// read passes a watcher's values on as text.
func read(ctx context.Context, w *newest.Watcher[string, int]) <-chan string {
	c := make(chan string)
	go func() {
		defer close(c)
		w.Pass(ctx, func(k string, v int) bool {
			select {
			case c <- k + strconv.Itoa(v):
				return true
			case <-ctx.Done():
				return false
			}
		})
	}()
	return c
}

func TestASlowReaderGetsTheNewestOfEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var b newest.Board[string, int]
		all, some := read(ctx, b.Watch(nil)), read(ctx, b.Watch([]string{"b"}))
		b.Post("x", 0)
		synctest.Wait() // it is in the reader's hand
		for n := range 3 {
			b.Post("a", n)
			b.Post("b", n)
		}
		got := []string{<-all, <-all, <-all}
		if want := []string{"x0", "a2", "b2"}; !slices.Equal(got, want) {
			t.Errorf("all: %v, want %v", got, want)
		}
		if got := <-some; got != "b0" && got != "b2" {
			t.Errorf("of b alone: %v", got)
		}
		cancel()
		for range all {
		}
		for range some {
		}
		synctest.Wait()
		if b.Watched() {
			t.Error("a watcher stayed")
		}
	})
}

func TestWhatIsOlderGivesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b newest.Board[string, int]
		w := b.Watch(nil)
		w.TellFirst("a", 1)
		b.Post("b", 2)
		w.TellFirst("b", 1)
		b.Post("a", 2)
		c := read(t.Context(), w)
		if got, want := []string{<-c, <-c}, []string{"a2", "b2"}; !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
	})
}

func TestAReaderThatIsTooFarBehindIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b newest.Board[string, int]
		c := read(t.Context(), b.Watch(nil))
		for n := range newest.MaxBehind + 2 {
			b.Post(strconv.Itoa(n)+":", n)
			if n == 0 {
				synctest.Wait()
			}
		}
		if got := <-c; got != "0:0" {
			t.Errorf("%s came first", got)
		}
		if got, ok := <-c; ok {
			t.Errorf("%s came after it was cut off", got)
		}
	})
}
