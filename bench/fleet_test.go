//go:build linux

package bench

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/internal/enrol"
	"github.com/lanfolk/lanfolk/internal/hub/ca"
	"github.com/lanfolk/lanfolk/reverse"
	"github.com/lanfolk/lanfolk/store"
	"github.com/lanfolk/lanfolk/store/fleet"
	"github.com/lanfolk/lanfolk/test/lab"
)

// fleetLarge is how long the large result is, and what a command asks for it with.
const (
	fleetLarge     = 1 << 30
	fleetLargeVerb = "get"
)

// A fleetBench is the whole program as a hub, in a process of its own, and gateways of
// package reverse in this one.
type fleetBench struct {
	b       *testing.B
	state   string
	address string
	hub     *exec.Cmd
	api     http.Client
	certs   []tls.Certificate
	pool    *x509.CertPool
	ids     []string
	clients []*reverse.Client
	stop    func()
}

// newFleetBench makes a hub's state folder with n enrolled gateways. They are put there
// by the packages with which the hub enrols; what that takes isn't measured.
func newFleetBench(b *testing.B, n int) *fleetBench {
	b.Helper()
	dir, err := os.MkdirTemp("", "lanfolk-fleet-") // short, for the socket's name
	if err != nil {
		b.Fatal(err)
	}
	f := &fleetBench{b: b, state: dir}
	b.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	f.address = l.Addr().String()
	l.Close()
	f.api.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(f.state, "hub.sock"))
	}, MaxIdleConnsPerHost: 8}
	// The hub makes the folder, and its authority.
	f.start()
	f.kill(syscall.SIGTERM)
	f.enrol(n)
	return f
}

func (f *fleetBench) enrol(n int) {
	b, ctx := f.b, context.Background()
	b.Helper()
	authority, err := ca.Open(filepath.Join(f.state, "hub", "ca.pem"))
	if err != nil {
		b.Fatal(err)
	}
	f.pool = x509.NewCertPool()
	f.pool.AddCert(authority.Certificate())
	db, err := store.Open(ctx, filepath.Join(f.state, "hub.db"), store.Options{Node: "hub"})
	if err != nil {
		b.Fatal(err)
	}
	kept, err := fleet.Open(ctx, db, fleet.Options{})
	if err != nil {
		b.Fatal(err)
	}
	var todo sync.WaitGroup
	f.certs, f.ids = make([]tls.Certificate, n), make([]string, n)
	next := make(chan int)
	for range 32 { // they share commits
		todo.Go(func() {
			for i := range next {
				key, now := newKey(b), time.Now()
				id := enrol.NewGateway()
				cert, err := authority.Client(id, &key.PublicKey, now)
				if err == nil {
					_, err = kept.Sessions.Enrol(ctx, fleet.Gateway{ID: id, Name: fmt.Sprintf("g%05d", i), Key: keyHash(b, key), Enrolled: now})
				}
				if err != nil {
					b.Error(err)
					continue
				}
				f.ids[i], f.certs[i] = id, tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	todo.Wait()
	if err := kept.Close(); err != nil {
		b.Fatal(err)
	}
	if err := db.Close(); err != nil {
		b.Fatal(err)
	}
	if b.Failed() {
		b.FailNow()
	}
}

func keyHash(b *testing.B, key *ecdsa.PrivateKey) [32]byte {
	b.Helper()
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		b.Fatal(err)
	}
	return sha256.Sum256(der)
}

// start starts the hub and waits until it is ready.
func (f *fleetBench) start() {
	b := f.b
	b.Helper()
	config := filepath.Join(f.state, "lanfolk.toml") // nothing of the machine's own
	if err := os.WriteFile(config, nil, 0o600); err != nil {
		b.Fatal(err)
	}
	f.hub = exec.Command(lab.Binary(b), "hub", "--state", f.state, "--config", config, "--grpc", f.address, "--listen", "127.0.0.1:0")
	f.hub.Stderr = os.Stderr
	f.hub.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := f.hub.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := f.hub.Start(); err != nil {
		b.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if line := lines.Text(); line == "ready" || strings.HasPrefix(line, "ready ") {
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return
		}
	}
	b.Fatal("the hub isn't ready")
}

func (f *fleetBench) kill(sig syscall.Signal) {
	f.b.Helper()
	if err := f.hub.Process.Signal(sig); err != nil {
		f.b.Fatal(err)
	}
	_ = f.hub.Wait()
}

// hubKB returns how much memory the hub has.
func (f *fleetBench) hubKB() int {
	f.b.Helper()
	kb, err := residentOf(f.hub.Process.Pid)
	if err != nil {
		f.b.Fatal(err)
	}
	return kb
}

func residentOf(pid int) (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		var kb int
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kb); err == nil {
			return kb, nil
		}
	}
	return 0, fmt.Errorf("no VmRSS of %d", pid)
}

// connect has the first n gateways connect, all at once, and returns when all listen.
func (f *fleetBench) connect(n int) time.Duration {
	f.b.Helper()
	small, large := answerOf(200), answerOf(fleetLarge)
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	f.stop = func() { cancel(); all.Wait() }
	began := time.Now()
	f.clients = nil
	for i := range n {
		c := &reverse.Client{
			TLS:     &tls.Config{Certificates: f.certs[i : i+1], RootCAs: f.pool, ServerName: enrol.HubName, MinVersion: tls.VersionTLS13},
			Handler: fleetGateway{benchGateway{small}, large},
			Dial: func(ctx context.Context) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "tcp", f.address)
			},
		}
		f.clients = append(f.clients, c)
		all.Go(func() { _ = c.Run(ctx) })
	}
	f.waitConnected(5 * time.Minute)
	return time.Since(began)
}

// waitConnected waits until all gateways say that they are connected.
func (f *fleetBench) waitConnected(d time.Duration) {
	f.b.Helper()
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		n := 0
		for _, c := range f.clients {
			if c.State().Connected {
				n++
			}
		}
		if n == len(f.clients) {
			return
		}
		if time.Since(began) > d {
			f.b.Fatalf("%d of %d gateways are connected after %v", n, len(f.clients), d)
		}
	}
}

// A fleetGateway answers status in short, and get at length.
type fleetGateway struct {
	benchGateway
	large func() *reverse.Outgoing
}

func (g fleetGateway) Run(ctx context.Context, id, line string, terms reverse.Terms) *reverse.Outgoing {
	if strings.HasPrefix(line, fleetLargeVerb) {
		return g.large()
	}
	return g.benchGateway.Run(ctx, id, line, terms)
}

// fleetCommand is what the bench reads of a command.
type fleetCommand struct {
	ID     string `json:"command_id"`
	Status string `json:"status"`
	Size   int64  `json:"size"`
	Error  string `json:"error"`
}

// ask calls the hub's API over its socket.
func (f *fleetBench) ask(method, path string, body, answer any) {
	b := f.b
	b.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		b.Fatal(err)
	}
	req, err := http.NewRequestWithContext(b.Context(), method, "http://lanfolk"+path, bytes.NewReader(text))
	if err != nil {
		b.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	r, err := f.api.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Body.Close()
	if r.StatusCode >= 300 {
		text, _ := io.ReadAll(io.LimitReader(r.Body, 2000))
		b.Fatalf("%s %s: %s: %s", method, path, r.Status, text)
	}
	if raw, ok := answer.(io.Writer); ok {
		_, err = io.Copy(raw, r.Body)
	} else {
		err = json.NewDecoder(r.Body).Decode(answer)
	}
	if err != nil {
		b.Fatal(err)
	}
}

// run runs a command on one gateway as a program would: it asks for it and reads its
// output, which ends when the command has.
func (f *fleetBench) run(gateway, line string) (bytes int64, took time.Duration) {
	f.b.Helper()
	began := time.Now()
	var made []fleetCommand
	f.ask(http.MethodPost, fleetAPI+"/commands", map[string]any{"line": line, "gateways": []string{gateway}}, &made)
	var n counter
	f.ask(http.MethodGet, fleetAPI+"/commands/"+made[0].ID+"/output?follow=1", nil, &n)
	return int64(n), time.Since(began)
}

// fleetAPI is where the API is.
const fleetAPI = "/api/v1"

// counter counts what is written to it.
type counter int64

func (c *counter) Write(b []byte) (int, error) { *c += counter(len(b)); return len(b), nil }

// status runs `lanfolk run --all status`, and returns how long that takes and how many
// gateways did not answer.
func (f *fleetBench) status() (took time.Duration, failed int) {
	f.b.Helper()
	began := time.Now()
	cmd := exec.Command(lab.Binary(f.b), "run", "--all", "-o", "jsonl", "--state", f.state, "--", "status")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		f.b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		f.b.Fatal(err)
	}
	ok := 0
	for d := json.NewDecoder(bufio.NewReader(out)); ; {
		var c fleetCommand
		if err := d.Decode(&c); err != nil {
			break
		}
		if c.Status == "ok" {
			ok++
		}
	}
	_ = cmd.Wait()
	return time.Since(began), len(f.clients) - ok
}

// BenchmarkFleet is the whole program as a hub: how long it takes until all gateways
// are connected by mTLS, what each costs the hub, how long a status of all of them
// takes, one command's round trip by the API while the others are idle, and how long it
// is until all are back after the hub was killed. The gateways and the hub share the
// machine. LANFOLK_BENCH_GATEWAYS says how many there are.
func BenchmarkFleet(b *testing.B) {
	n := 200
	if text := os.Getenv(gatewaysVariable); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		f := newFleetBench(b, n)
		f.start()
		before := f.hubKB()
		took := f.connect(n)
		time.Sleep(calm(n))
		idle := f.hubKB()
		all, failed := f.status()
		if failed > 0 {
			b.Errorf("%d of %d gateways gave no status", failed, n)
		}
		again, failed := f.status()
		if failed > 0 {
			b.Errorf("%d of %d gateways gave no status", failed, n)
		}
		after := f.hubKB()
		var trips []float64
		for range 500 {
			_, t := f.run(f.ids[0], "status")
			trips = append(trips, milliseconds(t))
		}
		slices.Sort(trips)

		f.kill(syscall.SIGKILL)
		time.Sleep(2 * time.Second) // so that all have seen it
		f.start()
		began := time.Now()
		f.waitConnected(5 * time.Minute)
		back := time.Since(began)
		if _, failed = f.status(); failed > 0 {
			b.Errorf("%d of %d gateways gave no status after the hub was killed", failed, n)
		}
		f.stop()
		f.kill(syscall.SIGTERM)

		b.ReportMetric(took.Seconds(), "s/connect")
		b.ReportMetric(float64(idle-before)/float64(n), "KB/gateway")
		b.ReportMetric(float64(after-before)/float64(n), "after-KB/gateway")
		b.ReportMetric(all.Seconds(), "s/status-all")
		b.ReportMetric(again.Seconds(), "s/status-all-again")
		b.ReportMetric(trips[len(trips)/2], "ms-p50")
		b.ReportMetric(trips[len(trips)*99/100], "ms-p99")
		b.ReportMetric(back.Seconds(), "s/back")
	}
}

// calm is how long the hub has until its memory is read: what the handshakes needed
// goes back to the system.
func calm(n int) time.Duration { return 2*time.Second + time.Duration(n)*3*time.Millisecond }

// BenchmarkFleetLarge brings a result of 1 GiB to the disk of a hub that is the whole
// program, and out again to who asked. Memory is the most that the hub had meanwhile,
// above what it had before.
func BenchmarkFleetLarge(b *testing.B) {
	f := newFleetBench(b, 1)
	f.start()
	f.connect(1)
	f.run(f.ids[0], "status")
	before := f.hubKB()
	var most atomic.Int64
	ended := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		for {
			select {
			case <-ended:
				return
			case <-time.After(20 * time.Millisecond):
				if kb, err := residentOf(f.hub.Process.Pid); err == nil {
					most.Store(max(most.Load(), int64(kb)))
				}
			}
		}
	})
	b.SetBytes(fleetLarge)
	for b.Loop() {
		if got, _ := f.run(f.ids[0], fleetLargeVerb+" large"); got != fleetLarge {
			b.Fatalf("%d bytes came", got)
		}
	}
	close(ended)
	watch.Wait()
	b.ReportMetric(float64(most.Load()-int64(before)), "KB-more")
	f.stop()
	f.kill(syscall.SIGTERM)
}
