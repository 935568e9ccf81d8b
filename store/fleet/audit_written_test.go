package fleet_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/store/fleet"
)

// FuzzWrittenEntry reads entries of somebody else's audit: whatever is taken is written
// again as the same entry.
func FuzzWrittenEntry(f *testing.F) {
	for _, e := range []fleet.Entry{
		{},
		{Seq: 7, Time: time.Unix(1767225600, 123456789), Who: "ann", What: "run", Gateway: "g1", Ref: "01J", Detail: "get \xff\x00\uf700", Outcome: "ok", Hash: [32]byte{1}},
	} {
		b, err := json.Marshal(e.Written())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"seq":1,"hash":"zz"}`))
	f.Add([]byte(`{"seq":-1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var w fleet.WrittenEntry
		if json.Unmarshal(b, &w) != nil {
			return
		}
		e, err := w.Entry()
		if err != nil {
			return
		}
		again, err := e.Written().Entry()
		if err != nil || again != e {
			t.Errorf("%+v became %+v: %v", e, again, err)
		}
	})
}
