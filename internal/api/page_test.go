package api_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/api"
	"github.com/lanfolk/lanfolk/internal/daemon"
	"github.com/lanfolk/lanfolk/internal/find"
	lanfolknode "github.com/lanfolk/lanfolk/internal/node"
)

// rows are the names that the list shows, in its order.
const rows = `[...document.querySelectorAll("#list li")].map(li => [li.ariaPosInSet, li.querySelector(".name").textContent]).sort((a, b) => a[0] - b[0]).map(r => r[1])`

// inOrder says whether the rows stand in the document as they do on the page.
const inOrder = `[...document.querySelectorAll("#list li")].every((li, i, all) => i === 0 || +li.ariaPosInSet === +all[i-1].ariaPosInSet + 1)`

// pageTest is one part of TestPage, in the browser that all share.
type pageTest struct {
	name string
	f    func(t *testing.T, b browser)
}

func TestPage(t *testing.T) {
	b := newBrowser(t)
	for _, c := range append([]pageTest{
		{"sign-in", testPageSignIn},
		{"the list is live", testPageLive},
		{"search and filters", testPageSearch},
		{"a device with its evidence", testPageDevice},
		{"what a device is, and why", testPageClass},
		{"names and tags", testPageRename},
		{"separate and rejoin", testPageSeparate},
		{"hostile text", testPageHostile},
		{"services and node", testPageViews},
		{"keyboard", testPageKeyboard},
		{"widths and colours", testPageLooks},
		{"labels", testPageLabels},
		{"5,000 devices", testPageMany},
		{"another host's name", testPageRebinding},
		{"the node goes and comes back", testPageReconnects},
	}, hubPageTests()...) {
		t.Run(c.name, func(t *testing.T) { c.f(t, b) })
	}
}

func testPageSignIn(t *testing.T, b browser) {
	n, p := serve(t, household(time.Now())), b.tab(t)
	p.do(chromedp.Navigate("http://" + n.addr + "/"))
	p.wait(`document.getElementById("link").dataset.state === "denied" && document.querySelector("#empty h2")?.textContent === "You are signed out"`)
	p.shoot("signed-out")
	path := n.SignInPath()
	p.do(chromedp.Navigate("http://" + n.addr + path))
	p.wait(`location.pathname === "/" && document.querySelectorAll("#list li").length > 5`)
	if got := eval[string](p, "document.cookie"); got != "" {
		t.Errorf("scripts see the cookie: %q", got)
	}
	history := eval[int](p, "history.length")
	p.do(chromedp.Navigate("about:blank"), chromedp.Navigate("http://"+n.addr+"/"))
	p.wait(`document.querySelectorAll("#list li").length > 5`)
	if history > 4 {
		t.Errorf("the sign-in left %d steps in the history", history)
	}
	// The same address once more: it is used up, but this browser is in already.
	p.do(chromedp.Navigate("http://" + n.addr + path))
	p.wait(`location.pathname === "/" && document.querySelectorAll("#list li").length > 5`)
	if _, body := n.call(t, "DELETE", "/api/v1/session", "", "Authorization", ""); body != "" {
		t.Error(body)
	}
	eval[any](p, `fetch("/api/v1/session", {method: "DELETE"}).then(() => { window.out = true }), 0`)
	p.wait("window.out")
	p.do(chromedp.Navigate("http://" + n.addr + path))
	p.wait(`document.getElementById("said")?.textContent === "This sign-in address was used already, or has expired."`)
	if got := eval[string](p, "location.href"); strings.Contains(got, "#") {
		t.Errorf("the token stands in %q", got)
	}
	p.shoot("signin")
	next := n.SignInPath()
	p.do(chromedp.SendKeys(chromedp.ID("token"), "http://"+n.addr+next+"\r"))
	p.wait(`location.pathname === "/" && document.querySelectorAll("#list li").length > 5`)
}

func testPageLive(t *testing.T, b browser) {
	v := newInventory(printer())
	n, p := serve(t, v), b.tab(t)
	p.open(n)
	p.wait(`document.querySelectorAll("#list li").length === 1`)
	if got := eval[string](p, "document.title"); got != "1 device · lanfolk" {
		t.Errorf("title %q", got)
	}
	d := made{name: "vault", vendor: "Example Storage", state: lanfolk.Reachable, protocols: []string{"mdns"}, services: [][3]string{{"_ssh._tcp", "22", "vault"}}}.device(3, time.Now())
	v.put(d)
	p.wait(`document.querySelectorAll("#list li").length === 2 && document.querySelector("#list").innerText.includes("Secure shell")`)
	c := *d
	c.Names, c.Services = []string{"Big vault"}, nil
	v.put(&c)
	p.wait(`document.querySelector("#list").innerText.includes("Big vault") && !document.querySelector("#list").innerText.includes("Secure shell")`)
	v.remove(d.ID)
	p.wait(`document.querySelectorAll("#list li").length === 1`)
	if got := eval[[]string](p, rows); !slices.Equal(got, []string{"Office printer"}) {
		t.Errorf("rows %q", got)
	}
	v.remove("d-printer")
	p.wait(`document.querySelector("#empty h2")?.textContent === "Nobody was heard yet"`)
	p.shoot("empty")
}

func testPageSearch(t *testing.T, b browser) {
	n, p := serve(t, household(time.Now())), b.tab(t)
	p.open(n)
	p.wait(`document.querySelectorAll("#list li").length === 15`)
	for _, c := range []struct {
		search string
		want   []string
	}{
		{"STUDIO", []string{"Studio encoder 1", "Studio registry"}},
		{"192.0.2.21", []string{"Office printer"}},
		{"00:00:5e:00:53:04", []string{"vault"}},
		{"example computers", []string{"Ada’s laptop", "Old desktop"}},
		{"by the window", []string{"Office printer"}}, // in a TXT record
		{"nmos-query", []string{"Studio registry"}},
		{"nothing like it", []string{}},
	} {
		eval[any](p, fmt.Sprintf(`(() => { const s = document.getElementById("search"); s.value = %q; s.dispatchEvent(new Event("input")); })(), 0`, c.search))
		if got := eval[[]string](p, rows); !slices.Equal(got, c.want) {
			t.Errorf("search %q: %q; want %q", c.search, got, c.want)
		}
	}
	p.wait(`document.querySelector("#empty h2")?.textContent === "Nothing fits"`)
	p.do(chromedp.Click(chromedp.CSS("#empty button")))
	p.wait(`document.querySelectorAll("#list li").length === 15`)
	p.do(chromedp.Click(chromedp.CSS("#chips button:nth-child(3)")))
	p.wait(`document.querySelectorAll("#list li").length === 2`)
	if got := eval[[]string](p, rows); !slices.Equal(got, []string{"Guest tablet", "Old desktop"}) {
		t.Errorf("away: %q", got)
	}
	p.do(chromedp.Click(chromedp.CSS("#chips button:nth-child(4)")))
	p.wait(`document.querySelector("#list").innerText.includes("Greenhouse sensor")`)
	if got := eval[[]string](p, rows); !slices.Equal(got, []string{"Greenhouse sensor", "Phone"}) {
		t.Errorf("new: %q", got)
	}
	p.do(chromedp.Click(chromedp.CSS("#chips button:nth-child(1)")))
	pick := func(id, value string) {
		t.Helper()
		p.wait(fmt.Sprintf(`[...document.getElementById(%q).options].some(o => o.value === %q)`, id, value))
		eval[any](p, fmt.Sprintf(`(() => { const s = document.getElementById(%q); s.value = %q; s.dispatchEvent(new Event("change")); })(), 0`, id, value))
	}
	pick("protocol", "syncthing")
	if got := eval[[]string](p, rows); !slices.Equal(got, []string{"vault"}) {
		t.Errorf("protocol: %q", got)
	}
	pick("protocol", "")
	pick("type", "_ssh._tcp")
	if got := eval[[]string](p, rows); !slices.Equal(got, []string{"Ada’s laptop", "vault"}) {
		t.Errorf("type: %q", got)
	}
	pick("type", "")
	pick("order", "newest")
	if got := eval[[]string](p, rows); got[0] != "Phone" || got[14] != "router" {
		t.Errorf("newest first: %q", got)
	}
	if !eval[bool](p, inOrder) {
		t.Error("the rows have another order in the document than on the page: the Tab key jumps")
	}
}

func testPageDevice(t *testing.T, b browser) {
	n, p := serve(t, household(time.Now())), b.tab(t)
	p.open(n)
	p.do(chromedp.Click(chromedp.CSS(`#list a[href="#/device/d000000000000003"]`)))
	p.wait(`document.querySelectorAll("#panel .evidence li").length === 6`)
	text := eval[string](p, `[...document.querySelectorAll("#panel details")].forEach(d => d.open = true), document.getElementById("panel").innerText`)
	for _, want := range []string{
		"Office printer", "Example Printers", "Reachable", "192.0.2.21", "2001:db8::3", "00:00:5e:00:53:03", "Printing (IPP)", "host-3.local", "port 631",
		"Upstairs, by the window", "ipp/print", "Scanning (eSCL)", "first evidence", "answer A host-3.local 192.0.2.21", "shares ip 192.0.2.21 on eth0",
		"d000000000000003",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the panel lacks %q:\n%s", want, text)
		}
	}
	if got := eval[string](p, `document.querySelector("#panel .card a").href`); got != "http://192.0.2.21/" && got != "http://192.0.2.21:80/" {
		t.Errorf("link %q", got)
	}
	if got := eval[string](p, `document.querySelector("#panel .card a").rel`); got != "noopener noreferrer" {
		t.Errorf("rel %q", got)
	}
	if !eval[bool](p, `document.activeElement.matches("#panel h2")`) {
		t.Error("the focus is not in the panel")
	}
	p.do(chromedp.KeyEvent("\x1b"))
	p.wait(`document.getElementById("panel").hidden && location.hash === "#/devices" && document.activeElement.getAttribute("href") === "#/device/d000000000000003"`)
}

// testPageClass: model, system and kind stand in the list and in the panel, there with what speaks for
// and against them; and both follow when more is heard.
func testPageClass(t *testing.T, b browser) {
	v := newInventory()
	d := made{name: "thing", vendor: "Example Chips", state: lanfolk.Reachable, protocols: []string{"dhcp"}}.device(1, time.Now())
	v.reasons = map[string][]lanfolk.Conclusion{}
	v.put(d)
	n, p := serve(t, v), b.tab(t)
	p.open(n)
	p.do(chromedp.Click(chromedp.CSS(`#list a[href="#/device/` + d.ID + `"]`)))
	p.wait(`!document.getElementById("panel").hidden && document.querySelector("#panel .facts")`)
	if text := eval[string](p, `document.getElementById("panel").innerText`); strings.Contains(text, "Model") || strings.Contains(text, "Kind") || strings.Contains(text, "reason") {
		t.Errorf("the panel of what nobody knows:\n%s", text)
	}
	c := *d
	c.Model, c.ModelConfidence, c.OS, c.OSConfidence, c.Class, c.ClassConfidence = "Kettle <b>2</b>", 0.874, "Example OS", 1, "camera", 0.6
	signal := []lanfolk.Signal{{Kind: "host.name", Value: "kettle-<i>7</i>\u202e"}, {Kind: "mac.vendor", Value: "Example Chips"}}
	v.mu.Lock()
	v.reasons[d.ID] = []lanfolk.Conclusion{
		{Answer: "model", Value: c.Model, Confidence: 0.9, Rule: "kettles", Source: "its manual, page 12", Signals: signal, Verdict: "agrees"},
		{Answer: "model", Value: "Toaster", Confidence: 0.3, Rule: "toasters", Source: "a guess", Signals: signal[1:], Verdict: "contradicts"},
		{Answer: "os", Value: c.OS, Confidence: 1, Rule: "tag os=Example OS", Source: "a person said so", Signals: []lanfolk.Signal{}, Verdict: "agrees"},
		{Answer: "os", Value: "Linux", Confidence: 0.6, Rule: "linux", Source: "DHCP", Signals: signal[:1], Verdict: "overruled"},
	}
	v.mu.Unlock()
	v.put(&c) // soon after the panel was opened, as signals come
	p.wait(`document.querySelectorAll("#panel .facts .because").length === 4 && document.querySelector("#list .sub").textContent.includes("Kettle")`)
	text := eval[string](p, `[...document.querySelectorAll("#panel details")].forEach(d => d.open = true), document.getElementById("panel").innerText`)
	for _, want := range []string{
		"Kettle <b>2</b> 87 %", "2 reasons", "Kettle <b>2</b> 90 % – its manual, page 12", "host.name kettle-<i>7</i>", "mac.vendor Example Chips",
		"against it: Toaster 30 % – a guess", "Example OS you said so", "overruled: Linux 60 % – DHCP", "camera 60 %",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the panel lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "\u202e") || eval[bool](p, `Boolean(document.querySelector("#panel .facts b > *, #panel .facts i"))`) {
		t.Error("what a device says became a part of the page")
	}
	if got := eval[string](p, `document.querySelector("#list .mark use").getAttribute("href")`); !strings.HasSuffix(got, "#camera") {
		t.Errorf("the list's picture is %q", got)
	}
	eval[any](p, `import("/text.js").then((m) => { m.tick(); window.ticked = true }), 0`)
	p.wait("window.ticked")
	first := eval[string](p, `[...document.querySelectorAll("#panel dt")].find(e => e.textContent === "First heard").nextSibling.textContent`)
	if strings.Contains(first, "undefined") || !strings.Contains(first, fmt.Sprint(d.FirstSeen.Year())) {
		t.Errorf("first heard %q", first)
	}
	p.shoot("class")
}

func testPageRename(t *testing.T, b browser) {
	v := household(time.Now())
	n, p := serve(t, v), b.tab(t)
	p.open(n)
	p.do(chromedp.Click(chromedp.CSS(`#list a[href="#/device/d000000000000004"]`)))
	p.wait(`document.querySelectorAll("#panel .evidence li").length > 1`) // it draws the button anew
	p.do(chromedp.Click(chromedp.CSS(`#panel [data-keep="edit"]`)))
	p.shoot("edit")
	eval[any](p, `document.getElementById("edit-name").value = "Archive\u202e", document.getElementById("edit-tags").value = "", 0`)
	p.do(chromedp.SendKeys(chromedp.ID("edit-tags"), "backup, cellar,, backup\r"))
	p.wait(`document.querySelector("#panel .bad")?.textContent === "Not saved: holds a character that can't be seen"`)
	eval[any](p, `document.getElementById("edit-name").value = "", 0`)
	p.do(chromedp.SendKeys(chromedp.ID("edit-name"), "Archive\r"))
	p.wait(`document.querySelector("#panel h2").textContent === "Archive" && document.querySelector("#list").innerText.includes("Archive")`)
	p.wait(`document.getElementById("toast").textContent === "Saved"`) // all of it: the page shows each half as soon as it is known
	if d := v.Devices(lanfolk.Filter{Text: "archive"}); len(d) != 1 || d[0].Names[0] != "Archive" || !slices.Equal(d[0].Tags, []string{"backup", "cellar"}) {
		t.Errorf("device %+v", d)
	}
	if log := n.log.String(); !strings.Contains(log, `msg="device named" device=d000000000000004 names=[Archive] via=session`) {
		t.Errorf("log:\n%s", log)
	}
}

func testPageSeparate(t *testing.T, b browser) {
	v := household(time.Now())
	n, p := serve(t, v), b.tab(t)
	p.open(n)
	p.do(chromedp.Click(chromedp.CSS(`#list a[href="#/device/d000000000000004"]`)))
	p.wait(`document.querySelectorAll("#panel .evidence li").length > 1`)
	eval[any](p, `document.querySelector("#panel .idents:has(.ident)").open = true, 0`)
	separate := `[...document.querySelectorAll("#panel .ident")].find(e => e.textContent.includes("00:00:5e:00:53:04")).querySelector("button")`
	eval[any](p, separate+`.click(), 0`)
	p.wait(`document.getElementById("toast").textContent.includes("Kept apart") && !document.querySelector("#panel .facts").innerText.includes("00:00:5e:00:53:04")`)
	p.do(chromedp.Click(chromedp.CSS("#toast button")))
	p.wait(`document.querySelector("#panel .facts").innerText.includes("00:00:5e:00:53:04") && !document.getElementById("apart")`)

	// Who comes later finds it listed, and takes it back there.
	if _, err := v.Separate(t.Context(), "d000000000000004", lanfolk.Identifier{Kind: lanfolk.IDMAC, Value: mac(4).String(), Link: "eth0<img src=x>"}); err != nil {
		t.Fatal(err)
	}
	p.wait(`document.querySelector("section[aria-labelledby=apart] .ident")?.textContent === "hardware address 00:00:5e:00:53:04 on eth0<img src=x>Join again"`)
	p.open(n)
	p.do(chromedp.Click(chromedp.CSS(`#list a[href="#/device/d000000000000004"]`)))
	p.wait(`document.getElementById("apart")?.textContent === "Kept apart 1" && document.querySelectorAll("#panel .evidence li").length > 1`)
	eval[any](p, `document.getElementById("apart").scrollIntoView(), 0`)
	p.shoot("apart")
	p.do(chromedp.Click(chromedp.CSS("section[aria-labelledby=apart] button")))
	p.wait(`document.getElementById("toast").textContent.includes("Joined again") && !document.getElementById("apart")`)
	if !eval[bool](p, `document.activeElement.matches("#panel h2")`) {
		t.Error("the focus is not in the panel")
	}
	if d, err := v.Device("d000000000000004"); err != nil || len(d.Separated) > 0 {
		t.Errorf("separated %+v, %v", d, err)
	}

	// What is kept apart offers itself for nothing else.
	id := v.evidence["d000000000000004"][0].Identifiers[0]
	if _, err := v.Separate(t.Context(), "d000000000000004", id); err != nil {
		t.Fatal(err)
	}
	p.wait(`document.querySelector("#panel .evidence .ident")?.textContent === "hardware address 00:00:5e:00:53:04kept apart"`)
	for _, want := range []string{"device separated", "device rejoined"} {
		if !strings.Contains(n.log.String(), want) {
			t.Errorf("the log lacks %q", want)
		}
	}
}

// testPageHostile holds that text from the network stays text.
func testPageHostile(t *testing.T, b browser) {
	const script = `<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>`
	evil := []string{script, "invoice\u202efdp.exe", "\u2066\u2067\x1b[31m\x00\n", "\u200b", strings.Repeat("W", 5000), "Z\u0351\u036b\u0343\u036aalgo", "مرحبا", "👩\u200d💻 desk", "__proto__", "constructor"}
	d := printer()
	d.Names, d.Vendor, d.Tags = evil, script, []string{script}
	d.Separated = []lanfolk.Identifier{{Kind: "constructor", Value: script, Link: evil[2], Gateway: evil[1]}}
	s := *d.Services[0]
	s.Name, s.Type, s.Host = script, "constructor", "javascript:alert(1)"
	s.Attributes = map[string]string{script: script, "__proto__": "x", "rtl\u202e": "\u202e"}
	h := s
	h.ID, h.Type, h.Name, h.Attributes = "s-http", "_http._tcp", script, map[string]string{"path": "javascript:alert(1)"}
	d.Services = []*lanfolk.Service{&s, &h}
	d.ID, d.Protocols = "d/../<b>&?#", []string{script, "mdns"}
	for _, svc := range d.Services {
		svc.Device = d.ID
	}
	v := newInventory(d)
	for i, name := range evil[1:] {
		m := made{name: name, vendor: name, state: lanfolk.Reachable, protocols: []string{"mdns"}}.device(i+1, time.Now())
		v.devices[m.ID] = m
	}
	v.evidence[d.ID] = []lanfolk.Evidence{{Time: noon(), Protocol: script, Interface: script, What: script, WhyJoined: script, Identifiers: []lanfolk.Identifier{{Kind: "constructor", Value: script, Link: script}}}}
	status := lanfolknode.Status{
		Name: script, Parts: []daemon.Part{{Name: script, State: "constructor", Error: script}},
		NMOS: []find.KeptSelection{{Name: script, Selection: find.Selection{
			Selected: &find.Advert{Instance: script, URL: "javascript:" + script}, Reason: script, Others: []find.Reason{{Instance: script, Reason: script}},
		}}},
	}
	n, p := serve(t, v, func(o *api.Options) { o.Status = func() any { return status } }), b.tab(t)
	p.open(n)
	p.wait(`document.querySelectorAll("#list li").length === 10`)
	if got := eval[[]string](p, rows); !slices.Contains(got, script) || !slices.Contains(got, "invoiceU+202Efdp.exe") || !slices.Contains(got, "U+200B") || !slices.Contains(got, "👩\u200d💻 desk") {
		t.Errorf("rows %q", got)
	}
	p.shoot("hostile-list")
	clean := func(where string) {
		t.Helper()
		if eval[bool](p, `"hacked" in window`) {
			t.Fatalf("%s: a script ran", where)
		}
		if got := eval[int](p, `document.querySelectorAll("main img, main script, aside img, aside script, [onerror]").length`); got != 0 {
			t.Errorf("%s: text became %d elements", where, got)
		}
		if got := eval[[]string](p, `[...document.querySelectorAll("body *")].flatMap(e => [...e.childNodes]).filter(c => c.nodeType === 3 && /[\u0000-\u0008\u001b\u200b\u202a-\u202e\u2066-\u2069]/.test(c.data)).map(c => c.data)`); len(got) != 0 {
			t.Errorf("%s: characters that can't be seen are in the page: %q", where, got)
		}
		if got := eval[int](p, `document.documentElement.scrollWidth - innerWidth`); got > 0 {
			t.Errorf("%s: %d pixels too wide", where, got)
		}
		if got := eval[[]string](p, `[...document.querySelectorAll("a")].map(a => a.protocol).filter(s => s !== "http:")`); len(got) != 0 {
			t.Errorf("%s: links to %q", where, got)
		}
	}
	clean("the list")
	eval[any](p, `[...document.querySelectorAll("#list a")].find(a => a.innerText.includes("<img")).click(), 0`)
	p.wait(`document.querySelectorAll("#panel .evidence li").length === 1`)
	eval[any](p, `[...document.querySelectorAll("#panel details")].forEach(d => d.open = true), 0`)
	p.shoot("hostile-device")
	clean("the panel")
	p.do(chromedp.EmulateViewport(360, 740))
	clean("the panel on a phone")
	p.do(chromedp.EmulateViewport(1280, 800))
	eval[any](p, `location.hash = "#/services", 0`)
	p.wait(`document.querySelectorAll("#list li").length === 2`)
	clean("the services")
	eval[any](p, `location.hash = "#/node", 0`)
	p.wait(`document.querySelectorAll("#node li").length === 2`)
	clean("the node")
	eval[any](p, `location.hash = "#/device/%zz<img src=x onerror=alert(1)>", 0`)
	p.wait(`document.querySelector("#panel h2")?.textContent === "Gone"`)
	clean("an unknown device")
}

func testPageViews(t *testing.T, b browser) {
	status := lanfolknode.Status{
		Name: "home", Version: "1.0", Healthy: true, Started: time.Now().Add(-3 * time.Hour), Inventory: lanfolknode.Inventory{Devices: 15, Services: 27},
		Store: lanfolknode.Store{Path: "/var/lib/lanfolk/lanfolk.db", Healthy: true},
		Parts: []daemon.Part{
			{Name: "mdns", State: daemon.Running, Detail: "browses 31 types on 2 links"},
			{Name: "capture", State: daemon.Off, Error: "operation not permitted", Gain: "With CAP_NET_RAW lanfolk would also hear ARP, DHCP and NDP."},
		},
		NMOS:  []find.KeptSelection{{Name: "the studio's registry", Type: "register", Since: time.Now().Add(-time.Minute), Selection: choice()}},
		Links: []lanfolknode.Link{{Name: "eth0", MAC: mac(1).String(), Up: true, Used: true, Addresses: []string{"192.0.2.1/24"}}, {Name: "lo", Up: true, Why: "loopback"}},
	}
	v := household(time.Now())
	orphan := *printer().Services[0]
	orphan.ID, orphan.Device, orphan.Name = "s-orphan", "", "A service of nobody"
	v.orphans[orphan.ID] = &orphan
	n, p := serve(t, v, func(o *api.Options) { o.Status = func() any { return status } }), b.tab(t)
	p.open(n)
	p.do(chromedp.Click(chromedp.CSS(`[data-view="services"]`)))
	p.wait(`document.querySelector("#list").innerText.includes("A service of nobody") && document.querySelector("#list").innerText.includes("device not known")`)
	p.shoot("services")
	eval[any](p, `[...document.querySelectorAll("#list a")].find(a => a.innerText.includes("Front door")).click(), 0`)
	p.wait(`document.querySelector("#panel h2")?.textContent === "Front door camera" && document.body.dataset.view === "services"`)
	p.do(chromedp.Click(chromedp.CSS(`[data-view="node"]`)))
	p.wait(`document.getElementById("node").innerText.includes("With CAP_NET_RAW lanfolk would also hear")`)
	p.wait(`document.getElementById("node").innerText.includes("http://reg.example.com:8080") && document.getElementById("node").innerText.includes("not B: pri 20")`)
	p.shoot("node")
	// Rows get another height as the list goes out of sight: it is drawn a frame later.
	p.do(chromedp.Click(chromedp.CSS(`[data-view="devices"]`)))
	p.wait(`document.querySelectorAll("#list li").length === 15`)
	eval[any](p, `document.getElementById("list").style.setProperty("--row", "70px"), location.hash = "#/node", 0`)
	p.wait(`document.body.dataset.view === "node" && document.getElementById("list").style.height === 15 * 70 + "px"`)
	eval[any](p, `requestAnimationFrame(() => requestAnimationFrame(() => { window.drawn = true; })), 0`)
	p.wait("window.drawn")
}

func testPageKeyboard(t *testing.T, b browser) {
	n, p := serve(t, household(time.Now())), b.tab(t)
	p.open(n)
	p.do(chromedp.KeyEvent("/"))
	p.wait(`document.activeElement.id === "search"`)
	p.do(chromedp.KeyEvent("o"))
	p.wait(`document.getElementById("search").value.endsWith("o")`)
	eval[any](p, `document.getElementById("search").value = "", document.getElementById("search").dispatchEvent(new Event("input")), 0`)
	const arrowDown, arrowUp, end = "\u0301", "\u0304", "\u0305"
	p.do(chromedp.KeyEvent(arrowDown), chromedp.KeyEvent(arrowDown))
	p.wait(`document.activeElement.closest("li")?.ariaPosInSet === "2"`)
	p.do(chromedp.KeyEvent(end))
	p.wait(`document.activeElement.closest("li")?.ariaPosInSet === "15"`)
	p.do(chromedp.KeyEvent(arrowUp), chromedp.KeyEvent("\r"))
	p.wait(`document.querySelector("#panel h2")?.textContent === "vault"`)
}

func testPageLooks(t *testing.T, b browser) {
	n, p := serve(t, household(time.Now())), b.tab(t)
	p.open(n)
	// Each width once, and each scheme; both together differ in nothing.
	for _, look := range []struct {
		name          string
		width, height int64
		dark          bool
	}{{"phone", 360, 740, true}, {"tablet", 820, 1100, false}, {"laptop", 1280, 800, true}} {
		p.dark(look.dark)
		p.do(chromedp.EmulateViewport(look.width, look.height))
		for _, where := range []string{"devices", "device/d000000000000003", "services"} {
			eval[any](p, fmt.Sprintf(`location.hash = "#/%s", 0`, where))
			if strings.HasPrefix(where, "device/") {
				p.wait(`!document.getElementById("panel").hidden && document.querySelectorAll("#panel .evidence li").length > 1`)
			} else {
				p.wait(`document.body.dataset.view === "` + where + `" && document.getElementById("panel").hidden`)
			}
			if got := eval[int](p, `Math.max(document.documentElement.scrollWidth, document.body.scrollWidth) - innerWidth`); got > 0 {
				t.Errorf("%s at %d pixels: %d too wide", where, look.width, got)
			}
			if got := eval[[]string](p, tooWide); len(got) > 0 {
				t.Errorf("%s at %d pixels: beyond the edge: %q", where, look.width, got)
			}
			if got := eval[[]string](p, lowContrast); len(got) > 0 {
				t.Errorf("%s at %d pixels: hard to read: %q", where, look.width, got)
			}
			p.shoot(look.name + "-" + strings.Split(where, "/")[0])
		}
	}
	p.dark(false)
	light := eval[string](p, `getComputedStyle(document.body).backgroundColor`)
	p.dark(true)
	if dark := eval[string](p, `getComputedStyle(document.body).backgroundColor`); dark == light {
		t.Errorf("light and dark have the same ground: %s", dark)
	}
}

// testPageLabels checks what a screen reader needs most.
func testPageLabels(t *testing.T, b browser) {
	n, p := serve(t, household(time.Now())), b.tab(t)
	p.open(n)
	check := func(where string) {
		t.Helper()
		got := eval[[]string](p, unlabelled)
		for _, bad := range got {
			t.Errorf("%s: %s", where, bad)
		}
	}
	check("the list")
	p.do(chromedp.Click(chromedp.CSS(`#list a[href="#/device/d000000000000003"]`)))
	p.wait(`document.querySelectorAll("#panel .evidence li").length === 6`)
	eval[any](p, `[...document.querySelectorAll("#panel details")].forEach(d => d.open = true), 0`)
	check("the panel")
	p.do(chromedp.Click(chromedp.CSS(`#panel [data-keep="edit"]`)))
	check("the form")
}

func testPageMany(t *testing.T, b browser) {
	v := newInventory()
	now := time.Now()
	for i := range 5000 {
		d := made{name: fmt.Sprintf("host %d", i), vendor: "Example", state: lanfolk.Reachable, protocols: []string{"mdns"},
			services: [][3]string{{"_http._tcp", "80", "web"}, {"_ssh._tcp", "22", "shell"}}}.device(i, now)
		d.Addresses = []netip.Addr{netip.AddrFrom4([4]byte{198, 51, byte(100 + i>>8), byte(i)})}
		v.devices[d.ID] = d
	}
	n, p := serve(t, v), b.tab(t)
	start := time.Now()
	p.open(n)
	p.wait(`document.querySelector("#list").style.height === 5000 * 64 + "px"`)
	t.Logf("5,000 devices with 10,000 services shown after %v", time.Since(start).Round(time.Millisecond))
	if got := eval[int](p, `document.querySelectorAll("#list li").length`); got > 60 {
		t.Errorf("%d rows are in the page", got)
	}
	took := eval[float64](p, `(() => { const t = performance.now(), s = document.getElementById("search"); s.value = "host 4901"; s.dispatchEvent(new Event("input")); return performance.now() - t; })()`)
	t.Logf("a search takes %.1f ms", took)
	if got := eval[string](p, `document.querySelector("#list li").ariaSetSize`); got != "1" {
		t.Errorf("found %s", got)
	}
	eval[any](p, `(() => { const s = document.getElementById("search"); s.value = ""; s.dispatchEvent(new Event("input")); document.getElementById("scroller").scrollTop = 64 * 4000; })(), 0`)
	p.wait(`[...document.querySelectorAll("#list .name")].some(e => e.textContent === "host 4001")`)
	if !eval[bool](p, inOrder) {
		t.Error("the rows are not in order in the document")
	}
}

// testPageRebinding opens the page by a name that somebody else's DNS lets
// point to this host.
func testPageRebinding(t *testing.T, b browser) {
	n, p := serve(t, household(time.Now())), b.tab(t)
	_, port, _ := strings.Cut(n.addr, ":")
	p.do(chromedp.Navigate("http://evil.example:" + port + "/"))
	if got := eval[string](p, "document.body.innerText"); !strings.Contains(got, "names another host") {
		t.Errorf("the page says %q", got)
	}
	// And one from another port of this host, with the cookie at hand.
	p.open(n)
	other, q := serve(t, newInventory()), b.tab(t)
	q.do(chromedp.Navigate("http://" + other.addr + "/healthz"))
	eval[string](q, `window.got = "", fetch("http://`+n.addr+`/api/v1/devices", {credentials: "include", mode: "no-cors"}).then(r => { window.got = r.type }, e => { window.got = "refused" }), ""`)
	q.wait(`window.got !== ""`)
	if got := eval[string](q, "window.got"); got != "refused" && got != "opaque" {
		t.Errorf("another origin got %q", got)
	}
}

func testPageReconnects(t *testing.T, b browser) {
	key := []byte("0123456789abcdef0123456789abcdef")
	withKey := func(o *api.Options) { o.SessionKey = key }
	v := household(time.Now())
	n, p := serve(t, v, withKey), b.tab(t)
	p.open(n)
	n.stop()
	p.wait(`document.getElementById("link").dataset.state === "lost" && document.querySelectorAll("#list li").length === 15`)
	p.shoot("lost")
	delete(v.devices, "d000000000000001")
	again := serveAt(t, n.addr, v, withKey)
	p.wait(`document.getElementById("link").dataset.state === "live" && document.querySelectorAll("#list li").length === 14`)
	again.stop()
}
