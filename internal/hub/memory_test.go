package hub

import "testing"

// TestRush: memory is given back once a herd has come to rest, and not while it runs
// or for the few that come and go every day.
func TestRush(t *testing.T) {
	var r rush
	for i, step := range []struct {
		gateways int
		chunks   uint64
		over     bool
	}{
		{0, 0, false},
		{600, 0, false},     // they come
		{1200, 0, false},    // and come
		{1210, 0, true},     // all there
		{1210, 0, false},    // given back already
		{1205, 50, false},   // as every day
		{1205, 5000, false}, // answers
		{1205, 5100, true},
		{100, 5100, false}, // many went
		{100, 5100, true},
	} {
		if got := r.over(step.gateways, step.chunks); got != step.over {
			t.Errorf("step %d: %v", i, got)
		}
	}
}
