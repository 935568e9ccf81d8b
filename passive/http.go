package passive

import "bytes"

// Bounds of what is read of an HTTP head.
const (
	maxHead        = 8192 // bytes
	maxHeaders     = 64
	maxHeaderValue = 256 // bytes of a value that is kept
	maxMethod      = 16
)

// opensHTTP says whether data begins like a request or a response of HTTP/1: by
// its first four bytes, as the kernel's filter does.
func opensHTTP(b []byte) bool {
	return len(b) >= 4 && isHTTPWord(be.Uint32(b))
}

const httpAnswer = 0x48545450 // HTTP

// httpWords are the first four bytes of responses and of the requests that are
// read: those of browsers and of UPnP's events.
var httpWords = [...]uint32{
	httpAnswer,
	0x47455420, // GET
	0x504f5354, // POST
	0x48454144, // HEAD
	0x50555420, // PUT
	0x4f505449, // OPTIONS
	0x44454c45, // DELETE
	0x50415443, // PATCH
	0x434f4e4e, // CONNECT
	0x4e4f5449, // NOTIFY
	0x53554253, // SUBSCRIBE
	0x554e5355, // UNSUBSCRIBE
}

func isHTTPWord(w uint32) bool {
	for _, x := range httpWords {
		if x == w {
			return true
		}
	}
	return false
}

// httpHead reads the head of an HTTP/1 message (RFC 9112 §2), or as much of it as
// the segment holds. Of a request it keeps the method and the host, never the
// path, the query, cookies or credentials.
func (d *Decoder) httpHead(c *context, b []byte) drop {
	b = b[:min(len(b), maxHead)]
	line, rest, ok := cutLine(b)
	if !ok {
		return dropNone // by chance, or too little of it
	}
	if version, ok := bytes.CutPrefix(line, []byte("HTTP/1.")); ok {
		return d.httpResponse(c, version, rest)
	}
	method, line, _ := bytes.Cut(line, []byte{' '})
	i := bytes.LastIndexByte(line, ' ')
	if i < 0 || !isToken(method) || len(method) > maxMethod {
		return dropNone
	}
	version, ok := bytes.CutPrefix(line[i+1:], []byte("HTTP/1."))
	if !ok || len(version) != 1 || !isDigit(version[0]) {
		return dropNone
	}

	var host, agent []byte
	d.buf = append(append(d.buf[:0], "http1:q=1."...), version[0])
	shown := 0
	for range maxHeaders {
		line, rest, ok = cutLine(rest)
		if !ok || len(line) == 0 {
			break
		}
		name, value, ok := cutHeader(line)
		if !ok {
			return dropHTTPForm
		}
		switch {
		case host == nil && isHeader(name, "Host"):
			host = value
		case agent == nil && isHeader(name, "User-Agent"):
			agent = value
		}
		if !changes(name) {
			if shown == 0 {
				d.buf = append(d.buf, ";h="...)
			} else {
				d.buf = append(d.buf, ',')
			}
			d.buf = appendFingerprintText(d.buf, name)
			shown++
		}
	}
	if len(agent) > 0 {
		d.buf = appendFingerprintValue(append(d.buf, ";ua="...), agent)
	}
	d.packet(protoHTTP)
	f := d.start(c, ProtoHTTP)
	f.Fingerprint = d.text.get(d.buf)
	d.buf = appendSafe(d.buf[:0], hostOf(host))
	f.Query = d.text.get(d.buf)
	d.safeField("method", method)
	d.safeField("user_agent", agent)
	d.httpFinish(c)
	return dropNone
}

// httpResponse reads a response behind "HTTP/1.".
func (d *Decoder) httpResponse(c *context, line, rest []byte) drop {
	if len(line) < 5 || !isDigit(line[0]) || line[1] != ' ' || !isDigit(line[2]) || !isDigit(line[3]) || !isDigit(line[4]) {
		return dropHTTPForm
	}
	version, status := line[0], line[2:5]
	var server []byte
	for range maxHeaders {
		var ok bool
		line, rest, ok = cutLine(rest)
		if !ok || len(line) == 0 {
			break
		}
		name, value, ok := cutHeader(line)
		if !ok {
			return dropHTTPForm
		}
		if server == nil && isHeader(name, "Server") {
			server = value
		}
	}
	d.packet(protoHTTP)
	f := d.start(c, ProtoHTTP)
	f.Response = true
	if len(server) > 0 {
		d.buf = append(append(d.buf[:0], "http1:a=1."...), version)
		d.buf = appendFingerprintValue(append(d.buf, ";server="...), server)
		f.Fingerprint = d.text.get(d.buf)
	}
	d.safeField("status", status)
	d.safeField("server", server)
	d.httpFinish(c)
	return dropNone
}

func (d *Decoder) httpFinish(c *context) {
	if d.direct(c) {
		d.claims = append(d.claims, Claim{MAC: c.srcMAC, IP: c.src.Addr()})
	}
	d.finish(c)
}

// safeField adds a field with text off the wire, if there is any.
func (d *Decoder) safeField(key string, value []byte) {
	if len(value) > 0 {
		d.buf = appendSafe(d.buf[:0], value)
		d.fieldText(key, d.buf)
	}
}

// cutLine cuts off a line that ends in b.
func cutLine(b []byte) (line, rest []byte, ok bool) {
	line, rest, ok = bytes.Cut(b, []byte{'\n'})
	return bytes.TrimSuffix(line, []byte{'\r'}), rest, ok
}

// cutHeader takes a header's line apart. A long value is cut off. A folded line
// (RFC 9112 §5.2) has no name.
func cutHeader(line []byte) (name, value []byte, ok bool) {
	if line[0] == ' ' || line[0] == '\t' {
		return nil, nil, true
	}
	name, value, ok = bytes.Cut(line, []byte{':'})
	for len(value) > 0 && (value[0] == ' ' || value[0] == '\t') {
		value = value[1:]
	}
	for n := len(value) - 1; n >= 0 && (value[n] == ' ' || value[n] == '\t'); n-- {
		value = value[:n]
	}
	return name, value[:min(len(value), maxHeaderValue)], ok && isToken(name)
}

func isHeader(name []byte, want string) bool {
	return len(name) == len(want) && bytes.EqualFold(name, []byte(want))
}

// isToken says whether b is a token (RFC 9110 §5.6.2), of the characters that
// names are made of in use.
func isToken(b []byte) bool {
	for _, c := range b {
		if !(c == '-' || c == '_' || c == '.' || isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'z') {
			return false
		}
	}
	return len(b) > 0
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// hostOf is a Host header without what some send before an '@'.
func hostOf(b []byte) []byte { return b[bytes.LastIndexByte(b, '@')+1:] }

// changes says of a request's header that it comes and goes with what is asked,
// and tells nothing of the software; of a folded line, too.
func changes(name []byte) bool {
	var buf [24]byte
	if len(name) > len(buf) {
		name = name[:len(buf)] // longer than any of these
	}
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		buf[i] = c
	}
	switch string(buf[:len(name)]) {
	case "", "cookie", "cookie2", "authorization", "proxy-authorization", "referer", "origin", "range", "date", "expect",
		"cache-control", "pragma", "transfer-encoding", "sid", "seq", "soapaction", "via", "forwarded", "max-forwards":
		return true
	}
	for _, x := range [...]string{"if-", "content-", "x-", "sec-"} {
		if len(name) > len(x) && string(buf[:len(x)]) == x {
			return true
		}
	}
	return false
}
