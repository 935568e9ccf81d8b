package nmos

import (
	"net"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/test/lab"
)

// dnsAnswers makes the site's DNS server say no in one of the ways that
// client.dns of a case names.
func (s *site) dnsAnswers(how string) {
	s.t.Helper()
	zone := lab.Zone{Name: "example.com"}
	switch how {
	case "nxdomain":
	case "nodata":
		zone.Records = []string{`_nmos-netctrl._tcp TXT "no PTR here"`}
	case "servfail":
		zone.Primaries = []string{"10.99.1.99"} // which isn't there
	case "refused":
		zone.Name = "example.net"
	case "timeout":
		err := s.dns.Do(func() error {
			conn, err := net.ListenPacket("udp", dnsPort.String())
			if err != nil {
				return err
			}
			s.t.Cleanup(func() { conn.Close() })
			ln, err := net.Listen("tcp", dnsPort.String())
			if err == nil {
				s.t.Cleanup(func() { ln.Close() })
			}
			return err
		})
		if err != nil {
			s.t.Fatal(err)
		}
		return
	default:
		s.t.Fatalf("client.dns %q", how)
	}
	s.dns.BIND(lab.BIND{Zones: []lab.Zone{zone}})
	s.hasCode(map[string]int{"nxdomain": 3, "nodata": 0, "servfail": 2, "refused": 5}[how])
}

// No unicast answer, whatever the server says instead: then by mDNS.
func TestNoUnicastAnswerThenMDNS(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"nxdomain", "nodata", "servfail", "refused", "timeout"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			c := loadCase(t, "no-unicast-answer-then-mdns")
			s := newSite(t)
			s.dnsAnswers(how)
			s.publishLocal(c)
			r := s.chooses(c, false, c.unicastArgs()...)
			if r.Alone > 15*time.Second {
				t.Errorf("it took %v, %v with others", r.Alone, r.Took)
			}
			mdns, unicast := s.asked()
			if len(unicast) == 0 || len(mdns) == 0 || mdns[0].Before(unicast[0]) {
				t.Errorf("%d queries by unicast DNS and %d by mDNS, or by mDNS first", len(unicast), len(mdns))
			}
			t.Logf("%v, %d packets to the server, %d queries by mDNS", r.Took, len(unicast), len(mdns))
		})
	}
}

// Where mDNS is ruled out, the same answers end the search.
func TestUnicastOnly(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"nxdomain", "nodata", "servfail", "refused", "timeout"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			c := loadCase(t, "mode-unicast-only")
			s := newSite(t)
			s.dnsAnswers(how)
			s.publishLocal(c)
			s.chooses(c, false, c.unicastArgs()...)
			if mdns, unicast := s.asked(); len(mdns) > 0 || len(unicast) == 0 {
				t.Errorf("%d queries by mDNS and %d by unicast DNS", len(mdns), len(unicast))
			}
		})
	}
}

// The mirror of mode-unicast-only: with mDNS alone, an answer that a DNS server
// would have isn't asked for.
func TestMulticastOnly(t *testing.T) {
	t.Parallel()
	c := loadCase(t, "unicast-unresponsive-still-no-mdns")
	s := newSite(t)
	s.bind(c.via("unicast"))
	mdns := c.via("mdns")
	s.publishLocal(mdns)
	c.Client.Mode = "mdns"
	mdns.Expect.Groups, mdns.Expect.Discarded = [][]string{{"M"}}, nil
	s.chooses(mdns, false, c.unicastArgs()...)
	if mdns, unicast := s.asked(); len(mdns) == 0 || len(unicast) > 0 {
		t.Errorf("%d queries by mDNS and %d by unicast DNS", len(mdns), len(unicast))
	}
}

// With --fall-back an answer that doesn't fit is as good as none.
func TestFallBackWhereNothingFits(t *testing.T) {
	t.Parallel()
	c := loadCase(t, "unicast-answers-all-unsuitable")
	s := newSite(t)
	s.bind(c.via("unicast"))
	s.publishLocal(c.via("mdns"))
	c.Expect.Groups = [][]string{{"M"}} // what the case calls the alternative
	s.chooses(c, false, append(c.unicastArgs(), "--fall-back")...)
}

// A configured location ends the search before it begins.
func TestLocationIsGiven(t *testing.T) {
	t.Parallel()
	c := loadCase(t, "pri-ascending")
	s := newSite(t)
	s.bind(c)
	got, r := s.choose(append(c.unicastArgs(), "--url", "http://10.99.1.200:8080")...)
	if r.Exit != 0 || got.Selected == nil || got.Selected.URL != "http://10.99.1.200:8080" {
		t.Errorf("exit %d: %s%s", r.Exit, r.Stdout, r.Stderr)
	}
	if mdns, unicast := s.asked(); len(mdns)+len(unicast) > 0 {
		t.Errorf("%d queries by mDNS and %d by unicast DNS", len(mdns), len(unicast))
	}
}
