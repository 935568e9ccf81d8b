package source_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/find"
	"github.com/lanfolk/lanfolk/internal/source"
	"github.com/lanfolk/lanfolk/lan"
	"github.com/lanfolk/lanfolk/store"
)

// heardRows is a database that holds these rows, whatever it is asked for.
type heardRows []lanfolk.Observation

func (h heardRows) Latest(context.Context, store.ObservationFilter) (lanfolk.Observation, bool, error) {
	return lanfolk.Observation{}, false, nil
}

func (h heardRows) ObservationPage(context.Context, store.ObservationFilter) ([]lanfolk.Observation, store.Cursor, error) {
	return h, store.Cursor{}, nil
}

func TestAskFingerprints(t *testing.T) {
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "rows.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	group, group6 := lanfolk.MAC{1, 0, 0x5e, 0, 0, 0xfb}, lanfolk.MAC{0x33, 0x33, 0, 0, 0, 0xfb}
	row := func(second int, protocol string, response bool, query string, src, dst lanfolk.MAC, ip string) lanfolk.Observation {
		at := noon.Add(time.Duration(second) * time.Second)
		o := lanfolk.Observation{
			ObservationKey: lanfolk.ObservationKey{
				Link: "eth0", Protocol: protocol, Response: response, Query: query, SrcMAC: src, DstMAC: dst, DstClass: lanfolk.Unicast,
			},
			First: at, Last: at, Count: 1,
		}
		if dst.Group() {
			o.DstClass = lanfolk.Multicast
		}
		if ip != "" {
			o.SrcIP = netip.MustParseAddr(ip)
		}
		return o
	}
	nas, lamp, desk, router := lanfolk.MAC{2, 5: 1}, lanfolk.MAC{2, 5: 2}, lanfolk.MAC{2, 5: 3}, lanfolk.MAC{2, 5: 4}
	err = db.SaveObservations(t.Context(), []lanfolk.Observation{
		row(1, "mdns", true, "NAS.local", lamp, group, "192.0.2.2"),    // it had the name before
		row(1, "mdns", true, "NAS.local", nas, group6, "2001:db8::11"), // its other family
		row(1, "mdns", true, "tv.local", nas, group6, "2001:db8::12"),  // a name that it speaks for
		row(-7200, "mdns", true, "NAS.local", nas, desk, "192.0.2.77"), // an address of old
		row(2, "mdns", true, "NAS.local", nas, group, "192.0.2.1"),
		row(3, "mdns", false, "nas.local", desk, group, "192.0.2.3"), // who asks hasn't it
		row(4, "arp", true, "192.0.2.11", nas, desk, ""),
		row(5, "llmnr", true, "nas.local", router, desk, "192.0.2.4"), // newer, but not by mDNS
		row(6, "mdns", true, "_ipp._tcp.local", lamp, group, "fe80::2%eth0"),
		row(7, "mdns", true, "_ipp._tcp.local", nas, group, "192.0.2.1"),
		row(8, "mdns", true, "_ipp._tcp.local", lamp, desk, "192.0.2.2"),
		row(9, "llmnr", true, "desk.local", desk, lamp, "192.0.2.3"),
		row(10, "dns", true, "www.example.com", router, desk, "192.0.2.4"),
		row(11, "mdns", true, "nothing.local", lanfolk.MAC{}, group, "192.0.2.9"),
	})
	if err != nil {
		t.Fatal(err)
	}
	a := source.AskFingerprints{Rows: db, Neighbours: func() ([]lan.Neighbour, error) {
		return []lan.Neighbour{
			{IP: netip.MustParseAddr("2001:db8::1"), MAC: net.HardwareAddr(nas[:]), State: lan.NeighbourReachable},
			{IP: netip.MustParseAddr("2001:db8::f"), MAC: net.HardwareAddr(nas[:]), State: lan.NeighbourFailed},
			{IP: netip.MustParseAddr("2001:db8::2"), MAC: net.HardwareAddr(router[:]), State: lan.NeighbourReachable},
		}, nil
	}}
	for query, want := range map[string]string{
		"nas.local":          "NAS 02:00:00:00:00:01 [192.0.2.1 2001:db8::11 192.0.2.11 2001:db8::1] mdns eth0",
		"nas":                "NAS 02:00:00:00:00:01 [192.0.2.1 2001:db8::11 192.0.2.11 2001:db8::1] mdns eth0",
		"desk":               "desk 02:00:00:00:00:03 [192.0.2.3] llmnr eth0",
		"192.0.2.11":         " 02:00:00:00:00:01 [192.0.2.11 2001:db8::1] arp eth0",
		"02:00:00:00:00:03":  "desk 02:00:00:00:00:03 [192.0.2.3] llmnr eth0",
		"_ipp._tcp":          " 02:00:00:00:00:02 [192.0.2.2] mdns eth0; 02:00:00:00:00:01 [192.0.2.1 192.0.2.11 2001:db8::1] mdns eth0",
		"www.example.com":    "",
		"nothing.local":      "",
		"nobody.local":       "",
		"Laser, 2nd floor":   "",
		"_ghost._tcp.local.": "",
	} {
		q, err := find.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		err = a.Ask(t.Context(), q, func(s lanfolk.Sighting) {
			got = append(got, fmt.Sprintf("%s %s %v %s %s", s.Name, s.Identifiers[0].Value, s.Addresses, s.Origin.Protocol, s.Origin.Link))
		})
		if got := strings.Join(got, ";"); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", query, got, err, want)
		}
	}
	heard, ok := source.Announcements{Rows: db}.Host(t.Context(), "nas.local.")
	if !ok || heard.SrcMAC != nas || heard.DstMAC != group {
		t.Errorf("announced by %+v, %v", heard, ok)
	}
	if _, ok := (source.Announcements{Rows: db}).Host(t.Context(), "desk.local"); ok {
		t.Error("an announcement by another protocol counts for one by mDNS")
	}
	db.Close()
	q, _ := find.ParseQuery("nas")
	if err := a.Ask(t.Context(), q, func(lanfolk.Sighting) {}); err == nil || errors.Is(err, find.ErrNone) {
		t.Errorf("of a database that is closed: %v", err)
	}
}
