package zone

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/lanfolk/lanfolk/dnswire"
)

// WriteTo writes the zone as a zone file (RFC 1035 §5). It implements io.WriterTo.
func (z *Zone) WriteTo(w io.Writer) (int64, error) {
	soa, records := z.all()
	return z.write(w, slices.Insert(records, 0, soa))
}

// WriteInclude writes the part of the zone that another zone file can take in by
// $INCLUDE: what is offered, without SOA, NS and the name servers' addresses. Names
// are relative to the zone's domain, which $INCLUDE must name if it isn't that
// of the file that includes it.
func (z *Zone) WriteInclude(w io.Writer) (int64, error) {
	z.mu.RLock()
	var records []dnswire.RR
	for _, list := range z.services {
		records = append(records, list...)
	}
	for _, kind := range []string{"b", "db", "lb"} {
		if n, err := dnswire.ParseName(kind + "._dns-sd._udp." + z.domain.String()); err == nil {
			records = append(records, dnswire.NewPTR(n, z.domain, z.soa.TTL))
		}
	}
	z.mu.RUnlock()
	return z.write(w, records)
}

// write writes records in an order that doesn't change.
func (z *Zone) write(w io.Writer, records []dnswire.RR) (int64, error) {
	slices.SortFunc(records, compareInFile)
	out := &counting{Writer: bufio.NewWriter(w)}
	fmt.Fprintf(out, "$ORIGIN %s.\n", fileName(z.domain, ""))
	last := dnswire.RR{}
	for _, rr := range slices.CompactFunc(records, dnswire.RR.SameData) {
		owner := fileName(rr.Name, z.domain)
		if rr.Name == last.Name {
			owner = ""
		}
		last = rr
		fmt.Fprintf(out, "%s\t%d\tIN\t%s\t%s\n", owner, rr.TTL, rr.Type, fileData(rr, z.domain))
	}
	if err := out.Flush(); err != nil {
		return out.n, fmt.Errorf("zone: write: %w", err)
	}
	return out.n, nil
}

// counting counts the bytes that are written.
type counting struct {
	*bufio.Writer
	n int64
}

func (c *counting) Write(b []byte) (int, error) {
	n, err := c.Writer.Write(b)
	c.n += int64(n)
	return n, err
}

// compareInFile puts a domain before what lies below it, the SOA record first
// (RFC 1035 §5.2).
func compareInFile(a, b dnswire.RR) int {
	if a.Name != b.Name {
		la, lb := slices.Collect(a.Name.Fold().Labels()), slices.Collect(b.Name.Fold().Labels())
		slices.Reverse(la)
		slices.Reverse(lb)
		if c := slices.Compare(la, lb); c != 0 {
			return c
		}
	}
	rank := func(t dnswire.Type) int {
		if t == dnswire.TypeSOA {
			return 0
		}
		return int(t)
	}
	if c := rank(a.Type) - rank(b.Type); c != 0 {
		return c
	}
	return strings.Compare(a.Data, b.Data)
}

// fileName writes a name for a zone file: relative to origin if it lies there, else
// with its last dot; "" as origin writes it whole and without that.
func fileName(n, origin dnswire.Name) string {
	inside := origin != "" && n.HasSuffix(origin)
	if inside && len(n) == len(origin) {
		return "@"
	}
	count := n.NumLabels()
	if inside {
		count -= origin.NumLabels()
	}
	var b []byte
	for l := range n.Labels() {
		if count--; count < 0 {
			break
		}
		if len(b) > 0 {
			b = append(b, '.')
		}
		b = appendFileLabel(b, l)
	}
	if origin != "" && !inside {
		b = append(b, '.')
	}
	return string(b)
}

// appendFileLabel escapes what means something in a zone file (RFC 1035 §5.1).
// Names stay ASCII: not every reader takes UTF-8.
func appendFileLabel(b []byte, l string) []byte {
	for i := range len(l) {
		switch c := l[i]; {
		case c <= ' ' || c >= 0x7f:
			b = append(b, '\\', '0'+c/100, '0'+c/10%10, '0'+c%10)
		case strings.IndexByte(`."\();@$`, c) >= 0:
			b = append(b, '\\', c)
		default:
			b = append(b, c)
		}
	}
	return b
}

// fileData writes the rdata of the types that are in a zone.
func fileData(rr dnswire.RR, origin dnswire.Name) string {
	if target, ok := rr.Target(); ok {
		return fileName(target, origin)
	}
	if srv, ok := rr.SRV(); ok {
		return fmt.Sprintf("%d %d %d %s", srv.Priority, srv.Weight, srv.Port, fileName(srv.Target, origin))
	}
	if texts, ok := rr.TXT(); ok {
		var b []byte
		for i, t := range texts {
			if i > 0 {
				b = append(b, ' ')
			}
			b = appendFileString(b, t)
		}
		return string(b)
	}
	if rr.Type != dnswire.TypeSOA {
		return rr.DataString() // an address
	}
	var parts []string
	rest := rr.Data
	for range 2 {
		end := nameLen(rest)
		parts = append(parts, fileName(dnswire.Name(rest[:end]), origin))
		rest = rest[end:]
	}
	for ; len(rest) >= 4; rest = rest[4:] {
		n := uint32(rest[0])<<24 | uint32(rest[1])<<16 | uint32(rest[2])<<8 | uint32(rest[3])
		parts = append(parts, strconv.FormatUint(uint64(n), 10))
	}
	return strings.Join(parts, " ")
}

// nameLen is the length of the name that s begins with.
func nameLen(s string) int {
	n := 0
	for n < len(s) && s[n] != 0 {
		n += 1 + int(s[n])
	}
	return min(n+1, len(s))
}

// appendFileString writes a string in quotes.
func appendFileString(b []byte, s string) []byte {
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ' || c >= utf8.RuneSelf || c == 0x7f:
			b = append(b, '\\', '0'+c/100, '0'+c/10%10, '0'+c%10)
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}
