package feed_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/feed"
)

func moment(seconds int64) time.Time { return time.Unix(1763776800+seconds, 5_000_000).UTC() }

func mac(last byte) lanfolk.MAC { return lanfolk.MAC{0x00, 0x00, 0x5e, 0x00, 0x53, last} }

func someDevice() *lanfolk.Device {
	return &lanfolk.Device{
		Aliases: []string{"d2"}, Names: []string{"nas", "Ünïcode \x01"}, MACs: []lanfolk.MAC{mac(1)},
		Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("fe80::1%eth0")}, Vendor: "Vendor",
		Model: "M", ModelConfidence: 0.5, OS: "O", OSConfidence: 1, Class: "printer", ClassConfidence: 0.25,
		State: lanfolk.Reachable, Protocols: []string{"arp", "mdns"}, Tags: []string{"a=b"},
		Separated: []lanfolk.Identifier{{Kind: lanfolk.IDHost, Value: "x.local", Link: "eth0"}}, RandomMAC: true,
		FirstSeen: moment(0), LastSeen: moment(60),
	}
}

func someService() *lanfolk.Service {
	return &lanfolk.Service{
		Name: "Office", Type: "_ipp._tcp", Protocol: "mdns", Host: "nas.local", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Port: 631,
		Attributes: map[string]string{"rp": "ipp/print", "empty": ""}, State: lanfolk.Unknown, Device: "d1", Interface: "eth0",
		FirstSeen: moment(0), LastSeen: moment(60), Expires: moment(120),
	}
}

func TestDocumentsBothWays(t *testing.T) {
	same := func(got, want any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	d := someDevice()
	got, err := feed.ParseDevice(feed.DeviceDoc(d, true))
	same(got, d, err)
	got, err = feed.ParseDevice(feed.DeviceDoc(d, false))
	d.LastSeen = time.Time{}
	same(got, d, err)
	empty := &lanfolk.Device{
		Aliases: []string{}, Names: []string{}, MACs: []lanfolk.MAC{}, Addresses: []netip.Addr{}, Protocols: []string{}, Tags: []string{},
		Separated: []lanfolk.Identifier{}, State: lanfolk.Unknown,
	}
	got, err = feed.ParseDevice(feed.DeviceDoc(&lanfolk.Device{State: lanfolk.Unknown}, true))
	same(got, empty, err)

	s := someService()
	gotService, err := feed.ParseService(feed.ServiceDoc(s, true))
	same(gotService, s, err)
	gotService, err = feed.ParseService(feed.ServiceDoc(s, false))
	s.LastSeen, s.Expires = time.Time{}, time.Time{}
	same(gotService, s, err)

	evidence := []lanfolk.Evidence{{
		Time: moment(3), Protocol: "arp", Interface: "eth0", What: "answer", WhyJoined: "first evidence",
		Identifiers: []lanfolk.Identifier{{Kind: lanfolk.IDMAC, Value: mac(1).String(), Link: "eth0"}},
	}}
	reasons := []lanfolk.Conclusion{{Answer: "os", Value: "O", Confidence: 0.5, Rule: "r", Source: "s", Verdict: "agrees", Signals: []lanfolk.Signal{{Kind: "k", Value: "v"}}}}
	docs, still := feed.EvidenceDocs(evidence, reasons)
	if len(docs) != 1 || len(still) != 1 {
		t.Fatalf("%d documents", len(docs))
	}
	gotEvidence, gotReasons, parts, err := feed.ParseEvidence(docs[0])
	same(gotEvidence, evidence, err)
	same(gotReasons, reasons, nil)
	same(parts, 1, nil)
	evidence[0].Time = moment(9)
	if docs, again := feed.EvidenceDocs(evidence, reasons); string(again[0]) != string(still[0]) || string(docs[0]) == string(still[0]) {
		t.Error("a time alone changes what evidence says, or isn't in it")
	}

	heard := []feed.Heard{{Kind: feed.Device, ID: "d1", Last: moment(1)}, {Kind: feed.Service, ID: "s1", Last: moment(2), Expires: moment(3)}}
	gotHeard, err := feed.ParseTimes(feed.TimesDoc([]feed.Heard{heard[1], heard[0]}))
	if len(gotHeard) == 2 && gotHeard[0].Kind != feed.Device {
		gotHeard[0], gotHeard[1] = gotHeard[1], gotHeard[0]
	}
	same(gotHeard, heard, err)
}

func TestMuchEvidenceIsParted(t *testing.T) {
	var evidence []lanfolk.Evidence
	for n := range 3000 {
		evidence = append(evidence, lanfolk.Evidence{Time: moment(int64(n)), Protocol: "mdns", What: fmt.Sprint(n, strings.Repeat("x", 90))})
	}
	docs, _ := feed.EvidenceDocs(evidence, nil)
	if len(docs) != feed.EvidenceParts {
		t.Fatalf("%d documents", len(docs))
	}
	n := 0
	for part, doc := range docs {
		if len(doc) > feed.MaxDoc {
			t.Errorf("part %d has %d bytes", part, len(doc))
		}
		got, _, parts, err := feed.ParseEvidence(doc)
		if err != nil || part == 0 && parts != len(docs) {
			t.Fatalf("part %d: %d parts, %v", part, parts, err)
		}
		for _, e := range got {
			if strings.HasPrefix(e.What, fmt.Sprint(n, "x")) {
				n++
			} else if want := fmt.Sprint(len(evidence)-n, " more pieces of evidence are at the gateway"); e.What != want {
				t.Errorf("%q after %d pieces, want %q", e.What, n, want)
			}
		}
	}
	if n < 1000 || n == len(evidence) {
		t.Errorf("%d pieces went", n)
	}
}

func TestABatchBothWays(t *testing.T) {
	b := feed.Batch{Snapshot: true, Items: []feed.Item{{Key: "d/d1", Doc: feed.DeviceDoc(someDevice(), true)}, {Key: "e/d1/1"}, {Key: "t/4/3", Doc: []byte("{}")}}}
	data := b.Append(nil)
	if want := `{"feed":"inventory","version":1,"snapshot":true}` + "\n" + `{"key":"d/d1","doc":{`; !strings.HasPrefix(string(data), want) {
		t.Errorf("%s\nbegins otherwise than\n%s", data, want)
	}
	size := feed.HeaderSize
	for n := range b.Items {
		size += b.Items[n].Size()
	}
	if len(data) > size {
		t.Errorf("%d bytes, and %d were foretold", len(data), size)
	}
	got, err := feed.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(b, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestRowsBothWays(t *testing.T) {
	o := lanfolk.Observation{
		ObservationKey: lanfolk.ObservationKey{
			Gateway: "g", Link: "eth0", VLAN: 7, Protocol: "dns", Response: true, Query: "a.example\xff", Fingerprint: "f\xfe",
			SrcMAC: mac(1), DstMAC: mac(2), DstClass: lanfolk.Multicast,
		},
		SrcIP: netip.MustParseAddr("192.0.2.1"), DstIP: netip.MustParseAddr("ff02::fb%eth0"),
		First: moment(0).Add(123), Last: moment(9).Add(456), Count: 3,
	}
	plain := lanfolk.Observation{ObservationKey: lanfolk.ObservationKey{Protocol: "arp"}, First: moment(0), Last: moment(0), Count: 1}
	data := feed.AppendRow(feed.AppendRow(feed.RowsHeader(), &o), &plain)
	got, err := feed.ParseRows(data)
	if err != nil {
		t.Fatal(err)
	}
	o.Gateway = ""
	if diff := cmp.Diff([]lanfolk.Observation{o, plain}, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWhatCantBeRead(t *testing.T) {
	const head = `{"feed":"inventory","version":1}` + "\n"
	const rows = `{"feed":"fingerprints","version":1}` + "\n"
	long := strings.Repeat("x", 5000)
	inventory := func(data string) error {
		b, err := feed.Parse([]byte(data))
		if err != nil {
			return err
		}
		for _, i := range b.Items {
			switch k, _ := feed.ParseKey(i.Key); k.Kind {
			case feed.Device:
				_, err = feed.ParseDevice(i.Doc)
			case feed.Service:
				_, err = feed.ParseService(i.Doc)
			case feed.Evidence:
				_, _, _, err = feed.ParseEvidence(i.Doc)
			case feed.Times:
				_, err = feed.ParseTimes(i.Doc)
			}
		}
		return err
	}
	device := func(doc string) string { return head + `{"key":"d/d1","doc":` + doc + `}` }
	service := func(doc string) string { return head + `{"key":"s/s1","doc":` + doc + `}` }
	for data, want := range map[string]string{
		"":                                 "line 1: byte 0: unexpected end",
		"junk":                             "line 1: byte 1: invalid character 'j'",
		`{"feed":"other","version":1}`:     `"other" of version 1; want "inventory" of version 1`,
		`{"feed":"inventory","version":2}`: "of version 2",
		head + "{}":                        `line 2: no key: ""`,
		head + "\n":                        "line 2: byte 0: unexpected end",
		head + `{"key":"d/d1"}`:            "line 2: want a doc, or gone",
		head + `{"key":"d/d1","doc":null}`: "line 2: want a doc, or gone",
		head + `{"key":"d/d1","doc":[]}`:   "line 2: want a doc, or gone",
		head + `{"key":"d/d1","doc":{},"gone":true}`:                                   "line 2: want a doc, or gone",
		head + `{"key":"d/d1","gone":true}` + "\n" + `{"key":"d/d1","doc":{]}}`:        "line 3: byte 22: invalid character ']'",
		head + `{"key":"d/` + strings.Repeat("i", 200) + `","gone":true}`:              "line 2: no key",
		head + `{"key":"d/a b","gone":true}`:                                           "no key",
		head + `{"key":"d/../x","gone":true}`:                                          "no key",
		head + `{"key":"x/d1","gone":true}`:                                            "no key",
		head + `{"key":"d/d1/0","gone":true}`:                                          "no key",
		head + `{"key":"e/d1/4","gone":true}`:                                          "no key",
		head + `{"key":"e/d1/01","gone":true}`:                                         "no key",
		head + `{"key":"t/2/2","gone":true}`:                                           "no key",
		head + `{"key":"t/x/0","gone":true}`:                                           "no key",
		head + `{"key":"d/d1","doc":{"x":"` + strings.Repeat("x", feed.MaxDoc) + `"}}`: "at most 49152",
		head + strings.Repeat("x", feed.MaxBatch):                                      "at most 262144",
		device(`{}`):                                           `state: "" is none`,
		device(`{"state":"lost"}`):                             `state: "lost" is none`,
		device(`{"state":"unknown","names":[7]}`):              "byte 29: json: cannot unmarshal number",
		device(`{"state":"unknown","names":["` + long + `"]}`): "names: 5000 bytes, at most 4096",
		device(`{"state":"unknown","names":["` + strings.Repeat(`","`, 600) + `"]}`): "names: 601 of them, at most 512",
		device(`{"state":"unknown","macs":["zz"]}`):                                  "MAC",
		device(`{"state":"unknown","addresses":["300.0.0.1"]}`):                      "ParseAddr",
		device(`{"state":"unknown","addresses":[""]}`):                               "addresses: one is empty",
		device(`{"state":"unknown","os_confidence":1.5}`):                            "os_confidence: 1.5, want 0 to 1",
		device(`{"state":"unknown","first_seen":-1}`):                                "-1 is no time",
		device(`{"state":"unknown","last_seen":999999999999999}`):                    "999999999999999 is no time",
		device(`{"state":"unknown","aliases":["../x"]}`):                             "an alias is no id",
		service(`{"state":"unknown","port":70000}`):                                  "cannot unmarshal number 70000",
		service(`{"state":"unknown","device":"a.b"}`):                                "the device is no id",
		service(`{"state":"unknown","attributes":{"k":"` + long + `"}}`):             "attributes: 5000 bytes",
		head + `{"key":"e/d1","doc":{"parts":9}}`:                                    "parts: 9, at most 4",
		head + `{"key":"e/d1","doc":{"reasons":[{"confidence":2}]}}`:                 "reasons_confidence: 2",
		head + `{"key":"t/1/0","doc":{"d/d1":[]}}`:                                   `times of "d/d1"`,
		head + `{"key":"t/1/0","doc":{"e/d1":[1]}}`:                                  `times of "e/d1"`,
		head + `{"key":"t/1/0","doc":{"d/d1":[-1]}}`:                                 "-1 is no time",
	} {
		if err := inventory(data); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.120q: %v\nwant %s", data, err, want)
		}
	}
	row := func(fields string) string {
		return rows + `{"protocol":"dns","src_mac":"","dst_mac":"","first":1,"last":2,"count":1` + fields + `}`
	}
	if _, err := feed.ParseRows([]byte(row(""))); err != nil {
		t.Error(err)
	}
	for data, want := range map[string]string{
		head:                           `"inventory" of version 1; want "fingerprints"`,
		rows + "x":                     "line 2: byte 1: invalid character 'x'",
		rows + "{}":                    "line 2: protocol: none",
		row(`,"count":0`):              "count: none",
		row(`,"count":2000000000000`):  "count: 2000000000000",
		row(`,"first":3`):              "first: 3, last: 2",
		row(`,"first":-3`):             "first: -3, last: 2",
		row(`,"vlan":4096`):            "vlan: 4096",
		row(`,"dst_class":"x"`):        `dst_class: "x" is none`,
		row(`,"query":"` + long + `"`): "5000 bytes",
		row(`,"fingerprint":"` + strings.Repeat(long, 10) + `"`): "fingerprint: 50000 bytes",
		row(`,"src_ip":"x"`): "ParseAddr",
	} {
		if _, err := feed.ParseRows([]byte(data)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.120q: %v\nwant %s", data, err, want)
		}
	}
}

func TestTimesHaveRoom(t *testing.T) {
	for _, n := range []int{0, 1, 100, 5000, 50_000} {
		parts := feed.TimesParts(n)
		by := make([][]feed.Heard, parts)
		for i := range n {
			id := fmt.Sprintf("d%016d", i)
			p := feed.TimesPart(id, parts)
			by[p] = append(by[p], feed.Heard{Kind: feed.Service, ID: id, Last: moment(0), Expires: moment(1)})
		}
		got := 0
		for _, part := range by {
			all, err := feed.ParseTimes(feed.TimesDoc(part))
			if err != nil {
				t.Fatal(err)
			}
			got += len(all)
		}
		if got != n {
			t.Errorf("%d of %d in %d parts", got, n, parts)
		}
	}
}
