package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/lanfolk/lanfolk"
)

// Inventory is the section [inventory]: how much is remembered, how long.
type Inventory struct {
	// Retention is how long a device without a name of yours is remembered.
	Retention Duration `toml:"retention"`
	// ForgetServices is how long a service that has run out is shown.
	ForgetServices Duration `toml:"forget_services"`
	// MaxSightings is how many facts are held at most, 0 for as many as fit the machine.
	MaxSightings int `toml:"max_sightings"`
}

func defaultInventory() Inventory {
	return Inventory{
		Retention:      Duration{lanfolk.DefaultRetention},
		ForgetServices: Duration{lanfolk.DefaultServiceRetention},
	}
}

func (i Inventory) check(bad func(key string, err error)) {
	const least, most = 1000, 100_000_000
	if i.MaxSightings != 0 && i.MaxSightings < least || i.MaxSightings > most {
		bad("max_sightings", fmt.Errorf("want %d to %d, or 0 for as many as fit, not %d", least, most, i.MaxSightings))
	}
}

// Duration is a time span of more than 0.
type Duration struct{ d time.Duration }

// Duration returns the span as package time has it.
func (d Duration) Duration() time.Duration { return d.d }

var errDuration = errors.New(`want a span like "90d", "2w" or "1h30m"`)

// ParseDuration reads a span as package time does, and with w for weeks and d
// for days of 24 hours before the rest: "90d", "1w2d12h".
func ParseDuration(s string) (Duration, error) {
	fail := func(why error) (Duration, error) { return Duration{}, fmt.Errorf("%w, not %q", why, s) }
	rest := s
	var sum time.Duration
	for _, u := range []struct {
		name string
		unit time.Duration
	}{{"w", 7 * 24 * time.Hour}, {"d", 24 * time.Hour}} {
		number, after, ok := strings.Cut(rest, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(number, 10, 32)
		if err != nil {
			return fail(errDuration)
		}
		if time.Duration(n) > (math.MaxInt64-sum)/u.unit {
			return fail(errors.New("want less than 292 years"))
		}
		sum += time.Duration(n) * u.unit
		rest = after
	}
	if rest != "" {
		d, err := time.ParseDuration(rest)
		if err != nil || strings.HasPrefix(rest, "+") {
			return fail(errDuration)
		}
		if d > math.MaxInt64-sum {
			return fail(errors.New("want less than 292 years"))
		}
		if d < 0 {
			return fail(errors.New("want more than 0"))
		}
		sum += d
	}
	if s == "" {
		return fail(errDuration)
	}
	if sum <= 0 {
		return fail(errors.New("want more than 0"))
	}
	return Duration{sum}, nil
}

// String returns the shortest form that reads back: "90d", "1h30m".
func (d Duration) String() string {
	const day = 24 * time.Hour
	days, rest := d.d/day, d.d%day
	var b strings.Builder
	if days > 0 {
		fmt.Fprintf(&b, "%dd", days)
	}
	if rest > 0 || days == 0 {
		s := rest.String()
		if strings.HasSuffix(s, "m0s") {
			s = strings.TrimSuffix(s, "0s")
		}
		if strings.HasSuffix(s, "h0m") {
			s = strings.TrimSuffix(s, "0m")
		}
		b.WriteString(s)
	}
	return b.String()
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(b []byte) (err error) {
	*d, err = ParseDuration(string(b))
	return err
}

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }
