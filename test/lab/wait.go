package lab

import (
	"testing"
	"time"
)

// Eventually calls f until it returns nil, and fails the test with its last
// error if it doesn't within d. On a machine that has more to do it waits for
// longer, as all waits of a lab do.
func Eventually(t testing.TB, d time.Duration, what string, f func() error) {
	t.Helper()
	if err := poll(d, f); err != nil {
		t.Fatalf("%s: not within %v: %v", what, d, err)
	}
}

// poll calls f until it returns nil, and returns its last error after d.
func poll(d time.Duration, f func() error) error {
	limit := newPatience(d)
	for pause := time.Millisecond; ; pause = min(2*pause, look) {
		err := f()
		if err == nil || limit.ends() {
			return err
		}
		time.Sleep(pause)
	}
}
