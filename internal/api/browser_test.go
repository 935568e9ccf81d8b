package api_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/performance"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// browser is one Chromium, shared by the tests of a run.
type browser struct{ ctx context.Context }

// patience is how long something may take that comes soon where the machine has nothing
// else to do.
const patience = time.Minute

// newBrowser starts Chromium. Where there is none, the test is skipped, or
// fails under LANFOLK_REQUIRE_ALL=1.
func newBrowser(t *testing.T) browser {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		const missing = "no Chromium: install Debian's package chromium"
		if os.Getenv("LANFOLK_REQUIRE_ALL") == "1" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.DisableGPU, chromedp.WindowSize(1280, 800), chromedp.WSURLReadTimeout(patience),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("no-proxy-server", true),
		// Names of other hosts lead here, as a rebinding DNS server makes them.
		chromedp.Flag("host-resolver-rules", "MAP * "+ownLoopback().String()+", EXCLUDE 127.*"))
	if os.Getuid() == 0 {
		options = append(options, chromedp.NoSandbox)
	}
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start %s: %v", path, err)
	}
	return browser{ctx}
}

// tab is one tab, which notes what scripts throw.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu     sync.Mutex
	thrown []string
}

func (b browser) tab(t *testing.T) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(b.ctx)
	ctx, stop := context.WithTimeout(ctx, 4*patience)
	p := &tab{t: t, ctx: ctx}
	exceptions := chromedp.Events(ctx, runtime.ExceptionThrown)
	var wg sync.WaitGroup
	wg.Go(func() {
		for e, err := range exceptions {
			if err != nil {
				return
			}
			p.mu.Lock()
			p.thrown = append(p.thrown, fmt.Sprint(e.ExceptionDetails.Text, " ", e.ExceptionDetails.URL, ":", e.ExceptionDetails.LineNumber, " ", describe(e.ExceptionDetails.Exception)))
			p.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		// Leave the page, so that its streams end before the server does.
		chromedp.Do(ctx, chromedp.Navigate("about:blank"))
		stop()
		cancel()
		wg.Wait()
		if len(p.thrown) > 0 {
			t.Errorf("scripts threw:\n%s", strings.Join(p.thrown, "\n"))
		}
	})
	return p
}

func describe(o *runtime.RemoteObject) string {
	if o == nil {
		return ""
	}
	return o.Description
}

func (p *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	if err := chromedp.Do(p.ctx, actions...); err != nil {
		p.t.Fatal(err)
	}
}

// open signs in and waits until the list is live.
func (p *tab) open(n *node) {
	p.t.Helper()
	p.do(chromedp.Navigate("http://" + n.addr + n.SignInPath()))
	p.wait(`location.pathname === "/" && document.getElementById("link")?.dataset.state === "live"`)
}

// eval runs an expression. It is not held by the page's policy.
func eval[T any](p *tab, expression string) T {
	p.t.Helper()
	v, err := chromedp.Run(p.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		p.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// wait waits until an expression is true. (chromedp's own Poll makes a function
// of text in the page, which the page's policy forbids.)
func (p *tab) wait(expression string) {
	p.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		ok, err := chromedp.Run(p.ctx, chromedp.Evaluate[bool]("Boolean("+expression+")"))
		if err == nil && ok {
			return
		}
		if time.Now().After(deadline) {
			p.shoot("failed")
			p.t.Fatalf("waited in vain for %s (%v); the page says:\n%s", expression, err, eval[string](p, "document.body.innerText"))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// busy returns what the page has taken of the processor since the first call: other
// than a clock it doesn't count what else the machine does.
func (p *tab) busy() time.Duration {
	p.t.Helper()
	_, err := chromedp.Call(p.ctx, performance.Enable, performance.EnableParams{TimeDomain: performance.EnableTimeDomainThreadTicks})
	if err != nil {
		p.t.Fatal(err)
	}
	all, err := chromedp.Call(p.ctx, performance.GetMetrics, cdp.Empty{})
	if err != nil {
		p.t.Fatal(err)
	}
	for _, m := range all.Metrics {
		if m.Name == "TaskDuration" {
			return time.Duration(m.Value * float64(time.Second))
		}
	}
	p.t.Fatal("the browser doesn't say what the page takes")
	return 0
}

func (p *tab) dark(dark bool) {
	p.t.Helper()
	scheme := map[bool]string{true: "dark", false: "light"}[dark]
	_, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}},
	})
	if err != nil {
		p.t.Fatal(err)
	}
}

// shoot keeps a picture of the tab in the folder that LANFOLK_SHOTS names.
func (p *tab) shoot(name string) {
	p.t.Helper()
	dir := os.Getenv("LANFOLK_SHOTS")
	if dir == "" {
		return
	}
	b, err := chromedp.Run(p.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), b, 0o644); err != nil {
		p.t.Fatal(err)
	}
}
