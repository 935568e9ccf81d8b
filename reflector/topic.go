package reflector

import (
	"hash/maphash"

	"github.com/lanfolk/lanfolk/dnswire"
)

// kind says what a name is the name of.
type kind uint8

const (
	kindHost     kind = iota // nas.local, and every name that is nothing below
	kindMeta                 // _services._dns-sd._udp.local, RFC 6763 §9
	kindType                 // _ipp._tcp.local
	kindSubtype              // _universal._sub._ipp._tcp.local, RFC 6763 §7.1
	kindInstance             // Laser._ipp._tcp.local
	kindReverse              // 5.0.0.10.in-addr.arpa
)

// topic is a name taken apart. Its parts are pieces of the name in wire form,
// ASCII letters lowered, and valid as long as the buffer that it was read into.
type topic struct {
	kind kind
	name []byte // the whole name
	key  uint64 // a hash of it, never 0
	typ  []byte // "\x04_ipp\x04_tcp", nil where there is none
	// part is the subtype's label or the instance's, without its length byte. An instance
	// of more than one label, which RFC 6763 §4.1.1 doesn't know, has them all
	// with the length bytes between.
	part []byte
}

// readTopic takes apart a name in wire form with its ASCII letters lowered. The
// last pair of labels that can be a service type is the type: what stands before
// it is an instance, however much it looks like a type itself.
func readTopic(name []byte) topic {
	t := topic{kind: kindHost, name: name}
	// Where the labels begin: of the type, of the one before, of the one before that.
	var (
		before2, before1 = -1, -1
		typ, end         = -1, -1
		sub              = -1
	)
	for off := 0; off < len(name) && name[off] != 0; {
		next := off + 1 + int(name[off])
		if next > len(name) {
			return t
		}
		if before1 >= 0 && isProto(name[off:next]) && name[before1] > 1 && name[before1+1] == '_' {
			typ, end, sub = before1, next, before2
		}
		before2, before1 = before1, off
		off = next
	}
	if typ < 0 {
		if isReverse(name) {
			t.kind = kindReverse
		}
		return t
	}
	t.typ = name[typ:end]
	switch {
	case typ == 0:
		t.kind = kindType
	case sub == 0 && string(name[:end]) == "\x09_services\x07_dns-sd\x04_udp":
		t.kind = kindMeta
	case sub > 0 && string(name[sub:typ]) == "\x04_sub" && int(name[0])+1 == sub:
		t.kind, t.part = kindSubtype, name[1:sub]
	default:
		t.kind, t.part = kindInstance, name[1:typ]
	}
	return t
}

func isProto(label []byte) bool {
	return string(label) == "\x04_tcp" || string(label) == "\x04_udp"
}

func isReverse(name []byte) bool {
	const v4, v6 = "\x07in-addr\x04arpa\x00", "\x03ip6\x04arpa\x00"
	return hasSuffix(name, v4) || hasSuffix(name, v6)
}

func hasSuffix(b []byte, s string) bool { return len(b) >= len(s) && string(b[len(b)-len(s):]) == s }

// hostText appends a host's name as rules write it: its labels with dots
// between, without .local.
func hostText(dst, name []byte) []byte {
	const local = "\x05local\x00"
	if hasSuffix(name, local) {
		name = name[:len(name)-len(local)]
	}
	for off := 0; off < len(name) && name[off] != 0; {
		next := min(off+1+int(name[off]), len(name))
		if off > 0 {
			dst = append(dst, '.')
		}
		dst = append(dst, name[off+1:next]...)
		off = next
	}
	return dst
}

// scratch reads names of one message at a time. Messages repeat their names by
// pointing to them, so each is read but once.
type scratch struct {
	seed   maphash.Seed
	where  [maxTopics]int // offsets of the names
	topics [maxTopics]topic
	bufs   [maxTopics][]byte
	count  int // of all that were read
	text   []byte
}

// maxTopics is how many names of a message are kept; so many topics are valid.
const maxTopics = 32

// reset begins a message.
func (s *scratch) reset() { s.count = 0 }

// topic takes a name of the message apart. It is valid until many others were.
func (s *scratch) topic(v dnswire.NameView) *topic {
	off := v.Offset()
	for i, o := range s.where[:min(s.count, maxTopics)] {
		if o == off {
			return &s.topics[i]
		}
	}
	i := s.slot(off)
	s.bufs[i] = v.AppendFolded(s.bufs[i][:0])
	return s.read(i)
}

// topicOf takes apart what wireName found.
func (s *scratch) topicOf(name []byte) *topic {
	i := s.slot(-1)
	s.bufs[i] = fold(s.bufs[i][:0], name)
	return s.read(i)
}

func (s *scratch) slot(off int) int {
	i := s.count % maxTopics
	s.where[i] = off
	s.count++
	return i
}

func (s *scratch) read(i int) *topic {
	t := &s.topics[i]
	*t = readTopic(s.bufs[i])
	t.key = max(1, maphash.Bytes(s.seed, s.bufs[i]))
	return t
}
