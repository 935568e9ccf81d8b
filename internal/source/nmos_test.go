package source_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/dnssd"
	"github.com/lanfolk/lanfolk/dnswire"
	"github.com/lanfolk/lanfolk/internal/find"
	"github.com/lanfolk/lanfolk/internal/source"
	"github.com/lanfolk/lanfolk/mdns"
)

// silent is a source that says at once that there is nothing.
type silent struct{ via string }

func (s silent) Via() string          { return s.via }
func (silent) Failure() error         { return nil }
func (s silent) Feed(bool) dnssd.Feed { return &silentFeed{ready: make(chan struct{}, 1)} }

type silentFeed struct {
	events []mdns.Event
	ready  chan struct{}
}

func (f *silentFeed) Ask(questions ...mdns.Question) {
	for _, q := range questions {
		f.events = append(f.events, mdns.Event{Op: mdns.OpNone, Question: q})
	}
	select {
	case f.ready <- struct{}{}:
	default:
	}
}

func (*silentFeed) Forget(...mdns.Question) {}
func (*silentFeed) Close()                  {}

func (f *silentFeed) Next(ctx context.Context) ([]mdns.Event, error) {
	select {
	case <-f.ready:
		out := f.events
		f.events = nil
		return out, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Who is asked depends on the mode, on what the machine knows and on what runs,
// and each step says so.
func TestNMOSAsksWhoIsThere(t *testing.T) {
	noServer := errors.New("no DNS server is known")
	unicast := func(search []string, err error) func([]string) (dnssd.Source, []string, error) {
		return func([]string) (dnssd.Source, []string, error) {
			if err != nil {
				return nil, nil, err
			}
			return silent{"unicast"}, search, nil
		}
	}
	never := func([]string) (dnssd.Source, []string, error) {
		t.Error("unicast DNS was to be used")
		return nil, nil, noServer
	}
	multicast := func() dnssd.Source { return silent{"mdns"} }
	off := func() dnssd.Source { return nil }
	forbidden := func() dnssd.Source { t.Error("mDNS was to be used"); return nil }
	for _, c := range []struct {
		name string
		by   source.NMOS
		r    find.SelectRequest
		says []string // of the steps
		err  error
	}{
		{"both", source.NMOS{Unicast: unicast([]string{"example.com"}, nil), Multicast: multicast}, find.SelectRequest{},
			[]string{"_nmos-netctrl._tcp in example.com", "_nmos-netctrl._tcp in local"}, nil},
		{"the domains that are named", source.NMOS{Unicast: unicast([]string{"example.com"}, nil), Multicast: multicast},
			find.SelectRequest{Mode: "unicast", Domains: []string{"a.example.", "b.example"}}, []string{"in a.example", "in b.example"}, nil},
		{"no server", source.NMOS{Unicast: unicast(nil, noServer), Multicast: multicast}, find.SelectRequest{},
			[]string{"unicast: not asked: no DNS server is known", "in local"}, nil},
		{"no domain", source.NMOS{Unicast: unicast(nil, nil), Multicast: multicast}, find.SelectRequest{},
			[]string{"unicast: not asked: no domain to look in is known: resolv.conf searches none", "in local"}, nil},
		{"local among the domains to search", source.NMOS{Unicast: unicast([]string{"local", "example.com"}, nil), Multicast: forbidden}, find.SelectRequest{Mode: "unicast"},
			[]string{"unicast: there is no _nmos-netctrl._tcp in example.com"}, nil},
		{"local alone to search", source.NMOS{Unicast: unicast([]string{"local"}, nil), Multicast: multicast}, find.SelectRequest{},
			[]string{"unicast: not asked: no domain to look in is known"}, nil},
		{"no mDNS", source.NMOS{Unicast: unicast([]string{"example.com"}, nil), Multicast: off}, find.SelectRequest{},
			[]string{"mdns: not asked: it isn't running here", "in example.com"}, nil},
		{"unicast without a server", source.NMOS{Unicast: unicast(nil, noServer), Multicast: forbidden}, find.SelectRequest{Mode: "unicast"}, nil, noServer},
		{"nobody at all", source.NMOS{Unicast: unicast(nil, noServer), Multicast: off}, find.SelectRequest{}, nil, find.ErrOff},
		{"mDNS alone, and it doesn't run", source.NMOS{Unicast: never, Multicast: off}, find.SelectRequest{Mode: "mdns"}, nil, find.ErrOff},
		{"mDNS alone", source.NMOS{Unicast: never, Multicast: multicast}, find.SelectRequest{Mode: "mdns", Domains: []string{"example.com"}, Servers: []string{"192.0.2.53"}},
			[]string{"_nmos-netctrl._tcp in local"}, nil},
		{"unicast alone", source.NMOS{Unicast: unicast([]string{"example.com"}, nil), Multicast: forbidden}, find.SelectRequest{Mode: "unicast", Kind: "query"},
			[]string{"_nmos-query._tcp in example.com"}, nil},
		{"a location", source.NMOS{Unicast: never, Multicast: forbidden}, find.SelectRequest{URL: "http://192.0.2.7:80"}, []string{"nothing is looked for"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := c.by.Select(t.Context(), c.r)
			if !errors.Is(err, c.err) {
				t.Fatalf("error %v, want %v", err, c.err)
			}
			steps := strings.Join(got.Steps, "\n")
			for _, s := range c.says {
				if !strings.Contains(steps, s) {
					t.Errorf("no step says %q:\n%s", s, steps)
				}
			}
			if c.err == nil && (got.Selected != nil) != (c.r.URL != "") {
				t.Errorf("selected %+v", got.Selected)
			}
			if c.err == nil && (got.Groups == nil || got.Discarded == nil || got.Others == nil || got.Reason == "") {
				t.Errorf("a list is nil, or there is no reason: %+v", got)
			}
		})
	}
}

func TestNMOSRefusesWhatMakesNoSense(t *testing.T) {
	for want, r := range map[string]find.SelectRequest{
		`"registry" is no type of API; one of netctrl, register,`: {Kind: "registry"},
		`version "1.3": want a form like v1.3`:                    {Versions: []string{"v1.2", "1.3"}},
		`protocol "http": want https`:                             {Kind: "auth", Proto: "http"},
		`mode "all": want both, unicast or mdns`:                  {Mode: "all"},
		`domain "": want one like example.com`:                    {Domains: []string{""}},
		`domain ".": want one like example.com`:                   {Domains: []string{"."}},
		`domain a.local: its names belong to multicast DNS`:       {Domains: []string{"a.local"}},
		`server "dns.example.com": want an address`:               {Servers: []string{"dns.example.com"}},
		`location "ftp://192.0.2.7"`:                              {URL: "ftp://192.0.2.7"},
		`holds no certificate`:                                    {CA: "none"},
	} {
		if err := source.CheckSelect(r); !errors.Is(err, lanfolk.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %s", r, err, want)
		}
		for _, err := range (source.NMOS{}).WatchSelection(t.Context(), r) {
			if !errors.Is(err, lanfolk.ErrInvalid) {
				t.Errorf("%+v is watched: %v", r, err)
			}
		}
	}
	no := false
	for _, r := range []find.SelectRequest{
		{}, {Kind: "system", Auth: &no}, {Kind: "mqtt", Versions: []string{"v1.0"}}, {Mode: "mdns", Domains: []string{"example.com"}}, {Kind: "_nmos-query._tcp"},
	} {
		if err := source.CheckSelect(r); err != nil {
			t.Errorf("%+v: %v", r, err)
		}
	}
}

// A watch tries what it has, tells when that fails, and ends with its reader.
func TestNMOSWatchTriesTheLocation(t *testing.T) {
	refused := errors.New("connection refused")
	by := source.NMOS{Dial: func(context.Context, string, string) (net.Conn, error) { return nil, refused }}
	var told []string
	for ch, err := range by.WatchSelection(t.Context(), find.SelectRequest{Kind: "query", URL: "http://192.0.2.7:80"}) {
		if err != nil {
			t.Fatal(err)
		}
		if ch.Event != find.SelectionUpdate {
			told = append(told, ch.Event+": "+ch.Reason)
		}
		if ch.Event == find.SelectionNone {
			break
		}
	}
	if len(told) != 2 || !strings.HasPrefix(told[0], "selected: ") || !strings.Contains(told[1], "connection refused") {
		t.Errorf("it told %q", told)
	}
}

func TestLateIsOpenedWhenItIsAsked(t *testing.T) {
	opened := 0
	late := source.Late{Open: func() (dnssd.Source, error) {
		opened++
		return silent{"mdns"}, nil
	}}
	if late.Via() != "mdns" || opened != 0 {
		t.Errorf("opened %d times before it was asked", opened)
	}
	late.Feed(false).Close()
	if opened != 1 {
		t.Errorf("opened %d times", opened)
	}
	broken := errors.New("no usable interface")
	late.Open = func() (dnssd.Source, error) { return nil, broken }
	late.Reconfirm(mdns.Zone{}, dnswire.RR{})
	f := late.Feed(true)
	f.Ask(mdns.Question{})
	f.Forget(mdns.Question{})
	if _, err := f.Next(t.Context()); !errors.Is(err, broken) {
		t.Errorf("a feed of what can't be opened: %v", err)
	}
	f.Close()
}
