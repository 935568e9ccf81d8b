package api_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/lanfolk/lanfolk/store/fleet"
)

var picture = flag.Bool("picture", false, "make docs/images/page.png and gateways.png anew")

// TestPicture makes the README's pictures of the page, of a home and of a chain of
// shops that do not exist: go test ./internal/api -run Picture -picture
func TestPicture(t *testing.T) {
	const folder = "../../docs/images"
	if *picture {
		b := newBrowser(t)
		n, p := serve(t, household(time.Now())), b.tab(t)
		p.dark(false)
		p.do(chromedp.EmulateViewport(1360, 820))
		p.open(n)
		p.do(chromedp.Click(chromedp.CSS(`#list a[href="#/device/d000000000000003"]`)))
		p.wait(`document.querySelectorAll("#panel .evidence li").length > 1`)
		p.picture(filepath.Join(folder, "page.png"))

		h, q := serveHub(t, shops(t, time.Now()), newInventory()), b.tab(t)
		q.dark(false)
		q.do(chromedp.EmulateViewport(1360, 820))
		q.openAs(h, "ada", "")
		eval[any](q, `location.hash = "#/gateway/`+shopID(4)+`", 0`)
		q.wait(`document.querySelector("#panel .run")`)
		q.do(chromedp.SendKeys(chromedp.ID("gateway-line"), "exec backup --target archive\r"))
		q.wait(`document.querySelector(".command-card")`)
		c := h.newest(t)
		c.Created, c.Revision = time.Now(), c.Revision+1
		h.put(c)
		h.say(c.ID, "reading the list of what changed\n412 files, 1.9 GB\nsending to archive: 38 %\n")
		q.wait(`document.querySelectorAll(".output .line").length === 3`)
		eval[any](q, `document.getElementById("run-heading").scrollIntoView(), 0`)
		q.picture(filepath.Join(folder, "gateways.png"))
	}
	for _, name := range []string{"page.png", "gateways.png"} {
		info, err := os.Stat(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > 200_000 {
			t.Errorf("%s has %d bytes; at most 200,000", name, info.Size())
		}
	}
}

// picture keeps a picture of the tab, without a focus.
func (p *tab) picture(path string) {
	p.t.Helper()
	eval[any](p, `document.activeElement.blur(), 0`)
	b, err := chromedp.Run(p.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		p.t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// shopID is the i-th shop's. The fake counts as many devices as it has letters.
func shopID(i int) string { return fmt.Sprintf("g%0*d", 5+i*i*11%37, i) }

// shops are the gateways of a made-up chain of shops.
func shops(t *testing.T, now time.Time) *hub {
	t.Helper()
	h := newHub()
	for i, m := range []struct {
		name, region, kind, version string
		on                          bool
		since                       time.Duration
	}{
		{"Aker Street", "north", "shop", "1.4.0", true, 9 * 24 * time.Hour},
		{"Birch Lane", "north", "shop", "1.4.0", true, 3 * time.Hour},
		{"Central warehouse", "mid", "warehouse", "1.4.0", true, 41 * 24 * time.Hour},
		{"Dockside", "south", "shop", "1.3.2", false, 26 * time.Hour},
		{"Elm Square", "mid", "shop", "1.4.0", true, 12 * time.Minute},
		{"Fjord Road", "north", "shop", "1.4.0", true, 5 * 24 * time.Hour},
		{"Garden Mall", "south", "shop", "1.3.2", true, 19 * 24 * time.Hour},
		{"Head office", "mid", "office", "1.4.0", true, 41 * 24 * time.Hour},
		{"Island kiosk", "south", "kiosk", "1.4.0", false, 7 * time.Minute},
		{"Junction", "north", "shop", "1.4.0", true, 2 * 24 * time.Hour},
		{"King’s Gate", "mid", "shop", "1.4.0", true, 33 * time.Hour},
		{"Lakeside", "south", "shop", "1.4.0", true, 50 * time.Second},
	} {
		g := standing(shopID(i), m.name, map[string]string{"region": m.region, "kind": m.kind})
		g.Address, g.Version, g.Online = fmt.Sprintf("203.0.113.%d:%d", 11+17*i, 40000+977*i), m.version, m.on
		g.LastSeen, g.Session.Since, g.Enrolled = now.Add(-m.since), now.Add(-m.since), now.Add(-200*24*time.Hour)
		h.gateways[g.ID] = g
	}
	for i, line := range []string{"status", "find _ipp._tcp", "list"} {
		made, err := h.Submit(t.Context(), fleet.Request{By: "otto", Line: line, Gateways: []fleet.Gateway{{ID: shopID(4)}}})
		if err != nil {
			t.Fatal(err)
		}
		h.say(made[0].ID, fmt.Sprintf("%*d\n", 900*(i+1), i))
		c := h.end(made[0].ID, fleet.OK)
		c.Created = now.Add(time.Duration(i-4) * time.Hour)
		h.put(c)
	}
	return h
}
