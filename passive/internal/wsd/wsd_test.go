package wsd_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk/passive/internal/seeds"
	"github.com/lanfolk/lanfolk/passive/internal/wsd"
)

const (
	hello = `<s:Envelope><s:Header><a:Action>http://schemas.xmlsoap.org/ws/2005/04/discovery/Hello</a:Action><a:Address>reply</a:Address></s:Header>` +
		`<s:Body><d:Hello><a:Address x="1"> urn:uuid:1 </a:Address><d:Types/><d:Types>a:b</d:Types></d:Hello></s:Body></s:Envelope>`
	oasis = `<Envelope><Action>http://docs.oasis-open.org/ws-dd/ns/discovery/2009/01/Resolve</Action><Body><Address>urn:x</Address></Body></Envelope>`
)

func TestParse(t *testing.T) {
	for what, c := range map[string]struct{ payload, want string }{
		"the draft":            {hello, "hello urn:uuid:1 a:b s:Envelope"},
		"the standard":         {"<?xml version=\"1.0\"?>\n<!-- <Envelope> -->" + oasis, "resolve urn:x  Envelope"},
		"another action":       {strings.Replace(hello, "/Hello", "/Get", 1), "none"},
		"another service":      {strings.Replace(hello, "discovery", "transfer", 1), "none"},
		"no envelope":          {"<html><body>", "none"},
		"cut off before it":    {hello[:100], "none"},
		"a comment without an": {"<!-- " + hello, "none"},
		"too deep":             {strings.Replace(hello, "<s:Header>", strings.Repeat("<x>", 300), 1), "none"},
		"nothing":              {"", "none"},
		"a bare bracket":       {"<", "none"},
	} {
		var m wsd.Message
		got := "none"
		if m.Parse([]byte(c.payload)) {
			got = fmt.Sprintf("%s %s %s %s", m.Kind, m.Endpoint, m.Types, m.Envelope)
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", what, got, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(hello))
	f.Add([]byte(oasis))
	seeds.Add(f, func(p seeds.Packet) bool { return p.Dst == 3702 || p.Src == 3702 })
	f.Fuzz(func(t *testing.T, b []byte) {
		var m wsd.Message
		if m.Parse(b) && len(m.Envelope) == 0 {
			t.Fatal("no envelope")
		}
	})
}
