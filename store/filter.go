package store

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/store/internal/text"
)

// ObservationFilter says which observations are asked for. The zero filter
// asks for all.
type ObservationFilter struct {
	Protocol string // "mdns"; "" for every one
	// Query is the name asked for or announced, with no regard to case or to a
	// last dot; * stands for any run of characters.
	Query string
	// Alias is another name for Query, where that is no pattern: rows of either are
	// asked for. "" for none.
	Alias string
	// Fingerprint is a fingerprint's text, or its hash in hexadecimal digits; see
	// FingerprintHash.
	Fingerprint string
	MAC         lanfolk.MAC // on either side; the zero MAC for any
	SrcMAC      lanfolk.MAC
	DstMAC      lanfolk.MAC
	IP          netip.Addr // on either side, in the last packet; invalid for any
	Link        string     // the interface; "" for every one
	Gateway     string     // the node that heard it; "" for every one
	VLAN        *uint16    // nil for any; 0 is none
	Response    *bool      // nil for both
	Since       time.Time  // heard at this time or later; the zero time for any
	Until       time.Time  // heard last before this time; the zero time for any
	After       Cursor     // go on after this place; the zero Cursor begins
	Limit       int        // rows; 0 for all
}

// Cursor is a place in the rows, which stand in the order of when they were heard
// last. A row that is heard again meanwhile moves before the cursor: going on
// after it neither repeats nor leaves out a row that stays.
type Cursor struct {
	last, id int64
	set      bool
}

// IsZero says that c is no place: the beginning or, where rows end, the end.
func (c Cursor) IsZero() bool { return !c.set }

// String returns c as text for ParseCursor, "" for the zero Cursor.
func (c Cursor) String() string {
	if !c.set {
		return ""
	}
	return strconv.FormatInt(c.last, 36) + "-" + strconv.FormatInt(c.id, 36)
}

// ParseCursor reads what String wrote.
func ParseCursor(s string) (Cursor, error) {
	if s == "" {
		return Cursor{}, nil
	}
	last, id, _ := strings.Cut(s, "-")
	c := Cursor{set: true}
	var err, err2 error
	c.last, err = strconv.ParseInt(last, 36, 64)
	c.id, err2 = strconv.ParseInt(id, 36, 64)
	if errors.Join(err, err2) != nil || c.last < 0 || c.id < 0 {
		return Cursor{}, fmt.Errorf("store: %q is no cursor; want what the page before gave", s)
	}
	return c, nil
}

// hashBytes is how long a fingerprint's hash is: nobody can make a fingerprint with
// another one's hash.
const hashBytes = 12

// FingerprintHash returns the key of a fingerprint: 24 hexadecimal digits, the first
// 96 bits of the SHA-256 of its text; "" for none.
func FingerprintHash(fingerprint string) string {
	if fingerprint == "" {
		return ""
	}
	return hex.EncodeToString(hashOf(fingerprint))
}

// hashOf returns the hash of a fingerprint, nothing for none.
func hashOf(fingerprint string) []byte {
	if fingerprint == "" {
		return []byte{}
	}
	sum := sha256.Sum256([]byte(fingerprint))
	return sum[:hashBytes]
}

// hashText reads a hash that FingerprintHash wrote. No fingerprint looks like one.
func hashText(s string) ([]byte, bool) {
	b, err := hex.DecodeString(s)
	return b, err == nil && len(b) == hashBytes
}

// conditions builds a WHERE clause out of constants; what comes from elsewhere is in
// args alone.
type conditions struct {
	where []string
	args  []any
}

// add adds a condition in which each ? stands for one more argument.
func (c *conditions) add(condition string, args ...any) {
	for _, arg := range args {
		c.args = append(c.args, arg)
		condition = strings.Replace(condition, "?", "$"+strconv.Itoa(len(c.args)), 1)
	}
	c.where = append(c.where, condition)
}

// observations returns the query that has the best index for f, with its arguments,
// for at most limit rows.
func (s *statements) observations(f ObservationFilter, limit int) (string, []any) {
	var c conditions
	name := foldName(f.Query)
	pattern := strings.Contains(name, "*")
	// Without a name the rows of one MAC are found by it and sorted. The + keeps the
	// planner from walking all rows in order of time to find the few.
	plus := ""
	byMAC := f.MAC != lanfolk.MAC{} || f.SrcMAC != lanfolk.MAC{} || f.DstMAC != lanfolk.MAC{} && !f.DstMAC.Group()
	if byMAC && (f.Query == "" || pattern) {
		plus = s.unindexed
	}
	if f.Query != "" && !pattern {
		named, same := s.named, repeat(text.Encode(name), strings.Count(s.named, "?"))
		if f.Alias != "" {
			same = append(same, repeat(text.Encode(foldName(f.Alias)), len(same))...)
			named = "(" + named + " OR " + named + ")"
		}
		c.add(named, same...)
	}
	if pattern {
		// What LIKE takes for a pattern is taken literally, but for our *.
		like := strings.NewReplacer(`\`, `\\`, "%", `\%`, "_", `\_`, "*", "%").Replace(text.Encode(name))
		c.add(`lower(query) LIKE ? ESCAPE '\'`, like)
	}
	if f.Protocol != "" {
		c.add("protocol = ?", text.Encode(f.Protocol))
	}
	// Beside a name, MACs are looked at in the rows of the name.
	side := ""
	if f.Query != "" && !pattern {
		side = s.unindexed
	}
	if f.MAC != (lanfolk.MAC{}) {
		c.add("("+side+"src_mac = ? OR "+side+"dst_mac = ?)", f.MAC.String(), f.MAC.String())
	}
	if f.SrcMAC != (lanfolk.MAC{}) {
		c.add(side+"src_mac = ?", f.SrcMAC.String())
	}
	if f.DstMAC != (lanfolk.MAC{}) {
		if f.DstMAC.Group() {
			side = s.unindexed // half of all rows
		}
		c.add(side+"dst_mac = ?", f.DstMAC.String())
	}
	if f.IP.IsValid() {
		// A zone is part of the text: without one, any will do.
		ip := addrText(f.IP)
		zoned := ip + `\%%`
		c.add(`(src_ip = ? OR dst_ip = ? OR src_ip LIKE ? ESCAPE '\' OR dst_ip LIKE ? ESCAPE '\')`, ip, ip, zoned, zoned)
	}
	if f.Link != "" {
		c.add("link = ?", text.Encode(f.Link))
	}
	if f.Gateway != "" {
		c.add("gateway = ?", text.Encode(f.Gateway))
	}
	if f.VLAN != nil {
		c.add("vlan = ?", int64(*f.VLAN))
	}
	if f.Response != nil {
		c.add("response = ?", truth(*f.Response))
	}
	if f.Fingerprint != "" {
		hash, ok := hashText(f.Fingerprint)
		if !ok {
			hash = hashOf(f.Fingerprint)
		}
		c.add("fingerprint_hash = ?", hash)
	}
	if !f.Since.IsZero() {
		c.add(plus+"last_seen >= ?", toNanos(f.Since))
	}
	if !f.Until.IsZero() {
		c.add(plus+"last_seen < ?", toNanos(f.Until))
	}
	after := f.After
	if !after.set {
		after = Cursor{last: math.MaxInt64, id: math.MaxInt64}
	}
	c.add("("+plus+"last_seen, id) < (?, ?)", after.last, after.id)
	c.args = append(c.args, limit)
	return sqlObservationColumns + strings.Join(c.where, "\n    AND ") +
		"\nORDER BY " + plus + "last_seen DESC, id DESC\nLIMIT $" + strconv.Itoa(len(c.args)), c.args
}

// matches says whether a row in memory is one that f asks for. Times, After and
// Limit are left out.
func (f ObservationFilter) matches() func(*lanfolk.Observation) bool {
	name := foldName(f.Query)
	pattern := strings.Contains(name, "*")
	hash := f.Fingerprint
	if _, ok := hashText(hash); !ok {
		hash = FingerprintHash(hash)
	}
	hash = strings.ToLower(hash)
	return func(o *lanfolk.Observation) bool {
		switch {
		case f.Protocol != "" && o.Protocol != f.Protocol,
			f.Query != "" && !pattern && foldName(o.Query) != name && (f.Alias == "" || foldName(o.Query) != foldName(f.Alias)),
			pattern && !like(name, foldName(o.Query)),
			f.MAC != lanfolk.MAC{} && o.SrcMAC != f.MAC && o.DstMAC != f.MAC,
			f.SrcMAC != lanfolk.MAC{} && o.SrcMAC != f.SrcMAC,
			f.DstMAC != lanfolk.MAC{} && o.DstMAC != f.DstMAC,
			f.IP.IsValid() && !sameIP(f.IP, o.SrcIP) && !sameIP(f.IP, o.DstIP),
			f.Link != "" && o.Link != f.Link,
			f.Gateway != "" && o.Gateway != f.Gateway,
			f.VLAN != nil && o.VLAN != *f.VLAN,
			f.Response != nil && o.Response != *f.Response,
			hash != "" && FingerprintHash(o.Fingerprint) != hash:
			return false
		}
		return true
	}
}

// sameIP says whether a row's address is the one asked for; one asked for without
// a zone is the same in every zone.
func sameIP(asked, has netip.Addr) bool {
	return asked == has || asked.Zone() == "" && asked == has.WithZone("")
}

// like says whether s fits a pattern in which * stands for any run of characters.
func like(pattern, s string) bool {
	parts := strings.Split(pattern, "*")
	first, last := parts[0], parts[len(parts)-1]
	if !strings.HasPrefix(s, first) || len(s) < len(first)+len(last) || !strings.HasSuffix(s, last) {
		return false
	}
	s = s[len(first) : len(s)-len(last)]
	for _, part := range parts[1 : len(parts)-1] {
		_, rest, ok := strings.Cut(s, part)
		if !ok {
			return false
		}
		s = rest
	}
	return true
}

// repeat returns n times the same argument.
func repeat(arg string, n int) []any {
	same := make([]any, n)
	for i := range same {
		same[i] = arg
	}
	return same
}

func truth(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
