//go:build linux

package bench

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/reverse"
	"github.com/lanfolk/lanfolk/reverse/lanfolkpb"
)

// gatewaysVariable says how many gateways connect; 1,000 if it isn't set.
const gatewaysVariable = "LANFOLK_BENCH_GATEWAYS"

// A reverseBench is a hub in a process of its own, and gateways in this one.
type reverseBench struct {
	b         *testing.B
	key       *ecdsa.PrivateKey
	authority *x509.Certificate
	to        io.Writer
	from      *json.Decoder
	address   string
	stop      []func()
}

func newReverseBench(b *testing.B, role string) *reverseBench {
	b.Helper()
	r := &reverseBench{b: b, key: newKey(b)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	r.authority = r.sign(template, template, &r.key.PublicKey)
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.CommandContext(b.Context(), self)
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	cmd.Stderr = os.Stderr
	to, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	from, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = to.Close()
		_ = cmd.Wait()
	})
	r.to, r.from = to, json.NewDecoder(bufio.NewReader(from))
	cert := r.leaf("hub", x509.ExtKeyUsageServerAuth)
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		b.Fatal(err)
	}
	if err := json.NewEncoder(to).Encode(reverseStart{Chain: cert.Certificate, Key: key, Authority: r.authority.Raw}); err != nil {
		b.Fatal(err)
	}
	r.address = r.ask("listen").Address
	return r
}

func newKey(b *testing.B) *ecdsa.PrivateKey {
	b.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	return key
}

func (r *reverseBench) sign(template, parent *x509.Certificate, key *ecdsa.PublicKey) *x509.Certificate {
	r.b.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key, r.key)
	if err != nil {
		r.b.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		r.b.Fatal(err)
	}
	return cert
}

func (r *reverseBench) leaf(name string, usage x509.ExtKeyUsage) tls.Certificate {
	r.b.Helper()
	key := newKey(r.b)
	cert := r.sign(&x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{"hub"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{usage},
	}, r.authority, &key.PublicKey)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
}

// ask has the hub obey a line.
func (r *reverseBench) ask(line string) (report reverseReport) {
	r.b.Helper()
	if _, err := fmt.Fprintln(r.to, line); err != nil {
		r.b.Fatal(err)
	}
	if err := r.from.Decode(&report); err != nil {
		r.b.Fatalf("%s: %v", line, err)
	}
	return report
}

// connect starts n gateways at once and returns when all are online. Their
// certificates are made before.
func (r *reverseBench) connect(n int, answer func() *reverse.Outgoing) time.Duration {
	r.b.Helper()
	configs := make([]*tls.Config, n)
	pool := x509.NewCertPool()
	pool.AddCert(r.authority)
	for i := range configs {
		configs[i] = &tls.Config{
			Certificates: []tls.Certificate{r.leaf(fmt.Sprintf("g%05d", i), x509.ExtKeyUsageClientAuth)},
			RootCAs:      pool, ServerName: "hub", MinVersion: tls.VersionTLS13,
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	r.stop = append(r.stop, func() { cancel(); all.Wait() })
	began := time.Now()
	for _, config := range configs {
		c := &reverse.Client{
			TLS: config, Handler: benchGateway{answer},
			Dial: func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "tcp", r.address) },
		}
		all.Go(func() { _ = c.Run(ctx) })
	}
	for r.ask("online").Online < n {
		if time.Since(began) > 5*time.Minute {
			r.b.Fatalf("%d of %d gateways are online", r.ask("online").Online, n)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return time.Since(began)
}

func (r *reverseBench) close() {
	for _, stop := range r.stop {
		stop()
	}
}

// A benchGateway answers each command alike.
type benchGateway struct{ answer func() *reverse.Outgoing }

func (benchGateway) Hello() *lanfolkpb.HelloRequest      { return &lanfolkpb.HelloRequest{Version: "bench"} }
func (benchGateway) Welcome(*lanfolkpb.Welcome)          {}
func (benchGateway) Accept(string, string) (bool, error) { return true, nil }
func (benchGateway) Delivered(string, error)             {}
func (g benchGateway) Run(context.Context, string, string, reverse.Terms) *reverse.Outgoing {
	return g.answer()
}

// answerOf returns answers that hold size bytes.
func answerOf(size int64) func() *reverse.Outgoing {
	content := zeros(size)
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(content, 0, size)); err != nil {
		panic(err)
	}
	end := reverse.End{Status: reverse.StatusOK, SHA256: [32]byte(sum.Sum(nil)), Total: uint64(size)}
	return func() *reverse.Outgoing {
		return &reverse.Outgoing{Type: reverse.TypeResult, Content: content, End: func() reverse.End { return end }, Fresh: true}
	}
}

// zeros is so many bytes.
type zeros int64

func (z zeros) ReadAt(p []byte, at int64) (int, error) {
	left := int64(z) - at
	if int64(len(p)) < left {
		return len(p), nil
	}
	return int(left), io.EOF
}

// BenchmarkReverse connects gateways over mTLS on loopback, all at once, and says
// how long that took, what each of them costs the hub, how long a command to all
// takes, and one to one of them while the rest is idle. The gateways and the hub
// share the machine.
func BenchmarkReverse(b *testing.B) {
	benchmarkGateways(b, "reverse-hub")
}

// benchmarkGateways does what BenchmarkReverse and BenchmarkDeliver say.
func benchmarkGateways(b *testing.B, role string) {
	n := 1000
	if text := os.Getenv(gatewaysVariable); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			b.Fatal(err)
		}
	}
	profile := os.Getenv("LANFOLK_BENCH_PROFILE") // a path: all.prof and so on are put behind it
	profiled := func(r *reverseBench, what string, do func()) {
		if profile == "" {
			do()
			return
		}
		r.ask("profile " + profile + what)
		do()
		r.ask("profile")
	}
	for b.Loop() {
		r := newReverseBench(b, role)
		r.ask(fmt.Sprint("enrol ", n))
		before := r.ask("memory")
		var took time.Duration
		profiled(r, "connect.prof", func() { took = r.connect(n, answerOf(200)) })
		time.Sleep(time.Second)
		idle := r.ask("memory")
		var all reverseReport
		profiled(r, "all.prof", func() { all = r.ask("all") })
		if all.Failures > 0 {
			b.Errorf("%d of %d commands failed", all.Failures, n)
		}
		after := r.ask("memory")
		var one []float64
		profiled(r, "one.prof", func() { one = r.ask("times 2000 g00000").Each })
		r.close()
		each := func(kb int) float64 { return float64(kb) / float64(n) }
		b.ReportMetric(took.Seconds(), "s/connect")
		b.ReportMetric(each(idle.RSS-before.RSS), "KB/gateway")
		b.ReportMetric(each(idle.Heap-before.Heap), "heap-KB/gateway")
		b.ReportMetric(each(idle.Live-before.Live), "live-KB/gateway")
		b.ReportMetric(each(after.Live-before.Live), "live-after-KB/gateway")
		b.ReportMetric(each(idle.Stacks-before.Stacks), "stack-KB/gateway")
		b.ReportMetric(each(after.RSS-before.RSS), "after-KB/gateway")
		b.ReportMetric(all.Took/1000, "s/all")
		b.ReportMetric(one[len(one)/2], "ms-p50")
		b.ReportMetric(one[len(one)*99/100], "ms-p99")
	}
}

// BenchmarkReverseLarge brings up a result of 1 GiB. Its floor is TLS on loopback:
// see BenchmarkReverseFloor.
func BenchmarkReverseLarge(b *testing.B) { benchmarkLarge(b, "reverse-hub") }

func benchmarkLarge(b *testing.B, role string) {
	const size = 1 << 30
	r := newReverseBench(b, role)
	defer r.close()
	r.ask("enrol 1")
	r.connect(1, answerOf(size))
	before := r.ask("memory")
	b.SetBytes(size)
	for b.Loop() {
		if got := r.ask("one g00000").Bytes; got != size {
			b.Fatalf("%d bytes came", got)
		}
	}
	b.ReportMetric(float64(r.ask("memory").RSS-before.RSS), "KB-more")
}
