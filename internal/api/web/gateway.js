// The panel of one gateway: what is known of it, what it may be told, what it
// was told, and what an admin may do with it.

import { ask } from "./api.js";
import { gateways, commands, known, page, parseLabels, mayRunAnything, isAdmin } from "./fleet.js";
import { h, show, plain, glyph, when } from "./text.js";
import { CommandCard, hrefOf, outcome } from "./commands.js";
import { RunForm } from "./run.js";

const perPage = 20; // commands of its history

export class GatewayPanel {
  constructor(root, { close, toast }) { Object.assign(this, { root, close, toast, id: "" }); }

  open(id) {
    if (id === this.id) return;
    this.card?.end();
    Object.assign(this, { id, card: null, form: null, drawn: "", drawnHistory: "", oldest: "", whole: false, loaded: false, history: new Set(), bad: "", editing: false });
    this.root.replaceChildren();
    if (!id) return;
    this.root.setAttribute("aria-label", "Gateway");
    this.head = h("div", { class: "head" });
    this.facts = h("section", { "aria-label": "What is known" });
    this.runs = h("section", { "aria-labelledby": "run-heading", hidden: true });
    this.past = h("section", { "aria-labelledby": "past-heading" });
    this.care = h("section", { "aria-labelledby": "care-heading", hidden: true });
    this.root.append(this.head, h("div", { class: "body" }, this.facts, this.runs, this.past, this.care));
    this.draw();
    this.older();
    this.head.querySelector("h2")?.focus({ preventScroll: true });
  }

  closer() {
    return h("button", { type: "button", class: "icon close", "aria-label": "Close", "data-keep": "close", onclick: () => this.close() }, glyph("close"), glyph("back", "glyph back"));
  }

  draw() {
    this.card?.draw();
    this.drawHistory();
    const g = gateways.get(this.id);
    if (!g) {
      const words = known.gateways ? "This gateway is not known, or not any more." : "One moment.";
      if (this.drawn === words) return;
      this.drawn = words;
      this.head.replaceChildren(this.closer(), h("h2", { tabindex: "-1" }, known.gateways ? "Gone" : "…"));
      this.facts.replaceChildren(h("p", { class: "hint" }, words));
      this.runs.hidden = this.care.hidden = true;
      return;
    }
    if (this.editing) return;
    const said = JSON.stringify({ ...g, last_seen: "", generation: 0, hay: "", called: "" });
    if (said === this.drawn) {
      const seen = this.facts.querySelector("#gateway-seen time");
      if (seen && g.last_seen && seen.dateTime !== g.last_seen) seen.replaceWith(when(g.last_seen, " ago"));
      return;
    }
    this.drawn = said;
    const focus = this.root.contains(document.activeElement) ? document.activeElement.dataset.keep : "";
    this.drawHead(g);
    this.drawFacts(g);
    if (!this.form && mayRunAnything(g.labels) && !g.revoked) {
      this.form = new RunForm("gateway", { labels: () => gateways.get(this.id)?.labels ?? {}, request: () => ({ gateways: [this.id] }), began: (made) => this.began(made) });
      this.runs.replaceChildren(h("h3", { id: "run-heading" }, "Run a command"), this.form.root);
    }
    this.runs.hidden = !this.form || g.revoked;
    this.form?.offline(g.state !== "online");
    this.drawCare(g);
    if (focus) (this.root.querySelector(`[data-keep="${CSS.escape(focus)}"]`) ?? this.head.querySelector("h2")).focus({ preventScroll: true });
  }

  drawHead(g) {
    this.head.replaceChildren(this.closer(),
      h("div", { class: "title" },
        h("span", { class: "mark", "data-state": g.state }, glyph("router")),
        h("div", { class: "words" },
          h("h2", { tabindex: "-1", "data-keep": "title" }, show(g.title)),
          h("p", { class: "sub" }, h("span", { class: "state" }, h("i", { class: "dot", "data-state": g.revoked ? "bad" : g.state, "aria-hidden": "true" }), g.revoked ? "Revoked" : g.state === "online" ? "Online" : "Offline")))),
      h("div", { class: "tags" }, ...g.tags.map((t) => show(t, "tag")),
        isAdmin() ? h("button", { type: "button", class: "plain", "data-keep": "edit", onclick: () => this.edit(g) }, glyph("edit"), "Name and labels") : ""));
  }

  drawFacts(g) {
    const row = (label, ...value) => h("div", {}, h("dt", {}, label), h("dd", {}, ...value));
    const at = "/" + encodeURIComponent(g.id);
    this.facts.replaceChildren(h("dl", { class: "facts" },
      row("Address", g.address ? show(g.address, "mono") : h("span", { class: "none" }, "not known")),
      row("Version", g.version ? show(g.version) : h("span", { class: "none" }, "not known")),
      g.state === "online" && g.connected_at ? row("Online since", when(g.connected_at, " ago")) : "",
      g.state !== "online" ? row("Last seen", h("span", { id: "gateway-seen" }, g.last_seen ? when(g.last_seen, " ago") : "never"), g.why ? show(g.why, "line note") : "") : "",
      row("Devices", g.devices ? h("a", { class: "ref", href: "#/devices" + at }, `${g.devices.toLocaleString()} device${g.devices === 1 ? "" : "s"}`) : "none told yet",
        g.devices ? [" · ", h("a", { class: "ref", href: "#/services" + at }, "services")] : ""),
      g.enrolled ? row("Joined", when(g.enrolled, " ago")) : "",
      g.insecure ? row("Identity", "Nobody vouches for who it is: it came in without TLS.") : "",
      row("Id", show(g.id, "mono faint"))));
  }

  // began shows the command that was just given, with its output.
  began(made) {
    const c = made[0];
    if (!c?.command_id) throw new Error(c?.error || "Nothing was begun");
    this.card?.end();
    this.card = new CommandCard(c.command_id, this);
    const before = this.runs.querySelector(".command-card");
    if (before) before.replaceWith(this.card.root);
    else this.runs.append(this.card.root);
    this.card.root.scrollIntoView({ block: "nearest" });
    this.drawHistory();
  }

  // older loads the history's next page.
  async older() {
    const id = this.id;
    try {
      const found = await page({ gateway: id, before: this.oldest, limit: perPage });
      if (id !== this.id) return;
      for (const c of found) this.history.add(c.command_id);
      this.oldest = found.at(-1)?.command_id ?? this.oldest;
      this.whole = found.length < perPage;
      this.bad = "";
    } catch (e) {
      if (id !== this.id) return;
      this.bad = e.message;
    }
    this.loaded = true;
    this.drawnHistory = "";
    this.drawHistory();
  }

  drawHistory() {
    // What came since the panel was opened is there, too.
    if (this.loaded) for (const c of commands.values()) if (c.gateway === this.id && c.id > this.oldest) this.history.add(c.id);
    const all = [...this.history].map((id) => commands.get(id)).filter(Boolean).sort((a, b) => (a.id < b.id ? 1 : -1));
    const said = JSON.stringify([this.bad, this.whole, this.loaded, all.map((c) => [c.id, c.status, c.size, c.exit])]);
    if (said === this.drawnHistory) return;
    this.drawnHistory = said;
    const held = this.past.contains(document.activeElement) ? document.activeElement.getAttribute("href") ?? "more" : "";
    this.past.replaceChildren(
      h("h3", { id: "past-heading" }, "What it was told"),
      this.bad ? h("p", { class: "bad" }, plain(this.bad)) : "",
      all.length ? h("ol", { class: "history" }, ...all.map((c) => h("li", {}, h("a", { href: hrefOf(c.id) },
        h("i", { class: "dot", "data-state": c.status, "aria-hidden": "true" }), show(c.command, "mono name"), when(c.created, " ago"),
        h("span", { class: "sub" }, outcome(c), " · ", show(c.by))))))
        : h("p", { class: "hint" }, this.loaded ? "Nothing yet." : "One moment."),
      this.whole || !this.loaded ? "" : h("button", { type: "button", class: "plain", "data-more": true, onclick: () => this.older() }, "Older"));
    if (held) (this.past.querySelector(held === "more" ? "[data-more]" : `[href="${CSS.escape(held)}"]`) ?? this.past.querySelector("a"))?.focus({ preventScroll: true });
  }

  // ---- what an admin may do ----

  edit(g) {
    this.editing = true;
    const name = h("input", { id: "edit-name", type: "text", maxlength: "64", autocomplete: "off", placeholder: plain(g.id) });
    name.value = g.name;
    const labels = h("input", { id: "edit-labels", type: "text", maxlength: "2000", autocomplete: "off", autocapitalize: "off", spellcheck: "false", placeholder: "site=oslo, kind=lab" });
    labels.value = Object.entries(g.labels).map(([k, v]) => `${k}=${v}`).join(", ");
    const bad = h("p", { class: "bad", role: "alert" });
    const done = () => { this.editing = false; this.drawn = ""; this.draw(); this.root.querySelector('[data-keep="edit"]')?.focus(); };
    const form = h("form", { class: "edit" },
      h("label", { for: "edit-name" }, "Name"), name,
      h("label", { for: "edit-labels" }, "Labels"), labels,
      h("p", { class: "hint" }, "Pairs like site=oslo, with commas between. Grants and runs go by them."),
      bad,
      h("div", { class: "buttons" }, h("button", { type: "submit", class: "primary" }, "Save"), h("button", { type: "button", class: "plain", onclick: done }, "Cancel")));
    form.addEventListener("keydown", (e) => { if (e.key === "Escape") { e.preventDefault(); e.stopPropagation(); done(); } });
    form.addEventListener("submit", async (e) => {
      e.preventDefault();
      try {
        const body = { labels: parseLabels(labels.value) };
        // One that is gone from the line is taken away.
        for (const k of Object.keys(g.labels)) if (!Object.hasOwn(body.labels, k)) body.labels[k] = null;
        if (name.value.trim() !== g.name) body.name = name.value.trim();
        await ask(`/gateways/${encodeURIComponent(g.id)}`, "PATCH", body);
        done();
        this.toast("Saved");
      } catch (err) {
        bad.textContent = "Not saved: " + plain(err.message);
      }
    });
    this.head.querySelector(".tags").replaceWith(form);
    name.focus();
    name.select();
  }

  drawCare(g) {
    this.care.hidden = !isAdmin() || g.insecure;
    if (this.care.hidden || this.care.querySelector("form")) return;
    const path = `/gateways/${encodeURIComponent(g.id)}`;
    const begin = (key, words, what) => h("button", { type: "button", class: "plain danger", "data-keep": key, onclick: () => this.confirm(g, what) }, words);
    this.care.replaceChildren(h("h3", { id: "care-heading" }, "Access"), ...(!g.revoked
      ? [begin("revoke", "Revoke…", {
        said: "Its certificate will be good for nothing, now and for ever, and its connection is cut. To come back it has to join as a new gateway.",
        label: "Revoke", done: "Revoked", why: true, ask: (why) => ask(path + "/revoke", "POST", { why }),
      })]
      : [h("p", { class: "hint" }, "Its certificate is good for nothing any more."),
        g.state === "online" ? "" : begin("forget", "Forget…", {
          said: "Its record goes, with its name and labels. What it was told stays in the audit.",
          label: "Forget", done: "Forgotten", ask: () => ask(path, "DELETE"),
        })]));
  }

  // confirm asks once more before what can't be taken back.
  confirm(g, what) {
    const why = h("input", { id: "why", type: "text", maxlength: "200", autocomplete: "off", placeholder: "It was stolen" });
    const bad = h("p", { class: "bad", role: "alert" });
    const done = () => {
      form.remove();
      this.drawCare(gateways.get(this.id) ?? g);
    };
    const form = h("form", { class: "edit" }, h("p", {}, what.said),
      what.why && h("label", { for: "why" }, "Why"), what.why && why, bad,
      h("div", { class: "buttons" }, h("button", { type: "submit", class: "primary danger" }, what.label), h("button", { type: "button", class: "plain", onclick: done }, "Leave it")));
    form.addEventListener("keydown", (e) => { if (e.key === "Escape") { e.preventDefault(); e.stopPropagation(); done(); } });
    form.addEventListener("submit", async (e) => {
      e.preventDefault();
      try {
        await what.ask(why.value.trim());
        this.toast(what.done);
        done();
      } catch (err) {
        bad.textContent = "Not done: " + plain(err.message);
      }
    });
    this.care.replaceChildren(h("h3", { id: "care-heading" }, "Access"), form);
    form.querySelector("input, button").focus();
  }
}
