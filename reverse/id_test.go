package reverse_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/lanfolk/lanfolk/reverse"
)

func TestIDIsAULID(t *testing.T) {
	// The timestamp of the ULID specification's example: 01ARYZ6S41….
	ids := reverse.IDs{Random: bytes.NewReader(make([]byte, 10))}
	got, err := ids.Next(time.UnixMilli(1469918176385))
	if want := "01ARYZ6S41" + strings.Repeat("0", 16); err != nil || got != want {
		t.Errorf("%s, %v; want %s", got, err, want)
	}
	if err := reverse.CheckID(got); err != nil {
		t.Error(err)
	}
}

// Ids rise within a millisecond, and when the clock goes back.
func TestIDsRise(t *testing.T) {
	ids := reverse.IDs{Random: rand.Reader}
	now := time.UnixMilli(1_800_000_000_000)
	last := ""
	for i := range 5000 {
		switch i % 1000 {
		case 500:
			now = now.Add(time.Millisecond)
		case 900:
			now = now.Add(-time.Hour)
		}
		id, err := ids.Next(now)
		if err != nil || id <= last {
			t.Fatalf("%s after %s, %v", id, last, err)
		}
		last = id
	}
}

func TestIDsWithoutChance(t *testing.T) {
	ids := reverse.IDs{Random: iotest.ErrReader(errors.New("no chance"))}
	if id, err := ids.Next(time.UnixMilli(1)); err == nil {
		t.Errorf("made %s", id)
	}
}

func TestIDsWhenChanceIsUsedUp(t *testing.T) {
	ids := reverse.IDs{Random: bytes.NewReader(bytes.Repeat([]byte{0xff}, 10))}
	id, err := ids.Next(time.UnixMilli(5))
	if want := "0000000005" + "FZZZZZZZZZZZZZZZ"; err != nil || id != want { // the top bit is left for what follows
		t.Errorf("%s, %v; want %s", id, err, want)
	}
	id, err = ids.Next(time.UnixMilli(5))
	if want := "0000000005" + "G000000000000000"; err != nil || id != want {
		t.Errorf("%s, %v; want %s", id, err, want)
	}
}

func TestCheckID(t *testing.T) {
	for _, s := range []string{"", someID + "0", someID[1:], "8" + someID[1:], strings.ToLower(someID), someID[:25] + "I", someID[:25] + "/"} {
		if err := reverse.CheckID(s); !errors.Is(err, reverse.ErrID) {
			t.Errorf("%q: %v", s, err)
		}
	}
	if err := reverse.CheckID(someID); err != nil {
		t.Error(err)
	}
}
