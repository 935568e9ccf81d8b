package unicast_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk/dnssd/unicast"
)

const secret = "c2VjcmV0Ly9vZi8qdGhlKi90ZXN0IQ=="

func TestParseKey(t *testing.T) {
	want, _ := base64.StdEncoding.DecodeString(secret)
	for _, text := range []string{
		"key \"up.example.com\" {\n\talgorithm hmac-sha256;\n\tsecret \"" + secret + "\";\n};\n",
		"# made by tsig-keygen\nkey up.example.com. { secret " + secret + "; /* or */ algorithm HMAC-SHA256; }; // end",
		"up.example.com:hmac-sha256:" + secret + "\n",
		"hmac-sha256:up.example.com:" + secret,
	} {
		k, err := unicast.ParseKey([]byte(text))
		if err != nil || k.Name.String() != "up.example.com" || k.Algorithm != "hmac-sha256" || !bytes.Equal(k.Secret, want) {
			t.Errorf("%q: %v, %v", text, k, err)
		}
		for _, s := range []string{fmt.Sprint(k), fmt.Sprintf("%+v %#v", k, k), slog.AnyValue(k).Resolve().String()} {
			if strings.Contains(s, secret[:8]) || strings.Contains(s, string(want[:6])) {
				t.Errorf("the secret is printed: %s", s)
			}
		}
	}
}

func TestParseKeyErrors(t *testing.T) {
	for text, want := range map[string]string{
		"":                                  `want BIND's form, key "name" { algorithm …; secret "…"; };, or NAME:ALGORITHM:SECRET`,
		"a:b":                               `want BIND's form, key "name" { algorithm …; secret "…"; };, or NAME:ALGORITHM:SECRET`,
		"a:hmac-md5:" + secret:              "the algorithm is unknown; want hmac-sha256, -sha384, -sha512, -sha224 or -sha1",
		"a:hmac-sha256:@@" + secret:         "the secret is not base64",
		"a:hmac-sha256:":                    "the secret is not base64",
		"a..b:hmac-sha256:" + secret:        "its name is no domain name",
		"key a { secret " + secret:          `want key "name" { … };`,
		"key { secret x; };":                `want key "name" { … };`,
		"key a { secret b; secret c; };":    "secret is there twice",
		"key a { colour red; };":            "want algorithm and secret, and nothing else",
		"key a { }; key b { };":             "there is more than one key, or something behind it",
		"/* key":                            "a comment has no end",
		strings.Repeat("x", 70000):          "has more than 65536 bytes",
		"key a { algorithm hmac-sha256; };": "the secret is not base64",
	} {
		_, err := unicast.ParseKey([]byte(text))
		if err == nil || err.Error() != "unicast: TSIG key: "+want {
			t.Errorf("%.40q: error %v, want %s", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), secret[:8]) {
			t.Errorf("the error holds the secret: %v", err)
		}
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add([]byte(`key "a" { algorithm hmac-sha256; secret "` + secret + `"; };`))
	f.Add([]byte("a:hmac-sha512:" + secret))
	f.Add([]byte("/* key */ key"))
	f.Fuzz(func(t *testing.T, data []byte) {
		k, err := unicast.ParseKey(data)
		if err == nil && (!k.Name.Valid() || len(k.Secret) == 0 || !strings.HasPrefix(k.Algorithm, "hmac-")) {
			t.Errorf("%q: %v", data, k)
		}
	})
}
