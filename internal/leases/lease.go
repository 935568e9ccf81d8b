package leases

import (
	"bytes"
	"net/netip"
	"time"
)

// Kind is a program whose files are read.
type Kind string

// The kinds.
const (
	Dnsmasq Kind = "dnsmasq"
	Kea     Kind = "kea"
)

// Lease is one address, or one prefix, and who has it.
type Lease struct {
	// Prefix is the address, with all its bits, or a prefix that was delegated.
	Prefix netip.Prefix
	// MAC is the client's hardware address, 6 bytes that it told itself or was
	// heard with; nil where none is known.
	MAC []byte
	// ClientID is the client's id of DHCPv4 (option 61), type byte first, and DUID
	// that of DHCPv6; nil where there is none.
	ClientID, DUID []byte
	// Host is the client's name as the server keeps it: any bytes, "" for none.
	Host string
	// Length is how long the lease is from one renewal to its end, 0 where the file doesn't say.
	Length time.Duration
	// Ends is when it runs out. Zero: never, or Length after a time that isn't known.
	Ends time.Time
	// Free says that the address is given back, taken away, or has run out.
	Free bool
}

// Forever says whether the lease never ends.
func (l *Lease) Forever() bool { return l.Ends.IsZero() && l.Length == 0 }

// Equal says whether two leases say the same.
func (l *Lease) Equal(o *Lease) bool {
	return l.Prefix == o.Prefix && l.Host == o.Host && l.Length == o.Length && l.Free == o.Free && l.Ends.Equal(o.Ends) &&
		bytes.Equal(l.MAC, o.MAC) && bytes.Equal(l.ClientID, o.ClientID) && bytes.Equal(l.DUID, o.DUID)
}

// Table is what a server's files say.
type Table struct {
	// Leases holds one for each address or prefix that the files name, those that
	// are free included, in the order in which they first stand there.
	Leases []Lease
	// Lines counts those that were read; Bad is how many of them can't be understood,
	// Faults which and why, the first few.
	Lines, Bad int
	Faults     []Fault
	// Partial says that the last line has no end yet: it was left out.
	Partial bool
	// Dropped counts leases beyond MaxLeases.
	Dropped int
}

// Fault is a line that can't be understood.
type Fault struct {
	File string // its name without the folder, "" if there is one file only
	Line int    // 1 is the first
	Err  error
}

// Bounds of what is read.
const (
	MaxFile   = 64 << 20 // bytes of a file
	MaxLeases = 100_000  // of a table
	maxLine   = 16 << 10 // bytes; Kea's user context may be long
	maxHost   = 255      // bytes
	maxID     = 255      // bytes of a client id
	maxDUID   = 130      // bytes (RFC 8415 §11.1)
	maxFaults = 8
)

func (t *Table) fault(file string, line int, err error) {
	t.Bad++
	if len(t.Faults) < maxFaults {
		t.Faults = append(t.Faults, Fault{file, line, err})
	}
}

// builder gathers leases by what they are of.
type builder struct {
	Table
	at map[netip.Prefix]int
}

func newBuilder() *builder { return &builder{at: map[netip.Prefix]int{}} }

// put adds a lease; one of the same address gives way to it.
func (b *builder) put(l Lease) {
	if i, ok := b.at[l.Prefix]; ok {
		b.Leases[i] = l
		return
	}
	if len(b.Leases) == MaxLeases {
		b.Dropped++
		return
	}
	b.at[l.Prefix] = len(b.Leases)
	b.Leases = append(b.Leases, l)
}
