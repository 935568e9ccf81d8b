package api_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/lanfolk/lanfolk/store/fleet"
)

func testHubLooks(t *testing.T, b browser) {
	n, p := serveHub(t, branches(), household(time.Now())), b.tab(t)
	all := []fleet.Gateway{{ID: "gaaaaaaaaaaaaaaaa"}, {ID: "gbbbbbbbbbbbbbbbb"}, {ID: "gdddddddddddddddd"}}
	var ids []string
	for _, line := range []string{"status", "fingerprints --protocol dhcp --since 24h --limit 1000 --latest", "exec backup --target archive"} {
		made, err := n.Submit(t.Context(), fleet.Request{By: "ada", Line: line, Gateways: all})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, made[0].ID)
		n.say(made[0].ID, "one line that is a little longer than the panel of a phone is wide, so that it has to be broken\n\x1b[32mok\x1b[0m\n")
	}
	c := n.end(ids[1], fleet.Error)
	c.Exit, c.Error, c.Revision = 3, "no such program", c.Revision+1
	n.put(c)
	p.openAs(n, "ada", "")
	// Each width once, and each scheme; both together differ in nothing.
	for _, look := range []struct {
		name          string
		width, height int64
		dark          bool
	}{{"phone", 360, 740, false}, {"tablet", 820, 1100, true}, {"laptop", 1280, 800, false}} {
		p.dark(look.dark)
		p.do(chromedp.EmulateViewport(look.width, look.height))
		for where, there := range map[string]string{
			"gateways": `document.querySelectorAll("#list .gateway").length === 4`, "gateway/gaaaaaaaaaaaaaaaa": `document.querySelectorAll(".history li").length === 3`,
			"commands": `document.querySelectorAll("#list .command").length === 9`, "command/" + ids[1]: `document.querySelectorAll(".output .line").length === 2`,
			"run": `document.querySelector("#many-line")`, "audit": `document.body.dataset.view === "audit"`, "node": `document.querySelector("#token-name")?.checkVisibility()`,
			"devices": `document.querySelectorAll("#list .device").length > 5`,
		} {
			eval[any](p, fmt.Sprintf(`location.hash = "#/%s", 0`, where))
			p.wait(there + ` && document.getElementById("panel").hidden === ` + fmt.Sprint(!strings.Contains(where, "/") && where != "run"))
			if got := eval[int](p, `Math.max(document.documentElement.scrollWidth, document.body.scrollWidth) - innerWidth`); got > 0 {
				t.Errorf("%s at %d pixels: %d too wide", where, look.width, got)
			}
			if got := eval[[]string](p, tooWide); len(got) > 0 {
				t.Errorf("%s at %d pixels: beyond the edge: %q", where, look.width, got)
			}
			if got := eval[[]string](p, lowContrast); len(got) > 0 {
				t.Errorf("%s at %d pixels: hard to read: %q", where, look.width, got)
			}
			p.shoot("hub-" + look.name + "-" + strings.Split(where, "/")[0])
		}
	}
}

func testHubLabels(t *testing.T, b browser) {
	n, p := serveHub(t, branches(), newInventory()), b.tab(t)
	made, err := n.Submit(t.Context(), fleet.Request{By: "ada", Line: "status", Gateways: []fleet.Gateway{{ID: "gaaaaaaaaaaaaaaaa"}}})
	if err != nil {
		t.Fatal(err)
	}
	n.say(made[0].ID, "fine\n")
	p.openAs(n, "ada", "")
	for where, there := range map[string]string{
		"gateways": `document.querySelectorAll("#list li").length === 4`, "gateway/gaaaaaaaaaaaaaaaa": `document.querySelector(".history li")`,
		"command/" + made[0].ID: `document.querySelector(".output .line")`, "run": `document.querySelector("#many-line")`, "node": `document.querySelector("#token-name")`,
	} {
		eval[any](p, fmt.Sprintf(`location.hash = "#/%s", 0`, where))
		p.wait(there)
		for _, bad := range eval[[]string](p, unlabelled) {
			t.Errorf("%s: %s", where, bad)
		}
	}
}

func testHubThousands(t *testing.T, b browser) {
	h := newHub()
	for i := range 10000 {
		g := standing(fmt.Sprintf("g%016d", i), fmt.Sprintf("Branch %d", i), map[string]string{"site": fmt.Sprintf("site-%d", i%40)})
		g.Online = i%50 != 0
		h.gateways[g.ID] = g
	}
	n, p := serveHub(t, h, newInventory()), b.tab(t)
	start := time.Now()
	p.openAs(n, "otto", "")
	p.wait(`document.querySelector("#list").style.height === 10000 * 64 + "px" && document.querySelector("#list .name")`)
	t.Logf("10,000 gateways shown after %v", time.Since(start).Round(time.Millisecond))
	if got := eval[int](p, `document.querySelectorAll("#list li").length`); got > 60 {
		t.Errorf("%d rows are in the page", got)
	}
	took := eval[float64](p, `(() => { const t = performance.now(), s = document.getElementById("search"); s.value = "branch 9901"; s.dispatchEvent(new Event("input")); return performance.now() - t; })()`)
	t.Logf("a search takes %.1f ms", took)
	if got := eval[[]string](p, rows); !slices.Equal(got, []string{"Branch 9901"}) {
		t.Errorf("found %q", got)
	}
	eval[any](p, `(() => { const s = document.getElementById("search"); s.value = ""; s.dispatchEvent(new Event("input")); })(), 0`)
	// What a frame costs while the whole list is scrolled through.
	const frames = 50
	before := p.busy()
	eval[any](p, fmt.Sprintf(`(() => {
		const box = document.getElementById("scroller");
		let n = 0;
		const step = () => {
			box.scrollTop = ++n * 12800;
			if (n < %d) requestAnimationFrame(step);
			else window.scrolled = true;
		};
		requestAnimationFrame(step);
	})(), 0`, frames))
	p.wait("window.scrolled")
	cost := (p.busy() - before) / frames
	t.Logf("a frame takes %v of the processor", cost.Round(100*time.Microsecond))
	if cost > 100*time.Millisecond {
		t.Errorf("a frame takes %v of the processor", cost)
	}
	p.wait(`[...document.querySelectorAll("#list .name")].some(e => e.textContent === "Branch 9999")`)
	if !eval[bool](p, inOrder) {
		t.Error("the rows are not in order in the document")
	}
	// A change in a list of ten thousand is shown soon, too.
	g := n.gateways["g0000000000009999"]
	g.Name = "Changed"
	n.set(g, false)
	p.wait(`document.querySelector("#list").innerText.includes("Changed") || (document.getElementById("scroller").scrollTop = 1e6, false)`)
}
