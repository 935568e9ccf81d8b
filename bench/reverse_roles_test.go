//go:build linux

package bench

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lanfolk/lanfolk/reverse"
	"github.com/lanfolk/lanfolk/reverse/lanfolkpb"
)

// reverseStart is the first line that the role reverse-hub reads.
type reverseStart struct {
	Chain     [][]byte // its certificate, DER
	Key       []byte   // PKCS #8
	Authority []byte   // DER
}

// reverseReport is what the role reverse-hub prints for each line after that.
type reverseReport struct {
	Address  string    // on "listen"
	Online   int       // on "online"
	RSS      int       // KB, on "memory": after a garbage collection
	Heap     int       // KB, with what lies between
	Live     int       // KB of it that are in use
	Stacks   int       // KB
	Took     float64   // ms, on "all" and "one ID": until all results were there
	Each     []float64 // ms, on "times N ID": of one command after another
	Bytes    uint64    // that results had
	Failures int
}

// A benchHub keeps nothing of what comes.
type benchHub struct {
	reverse.Server
	ids   reverse.IDs
	epoch atomic.Uint64
	mu    sync.Mutex
	wait  map[string]chan uint64 // by command: how long its result was
}

func (h *benchHub) Begin(context.Context, reverse.Peer) (uint64, error) { return h.epoch.Add(1), nil }
func (h *benchHub) End(reverse.Session, error)                          {}

func (h *benchHub) Hello(context.Context, reverse.Peer, *lanfolkpb.HelloRequest) (*lanfolkpb.Welcome, error) {
	return &lanfolkpb.Welcome{}, nil
}

func (h *benchHub) Follow(ctx context.Context, _ reverse.Peer, _ string, send func(*lanfolkpb.Terms) error) error {
	if err := send(&lanfolkpb.Terms{Timeout: 60_000}); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

func (h *benchHub) Open(_ context.Context, _ reverse.Peer, command string) (reverse.Result, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	done := h.wait[command]
	if done == nil {
		return nil, reverse.ErrUnknown
	}
	delete(h.wait, command)
	return &benchResult{done: done}, nil
}

type benchResult struct {
	done  chan uint64
	bytes uint64
}

func (*benchResult) Held() (uint64, io.ReadCloser, error) { return 0, nil, nil }
func (*benchResult) Limit() uint64                        { return 0 }
func (*benchResult) Abort(error)                          {}
func (*benchResult) Close() error                         { return nil }

func (r *benchResult) Write(_ context.Context, _ reverse.Meta, data []byte) error {
	r.bytes += uint64(len(data))
	return nil
}

func (r *benchResult) Finish(context.Context, reverse.Type, reverse.Meta) error {
	r.done <- r.bytes
	return nil
}

func (h *benchHub) enrol(int) error { return nil }

// run sends a command and waits for its result.
func (h *benchHub) run(gateway string) (bytes uint64, took time.Duration, err error) {
	id, err := h.ids.Next(time.Now())
	if err != nil {
		return 0, 0, err
	}
	done := make(chan uint64, 1)
	h.mu.Lock()
	h.wait[id] = done
	h.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	began := time.Now()
	if err := h.Send(ctx, gateway, reverse.Command{ID: id, Line: "status"}); err != nil {
		return 0, 0, err
	}
	select {
	case bytes = <-done:
		return bytes, time.Since(began), nil
	case <-ctx.Done():
		return 0, 0, errors.New("no result")
	}
}

// roleReverseHub is a hub that keeps nothing and obeys the lines on its standard
// input.
func roleReverseHub([]string) error {
	h := &benchHub{wait: map[string]chan uint64{}, ids: reverse.IDs{Random: rand.Reader}}
	h.Sessions, h.Control, h.Results = h, h, h
	return serveBench(&h.Server, h)
}

// A benchSide is a hub of either kind.
type benchSide interface {
	Online() []reverse.Session
	run(gateway string) (bytes uint64, took time.Duration, err error) // a command to one
	all() reverseReport                                               // and to all
	enrol(n int) error                                                // makes it know the gateways
}

// serveBench serves a hub that obeys the lines on its standard input.
func serveBench(server *reverse.Server, h benchSide) error {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<20)
	if !in.Scan() {
		return errors.New("no beginning")
	}
	var start reverseStart
	if err := json.Unmarshal(in.Bytes(), &start); err != nil {
		return err
	}
	key, err := x509.ParsePKCS8PrivateKey(start.Key)
	if err != nil {
		return err
	}
	authority, err := x509.ParseCertificate(start.Authority)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AddCert(authority)
	server.Authenticate = func(_ context.Context, cert *x509.Certificate) (string, error) { return cert.Subject.CommonName, nil }
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	g := server.GRPC(&tls.Config{
		Certificates: []tls.Certificate{{Certificate: start.Chain, PrivateKey: key}},
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: pool, MinVersion: tls.VersionTLS13,
	})
	go func() { _ = g.Serve(l) }()
	defer g.Stop()
	out := json.NewEncoder(os.Stdout)
	for in.Scan() {
		report, err := obey(h, in.Text(), l.Addr().String())
		if err != nil {
			return err
		}
		if err := out.Encode(report); err != nil {
			return err
		}
	}
	return in.Err()
}

func obey(h benchSide, line, address string) (r reverseReport, err error) {
	verb, rest, _ := strings.Cut(line, " ")
	switch verb {
	case "listen":
		r.Address = address
	case "online":
		r.Online = len(h.Online())
	case "enrol":
		var n int
		if n, err = strconv.Atoi(rest); err == nil {
			err = h.enrol(n)
		}
	case "profile":
		err = profileUntilNext(rest)
	case "memory":
		runtime.GC() // a pool keeps what it has over one collection
		debug.FreeOSMemory()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		r.Heap, r.Live, r.Stacks = int(m.HeapInuse/1024), int(m.HeapAlloc/1024), int(m.StackInuse/1024)
		r.RSS, err = residentKB()
	case "one":
		var took time.Duration
		r.Bytes, took, err = h.run(rest)
		r.Took = milliseconds(took)
	case "all":
		r = h.all()
	case "times":
		var n int
		var gateway string
		if _, err = fmt.Sscanf(rest, "%d %s", &n, &gateway); err != nil {
			break
		}
		for range n {
			_, took, err := h.run(gateway)
			if err != nil {
				return r, err
			}
			r.Each = append(r.Each, milliseconds(took))
		}
		slices.Sort(r.Each)
	default:
		err = fmt.Errorf("unknown: %q", line)
	}
	return r, err
}

// profileUntilNext writes a CPU profile from one call to the next.
func profileUntilNext(path string) error {
	if path == "" {
		pprof.StopCPUProfile()
		return nil
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return pprof.StartCPUProfile(f)
}

// all runs a command on every gateway at once.
func (h *benchHub) all() (r reverseReport) {
	began := time.Now()
	var wg sync.WaitGroup
	var failures atomic.Int64
	for _, s := range h.Online() {
		wg.Go(func() {
			if _, _, err := h.run(s.Gateway); err != nil {
				failures.Add(1)
			}
		})
	}
	wg.Wait()
	r.Took, r.Failures = milliseconds(time.Since(began)), int(failures.Load())
	return r
}

// residentKB returns how much memory this process has.
func residentKB() (int, error) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		var kb int
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kb); err == nil {
			return kb, nil
		}
	}
	return 0, errors.New("no VmRSS")
}
