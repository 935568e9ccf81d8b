// The page: what is shown follows the address's fragment (#/devices, #/services,
// #/node, #/device/ID; at a hub also #/gateways, #/commands, #/audit, #/run,
// #/gateway/ID, #/command/ID) and what the tools above the list say.

import { ask, me, whoAmI, byName, link, onLink, unreachable } from "./api.js";
import { devices, picture, onChange, heard, following, follow } from "./inventory.js";
import * as fleet from "./fleet.js";
import { h, plain, glyph, tick } from "./text.js";
import { devicesView, servicesView, gatewaysView, atHub } from "./views.js";
import { view as commandsView, showOnly, CommandPanel } from "./commands.js";
import { view as auditView, onAudit } from "./audit.js";
import { List } from "./list.js";
import { Panel } from "./panel.js";
import { GatewayPanel } from "./gateway.js";
import { RunPanel } from "./run.js";
import { NodeView } from "./node.js";
import { Admin } from "./admin.js";

const $ = (id) => document.getElementById(id);
const list = new List($("scroller"), $("list"));
const nodeView = new NodeView($("status"));

const views = { devices: devicesView, services: servicesView, gateways: gatewaysView, commands: commandsView, audit: auditView };
for (const v of Object.values(views)) Object.assign(v, { state: "", picked: {}, order: Object.keys(v.orders)[0], ids: [], sortedBy: "" });

let view = ""; // its name; "node" has no list
let listed = ""; // the view whose rows the list has: it may be drawn a frame after another view was opened
let opened = { kind: "", id: "" }; // what is in the panel
let words = []; // that are searched for

// ---- panels ----

const close = () => go(view + (at ? "/" + encodeURIComponent(at) : ""));
const panels = {
  device: new Panel($("panel"), { close, toast }),
  gateway: new GatewayPanel($("panel"), { close, toast }),
  command: new CommandPanel($("panel"), { close, toast, found: () => listen() }),
  run: new RunPanel($("panel"), {
    close,
    chosen: () => items("gateways").map((g) => g.id),
    began(made) {
      const ids = made.map((c) => c.command_id).filter(Boolean);
      if (made.length > ids.length) toast(`${(made.length - ids.length).toLocaleString()} gateways are not for you`);
      if (!ids.length) throw new Error(made[0]?.error || "Nothing was begun");
      showOnly(ids);
      commandsView.state = "";
      go("commands");
    },
  }),
};

// homes says in which view something opens when the page begins with it.
const homes = { device: "devices", gateway: "gateways", command: "commands", run: "gateways" };

// ---- what is in the list ----

// sorted returns all of a view in its order. What was in order is nearly so
// still, which sorts quickly.
function sorted(v) {
  const there = new Set(), all = [];
  if (v.sortedBy === v.order) {
    for (const id of v.ids) {
      const o = v.map.get(id);
      if (!o) continue;
      there.add(id);
      all.push(o);
    }
  }
  if (all.length < v.map.size) for (const o of v.map.values()) if (!there.has(o.id)) all.push(o);
  const compare = v.orders[v.order][1];
  all.sort((a, b) => compare(a, b) || (a.id < b.id ? -1 : 1));
  v.ids = all.map((o) => o.id);
  v.sortedBy = v.order;
  return all;
}

function fits(v, o) {
  if (v.fits && !v.fits(o)) return false;
  for (const [key, value] of Object.entries(v.picked)) if (value && !v.picks[key][1](o, value)) return false;
  return words.every((word) => (v.says ? v.says(o, word) : o.hay.includes(word)));
}

const items = (name) => sorted(views[name]).filter((o) => fits(views[name], o)).filter(views[name].states[views[name].state][1]);

function drawRow(o, row) {
  views[listed].row(o, row);
  if (o.id === opened.id) row.setAttribute("aria-current", "true");
  else row.removeAttribute("aria-current");
}

function draw(anew) {
  drawTitle();
  const v = views[view];
  if (v) {
    const fitting = sorted(v).filter((o) => fits(v, o));
    for (const [key, [, test]] of Object.entries(v.states)) chips.get(key).count.textContent = fitting.filter(test).length.toLocaleString();
    const shown = fitting.filter(v.states[v.state][1]);
    list.set(shown, anew);
    drawPicks(v);
    drawEmpty(v, shown.length);
    // Where nothing is left out, scrolling looks further back by itself.
    const endless = v.endless?.() && v.synced();
    $("further").hidden = !endless || shown.length === v.map.size;
    if (endless && shown.length === v.map.size && list.nearEnd()) v.more();
  }
  if (view === "node") nodeView.draw();
  panels[opened.kind]?.draw(false);
}

function drawTitle() {
  const [map, one, many, ready] = me.hub ? [fleet.gateways, "gateway", "gateways", fleet.known.gateways] : [devices, "device", "devices", picture.synced];
  document.title = (ready ? `${map.size.toLocaleString()} ${map.size === 1 ? one : many} · ` : "") + "lanfolk";
}

let saidCount = 0;
function drawEmpty(v, shown) {
  const empty = $("empty"), all = v.map.size;
  empty.hidden = shown > 0;
  $("columns").hidden = shown === 0;
  clearTimeout(saidCount);
  saidCount = setTimeout(() => { $("count").textContent = `${shown} of ${all} ${v.many}`; }, 800);
  if (shown) return;
  let head, said;
  if (link.state === "denied") {
    head = "You are signed out";
    said = [h("p", {}, me.hub ? "Sessions end after a while." : "Open the sign-in address that lanfolk printed when it started."), h("a", { class: "primary", href: "/signin", onclick: remember }, "Sign in")];
  } else if (v.full?.()) {
    head = "There is too much";
    said = [h("p", {}, "The gateways know more devices than a page can hold. Look at one gateway’s."), h("a", { class: "primary", href: "#/gateways" }, "Choose a gateway")];
  } else if (!v.synced()) {
    head = link.state === "lost" ? "lanfolk does not answer" : me.hub ? "One moment" : "Looking around";
    said = [h("p", {}, link.state === "lost" ? "This page goes on trying." : "One moment.")];
  } else if (all) {
    head = "Nothing fits";
    said = [h("p", {}, `${all.toLocaleString()} ${all === 1 ? v.one : v.many} are known, and none of them fits.`), h("button", { type: "button", class: "plain", onclick: clear }, "Show all")];
  } else {
    const [first, more] = v.nothing();
    head = plain(first);
    said = more ? [h("p", {}, more)] : [];
  }
  const key = [view, head, all].join("\n");
  if (empty.dataset.head === key) return;
  empty.dataset.head = key;
  empty.replaceChildren(glyph("quiet", "glyph large" + (v.synced() ? "" : " breathing")), h("h2", {}, head), ...said);
}

// narrowing is what a view is narrowed to beside the tools, and what ends that.
const narrowing = (v) => v.narrowed?.() || null;

function clear() {
  const v = views[view];
  $("search").value = "";
  words = [];
  v.state = "";
  v.picked = {};
  for (const s of document.querySelectorAll("#picks select")) if (s.id !== "order") s.value = "";
  narrowing(v)?.[1]();
  markChips();
  draw();
  $("search").focus();
}

// ---- the tools ----

const chips = new Map();
function makeChips(v) {
  chips.clear();
  $("chips").replaceChildren(...Object.entries(v.states).map(([key, [label, , state]]) => {
    const count = h("b", {}, "0");
    const button = h("button", { type: "button", class: "chip", onclick: () => { v.state = key; markChips(); list.scroller.scrollTop = 0; draw(); } },
      state ? h("i", { class: "dot", "data-state": state, "aria-hidden": "true" }) : "", h("span", {}, label), count);
    chips.set(key, { button, count });
    return button;
  }));
  $("picks").replaceChildren(
    ...Object.entries(v.picks).map(([key, [label]]) => pick(key, label, (value) => { v.picked[key] = value; })),
    pick("order", "Order", (value) => { v.order = value; list.scroller.scrollTop = 0; }));
  fill($("order"), Object.entries(v.orders).map(([k, [label]]) => [k, label]), v.order);
  $("picks").lastElementChild.hidden = Object.keys(v.orders).length < 2;
  $("search").placeholder = v.placeholder;
  $("run").hidden = !(me.hub && (view === "gateways" || view === "commands") && fleet.mayRunAnything());
  pickedAt = 0;
  markChips();
}

function pick(id, label, chosen) {
  const select = h("select", { id, onchange: (e) => { chosen(e.target.value); draw(); } }, id === "order" ? "" : h("option", { value: "" }, label));
  return h("label", {}, h("span", {}, label), select);
}

function markChips() {
  for (const [key, c] of chips) c.button.setAttribute("aria-pressed", key === views[view].state);
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

let pickedAt = 0, pickLater = 0;
function drawPicks(v) {
  const narrowed = narrowing(v);
  $("narrowed").hidden = !narrowed;
  if (narrowed && $("narrowed").dataset.words !== narrowed[0]) {
    $("narrowed").dataset.words = narrowed[0];
    $("narrowed").replaceChildren(h("span", {}, narrowed[0]), glyph("close"));
    $("narrowed").setAttribute("aria-label", narrowed[0] + ": show all");
  }
  if (!v.synced()) return;
  const early = pickedAt + 2000 - Date.now(); // they change slowly
  if (early > 0) {
    pickLater ||= setTimeout(() => {
      pickLater = 0;
      if (views[view]) drawPicks(views[view]);
    }, early);
    return;
  }
  pickedAt = Date.now();
  for (const [key, [, , options]] of Object.entries(v.picks)) {
    const value = v.picked[key] ?? "", all = options();
    if (value && !all.some(([o]) => o === value)) all.push([value, value]);
    fill($(key), all, value);
  }
}

$("narrowed").addEventListener("click", () => {
  narrowing(views[view])?.[1]();
  draw();
  $("search").focus();
});
$("search").addEventListener("input", () => {
  words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  list.scroller.scrollTop = 0;
  draw();
});
list.scroller.addEventListener("scroll", () => { if (views[view]?.endless?.() && list.nearEnd()) views[view].more(); }, { passive: true });
$("further").addEventListener("click", () => views[view].more());

document.addEventListener("keydown", (e) => {
  const typing = e.target.closest?.("input, textarea, select");
  if (e.key === "/" && !typing && !e.ctrlKey && !e.metaKey && !e.altKey) {
    e.preventDefault();
    $("search").focus();
    $("search").select();
  } else if (e.key === "Escape" && !e.defaultPrevented) {
    if (e.target === $("search") && $("search").value) return; // the browser empties it
    if (opened.kind) close();
  } else if (e.key === "ArrowDown" && e.target === $("search")) {
    e.preventDefault();
    list.focus(0);
  }
});

// ---- where we are ----

let at = ""; // what a list is narrowed to by the address: a gateway

function go(where) { location.hash = "#/" + where; }

// allowed are the views that there are for whoever looks.
function allowed() {
  if (!me.hub) return ["devices", "services", "node"];
  return ["gateways", "commands", "devices", "services", ...(fleet.isAdmin() ? ["audit"] : []), "node"];
}

function route() {
  const [, where = "", ref = ""] = location.hash.slice(1).split("/");
  const before = opened;
  const there = allowed();
  let next = view || there[0], nextAt = at;
  const kinds = me.hub ? Object.keys(panels) : ["device"];
  if (kinds.includes(where) && (ref || where === "run")) {
    opened = { kind: where, id: where === "run" ? "many" : decode(ref) };
    if (!view || view === "node") {
      next = homes[where];
      nextAt = "";
    }
  } else {
    opened = { kind: "", id: "" };
    next = there.includes(where) ? where : there[0];
    nextAt = next === "devices" || next === "services" ? decode(ref) : "";
  }
  if (next !== view || nextAt !== at) show(next, nextAt);
  if (opened.kind === "device" && !following()) follow();
  for (const [kind, p] of Object.entries(panels)) if (kind !== opened.kind) p.open("");
  $("panel").hidden = !opened.kind;
  panels[opened.kind]?.open(opened.id);
  listen();
  document.body.classList.toggle("with-panel", Boolean(opened.kind));
  draw(true);
  if (before.kind && !opened.kind && homes[before.kind] === view) list.focusID(before.id);
}

// show opens a view.
function show(next, nextAt) {
  const last = views[view], anew = next !== view;
  const stays = ["devices", "services"];
  if (anew && !(stays.includes(view) && stays.includes(next))) last?.close?.();
  view = next;
  at = nextAt;
  document.body.dataset.view = view;
  for (const a of document.querySelectorAll("[data-view]")) {
    if (a === document.body) continue;
    if (a.dataset.view === view) a.setAttribute("aria-current", "page");
    else a.removeAttribute("aria-current");
  }
  const node = view === "node", v = views[view];
  $("heading").textContent = node ? (me.hub ? "Hub" : "Node") : v.title;
  $("tools").hidden = $("scroller").hidden = $("columns").hidden = node;
  $("further").hidden = true;
  $("node").hidden = !node;
  if (node) {
    $("empty").hidden = true;
    nodeView.load();
    if (me.hub && fleet.isAdmin() && !$("admin").firstChild) new Admin($("admin"), { toast });
    return;
  }
  if (anew) {
    makeChips(v);
    $("columns").replaceChildren(...v.columns.map((c) => h("span", {}, c)));
    listed = view;
    list.use(drawRow, v.href);
  }
  v.open?.(at);
}

// listen follows those commands that are looked at, and no others. What is not
// there can't be followed.
function listen() {
  if (!me.hub) return;
  if (view === "commands") fleet.watch("all");
  else if (opened.kind === "gateway" && fleet.gateways.has(opened.id)) fleet.watch({ gateway: opened.id });
  else if (opened.kind === "command" && fleet.commands.has(opened.id)) fleet.watch({ ids: [opened.id] });
  else fleet.watch("");
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
function toast(said, action) {
  const t = $("toast");
  clearTimeout(toastTimer);
  t.replaceChildren(h("span", {}, said), action ? h("button", { type: "button", onclick: () => { t.hidden = true; action.run(); } }, action.label) : "");
  t.hidden = false;
  toastTimer = setTimeout(() => { t.hidden = true; }, action ? 12000 : 5000);
}

const linkWords = { connecting: "Connecting", live: "Live", paused: "Paused", lost: "Not connected", denied: "Signed out" };
onLink((state) => {
  $("link").dataset.state = state;
  $("link").lastElementChild.textContent = linkWords[state];
  // What is on the page, and what was typed, stays.
  $("ended").hidden = !(me.hub && state === "denied");
  if (view) draw();
});

// ---- who is there ----

// remember lets the sign-in lead back to where one was.
function remember() { sessionStorage.setItem("back", location.hash); }
$("again").addEventListener("click", remember);

$("sign-out").addEventListener("click", async () => {
  try {
    await ask("/session", "DELETE");
    sessionStorage.removeItem("back");
    location.replace("/signin");
  } catch (e) {
    toast("Not signed out: " + plain(e.message));
  }
});

function greet() {
  for (const a of document.querySelectorAll(".tabs a")) a.hidden = !allowed().includes(a.dataset.view);
  if (!me.hub) return;
  document.body.classList.add("hub");
  atHub();
  document.querySelector('.tabs [data-view="node"]').textContent = "Hub";
  document.querySelector(".brand").href = "#/gateways";
  document.querySelector(".brand").setAttribute("aria-label", "lanfolk, all gateways");
  // Gateways come first where there are any.
  document.querySelector(".tabs").prepend(...["gateways", "commands"].map((v) => document.querySelector(`.tabs [data-view="${v}"]`)));
  $("me").hidden = false;
  $("me").firstElementChild.replaceChildren(h("b", {}, plain(me.name)), h("small", {}, plain(me.role)));
}

// begin finds out what lanfolk is here, and who looks.
async function begin() {
  for (let wait = 1000; ; wait = Math.min(wait * 2, 15000)) {
    try {
      await whoAmI();
      break;
    } catch (e) {
      if (e.status === 401 || e.status === 403) {
        if (byName.test(e.type)) {
          remember();
          location.replace("/signin");
          return;
        }
        break; // a node's page shows how to sign in
      }
      unreachable();
      await new Promise((done) => { setTimeout(done, wait); });
    }
  }
  greet();
  if (me.hub) fleet.start();
  addEventListener("hashchange", route);
  route();
}

onChange(() => draw());
let names = 0; // that other lists name gateways by
fleet.onFleet(() => {
  const anew = names !== fleet.known.names;
  names = fleet.known.names;
  if (opened.kind === "gateway") listen();
  draw(anew);
});
onAudit(() => draw());
setInterval(() => { if (!document.hidden) tick(); }, 5000);
setInterval(() => {
  if (document.hidden) return;
  const ids = view === "devices" ? list.shown() : [];
  if (opened.kind === "device" && !ids.includes(opened.id)) ids.push(opened.id);
  heard(ids).catch(() => {}); // the stream will tell if nobody answers
}, 10000);
begin();
