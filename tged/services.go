package tged

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// maxServices bounds a services file: its services, and its bytes.
const (
	maxServices = 100_000
	maxFile     = 64 << 20
)

// ParseServices reads services as the document writes them: a JSON object of
// services by name, each an object of strings, numbers or booleans by key.
//
//	{"SQL": {"HOST": "test", "IP": "192.168.0.34", "PORT": 3306}}
//
// All of it must be right: the error of the first thing that isn't begins with
// its line and column, after the file's name if that isn't empty. A column counts bytes, from 1.
func ParseServices(file string, b []byte) (*Set, error) {
	p := servicesParser{file: file, data: bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))}
	if n := firstInvalid(p.data); n >= 0 {
		return nil, p.errorAt(n, "a byte that isn't UTF-8")
	}
	if !json.Valid(p.data) {
		err := json.Unmarshal(p.data, new(json.RawMessage)) // it says where, and takes its time
		at := len(p.data)
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok && err.Error() != "unexpected end of JSON input" {
			at = int(syntax.Offset) - 1 // it counts the byte that is wrong
		}
		return nil, p.errorAt(max(at, 0), err.Error())
	}
	p.text = string(p.data)
	return p.services()
}

// servicesParser goes through JSON of which the syntax is right.
type servicesParser struct {
	file string
	data []byte
	text string // the same: what is kept of it are parts of one string
	pos  int
	keys []int // where the fields of a service begin
}

func (p *servicesParser) services() (*Set, error) {
	set := &Set{byName: map[string]*Service{}}
	if p.peek() != '{' {
		return nil, p.errorAt(p.pos, "want an object of services by name")
	}
	var fields []Field
	var err error
	for p.pos++; p.peek() != '}'; {
		at := p.pos
		name := p.quoted()
		if p.peek() != '{' {
			return nil, p.errorAt(p.pos, fmt.Sprintf("want the fields of service %q, an object", name))
		}
		if fields, err = p.fields(name, fields[:0]); err != nil {
			return nil, err
		}
		s, wrong, err := newService(name, fields)
		switch {
		case err != nil && wrong >= 0:
			return nil, p.errorAt(p.keys[wrong], fmt.Sprintf("service %q: %v", name, err))
		case err != nil:
			return nil, p.errorAt(at, fmt.Sprintf("service %q: %v", name, err))
		case !set.add(s):
			return nil, p.errorAt(at, fmt.Sprintf("service %q is there twice; case makes no difference", name))
		case set.Len() > maxServices:
			return nil, p.errorAt(at, fmt.Sprintf("more than %d services", maxServices))
		}
	}
	return set, nil
}

// fields reads the object of one service.
func (p *servicesParser) fields(service string, dst []Field) ([]Field, error) {
	p.keys = p.keys[:0]
	for p.pos++; p.peek() != '}'; {
		p.keys = append(p.keys, p.pos)
		f := Field{Key: p.quoted()}
		switch c := p.peek(); c {
		case '"':
			f.Value = p.quoted()
		case '{', '[', 'n':
			return nil, p.errorAt(p.pos, fmt.Sprintf("service %q: %s must be a string, a number or a boolean", service, f.Key))
		default:
			from := p.pos
			for c := p.data[p.pos]; !between(c) && c != '}'; c = p.data[p.pos] {
				p.pos++
			}
			f.Value = p.text[from:p.pos]
		}
		dst = append(dst, f)
	}
	p.pos++
	return dst, nil
}

// peek goes to the next token and returns its first byte.
func (p *servicesParser) peek() byte {
	for between(p.data[p.pos]) {
		p.pos++
	}
	return p.data[p.pos]
}

// between says whether a byte only stands between tokens.
func between(c byte) bool {
	return c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == ',' || c == ':'
}

// quoted reads a string.
func (p *servicesParser) quoted() string {
	from := p.pos
	escaped := false
	for p.pos++; p.data[p.pos] != '"'; p.pos++ {
		if p.data[p.pos] == '\\' {
			escaped = true
			p.pos++
		}
	}
	p.pos++
	if !escaped {
		return p.text[from+1 : p.pos-1]
	}
	var s string
	_ = json.Unmarshal(p.data[from:p.pos], &s) // its syntax is right
	return s
}

func (p *servicesParser) errorAt(offset int, what string) error {
	before := p.data[:min(offset, len(p.data))]
	line := 1 + bytes.Count(before, []byte{'\n'})
	column := len(before) - bytes.LastIndexByte(before, '\n')
	file := p.file
	if file != "" {
		file += ":"
	}
	return fmt.Errorf("%s%d:%d: %s", file, line, column, what)
}

// firstInvalid returns where b stops being UTF-8, -1 if it doesn't.
func firstInvalid(b []byte) int {
	for n := 0; n < len(b); {
		if b[n] < utf8.RuneSelf {
			n++
			continue
		}
		_, size := utf8.DecodeRune(b[n:])
		if size == 1 {
			return n
		}
		n += size
	}
	return -1
}
