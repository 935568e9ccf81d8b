package nmos

import (
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/lanfolk/lanfolk/test/lab"
)

// asker answers a question with the data of all records that there are.
type asker func(name string, typ uint16) ([]string, error)

// published asks for everything that the case publishes, and says what is
// different. Names are compared as DNS does, without regard to case; TXT records
// byte for byte.
func published(c testCase, ask asker) error {
	want := map[string][]string{}
	for _, rr := range c.records(0) {
		key := fmt.Sprintf("%s %s", rr.Header().Name, dns.TypeToString[rr.Header().Rrtype])
		want[key] = append(want[key], dataOf(rr))
	}
	for key, list := range want {
		name, typ, _ := strings.Cut(key, " ")
		got, err := ask(name, dns.StringToType[typ])
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		if want, got := unique(list), unique(got); !slices.Equal(want, got) {
			return fmt.Errorf("%s: %q, want %q", key, got, want)
		}
	}
	return nil
}

func unique(list []string) []string {
	list = slices.Clone(list)
	slices.Sort(list)
	return slices.Compact(list)
}

func dataOf(rr dns.RR) string {
	switch rr := rr.(type) {
	case *dns.PTR:
		return strings.ToLower(rr.Ptr)
	case *dns.SRV:
		return fmt.Sprintf("%d %d %d %s", rr.Priority, rr.Weight, rr.Port, strings.ToLower(rr.Target))
	case *dns.A:
		return rr.A.String()
	case *dns.RFC3597:
		return rr.Rdata
	}
	return rr.String()
}

// server asks the DNS server from its own host, so that nothing of it is
// captured at the client. It reads TXT records as bytes: a broken one is no
// error.
func (s *site) server(name string, typ uint16) ([]string, error) {
	b, err := s.exchange(name, typ)
	if err != nil {
		return nil, err
	}
	return answers(b, name, typ)
}

// hasCode waits until the server answers the question for instances with a
// response code.
func (s *site) hasCode(want int) {
	s.t.Helper()
	lab.Eventually(s.t, 10*time.Second, fmt.Sprintf("response code %d", want), func() error {
		b, err := s.exchange("_nmos-netctrl._tcp.example.com.", dns.TypePTR)
		if err == nil && int(b[3]&15) != want {
			err = fmt.Errorf("it is %d", b[3]&15)
		}
		return err
	})
}

func (s *site) exchange(name string, typ uint16) ([]byte, error) {
	var conn net.Conn
	err := s.dns.Do(func() (err error) {
		conn, err = net.DialTimeout("udp", dnsPort.String(), time.Second)
		return err
	})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	q := new(dns.Msg)
	q.SetQuestion(name, typ)
	b, err := q.Pack()
	if err != nil {
		return nil, err
	}
	if _, err = conn.Write(b); err != nil {
		return nil, err
	}
	_ = conn.SetReadDeadline(time.Now().Add(2 * time.Second))
	buf := make([]byte, 65536)
	n, err := conn.Read(buf)
	if err == nil && n < 12 {
		err = fmt.Errorf("%d bytes", n)
	}
	return buf[:n], err
}

// link answers from what the peer has said on the link by mDNS so far, by the
// program that publishes now.
func (s *site) link(name string, typ uint16) ([]string, error) {
	var out []string
	for _, p := range s.wire.MDNS() {
		if p.Src.Addr() != s.peer.Link(s.net).V4 || p.Time.Before(s.since) {
			continue
		}
		more, err := answers(p.Data, name, typ)
		if err != nil {
			return nil, err
		}
		out = append(out, more...)
	}
	return out, nil
}

// answers returns the data of the answers in a message to one question.
func answers(b []byte, name string, typ uint16) ([]string, error) {
	var p dnsmessage.Parser
	h, err := p.Start(b)
	if err != nil {
		return nil, err
	}
	if h.RCode != dnsmessage.RCodeSuccess {
		return nil, fmt.Errorf("%v", h.RCode)
	}
	if err := p.SkipAllQuestions(); err != nil {
		return nil, err
	}
	var out []string
	for {
		rh, err := p.AnswerHeader()
		if err == dnsmessage.ErrSectionDone {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		if uint16(rh.Type) != typ || !strings.EqualFold(rh.Name.String(), name) {
			err = p.SkipAnswer()
		} else {
			var data string
			data, err = answerData(&p, rh.Type)
			out = append(out, data)
		}
		if err != nil {
			return nil, err
		}
	}
}

func answerData(p *dnsmessage.Parser, typ dnsmessage.Type) (string, error) {
	switch typ {
	case dnsmessage.TypePTR:
		r, err := p.PTRResource()
		return strings.ToLower(r.PTR.String()), err
	case dnsmessage.TypeSRV:
		r, err := p.SRVResource()
		return fmt.Sprintf("%d %d %d %s", r.Priority, r.Weight, r.Port, strings.ToLower(r.Target.String())), err
	case dnsmessage.TypeA:
		r, err := p.AResource()
		return netip.AddrFrom4(r.A).String(), err
	default:
		r, err := p.UnknownResource()
		return hex.EncodeToString(r.Data), err
	}
}
