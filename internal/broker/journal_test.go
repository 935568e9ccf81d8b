package broker

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// kept is a state in memory.
type kept struct {
	topics  map[string]*retained
	clients map[string]*away
}

func (k kept) recordTopic(t string) *retained { return k.topics[t] }
func (k kept) recordClient(id string) *away   { return k.clients[id] }
func (k kept) each(topic, client func(string)) {
	for t := range k.topics {
		topic(t)
	}
	for c := range k.clients {
		client(c)
	}
}

func newKept() kept { return kept{topics: make(map[string]*retained), clients: make(map[string]*away)} }

func (k kept) put(r record) {
	switch {
	case r.Topic != "" && r.Message == nil:
		delete(k.topics, r.Topic)
	case r.Topic != "":
		k.topics[r.Topic] = r.Message
	case r.Session == nil:
		delete(k.clients, r.Client)
	default:
		k.clients[r.Client] = r.Session
	}
}

func (k kept) diff(other kept) string {
	return cmp.Diff(k.topics, other.topics) + cmp.Diff(k.clients, other.clients)
}

func openKept(t *testing.T, dir string, log *slog.Logger) (*journal, kept) {
	t.Helper()
	k := newKept()
	j, err := openJournal(dir, log, k.put)
	if err != nil {
		t.Fatal(err)
	}
	j.state = k
	return j, k
}

func TestJournalKeepsWhatItIsTold(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j, k := openKept(t, dir, slog.New(slog.DiscardHandler))
	format := byte(1)
	k.topics["device/ä"] = &retained{
		Payload: []byte("\x00\xff"), QoS: 2, Created: 5, Expires: 6, Origin: "o", ContentType: "c", Response: "r",
		Correlation: []byte{7}, Format: &format, User: [][2]string{{"k", "v"}, {"k", "w"}},
	}
	k.clients["c"] = &away{
		Username: "u", MQTT: 5, Keeps: true, Expiry: 9, Subscriptions: []subscription{{Filter: "#", QoS: 1, NoLocal: true}},
		Will: &will{Topic: "t", QoS: 2, Retain: true, Delay: 3, User: [][2]string{{"a", "b"}}},
	}
	k.topics["gone"] = &retained{Payload: []byte("x")}
	for _, topic := range []string{"device/ä", "gone"} {
		j.changedTopic(topic)
	}
	j.changedClient("c")
	if err := j.flush(); err != nil {
		t.Fatal(err)
	}
	delete(k.topics, "gone")
	j.changedTopic("gone")
	if err := j.flush(); err != nil {
		t.Fatal(err)
	}
	j.close()
	j, got := openKept(t, dir, slog.New(slog.DiscardHandler))
	defer j.close()
	if d := k.diff(got); d != "" {
		t.Errorf("after a restart: %s", d)
	}
}

// Cut off anywhere, a journal is what it was some writes ago.
func TestJournalThatIsCutOff(t *testing.T) {
	t.Parallel()
	var whole []byte
	var err error
	if whole, err = appendRecord(whole, record{Lanfolk: journalName, Version: journalVersion}); err != nil {
		t.Fatal(err)
	}
	head := len(whole)
	states := map[int]int{head: 0} // length -> how many records
	for i := range 5 {
		if whole, err = appendRecord(whole, record{Topic: fmt.Sprint(i), Message: &retained{Payload: []byte("x")}}); err != nil {
			t.Fatal(err)
		}
		states[len(whole)] = i + 1
	}
	want := 0
	for n := head; n <= len(whole); n++ {
		if s, ok := states[n]; ok {
			want = s
		}
		for _, tail := range []string{"", "\x00\x00\x00", "deadbeef {}\n"} {
			got := 0
			good, err := readRecords(bytes.NewReader(append(bytes.Clone(whole[:n]), tail...)), func(record) { got++ })
			_, atEnd := states[n]
			if torn := errors.Is(err, errTorn); got != want || torn == (atEnd && tail == "") {
				t.Errorf("cut at %d, then %q: %d records, want %d; good %d, %v", n, tail, got, want, good, err)
			}
		}
	}
	for n := range head {
		if n > 0 {
			if _, err := readRecords(bytes.NewReader(whole[:n]), func(record) {}); !errors.Is(err, errNotOur) {
				t.Errorf("cut at %d: %v", n, err)
			}
		}
	}
}

// A disk that can't be written to costs nothing as long as the process lives.
func TestJournalOutlivesAFailingDisk(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	dir := filepath.Join(t.TempDir(), "state")
	j, k := openKept(t, dir, slog.New(slog.NewTextHandler(&log, nil)))
	put := func(topic string) {
		k.topics[topic] = &retained{Payload: []byte("x")}
		j.changedTopic(topic)
	}
	put("a")
	if err := j.flush(); err != nil {
		t.Fatal(err)
	}
	good := j.file
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	j.file = full
	put("b")
	if err := j.flush(); err == nil || j.failure() == nil {
		t.Fatal("it can't have been written")
	}
	put("c")
	_ = j.flush()
	if n := strings.Count(log.String(), "going on in memory"); n != 1 {
		t.Errorf("it says so %d times:\n%s", n, log.String())
	}
	full.Close()
	j.file = good
	if err := j.flush(); err != nil || j.failure() != nil || !strings.Contains(log.String(), "can be written again") {
		t.Errorf("%v\n%s", err, log.String())
	}
	j.close()
	j, got := openKept(t, dir, slog.New(slog.DiscardHandler))
	defer j.close()
	if d := k.diff(got); d != "" {
		t.Errorf("after a restart: %s", d)
	}
}

func TestJournalThatIsEmpty(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, journalFile), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	j, k := openKept(t, dir, slog.New(slog.DiscardHandler))
	k.topics["t"] = &retained{Payload: []byte("x")}
	j.changedTopic("t")
	if err := j.flush(); err != nil {
		t.Fatal(err)
	}
	j.close()
	j, got := openKept(t, dir, slog.New(slog.DiscardHandler))
	defer j.close()
	if d := k.diff(got); d != "" {
		t.Errorf("after a restart: %s", d)
	}
}

// A topic that changes all the time doesn't make the file grow for ever.
func TestJournalIsMadeShorter(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j, k := openKept(t, dir, slog.New(slog.DiscardHandler))
	for i := range 200 {
		k.topics["t"] = &retained{Payload: bytes.Repeat([]byte{byte(i)}, 200<<10)}
		j.changedTopic("t")
		if err := j.flush(); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(j.path()); err != nil || info.Size() > rewriteAbove+2<<20 {
		t.Errorf("%v %v", info.Size(), err)
	}
	j.close()
	j, got := openKept(t, dir, slog.New(slog.DiscardHandler))
	defer j.close()
	if d := k.diff(got); d != "" {
		t.Errorf("after a restart: %s", d)
	}
}

func FuzzReadRecords(f *testing.F) {
	whole, _ := appendRecord(nil, record{Lanfolk: journalName, Version: journalVersion})
	whole, _ = appendRecord(whole, record{Topic: "a", Message: &retained{Payload: []byte("x")}})
	whole, _ = appendRecord(whole, record{Client: "c", Session: &away{Will: &will{Topic: "t"}}})
	f.Add(whole)
	f.Add(whole[:len(whole)-3])
	f.Add([]byte("00000000 {}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		good, err := readRecords(bytes.NewReader(data), func(record) {})
		if good > int64(len(data)) || err == nil && good != int64(len(data)) {
			t.Errorf("good %d of %d: %v", good, len(data), err)
		}
	})
}
