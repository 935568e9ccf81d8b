package access_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/internal/access"
	"github.com/lanfolk/lanfolk/store/fleet"
)

func TestGuessingIsSlow(t *testing.T) {
	t.Parallel()
	d, ctx := newDesk(t), t.Context()
	d.user(t, "ann", fleet.Admin)
	guess := func(name, addr string) error {
		_, err := d.SignIn(ctx, name, "a guess", addr)
		return err
	}
	// Each address has ten tries, whatever the names, and whatever its port.
	for i := range 10 {
		wantErr(t, guess(fmt.Sprintf("n%d", i), fmt.Sprintf("192.0.2.1:%d", i)), access.ErrUnrecognised)
	}
	err := guess("n10", "192.0.2.1:10")
	soon, ok := errors.AsType[access.TooSoon](err)
	if !ok || soon.Wait <= 0 || soon.Wait > 10*time.Second {
		t.Fatalf("an eleventh guess: %v", err)
	}
	wantErr(t, err, access.ErrTooMany)
	// The right one doesn't help then: nobody learns that it is the right one.
	_, err = d.SignIn(ctx, "ann", password, "192.0.2.1:11")
	wantErr(t, err, access.ErrTooMany)
	d.time.move(soon.Wait)
	if _, err = d.SignIn(ctx, "ann", password, "192.0.2.1:11"); err != nil {
		t.Errorf("after the wait: %v", err)
	}
	// One machine has a whole /64 of IPv6.
	for i := range 10 {
		wantErr(t, guess(fmt.Sprintf("n%d", i), fmt.Sprintf("[2001:db8::%x]:1", i)), access.ErrUnrecognised)
	}
	wantErr(t, guess("n", "[2001:db8::ffff]:1"), access.ErrTooMany)
	wantErr(t, guess("n", "[2001:db8:0:1::1]:1"), access.ErrUnrecognised)
}

func TestGuessesFromManyAddressesDoNotKeepTheUserOut(t *testing.T) {
	t.Parallel()
	d, ctx := newDesk(t), t.Context()
	d.user(t, "ann", fleet.Admin)
	if _, err := d.SignIn(ctx, "ann", password, "192.0.2.1:1"); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		_, err := d.SignIn(ctx, "ann", "a guess", fmt.Sprintf("198.51.100.%d:1", i))
		wantErr(t, err, access.ErrUnrecognised)
	}
	// Strangers' addresses have had their tries at this name, and a name that there
	// isn't has as many: so nobody learns which one there is.
	_, err := d.SignIn(ctx, "ann", "a guess", "198.51.100.10:1")
	wantErr(t, err, access.ErrTooMany)
	// Where ann signed in before, she does again.
	if _, err := d.SignIn(ctx, "ann", password, "192.0.2.1:2"); err != nil {
		t.Errorf("ann is kept out by others: %v", err)
	}
	for i := range 10 {
		_, err := d.SignIn(ctx, "nobody", "a guess", fmt.Sprintf("203.0.113.%d:1", i))
		wantErr(t, err, access.ErrUnrecognised)
	}
	_, err = d.SignIn(ctx, "nobody", "a guess", "203.0.113.10:1")
	wantErr(t, err, access.ErrTooMany)
	// From elsewhere she waits, but not for ever.
	d.time.move(time.Minute)
	if _, err := d.SignIn(ctx, "ann", password, "203.0.113.200:1"); err != nil {
		t.Errorf("after a minute: %v", err)
	}
	// The address that she knows is no way in for guesses, either.
	for range 10 {
		_, err := d.SignIn(ctx, "ann", "a guess", "192.0.2.1:3")
		wantErr(t, err, access.ErrUnrecognised)
	}
	_, err = d.SignIn(ctx, "ann", "a guess", "192.0.2.1:3")
	wantErr(t, err, access.ErrTooMany)
}

// slow is Accounts whose passwords take until they are let go.
type slow struct {
	fleet.Accounts
	waiting chan string
	let     chan bool
}

func (s *slow) CheckPassword(ctx context.Context, name, password string) (fleet.User, error) {
	s.waiting <- name
	<-s.let
	return s.Accounts.CheckPassword(ctx, name, password)
}

func TestACrowdOfStrangersLeavesRoom(t *testing.T) {
	t.Parallel()
	d, ctx := newDesk(t), t.Context()
	d.user(t, "ann", fleet.Admin)
	if _, err := d.SignIn(ctx, "ann", password, "192.0.2.1:1"); err != nil {
		t.Fatal(err)
	}
	s := &slow{d.Accounts, make(chan string), make(chan bool)}
	d.Accounts = s
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			_, err := d.SignIn(ctx, fmt.Sprintf("n%d", i), "a guess", fmt.Sprintf("198.51.100.%d:1", i))
			wantErr(t, err, access.ErrUnrecognised)
		})
		<-s.waiting
	}
	_, err := d.SignIn(ctx, "ann", password, "203.0.113.1:1")
	wantErr(t, err, access.ErrTooMany)
	wg.Go(func() {
		if _, err := d.SignIn(ctx, "ann", password, "192.0.2.1:2"); err != nil {
			t.Errorf("ann, from where she was: %v", err)
		}
	})
	if name := <-s.waiting; name != "ann" {
		t.Errorf("%s is checked", name)
	}
	close(s.let)
	wg.Wait()
}

func TestWhoKnowsThePasswordBeginsNoEndOfSessions(t *testing.T) {
	t.Parallel()
	d, ctx := newDesk(t), t.Context()
	d.user(t, "ann", fleet.Admin)
	var err error
	n := 0
	for ; n < 100 && err == nil; n++ {
		_, err = d.SignIn(ctx, "ann", password, "192.0.2.1:1")
	}
	wantErr(t, err, access.ErrTooMany)
	if n != 61 {
		t.Errorf("%d sign-ins at once; want 60", n-1)
	}
}

// hashing counts the passwords that are checked, each of which takes as long, whether there
// is such a user or not; see fleet.Accounts.
type hashing struct {
	fleet.Accounts
	n int
}

func (h *hashing) CheckPassword(ctx context.Context, name, password string) (fleet.User, error) {
	h.n++
	return h.Accounts.CheckPassword(ctx, name, password)
}

func TestAnUnknownNameTakesAsLong(t *testing.T) {
	t.Parallel()
	d, ctx := newDesk(t), t.Context()
	d.user(t, "ann", fleet.Admin)
	if _, err := d.CreateUser(ctx, root(), access.NewUser{Name: "bot"}); err != nil {
		t.Fatal(err)
	}
	h := &hashing{Accounts: d.fleet.Accounts} // the real one
	d.Accounts = h
	var said string
	for i, name := range []string{"ann", "eve", "bot", strings.Repeat("x", 1000), "a\x00", ""} {
		_, err := d.SignIn(ctx, name, "a guess", fmt.Sprintf("192.0.2.%d:1", i))
		wantErr(t, err, access.ErrUnrecognised)
		if said == "" {
			said = err.Error()
		}
		if h.n != i+1 || err.Error() != said {
			t.Errorf("%.10q: %d passwords checked, %v; want %d, %s", name, h.n, err, i+1, said)
		}
	}
}
