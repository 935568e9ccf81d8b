package unicast_test

import (
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/dnssd/unicast"
)

func TestParseResolvConf(t *testing.T) {
	c := unicast.ParseResolvConf([]byte(strings.Join([]string{
		"# a comment", "; another", "domain old.example", "nameserver 192.0.2.53", "  nameserver\tfe80::1%eth0 # the router",
		"nameserver 192.0.2.53", "nameserver ::ffff:192.0.2.54", "nameserver 0.0.0.0",
		"search Example.com. corp.example.com . example.com", "options ndots:3 timeout:2 attempts:9 rotate use-vc edns0 trust-ad",
		"nameserver nowhere", "nameserver", "search2 x", "sortlist 1.2.3.4", "",
	}, "\n")))
	var addrs []string
	for _, a := range c.Addrs {
		addrs = append(addrs, a.String())
	}
	same(t, "servers", addrs, []string{"192.0.2.53:53", "[fe80::1%eth0]:53", "192.0.2.54:53", "127.0.0.1:53"})
	same(t, "search", c.Search, []string{"Example.com", "corp.example.com", "example.com"})
	same(t, "warnings", c.Warnings, []string{`line 11: "nowhere" is no address`, "line 12: want one address behind nameserver", `line 13: "search2" is not known`})
	if c.Ndots != 3 || c.Timeout != 2*time.Second || c.Attempts != 5 || !c.Rotate || !c.TCP {
		t.Errorf("options: %+v", c)
	}
}

func TestTheLastOfDomainAndSearchCounts(t *testing.T) {
	for text, want := range map[string][]string{
		"search a b\ndomain c d": {"c"},
		"domain c\nsearch a b":   {"a", "b"},
		"search a..b c":          {"c"},
		"search":                 nil,
	} {
		if got := unicast.ParseResolvConf([]byte(text)).Search; !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestTheServersBehindSystemdResolvedAreTaken(t *testing.T) {
	const etc, run = "/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"
	for _, c := range []struct {
		files map[string]string
		want  string
	}{
		{map[string]string{etc: "nameserver 127.0.0.53\nsearch a", run: "nameserver 192.0.2.1\nsearch b"}, "[192.0.2.1:53] [b]"},
		{map[string]string{etc: "nameserver 127.0.0.53\nsearch a", run: "# none"}, "[127.0.0.53:53] [a]"},
		{map[string]string{etc: "nameserver 127.0.0.53\nsearch a"}, "[127.0.0.53:53] [a]"},
		{map[string]string{etc: "nameserver 192.0.2.9", run: "nameserver 192.0.2.1"}, "[192.0.2.9:53] []"},
		{map[string]string{}, "[] []"},
	} {
		got, err := unicast.ReadSystem(func(path string) ([]byte, error) {
			if text, ok := c.files[path]; ok {
				return []byte(text), nil
			}
			return nil, fs.ErrNotExist
		})
		if s := fmt.Sprint(got.Addrs, " ", got.Search); err != nil || s != c.want {
			t.Errorf("%v: %s, %v; want %s", c.files, s, err, c.want)
		}
	}
	if _, err := unicast.ReadSystem(func(string) ([]byte, error) { return nil, fs.ErrPermission }); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("error %v", err)
	}
}

func TestParseServer(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.53": "192.0.2.53:53", "2001:db8::53": "[2001:db8::53]:53", "[2001:db8::53]": "[2001:db8::53]:53",
		"192.0.2.53:5300": "192.0.2.53:5300", "[2001:db8::53]:5300": "[2001:db8::53]:5300", "fe80::1%eth0": "[fe80::1%eth0]:53",
		"::ffff:192.0.2.1": "192.0.2.1:53",
	} {
		if got, err := unicast.ParseServer(text); err != nil || got.String() != want {
			t.Errorf("%s: %s, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "dns.example.com", "192.0.2.53:", "192.0.2.53:0", "192.0.2.53:99999", "[::1]:x"} {
		want := fmt.Sprintf("unicast: server %q: want an address like 192.0.2.53 or [2001:db8::53]:5300", text)
		if _, err := unicast.ParseServer(text); err == nil || err.Error() != want {
			t.Errorf("%q: error %v, want %s", text, err, want)
		}
	}
}

func FuzzParseResolvConf(f *testing.F) {
	for _, s := range []string{"nameserver 1.2.3.4\nsearch a b\noptions ndots:2", "nameserver fe80::1%x\n;", "options timeout:99999999999999999999", "search \\"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c := unicast.ParseResolvConf(data)
		if len(c.Addrs) > 8 || len(c.Search) > 16 || c.Attempts > 5 || c.Timeout < 0 || c.Timeout > 30*time.Second || len(c.Warnings) > 32 {
			t.Errorf("%q: %+v", data, c)
		}
		var b strings.Builder
		for _, a := range c.Addrs {
			fmt.Fprintln(&b, "nameserver", a.Addr())
		}
		if len(c.Search) > 0 && !strings.ContainsAny(strings.Join(c.Search, ""), " \t\r\n\v\f#;\u0085\u00a0") {
			fmt.Fprintln(&b, "search", strings.Join(c.Search, " "))
			if again := unicast.ParseResolvConf([]byte(b.String())); !reflect.DeepEqual(again.Search, c.Search) && len(b.String()) < 4096 {
				t.Errorf("%q reads back as %q", c.Search, again.Search)
			}
		}
	})
}
