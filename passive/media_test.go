package passive_test

import (
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk/passive"
)

// Malformed PTP and SAP is counted; what says nothing, or can't be read, is nothing.
func TestMediaDrops(t *testing.T) {
	head := "\x20\x00\x00\x01\x0a\x00\x00\x05"
	for what, c := range map[string]struct {
		port          uint16
		payload, drop string
	}{
		"PTP's Sync":         {319, "\x00\x02" + strings.Repeat("\x00", 42), ""},
		"another version":    {320, "\x0b\x03" + strings.Repeat("\x00", 62), "ptp: malformed"},
		"an Announce cut":    {320, "\x0b\x02" + strings.Repeat("\x00", 61), "ptp: malformed"},
		"a request cut":      {319, "\x01\x02" + strings.Repeat("\x00", 31), "ptp: malformed"},
		"SAP cut":            {9875, head[:7], "sap: malformed"},
		"a later SAP":        {9875, "\x40" + head[1:], "sap: malformed"},
		"authentication cut": {9875, "\x20\x01" + head[2:] + "abc", "sap: malformed"},
		"encrypted":          {9875, "\x22" + head[1:] + "v=0\no=-\n", ""},
		"another payload":    {9875, head + "text/plain\x00v=0\no=-\n", ""},
		"no origin":          {9875, head + "v=0\ns=Studio\n", "sap: malformed"},
	} {
		f := eth(macB, macA, 0x0800, ip4(17, client, server, 1, 1, 0, nil, udp(40000, c.port, []byte(c.payload))))
		got, stats := decode(passive.Options{}, ethernet(f))
		if got != "" || c.drop != "" && stats.Drops[c.drop] != 1 || c.drop == "" && len(stats.Drops) > 0 {
			t.Errorf("%s: %q, dropped %v", what, got, stats.Drops)
		}
	}
}
