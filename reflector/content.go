package reflector

import (
	"hash/maphash"

	"github.com/lanfolk/lanfolk/dnswire"
)

// form is what a message is for.
type form uint8

const (
	formResponse form = iota
	formQuery         // questions, perhaps with known answers
	formProbe         // a query with the records that its sender wants (RFC 6762 §8.1)
	formKnown         // known answers that follow a truncated query (§7.2)
)

// atom is one thing that a message says, reduced to what tells it from others:
// a record of a response, a record that a probe wants, a question. Another
// reflector may take messages apart and put them together anew; the items stay.
type atom struct {
	key  uint64 // what it is, without its TTL and the bits of its class; a goodbye's is another
	name uint64 // of its name alone
	typ  dnswire.Type
	ttl  uint32
	bit  bool // cache-flush, or QU
	gone bool // a goodbye (RFC 6762 §10.1)
}

// content is what a message says.
type content struct {
	form  form
	items []atom
	known uint32 // of all known answers of a query, 0 if there are none
	qu    bool   // a question asks for unicast answers
}

// reader reads messages into contents. Its memory is used anew for each batch.
type reader struct {
	seed  maphash.Seed
	items []atom
	text  []byte
}

// read reduces a message to its items.
func (r *reader) read(m *dnswire.Message) content {
	c := content{form: formQuery}
	start := len(r.items)
	section := dnswire.Answer
	switch {
	case m.Response:
		c.form = formResponse
		if m.ANCount == 0 {
			section = dnswire.Additional
		}
	case m.QDCount == 0:
		c.form = formKnown
	case m.NSCount > 0:
		c.form, section = formProbe, dnswire.Authority
	}
	salt := uint64(c.form) << 56
	if c.form == formQuery || c.form == formProbe {
		for q := range m.Questions() {
			c.qu = c.qu || q.Unicast
			if c.form == formQuery {
				it := r.question(&q)
				it.key ^= salt
				r.items = append(r.items, it)
			}
		}
	}
	switch c.form {
	case formResponse, formProbe:
		for rr := range m.Records() {
			if rr.Section < section || rr.Type == dnswire.TypeOPT {
				continue
			}
			if rr.Section > section {
				break
			}
			it := r.record(&rr)
			it.key ^= salt
			if it.gone = c.form == formResponse && it.ttl == 0; it.gone {
				it.key ^= saltGone
			}
			r.items = append(r.items, it)
		}
	case formQuery:
		if m.ANCount > 0 {
			c.known = r.knownAnswers(m)
		}
	}
	c.items = r.items[start:]
	return c
}

// knownAnswers returns what the list of known answers is, in whatever order.
func (r *reader) knownAnswers(m *dnswire.Message) uint32 {
	var sum uint64
	for rr := range m.Records() {
		if rr.Section > dnswire.Answer {
			break
		}
		it := r.record(&rr)
		sum += it.key
	}
	return uint32(sum>>32) | 1
}

func (r *reader) question(q *dnswire.Question) atom {
	r.text = q.Name.AppendFolded(r.text[:0])
	name := maphash.Bytes(r.seed, r.text)
	return atom{key: mix(name, uint64(q.Type)<<16|uint64(q.Class)), name: name, typ: q.Type, bit: q.Unicast}
}

func (r *reader) record(rr *dnswire.Record) atom {
	r.text = rr.Name.AppendFolded(r.text[:0])
	name := maphash.Bytes(r.seed, r.text)
	r.text = rr.AppendRData(r.text[:0])
	key := mix(mix(name, uint64(rr.Type)<<16|uint64(rr.Class)), maphash.Bytes(r.seed, r.text))
	return atom{key: key, name: name, typ: rr.Type, ttl: rr.TTL, bit: rr.Flush}
}

// mix joins two hashes. Its operands were hashed with a secret seed, so that
// nobody outside can make results collide.
func mix(a, b uint64) uint64 {
	a ^= b * 0x9E3779B97F4A7C15
	a ^= a >> 32
	a *= 0xD6E8FEB86659FD93
	return a ^ a>>32
}
