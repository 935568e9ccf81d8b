package api_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lanfolk/lanfolk/internal/api"
	"github.com/lanfolk/lanfolk/internal/api/client"
	"github.com/lanfolk/lanfolk/internal/api/wire"
	"github.com/lanfolk/lanfolk/store/fleet"
)

func decoded[T any](t *testing.T, body string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	return v
}

// ended are commands' gateways and statuses: "gnorth:queued gsouth:denied".
func ended(commands []api.Command) string {
	var out []string
	for _, c := range commands {
		out = append(out, c.Gateway+":"+c.Status)
	}
	return strings.Join(out, " ")
}

func TestACommandGoesToTheGatewaysThatAreMeant(t *testing.T) {
	h := houses()
	n := serve(t, newInventory(), h.options)
	for body, want := range map[string]string{
		`{"line":"status","gateways":["barn"]}`:                      "gnorth:queued",
		`{"argv":["find","Living Room"],"gateways":["gsouth"]}`:      "gsouth:queued",
		`{"line":"status","gateways":["gsouth","barn","gnorth"]}`:    "gsouth:queued gnorth:queued",
		`{"line":"status","gateways":["insecure/barn"]}`:             "insecure/barn:queued",
		`{"line":"status","gateways":["office"]}`:                    "goffline:offline",
		`{"line":"status","gateways":["office"],"queue":true}`:       "goffline:queued",
		`{"line":"status","selector":{"site":"north"}}`:              "gnorth:queued goffline:offline",
		`{"line":"status","all":true,"timeout":"5s","queue":false}`:  "gnorth:queued goffline:offline gsouth:queued insecure/barn:queued",
		`{"line":"exec a 'b c'","gateways":["barn"],"timeout":"1m"}`: "gnorth:queued",
	} {
		resp, answer := n.call(t, "POST", "/api/v1/commands", body)
		if resp.StatusCode != 200 {
			t.Errorf("%s: %d %s", body, resp.StatusCode, answer)
			continue
		}
		if got := ended(decoded[[]api.Command](t, answer)); got != want {
			t.Errorf("%s: %s; want %s", body, got, want)
		}
	}
	_, answer := n.call(t, "POST", "/api/v1/commands", `{"argv":["find","Living Room"],"gateways":["barn"],"timeout":"90s"}`)
	c := decoded[[]api.Command](t, answer)[0]
	if c.Line != "find 'Living Room'" || c.GatewayName != "barn" || c.By != "test" || !c.Deadline.Equal(noon().Add(90*time.Second)) || c.Started != nil {
		t.Errorf("%s", answer)
	}
	// A shell at the other end finds nothing in it to act on.
	_, answer = n.call(t, "POST", "/api/v1/commands", `{"line":"list  ; reboot $(x) \"a b\"","gateways":["barn"]}`)
	if c := decoded[[]api.Command](t, answer)[0]; c.Line != "list ';' reboot '$(x)' 'a b'" {
		t.Errorf("%s", answer)
	}
	for body, hours := range map[string]time.Duration{
		`{"line":"status","gateways":["barn"]}`:              1,
		`{"line":"status","gateways":["barn"],"queue":true}`: 24,
	} {
		_, answer := n.call(t, "POST", "/api/v1/commands", body)
		if c := decoded[[]api.Command](t, answer)[0]; !c.Deadline.Equal(noon().Add(hours * time.Hour)) {
			t.Errorf("%s: until %v", body, c.Deadline)
		}
	}
}

func TestWhatIsNoCommandIsRefused(t *testing.T) {
	h := houses()
	n := serve(t, newInventory(), h.options)
	for _, c := range []struct {
		body   string
		status int
		want   string
	}{
		{`{"gateways":["barn"]}`, 422, "one of line and argv"},
		{`{"line":"status","argv":["status"],"gateways":["barn"]}`, 422, "one of line and argv"},
		{`{"line":"get \"a","gateways":["barn"]}`, 422, "is not closed"},
		{`{"line":"status\nreboot","gateways":["barn"]}`, 422, "control character"},
		{`{"argv":["get","a\u0000b"],"gateways":["barn"]}`, 422, "without control characters"},
		{`{"line":"status"}`, 422, "one of gateways, selector and all"},
		{`{"line":"status","gateways":["barn"],"all":true}`, 422, "one of gateways, selector and all"},
		{`{"line":"status","selector":{}}`, 422, "one of gateways, selector and all"},
		{`{"line":"status","selector":{"site":"east"}}`, 404, "no gateway has these labels"},
		{`{"line":"status","gateways":["nowhere"]}`, 404, "unknown gateway"},
		{`{"line":"status","gateways":["grevoked"]}`, 409, "was revoked"},
		{`{"line":"status","gateways":["barn"],"timeout":"soon"}`, 422, "no duration"},
		{`{"line":"status","gateways":["barn"],"timeout":"-1s"}`, 422, "no duration"},
		{`{"line":"status","gateways":["barn"],"timeout":"169h"}`, 422, "no duration"},
		{`{"line":"status","gateways":["barn"],"when":"now"}`, 422, "unexpected property"},
		{`{"line":"` + strings.Repeat("a", 600<<10) + `","all":true}`, 413, ""},
	} {
		resp, answer := n.call(t, "POST", "/api/v1/commands", c.body)
		if resp.StatusCode != c.status || !strings.Contains(answer, c.want) {
			t.Errorf("%.80s: %d %.200s; want %d %s", c.body, resp.StatusCode, answer, c.status, c.want)
		}
	}
	if len(h.commands) > 0 || len(h.entries) > 0 {
		t.Errorf("something was run: %v %v", h.commands, h.entries)
	}
	// The longest line comes through, however JSON has to write it.
	body, err := json.Marshal(map[string]any{"line": "find '" + strings.Repeat("<", 65000) + "'", "gateways": []string{"barn"}})
	if err != nil {
		t.Fatal(err)
	}
	if resp, answer := n.call(t, "POST", "/api/v1/commands", string(body)); resp.StatusCode != 200 {
		t.Errorf("the longest line: %d %.200s", resp.StatusCode, answer)
	}
}

func TestWhoMayRunWhat(t *testing.T) {
	h := houses()
	with, tokens := people(t, map[string]fleet.Role{"vera": fleet.Viewer, "otto": fleet.Operator, "anna": fleet.Admin, "gina": fleet.Viewer},
		fleet.Grant{User: "gina", Verb: "exec", Selector: map[string]string{"site": "north"}})
	n := serve(t, newInventory(), h.options, with)
	for _, c := range []struct {
		who, body string
		status    int
		want      string // outcomes, or a part of the detail
		audit     string // of what was denied
	}{
		{"vera", `{"line":"status","gateways":["barn"]}`, 403, "takes an operator", "vera run gnorth status denied"},
		{"vera", `{"line":"status","all":true}`, 403, "takes an operator", "vera run  status denied for all 4 gateways"},
		{"otto", `{"line":"status","gateways":["barn","gsouth"]}`, 200, "gnorth:queued gsouth:queued", ""},
		{"otto", `{"line":"exec reboot","gateways":["barn"]}`, 403, "takes a grant", "otto run gnorth exec reboot denied"},
		{"otto", `{"line":"frobnicate","gateways":["barn"]}`, 403, "takes an admin", "otto run gnorth frobnicate denied"},
		{"gina", `{"line":"exec reboot","gateways":["barn","gsouth"]}`, 200, "gnorth:queued gsouth:denied", "gina run gsouth exec reboot denied"},
		{"gina", `{"line":"exec reboot","selector":{"site":"north"}}`, 200, "gnorth:queued goffline:offline", ""},
		{"gina", `{"line":"get secrets","gateways":["barn"]}`, 403, "takes a grant", "gina run gnorth get secrets denied"},
		{"anna", `{"line":"frobnicate","gateways":["barn"]}`, 200, "gnorth:queued", ""},
	} {
		h.entries = nil
		before := len(h.commands)
		resp, answer := n.call(t, "POST", "/api/v1/commands", c.body, bearerOf(tokens[c.who])...)
		got := answer
		if resp.StatusCode == 200 {
			commands := decoded[[]api.Command](t, answer)
			got = ended(commands)
			for _, x := range commands {
				if x.By != c.who || (x.Status == "denied") != (x.ID == "") || (x.Status == "denied") != (x.Error != "") && x.Status != "offline" {
					t.Errorf("%s %s: %+v", c.who, c.body, x)
				}
			}
		} else if len(h.commands) != before {
			t.Errorf("%s %s: it was run", c.who, c.body)
		}
		if resp.StatusCode != c.status || !strings.Contains(got, c.want) {
			t.Errorf("%s %s: %d %s; want %d %s", c.who, c.body, resp.StatusCode, got, c.status, c.want)
		}
		var audit []string
		for _, e := range h.entries {
			audit = append(audit, strings.Join([]string{e.Who, e.What, e.Gateway, e.Detail, e.Outcome}, " "))
		}
		if got := strings.Join(audit, "\n"); got != c.audit {
			t.Errorf("%s %s: the audit has %q; want %q", c.who, c.body, got, c.audit)
		}
	}
	// What can't be audited isn't decided.
	h.failing = errors.New("the disk is away")
	if resp, answer := n.call(t, "POST", "/api/v1/commands", `{"line":"exec x","gateways":["barn"]}`, bearerOf(tokens["otto"])...); resp.StatusCode != 500 {
		t.Errorf("without an audit: %d %s", resp.StatusCode, answer)
	}
}

func TestWhoMayReadAResult(t *testing.T) {
	h := houses()
	with, tokens := people(t, map[string]fleet.Role{"vera": fleet.Viewer, "otto": fleet.Operator, "anna": fleet.Admin, "gina": fleet.Viewer},
		fleet.Grant{User: "gina", Verb: "get", Selector: map[string]string{"site": "north"}})
	n := serve(t, newInventory(), h.options, with)
	made := make(map[string]string)
	for key, r := range map[string]fleet.Request{
		"status":    {By: "anna", Line: "status", Gateways: []fleet.Gateway{{ID: "gnorth"}}},
		"get north": {By: "anna", Line: "get x", Gateways: []fleet.Gateway{{ID: "gnorth"}}},
		"get south": {By: "anna", Line: "get x", Gateways: []fleet.Gateway{{ID: "gsouth"}}},
		"get gone":  {By: "anna", Line: "get x", Gateways: []fleet.Gateway{{ID: "ggone"}}},
		"otto's":    {By: "otto", Line: "exec x", Gateways: []fleet.Gateway{{ID: "gnorth"}}},
		"odd":       {By: "anna", Line: "frobnicate", Gateways: []fleet.Gateway{{ID: "gnorth"}}},
	} {
		c, err := h.Submit(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		h.say(c[0].ID, "secret")
		h.end(c[0].ID, fleet.OK)
		made[key] = c[0].ID
	}
	// Of somebody who was called otto before him.
	h.put(fleet.Command{ID: "01A", Gateway: "gnorth", Line: "exec x", By: "otto", Created: noon().Add(-2 * time.Hour), State: fleet.Queued, Revision: 1})
	h.say("01A", "secret")
	h.end("01A", fleet.OK)
	made["another otto's"] = "01A"
	may := map[string][]string{
		"status":    {"vera", "otto", "anna", "gina"},
		"get north": {"anna", "gina"},
		"get south": {"anna"},
		"get gone":  {"anna"},
		"otto's":    {"otto", "anna"},
		"odd":       {"anna"},

		"another otto's": {"anna"},
	}
	for key, id := range made {
		for who, token := range tokens {
			resp, body := n.call(t, "GET", "/api/v1/commands/"+id+"/output", "", bearerOf(token)...)
			allowed := resp.StatusCode == 200 && body == "secret"
			if allowed != slices.Contains(may[key], who) || !allowed && resp.StatusCode != 403 {
				t.Errorf("%s of %s's result: %d %s", who, key, resp.StatusCode, body)
			}
			// Everybody sees how it went; the excerpt is for the same people.
			resp, body = n.call(t, "GET", "/api/v1/commands/"+id, "", bearerOf(token)...)
			if c := decoded[api.Command](t, body); resp.StatusCode != 200 || c.Status != "ok" || (c.Output == "secret") != allowed || c.Output != "" && !allowed {
				t.Errorf("%s of %s: %d %s", who, key, resp.StatusCode, body)
			}
			if _, body := n.call(t, "GET", "/api/v1/commands", "", bearerOf(token)...); strings.Contains(body, "secret") {
				t.Errorf("%s: the list holds a result", who)
			}
		}
	}
}

func TestACommandIsCalledOff(t *testing.T) {
	h := houses()
	with, tokens := people(t, map[string]fleet.Role{"otto": fleet.Operator, "olga": fleet.Operator, "anna": fleet.Admin})
	n := serve(t, newInventory(), h.options, with)
	cancel := func(who, id string) (int, string) {
		resp, body := n.call(t, "POST", "/api/v1/commands/"+id+"/cancel", "", bearerOf(tokens[who])...)
		return resp.StatusCode, body
	}
	for _, who := range []string{"otto", "anna"} {
		c, err := h.Submit(t.Context(), fleet.Request{By: "otto", Line: "status", Gateways: []fleet.Gateway{{ID: "gnorth"}}})
		if err != nil {
			t.Fatal(err)
		}
		if status, body := cancel("olga", c[0].ID); status != 403 || !strings.Contains(body, "otto's command") {
			t.Errorf("another operator: %d %s", status, body)
		}
		status, body := cancel(who, c[0].ID)
		if status != 200 || decoded[api.Command](t, body).CancelledBy != who {
			t.Errorf("%s: %d %s", who, status, body)
		}
		if status, body := cancel(who, c[0].ID); status != 409 {
			t.Errorf("again: %d %s", status, body)
		}
	}
	h.put(fleet.Command{ID: "01A", Gateway: "gnorth", Line: "status", By: "otto", Created: noon().Add(-2 * time.Hour), State: fleet.Queued, Revision: 1})
	if status, body := cancel("otto", "01A"); status != 403 {
		t.Errorf("somebody of the same name: %d %s", status, body)
	}
	if status, _ := cancel("anna", "nothing"); status != 404 {
		t.Errorf("none: %d", status)
	}
}

func TestCommandsAreListed(t *testing.T) {
	h := houses()
	n := serve(t, newInventory(), h.options)
	var want []string
	for i := range 25 {
		c, err := h.Submit(t.Context(), fleet.Request{By: fmt.Sprintf("user%d", i%2), Line: "status", Gateways: []fleet.Gateway{{ID: []string{"gnorth", "gsouth"}[i%2]}}})
		if err != nil {
			t.Fatal(err)
		}
		switch i % 5 {
		case 0:
			h.end(c[0].ID, fleet.OK)
		case 1:
			c[0].State = fleet.Sent
			h.put(c[0])
		}
		want = append(want, c[0].ID)
	}
	slices.Reverse(want)
	// Page by page, as the header Link says.
	var got []string
	pages := 0
	for next := "/api/v1/commands?limit=10"; next != ""; pages++ {
		resp, body := n.call(t, "GET", next, "")
		for _, c := range decoded[[]api.Command](t, body) {
			got = append(got, c.ID)
		}
		link, _, _ := strings.Cut(resp.Header.Get("Link"), ">")
		next = strings.TrimPrefix(link, "<")
	}
	if !slices.Equal(got, want) || pages != 3 {
		t.Errorf("%d pages: %v", pages, got)
	}
	for query, count := range map[string]int{
		"?gateway=cellar": 12, "?by=user0": 13, "?status=ok": 5, "?status=running": 5, "?status=queued": 15, "?status=ok,running": 10,
		"?gateway=gsouth&by=user0": 0, "?before=" + want[20]: 4,
	} {
		resp, body := n.call(t, "GET", "/api/v1/commands"+query, "")
		if resp.StatusCode != 200 || len(decoded[[]api.Command](t, body)) != count {
			t.Errorf("%s: %d, %d commands; want %d", query, resp.StatusCode, len(decoded[[]api.Command](t, body)), count)
		}
	}
	for query, status := range map[string]int{"?gateway=nowhere": 404, "?status=sent": 422, "?limit=1001": 422} {
		if resp, body := n.call(t, "GET", "/api/v1/commands"+query, ""); resp.StatusCode != status {
			t.Errorf("%s: %d %s", query, resp.StatusCode, body)
		}
	}
}

func TestCommandsAreWatched(t *testing.T) {
	h := houses()
	submit := func(gateway string) string {
		c, err := h.Submit(t.Context(), fleet.Request{By: "otto", Line: "status", Gateways: []fleet.Gateway{{ID: gateway}}})
		if err != nil {
			t.Fatal(err)
		}
		return c[0].ID
	}
	old := submit("gnorth")
	h.end(old, fleet.OK)
	a, b := submit("gnorth"), submit("gsouth")
	bubble(t, newInventory(), func(l pipes) {
		all := streamed(t, l, "/api/v1/commands/events", "id", "status", "gateway_name")
		wants(t, all, "add "+old+" ok barn", "add "+a+" queued barn", "add "+b+" queued cellar", "synced")
		two := streamed(t, l, "/api/v1/commands/events?from="+a+"&to="+b, "command_id", "status")
		wants(t, two, "add "+a+" queued", "add "+b+" queued", "synced")
		one := streamed(t, l, "/api/v1/commands/events?id="+b, "id", "status")
		wants(t, one, "add "+b+" queued", "synced")
		north := streamed(t, l, "/api/v1/commands/events?gateway=barn&by=otto&limit=1", "id", "status")
		wants(t, north, "add "+a+" queued", "synced")

		h.say(b, "x")
		c := submit("gnorth")
		h.end(b, fleet.Error)
		h.end(c, fleet.OK)
		wants(t, all, "update "+b+" running cellar", "add "+c+" queued barn", "update "+b+" error cellar", "update "+c+" ok barn")
		wants(t, two, "update "+b+" running", "update "+b+" error")
		wants(t, one, "update "+b+" running", "update "+b+" error")
		wants(t, north, "add "+c+" queued", "update "+c+" ok")
	}, h.options)
}

func TestAWatcherIsNotToldOfAnOlderCommand(t *testing.T) {
	h := houses()
	made, err := h.Submit(t.Context(), fleet.Request{Line: "status", Gateways: []fleet.Gateway{{ID: "gnorth"}}})
	if err != nil {
		t.Fatal(err)
	}
	old := made[0]
	ended := h.end(old.ID, fleet.OK)
	bubble(t, newInventory(), func(l pipes) {
		next := streamed(t, l, "/api/v1/commands/events", "id", "status")
		wants(t, next, "add "+old.ID+" ok", "synced")
		for _, c := range []fleet.Command{old, ended} { // gathered before the first picture
			h.put(c)
		}
		ended.Revision++
		h.put(ended)
		made, err = h.Submit(t.Context(), fleet.Request{Line: "status", Gateways: []fleet.Gateway{{ID: "gsouth"}}})
		if err != nil {
			t.Fatal(err)
		}
		wants(t, next, "update "+old.ID+" ok", "add "+made[0].ID+" queued")
	}, h.options)
}

func TestTheClientKnowsTheFleet(t *testing.T) {
	h := houses()
	n := serve(t, newInventory(), h.options)
	c := client.Unix(n.socket)
	ctx := t.Context()
	gateways, err := c.Gateways(ctx, client.GatewayFilter{State: "online", Selector: map[string]string{"site": "south"}})
	if err != nil || len(gateways) != 1 || gateways[0].ID != "gsouth" {
		t.Fatalf("%v %v", gateways, err)
	}
	if g, err := c.Gateway(ctx, "insecure/barn"); err != nil || g.ID != "insecure/barn" {
		t.Errorf("%v %v", g, err)
	}
	if _, err := c.Gateway(ctx, "nowhere"); !errors.Is(err, client.ErrNotFound) {
		t.Errorf("none: %v", err)
	}
	if _, err := c.Run(ctx, wire.NewCommand{Line: "status", Gateways: []string{"cellar"}, Timeout: "0s"}); err == nil {
		t.Error("no time at all is enough")
	}
	made, err := c.Run(ctx, wire.NewCommand{Argv: []string{"find", "a b"}, All: true})
	if err != nil || len(made) != 4 {
		t.Fatalf("%v %v", made, err)
	}
	page, more, err := c.Commands(ctx, client.CommandFilter{Limit: 2, Statuses: []string{"queued"}})
	if err != nil || len(page) != 2 || !more || page[0].Line != "find 'a b'" {
		t.Errorf("%v %v %v", page, more, err)
	}
	id := made[0].ID
	go func() { h.say(id, "one "); h.say(id, "two"); h.end(id, fleet.OK) }()
	for e, err := range c.WatchCommands(ctx, client.WatchedCommands{From: id, To: id}) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Event != wire.Synced && e.ID != id {
			t.Errorf("%+v", e)
		}
		if e.Status == "ok" {
			break
		}
	}
	if x, err := c.Command(ctx, id); err != nil || x.Output != "one two" || x.Size != 7 {
		t.Errorf("%+v %v", x, err)
	}
	if x, err := c.CancelCommand(ctx, made[2].ID); err != nil || x.Status != "cancelled" {
		t.Errorf("%+v %v", x, err)
	}
	var refused *client.Error
	if _, err := c.CancelCommand(ctx, id); !errors.As(err, &refused) || refused.Status != http.StatusConflict {
		t.Errorf("one that has ended: %v", err)
	}
	for e, err := range c.WatchGateways(ctx, client.GatewayFilter{Text: "office"}) {
		if err != nil || e.Event == wire.Synced {
			if err != nil {
				t.Error(err)
			}
			break
		}
		if e.ID != "goffline" {
			t.Errorf("%+v", e)
		}
	}
}
