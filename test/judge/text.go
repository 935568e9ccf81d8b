package judge

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// Pack makes a message from text, right or wrong:
//
//	q|r [FLAG …] {; PART}
//
// a query or a response with the flags id=N, rcode=N, opcode=N, tc, rd, and
// plain, which leaves its names uncompressed. A part is a question,
//
//	? NAME TYPE [QU]
//
// or a record as a zone file has it (NAME TTL TYPE DATA) behind "=" in the
// answer section, "!" there with the flush bit, "+" or "+!" in the additional
// section, "ns" or "ns!" in the authority section.
func Pack(text string) ([]byte, error) {
	parts := strings.Split(text, "; ")
	f := strings.Fields(parts[0])
	if len(f) == 0 || f[0] != "q" && f[0] != "r" {
		return nil, fmt.Errorf("neither a query nor a response: %s", text)
	}
	m := new(dns.Msg)
	m.Response, m.Authoritative, m.Compress = f[0] == "r", f[0] == "r", true
	for _, flag := range f[1:] {
		key, value, _ := strings.Cut(flag, "=")
		n, _ := strconv.Atoi(value)
		switch key {
		case "id":
			m.Id = uint16(n)
		case "rcode":
			m.Rcode = n
		case "opcode":
			m.Opcode = n
		case "tc":
			m.Truncated = true
		case "rd":
			m.RecursionDesired = true
		case "plain":
			m.Compress = false
		default:
			return nil, fmt.Errorf("flag %s", flag)
		}
	}
	for _, part := range parts[1:] {
		if err := add(m, strings.TrimSpace(part)); err != nil {
			return nil, err
		}
	}
	return m.Pack()
}

func add(m *dns.Msg, part string) error {
	kind, rest, _ := strings.Cut(part, " ")
	if kind == "?" {
		f := strings.Fields(rest)
		if len(f) < 2 || dns.StringToType[f[1]] == 0 {
			return fmt.Errorf("question %s", rest)
		}
		q := dns.Question{Name: dns.Fqdn(f[0]), Qtype: dns.StringToType[f[1]], Qclass: dns.ClassINET}
		if len(f) > 2 {
			q.Qclass |= topBit
		}
		m.Question = append(m.Question, q)
		return nil
	}
	rr, err := dns.NewRR(rest)
	if err != nil {
		return fmt.Errorf("record %s: %w", rest, err)
	}
	flush := strings.HasSuffix(kind, "!")
	if flush {
		rr.Header().Class |= topBit
	}
	switch strings.TrimSuffix(kind, "!") {
	case "", "=":
		m.Answer = append(m.Answer, rr)
	case "ns":
		m.Ns = append(m.Ns, rr)
	case "+":
		m.Extra = append(m.Extra, rr)
	default:
		return fmt.Errorf("part %s", part)
	}
	return nil
}
