package syncthing_test

import (
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/lanfolk/lanfolk/syncthing"
)

// vectors is testdata/vectors.json: packets of real old clients and servers, and
// made-up ones with what the real ones did.
type vectors struct {
	DeviceIDs map[string]string `json:"device_ids"`
	Captured  []struct {
		ID, Mode, Description, Src, Dst string
		Hex                             raw
		Decoded                         decoded
	}
	Global []struct {
		ID, Name string
		Announce raw                           `json:"announce_hex"`
		Src      string                        `json:"announce_src"`
		Query    raw                           `json:"query_hex"`
		Reply    map[string]*struct{ Hex raw } // by server, or of all of them
	} `json:"crafted_global"`
	Local []struct {
		Name    string
		Hex     raw
		Outcome string `json:"outcome_v0.10.31_and_v0.11.26"`
	} `json:"crafted_local"`
	Lookup []struct {
		Reply   string
		Hex     raw
		Outcome string `json:"outcome_v0.10.31_and_v0.11.26"`
	} `json:"crafted_client_lookup"`
}

type decoded struct {
	Type     string
	This     decodedDevice
	Extra    []decodedDevice
	DeviceID string `json:"device_id"`
	Trailing int    `json:"trailing_bytes"`
}

type decodedDevice struct {
	ID        string `json:"device_id"`
	Addresses []struct {
		IP   string
		Port uint16
	}
}

// raw is a packet, in the file as hex.
type raw []byte

func (r *raw) UnmarshalText(b []byte) (err error) {
	*r, err = hex.DecodeString(string(b))
	return err
}

func readVectors(t testing.TB) *vectors {
	t.Helper()
	b, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	if len(v.Captured) < 33 || len(v.Global) < 36 || len(v.Local) < 10 || len(v.Lookup) < 5 {
		t.Fatal("the vectors are incomplete")
	}
	return &v
}

func id(s string) syncthing.DeviceID {
	id, err := syncthing.ParseID(s)
	if err != nil {
		panic(err)
	}
	return id
}

func (d decodedDevice) device() syncthing.Device {
	out := syncthing.Device{ID: id(d.ID)}
	for _, a := range d.Addresses {
		ip, _ := netip.ParseAddr(a.IP)
		out.Addresses = append(out.Addresses, netip.AddrPortFrom(ip, a.Port))
	}
	return out
}

// same compares packets; an empty list is as good as none.
func same(t *testing.T, what string, want, got any) {
	t.Helper()
	equal := cmp.Options{
		cmpopts.EquateEmpty(),
		cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
		cmp.Comparer(func(a, b syncthing.DeviceID) bool { return a == b }),
	}
	if diff := cmp.Diff(want, got, equal); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// Every captured packet is read as what it is, and written as the same bytes.
func TestCapturedPackets(t *testing.T) {
	for _, c := range readVectors(t).Captured {
		m, err := syncthing.Parse(c.Hex)
		if err != nil {
			t.Errorf("%s, %s: %v", c.ID, c.Description, err)
			continue
		}
		var want syncthing.Message
		if c.Decoded.Type == "query" {
			want = syncthing.Query{ID: id(c.Decoded.DeviceID)}
		} else {
			a := &syncthing.Announcement{Device: c.Decoded.This.device()}
			for _, e := range c.Decoded.Extra {
				a.Extra = append(a.Extra, e.device())
			}
			want = a
		}
		same(t, c.ID, want, m)
		for what, m := range map[string]syncthing.Message{"read": m, "made": want} {
			if got := m.Append(nil); !cmp.Equal(got, []byte(c.Hex)) {
				t.Errorf("%s, as %s:\n got %x\nwant %x", c.ID, what, got, []byte(c.Hex))
			}
		}
	}
}

// What local clients do with made-up packets, and where we are stricter.
func TestLocalPackets(t *testing.T) {
	stricter := map[string]string{
		"magic-0":   "neither an announcement nor a query",
		"id-len-31": "a device ID of 31 bytes",
	}
	for _, c := range readVectors(t).Local {
		m, err := syncthing.Parse(c.Hex)
		if want := stricter[c.Name]; want != "" {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, %v", c.Name, m, err)
			}
			continue
		}
		a, ok := m.(*syncthing.Announcement)
		if err != nil || !ok {
			t.Errorf("%s: %v, %v", c.Name, m, err)
			continue
		}
		want := map[string]int{"noaddr": 0, "port0": 0, "16addr": 16}
		n, ok := want[c.Name]
		if !ok {
			n = 1
		}
		if len(a.Addresses) != n || (len(a.Extra) > 0) != (c.Name == "extras") {
			t.Errorf("%s (%s): %v", c.Name, c.Outcome, a)
		}
	}
}

// seeds are all packets of the vectors.
func seeds(t testing.TB) (all [][]byte) {
	v := readVectors(t)
	for _, c := range v.Captured {
		all = append(all, c.Hex)
	}
	for _, c := range v.Global {
		all = append(all, c.Announce, c.Query)
	}
	for _, c := range v.Local {
		all = append(all, c.Hex)
	}
	for _, c := range v.Lookup {
		all = append(all, c.Hex)
	}
	return all
}

func TestFuzzSeeds(t *testing.T) {
	if n := len(seeds(t)); n < 100 {
		t.Errorf("%d seeds", n)
	}
}
