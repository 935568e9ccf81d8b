package nmos

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/gopacket/gopacket/layers"

	"github.com/lanfolk/lanfolk/test/judge"
	"github.com/lanfolk/lanfolk/test/lab"
)

// selection is what `lanfolk nmos select -o json` prints.
type selection struct {
	Groups    [][]shown `json:"groups"`
	Selected  *shown    `json:"selected"`
	Discarded []reason  `json:"discarded"`
	Others    []reason  `json:"others"`
}

// reason says why an advertisement isn't the one that is selected.
type reason struct {
	Instance string `json:"instance"`
	Reason   string `json:"reason"`
}

// shown is an advertisement in it.
type shown struct {
	Instance    string       `json:"instance"`
	Domain      string       `json:"domain"`
	Via         string       `json:"via"`
	Host        string       `json:"host"`
	Port        uint16       `json:"port"`
	Addresses   []netip.Addr `json:"addresses"`
	Proto       string       `json:"api_proto"`
	Versions    []string     `json:"api_ver"`
	Auth        bool         `json:"api_auth"`
	Priority    int          `json:"pri"`
	SRVPriority uint16       `json:"srv_priority"`
	SRVWeight   uint16       `json:"srv_weight"`
	URL         string       `json:"url"`
}

// choose runs `lanfolk nmos select` at the desk as a user without rights.
func (s *site) choose(args ...string) (selection, lab.Result) {
	s.t.Helper()
	c := s.desk.Lanfolk(append([]string{"nmos", "select", "-o", "json"}, args...)...)
	c.User = lab.Nobody
	r := c.Run()
	var got selection
	if err := json.Unmarshal([]byte(r.Stdout), &got); err != nil {
		s.t.Fatalf("nmos select %s: exit %d, %v: %s%s", strings.Join(args, " "), r.Exit, err, r.Stdout, r.Stderr)
	}
	return got, r
}

// unicastArgs name the site's server and domain.
func (c testCase) unicastArgs() []string {
	return append(c.needs(), "--mode", c.Client.Mode, "--domain", "example.com", "--server", dnsServer)
}

// chooses waits until the client chooses what the case expects, and returns that
// run: who answers late isn't heard in one look. fold says that the server changes the
// case of names.
func (s *site) chooses(c testCase, fold bool, args ...string) (r lab.Result) {
	s.t.Helper()
	lab.Eventually(s.t, 20*time.Second, "what the case expects", func() error {
		var got selection
		got, r = s.choose(args...)
		return c.holds(got, r, fold)
	})
	return r
}

// holds says how a selection isn't what the case expects.
func (c testCase) holds(got selection, r lab.Result, fold bool) error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	name := func(n string) string {
		if fold {
			return strings.ToUpper(n)
		}
		return n
	}
	groups := [][]string{}
	for _, g := range got.Groups {
		var names []string
		for _, a := range g {
			names = append(names, name(a.Instance))
		}
		slices.Sort(names)
		groups = append(groups, names)
	}
	if !slices.EqualFunc(groups, c.Expect.Groups, slices.Equal) {
		wrong("groups %q, want %q: %s", groups, c.Expect.Groups, c.Why)
	}
	var discarded []string
	for _, d := range got.Discarded {
		discarded = append(discarded, name(d.Instance))
		if d.Reason == "" {
			wrong("%s was discarded without a reason", d.Instance)
		}
	}
	slices.Sort(discarded)
	if !slices.Equal(discarded, c.Expect.Discarded) {
		wrong("discarded %q, want %q: %s", discarded, c.Expect.Discarded, c.Why)
	}
	switch {
	case len(c.Expect.Groups) == 0:
		if got.Selected != nil || r.Exit != 5 {
			wrong("selected %+v, exit %d: nothing fits", got.Selected, r.Exit)
		}
	case got.Selected == nil || r.Exit != 0 || !slices.Contains(c.Expect.Groups[0], name(got.Selected.Instance)):
		wrong("selected %+v, exit %d, want one of %q: %s", got.Selected, r.Exit, c.Expect.Groups[0], r.Stderr)
	}
	for _, g := range got.Groups {
		for _, a := range g {
			if err := c.says(a, name(a.Instance)); err != nil {
				wrong("%s: %w", a.Instance, err)
			}
		}
	}
	if errs != nil {
		wrong("%s%s", r.Stdout, r.Stderr)
	}
	return errors.Join(errs...)
}

// says holds what is shown of an advertisement against what was published.
func (c testCase) says(a shown, name string) error {
	i := slices.IndexFunc(c.Advertisements, func(x advert) bool { return x.Instance == name })
	if i < 0 {
		return fmt.Errorf("nobody published it")
	}
	x := c.Advertisements[i]
	best := slices.MinFunc(x.targets(), func(p, q target) int { return int(p.Priority) - int(q.Priority) })
	host := strings.TrimSuffix(best.Host, ".")
	if !strings.EqualFold(a.Host, host) || a.Port != best.Port || a.SRVPriority != best.Priority || a.SRVWeight != best.Weight {
		return fmt.Errorf("it is at %s:%d, %d, %d, want %+v", a.Host, a.Port, a.SRVPriority, a.SRVWeight, best)
	}
	if want := c.hosts()[strings.ToLower(host)]; !slices.Equal(a.Addresses, []netip.Addr{want}) {
		return fmt.Errorf("its addresses are %v, want %v", a.Addresses, want)
	}
	if a.Via != x.Via || a.Domain != x.Domain {
		return fmt.Errorf("it is of %s by %s, want %s by %s", a.Domain, a.Via, x.Domain, x.Via)
	}
	if want := fmt.Sprintf("%s://%s:%d", a.Proto, a.Host, a.Port); !strings.HasPrefix(a.URL, want) {
		return fmt.Errorf("its URL is %s, want %s", a.URL, want)
	}
	return nil
}

// asked returns what the desk sent so far: its queries by mDNS, and its packets
// to the DNS server. It reads frames and nothing else, so it can bear witness.
func (s *site) asked() (mdns, unicast []time.Time) {
	s.t.Helper()
	s.flush()
	mine := s.desk.Link(s.net).MAC
	for _, f := range s.wire.Frames() {
		eth, ok := f.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
		if !ok || !slices.Equal(eth.SrcMAC, mine) {
			continue
		}
		payload, _, port, ok := f.UDP()
		tcp, _ := f.Layer(layers.LayerTypeTCP).(*layers.TCP)
		switch {
		case ok && port == 5353 && len(payload) >= 12 && binary.BigEndian.Uint16(payload[2:])&0x8000 == 0:
			mdns = append(mdns, f.Time)
		case ok && port == 53, tcp != nil && tcp.DstPort == 53:
			unicast = append(unicast, f.Time)
		}
	}
	return mdns, unicast
}

// verdict holds what the desk said by mDNS against RFC 6762. One program alone may
// have run there.
func (s *site) verdict(lag *lab.Meter) {
	s.t.Helper()
	s.flush()
	trace := judge.Read(s.wire.MDNS())
	subject := judge.Subject{
		Is: judge.From(s.desk.Addresses()...), Early: 10 * time.Millisecond, Late: 250*time.Millisecond + 10*lag.Worst(), Lag: lag.Near, Whole: true,
	}
	if len(trace.By(subject.Is)) == 0 {
		s.t.Error("the client said nothing by mDNS")
	}
	for _, line := range judge.Summary(trace.Judge(subject)) {
		s.t.Error(line)
	}
}
