package ca_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lanfolk/lanfolk/internal/enrol"
	"github.com/lanfolk/lanfolk/internal/enrol/invitation"
	"github.com/lanfolk/lanfolk/internal/hub/ca"
	"github.com/lanfolk/lanfolk/reverse/lanfolkpb"
	"github.com/lanfolk/lanfolk/store/fleet"
)

// csr makes a request with names that nobody asked for.
func csr(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	b, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject:  pkix.Name{CommonName: "gaaaaaaaaaaaaaaaa", Organization: []string{"admin"}},
		DNSNames: []string{enrol.HubName}, IPAddresses: []net.IP{net.IPv4(192, 0, 2, 7)},
	}, key)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestJoin(t *testing.T) {
	t.Parallel()
	h := startHub(t, t.TempDir())
	i, path := h.joined(t)
	s := i.Status()
	if enrol.CheckGateway(s.Gateway) != nil || s.Name != "attic" || s.Pin != h.authority.Pin() || len(s.Hubs) != 1 || s.Hubs[0] != address {
		t.Errorf("%+v", s)
	}
	if life := s.Expires.Sub(s.Since); life != ca.ClientLife+ca.Backdate {
		t.Errorf("the certificate lasts %s", life)
	}
	if wait := time.Until(s.RenewAfter); wait < 20*24*time.Hour-time.Minute || wait > 20*24*time.Hour {
		t.Errorf("it is to be renewed in %s; want 20 days", wait)
	}
	if err := h.greet(t, i); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v; want mode 0600", info, err)
	}
	if again := open(t, path); fmt.Sprint(again.Status()) != fmt.Sprint(s) {
		t.Errorf("opened again it is %+v; want %+v", again.Status(), s)
	}
	g, err := h.fleet.Sessions.Gateway(t.Context(), s.Gateway, time.Now())
	if err != nil || g.Name != "attic" || g.Enrolled.IsZero() || g.Key == [32]byte{} {
		t.Errorf("the record is %+v, %v", g, err)
	}
	leaf := tlsLeaf(t, i)
	detail := fmt.Sprintf(`from bufconn, key [0-9a-f]{16}, serial %x, until %s`, leaf.SerialNumber.Bytes(), leaf.NotAfter.UTC().Format(time.RFC3339))
	want := regexp.MustCompile(`^uid:0\|token.create\|\|(t[a-z0-9]{12})\|name "attic", until [^|]+\|
uid:0\|token.create\|\|t[a-z0-9]{12}\|name "attic", until [^|]+\|ok
gateway\|enrol\|` + s.Gateway + `\|t[a-z0-9]{12}\|` + detail + `\|
gateway\|enrol\|` + s.Gateway + `\|t[a-z0-9]{12}\|` + detail + `\|ok$`)
	if got := strings.Join(h.audit(t), "\n"); !want.MatchString(got) {
		t.Errorf("the audit holds\n%s\nwant\n%s", got, want)
	}
}

func tlsLeaf(t testing.TB, i *enrol.Identity) *x509.Certificate {
	t.Helper()
	cert, err := tlsOf(t, i).GetClientCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	return cert.Leaf
}

// Of what a gateway asks for only the key counts.
func TestNamesInTheRequestDoNotMatter(t *testing.T) {
	t.Parallel()
	h := startHub(t, t.TempDir())
	key := newKey(t)
	answer, err := h.stranger(t).Enrol(t.Context(), &lanfolkpb.EnrolRequest{Secret: h.invite(t, ca.TokenRequest{}).Secret, Csr: csr(t, key)})
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(answer.GetChain()[0])
	if err != nil {
		t.Fatal(err)
	}
	if cert.Subject.String() != "CN="+answer.GetGateway() || answer.GetGateway() == "gaaaaaaaaaaaaaaaa" ||
		len(cert.DNSNames)+len(cert.IPAddresses)+len(cert.EmailAddresses) > 0 || !key.PublicKey.Equal(cert.PublicKey) {
		t.Errorf("%s gets %s, %v, %v", answer.GetGateway(), cert.Subject, cert.DNSNames, cert.IPAddresses)
	}
}

// A recorder is a server that somebody else runs in the hub's place. It completes the
// handshake if the client lets it, and keeps what comes.
type recorder struct {
	config *tls.Config
	hears  func() // is called at each word, if it isn't nil

	mu    sync.Mutex
	wire  []byte // as it came
	plain []byte // decrypted
	done  sync.WaitGroup
}

func (r *recorder) dial(context.Context, string) (net.Conn, error) {
	client, server := net.Pipe()
	r.done.Go(func() {
		defer server.Close()
		conn := tls.Server(&tapped{server, r}, r.config)
		if conn.Handshake() != nil {
			return
		}
		b := make([]byte, 64<<10)
		for {
			n, err := conn.Read(b)
			r.mu.Lock()
			r.plain = append(r.plain, b[:n]...)
			r.mu.Unlock()
			if n > 0 && r.hears != nil {
				r.hears()
			}
			if err != nil {
				return
			}
		}
	})
	return client, nil
}

type tapped struct {
	net.Conn
	r *recorder
}

func (c *tapped) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.r.mu.Lock()
	defer c.r.mu.Unlock()
	c.r.wire = append(c.r.wire, b[:n]...)
	return n, err
}

// Whoever isn't the pinned hub learns nothing, whatever it shows.
func TestNothingIsToldToAnotherHub(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	authority := func(name string) (*ca.Authority, crypto.Signer) {
		path := filepath.Join(dir, name)
		a, err := ca.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		pair, err := tls.X509KeyPair(b, b)
		if err != nil {
			t.Fatal(err)
		}
		return a, pair.PrivateKey.(crypto.Signer)
	}
	hub, _ := authority("hub")
	other, otherKey := authority("other")
	key := newKey(t)
	now := time.Now()
	server := func(a *ca.Authority, now time.Time) []byte {
		cert, err := a.Server(nil, &key.PublicKey, now)
		if err != nil {
			t.Fatal(err)
		}
		return cert.Raw
	}
	gateway, err := hub.Client(enrol.NewGateway(), &key.PublicKey, now)
	if err != nil {
		t.Fatal(err)
	}
	// A certificate that says the pinned key is an authority, signed by the other one:
	// nobody has to ask the owner of a key for that.
	forged, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: other.Certificate().Subject, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, other.Certificate(), hub.Certificate().PublicKey, otherKey)
	if err != nil {
		t.Fatal(err)
	}
	self := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), DNSNames: []string{enrol.HubName}}
	alone, err := x509.CreateCertificate(rand.Reader, self, self, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		chain [][]byte
		want  string
	}{
		{"another hub", [][]byte{server(other, now), other.Certificate().Raw}, enrol.ErrPin.Error()},
		{"one that shows the hub's authority beside its own", [][]byte{server(other, now), other.Certificate().Raw, hub.Certificate().Raw}, enrol.ErrPin.Error()},
		{"one that shows the hub's authority", [][]byte{server(other, now), hub.Certificate().Raw}, enrol.ErrPin.Error()},
		{"one that made a certificate for the authority's key", [][]byte{server(other, now), forged, other.Certificate().Raw}, enrol.ErrPin.Error()},
		{"a gateway of the hub's", [][]byte{gateway.Raw, hub.Certificate().Raw}, enrol.ErrPin.Error()},
		{"a certificate of its own", [][]byte{alone}, enrol.ErrPin.Error()},
		{"the hub of long ago", [][]byte{server(hub, now.Add(-100*24*time.Hour)), hub.Certificate().Raw}, "is this machine's clock right?"},
		{"the hub of days to come", [][]byte{server(hub, now.Add(3*time.Hour)), hub.Certificate().Raw}, "is this machine's clock right?"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &recorder{config: &tls.Config{NextProtos: []string{"h2"}, Certificates: []tls.Certificate{{Certificate: c.chain, PrivateKey: key}}}}
			i := open(t, filepath.Join(t.TempDir(), "hub.json"))
			to := invitation.Invitation{Addresses: []string{address}, Secret: strings.Repeat("secret", 5), Pin: hub.Pin()}
			err := i.Join(t.Context(), to, r.dial)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v; want %q", err, c.want)
			}
			if pinned := c.want == enrol.ErrPin.Error(); errors.Is(err, enrol.ErrPin) != pinned || errors.Is(err, enrol.ErrRefused) {
				t.Errorf("%v: ErrPin %v, ErrRefused %v", err, errors.Is(err, enrol.ErrPin), errors.Is(err, enrol.ErrRefused))
			}
			r.done.Wait()
			if len(r.plain) > 0 || bytes.Contains(r.wire, []byte("secret")) {
				t.Errorf("it was told %q", r.plain)
			}
			if len(r.wire) == 0 || len(r.wire) > 4<<10 {
				t.Errorf("%d bytes came; want a ClientHello and an alert", len(r.wire))
			}
			if s := i.Status(); s.Gateway != "" {
				t.Errorf("the gateway joined: %+v", s)
			}
		})
	}
	// The check above sees what is told.
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r := &recorder{hears: cancel, config: &tls.Config{NextProtos: []string{"h2"}, Certificates: []tls.Certificate{{Certificate: [][]byte{server(hub, now), hub.Certificate().Raw}, PrivateKey: key}}}}
	i := open(t, filepath.Join(t.TempDir(), "hub.json"))
	if err := i.Join(ctx, invitation.Invitation{Addresses: []string{address}, Secret: strings.Repeat("secret", 5), Pin: hub.Pin()}, r.dial); err == nil {
		t.Error("a server that says nothing enrols")
	}
	r.done.Wait()
	if len(r.plain) == 0 {
		t.Error("the recorder hears nothing from who trusts it")
	}
}

// TLS 1.2 is refused.
func TestOldTLSIsRefused(t *testing.T) {
	t.Parallel()
	h := startHub(t, t.TempDir())
	conn, err := h.dial(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	old := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12})
	if err := old.HandshakeContext(t.Context()); err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Errorf("TLS 1.2: %v", err)
	}
}

func TestTheNextAddressIsTried(t *testing.T) {
	t.Parallel()
	h := startHub(t, t.TempDir())
	to := h.invite(t, ca.TokenRequest{Addresses: []string{"gone.example.org:1", "hub.example.org:7443"}})
	dial := func(ctx context.Context, at string) (net.Conn, error) {
		if strings.HasPrefix(at, "gone") {
			return nil, errors.New("no route to host")
		}
		return h.dial(ctx, at)
	}
	i := open(t, filepath.Join(t.TempDir(), "hub.json"))
	if err := i.Join(t.Context(), to, dial); err != nil {
		t.Error(err)
	}
	to.Addresses = nil
	if err := i.Join(t.Context(), to, dial); err == nil || !strings.Contains(err.Error(), "no address") {
		t.Errorf("without an address: %v", err)
	}
}

func TestTokensThatAreRefused(t *testing.T) {
	t.Parallel()
	h := startHub(t, t.TempDir())
	fresh := func() *enrol.Identity { return open(t, filepath.Join(t.TempDir(), "hub.json")) }
	refused := func(name string, to invitation.Invitation, want string) {
		t.Helper()
		i := fresh()
		err := i.Join(t.Context(), to, h.dial)
		if !errors.Is(err, enrol.ErrRefused) || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%s: %v; want %q", name, err, want)
		}
		if i.Status().Gateway != "" {
			t.Errorf("%s: it joined", name)
		}
		lines := h.audit(t)
		if last := lines[len(lines)-1]; !strings.Contains(last, "refused: ") || !strings.Contains(last, want) {
			t.Errorf("%s: the audit ends with %s", name, last)
		}
	}
	used := h.invite(t, ca.TokenRequest{})
	if err := fresh().Join(t.Context(), used, h.dial); err != nil {
		t.Fatal(err)
	}
	refused("a second machine", used, "the token was used by another machine")
	unknown := used
	unknown.Secret = strings.Repeat("A", 26)
	refused("a token that nobody made", unknown, "the hub doesn't know this token")
	short := h.invite(t, ca.TokenRequest{TTL: time.Minute})
	h.clock.set(61 * time.Second)
	refused("an expired token", short, "the token expired; ask for a new one")
	h.clock.set(0)
	if err := fresh().Join(t.Context(), short, h.dial); err != nil {
		t.Errorf("before it expired: %v", err)
	}
}

func TestGuessesAreLimited(t *testing.T) {
	t.Parallel()
	h := startHub(t, t.TempDir())
	h.clock.stop()
	key := newKey(t)
	c := h.stranger(t)
	guess := func() error {
		_, err := c.Enrol(t.Context(), &lanfolkpb.EnrolRequest{Secret: rand.Text(), Csr: csr(t, key)})
		return err
	}
	for n := range 10 {
		if err := guess(); status.Code(err) != codes.PermissionDenied {
			t.Fatalf("guess %d: %v", n+1, err)
		}
	}
	if err := guess(); status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "too many attempts from bufconn; try again in ") {
		t.Errorf("guess 11: %v", err)
	}
	to := h.invite(t, ca.TokenRequest{})
	i := open(t, filepath.Join(t.TempDir(), "hub.json"))
	if err := i.Join(t.Context(), to, h.dial); err == nil || errors.Is(err, enrol.ErrRefused) || !strings.Contains(err.Error(), "try again") {
		t.Errorf("a good token behind the same address: %v; want to be told to try again", err)
	}
	h.clock.set(time.Minute)
	if err := i.Join(t.Context(), to, h.dial); err != nil {
		t.Errorf("a minute later: %v", err)
	}
	// What is welcome doesn't count.
	for range 12 {
		if err := i.Join(t.Context(), to, h.dial); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRequestsThatAreNone(t *testing.T) {
	t.Parallel()
	h := startHub(t, t.TempDir())
	secret := h.invite(t, ca.TokenRequest{}).Secret
	good := csr(t, newKey(t))
	broken := bytes.Clone(good)
	broken[len(broken)-1] ^= 1
	short, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	wide, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := h.stranger(t)
	for _, r := range []struct {
		name, secret string
		csr          []byte
		want         string
	}{
		{"no request", secret, nil, "the request can't be read"},
		{"junk", secret, []byte("junk"), "the request can't be read"},
		{"more behind it", secret, append(bytes.Clone(good), 0), "the request can't be read"},
		{"another's signature", secret, broken, "the request's signature is wrong"},
		{"an RSA key", secret, csr(t, short), "want ECDSA on P-256"},
		{"another curve", secret, csr(t, wide), "want ECDSA on P-256"},
		{"too long", secret, bytes.Repeat(good, 100), "at most 8192"},
		{"no secret", "", good, "the secret has 0 bytes"},
		{"a long secret", strings.Repeat("a", 129), good, "the secret has 129 bytes"},
	} {
		_, err := c.Enrol(t.Context(), &lanfolkpb.EnrolRequest{Secret: r.secret, Csr: r.csr})
		if status.Code(err) != codes.InvalidArgument || !strings.Contains(fmt.Sprint(err), r.want) {
			t.Errorf("%s: %v; want %q", r.name, err, r.want)
		}
	}
	if _, err := c.Renew(t.Context(), &lanfolkpb.RenewRequest{Csr: good}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("renewal without a certificate: %v", err)
	}
	if _, err := c.Enrol(t.Context(), &lanfolkpb.EnrolRequest{Secret: secret, Csr: good}); err != nil {
		t.Errorf("after all that the token should be unused: %v", err)
	}
}

// A lost answer strands nobody: not the gateway that asks again, not one that was
// restarted in between, and not when the hub died on the way.
func TestALostAnswerIsGivenAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := startHub(t, dir)
	path := filepath.Join(t.TempDir(), "hub.json")
	to := h.invite(t, ca.TokenRequest{Name: "attic"})
	h.lost = 2
	for n := range 2 {
		i := open(t, path)
		if err := i.Join(t.Context(), to, h.dial); err == nil || errors.Is(err, enrol.ErrRefused) || !strings.Contains(err.Error(), "try again") {
			t.Fatalf("lost answer %d: %v", n+1, err)
		}
		if i.Status().Gateway != "" {
			t.Fatal("it joined without an answer")
		}
	}
	h.stop()
	h = startHub(t, dir)
	i := open(t, path)
	if err := i.Join(t.Context(), to, h.dial); err != nil {
		t.Fatal(err)
	}
	first := tlsLeaf(t, i).SerialNumber
	if err := i.Join(t.Context(), to, h.dial); err != nil || tlsLeaf(t, i).SerialNumber.Cmp(first) != 0 {
		t.Errorf("%v; want the same certificate", err)
	}
	all, err := h.fleet.Sessions.Gateways(t.Context(), fleet.GatewayFilter{}, time.Now())
	if err != nil || len(all) != 1 || all[0].ID != i.Status().Gateway {
		t.Errorf("the hub has %+v, %v; want one gateway", all, err)
	}
	if n := strings.Count(strings.Join(h.audit(t), "\n"), fmt.Sprintf("serial %x", first.Bytes())); n < 5 {
		t.Errorf("the audit tells of the certificate %d times", n)
	}
}

// failing are records that can't be written once.
type failing struct {
	ca.Gateways
	left int
}

func (f *failing) Enrol(ctx context.Context, g fleet.Gateway) (fleet.Gateway, error) {
	if f.left > 0 {
		f.left--
		return fleet.Gateway{}, errors.New("disk full")
	}
	return f.Gateways.Enrol(ctx, g)
}

func TestAHubThatDiesBetweenTokenAndRecord(t *testing.T) {
	t.Parallel()
	h := startHub(t, t.TempDir(), func(h *hub) { h.registrar.Gateways = &failing{h.fleet.Sessions, 1} })
	i := open(t, filepath.Join(t.TempDir(), "hub.json"))
	to := h.invite(t, ca.TokenRequest{Name: "attic"})
	if err := i.Join(t.Context(), to, h.dial); err == nil || errors.Is(err, enrol.ErrRefused) || strings.Contains(err.Error(), "disk full") {
		t.Errorf("%v; want to be told to try again, and no more", err)
	}
	if err := i.Join(t.Context(), to, h.dial); err != nil {
		t.Fatal(err)
	}
	if g, err := h.fleet.Sessions.Gateway(t.Context(), i.Status().Gateway, time.Now()); err != nil || g.Name != "attic" {
		t.Errorf("the record is %+v, %v", g, err)
	}
}

// deaf is an audit that can't be written.
type deaf struct{}

func (deaf) Append(context.Context, ...fleet.Entry) (fleet.Head, error) {
	return fleet.Head{}, errors.New("no space left")
}

func TestNothingIsGivenThatTheAuditDoesNotHold(t *testing.T) {
	t.Parallel()
	h := startHub(t, t.TempDir())
	i, _ := h.joined(t)
	to := h.invite(t, ca.TokenRequest{})
	h.registrar.Audit = deaf{}
	other := open(t, filepath.Join(t.TempDir(), "hub.json"))
	if err := other.Join(t.Context(), to, h.dial); err == nil || errors.Is(err, enrol.ErrRefused) {
		t.Errorf("join: %v", err)
	}
	if tokens, err := h.fleet.Once.Tokens(t.Context()); err != nil || !tokens[0].Used.IsZero() && !tokens[1].Used.IsZero() {
		t.Errorf("the token was used: %+v, %v", tokens, err)
	}
	before := tlsLeaf(t, i)
	if err := i.Renew(t.Context(), h.conn(t, tlsOf(t, i))); err == nil || tlsLeaf(t, i) != before {
		t.Errorf("renew: %v", err)
	}
	if _, _, err := h.registrar.Invite(t.Context(), ca.TokenRequest{}); err == nil {
		t.Error("a token was made")
	}
	if tokens, err := h.fleet.Once.Tokens(t.Context()); err != nil || len(tokens) != 2 {
		t.Errorf("%d tokens, %v; want 2", len(tokens), err)
	}
}

// One key that asks many times at once gets one certificate, many keys get one, too.
func TestATokenIsUsedOnce(t *testing.T) {
	t.Parallel()
	h := startHub(t, t.TempDir())
	to := h.invite(t, ca.TokenRequest{})
	keys := []*ecdsa.PrivateKey{newKey(t), newKey(t)}
	type result struct {
		key    int
		answer [32]byte
		err    error
	}
	results := make([]result, 8)
	var all sync.WaitGroup
	for n := range results {
		c := h.stranger(t)
		all.Go(func() {
			answer, err := c.Enrol(context.Background(), &lanfolkpb.EnrolRequest{Secret: to.Secret, Csr: csr(t, keys[n%2])})
			results[n] = result{key: n % 2, err: err}
			if err == nil {
				results[n].answer = sha256.Sum256(answer.GetChain()[0])
			}
		})
	}
	all.Wait()
	winner := -1
	var cert [32]byte
	for _, r := range results {
		if r.err == nil {
			if winner >= 0 && (winner != r.key || cert != r.answer) {
				t.Error("the token gave two certificates")
			}
			winner, cert = r.key, r.answer
		}
	}
	if winner < 0 {
		t.Fatal("nobody got a certificate")
	}
	for _, r := range results {
		if r.key == winner && r.err != nil || r.key != winner && status.Code(r.err) != codes.PermissionDenied {
			t.Errorf("key %d: %v; key %d was first", r.key, r.err, winner)
		}
	}
	if all, err := h.fleet.Sessions.Gateways(t.Context(), fleet.GatewayFilter{}, time.Now()); err != nil || len(all) != 1 {
		t.Errorf("%d gateways, %v; want one", len(all), err)
	}
}

func TestTokensThatAreNotMade(t *testing.T) {
	t.Parallel()
	h := startHub(t, t.TempDir())
	i, _ := h.joined(t)
	if err := h.revocations.Revoke(t.Context(), i.Status().Gateway, "uid:0", "sold"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		q    ca.TokenRequest
		want string
	}{
		{"for too long", ca.TokenRequest{TTL: 8 * 24 * time.Hour}, "it would last 192h0m0s; want up to 168h0m0s"},
		{"for less than nothing", ca.TokenRequest{TTL: -1}, "want up to"},
		{"with a line break", ca.TokenRequest{Name: "a\nb"}, "that can be printed"},
		{"with a long name", ca.TokenRequest{Name: strings.Repeat("a", 65)}, "at most 64 bytes"},
		{"for a gateway that isn't there", ca.TokenRequest{Gateway: enrol.NewGateway()}, "unknown"},
		{"for one that was revoked", ca.TokenRequest{Gateway: i.Status().Gateway}, "was revoked; it comes back under a new id only"},
		{"without a port", ca.TokenRequest{Addresses: []string{"hub"}}, "want HOST:PORT"},
	} {
		if text, _, err := h.registrar.Invite(t.Context(), c.q); text != "" || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %q", c.name, err, c.want)
		}
	}
}

// `lanfolk join` runs beside a node that has the same file open: the node hears of
// it, and neither writes over what the other has got.
func TestTwoProcessesWithOneFile(t *testing.T) {
	t.Parallel()
	h, other := startHub(t, t.TempDir()), startHub(t, t.TempDir())
	node, path := h.joined(t)
	client := h.connected(t, node)
	command := open(t, path)
	if changed, err := node.Reload(); changed || err != nil {
		t.Errorf("nothing changed, and it says %v, %v", changed, err)
	}
	if err := command.Join(t.Context(), other.invite(t, ca.TokenRequest{Name: "attic"}), other.dial); err != nil {
		t.Fatal(err)
	}
	conn, err := client.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := node.Renew(t.Context(), conn); err == nil || !strings.Contains(err.Error(), "has joined another hub meanwhile") {
		t.Errorf("a renewal at the earlier hub: %v", err)
	}
	if got := open(t, path).Status(); got.Pin != other.authority.Pin() {
		t.Errorf("the file has the hub with pin %s", got.Pin)
	}
	if s := node.Status(); s.Pin != other.authority.Pin() {
		t.Errorf("the node has the hub with pin %s", s.Pin)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	config := tlsOf(t, node)
	if changed, err := node.Reload(); !changed || err != nil || node.Status().Gateway != "" {
		t.Errorf("without a file it says %v, %v, and is %+v", changed, err, node.Status())
	}
	if _, err := config.GetClientCertificate(nil); !errors.Is(err, enrol.ErrNotEnrolled) {
		t.Errorf("a handshake without a file: %v", err)
	}

	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := syscall.Flock(int(dir.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := node.Join(ctx, h.invite(t, ca.TokenRequest{}), h.dial); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "another process") {
		t.Errorf("while another process joins: %v", err)
	}
}
