package unicast

import (
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/miekg/dns"

	"github.com/lanfolk/lanfolk/dnswire"
)

// Key is a TSIG key (RFC 8945). It prints without its secret.
type Key struct {
	Name      dnswire.Name
	Algorithm string // "hmac-sha256"
	Secret    []byte
}

// String returns the key's algorithm and name.
func (k Key) String() string { return k.Algorithm + ":" + k.Name.String() }

// GoString keeps the secret out of %#v.
func (k Key) GoString() string { return k.String() }

// LogValue keeps the secret out of logs.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.String()) }

// maxKeyFile is the most that a key's text may have, in bytes.
const maxKeyFile = 64 << 10

// algorithms maps the names of TSIG algorithms to those on the wire. MD5 is left
// out: nobody should use it any more (RFC 8945 §6).
func algorithms() map[string]string {
	return map[string]string{
		"hmac-sha1": dns.HmacSHA1, "hmac-sha224": dns.HmacSHA224, "hmac-sha256": dns.HmacSHA256,
		"hmac-sha384": dns.HmacSHA384, "hmac-sha512": dns.HmacSHA512,
	}
}

// ParseKey reads a key as BIND's tools write it
//
//	key "name" { algorithm hmac-sha256; secret "base64=="; };
//
// or in one line, NAME:ALGORITHM:SECRET or, as nsupdate has it,
// ALGORITHM:NAME:SECRET. No error holds any of the secret.
func ParseKey(data []byte) (Key, error) {
	if len(data) > maxKeyFile {
		return Key{}, fmt.Errorf("unicast: TSIG key: has more than %d bytes", maxKeyFile)
	}
	text, err := stripComments(string(data))
	if err != nil {
		return Key{}, err
	}
	text = strings.TrimSpace(text)
	if rest, ok := strings.CutPrefix(text, "key"); ok && rest != "" && strings.ContainsAny(rest[:1], " \t\n\r\"{") {
		return parseKeyBlock(rest)
	}
	parts := strings.Split(text, ":")
	if len(parts) != 3 {
		return Key{}, errors.New(`unicast: TSIG key: want BIND's form, key "name" { algorithm …; secret "…"; };, or NAME:ALGORITHM:SECRET`)
	}
	if _, ok := algorithms()[strings.ToLower(parts[0])]; ok {
		parts[0], parts[1] = parts[1], parts[0]
	}
	return newKey(parts[0], parts[1], parts[2])
}

func newKey(name, algorithm, secret string) (Key, error) {
	n, err := dnswire.ParseName(name)
	if err != nil {
		return Key{}, errors.New("unicast: TSIG key: its name is no domain name")
	}
	k := Key{Name: n, Algorithm: strings.TrimSuffix(strings.ToLower(algorithm), ".")}
	if _, ok := algorithms()[k.Algorithm]; !ok {
		return Key{}, errors.New("unicast: TSIG key: the algorithm is unknown; want hmac-sha256, -sha384, -sha512, -sha224 or -sha1")
	}
	if k.Secret, err = base64.StdEncoding.DecodeString(secret); err != nil || len(k.Secret) == 0 {
		return Key{}, errors.New("unicast: TSIG key: the secret is not base64")
	}
	return k, nil
}

// stripComments takes out the three kinds of comment that named.conf knows.
func stripComments(s string) (string, error) {
	var b strings.Builder
	quoted := false
	for i := 0; i < len(s); i++ {
		rest := s[i:]
		switch {
		case s[i] == '"':
			quoted = !quoted
		case quoted:
		case s[i] == '#', strings.HasPrefix(rest, "//"):
			if i > 0 && s[i-1] != '\n' && s[i-1] != ' ' && s[i-1] != '\t' && s[i-1] != ';' && s[i-1] != '{' && s[i-1] != '}' {
				break // base64 holds slashes
			}
			end := strings.IndexByte(rest, '\n')
			if end < 0 {
				return b.String(), nil
			}
			i += end
		case strings.HasPrefix(rest, "/*"):
			end := strings.Index(rest[2:], "*/")
			if end < 0 {
				return "", errors.New("unicast: TSIG key: a comment has no end")
			}
			i += end + 3
			b.WriteByte(' ')
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String(), nil
}

// parseKeyBlock reads what follows the word key.
func parseKeyBlock(s string) (Key, error) {
	head, body, ok := strings.Cut(s, "{")
	name := unquote(head)
	body, tail, closed := strings.Cut(body, "}")
	if !ok || !closed || name == "" {
		return Key{}, errors.New(`unicast: TSIG key: want key "name" { … };`)
	}
	if strings.Trim(tail, "; \t\r\n") != "" {
		return Key{}, errors.New("unicast: TSIG key: there is more than one key, or something behind it")
	}
	var algorithm, secret string
	for _, statement := range strings.Split(body, ";") {
		statement = strings.TrimSpace(statement)
		if statement == "" {
			continue
		}
		word, value, _ := strings.Cut(strings.ReplaceAll(statement, "\t", " "), " ")
		switch into := map[string]*string{"algorithm": &algorithm, "secret": &secret}[word]; {
		case into == nil:
			return Key{}, errors.New("unicast: TSIG key: want algorithm and secret, and nothing else")
		case *into != "":
			return Key{}, fmt.Errorf("unicast: TSIG key: %s is there twice", word)
		default:
			*into = unquote(value)
		}
	}
	return newKey(name, algorithm, secret)
}

func unquote(s string) string {
	s = strings.TrimSpace(s)
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		s = s[1 : len(s)-1]
	}
	return s
}
