package nmos

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/test/lab"
)

// pair is two APIs: A, which is preferred, and B.
func pair(t *testing.T, proto string) testCase {
	t.Helper()
	c := loadCase(t, "all-failed-requery-with-backoff")
	c.Name, c.Client.Proto = "pair", proto
	c.Advertisements = slices.Clone(c.Advertisements)
	for i := range c.Advertisements {
		a := &c.Advertisements[i]
		if proto == "https" {
			a.Port = 443
		}
		// A host name's last dot is no part of what a certificate says.
		a.TXT = json.RawMessage(strings.Replace(string(a.TXT), `"http"`, `"`+proto+`"`, 1))
	}
	return c
}

// What counts as not working, and what doesn't.
func TestWhatCountsAsFailed(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		proto, how string
		fails      bool
	}{
		{"http", refuses, true}, {"http", hangs, true}, {"http", silent, true}, {"http", answers500, true}, {"http", answers503, true}, {"http", saysGarbage, true},
		{"http", answers501, false}, {"http", works, false}, {"https", works, false},
		{"https", wrongName, true}, {"https", unknownCA, true}, {"https", expired, true}, {"https", noTLS, true},
	} {
		t.Run(x.proto+"/"+x.how, func(t *testing.T) {
			t.Parallel()
			c := pair(t, x.proto)
			s := newSite(t)
			s.bind(c)
			apis := s.apis(c)
			apis["A"].set(x.how)
			args := c.unicastArgs()
			switch {
			case x.proto == "https" && x.fails:
				args = append(args, "--ca-file", s.caFile())
			case x.proto == "https":
				s.env = []string{"SSL_CERT_FILE=" + s.caFile()} // as the machine's own roots
			}
			w := s.watch(apis, args...)
			w.selects(15*time.Second, "A")
			if x.fails {
				w.selects(10*time.Second, "B")
				ch := w.changes()[1]
				if i := slices.IndexFunc(ch.Others, func(o reason) bool { return o.Instance == "A" }); i < 0 || !strings.Contains(ch.Others[i].Reason, "invalid") {
					t.Errorf("it isn't said why A isn't selected: %+v", ch.Others)
				}
				return
			}
			lab.Eventually(t, 10*time.Second, "two tries", func() error {
				apis["A"].mu.Lock()
				defer apis["A"].mu.Unlock()
				if n := len(apis["A"].paths); n < 2 {
					return fmt.Errorf("%d so far", n)
				}
				return nil
			})
			if all := w.changes(); len(all) != 1 {
				t.Errorf("A works, and yet: %s", w.Stdout())
			}
			apis["A"].mu.Lock()
			defer apis["A"].mu.Unlock()
			for _, p := range apis["A"].paths {
				if !strings.HasPrefix(p, "/x-nmos/netctrl") {
					t.Errorf("tried %s", p)
				}
			}
		})
	}
}

// An answer with TTL 0, as dnsmasq gives it where nobody configured another, isn't
// asked for again and again.
func TestTTLOfNothing(t *testing.T) {
	t.Parallel()
	c := pair(t, "http")
	s := newSite(t)
	s.dnsmasq(c, 0)
	w := s.watch(s.apis(c), c.unicastArgs()...)
	w.selects(15*time.Second, "a") // dnsmasq writes names in lower case
	time.Sleep(8 * time.Second)
	if _, unicast := s.asked(); len(unicast) > 2*10 {
		t.Errorf("%d packets to the server in 8 s", len(unicast))
	}
	if all := w.changes(); len(all) != 1 {
		t.Errorf("changes: %s", w.Stdout())
	}
}
