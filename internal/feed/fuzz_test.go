package feed_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lanfolk/lanfolk/internal/feed"
)

// FuzzParse reads batches of an inventory. What is read is written and read the same again.
func FuzzParse(f *testing.F) {
	for _, seed := range []feed.Batch{
		{Snapshot: true},
		{Complete: true, Items: []feed.Item{{Key: "d/d1", Doc: feed.DeviceDoc(someDevice(), true)}, {Key: "s/s1", Doc: feed.ServiceDoc(someService(), true)}}},
		{Items: []feed.Item{{Key: "e/d1", Doc: []byte(`{"parts":2,"evidence":[{"time":7,"what":"x"}],"reasons":[{"value":"v"}]}`)}, {Key: "t/2/1", Doc: []byte(`{"d/d1":[1],"s/s1":[2,3]}`)}, {Key: "d/d2"}}},
	} {
		f.Add(seed.Append(nil))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := feed.Parse(data)
		if err != nil {
			return
		}
		again, err := feed.Parse(b.Append(nil))
		if err != nil && len(b.Append(nil)) <= feed.MaxBatch {
			t.Fatal(err)
		}
		if diff := cmp.Diff(b, again); err == nil && diff != "" {
			t.Fatal(diff)
		}
		for _, i := range b.Items {
			k, err := feed.ParseKey(i.Key)
			if err != nil {
				t.Fatal(err)
			}
			if i.Doc == nil {
				continue
			}
			switch k.Kind {
			case feed.Device:
				if d, err := feed.ParseDevice(i.Doc); err == nil {
					if _, err := feed.ParseDevice(feed.DeviceDoc(d, true)); err != nil {
						t.Fatal(err)
					}
				}
			case feed.Service:
				if s, err := feed.ParseService(i.Doc); err == nil {
					if _, err := feed.ParseService(feed.ServiceDoc(s, true)); err != nil {
						t.Fatal(err)
					}
				}
			case feed.Evidence:
				if evidence, reasons, _, err := feed.ParseEvidence(i.Doc); err == nil {
					docs, _ := feed.EvidenceDocs(evidence, reasons)
					for _, doc := range docs {
						if _, _, _, err := feed.ParseEvidence(doc); err != nil {
							t.Fatal(err)
						}
					}
				}
			case feed.Times:
				if heard, err := feed.ParseTimes(i.Doc); err == nil {
					if _, err := feed.ParseTimes(feed.TimesDoc(heard)); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
	})
}

// FuzzParseRows reads batches of fingerprints. What is read may travel on.
func FuzzParseRows(f *testing.F) {
	f.Add(feed.RowsHeader())
	f.Add(append(feed.RowsHeader(), `{"interface":"eth0","vlan":7,"protocol":"dns","response":true,"query":"a","fingerprint":"f","src_mac":"02:00:00:00:00:01","dst_mac":"","dst_class":"unicast","src_ip":"192.0.2.1","first":1,"last":2,"count":3,"raw_query":"/w=="}`...))
	f.Fuzz(func(t *testing.T, data []byte) {
		rows, err := feed.ParseRows(data)
		if err != nil {
			return
		}
		for n := range rows {
			line := feed.AppendRow(nil, &rows[n])
			got, err := feed.ParseRow(line[:len(line)-1])
			if err != nil {
				t.Fatal(err)
			}
			if got != rows[n] {
				t.Fatalf("%v became %v", rows[n], got)
			}
		}
	})
}
