package api_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

var picture = flag.Bool("picture", false, "make docs/images/page.png anew")

// TestPicture makes the README's picture of the page, of a home that does not
// exist: go test ./internal/api -run Picture -picture
func TestPicture(t *testing.T) {
	const path = "../../docs/images/page.png"
	if *picture {
		n, p := serve(t, household(time.Now())), newBrowser(t).tab(t)
		p.dark(false)
		p.do(chromedp.EmulateViewport(1360, 820))
		p.open(n)
		p.do(chromedp.Click(chromedp.CSS(`#list a[href="#/device/d000000000000003"]`)))
		p.wait(`document.querySelectorAll("#panel .evidence li").length > 1`)
		eval[any](p, `document.activeElement.blur(), 0`)
		b, err := chromedp.Run(p.ctx, chromedp.CaptureScreenshot())
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > 200_000 {
		t.Errorf("%s has %d bytes; at most 200,000", path, info.Size())
	}
}
