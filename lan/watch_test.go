package lan

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fakeKernel is a list that changes, and what a watch needs of it.
type fakeKernel struct {
	mu           sync.Mutex // guards the next three
	list         []int
	listErr      error
	lists        int
	subscribeErr error
	hint, lost   func()
	stopped      bool
}

func (k *fakeKernel) set(err error, list ...int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.list, k.listErr = list, err
}

func (k *fakeKernel) watch() *watch[int] {
	return &watch[int]{
		list: func() ([]int, error) {
			k.mu.Lock()
			defer k.mu.Unlock()
			k.lists++
			return k.list, k.listErr
		},
		subscribe: func(hint, lost func()) (func(), error) {
			k.hint, k.lost = hint, lost
			return func() { k.stopped = true }, k.subscribeErr
		},
		changes: func(old, now []int) []int {
			if slices.Equal(old, now) {
				return nil
			}
			return now
		},
		settle: 50 * time.Millisecond,
	}
}

func expect(t *testing.T, out <-chan []int, want ...int) {
	t.Helper()
	synctest.Wait()
	select {
	case got := <-out:
		if !slices.Equal(got, want) {
			t.Errorf("told %v, want %v", got, want)
		}
	default:
		if want != nil {
			t.Errorf("told nothing, want %v", want)
		}
	}
}

func TestWatchTellsEachStateOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &fakeKernel{list: []int{1}}
		ctx, cancel := context.WithCancel(t.Context())
		closed := false
		out, err := k.watch().start(ctx, func() { closed = true })
		if err != nil {
			t.Fatal(err)
		}
		expect(t, out, 1)
		expect(t, out)
		time.Sleep(time.Hour)
		if k.lists != 1 {
			t.Errorf("listed %d times while nothing happened", k.lists)
		}
		for i := range 10 { // a burst
			k.set(nil, 1, i)
			k.hint()
			time.Sleep(4 * time.Millisecond)
		}
		expect(t, out)
		time.Sleep(50 * time.Millisecond)
		expect(t, out, 1, 9)
		if k.lists != 2 {
			t.Errorf("listed %d times for one burst", k.lists-1)
		}
		k.hint() // no real change
		time.Sleep(time.Second)
		expect(t, out)
		for _, list := range [][]int{{2}, {3}, {1, 9}} { // and back, while nobody reads
			k.set(nil, list...)
			k.hint()
			time.Sleep(time.Second)
		}
		expect(t, out)
		k.set(errors.New("the kernel is busy"))
		k.hint()
		time.Sleep(time.Second)
		k.set(nil, 4)
		time.Sleep(pollEvery)
		expect(t, out, 4)
		cancel()
		synctest.Wait()
		if _, open := <-out; open || !closed || !k.stopped {
			t.Errorf("after the end: channel open %v, handle closed %v, subscription stopped %v", open, closed, k.stopped)
		}
	})
}

func TestWatchPollsWithoutASubscription(t *testing.T) {
	for name, begin := range map[string]func(k *fakeKernel){
		"from the beginning": func(k *fakeKernel) { k.subscribeErr = errors.New("no") },
		"later":              func(*fakeKernel) {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := &fakeKernel{list: []int{1}}
				begin(k)
				out, err := k.watch().start(t.Context(), func() {})
				if err != nil {
					t.Fatal(err)
				}
				expect(t, out, 1)
				if k.subscribeErr == nil {
					k.set(nil, 1, 2)
					k.lost()
					expect(t, out, 1, 2)
				}
				for i := range 3 {
					k.set(nil, i)
					time.Sleep(pollEvery + time.Millisecond)
					expect(t, out, i)
				}
			})
		})
	}
}

func TestWatchThatCannotList(t *testing.T) {
	k := &fakeKernel{listErr: errors.New("no")}
	closed := false
	if _, err := k.watch().start(t.Context(), func() { closed = true }); err != k.listErr || !closed || !k.stopped {
		t.Errorf("%v, handle closed %v, subscription stopped %v", err, closed, k.stopped)
	}
}
