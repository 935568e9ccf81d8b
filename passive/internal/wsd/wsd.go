// Package wsd reads messages of WS-Discovery (version 1.1 and the draft of
// 2005 that most devices speak): SOAP over UDP, port 3702. It doesn't parse XML
// but looks through it once for the few elements that count; namespaces are
// told by local names alone.
package wsd

import "bytes"

// Kind says what a message is.
type Kind uint8

// The kinds of message (WS-Discovery 1.1 §4 to §6).
const (
	Hello Kind = iota
	Bye
	Probe
	ProbeMatches
	Resolve
	ResolveMatches
)

// String names the kind in lower case.
func (k Kind) String() string {
	return [...]string{"hello", "bye", "probe", "probe-matches", "resolve", "resolve-matches"}[k]
}

// Asks says that the message asks for something.
func (k Kind) Asks() bool { return k == Probe || k == Resolve }

// maxElements bounds the elements that are looked at.
const maxElements = 256

// Message is a message that was read. Its values are parts of what was parsed,
// with entities as they stand there, and nil where there is no such element. Of
// several matches it holds the first.
type Message struct {
	Kind     Kind
	Endpoint []byte // the device's address: "urn:uuid:…"
	Types    []byte // with the prefixes that the sender chose, and spaces between
	Scopes   []byte // URIs with spaces between
	XAddrs   []byte // URLs with spaces between
	Version  []byte // of the metadata
	Envelope []byte // the outermost element, as it is written: "soap:Envelope"
}

// Parse reads a datagram; false if it is none of the messages above.
func (m *Message) Parse(b []byte) bool {
	*m = Message{}
	var action, body bool
	for n := 0; n < maxElements; n++ {
		name, text, rest, ok := element(b)
		if !ok {
			break
		}
		b = rest
		if m.Envelope == nil {
			if string(local(name)) != "Envelope" {
				return false
			}
			m.Envelope = name
			continue
		}
		var to *[]byte
		switch l := local(name); string(l) {
		case "Action":
			if !action {
				if action = m.action(text); !action {
					return false
				}
			}
		case "Body":
			body = true
		case "Address":
			to = &m.Endpoint
		case "Types":
			to = &m.Types
		case "Scopes":
			to = &m.Scopes
		case "XAddrs":
			to = &m.XAddrs
		case "MetadataVersion":
			to = &m.Version
		}
		// The header may hold an address to reply to.
		if to != nil && *to == nil && body && len(text) > 0 {
			*to = text
		}
	}
	return action && body
}

// action reads what the message is off the last part of a URI.
func (m *Message) action(uri []byte) bool {
	if !bytes.Contains(uri, []byte("discovery")) {
		return false
	}
	last := uri[bytes.LastIndexByte(uri, '/')+1:]
	for k, name := range [...]string{"Hello", "Bye", "Probe", "ProbeMatches", "Resolve", "ResolveMatches"} {
		if string(last) == name {
			m.Kind = Kind(k)
			return true
		}
	}
	return false
}

// element finds the next start tag: its name as it is written, and the text
// behind it up to the next tag, without white space around it.
func element(b []byte) (name, text, rest []byte, ok bool) {
	for {
		i := bytes.IndexByte(b, '<')
		if i < 0 || i+1 >= len(b) {
			return nil, nil, nil, false
		}
		b = b[i+1:]
		if bytes.HasPrefix(b, []byte("!--")) {
			end := bytes.Index(b, []byte("-->"))
			if end < 0 {
				return nil, nil, nil, false
			}
			b = b[end+3:]
			continue
		}
		end := bytes.IndexByte(b, '>')
		if end < 0 {
			return nil, nil, nil, false
		}
		tag := b[:end]
		b = b[end+1:]
		if len(tag) == 0 || tag[0] == '/' || tag[0] == '?' || tag[0] == '!' {
			continue
		}
		name = tag
		if i := bytes.IndexAny(name, " \t\r\n/"); i >= 0 {
			name = name[:i]
		}
		if tag[len(tag)-1] != '/' {
			next := bytes.IndexByte(b, '<')
			if next < 0 {
				next = len(b)
			}
			text = bytes.TrimSpace(b[:next])
		}
		return name, text, b, true
	}
}

// local is a name without its prefix.
func local(name []byte) []byte { return name[bytes.IndexByte(name, ':')+1:] }
