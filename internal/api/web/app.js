// The page: what is shown follows the address's fragment (#/devices,
// #/services, #/node, #/device/ID) and what the tools above the list say.

import { devices, services, onChange, onLink, link, justChanged, heard, start } from "./inventory.js";
import { h, show, plain, glyph, when, tick } from "./text.js";
import { deviceGlyph, typeGlyph, typeName, tellingOf, stateWords } from "./kinds.js";
import { List } from "./list.js";
import { Panel } from "./panel.js";
import { NodeView } from "./node.js";

const $ = (id) => document.getElementById(id);
const list = new List($("scroller"), $("list"));
const panel = new Panel($("panel"), { close: () => go(view), toast });
const nodeView = new NodeView($("node"));

let view = "devices";
let opened = ""; // the id of the device in the panel
const day = 24 * 3600 * 1000;
const filter = { text: [], state: "", protocol: "", type: "", order: { devices: "name", services: "name" } };

// ---- rows ----

function deviceRow(d, row) {
  row.className = "row device" + (justChanged(d.id) ? " changed" : "");
  row.dataset.state = d.state;
  if (d.id === opened) row.setAttribute("aria-current", "true");
  else row.removeAttribute("aria-current");
  const offered = [...new Set([...d.services.values()].map((s) => s.type))].sort((a, b) => tellingOf(a) - tellingOf(b) || byName(a, b));
  row.replaceChildren(
    h("span", { class: "mark" }, glyph(deviceGlyph(d)), h("i", { class: "dot", title: stateWords[d.state] }, h("span", { class: "unseen" }, stateWords[d.state] ?? ""))),
    h("span", { class: "who" },
      show(d.title, d.anonymous ? "name mono" : "name"),
      h("span", { class: "sub" }, ...subtitle(d))),
    h("span", { class: "where mono" }, some(d.addresses.map((a) => show(a)))),
    h("span", { class: "mac mono" }, some(d.macs.map((m) => show(m))), d.random_mac ? h("em", { title: "A private address: the device may come back under another one" }, "private") : ""),
    h("span", { class: "what" }, typeTags(offered)),
    h("span", { class: "heard" }, d.protocols.map(plain).join(", ")),
    h("span", { class: "seen" }, when(d.last_seen)),
  );
}

function subtitle(d) {
  const out = [];
  if (isNew(d)) out.push(h("b", { class: "new" }, "new"));
  if (d.model) out.push(show(d.model));
  else if (d.vendor) out.push(show(d.vendor));
  else if (d.names[1]) out.push(show(d.names[1]));
  if (d.tags.length) out.push(...d.tags.slice(0, 2).map((t) => show(t, "tag")));
  out.push(h("span", { class: "small-only mono" }, d.addresses.length ? show(d.addresses[0]) : ""));
  return out;
}

function some(nodes) {
  if (!nodes.length) return h("span", { class: "none" }, "–");
  return h("span", { class: "first" }, nodes[0], nodes.length > 1 ? h("small", {}, ` +${nodes.length - 1}`) : "");
}

function typeTags(types) {
  const out = types.slice(0, 2).map((t) => h("span", { class: "type", title: plain(t) }, typeName(t) ?? show(t)));
  // Where there is little room, only the first one shows.
  if (types.length > 2) out.push(h("small", { class: "roomy" }, `+${types.length - 2}`));
  if (types.length > 1) out.push(h("small", { class: "narrow" }, `+${types.length - 1}`));
  return out;
}

function serviceRow(s, row) {
  row.className = "row service" + (justChanged(s.id) ? " changed" : "");
  row.dataset.state = s.state;
  row.removeAttribute("aria-current");
  const d = devices.get(s.device);
  const place = s.port ? [s.host || s.addresses[0] || "", ":" + s.port] : [s.host || s.addresses[0] || "", ""];
  row.replaceChildren(
    h("span", { class: "mark" }, glyph(typeGlyph(s.type)), h("i", { class: "dot", title: stateWords[s.state] }, h("span", { class: "unseen" }, stateWords[s.state] ?? ""))),
    h("span", { class: "who" }, show(s.title, "name"), h("span", { class: "sub" }, typeName(s.type) ? h("span", {}, typeName(s.type)) : show(s.type), d ? show(d.title, "small-only shrink") : "")),
    h("span", { class: "where mono" }, place[0] ? h("span", { class: "first" }, show(place[0]), place[1]) : h("span", { class: "none" }, "–")),
    h("span", { class: "mac" }, d ? show(d.title) : h("span", { class: "none" }, "device not known")),
    h("span", { class: "what" }, show(s.type, "type mono")),
    h("span", { class: "heard" }, show(s.protocol), s.interface ? [" · ", show(s.interface)] : ""),
    h("span", { class: "seen" }, when(s.last_seen)),
  );
}

// ---- what is in the list ----

const names = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });
const byName = (a, b) => names.compare(a, b);
const isNew = (o) => Date.now() - o.first < day;

const orders = {
  devices: {
    name: ["By name", (a, b) => a.anonymous - b.anonymous || names.compare(a.title, b.title)],
    address: ["By address", (a, b) => names.compare(a.addresses[0] ?? "~", b.addresses[0] ?? "~")],
    newest: ["Newest first", (a, b) => b.first - a.first],
    vendor: ["By vendor", (a, b) => names.compare(a.vendor || "~", b.vendor || "~") || names.compare(a.title, b.title)],
  },
  services: {
    name: ["By name", (a, b) => names.compare(a.title, b.title)],
    type: ["By type", (a, b) => names.compare(a.type, b.type) || names.compare(a.title, b.title)],
    newest: ["Newest first", (a, b) => b.first - a.first],
  },
};

// found says whether every word that was searched for occurs.
function found(o) {
  const subs = view === "devices" ? o.services : null;
  return filter.text.every((word) => {
    if (o.hay.includes(word)) return true;
    if (subs) for (const s of subs.values()) if (s.hay.includes(word)) return true;
    return false;
  });
}

function fits(o) {
  if (filter.protocol && (view === "devices" ? !o.protocols.includes(filter.protocol) : o.protocol !== filter.protocol)) return false;
  if (filter.type && (view === "devices" ? ![...o.services.values()].some((s) => s.type === filter.type) : o.type !== filter.type)) return false;
  return !filter.text.length || found(o);
}

const states = {
  "": ["All", () => true],
  reachable: ["Reachable", (o) => o.state === "reachable"],
  unreachable: ["Away", (o) => o.state === "unreachable"],
  new: ["New", isNew],
};

function draw(anew) {
  drawTitle();
  if (view === "node") {
    nodeView.draw();
    return;
  }
  const all = [...(view === "devices" ? devices : services).values()];
  const fitting = all.filter(fits);
  for (const [key, [, test]] of Object.entries(states)) {
    chips.get(key).count.textContent = fitting.filter(test).length.toLocaleString();
  }
  const items = fitting.filter(states[filter.state][1]).sort((a, b) => orders[view][filter.order[view]][1](a, b) || (a.id < b.id ? -1 : 1));
  list.set(items, anew);
  drawPicks();
  drawEmpty(all.length, items.length);
  panel.draw();
}

function drawTitle() {
  const n = devices.size;
  document.title = (link.synced ? `${n.toLocaleString()} device${n === 1 ? "" : "s"} · ` : "") + "lanfolk";
}

let saidCount = 0;
function drawEmpty(all, shown) {
  const empty = $("empty");
  empty.hidden = shown > 0;
  $("columns").hidden = shown === 0;
  clearTimeout(saidCount);
  saidCount = setTimeout(() => { $("count").textContent = `${shown} of ${all} ${view}`; }, 800);
  if (shown) return;
  let head, words;
  if (link.state === "denied") {
    head = "You are signed out";
    words = [h("p", {}, "Open the sign-in address that lanfolk printed when it started."), h("a", { class: "primary", href: "/signin" }, "Sign in")];
  } else if (!link.synced) {
    head = link.state === "lost" ? "lanfolk does not answer" : "Looking around";
    words = [h("p", {}, link.state === "lost" ? "This page goes on trying." : "One moment.")];
  } else if (all) {
    head = "Nothing fits";
    words = [h("p", {}, `${all.toLocaleString()} ${view} are known, and none of them fits.`), h("button", { type: "button", class: "plain", onclick: clear }, "Show all")];
  } else {
    head = "Nobody was heard yet";
    words = [h("p", {}, "Devices appear here as they speak. That can take a minute.")];
  }
  if (empty.dataset.head === head + all) return;
  empty.dataset.head = head + all;
  empty.replaceChildren(glyph("quiet", "glyph large" + (link.synced ? "" : " breathing")), h("h2", {}, head), ...words);
}

function clear() {
  $("search").value = "";
  filter.text = [];
  filter.state = filter.protocol = filter.type = "";
  $("protocol").value = $("type").value = "";
  markChips();
  draw();
  $("search").focus();
}

// ---- the tools ----

const chips = new Map();
for (const [key, [label]] of Object.entries(states)) {
  const count = h("b", {}, "0");
  const button = h("button", { type: "button", class: "chip", onclick: () => { filter.state = key; markChips(); draw(); } }, key ? h("i", { class: "dot", "data-state": key, "aria-hidden": "true" }) : "", h("span", {}, label), count);
  chips.set(key, { button, count });
  $("chips").append(button);
}

function markChips() {
  for (const [key, c] of chips) c.button.setAttribute("aria-pressed", key === filter.state);
}

// fill sets a select's options, but for its first one, if they have changed.
function fill(select, options, value) {
  const key = options.map((o) => o.join("\t")).join("\n");
  if (select.dataset.key === key) return;
  select.dataset.key = key;
  const first = select.id === "order" ? [] : [select.options[0]];
  select.replaceChildren(...first, ...options.map(([v, label]) => h("option", { value: v }, plain(label).slice(0, 48))));
  select.value = value;
}

let pickedAt = 0;
function drawPicks() {
  fill($("order"), Object.entries(orders[view]).map(([k, [label]]) => [k, label]), filter.order[view]);
  if (!link.synced || Date.now() - pickedAt < 2000) return; // they change slowly
  pickedAt = Date.now();
  const protocols = new Set(filter.protocol ? [filter.protocol] : []);
  const types = new Map(filter.type ? [[filter.type, 0]] : []);
  for (const d of devices.values()) for (const p of d.protocols) protocols.add(p);
  for (const s of services.values()) {
    protocols.add(s.protocol);
    types.set(s.type, (types.get(s.type) ?? 0) + 1);
  }
  fill($("protocol"), [...protocols].sort(byName).map((p) => [p, p]), filter.protocol);
  const usual = [...types].sort((a, b) => b[1] - a[1]).slice(0, 200).map(([t]) => t);
  fill($("type"), usual.map((t) => [t, typeName(t) ? `${typeName(t)} (${t})` : t]).sort((a, b) => byName(a[1], b[1])), filter.type);
}

$("search").addEventListener("input", () => {
  filter.text = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  list.scroller.scrollTop = 0;
  draw();
});
for (const name of ["protocol", "type"]) $(name).addEventListener("change", (e) => { filter[name] = e.target.value; draw(); });
$("order").addEventListener("change", (e) => { filter.order[view] = e.target.value; list.scroller.scrollTop = 0; draw(); });

document.addEventListener("keydown", (e) => {
  const typing = e.target.closest?.("input, textarea, select");
  if (e.key === "/" && !typing && !e.ctrlKey && !e.metaKey && !e.altKey) {
    e.preventDefault();
    $("search").focus();
    $("search").select();
  } else if (e.key === "Escape" && !e.defaultPrevented) {
    if (e.target === $("search") && $("search").value) return; // the browser empties it
    if (opened) go(view);
  } else if (e.key === "ArrowDown" && e.target === $("search")) {
    e.preventDefault();
    list.focus(0);
  }
});

// ---- where we are ----

function go(where) { location.hash = "#/" + where; }

const columns = {
  devices: ["", "Name", "Address", "Hardware address", "Offers", "Heard by", "Seen"],
  services: ["", "Name", "Where", "Device", "Type", "Heard by", "Seen"],
};

function route() {
  const [, where = "", ref = ""] = location.hash.slice(1).split("/");
  const before = opened;
  let next = view;
  if (where === "device" && ref) {
    opened = decode(ref);
    if (view === "node") next = "devices";
  } else {
    opened = "";
    next = ["devices", "services", "node"].includes(where) ? where : "devices";
  }
  if (next !== view || !list.href) {
    view = next;
    document.body.dataset.view = view;
    for (const a of document.querySelectorAll("[data-view]")) {
      if (a === document.body) continue;
      if (a.dataset.view === view) a.setAttribute("aria-current", "page");
      else a.removeAttribute("aria-current");
    }
    $("heading").textContent = { devices: "Devices", services: "Services", node: "Node" }[view];
    const node = view === "node";
    $("tools").hidden = $("scroller").hidden = $("columns").hidden = node;
    $("node").hidden = !node;
    if (node) {
      $("empty").hidden = true;
      nodeView.load();
    } else {
      $("columns").replaceChildren(...columns[view].map((c) => h("span", {}, c)));
      if (view === "devices") list.use(deviceRow, (d) => "#/device/" + encodeURIComponent(d.id));
      else list.use(serviceRow, (s) => (s.device ? "#/device/" + encodeURIComponent(s.device) : "#/services"));
    }
  }
  panel.open(opened);
  document.body.classList.toggle("with-panel", Boolean(opened));
  draw(true);
  if (before && !opened && view === "devices") list.focusID(before);
}

function decode(s) {
  try {
    return decodeURIComponent(s);
  } catch {
    return s;
  }
}

// ---- what is said below ----

let toastTimer = 0;
function toast(words, action) {
  const t = $("toast");
  clearTimeout(toastTimer);
  t.replaceChildren(h("span", {}, words), action ? h("button", { type: "button", onclick: () => { t.hidden = true; action.run(); } }, action.label) : "");
  t.hidden = false;
  toastTimer = setTimeout(() => { t.hidden = true; }, action ? 12000 : 5000);
}

const linkWords = { connecting: "Connecting", live: "Live", paused: "Paused", lost: "Not connected", denied: "Signed out" };
onLink((state) => {
  $("link").dataset.state = state;
  $("link").lastElementChild.textContent = linkWords[state];
});

markChips();
addEventListener("hashchange", route);
route();
onChange(() => draw());
setInterval(() => { if (!document.hidden) tick(); }, 5000);
setInterval(() => {
  if (document.hidden) return;
  const ids = view === "devices" ? list.shown() : [];
  if (opened && !ids.includes(opened)) ids.push(opened);
  heard(ids).catch(() => {}); // the stream will tell if nobody answers
}, 10000);
start();
