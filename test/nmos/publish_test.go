package nmos

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/lanfolk/lanfolk/test/lab"
)

// zoneTTL is the TTL of what is published by unicast DNS, in seconds.
const zoneTTL = 3600

// bind serves the case's advertisements from BIND. TXT records are given as
// bytes (RFC 3597), so that nothing depends on how a zone file quotes.
func (s *site) bind(c testCase, options ...string) *lab.Process {
	s.t.Helper()
	return s.dns.BIND(lab.BIND{Zones: []lab.Zone{{Name: "example.com", Records: zoneLines(c, zoneTTL)}}, Options: options})
}

// The key with which the site's DNS server takes updates.
const (
	tsigName   = "up.example.com"
	tsigSecret = "c2VjcmV0IG9mIHRoZSB0ZXN0IG9ubHk="
)

// bindWithUpdates serves them from BIND, with a TTL in seconds, and takes
// updates of anything.
func (s *site) bindWithUpdates(c testCase, ttl uint32) *lab.Process {
	s.t.Helper()
	return s.dns.BIND(lab.BIND{
		Zones: []lab.Zone{{Name: "example.com", Records: zoneLines(c, ttl), UpdatePolicy: []string{"grant " + tsigName + " zonesub ANY;"}}},
		Keys:  map[string]string{tsigName: tsigSecret},
	})
}

// update adds a case's records to the zone that the server has.
func (s *site) update(c testCase, ttl uint32) {
	s.t.Helper()
	lab.Require(s.t, "nsupdate")
	var script strings.Builder
	script.WriteString("server 10.99.1.10\nzone example.com\n")
	for _, line := range zoneLines(c, ttl) {
		fmt.Fprintf(&script, "update add %s\n", strings.Replace(line, "\tCLASS1\t", "\tIN\t", 1))
	}
	cmd := s.dns.Command("nsupdate", "-y", "hmac-sha256:"+tsigName+":"+tsigSecret)
	cmd.Stdin = script.String() + "send\n"
	if r := cmd.Run(); r.Exit != 0 {
		s.t.Fatalf("nsupdate: %s", r.Stderr)
	}
}

// learns waits until the client has asked where the first one of a case is, and
// has had time to hear it.
func (s *site) learns(c testCase) {
	s.t.Helper()
	name := c.Advertisements[0].name()
	lab.Eventually(s.t, 40*time.Second, "question for "+name, func() error {
		if len(s.questions(name, dns.TypeSRV)) == 0 {
			return errors.New("not asked")
		}
		return nil
	})
	time.Sleep(2 * time.Second)
}

func zoneLines(c testCase, ttl uint32) []string {
	var lines []string
	for _, rr := range c.records(ttl) {
		lines = append(lines, rr.String())
	}
	return lines
}

// dnsmasq serves them from dnsmasq, whose options know less: strings that
// txt-record can't hold are given to dns-rr as bytes. Without a TTL of its own
// dnsmasq says 0.
func (s *site) dnsmasq(c testCase, ttl uint32) *lab.Process {
	s.t.Helper()
	conf := []string{"local=/example.com/", fmt.Sprintf("local-ttl=%d", ttl)}
	for _, rr := range c.records(ttl) {
		name := strings.TrimSuffix(rr.Header().Name, ".")
		switch rr := rr.(type) {
		case *dns.PTR:
			conf = append(conf, fmt.Sprintf("ptr-record=%s,%s", name, strings.TrimSuffix(rr.Ptr, ".")))
		case *dns.SRV:
			conf = append(conf, fmt.Sprintf("srv-host=%s,%s,%d,%d,%d", name, strings.TrimSuffix(rr.Target, "."), rr.Port, rr.Priority, rr.Weight))
		case *dns.A:
			conf = append(conf, fmt.Sprintf("host-record=%s,%s", name, rr.A))
		}
	}
	for _, a := range c.Advertisements {
		name := strings.TrimSuffix(a.name(), ".")
		for i, b := range a.txt() {
			if i == 0 && a.Wire == "" && plain(a.strings()) {
				conf = append(conf, fmt.Sprintf(`txt-record=%s,"%s"`, name, strings.Join(a.strings(), `","`)))
			} else {
				conf = append(conf, fmt.Sprintf("dns-rr=%s,16,%s", name, hex.EncodeToString(b)))
			}
		}
	}
	// A file, because options of the command line know no quotes.
	return s.dns.Dnsmasq("--conf-file=" + s.file("dnsmasq.conf", strings.Join(conf, "\n")+"\n"))
}

// plain says whether dnsmasq's txt-record takes the strings as they are.
func plain(list []string) bool {
	for _, s := range list {
		if s == "" || strings.ContainsAny(s, `"\`) || strings.TrimSpace(s) != s {
			return false
		}
	}
	return true
}

// avahi starts an avahi-daemon that publishes them by mDNS, where it can.
func (s *site) avahi(c testCase) *lab.AvahiDaemon {
	s.t.Helper()
	o := lab.Avahi{Hosts: c.hosts()}
	for _, a := range c.Advertisements {
		o.Services = append(o.Services, lab.Service{Name: a.Instance, Type: a.Type, Port: a.Port, TXT: a.strings(), Host: strings.TrimSuffix(a.Host, ".")})
	}
	return s.peer.StartAvahi(o)
}

// responder publishes them by mDNS from the lab's own responder, byte for byte.
func (s *site) responder(c testCase) *lab.RunningResponder {
	s.t.Helper()
	return s.peer.Link(s.net).Respond(lab.Responder{Records: c.records(120)})
}
