package tged

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxName is how long a service's name may be, in bytes: it fits a request.
const maxName = 255

// Service is a service that a Server answers for. NewService makes one.
type Service struct {
	name    string
	fields  []Field
	replies [2][]byte // as sent, by Style
	near    []nearby
}

// nearby is what askers in whose subnet an address lies are answered.
type nearby struct {
	at      netip.Addr
	replies [2][]byte
}

// NewService makes a service of its name and fields; the fields keep their
// order. Keys become capitals, white space around a value goes.
//
// It refuses what could not be sent and read as it is: a name or key that is
// empty, a key with a colon or white space, a key that is there twice, control
// characters anywhere (a line break would begin a field of its own), bytes that
// aren't UTF-8, and a reply of more than MaxReply bytes.
func NewService(name string, fields []Field) (*Service, error) {
	s, _, err := newService(name, fields)
	if err != nil {
		return nil, fmt.Errorf("tged: service %q: %w", name, err)
	}
	return s, nil
}

// newService also returns which field is wrong, -1 if it's none of them.
func newService(name string, fields []Field) (_ *Service, wrong int, _ error) {
	s := &Service{name: name, fields: make([]Field, len(fields))}
	if err := CheckName(name); err != nil {
		return nil, -1, err
	}
	for n, f := range fields {
		key, value := capitals(f.Key), strings.TrimFunc(f.Value, isBlank)
		if err := checkField(key, value); err != nil {
			return nil, n, err
		}
		if slices.ContainsFunc(s.fields[:n], func(o Field) bool { return o.Key == key }) {
			return nil, n, fmt.Errorf("key %q is there twice", key)
		}
		s.fields[n] = Field{key, value}
	}
	m := Message{Method: Reply, Version: V1, Fields: s.fields}
	size := len("TGED REPLY 1.0\r\n\r\n")
	for _, f := range s.fields {
		size += len(f.Key) + len(": ") + len(f.Value) + len("\r\n")
	}
	both := make([]byte, 0, 2*size)
	for style := range s.replies {
		from := len(both)
		both = m.Append(both, Style(style))
		s.replies[style] = both[from:len(both):len(both)]
	}
	if n := len(s.replies[Spaced]); n > MaxReply {
		return nil, -1, fmt.Errorf("the reply has %d bytes, of which clients read %d", n, MaxReply)
	}
	return s, -1, nil
}

// CheckName says why nothing can be called by a name: it is empty or longer than
// 255 bytes, holds control characters or bytes that aren't UTF-8, or begins or ends with
// white space.
func CheckName(name string) error {
	switch {
	case name == "":
		return errors.New("the name is empty")
	case len(name) > maxName:
		return fmt.Errorf("the name has %d bytes, at most %d are allowed", len(name), maxName)
	case !printable(name):
		return fmt.Errorf("name %q holds control characters or isn't UTF-8", name)
	case strings.TrimFunc(name, isBlank) != name:
		return fmt.Errorf("name %q begins or ends with white space", name)
	}
	return nil
}

func checkField(key, value string) error {
	switch {
	case key == "":
		return errors.New("a key is empty")
	case !printable(key) || strings.ContainsRune(key, ':') || strings.ContainsFunc(key, unicode.IsSpace):
		return fmt.Errorf("key %q holds a colon, white space or control characters, or isn't UTF-8", key)
	case !printable(value):
		return fmt.Errorf("the value of %s holds control characters or isn't UTF-8: %q", key, value)
	}
	return nil
}

// printable says whether s is UTF-8 without control characters.
func printable(s string) bool {
	for n := range len(s) {
		if s[n] < ' ' || s[n] >= 0x7f {
			return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
		}
	}
	return true
}

// Near returns a service that is answered as s is, but for an asker in whose subnet the
// address at lies: he gets the answer of o. Of several such addresses the first counts.
func (s *Service) Near(at netip.Addr, o *Service) *Service {
	x := *s
	x.near = append(slices.Clip(s.near), nearby{at, o.replies})
	return &x
}

// reply returns what an asker in a subnet is sent.
func (s *Service) reply(style Style, subnet netip.Prefix) []byte {
	for _, n := range s.near {
		if subnet.Contains(n.at) {
			return n.replies[style]
		}
	}
	return s.replies[style]
}

// Name returns the service's name as it was given.
func (s *Service) Name() string { return s.name }

// Fields returns a copy of the service's fields.
func (s *Service) Fields() []Field { return slices.Clone(s.fields) }

// Errors of Services.
var (
	// ErrUnknown says that there is no such service: it is answered with INVALID.
	ErrUnknown = errors.New("tged: unknown service")
	// ErrPending says that the answer has to be fetched.
	ErrPending = errors.New("tged: not fetched yet")
)

// Services are what a Server answers from.
//
// Lookup is called for every request, from the goroutines that read packets,
// several at once. It must return at once, and must not keep or change name,
// which is as the asker wrote it: any bytes of any case. For a service that there isn't it returns
// ErrUnknown, for one that it has to fetch first ErrPending; on any other error nothing is answered.
type Services interface {
	Lookup(name []byte) (*Service, error)
}

// A Fetcher is Services that may have to wait for an answer. When Lookup
// returned ErrPending the Server calls Fetch from another goroutine, for a
// few requests at a time. Fetch returns what Lookup would have returned, and gives
// up when ctx ends.
type Fetcher interface {
	Services
	Fetch(ctx context.Context, name string) (*Service, error)
}

// Set is services in memory. It doesn't change and may be used from any goroutine.
type Set struct{ byName map[string]*Service }

// NewSet makes a set. Two services whose names differ only in the case of
// ASCII letters are an error, for a request could mean both.
func NewSet(services ...*Service) (*Set, error) {
	set := &Set{byName: make(map[string]*Service, len(services))}
	for _, s := range services {
		if !set.add(s) {
			return nil, fmt.Errorf("tged: service %q is there twice", s.name)
		}
	}
	return set, nil
}

func (s *Set) add(x *Service) bool {
	key := capitals(x.name)
	if s.byName[key] != nil {
		return false
	}
	s.byName[key] = x
	return true
}

// Len returns how many services there are.
func (s *Set) Len() int { return len(s.byName) }

// Lookup implements Services. INVALID, which some services files define, is no
// service that can be asked for.
func (s *Set) Lookup(name []byte) (*Service, error) {
	if len(name) > maxName {
		return nil, ErrUnknown
	}
	var room [maxName]byte
	key := fold(room[:0], name)
	if x := s.byName[string(key)]; x != nil && string(key) != Invalid {
		return x, nil
	}
	return nil, ErrUnknown
}

// Join makes one of several Services: the first that knows a service answers
// for it. If none does, one that couldn't say keeps the others' ErrUnknown from
// being the answer.
func Join(all ...Services) Fetcher { return joined(all) }

type joined []Services

func (j joined) Lookup(name []byte) (*Service, error) {
	var failed error
	for _, s := range j {
		x, err := s.Lookup(name)
		switch {
		case err == nil, errors.Is(err, ErrPending):
			return x, err
		case failed == nil && !errors.Is(err, ErrUnknown):
			failed = err
		}
	}
	if failed != nil {
		return nil, failed
	}
	return nil, ErrUnknown
}

func (j joined) Fetch(ctx context.Context, name string) (*Service, error) {
	var failed error
	for _, s := range j {
		x, err := s.Lookup([]byte(name))
		if f, ok := s.(Fetcher); ok && errors.Is(err, ErrPending) {
			x, err = f.Fetch(ctx, name)
		}
		switch {
		case err == nil:
			return x, nil
		case failed == nil && !errors.Is(err, ErrUnknown):
			failed = err
		}
	}
	if failed != nil {
		return nil, failed
	}
	return nil, ErrUnknown
}
