package source_test

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/find"
	"github.com/lanfolk/lanfolk/internal/source"
	"github.com/lanfolk/lanfolk/lan/lantest"
	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/tged"
)

// pairs makes fields of keys and values.
func pairs(all ...string) []tged.Field {
	var fields []tged.Field
	for p := range slices.Chunk(all, 2) {
		fields = append(fields, tged.Field{Key: p[0], Value: p[1]})
	}
	return fields
}

func TestTGEDService(t *testing.T) {
	now := time.Unix(1000, 0)
	answer := func(fields ...string) tged.Answer {
		return tged.Answer{Service: "Sql", Server: netip.MustParseAddrPort("10.0.0.1:4745"), Link: packet.Link{Name: "eth0"}, Fields: pairs(fields...)}
	}
	origin := lanfolk.Origin{Protocol: "tged", Gateway: "g", Link: "eth0", Source: "10.0.0.1"}
	sighting := func(name, host, address string, port uint16, attributes map[string]string) lanfolk.Sighting {
		a := netip.MustParseAddr(address)
		return lanfolk.Sighting{
			Origin: origin, Kind: lanfolk.KindService, Key: "SQL 10.0.0.1", Name: name, Type: "SQL", Host: host,
			Addresses: []netip.Addr{a}, Port: port, Attributes: attributes,
			Identifiers: []lanfolk.Identifier{lanfolk.IPIdentifier(a, origin)},
			What:        "10.0.0.1 says that SQL is at " + address, State: lanfolk.Reachable, Time: now, Lifetime: 5 * time.Minute,
		}
	}
	for what, c := range map[string]struct {
		answer tged.Answer
		want   lanfolk.Sighting
	}{
		"the document's": {
			answer("HOST", "test", "FQDN", "test.example.com", "IP", "10.0.0.34", "PORT", "3306", "USER", "john"),
			sighting("test", "test.example.com", "10.0.0.34", 3306, map[string]string{"HOST": "test", "FQDN": "test.example.com", "IP": "10.0.0.34", "PORT": "3306", "USER": "john"}),
		},
		"nothing but that it's there": {answer(), sighting("SQL", "", "10.0.0.1", 0, map[string]string{})},
		"nonsense": {
			answer("HOST", "t", "IP", "here", "PORT", "65536"),
			sighting("t", "t", "10.0.0.1", 0, map[string]string{"HOST": "t", "IP": "here", "PORT": "65536"}),
		},
		"no host's address": {answer("IP", "0.0.0.0"), sighting("SQL", "", "10.0.0.1", 0, map[string]string{"IP": "0.0.0.0"})},
		"mapped":            {answer("IP", "::ffff:10.0.0.9"), sighting("SQL", "", "10.0.0.9", 0, map[string]string{"IP": "::ffff:10.0.0.9"})},
	} {
		got := source.TGED{Gateway: "g"}.Service(now, c.answer)
		if diff := cmp.Diff(c.want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	own := source.TGED{Own: func(a tged.Answer) bool { return a.Service == "Sql" }}.Service(now, answer())
	if !own.Origin.Self {
		t.Error("an answer of the node's own isn't told from others'")
	}
}

// office is a wire with a node, and two servers of which one knows SQL.
func office(t *testing.T) *tged.Client {
	t.Helper()
	network := lantest.New(1)
	wire := network.Wire("office")
	node := network.Host("node")
	node.Attach(wire, "eth0", "10.0.0.1/24")
	for name, at := range map[string]string{"SQL": "10.0.0.2/24", "LDAP": "10.0.0.3/24"} {
		h := network.Host(name)
		h.Attach(wire, "eth0", at)
		service, err := tged.NewService(name, pairs("HOST", "db", "PORT", "3306"))
		if err != nil {
			t.Fatal(err)
		}
		set, err := tged.NewSet(service)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		var ended sync.WaitGroup
		s := tged.Server{Services: set, Links: h.WatchLinks, Listen: func(l packet.Link, port uint16) (tged.Conn, error) { return h.ListenBroadcast(l, port) }}
		ended.Go(func() {
			if err := s.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		t.Cleanup(ended.Wait)
		t.Cleanup(cancel)
	}
	synctest.Wait()
	return &tged.Client{Links: node.Links, Listen: func(l packet.Link, port uint16) (tged.Conn, error) { return node.ListenBroadcast(l, port) }}
}

func TestAskTGED(t *testing.T) {
	for text, want := range map[string]int{
		"SQL": 1, "sql": 1, "nobody": 0,
		// What other protocols are asked for.
		"sql.local": 0, "_sql._tcp": 0, "10.0.0.2": 0, "02:00:5e:10:00:01": 0, device: 0,
	} {
		synctest.Test(t, func(t *testing.T) {
			q, err := find.ParseQuery(text)
			if err != nil {
				t.Fatal(err)
			}
			client := office(t)
			client.Timeout = source.TGEDWait
			start := time.Now()
			var got []lanfolk.Sighting
			if err := (source.AskTGED{Client: client}).Ask(t.Context(), q, func(s lanfolk.Sighting) { got = append(got, s) }); err != nil {
				t.Errorf("%s: %v", text, err)
			}
			if len(got) != want || want == 1 && (got[0].Type != "SQL" || got[0].Port != 3306 || got[0].Origin.Source != "10.0.0.2") {
				t.Errorf("%s: %+v; want %d", text, got, want)
			}
			asked := !strings.ContainsAny(text, "._:-")
			if took := time.Since(start); took > source.TGEDWait || took > 0 != asked {
				t.Errorf("%s took %v", text, took)
			}
		})
	}
}

func TestTGEDFeedKeepsServices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := office(t)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		start := time.Now()
		heard := map[string][]time.Duration{}
		var mu sync.Mutex
		err := source.TGED{}.Feed(ctx, client, []string{"SQL", "LDAP", "NOBODY"}, func(all ...lanfolk.Sighting) {
			mu.Lock()
			defer mu.Unlock()
			for _, s := range all {
				heard[s.Type] = append(heard[s.Type], time.Since(start))
			}
		})
		if err != nil {
			t.Error(err)
		}
		for _, name := range []string{"SQL", "LDAP"} {
			at := heard[name]
			if len(at) < 10 || len(at) > 12 || at[0] > time.Second {
				t.Errorf("%s was heard at %v; want it at once, and each minute", name, at)
			}
			for i := 1; i < len(at); i++ {
				if gap := at[i] - at[i-1]; gap > 61*time.Second {
					t.Errorf("%s wasn't heard for %v", name, gap)
				}
			}
		}
	})
}
