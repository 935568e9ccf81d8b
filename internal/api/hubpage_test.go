package api_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"github.com/lanfolk/lanfolk"
	"github.com/lanfolk/lanfolk/internal/access"
	"github.com/lanfolk/lanfolk/internal/api"
	"github.com/lanfolk/lanfolk/store"
	"github.com/lanfolk/lanfolk/store/fleet"
)

func hubPageTests() []pageTest {
	return []pageTest{
		{"hub: sign in and out", testHubSignIn},
		{"hub: gateways are live", testHubGateways},
		{"hub: run and watch", testHubRun},
		{"hub: output goes on after a break", testHubBreak},
		{"hub: what a viewer sees", testHubViewer},
		{"hub: run on many", testHubMany},
		{"hub: history", testHubHistory},
		{"hub: hostile text", testHubHostile},
		{"hub: devices of a gateway", testHubDevices},
		{"hub: an admin's views", testHubAdmin},
		{"hub: widths and colours", testHubLooks},
		{"hub: labels", testHubLabels},
		{"hub: 10,000 gateways", testHubThousands},
	}
}

// hubNode is a hub that serves the page, with people.
type hubNode struct {
	*node
	*hub
	desk     *access.Desk
	accounts fleet.Accounts
}

// serveHub serves a hub's page. ada is its admin, otto an operator, vera a viewer.
func serveHub(t *testing.T, h *hub, v *inventory) *hubNode {
	t.Helper()
	n := &hubNode{hub: h}
	db, err := store.Open(t.Context(), t.TempDir()+"/hub.db", store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	f, err := fleet.Open(t.Context(), db, fleet.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	n.accounts = f.Accounts
	n.desk = &access.Desk{Accounts: f.Accounts, Audit: f.Audit, Gateways: records{f.Sessions, h}, Tokens: f.Once, Registrar: inviter{f.Once}, Revocations: cutter{h}}
	n.node = serve(t, v, h.options, func(o *api.Options) { o.Access = n.desk })
	return n
}

// records keeps what is said of gateways in a hub in memory.
type records struct {
	fleet.Sessions
	h *hub
}

func (r records) Gateway(ctx context.Context, id string, now time.Time) (fleet.Standing, error) {
	return r.h.Gateway(ctx, id, now)
}

func (r records) change(id string, f func(*fleet.Standing)) error {
	g, err := r.h.Gateway(context.Background(), id, time.Time{})
	if err == nil {
		f(&g)
		r.h.set(g, true)
	}
	return err
}

func (r records) Rename(_ context.Context, id, name string) error {
	return r.change(id, func(g *fleet.Standing) { g.Name = name })
}

func (r records) SetLabels(_ context.Context, id string, labels map[string]string) error {
	return r.change(id, func(g *fleet.Standing) { g.Labels = labels })
}

func (r records) Forget(_ context.Context, id string) error {
	r.h.mu.Lock()
	defer r.h.mu.Unlock()
	delete(r.h.gateways, id)
	return nil
}

type cutter struct{ h *hub }

func (r cutter) Revoke(_ context.Context, id, _, _ string) error {
	return records{h: r.h}.change(id, func(g *fleet.Standing) { g.Revoked, g.Online = time.Now(), false })
}

type inviter struct{ once fleet.Once }

func (i inviter) Invite(ctx context.Context, r access.JoinRequest) (string, fleet.Token, error) {
	t := fleet.Token{ID: "t1", Hash: fleet.HashSecret("secret"), Name: r.Name, By: r.By, Created: time.Now(), Expires: time.Now().Add(time.Hour)}
	return "lanfolk1.c2VjcmV0", t, i.once.AddToken(ctx, t)
}

// openAs opens the page at a fragment as somebody who is signed in.
func (p *tab) openAs(n *hubNode, name, at string) {
	p.t.Helper()
	role := map[string]fleet.Role{"ada": fleet.Admin, "otto": fleet.Operator, "vera": fleet.Viewer}[name]
	if err := n.accounts.CreateUser(p.t.Context(), fleet.User{Name: name, Role: role, Created: noon().Add(-time.Hour)}, ""); err != nil {
		p.t.Fatal(err)
	}
	now := time.Now()
	secret, _, err := n.accounts.SignIn(p.t.Context(), name, now, now.Add(time.Hour))
	if err != nil {
		p.t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(n.addr)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := chromedp.Call(p.ctx, network.SetCookie, network.SetCookieParams{
		Name: "__Host-lanfolk-" + port, Value: secret, URL: "http://" + n.addr + "/", Secure: new(true), HTTPOnly: new(true), Path: "/",
	}); err != nil {
		p.t.Fatal(err)
	}
	p.do(chromedp.Navigate("http://" + n.addr + "/" + at))
	p.wait(`document.getElementById("link")?.dataset.state === "live"`)
}

// branches are some gateways of a made-up chain of shops.
func branches() *hub {
	north, south := map[string]string{"site": "north"}, map[string]string{"site": "south", "kind": "lab"}
	h := newHub(standing("gaaaaaaaaaaaaaaaa", "Harbour", north), standing("gbbbbbbbbbbbbbbbb", "Mill", south), standing("gcccccccccccccccc", "", nil))
	g := standing("gdddddddddddddddd", "Quarry", north)
	g.Online, g.Session.Why, g.LastSeen = false, "its keepalive stayed away", time.Now().Add(-2*time.Hour)
	h.gateways[g.ID] = g
	return h
}

func (h *hub) newest(t *testing.T) fleet.Command {
	t.Helper()
	all, err := h.Commands(t.Context(), fleet.CommandFilter{})
	if err != nil || len(all) == 0 {
		t.Fatalf("no command: %v", err)
	}
	return all[0]
}

const text = `document.body.innerText`

func testHubSignIn(t *testing.T, b browser) {
	n, p := serveHub(t, branches(), newInventory()), b.tab(t)
	p.do(chromedp.Navigate("http://" + n.addr + "/#/commands"))
	p.wait(`location.pathname === "/signin" && !document.getElementById("person").hidden && ` + text + `.includes("lanfolk hub user create")`)
	p.shoot("hub-first")
	socket := access.Socket(0, true)
	if _, err := n.desk.CreateUser(t.Context(), socket, access.NewUser{Name: "ada", Role: fleet.Admin, Password: "correct horse"}); err != nil {
		t.Fatal(err)
	}
	p.do(chromedp.SendKeys(chromedp.ID("name"), "ada"), chromedp.SendKeys(chromedp.ID("password"), "battery\r"))
	p.wait(`document.getElementById("said").textContent === "The name or the password is wrong." && document.getElementById("hub-hint").hidden`)
	p.shoot("hub-signin")
	p.do(chromedp.SendKeys(chromedp.ID("password"), "correct horse\r"))
	p.wait(`location.pathname === "/" && location.hash === "#/commands" && document.getElementById("link")?.dataset.state === "live"`)
	p.wait(`document.getElementById("me").innerText.includes("ada") && document.getElementById("me").innerText.includes("admin")`)
	if got := eval[string](p, "document.cookie"); got != "" {
		t.Errorf("scripts see the cookie: %q", got)
	}

	// The session ends: what is there stays, and the way back leads here.
	if err := n.desk.RemoveUser(t.Context(), socket, "ada"); err == nil {
		t.Error("the last admin went")
	}
	if err := n.desk.SetPassword(t.Context(), socket, "ada", "", "staple battery"); err != nil {
		t.Fatal(err)
	}
	p.wait(`!document.getElementById("ended").hidden && document.getElementById("link").dataset.state === "denied"`)
	p.shoot("hub-ended")
	p.do(chromedp.Click(chromedp.ID("again")))
	p.wait(`location.pathname === "/signin" && !document.getElementById("person").hidden`)
	p.do(chromedp.SendKeys(chromedp.ID("name"), "ada"), chromedp.SendKeys(chromedp.ID("password"), "staple battery\r"))
	p.wait(`location.pathname === "/" && location.hash === "#/commands" && document.getElementById("link")?.dataset.state === "live"`)
	p.do(chromedp.Click(chromedp.ID("sign-out")))
	p.wait(`location.pathname === "/signin" && !document.getElementById("person").hidden`)
	p.do(chromedp.Navigate("http://" + n.addr + "/"))
	p.wait(`location.pathname === "/signin" && !document.getElementById("person").hidden`)
}

func testHubGateways(t *testing.T, b browser) {
	n, p := serveHub(t, branches(), newInventory()), b.tab(t)
	p.openAs(n, "otto", "")
	p.wait(`document.querySelectorAll("#list li").length === 4`)
	if got := eval[string](p, "document.title"); got != "4 gateways · lanfolk" {
		t.Errorf("title %q", got)
	}
	if got := eval[[]string](p, rows); !slices.Equal(got, []string{"gcccccccccccccccc", "Harbour", "Mill", "Quarry"}) {
		t.Errorf("rows %q", got)
	}
	p.shoot("hub-gateways")
	for search, want := range map[string][]string{"SITE=north": {"Harbour", "Quarry"}, "192.0.2.7 mill": {"Mill"}} {
		eval[any](p, fmt.Sprintf(`(() => { const s = document.getElementById("search"); s.value = %q; s.dispatchEvent(new Event("input")); })(), 0`, search))
		if got := eval[[]string](p, rows); !slices.Equal(got, want) {
			t.Errorf("search %q: %q", search, got)
		}
	}
	eval[any](p, `(() => { const s = document.getElementById("search"); s.value = ""; s.dispatchEvent(new Event("input")); const l = document.getElementById("label"); l.value = "kind=lab"; l.dispatchEvent(new Event("change")); })(), 0`)
	if got := eval[[]string](p, rows); !slices.Equal(got, []string{"Mill"}) {
		t.Errorf("kind=lab: %q", got)
	}
	eval[any](p, `(() => { const l = document.getElementById("label"); l.value = ""; l.dispatchEvent(new Event("change")); document.querySelector("#chips button:nth-child(3)").click(); })(), 0`)
	if got := eval[[]string](p, rows); !slices.Equal(got, []string{"Quarry"}) {
		t.Errorf("offline: %q", got)
	}
	// One goes and one comes.
	mill := n.gateways["gbbbbbbbbbbbbbbbb"]
	mill.Online = false
	n.set(mill, false)
	p.wait(`document.querySelectorAll("#list li").length === 2`)
	quarry := n.gateways["gdddddddddddddddd"]
	quarry.Online = true
	n.set(quarry, false)
	p.wait(`document.querySelectorAll("#list li").length === 1 && document.querySelector("#list").innerText.includes("Mill")`)
}

func testHubRun(t *testing.T, b browser) {
	n, p := serveHub(t, branches(), newInventory()), b.tab(t)
	p.openAs(n, "otto", "")
	p.do(chromedp.Click(chromedp.CSS(`#list a[href="#/gateway/gaaaaaaaaaaaaaaaa"]`)))
	p.wait(`document.querySelector("#panel h2")?.textContent === "Harbour" && document.querySelector("#panel .run")`)
	if got := eval[string](p, `document.querySelector("#panel .verbs").innerText`); strings.Contains(got, "exec") || strings.Contains(got, "capture") || !strings.Contains(got, "status") {
		t.Errorf("an operator is offered %q", got)
	}
	p.do(chromedp.SendKeys(chromedp.ID("gateway-line"), "find 'office printer'\r"))
	p.wait(`document.querySelector(".command-card")?.innerText.includes("Waiting")`)
	c := n.newest(t)
	if c.Line != "find 'office printer'" || c.By != "otto" || c.Gateway != "gaaaaaaaaaaaaaaaa" {
		t.Errorf("command %+v", c)
	}
	n.say(c.ID, "first line\nsecond")
	p.wait(`document.querySelector(".command-card").innerText.includes("Running") && document.querySelector(".output").innerText.includes("first line\nsecond")`)
	n.say(c.ID, " line\nthird line\n")
	p.wait(`document.querySelectorAll(".output .line").length === 3 && document.querySelector(".output").innerText.includes("second line\nthird line")`)
	p.shoot("hub-run")
	n.end(c.ID, fleet.OK)
	p.wait(`document.querySelector(".command-card").innerText.includes("Done") && document.querySelector(".result a")?.getAttribute("href") === "/api/v1/commands/` + c.ID + `/output"`)
	p.wait(`document.querySelectorAll(".history li").length === 1 && document.querySelector(".history").innerText.includes("Done")`)

	// One that is called off.
	eval[any](p, `document.getElementById("gateway-line").value = "", 0`)
	p.do(chromedp.SendKeys(chromedp.ID("gateway-line"), "browse\r"))
	p.wait(`document.querySelectorAll(".history li").length === 2 && document.querySelector(".command-card").innerText.includes("browse")`)
	p.do(chromedp.Click(chromedp.CSS(`.command-card button`)))
	p.wait(`document.querySelector(".command-card").innerText.includes("Cancelled") && document.querySelector(".history").innerText.includes("Cancelled")`)
	if c := n.newest(t); c.State != fleet.Cancelled || c.CancelledBy != "otto" {
		t.Errorf("command %+v", c)
	}

	// What is refused says why, and what is not text is not shown.
	for line, why := range map[string]string{"exec reboot": "grant for this gateway", "find 'x": "not closed"} {
		eval[any](p, fmt.Sprintf(`document.getElementById("gateway-line").value = %q, document.querySelector("#panel .run .primary").click(), 0`, line))
		p.wait(fmt.Sprintf(`document.querySelector("#panel .run .bad[role=alert]").textContent.includes(%q)`, why))
	}
	eval[any](p, `document.getElementById("gateway-line").value = "fingerprints", document.querySelector("#panel .run .primary").click(), 0`)
	p.wait(`document.querySelector(".command-card").innerText.includes("fingerprints")`)
	c = n.newest(t)
	n.say(c.ID, "\xd4\xc3\xb2\xa1\x02\x00\x04\x00")
	n.end(c.ID, fleet.OK)
	p.wait(`document.querySelector(".result .hint").innerText.includes("no text") && document.querySelector(".output").hidden && document.querySelector(".result a").download`)

	// One line of JSON is made easier to read, and can be had as it came.
	eval[any](p, `document.getElementById("gateway-line").value = "status", document.querySelector("#panel .run .primary").click(), 0`)
	p.wait(`document.querySelector(".command-card").innerText.includes("status")`)
	c = n.newest(t)
	n.say(c.ID, `{"name":"harbour","healthy":true,"parts":[`+strings.Repeat(`{"name":"mdns","state":"running"},`, 5)+`{}]}`+"\n")
	n.end(c.ID, fleet.OK)
	p.wait(`document.querySelector(".output").innerText.includes('"healthy": true')`)
	p.do(chromedp.Click(chromedp.CSS(`.result button`)))
	p.wait(`document.querySelector(".output").innerText.includes('"healthy":true')`)

	// For one that is offline it can wait.
	eval[any](p, `location.hash = "#/gateway/gdddddddddddddddd", 0`)
	p.wait(`document.querySelector("#panel h2")?.textContent === "Quarry" && document.querySelector("#panel").innerText.includes("keepalive stayed away")`)
	eval[any](p, `document.getElementById("gateway-queue").checked = true, document.getElementById("gateway-line").value = "status", document.querySelector("#panel .run .primary").click(), 0`)
	p.wait(`document.querySelector(".command-card")?.innerText.includes("It goes to the gateway when that is there")`)
	if c := n.newest(t); !c.Queue || c.Gateway != "gdddddddddddddddd" {
		t.Errorf("command %+v", c)
	}
	p.shoot("hub-queued")
	p.do(chromedp.KeyEvent("\x1b"))
	p.wait(`document.getElementById("panel").hidden && document.activeElement.getAttribute("href") === "#/gateway/gdddddddddddddddd"`)
}

// testHubBreak stops the hub's listener while a command runs: the page says so, and then
// reads on from where it was.
func testHubBreak(t *testing.T, b browser) {
	h, v := branches(), newInventory()
	n, p := serveHub(t, h, v), b.tab(t)
	made, err := n.Submit(t.Context(), fleet.Request{By: "ada", Line: "exec backup", Gateways: []fleet.Gateway{{ID: "gaaaaaaaaaaaaaaaa"}}})
	if err != nil {
		t.Fatal(err)
	}
	id := made[0].ID
	n.say(id, "first\nsec")
	p.openAs(n, "ada", "#/command/"+id)
	p.wait(`document.querySelectorAll(".output .line").length === 2`)
	n.stop()
	p.wait(`document.getElementById("link").dataset.state === "lost" && document.querySelector(".result .bad")`)
	n.say(id, "ond\nthird\n")
	again := serveAt(t, n.addr, v, h.options, func(o *api.Options) { o.Access = n.desk })
	p.wait(`document.querySelector(".output").innerText.trim() === "first\nsecond\nthird" && !document.querySelector(".result .bad")`)
	n.say(id, "fourth\n")
	n.end(id, fleet.OK)
	p.wait(`document.querySelector(".output").innerText.trim() === "first\nsecond\nthird\nfourth" && document.querySelector(".command-card").innerText.includes("Done") && document.getElementById("link").dataset.state === "live"`)
	again.stop()
}

func testHubViewer(t *testing.T, b browser) {
	n, p := serveHub(t, branches(), newInventory()), b.tab(t)
	made, err := n.Submit(t.Context(), fleet.Request{By: "ada", Line: "exec inventory", Gateways: []fleet.Gateway{{ID: "gaaaaaaaaaaaaaaaa"}}})
	if err != nil {
		t.Fatal(err)
	}
	n.say(made[0].ID, "secret")
	p.openAs(n, "vera", "#/gateway/gaaaaaaaaaaaaaaaa")
	p.wait(`document.querySelectorAll(".history li").length === 1`)
	if eval[bool](p, `document.querySelector(".run, #panel [data-keep=edit], #panel [data-keep=revoke]") !== null || !document.getElementById("run").hidden || document.querySelector(".tabs [data-view=audit]").checkVisibility()`) {
		t.Error("a viewer is offered what is not for him")
	}
	p.do(chromedp.Click(chromedp.CSS(`.history a`)))
	p.wait(`document.querySelector(".command-card .result")?.innerText.includes("grant for this gateway")`)
	if eval[bool](p, `document.querySelector(".command-card button") !== null || document.body.innerText.includes("secret")`) {
		t.Error("a viewer may cancel, or sees what a program said")
	}
	// A grant opens what it is for, where it is for.
	if _, err := n.accounts.Grant(t.Context(), fleet.Grant{User: "vera", Verb: "exec", Selector: map[string]string{"site": "north"}}); err != nil {
		t.Fatal(err)
	}
	eval[any](p, `location.hash = "#/gateway/gaaaaaaaaaaaaaaaa", 0`)
	p.wait(`document.querySelector("#panel .verbs")?.innerText.trim() === "exec"`)
	eval[any](p, `location.hash = "#/gateway/gbbbbbbbbbbbbbbbb", 0`)
	p.wait(`document.querySelector("#panel h2")?.textContent === "Mill" && !document.querySelector("#panel .run")`)
}

func testHubMany(t *testing.T, b browser) {
	n, p := serveHub(t, branches(), newInventory()), b.tab(t)
	p.openAs(n, "otto", "")
	p.wait(`document.querySelectorAll("#list li").length === 4`)
	p.do(chromedp.Click(chromedp.ID("run")))
	p.wait(`document.querySelector("#panel h2")?.textContent === "Run on many" && document.querySelector("#panel .title").innerText.includes("0 gateways")`)
	p.do(chromedp.SendKeys(chromedp.ID("run-labels"), "site=north"))
	p.wait(`document.querySelector("#panel .title").innerText.includes("2 gateways, 1 online")`)
	p.shoot("hub-many")
	p.do(chromedp.SendKeys(chromedp.ID("many-line"), "status\r"))
	p.wait(`location.hash === "#/commands" && document.querySelectorAll("#list li").length === 2 && document.getElementById("narrowed").innerText === "This run: 2"`)
	if got := eval[[]string](p, `[...document.querySelectorAll("#list li")].map(l => l.querySelector(".where").innerText + " " + l.querySelector(".mac").innerText)`); !slices.Equal(got, []string{"Quarry Offline", "Harbour Waiting"}) {
		t.Errorf("results %q", got)
	}
	all, err := n.Commands(t.Context(), fleet.CommandFilter{})
	if err != nil || len(all) != 2 {
		t.Fatalf("%+v, %v", all, err)
	}
	n.say(all[1].ID, "fine\n")
	n.end(all[1].ID, fleet.OK)
	p.wait(`document.querySelector("#list").innerText.includes("Done · 5 B") && document.querySelector("#chips").innerText.replace(/\s+/g, " ").includes("Done 1 Not done 1")`)
	p.shoot("hub-results")
	// Everybody's commands come back with a click.
	if _, err := n.Submit(t.Context(), fleet.Request{By: "ada", Line: "list", Gateways: []fleet.Gateway{{ID: "gaaaaaaaaaaaaaaaa"}}}); err != nil {
		t.Fatal(err)
	}
	p.do(chromedp.Click(chromedp.ID("narrowed")))
	p.wait(`document.querySelectorAll("#list li").length === 3 && document.getElementById("narrowed").hidden`)
}

func testHubHistory(t *testing.T, b browser) {
	n, p := serveHub(t, branches(), newInventory()), b.tab(t)
	for i := range 450 {
		made, err := n.Submit(t.Context(), fleet.Request{By: "ada", Line: fmt.Sprintf("find host-%d", i), Gateways: []fleet.Gateway{{ID: "gaaaaaaaaaaaaaaaa"}}})
		if err != nil {
			t.Fatal(err)
		}
		n.say(made[0].ID, strings.Repeat("x", 1500))
		n.end(made[0].ID, fleet.Error)
	}
	p.openAs(n, "vera", "#/gateway/gaaaaaaaaaaaaaaaa")
	p.wait(`document.querySelectorAll(".history li").length === 20 && document.querySelector(".history").innerText.includes("find host-449")`)
	if got := eval[string](p, `document.querySelector(".history li .sub").textContent`); got != "Failed · 1.5 kB · ada" {
		t.Errorf("history says %q", got)
	}
	eval[any](p, `document.querySelector("[data-more]").click(), 0`)
	p.wait(`document.querySelectorAll(".history li").length === 40`)
	// The list of all looks back as it is scrolled.
	eval[any](p, `location.hash = "#/commands", 0`)
	p.wait(`document.querySelector("#chips").innerText.includes("200")`)
	eval[any](p, `document.getElementById("scroller").scrollTop = 1e6, 0`)
	p.wait(`document.querySelector("#chips").innerText.includes("400")`)
	eval[any](p, `document.getElementById("scroller").scrollTop = 1e6, 0`)
	p.wait(`document.querySelector("#chips").innerText.includes("450")`)
	p.wait(`document.getElementById("scroller").scrollTop = 1e6, document.querySelector("#list").innerText.includes("find host-0")`)
}

// testHubHostile holds that what a gateway says stays text, and bounded.
func testHubHostile(t *testing.T, b browser) {
	const script = `<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>`
	h := branches()
	evil := standing("insecure/evil", script+"\u202e", map[string]string{"x": script, "__proto__": "\u202eevil"})
	evil.Version, evil.Address, evil.Session.Why = script, "javascript:alert(1)", script
	h.gateways[evil.ID] = evil
	n, p := serveHub(t, h, newInventory()), b.tab(t)
	made, err := n.Submit(t.Context(), fleet.Request{By: "otto", Line: "status " + script, Gateways: []fleet.Gateway{evil.Gateway, evil.Gateway}})
	if err != nil {
		t.Fatal(err)
	}
	n.say(made[0].ID, script+"\r\n\x1b[31mred\x1b[0m\tand \u202eturned\u2066 round\n"+strings.Repeat("W", 1<<20)+"\nafter")
	c := n.end(made[0].ID, fleet.Error)
	c.Error, c.Revision = script+"\u202e", c.Revision+1
	n.put(c)
	n.say(made[1].ID, strings.Repeat("line\n", 30000))
	p.openAs(n, "ada", "")
	p.wait(`document.querySelectorAll("#list li").length === 5`)
	p.shoot("hub-hostile-list")
	clean := func(where string) {
		t.Helper()
		if eval[bool](p, `"hacked" in window || ({}).evil !== undefined`) {
			t.Fatalf("%s: a script ran", where)
		}
		if got := eval[int](p, `document.querySelectorAll("main img, main script, aside img, aside script, [onerror]").length`); got != 0 {
			t.Errorf("%s: text became %d elements", where, got)
		}
		if got := eval[[]string](p, `[...document.querySelectorAll("body *")].flatMap(e => [...e.childNodes]).filter(c => c.nodeType === 3 && /[\u0000-\u0008\u001b\u200b\u202a-\u202e\u2066-\u2069]/.test(c.data)).map(c => c.data.slice(0, 80))`); len(got) != 0 {
			t.Errorf("%s: characters that can't be seen are in the page: %q", where, got)
		}
		if got := eval[[]string](p, tooWide); len(got) > 0 {
			t.Errorf("%s: beyond the edge: %q", where, got)
		}
		if got := eval[[]string](p, `[...document.querySelectorAll("a")].map(a => a.protocol).filter(s => s !== "http:")`); len(got) != 0 {
			t.Errorf("%s: links to %q", where, got)
		}
	}
	clean("the list")
	eval[any](p, `location.hash = "#/gateway/insecure%2Fevil", 0`)
	p.wait(`document.querySelectorAll(".history li").length === 2`)
	p.shoot("hub-hostile-gateway")
	clean("the gateway")
	eval[any](p, `document.querySelector('.history a[href*="`+made[0].ID+`"]').click(), 0`)
	p.wait(`document.querySelector(".result")?.innerText.includes("Download all of it")`)
	p.shoot("hub-hostile-output")
	clean("the output")
	if got := eval[string](p, `document.querySelector(".output").innerText`); !strings.HasPrefix(got, script+"\nU+001B[31mredU+001B[0m\tand U+202EturnedU+2066 round\nWWW") || len(got) > 10000 {
		t.Errorf("%d bytes of output: %.200q", len(got), got)
	}
	p.do(chromedp.EmulateViewport(360, 740))
	clean("the output on a phone")
	p.do(chromedp.EmulateViewport(1280, 800))
	eval[any](p, `location.hash = "#/command/`+made[1].ID+`", 0`)
	p.wait(`document.querySelectorAll(".output .line").length === 2000 && document.querySelector(".result").innerText.includes("2,000 lines")`)
	eval[any](p, `location.hash = "#/commands", 0`)
	p.wait(`document.querySelectorAll("#list li").length === 2`)
	clean("the commands")
	eval[any](p, `location.hash = "#/command/%zz<img src=x onerror=alert(1)>", 0`)
	p.wait(`document.querySelector("#panel h2")?.textContent === "Gone"`)
	clean("an unknown command")
	eval[any](p, `location.hash = "#/gateways", 0`)
	p.wait(`document.body.dataset.view === "gateways"`)
	for _, where := range []string{"command/01KJWBG7G0000000000000ZZZZ", "gateway/gzzzzzzzzzzzzzzzz"} {
		eval[any](p, `location.hash = "#/`+where+`", 0`)
		p.wait(`document.querySelector("#panel h2")?.textContent === "Gone"`)
		if got := eval[string](p, `document.getElementById("link").dataset.state`); got != "live" {
			t.Errorf("%s: the page is %s", where, got)
		}
	}
}

func testHubDevices(t *testing.T, b browser) {
	v := newInventory()
	for i := range 6 {
		d := made{name: fmt.Sprintf("host %d", i), vendor: "Example", state: lanfolk.Reachable, protocols: []string{"mdns"}, services: [][3]string{{"_http._tcp", "80", "web"}}}.device(i+1, time.Now())
		d.Gateway = []string{"gaaaaaaaaaaaaaaaa", "gbbbbbbbbbbbbbbbb"}[i%2]
		for _, s := range d.Services {
			s.Gateway = d.Gateway
		}
		v.devices[d.ID] = d
	}
	n, p := serveHub(t, branches(), v), b.tab(t)
	p.openAs(n, "vera", "#/devices")
	p.wait(`document.querySelectorAll("#list li").length === 6 && document.querySelector("#list .heard").innerText.startsWith("Harbour")`)
	p.shoot("hub-devices")
	eval[any](p, `(() => { const s = document.getElementById("search"); s.value = "MILL"; s.dispatchEvent(new Event("input")); })(), 0`)
	if got := eval[[]string](p, rows); !slices.Equal(got, []string{"host 1", "host 3", "host 5"}) {
		t.Errorf("a search for the gateway: %q", got)
	}
	p.wait(`[...document.getElementById("gateway").options].some(o => o.text === "Harbour")`)
	eval[any](p, `(() => { const s = document.getElementById("search"); s.value = ""; s.dispatchEvent(new Event("input")); const g = document.getElementById("gateway"); g.value = "gaaaaaaaaaaaaaaaa"; g.dispatchEvent(new Event("change")); })(), 0`)
	if got := eval[[]string](p, rows); !slices.Equal(got, []string{"host 0", "host 2", "host 4"}) {
		t.Errorf("a gateway's: %q", got)
	}
	eval[any](p, `(() => { const g = document.getElementById("gateway"); g.value = ""; g.dispatchEvent(new Event("change")); })(), 0`)
	eval[any](p, `location.hash = "#/gateway/gbbbbbbbbbbbbbbbb", 0`)
	p.wait(`document.querySelector("#panel .facts a")`)
	p.do(chromedp.Click(chromedp.CSS(`#panel .facts a`)))
	p.wait(`location.hash === "#/devices/gbbbbbbbbbbbbbbbb" && document.querySelectorAll("#list li").length === 3 && document.getElementById("narrowed").innerText === "Gateway: Mill"`)
	if got := eval[[]string](p, rows); !slices.Equal(got, []string{"host 1", "host 3", "host 5"}) {
		t.Errorf("rows %q", got)
	}
	p.do(chromedp.Click(chromedp.CSS(`#list a`)))
	p.wait(`document.querySelector("#panel h2")?.textContent === "host 1" && document.querySelector("#panel .facts").innerText.includes("Mill")`)
	p.do(chromedp.KeyEvent("\x1b"))
	p.wait(`location.hash === "#/devices/gbbbbbbbbbbbbbbbb"`)
	eval[any](p, `location.hash = "#/services/gbbbbbbbbbbbbbbbb", 0`)
	p.wait(`document.querySelectorAll("#list li").length === 3 && document.querySelector("#list .heard").innerText.startsWith("Mill")`)
	p.do(chromedp.Click(chromedp.ID("narrowed")))
	p.wait(`location.hash === "#/services" && document.querySelectorAll("#list li").length === 6`)
}

func testHubAdmin(t *testing.T, b browser) {
	n, p := serveHub(t, branches(), newInventory()), b.tab(t)
	p.openAs(n, "ada", "#/node")
	p.do(chromedp.SendKeys(chromedp.ID("token-name"), "Workshop\r"))
	p.wait(`document.querySelector(".made input")?.value === "lanfolk1.c2VjcmV0" && document.querySelector("#admin .plain-list").innerText.includes("Workshop")`)
	p.shoot("hub-admin")
	p.do(chromedp.Click(chromedp.CSS(`#admin .plain-list button`)))
	p.wait(`document.querySelectorAll("#admin .plain-list li").length === 0`)
	p.do(chromedp.Click(chromedp.CSS(`.tabs [data-view="audit"]`)))
	p.wait(`document.querySelectorAll("#list li").length >= 2 && document.querySelector("#list").innerText.includes("ada")`)
	p.shoot("hub-audit")
	p.do(chromedp.Click(chromedp.CSS(`.tabs [data-view="gateways"]`)))
	p.do(chromedp.Click(chromedp.CSS(`#list a[href="#/gateway/gbbbbbbbbbbbbbbbb"]`)))
	p.do(chromedp.Click(chromedp.CSS(`#panel [data-keep="edit"]`)))
	p.shoot("hub-edit")
	eval[any](p, `document.getElementById("edit-labels").value = "site", document.querySelector("#panel .edit .primary").click(), 0`)
	p.wait(`document.querySelector("#panel .edit .bad").textContent.includes("“site” is no pair")`)
	eval[any](p, `document.getElementById("edit-name").value = "Old mill", document.getElementById("edit-labels").value = "site=west, floor=2", document.querySelector("#panel .edit .primary").click(), 0`)
	p.wait(`document.querySelector("#panel h2").textContent === "Old mill" && document.querySelector("#panel .tags").innerText.replace(/\s+/g, " ").startsWith("floor=2 site=west Name")`)
	if g, err := n.Gateway(t.Context(), "gbbbbbbbbbbbbbbbb", time.Now()); err != nil || fleet.SelectorText(g.Labels) != "floor=2,site=west" {
		t.Errorf("labels %v, %v", g.Labels, err)
	}
	p.do(chromedp.Click(chromedp.CSS(`#panel [data-keep="revoke"]`)))
	p.do(chromedp.SendKeys(chromedp.ID("why"), "stolen\r"))
	p.wait(`document.querySelector("#panel .title").innerText.includes("Revoked") && !document.querySelector("#panel .run").checkVisibility()`)
	p.do(chromedp.Click(chromedp.CSS(`#panel [data-keep="forget"]`)))
	p.do(chromedp.Click(chromedp.CSS(`#panel .edit .primary`)))
	p.wait(`document.querySelector("#panel h2").textContent === "Gone"`)
}
