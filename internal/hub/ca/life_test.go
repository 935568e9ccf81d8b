package ca_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lanfolk/lanfolk/internal/enrol"
	"github.com/lanfolk/lanfolk/internal/hub/ca"
	"github.com/lanfolk/lanfolk/reverse/lanfolkpb"
	"github.com/lanfolk/lanfolk/store/fleet"
)

const day = 24 * time.Hour

// Clocks that differ by an hour don't matter; those that differ by more are named.
func TestClocksThatDiffer(t *testing.T) {
	t.Parallel()
	for _, skew := range []time.Duration{-time.Hour, time.Hour} {
		h := startHub(t, t.TempDir(), func(h *hub) { h.clock.set(skew) })
		i, _ := h.joined(t)
		if err := h.greet(t, i); err != nil {
			t.Errorf("the hub's clock differs by %s: %v", skew, err)
		}
		if err := i.Renew(t.Context(), h.conn(t, tlsOf(t, i))); err != nil {
			t.Errorf("the hub's clock differs by %s: renew: %v", skew, err)
		}
	}
	h := startHub(t, t.TempDir(), func(h *hub) { h.clock.set(3 * time.Hour) })
	i := open(t, filepath.Join(t.TempDir(), "hub.json"))
	if err := i.Join(t.Context(), h.invite(t, ca.TokenRequest{}), h.dial); err == nil || !strings.Contains(err.Error(), "is this machine's clock right?") {
		t.Errorf("the hub's clock is three hours ahead: %v", err)
	}
}

func TestRenewalKeepsTheIdentity(t *testing.T) {
	t.Parallel()
	h := startHub(t, t.TempDir())
	h.clock.stop()
	i, path := h.joined(t)
	before, leaf := i.Status(), tlsLeaf(t, i)
	c := h.conn(t, tlsOf(t, i))
	if err := i.Renew(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	after, newer := i.Status(), tlsLeaf(t, i)
	if after.Gateway != before.Gateway || after.Name != before.Name || fmt.Sprint(after.Hubs) != fmt.Sprint(before.Hubs) || newer.SerialNumber.Cmp(leaf.SerialNumber) == 0 {
		t.Errorf("%+v became %+v", before, after)
	}
	if !newer.PublicKey.(*ecdsa.PublicKey).Equal(leaf.PublicKey) {
		t.Error("the key changed")
	}
	if fmt.Sprint(open(t, path).Status()) != fmt.Sprint(after) {
		t.Error("the file has the old one")
	}
	if err := h.greet(t, i); err != nil {
		t.Error(err)
	}
	// Again and again is too often.
	var err error
	for range 10 {
		if err = i.Renew(t.Context(), c); err != nil {
			break
		}
	}
	if err == nil || errors.Is(err, enrol.ErrRefused) || !strings.Contains(err.Error(), "too many attempts from "+after.Gateway) {
		t.Errorf("the eleventh: %v", err)
	}
	if err := h.fleet.Sessions.Forget(t.Context(), after.Gateway); err != nil {
		t.Fatal(err)
	}
	h.clock.set(time.Minute)
	if err := i.Renew(t.Context(), c); !errors.Is(err, enrol.ErrRefused) || !strings.Contains(err.Error(), "was removed") {
		t.Errorf("of a gateway that was removed: %v", err)
	}
}

// After it expired a gateway joins again, and is who it was: with any token if it has
// its key, and with one that names it if it lost that.
func TestAnExpiredGatewayJoinsAgain(t *testing.T) {
	t.Parallel()
	h := startHub(t, t.TempDir())
	path, id := filepath.Join(t.TempDir(), "hub.json"), gatewayOfFile
	then := time.Now().Add(-31 * day)
	writeIdentity(t, path, h.authority, then)
	i := open(t, path)
	record := fleet.Gateway{ID: id, Name: "attic", Enrolled: then, Key: sha256.Sum256(tlsLeaf(t, i).RawSubjectPublicKeyInfo)}
	if _, err := h.fleet.Sessions.Enrol(t.Context(), record); err != nil {
		t.Fatal(err)
	}
	h.refused(t, tlsOf(t, i), "the hub finds the gateway's certificate expired: join again")
	if err := i.Join(t.Context(), h.invite(t, ca.TokenRequest{}), h.dial); err != nil || i.Status().Gateway != id || i.Status().Name != "attic" {
		t.Errorf("%+v, %v; want %s again", i.Status(), err, id)
	}
	other := open(t, filepath.Join(t.TempDir(), "hub.json"))
	if err := other.Join(t.Context(), h.invite(t, ca.TokenRequest{Gateway: id, Name: "cellar"}), h.dial); err != nil || other.Status().Gateway != id || other.Status().Name != "cellar" {
		t.Errorf("on a new disk: %+v, %v; want %s again", other.Status(), err, id)
	}
	if all, err := h.fleet.Sessions.Gateways(t.Context(), fleet.GatewayFilter{}, time.Now()); err != nil || len(all) != 1 {
		t.Errorf("%d gateways, %v; want one", len(all), err)
	}
}

// A session doesn't outlive its certificate.
func TestAnExpiredCertificateEndsItsSession(t *testing.T) {
	t.Parallel()
	h := startHub(t, t.TempDir())
	i, _ := h.joined(t)
	c := h.connected(t, i)
	conn, err := c.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	h.clock.set(31 * day)
	if _, err := lanfolkpb.NewControlClient(conn).Progress(t.Context(), &lanfolkpb.ProgressRequest{}); status.Code(err) != codes.Unauthenticated || !strings.Contains(err.Error(), "expired at") {
		t.Errorf("a call: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go h.revocations.Run(ctx)
	eventually(t, "the session ends", func() bool { return !c.State().Connected && len(h.Online()) == 0 })
}

func TestRevocationCutsALiveStream(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := startHub(t, dir)
	i, path := h.joined(t)
	id := i.Status().Gateway
	bystander, _ := h.joined(t)
	h.connected(t, bystander)
	c := h.connected(t, i)
	conn, err := c.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := h.revocations.Revoke(t.Context(), id, "uid:0", "sold"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the stream ends", func() bool { return !c.State().Connected })
	if took := time.Since(began); took > 10*time.Second { // a silent one would be missed after 23 s
		t.Errorf("the stream lived on for %s", took)
	}
	eventually(t, "the hub is told that it ended", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.ended) == 1 && strings.Contains(fmt.Sprint(h.ended[0]), "was revoked")
	})
	if _, ok := h.Session(bystander.Status().Gateway); !ok {
		t.Error("another gateway's session ended, too")
	}
	if err := i.Renew(t.Context(), conn); err == nil {
		t.Error("the certificate was renewed on the connection that stayed")
	}
	h.refused(t, tlsOf(t, i), "it was revoked")
	if err := h.revocations.Revoke(t.Context(), id, "uid:0", "again"); err != nil {
		t.Errorf("again: %v", err)
	}
	if err := h.revocations.Revoke(t.Context(), enrol.NewGateway(), "uid:0", ""); !errors.Is(err, fleet.ErrUnknown) {
		t.Errorf("one that nobody knows: %v", err)
	}
	if lines := strings.Join(h.audit(t), "\n"); !strings.Contains(lines, "uid:0|revoke|"+id+"||sold|\nuid:0|revoke|"+id+"||sold|ok") {
		t.Errorf("the audit holds\n%s", lines)
	}
	h.stop()
	h = startHub(t, dir)
	h.refused(t, tlsOf(t, i), "it was revoked")
	i = open(t, path)
	if err := i.Join(t.Context(), h.invite(t, ca.TokenRequest{}), h.dial); err != nil || i.Status().Gateway == id {
		t.Errorf("with a new token: %+v, %v; want a new id", i.Status(), err)
	}
	if err := h.greet(t, i); err != nil {
		t.Error(err)
	}
	if g, err := h.fleet.Sessions.Gateway(t.Context(), id, time.Now()); err != nil || g.Revoked.IsZero() {
		t.Errorf("the record is %+v, %v", g, err)
	}
}

// leaving is an audit after whose first entry the one who asked is gone.
type leaving struct {
	ca.Audit
	leave func()
}

func (l leaving) Append(ctx context.Context, entries ...fleet.Entry) (fleet.Head, error) {
	defer l.leave()
	return l.Audit.Append(ctx, entries...)
}

func TestARevocationIsWholeThoughNobodyWaits(t *testing.T) {
	t.Parallel()
	h := startHub(t, t.TempDir())
	i, _ := h.joined(t)
	id := i.Status().Gateway
	ctx, leave := context.WithCancel(t.Context())
	h.revocations.Audit = leaving{h.fleet.Audit, leave}
	if err := h.revocations.Revoke(ctx, id, "uid:0", "sold"); err != nil {
		t.Error(err)
	}
	if g, err := h.fleet.Sessions.Gateway(t.Context(), id, time.Now()); err != nil || g.Revoked.IsZero() {
		t.Errorf("the record is %+v, %v", g, err)
	}
	if lines := strings.Join(h.audit(t), "\n"); !strings.Contains(lines, "uid:0|revoke|"+id+"||sold|ok") {
		t.Errorf("the audit holds\n%s", lines)
	}
}

// The revocation is kept, and the hub died before the record said so.
func TestARevokedMachineJoinsAnewThoughItsRecordDoesNotSaySo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := startHub(t, dir)
	i, path := h.joined(t)
	id := i.Status().Gateway
	if err := h.fleet.Once.Revoke(t.Context(), fleet.Revocation{Subject: id, When: time.Now(), By: "uid:0"}); err != nil {
		t.Fatal(err)
	}
	h.stop()
	h = startHub(t, dir)
	i = open(t, path)
	if err := i.Join(t.Context(), h.invite(t, ca.TokenRequest{}), h.dial); err != nil || i.Status().Gateway == id {
		t.Fatalf("with a new token: %+v, %v; want a new id", i.Status(), err)
	}
	now := i.Status().Gateway
	if err := i.Join(t.Context(), h.invite(t, ca.TokenRequest{}), h.dial); err != nil || i.Status().Gateway != now {
		t.Errorf("and again: %+v, %v; want %s", i.Status(), err, now)
	}
	if g, err := h.fleet.Sessions.Gateway(t.Context(), id, time.Now()); err != nil || g.Revoked.IsZero() {
		t.Errorf("the record is %+v, %v", g, err)
	}
}

// A token that was used before the revocation brings nothing back.
func TestARevokedGatewaysTokenIsRefused(t *testing.T) {
	t.Parallel()
	h := startHub(t, t.TempDir())
	to := h.invite(t, ca.TokenRequest{})
	i := open(t, filepath.Join(t.TempDir(), "hub.json"))
	if err := i.Join(t.Context(), to, h.dial); err != nil {
		t.Fatal(err)
	}
	named := h.invite(t, ca.TokenRequest{Gateway: i.Status().Gateway})
	if err := h.revocations.Revoke(t.Context(), i.Status().Gateway, "uid:0", ""); err != nil {
		t.Fatal(err)
	}
	if err := i.Join(t.Context(), to, h.dial); !errors.Is(err, enrol.ErrRefused) || !strings.Contains(err.Error(), "was revoked") {
		t.Errorf("the token of before: %v", err)
	}
	if err := i.Join(t.Context(), named, h.dial); !errors.Is(err, enrol.ErrRefused) || !strings.Contains(err.Error(), "was revoked") {
		t.Errorf("a token that names it: %v", err)
	}
}

func TestACertificateOfAnotherHub(t *testing.T) {
	t.Parallel()
	h, other := startHub(t, t.TempDir()), startHub(t, t.TempDir())
	i, _ := h.joined(t)
	j, _ := other.joined(t)
	// A gateway of the one doesn't talk to the other.
	if err := other.greet(t, i); err == nil || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("the gateway: %v", err)
	}
	// And if it did, the other would not listen.
	config := tlsOf(t, j)
	config.GetClientCertificate = tlsOf(t, i).GetClientCertificate
	other.refused(t, config, "the hub doesn't know who signed the gateway's certificate")
	// Joining the other makes it one of the other's, with a key of its own.
	key := tlsLeaf(t, i).PublicKey.(*ecdsa.PublicKey)
	if err := i.Join(t.Context(), other.invite(t, ca.TokenRequest{}), other.dial); err != nil {
		t.Fatal(err)
	}
	if err := other.greet(t, i); err != nil || key.Equal(tlsLeaf(t, i).PublicKey) {
		t.Errorf("%v; want to be known, by another key", err)
	}
}

func TestARestartedHubIsKnown(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := startHub(t, dir)
	i, _ := h.joined(t)
	pin := h.authority.Pin()
	h.stop()
	h = startHub(t, dir)
	if err := h.greet(t, i); err != nil || h.authority.Pin() != pin {
		t.Errorf("%v; its pin is %s, was %s", err, h.authority.Pin(), pin)
	}
}

// sharedLog is a log of revocations in memory, as two hubs would share one.
type sharedLog struct {
	mu     sync.Mutex
	list   []fleet.Revocation
	broken error
}

func (l *sharedLog) Revoke(_ context.Context, r fleet.Revocation) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	r.Position = uint64(len(l.list) + 1)
	l.list = append(l.list, r)
	return nil
}

func (l *sharedLog) Revocations(_ context.Context, after uint64) ([]fleet.Revocation, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.list[after:], l.broken
}

// What another hub revokes is heard within seconds, and for a while whoever was just
// coming in is dropped again.
func TestRevocationsOfAnotherHub(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &sharedLog{}
		if err := log.Revoke(t.Context(), fleet.Revocation{Subject: "old"}); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		dropped := map[string]int{}
		times := func(gateway string) int {
			mu.Lock()
			defer mu.Unlock()
			return dropped[gateway]
		}
		r := &ca.Revocations{Kept: log, Drop: func(gateway string, why error) {
			if status.Code(why) != codes.PermissionDenied {
				t.Errorf("%s is dropped with %v", gateway, why)
			}
			mu.Lock()
			defer mu.Unlock()
			dropped[gateway]++
		}}
		if err := r.Load(t.Context()); err != nil || r.Check("old") == nil {
			t.Fatalf("loaded: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.Run(ctx) }()
		time.Sleep(time.Minute + time.Millisecond) // apart from its ticks
		if err := r.Check("g"); err != nil {
			t.Fatal(err)
		}
		log.mu.Lock()
		log.broken = errors.New("away")
		log.mu.Unlock()
		time.Sleep(time.Minute)
		log.mu.Lock()
		log.broken = nil
		log.mu.Unlock()
		if err := log.Revoke(t.Context(), fleet.Revocation{Subject: "g"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2*time.Second + time.Millisecond)
		synctest.Wait()
		if r.Check("g") == nil || times("g") != 1 {
			t.Errorf("after 2 s: %v, dropped %d times", r.Check("g"), times("g"))
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := times("g"); n < 10 || n > 16 || times("old") > 0 {
			t.Errorf("after an hour it was dropped %d times; the one of before %d times", n, times("old"))
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// signer is a hub that renews, in virtual time.
type signer struct {
	authority *ca.Authority

	mu    sync.Mutex
	calls []time.Time
	away  bool
}

func (s *signer) asked() []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

func (s *signer) set(away bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = away
}

// Invoke implements grpc.ClientConnInterface.
func (s *signer) Invoke(_ context.Context, _ string, args, reply any, _ ...grpc.CallOption) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, time.Now())
	if s.away {
		return status.Error(codes.Unavailable, "away")
	}
	csr, err := x509.ParseCertificateRequest(args.(*lanfolkpb.RenewRequest).GetCsr())
	if err != nil {
		return err
	}
	answer := reply.(*lanfolkpb.Enrolled)
	answer.Gateway, answer.Name = gatewayOfFile, "attic"
	cert, err := s.authority.Client(answer.GetGateway(), csr.PublicKey.(*ecdsa.PublicKey), time.Now())
	if err != nil {
		return err
	}
	answer.Chain = [][]byte{cert.Raw}
	answer.RenewAfter = time.Now().Add(20 * day).Unix()
	return nil
}

// NewStream implements grpc.ClientConnInterface.
func (s *signer) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, errors.New("no streams")
}

const gatewayOfFile = "gabcdefghijklmnop"

// A gateway renews when two thirds of its certificate's life are over, goes on trying
// while the hub is away, and then renews the next.
func TestTheRenewerInVirtualTime(t *testing.T) {
	dir := t.TempDir()
	authority, err := ca.Open(filepath.Join(dir, "authority.pem"))
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		path := filepath.Join(dir, "hub.json")
		writeIdentity(t, path, authority, begin)
		i := open(t, path)
		hub := &signer{authority: authority}
		var renewed atomic.Int64
		r := &enrol.Renewer{
			Identity: i, Conn: func(context.Context) (grpc.ClientConnInterface, error) { return hub, nil },
			Renewed: func() { renewed.Add(1) }, Chance: func() float64 { return 0 },
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.Run(ctx) }()

		time.Sleep(20*day - time.Second)
		synctest.Wait()
		if calls := hub.asked(); len(calls) > 0 {
			t.Errorf("it asked at %s", calls[0].Sub(begin))
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if calls := hub.asked(); len(calls) != 1 || calls[0].Sub(begin) != 20*day || renewed.Load() != 1 {
			t.Fatalf("it asked at %v, renewed %d times", calls, renewed.Load())
		}
		if got := open(t, path).Status(); !got.Expires.Equal(begin.Add(50*day)) || got.Gateway != gatewayOfFile {
			t.Errorf("the file has %+v", got)
		}

		hub.set(true)
		time.Sleep(23 * day) // until day 43, three of them due
		synctest.Wait()
		if n := len(hub.asked()); n < 15 || n > 60 || renewed.Load() != 1 {
			t.Errorf("in three days it asked %d times, renewed %d times", n-1, renewed.Load())
		}
		hub.set(false)
		time.Sleep(7 * time.Hour)
		synctest.Wait()
		if renewed.Load() != 2 || i.Status().Expires.Before(begin.Add(73*day)) {
			t.Errorf("when the hub was back it renewed %d times: %+v", renewed.Load()-1, i.Status())
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// What expired gets no connection until the gateway joined again, and what it got then
// isn't due.
func TestWhoJoinedAgainIsNotRenewed(t *testing.T) {
	dir := t.TempDir()
	authority, err := ca.Open(filepath.Join(dir, "authority.pem"))
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(dir, "hub.json")
		writeIdentity(t, path, authority, time.Now())
		i := open(t, path)
		hub, connected := &signer{authority: authority}, make(chan struct{})
		r := &enrol.Renewer{
			Identity: i, Chance: func() float64 { return 0 },
			Conn: func(ctx context.Context) (grpc.ClientConnInterface, error) {
				select {
				case <-connected:
					return hub, nil
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			},
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.Run(ctx) }()

		time.Sleep(40 * day)
		writeIdentity(t, path, authority, time.Now())
		if changed, err := i.Reload(); !changed || err != nil {
			t.Fatalf("reload: %v, %v", changed, err)
		}
		close(connected)
		time.Sleep(20*day - time.Second)
		synctest.Wait()
		if calls := hub.asked(); len(calls) > 0 {
			t.Errorf("it asked %s before it was due", time.Since(calls[0]))
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if calls := hub.asked(); len(calls) != 1 {
			t.Errorf("when it was due it asked %d times", len(calls))
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// Renewal by a real hub on the connection that the client has.
func TestTheRenewerOnTheClientsConnection(t *testing.T) {
	t.Parallel()
	h := startHub(t, t.TempDir(), func(h *hub) { h.clock.set(-25 * day) })
	path := filepath.Join(t.TempDir(), "hub.json")
	// The hub's clock is 25 days back, so that what it gives is due; a gateway whose
	// clock agreed would have got this by Join.
	writeIdentity(t, path, h.authority, h.clock.now())
	if _, err := h.fleet.Sessions.Enrol(t.Context(), fleet.Gateway{ID: gatewayOfFile, Name: "attic", Enrolled: h.clock.now()}); err != nil {
		t.Fatal(err)
	}
	h.clock.set(0)
	i := open(t, path)
	c := h.connected(t, i)
	renewed := make(chan struct{})
	r := &enrol.Renewer{Identity: i, Conn: c.Conn, Renewed: func() { close(renewed) }, Chance: func() float64 { return 0 }}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	select {
	case <-renewed:
	case <-time.After(time.Minute):
		t.Fatal("it wasn't renewed")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if left := time.Until(i.Status().Expires); left < 29*day {
		t.Errorf("it expires in %s", left)
	}
	if err := h.greet(t, i); err != nil {
		t.Error(err)
	}
}
