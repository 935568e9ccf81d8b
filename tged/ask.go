package tged

import (
	"net/netip"
	"strings"
	"time"
	"unicode"

	"github.com/lanfolk/lanfolk/packet"
)

// How often a question is sent: at once, and again after 250 ms, 500 ms, 1 s
// and so on, up to every 4 s.
const (
	firstResend = 250 * time.Millisecond
	lastResend  = 4 * time.Second
)

// maxAnswers bounds the servers whose answers to one question are taken.
const maxAnswers = 256

// Answer is what one server says about a service.
type Answer struct {
	Service string
	// Server is where the answer came from: the document's SVR.
	Server netip.AddrPort
	Link   packet.Link // that it came in on
	// Fields are those of the reply, in order. What could upset a terminal isn't in
	// them: control characters, and bytes that aren't UTF-8, became U+FFFD.
	Fields []Field
}

// Get returns the value of the field with the key, given in capitals.
func (a *Answer) Get(key string) (string, bool) {
	m := Message{Fields: a.Fields}
	return m.Get(key)
}

// question is the state of one question. It is told the time.
type question struct {
	service string
	to      netip.AddrPort // the server asked; not valid: all
	resend  time.Time
	pause   time.Duration
	replied map[netip.AddrPort]bool
	refused bool // somebody said INVALID
}

func newQuestion(now time.Time, service string, to netip.AddrPort) *question {
	return &question{service: service, to: to, resend: now, pause: firstResend, replied: map[netip.AddrPort]bool{}}
}

// due says whether the question is to be sent now.
func (q *question) due(now time.Time) bool {
	if now.Before(q.resend) {
		return false
	}
	q.resend = now.Add(q.pause)
	q.pause = min(2*q.pause, lastResend)
	return true
}

// hear takes a datagram. It returns the answer in it, if it is a server's first
// REPLY. An INVALID is only noted: another server may know better.
func (q *question) hear(from netip.AddrPort, data []byte) (Answer, bool) {
	if q.to.IsValid() && from != q.to || q.replied[from] {
		return Answer{}, false
	}
	m, err := Parse(data)
	if err != nil || m.Version.Major != V1.Major {
		return Answer{}, false
	}
	switch m.Method {
	case Invalid:
		q.refused = true
		return Answer{}, false
	case Reply:
	default:
		return Answer{}, false
	}
	if len(q.replied) >= maxAnswers {
		return Answer{}, false
	}
	q.replied[from] = true
	a := Answer{Service: q.service, Server: from, Fields: m.Fields}
	for n := range a.Fields {
		f := &a.Fields[n]
		f.Key, f.Value = harmless(f.Key), harmless(f.Value)
	}
	return a, true
}

// failure says why there was no answer.
func (q *question) failure() error {
	if q.refused {
		return ErrInvalid
	}
	return ErrNoAnswer
}

// harmless replaces what is no text.
func harmless(s string) string {
	if printable(s) {
		return s
	}
	return strings.Map(func(c rune) rune {
		if unicode.IsControl(c) {
			return unicode.ReplacementChar
		}
		return c
	}, strings.ToValidUTF8(s, string(unicode.ReplacementChar)))
}
