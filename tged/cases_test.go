package tged_test

import (
	"encoding/json"
	"net/netip"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lanfolk/lanfolk/packet"
	"github.com/lanfolk/lanfolk/tged"
)

// casesFile is testdata/cases.json.
type casesFile struct {
	ServicesFile json.RawMessage `json:"services_file"`
	Cases        []struct {
		ID, Kind, Why string
		Datagram      text
		Bytes         int
		Fields        map[string]string
	}
	ClientCases []struct {
		ID        string
		Datagrams []text `json:"datagrams_to_client"`
		Expect    struct {
			Kind    string
			Fields  map[string]string
			Without string `json:"printed_without_byte"`
		}
	} `json:"client_cases"`
}

// text is a datagram as the file writes it.
type text []byte

func (x *text) UnmarshalJSON(b []byte) error {
	var s string
	if json.Unmarshal(b, &s) == nil {
		*x = text(s)
		return nil
	}
	var o struct {
		Latin1 string
		Repeat []any
	}
	if err := json.Unmarshal(b, &o); err != nil {
		return err
	}
	for _, r := range o.Latin1 {
		*x = append(*x, byte(r))
	}
	if len(o.Repeat) == 4 {
		*x = text(o.Repeat[0].(string) + strings.Repeat(o.Repeat[1].(string), int(o.Repeat[2].(float64))) + o.Repeat[3].(string))
	}
	return nil
}

func cases(t testing.TB) casesFile {
	t.Helper()
	b, err := os.ReadFile("testdata/cases.json")
	if err != nil {
		t.Fatal(err)
	}
	var f casesFile
	if err := json.Unmarshal(b, &f); err != nil {
		t.Fatal(err)
	}
	if len(f.Cases) < 25 || len(f.ClientCases) < 7 {
		t.Fatalf("%d and %d cases, there should be more", len(f.Cases), len(f.ClientCases))
	}
	return f
}

func services(t testing.TB) *tged.Set {
	t.Helper()
	set, err := tged.ParseServices("", cases(t).ServicesFile)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// canonical is the document's own request.
const canonical = "TGED DISCOVERY 1.0\r\nRQ:SQL\r\n\r\n"

// TestServerCases sends each case's datagram by unicast and by broadcast, in
// both styles of reply.
func TestServerCases(t *testing.T) {
	f := cases(t)
	for _, style := range []tged.Style{tged.Spaced, tged.Compact} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.serve(&tged.Server{Services: services(t), Style: style})
			for _, c := range f.Cases {
				if len(c.Datagram) != c.Bytes {
					t.Errorf("%s: %d bytes, want %d", c.ID, len(c.Datagram), c.Bytes)
				}
				for _, to := range []string{"10.0.0.1:4745", "255.255.255.255:4745", "10.0.0.255:4745"} {
					got := r.ask(string(c.Datagram), to)
					if c.Kind == "silent" {
						if len(got) > 0 {
							t.Errorf("%s (%s) to %s: answered %q", c.ID, c.Why, to, got[0].Data)
						}
						continue
					}
					if len(got) != 1 {
						t.Errorf("%s (%s) to %s: %d answers, want one", c.ID, c.Why, to, len(got))
						continue
					}
					if from := got[0].Src.String(); from != "10.0.0.1:4745" {
						t.Errorf("%s to %s: answered from %s", c.ID, to, from)
					}
					checkCase(t, c.ID, c.Kind, got[0].Data, c.Fields, style)
					if again := r.ask(canonical, to); len(again) != 1 {
						t.Errorf("%s: the canonical request after it: %d answers", c.ID, len(again))
					}
				}
			}
		})
	}
}

// checkCase holds an answer against what the cases file says of its kind.
func checkCase(t *testing.T, id, kind string, data []byte, fields map[string]string, style tged.Style) {
	t.Helper()
	first, rest, _ := strings.Cut(string(data), "\r\n")
	if !strings.HasSuffix(rest, "\r\n\r\n") || len(data) > tged.MaxReply {
		t.Errorf("%s: %q", id, data)
	}
	got := map[string]string{}
	for line := range strings.SplitSeq(strings.TrimSuffix(rest, "\r\n\r\n"), "\r\n") {
		key, value, _ := strings.Cut(line, ":")
		if strings.HasPrefix(value, " ") != (style == tged.Spaced) {
			t.Errorf("%s: line %q in style %d", id, line, style)
		}
		got[key] = strings.TrimSpace(value)
	}
	want := "TGED REPLY 1.0"
	if kind == "invalid" {
		want, fields = "TGED INVALID 1.0", map[string]string{"RP": "INVALID"}
		if len(data) > 36 {
			t.Errorf("%s: %d bytes of INVALID", id, len(data))
		}
	}
	if first != want {
		t.Errorf("%s: %q, want %q", id, first, want)
	}
	if diff := cmp.Diff(fields, got); diff != "" {
		t.Errorf("%s: fields (-want +got):\n%s", id, diff)
	}
}

func TestReplyAsTheDocumentShowsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.serve(&tged.Server{Services: services(t)})
		const want = "TGED REPLY 1.0\r\nHOST: test\r\nFQDN: test.example.com\r\nIP: 192.168.0.34\r\nPORT: 3306\r\nUSER: john\r\n\r\n"
		if got := r.ask(canonical, "10.0.0.1:4745"); len(got) != 1 || string(got[0].Data) != want {
			t.Errorf("got %v", got)
		}
	})
}

// TestClientCases answers a question with each case's datagrams, sent by a
// stranger in whose power the client's fate must not be.
func TestClientCases(t *testing.T) {
	for _, c := range cases(t).ClientCases {
		for name, to := range map[string]netip.AddrPort{"broadcast": {}, "unicast": netip.MustParseAddrPort("10.0.0.1:4745")} {
			t.Run(c.ID+" "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t)
					r.answerWith(c.Datagrams)
					start := time.Now()
					a, err := r.client(to).Ask(t.Context(), "SQL")
					took := time.Since(start)
					if c.Expect.Kind == "timeout" {
						if err != tged.ErrNoAnswer || took != tged.DefaultTimeout {
							t.Errorf("%v, %v after %v", a, err, took)
						}
						return
					}
					if err != nil || took >= time.Second {
						t.Fatalf("%v, %v after %v", a, err, took)
					}
					if want := "10.0.0.1:4745"; a.Server.String() != want || a.Link.Name != "eth0" || a.Service != "SQL" {
						t.Errorf("from %s on %s", a.Server, a.Link.Name)
					}
					got := map[string]string{}
					for _, f := range a.Fields {
						got[f.Key] = f.Value
						if c.Expect.Without != "" && strings.Contains(f.Value, "\x1b") {
							t.Errorf("%s: an escape in %q", c.ID, f.Value)
						}
					}
					if diff := cmp.Diff(c.Expect.Fields, got); diff != "" && c.Expect.Fields != nil {
						t.Errorf("fields (-want +got):\n%s", diff)
					}
				})
			})
		}
	}
}

func TestInvalidAndNoAnswerAreToldApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.answerWith([]text{text("TGED INVALID 1.0\r\nRP: INVALID\r\n\r\n")})
		start := time.Now()
		if _, err := r.client(netip.AddrPort{}).Ask(t.Context(), "SQL"); err != tged.ErrInvalid {
			t.Error(err)
		}
		if d := time.Since(start); d != tged.DefaultTimeout {
			t.Errorf("gave up after %v: another server may have known better", d)
		}
	})
}

// grams copies what was read.
func grams(in []packet.Datagram) []packet.Datagram {
	out := make([]packet.Datagram, len(in))
	for n, d := range in {
		out[n] = d
		out[n].Data = append([]byte(nil), d.Data...)
	}
	return out
}
