package config

import (
	"errors"
	"fmt"
	"time"

	"github.com/lanfolk/lanfolk/passive/pcapfilter"
)

// Passive is the section [passive]: capture of what passes by.
type Passive struct {
	// Enabled Auto captures where it is allowed, On makes it an error if it isn't.
	Enabled Switch `toml:"enabled"`
	// Promiscuous also captures what is addressed to others.
	Promiscuous bool `toml:"promiscuous"`
	// Filter is an expression in the manner of tcpdump; "" takes what lanfolk can read.
	Filter string `toml:"filter"`
	// Buffer is how much memory holds frames that wait, in MiB for each
	// interface; 0 is as much as fits the machine.
	Buffer int `toml:"buffer"`
	// Retention is how long a row of the fingerprint database is kept after it
	// was last heard, and MaxRows how many there are at most, MaxRowsPerMAC on
	// account of one MAC. MaxMegabytes bounds the database's size.
	Retention     Duration `toml:"retention"`
	MaxRows       int      `toml:"max_rows"`
	MaxRowsPerMAC int      `toml:"max_rows_per_mac"`
	MaxMegabytes  int      `toml:"max_megabytes"`
	// LocalOnly keeps only what protocols of the link say.
	LocalOnly bool `toml:"local_only"`
	// HashNames hides the names that DNS, TLS and HTTP are asked for, but those in
	// ReadableDomains and of local networks.
	HashNames       bool     `toml:"hash_names"`
	ReadableDomains []Domain `toml:"readable_domains"`
}

func defaultPassive() Passive {
	return Passive{
		Enabled: Auto, Retention: Duration{30 * 24 * time.Hour}, MaxRows: 1_000_000, MaxRowsPerMAC: 100_000, MaxMegabytes: 1000,
		ReadableDomains: []Domain{},
	}
}

const (
	maxFilter = 4096 // bytes
	maxBuffer = 1024 // MiB
)

func (p Passive) check(bad func(key string, err error)) {
	switch {
	case len(p.Filter) > maxFilter:
		bad("filter", fmt.Errorf("has %d bytes, more than %d", len(p.Filter), maxFilter))
	case !printable(p.Filter):
		bad("filter", errors.New("want one line of printable characters"))
	default:
		_, err := pcapfilter.Parse(p.Filter)
		bad("filter", err)
	}
	if p.Buffer < 0 || p.Buffer > maxBuffer {
		bad("buffer", fmt.Errorf("want 0 to %d MiB, not %d", maxBuffer, p.Buffer))
	}
	if len(p.ReadableDomains) > maxDomains {
		bad("readable_domains", fmt.Errorf("want at most %d domains", maxDomains))
	}
	const least, most, leastPerMAC = 1000, 1_000_000_000, 100
	const leastMegabytes, mostMegabytes = 10, 1_000_000
	if p.MaxRows < least || p.MaxRows > most {
		bad("max_rows", fmt.Errorf("want %d to %d, not %d", least, most, p.MaxRows))
	}
	if p.MaxRowsPerMAC < leastPerMAC || p.MaxRowsPerMAC > most {
		bad("max_rows_per_mac", fmt.Errorf("want %d to %d, not %d", leastPerMAC, most, p.MaxRowsPerMAC))
	}
	if p.MaxMegabytes < leastMegabytes || p.MaxMegabytes > mostMegabytes {
		bad("max_megabytes", fmt.Errorf("want %d to %d, not %d", leastMegabytes, mostMegabytes, p.MaxMegabytes))
	}
}

// Switch is on, off, or left to lanfolk.
type Switch int

// The positions of a Switch. In a file they are "auto", true and false.
const (
	Auto Switch = iota
	On
	Off
)

// String returns what stands in a file, without quotes.
func (s Switch) String() string {
	switch s {
	case Auto:
		return "auto"
	case On:
		return "true"
	case Off:
		return "false"
	}
	return fmt.Sprintf("Switch(%d)", int(s))
}

func (s *Switch) setBool(on bool) {
	*s = Off
	if on {
		*s = On
	}
}

func (s Switch) bool() (on, ok bool) { return s == On, s != Auto }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Switch) UnmarshalText(b []byte) error {
	if string(b) != "auto" {
		return fmt.Errorf(`want "auto", true or false, not %q`, b)
	}
	*s = Auto
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (s Switch) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
