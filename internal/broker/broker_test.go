package broker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	v5 "github.com/eclipse/paho.golang/packets"
	v3 "github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/google/go-cmp/cmp"

	"github.com/lanfolk/lanfolk/internal/broker"
)

// A bridge's will has no payload, which mochi refuses by itself.
func TestWillWithoutPayloadClearsItsTopic(t *testing.T) {
	t.Parallel()
	r := newRig(t, broker.Options{})
	helper := r.connect3("helper")
	t.Run("3.1.1", func(t *testing.T) {
		helper.publish("provider/p", "{}", 1, true)
		c := r.connect3("bridge", will3("provider/p", ""))
		c.Close()
		eventually(t, "will", func() bool { return len(r.retained("provider/p")) == 0 })
	})
	t.Run("5", func(t *testing.T) {
		helper.publish("provider/p", "{}", 1, true)
		c, code := r.connect5("bridge", func(c *v5.Connect) {
			c.WillFlag, c.WillTopic, c.WillRetain, c.WillQOS, c.WillProperties = true, "provider/p", true, 2, &v5.Properties{}
		})
		if code != 0 {
			t.Fatalf("refused with %#x", code)
		}
		c.Close()
		eventually(t, "will", func() bool { return len(r.retained("provider/p")) == 0 })
	})
	if n := r.b.Stats().Wills; n != 2 {
		t.Errorf("%d wills were spoken, want 2", n)
	}
}

func TestNoWillAfterAFarewell(t *testing.T) {
	t.Parallel()
	r := newRig(t, broker.Options{})
	r.connect3("c", will3("w", "dead")).disconnect()
	eventually(t, "farewell", func() bool { return r.b.Stats().Connected == 0 })
	if got := r.retained("#"); len(got) > 0 || r.b.Stats().Wills != 0 {
		t.Errorf("retained %v, %d wills", got, r.b.Stats().Wills)
	}
}

// The will of a connection that is taken over comes before anything that the
// new one says.
func TestWillOfATakenOverSessionComesFirst(t *testing.T) {
	t.Parallel()
	r := newRig(t, broker.Options{})
	watcher := r.connect3("watcher")
	watcher.subscribe(1, 0, "#")
	for range 30 {
		old := r.connect3("device", will3("current/d/reachable", "0"))
		old.publish("current/d/reachable", "1", 0, true)
		if got := watcher.message(); got != "current/d/reachable 1" {
			t.Fatalf("heard %q", got)
		}
		c := r.connect3("device", will3("current/d/reachable", "0"))
		c.publish("current/d/reachable", "1", 1, true)
		if first, second := watcher.message(), watcher.message(); first != "current/d/reachable 0" || second != "current/d/reachable 1" {
			t.Fatalf("heard %q and then %q", first, second)
		}
		c.disconnect()
		eventually(t, "farewell", func() bool { return r.b.Stats().Connected == 1 })
	}
}

// Every retained message arrives, at QoS 0 and 1, many more than any queue of
// the server holds; 150,000 under LANFOLK_SOAK.
func TestSnapshotIsWhole(t *testing.T) {
	t.Parallel()
	n := 20_000
	if os.Getenv("LANFOLK_SOAK") != "" {
		n = 150_000
	}
	r := newRig(t, broker.Options{Dir: t.TempDir()})
	fill(t, r, n)
	for _, qos := range []byte{0, 1} {
		p := r.connect3(fmt.Sprintf("reader-%d", qos))
		s := v3.NewControlPacket(v3.Subscribe).(*v3.SubscribePacket)
		s.MessageID, s.Topics, s.Qoss = 7, []string{"current/#"}, []byte{qos}
		p.send(s)
		time.Sleep(200 * time.Millisecond) // it is busy
		start := time.Now()
		seen := make(map[string]bool)
		for done := false; !done; {
			x, err := p.next(patience)
			if err != nil {
				t.Fatalf("QoS %d: after %d: %v", qos, len(seen), err)
			}
			switch x := x.(type) {
			case *v3.PublishPacket:
				seen[x.TopicName] = x.Retain
			case *v3.SubackPacket:
				done = true
			}
		}
		if len(seen) != n {
			t.Errorf("QoS %d: %d of %d messages before SUBACK", qos, len(seen), n)
		}
		t.Logf("QoS %d: %v", qos, time.Since(start))
		p.Close()
	}
	if s := r.b.Stats(); s.Dropped != 0 || s.Stalled != 0 {
		t.Errorf("%+v", s)
	}
}

// fill publishes n retained messages.
func fill(t *testing.T, r *rig, n int) {
	t.Helper()
	p := r.connect3("filler")
	var wait sync.WaitGroup
	wait.Go(func() {
		for range n {
			if _, err := p.next(patience); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for i := range n {
		m := v3.NewControlPacket(v3.Publish).(*v3.PublishPacket)
		m.TopicName, m.Payload, m.Qos, m.Retain, m.MessageID = fmt.Sprintf("current/u1/bulk/%d/reachable", i), []byte("1"), 1, true, uint16(i%60_000+1)
		p.send(m)
	}
	wait.Wait()
	p.disconnect()
}

// A value that changes while the snapshot is sent is never followed by an
// older one.
func TestSnapshotAndNewsAgree(t *testing.T) {
	t.Parallel()
	const topics = 2000
	r := newRig(t, broker.Options{})
	fill(t, r, topics)
	var stop atomic.Bool
	var last [topics]string
	var wait sync.WaitGroup
	writer := r.connect3("writer")
	wait.Go(func() {
		m := v3.NewControlPacket(v3.Publish).(*v3.PublishPacket)
		for n := 0; !stop.Load(); n++ {
			i := n * 7919 % topics
			last[i] = fmt.Sprint(n)
			m.TopicName, m.Payload, m.Retain = fmt.Sprintf("current/u1/bulk/%d/reachable", i), []byte(last[i]), true
			writer.send(m)
			time.Sleep(20 * time.Microsecond)
		}
		m.TopicName, m.Payload, m.Retain = "end", []byte("x"), false
		writer.send(m) // behind all the others
	})
	readers := make([]map[string]string, 5)
	for i := range readers {
		p := r.connect3(fmt.Sprintf("reader-%d", i))
		heard := make(map[string]string)
		readers[i] = heard
		_, before := p.subscribe(1, 0, "#")
		for _, m := range before {
			heard[m.TopicName] = string(m.Payload)
		}
		wait.Go(func() {
			for {
				x, err := p.next(patience)
				if err != nil {
					t.Error(err)
					return
				}
				m := x.(*v3.PublishPacket)
				if m.TopicName == "end" {
					return
				}
				heard[m.TopicName] = string(m.Payload)
			}
		})
		time.Sleep(10 * time.Millisecond)
	}
	stop.Store(true)
	wait.Wait()
	want := r.retained("#")
	for i, got := range readers {
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("reader %d (-retained +heard):\n%s", i, diff)
		}
	}
}

// The server's packet ids don't get in the way of the client's.
func TestSubscribeWhileAMessageHasTheSamePacketID(t *testing.T) {
	t.Parallel()
	r := newRig(t, broker.Options{})
	helper := r.connect3("helper")
	p := r.connect3("c")
	p.subscribe(1, 1, "news")
	helper.publish("news", "a", 1, false) // the server's first id, 1, which stays open
	m := await[*v3.PublishPacket](p)
	if code, _ := p.subscribe(m.MessageID, 1, "more"); code != 1 {
		t.Errorf("SUBSCRIBE with an id that the server uses: code %#x", code)
	}
	out := v3.NewControlPacket(v3.Publish).(*v3.PublishPacket)
	out.TopicName, out.Payload, out.Qos, out.MessageID = "x", []byte("y"), 2, m.MessageID
	p.send(out)
	if got := await[*v3.PubrecPacket](p).MessageID; got != m.MessageID {
		t.Errorf("PUBREC of %d, want %d", got, m.MessageID)
	}
	rel := v3.NewControlPacket(v3.Pubrel).(*v3.PubrelPacket)
	rel.MessageID = m.MessageID
	p.send(rel)
	if got := await[*v3.PubcompPacket](p).MessageID; got != m.MessageID {
		t.Errorf("PUBCOMP of %d, want %d", got, m.MessageID)
	}
}

// A client that takes few messages at a time gets all of them.
func TestReceiveMaximumNeverStops(t *testing.T) {
	t.Parallel()
	r := newRig(t, broker.Options{})
	p, _ := r.connect5("c", func(c *v5.Connect) {
		few := uint16(3)
		c.Properties.ReceiveMaximum = &few
	})
	p.send(&v5.Subscribe{PacketID: 1, Properties: &v5.Properties{}, Subscriptions: []v5.SubOptions{{Topic: "n/#", QoS: 1}}})
	p.next()
	helper := r.connect3("helper")
	for round := range 10 {
		for i := range 20 {
			helper.publish(fmt.Sprintf("n/%d/%d", round, i), "x", 1, false)
		}
		for range 20 {
			m, ok := p.next().Content.(*v5.Publish)
			if !ok {
				t.Fatal("no PUBLISH")
			}
			p.send(&v5.Puback{PacketID: m.PacketID, Properties: &v5.Properties{}})
		}
	}
}

// What the journal holds is there again after the process was killed, which is
// to say, when it had no chance to say anything.
func TestStateSurvivesAKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := newRig(t, broker.Options{Dir: dir})
	p := r.connect3("helper")
	p.publish("a", "1", 1, true)
	p.publish("b", "2", 1, true)
	p.publish("gone", "3", 1, true)
	p.publish("gone", "", 1, true)
	p.publish("provider/dead", "{}", 1, true)
	p.publish("provider/back", "{}", 1, true)
	p.publish("provider/renamed", "{}", 1, true)
	stays := r.connect3("stays", func(c *v3.ConnectPacket) { c.CleanSession = false })
	stays.subscribe(1, 1, "q/#")
	r.connect3("dead", will3("provider/dead", ""))
	r.connect3("back", will3("provider/back", ""))
	r.connect3("renamed-1", will3("provider/renamed", ""))
	// What changes is written soon, and topics before the clients that changed after them.
	var journal []byte
	eventually(t, "journal", func() bool {
		journal = readJournal(t, dir)
		for _, part := range []string{`"filter":"q/#"`, `"client":"dead"`, `"client":"back"`, `"client":"renamed-1"`} {
			if !bytes.Contains(journal, []byte(part)) {
				return false
			}
		}
		return bytes.HasSuffix(journal, []byte("\n"))
	})
	r.end()

	all := map[string]string{"a": "1", "b": "2", "provider/dead": "{}", "provider/back": "{}", "provider/renamed": "{}"}
	r = restarted(t, journal, all, func(r *rig) {
		r.connect3("back", will3("provider/back", ""))
		r.connect3("renamed-2", will3("provider/renamed", ""))
	})
	r.connect3("helper").publish("q/1", "queued", 1, false)
	stays = r.connect3("stays", func(c *v3.ConnectPacket) { c.CleanSession = false })
	if got := stays.message(); got != "q/1 queued" {
		t.Errorf("a session that was kept gets %q", got)
	}
	delete(all, "provider/dead")
	eventually(t, "will", func() bool { return maps.Equal(all, r.retained("#")) })
	time.Sleep(300 * time.Millisecond)
	if diff := cmp.Diff(all, r.retained("#")); diff != "" {
		t.Errorf("after it (-want +got):\n%s", diff)
	}
}

// readJournal returns what a state folder's journal holds now, nothing if there is none yet.
func readJournal(t *testing.T, dir string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "mqtt.journal"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return b
}

// restarted runs a broker on a copy of a journal, and has something done before it speaks the wills that are in there: so
// long all that is wanted is retained. Where that takes longer than the grace time for them it proves nothing, and all of it is done again with more time.
func restarted(t *testing.T, journal []byte, want map[string]string, soon func(*rig)) *rig {
	t.Helper()
	for grace := 700 * time.Millisecond; grace < patience; grace *= 3 {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "mqtt.journal"), journal, 0o600); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		r := newRig(t, broker.Options{Dir: dir, WillGrace: grace})
		soon(r)
		time.Sleep(300 * time.Millisecond) // and the broker looks five times a second for wills that are due
		wrong := cmp.Diff(want, r.retained("#"))
		if time.Since(began) < grace {
			if wrong != "" {
				t.Errorf("within the grace time (-want +got):\n%s", wrong)
			}
			return r
		}
		r.end()
	}
	t.Fatal("nothing is done in time")
	return nil
}

// A broker that is told to end holds the wills back, too: who comes back isn't
// declared dead by a restart.
func TestWillsWaitForTheNextStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := newRig(t, broker.Options{Dir: dir})
	r.connect3("helper").publish("provider/p", "{}", 1, true)
	r.connect3("bridge", will3("provider/p", ""))
	r.connect3("leaves", will3("provider/p", "")).disconnect()
	eventually(t, "farewell", func() bool { return r.b.Stats().Connected == 2 })
	r.end()
	r = restarted(t, readJournal(t, dir), map[string]string{"provider/p": "{}"}, func(*rig) {})
	eventually(t, "will", func() bool { return len(r.retained("#")) == 0 })
	if n := r.b.Stats().Wills; n != 1 {
		t.Errorf("%d wills, want 1", n)
	}
}

// A client that is back after a restart with another will, as a bridge that died meanwhile and has a new
// provider id, doesn't swallow the one of before.
func TestWillOfBeforeARestartIsNotLost(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := newRig(t, broker.Options{Dir: dir})
	helper := r.connect3("helper")
	helper.publish("provider/old", "{}", 1, true)
	helper.publish("provider/same", "{}", 1, true)
	r.connect3("bridge", will3("provider/old", ""))
	r.connect3("steady", will3("provider/same", ""))
	r.end()
	r = newRig(t, broker.Options{Dir: dir, WillGrace: time.Minute})
	r.connect3("bridge", will3("provider/new", ""))
	r.connect3("steady", will3("provider/same", ""))
	if diff := cmp.Diff(map[string]string{"provider/same": "{}"}, r.retained("#")); diff != "" {
		t.Errorf("retained (-want +got):\n%s", diff)
	}
}

func TestWhoMayComeIn(t *testing.T) {
	t.Parallel()
	line, err := broker.PasswordLine("alice", "correct horse")
	if err != nil {
		t.Fatal(err)
	}
	users, err := broker.ReadPasswords(strings.NewReader(line + "\n" + strings.Replace(line, "alice", "bob", 1)))
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, broker.Options{Users: users, Rules: broker.HemtjanstRules()})
	const denied = 5 // MQTT 3.1.1 §3.2.2.3
	if _, code := r.try3("c"); code != denied {
		t.Errorf("without a user: %d", code)
	}
	if _, code := r.try3("c", user3("alice", "wrong")); code != denied {
		t.Errorf("with a wrong password: %d", code)
	}
	if _, code := r.try3("c", user3("nobody", "correct horse")); code != denied {
		t.Errorf("with an unknown user: %d", code)
	}
	if _, code := r.try3("c", user3("alice", "correct horse"), will3("current/bob/reachable", "0")); code != denied {
		t.Errorf("with a will on another's topic: %d", code)
	}
	if _, code := r.try3("c", user3("alice", "correct horse"), will3("current/#", "0")); code != denied {
		t.Errorf("with a will on a filter: %d", code)
	}
	alice := r.connect3("c", user3("alice", "correct horse"), will3("current/alice/reachable", "0"))
	if _, code := r.try3("c", user3("bob", "correct horse")); code != denied {
		t.Errorf("with another user's client id: %d", code)
	}
	for _, topic := range []string{"device/alice", "current/alice/reachable", "device/bob", "current/bob/reachable", "$SYS/x", "a//../b"} {
		alice.publish(topic, "x", 1, true)
	}
	if code, before := alice.subscribe(2, 0, "#"); code != 0 || len(before) != 2 {
		t.Errorf("code %d, %d messages", code, len(before))
	}
	if code, _ := alice.subscribe(3, 0, "$SYS/#"); code != 0x80 {
		t.Errorf("$SYS: %d", code)
	}
	if s := r.b.Stats(); s.RefusedConnections != 6 || s.RefusedMessages != 4 || s.RefusedFilters != 1 {
		t.Errorf("%+v", s)
	}
}

func TestRulesHoldForDeliveries(t *testing.T) {
	t.Parallel()
	rules, err := broker.ReadRules(strings.NewReader("topic write #\ntopic read a/#\ntopic deny a/secret/#\n"))
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, broker.Options{Rules: rules})
	p := r.connect3("c")
	for _, topic := range []string{"a/1", "a/secret/1", "b/1"} {
		p.publish(topic, "x", 1, true)
	}
	_, before := p.subscribe(1, 0, "#")
	if len(before) != 1 || before[0].TopicName != "a/1" {
		t.Errorf("retained: %v", before)
	}
	if code, _ := p.subscribe(2, 0, "b/#"); code != 0x80 {
		t.Errorf("subscribe to b/#: %d", code)
	}
	for _, topic := range []string{"a/secret/2", "b/2", "a/2"} {
		p.publish(topic, "x", 0, false)
	}
	if got := p.message(); got != "a/2 x" {
		t.Errorf("heard %q", got)
	}
}

// Sessions of clients that are away end with their time, and the oldest where
// there are too many; after a restart, too.
func TestSessionsEnd(t *testing.T) {
	t.Parallel()
	keep := func(c *v3.ConnectPacket) { c.CleanSession = false }
	run := func(t *testing.T, o broker.Options, sessions, left int64) {
		r := newRig(t, o)
		for i := range sessions {
			p := r.connect3(fmt.Sprint(i), keep)
			p.subscribe(1, 1, "a/#")
			p.disconnect()
		}
		eventually(t, "end", func() bool { return r.b.Stats().Sessions == left })
		r.end()
		if r = newRig(t, o); r.b.Stats().Sessions != left {
			t.Errorf("%d sessions after a restart", r.b.Stats().Sessions)
		}
		r.end()
	}
	t.Run("number", func(t *testing.T) {
		t.Parallel()
		run(t, broker.Options{Dir: t.TempDir(), Limits: broker.Limits{Sessions: 2}}, 4, 2)
	})
	t.Run("time", func(t *testing.T) {
		t.Parallel()
		o := broker.Options{Dir: t.TempDir(), Limits: broker.Limits{SessionExpiry: time.Second}}
		run(t, o, 4, 0)
		r := newRig(t, o)
		p := r.connect3("c", keep)
		p.subscribe(1, 1, "a/#")
		r.end()
		r = newRig(t, o) // its time begins anew
		eventually(t, "end", func() bool { return r.b.Stats().Sessions == 0 })
		r.end()
		if r = newRig(t, o); r.b.Stats().Sessions != 0 {
			t.Error("it is back")
		}
	})
}

// A message with a time to live is forgotten when it is over.
func TestRetainedMessageExpires(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := newRig(t, broker.Options{Dir: dir})
	p, _ := r.connect5("c")
	life, said := uint32(1), time.Now()
	p.send(&v5.Publish{Topic: "short", Payload: []byte("x"), Retain: true, Properties: &v5.Properties{MessageExpiry: &life}})
	p.send(&v5.Publish{Topic: "long", Payload: []byte("x"), QoS: 1, PacketID: 1, Retain: true, Properties: &v5.Properties{}})
	p.next()
	if got := r.retained("#"); len(got) != 2 && time.Since(said) < time.Second {
		t.Errorf("retained %v", got)
	}
	r.end() // the journal has it
	r = newRig(t, broker.Options{Dir: dir})
	eventually(t, "expiry", func() bool { return maps.Equal(r.retained("#"), map[string]string{"long": "x"}) })
}

func TestOneStateFolderOneBroker(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	newRig(t, broker.Options{Dir: dir})
	_, err := broker.Open(broker.Options{Dir: dir})
	if err == nil || !strings.Contains(err.Error(), "another broker uses this state folder") {
		t.Errorf("error %v", err)
	}
}

// A packet that mochi falls over ends its sender's connection, whose will is
// spoken, and nothing else.
func TestPacketOfDeath(t *testing.T) {
	t.Parallel()
	r := newRig(t, broker.Options{})
	watcher := r.connect3("watcher")
	watcher.subscribe(1, 0, "#")
	p, _ := r.connect5("c", func(c *v5.Connect) {
		c.WillFlag, c.WillTopic, c.WillMessage, c.WillProperties = true, "w", []byte("dead"), &v5.Properties{}
	})
	p.send(&v5.Subscribe{PacketID: 1, Properties: &v5.Properties{}, Subscriptions: []v5.SubOptions{{Topic: "a/#"}}})
	p.next()
	if _, err := p.Write([]byte("\x82\x06\x00\x02\x00\x00\x01a")); err != nil { // SUBSCRIBE without the filter's options
		t.Fatal(err)
	}
	if got := watcher.message(); got != "w dead" {
		t.Errorf("heard %q", got)
	}
	eventually(t, "end", func() bool { s := r.b.Stats(); return s.Malformed == 1 && s.Sessions == 1 })
	r.connect3("c").publish("a/1", "x", 1, false)
	if got := watcher.message(); got != "a/1 x" {
		t.Errorf("heard %q", got)
	}
}

// MQTT 5 §3.1.3.2.2: a will that waits isn't spoken if its client comes back.
func TestDelayedWill(t *testing.T) {
	t.Parallel()
	r := newRig(t, broker.Options{})
	delay, expiry := uint32(1), uint32(60)
	delayed := func(c *v5.Connect) {
		c.CleanStart = false
		c.WillFlag, c.WillTopic, c.WillMessage, c.WillRetain, c.WillProperties = true, "w", []byte("dead"), true, &v5.Properties{}
		c.WillProperties.WillDelayInterval, c.Properties.SessionExpiryInterval = &delay, &expiry
	}
	for ; ; delay *= 2 {
		c, _ := r.connect5("c", delayed)
		before, closed := r.b.Stats().Wills, time.Now()
		c.Close()
		eventually(t, "end", func() bool { return r.b.Stats().Connected == 0 })
		c, _ = r.connect5("c", delayed)
		waits := time.Duration(delay) * time.Second
		if delay < 30 && time.Since(closed) > waits {
			continue // so late that it may have been spoken
		}
		time.Sleep(waits + 500*time.Millisecond)
		if n := r.b.Stats().Wills - before; n != 0 {
			t.Errorf("%d wills of a client that came back", n)
		}
		c.Close()
		break
	}
	eventually(t, "will", func() bool { return maps.Equal(r.retained("#"), map[string]string{"w": "dead"}) })
}

// FuzzPackets sends bytes to a broker after a good CONNECT; whatever they are,
// others are served.
func FuzzPackets(f *testing.F) {
	for _, s := range []string{
		"\x30\x05\x00\x01a12", "\x32\x07\x00\x01a\x00\x0112", "\x34\x07\x00\x01a\x00\x0112", "\x82\x06\x00\x01\x00\x01#\x00",
		"\x82\x0e\x00\x02\x00\x09$share/a/\x02", "\xa2\x05\x00\x01\x00\x01#", "\xc0\x00", "\xe0\x00", "\x62\x02\x00\x01", "\x50\x02\x00\x01",
		"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00", "\xff\xff\xff\xff\xff", "\x30\xff\xff\xff\x7f", "\x82\x08\x00\x01\x00\x03+/#\x01",
	} {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	b, err := broker.Open(broker.Options{Listeners: []broker.Listener{{Listener: l}}, Limits: broker.Limits{Clients: 10_000}})
	if err != nil {
		f.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	f.Cleanup(cancel)
	go func() { _ = b.Run(ctx) }()
	f.Fuzz(func(t *testing.T, data []byte, five bool) {
		hello := "\x10\x0d\x00\x04MQTT\x04\x02\x00\x0a\x00\x01f"
		if five {
			hello = "\x10\x0e\x00\x04MQTT\x05\x02\x00\x0a\x00\x00\x01f"
		}
		for _, bytes := range []string{hello + string(data), hello} {
			c, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Write([]byte(bytes)); err != nil {
				t.Fatal(err)
			}
			_ = c.SetReadDeadline(time.Now().Add(patience))
			ack := make([]byte, 4)
			if _, err := c.Read(ack); err != nil || ack[0] != 0x20 || ack[3] != 0 {
				t.Fatalf("CONNACK %x: %v", ack, err)
			}
			c.Close()
		}
	})
}
