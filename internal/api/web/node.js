// How the node or hub is: what it runs, on which links, and what it would gain with
// more rights.

import { ask } from "./api.js";
import { h, show, plain, when, bytes } from "./text.js";

const every = 5000; // milliseconds

export class NodeView {
  constructor(root) { this.root = root; }

  async load() {
    clearTimeout(this.timer);
    if (this.root.parentElement.hidden) return;
    try {
      this.status = await ask("/status");
      this.bad = "";
    } catch (e) {
      this.bad = e.message;
    }
    this.stale = true;
    this.draw();
    this.timer = setTimeout(() => this.load(), every);
  }

  draw() {
    if (!this.stale || this.root.parentElement.hidden) return;
    this.stale = false;
    const s = this.status;
    if (this.bad || !s) {
      this.root.replaceChildren(h("p", { class: "hint" }, this.bad ? plain(this.bad) : "One moment."));
      return;
    }
    const fact = (label, ...value) => h("div", {}, h("dt", {}, label), h("dd", {}, ...value));
    const parts = s.parts ?? [], links = s.links ?? [], nmos = s.nmos ?? [];
    this.root.replaceChildren(
      h("section", { class: "card" },
        h("h2", {}, h("i", { class: "dot", "data-state": s.healthy ? "reachable" : "bad" }), s.healthy ? "All is well" : "Something needs you"),
        h("dl", { class: "facts" },
          s.name ? fact("Name", show(s.name)) : "", fact("Version", show(s.version)), fact("Running", when(s.started)),
          ...(s.gateways ? hubFacts(s, fact) : []),
          s.inventory ? fact("Knows", `${(s.inventory.devices ?? 0).toLocaleString()} devices, ${(s.inventory.services ?? 0).toLocaleString()} services`) : "",
          s.store ? fact("Database", show(s.store.path, "mono"), s.store.error ? h("p", { class: "bad" }, show(s.store.error)) : "") : "")),
      nmos.length ? h("section", { class: "card" }, h("h2", {}, "Studio APIs"), h("ul", { class: "plain-list", role: "list" }, ...nmos.map(selection))) : "",
      h("section", { class: "card" }, h("h2", {}, "What runs"), h("ul", { class: "plain-list", role: "list" }, ...parts.map(part))),
      links.length ? h("section", { class: "card" }, h("h2", {}, "Links"), h("ul", { class: "plain-list", role: "list" }, ...links.map(linkRow))) : "");
  }
}

// hubFacts are what a hub says of itself beside what a node does.
function hubFacts({ gateways: g, commands = {}, results = {}, audit = {}, addresses = [], insecure_grpc: bare }, fact) {
  const n = (x) => (x ?? 0).toLocaleString();
  return [
    fact("Gateways", `${n(g.total)}, ${n(g.online)} online`, g.revoked ? `, ${n(g.revoked)} revoked` : "", g.insecure ? `, ${n(g.insecure)} insecure` : ""),
    addresses.length ? fact("They dial", ...addresses.map((a) => show(a, "line mono")), bare ? h("p", { class: "sub" }, "without TLS ", show(bare, "mono")) : "") : "",
    fact("Commands", `${n(commands.outstanding)} going on`),
    fact("Results", bytes(results.bytes ?? 0), results.max_bytes ? ` of ${bytes(results.max_bytes)}` : "", ", ", n(results.whole)),
    fact("Audit", `${n(audit.entries)} entries`, audit.sealed ? `, sealed up to ${n(audit.sealed)}` : "", audit.error ? h("p", { class: "bad" }, show(audit.error)) : ""),
  ];
}

const partStates = { running: ["reachable", "runs"], failed: ["bad", "failed, and is started again"], off: ["unknown", "off"], stopped: ["unknown", "stopped"] };

function part(p) {
  const [dot, word] = Object.hasOwn(partStates, p.state) ? partStates[p.state] : ["unknown", p.state];
  return h("li", {}, h("i", { class: "dot", "data-state": dot, "aria-hidden": "true" }),
    h("div", {}, h("strong", {}, show(p.name)), " ", h("span", { class: "faint" }, word),
      p.detail ? h("p", { class: "sub" }, show(p.detail)) : "",
      p.error ? h("p", { class: p.state === "failed" ? "bad" : "sub" }, show(p.error)) : "",
      p.gain ? h("p", { class: "gain" }, show(p.gain)) : ""));
}

const maxReasons = 20; // of one selection

// One of a studio's APIs: what is chosen, and why not the others.
function selection(k) {
  const api = k.selected, not = [...(k.others ?? []), ...(k.discarded ?? [])];
  return h("li", {}, h("i", { class: "dot", "data-state": api ? "reachable" : k.error ? "bad" : "unknown", "aria-hidden": "true" }),
    h("div", {}, h("strong", {}, show(k.name)), " ", h("span", { class: "faint" }, api ? when(k.since) : "none"),
      api ? h("p", { class: "sub mono" }, show(api.url, "line")) : "",
      api?.instance ? h("p", { class: "sub" }, show(api.instance)) : "",
      h("p", { class: k.error ? "bad" : "sub" }, show(k.error || k.reason)),
      ...not.slice(0, maxReasons).map((o) => h("p", { class: "sub faint" }, "not ", show(o.instance), ": ", show(o.reason))),
      not.length > maxReasons ? h("p", { class: "sub faint" }, `and ${not.length - maxReasons} more`) : ""));
}

function linkRow(l) {
  return h("li", {}, h("i", { class: "dot", "data-state": l.used ? "reachable" : "unknown", "aria-hidden": "true" }),
    h("div", {}, h("strong", {}, show(l.name)), " ", h("span", { class: "faint" }, l.used ? "used" : l.up ? "not used" : "down"),
      h("p", { class: "sub mono" }, ...(l.addresses ?? []).map((a) => show(a, "line"))),
      l.why ? h("p", { class: "sub" }, show(l.why)) : ""));
}
