// The lists of devices, services and gateways: their rows, orders and filters.

import { devices, services, justChanged, picture, follow, unfollow } from "./inventory.js";
import { gateways, known, nameOf } from "./fleet.js";
import { me } from "./api.js";
import { h, show, plain, glyph, when } from "./text.js";
import { deviceGlyph, typeGlyph, typeName, tellingOf, stateWords } from "./kinds.js";

const day = 24 * 3600 * 1000;
const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });
const byName = (a, b) => collator.compare(a, b);
const isNew = (o) => Date.now() - o.first < day;

const dot = (o, words) => h("i", { class: "dot", title: words }, h("span", { class: "unseen" }, words ?? ""));

// heardBy says by which protocols something was heard, and at a hub by whose
// ears.
function heardBy(o, protocols) {
  if (!me.hub) return protocols;
  return [show(nameOf(o.gateway) || "–", "first"), h("small", {}, protocols)];
}

// has says whether a word occurs in what is known of something, or in the name
// of the gateway that heard it.
const has = (o, word) => o.hay.includes(word) || Boolean(me.hub && gateways.get(o.gateway)?.called.includes(word));

// ofGateway is a filter by gateways, those with the most devices where there are
// many.
const ofGateway = ["Gateway", (o, v) => o.gateway === v, () => [...gateways.values()].filter((g) => g.devices).sort((a, b) => b.devices - a.devices)
  .slice(0, 200).map((g) => [g.id, g.title]).sort((a, b) => byName(a[1], b[1]))];

// atHub adds what there is at a hub only.
export function atHub() { for (const v of [devicesView, servicesView]) v.picks = { gateway: ofGateway, ...v.picks }; }

// byGateway narrows devices and services to a gateway's; the address says which.
const byGateway = { id: "", fits: (o) => !byGateway.id || o.gateway === byGateway.id };

const inventoryView = {
  synced: () => picture.synced,
  full: () => picture.full,
  open(ref) {
    byGateway.id = me.hub ? ref : "";
    follow(byGateway.id);
  },
  close() { if (me.hub) unfollow(); },
  fits: byGateway.fits,
  narrowed: () => byGateway.id && [`Gateway: ${plain(nameOf(byGateway.id))}`, () => { location.hash = location.hash.split("/").slice(0, 2).join("/"); }],
  nothing: () => ["Nobody was heard yet", me.hub ? "What gateways tell of appears here." : "Devices appear here as they speak. That can take a minute."],
};

const protocolsOf = () => {
  const all = new Set();
  for (const d of devices.values()) for (const p of d.protocols) all.add(p);
  for (const s of services.values()) all.add(s.protocol);
  return [...all].sort(byName).map((p) => [p, p]);
};

const typesOf = () => {
  const types = new Map();
  for (const s of services.values()) types.set(s.type, (types.get(s.type) ?? 0) + 1);
  const usual = [...types].sort((a, b) => b[1] - a[1]).slice(0, 200).map(([t]) => t);
  return usual.map((t) => [t, typeName(t) ? `${typeName(t)} (${t})` : t]).sort((a, b) => byName(a[1], b[1]));
};

const states = {
  "": ["All", () => true],
  reachable: ["Reachable", (o) => o.state === "reachable", "reachable"],
  unreachable: ["Away", (o) => o.state === "unreachable", "unreachable"],
  new: ["New", isNew, "new"],
};

// ---- devices ----

function deviceRow(d, row) {
  row.className = "row device" + (justChanged(d.id) ? " changed" : "");
  row.dataset.state = d.state;
  const offered = [...new Set([...d.services.values()].map((s) => s.type))].sort((a, b) => tellingOf(a) - tellingOf(b) || byName(a, b));
  row.replaceChildren(
    h("span", { class: "mark" }, glyph(deviceGlyph(d)), dot(d, stateWords[d.state])),
    h("span", { class: "who" },
      show(d.title, d.anonymous ? "name mono" : "name"),
      h("span", { class: "sub" }, ...subtitle(d))),
    h("span", { class: "where mono" }, some(d.addresses.map((a) => show(a)))),
    h("span", { class: "mac mono" }, some(d.macs.map((m) => show(m))), d.random_mac ? h("em", { title: "A private address: the device may come back under another one" }, "private") : ""),
    h("span", { class: "what" }, typeTags(offered)),
    h("span", { class: "heard" }, heardBy(d, d.protocols.map(plain).join(", "))),
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

export const devicesView = {
  ...inventoryView,
  title: "Devices", one: "device", many: "devices", placeholder: "Search names, addresses, services",
  columns: ["", "Name", "Address", "Hardware address", "Offers", "Heard by", "Seen"],
  map: devices,
  row: deviceRow,
  href: (d) => "#/device/" + encodeURIComponent(d.id),
  says: (d, word) => has(d, word) || [...d.services.values()].some((s) => s.hay.includes(word)),
  states,
  picks: {
    protocol: ["Protocol", (d, v) => d.protocols.includes(v), protocolsOf],
    type: ["Service", (d, v) => [...d.services.values()].some((s) => s.type === v), typesOf],
  },
  orders: {
    name: ["By name", (a, b) => a.anonymous - b.anonymous || byName(a.title, b.title)],
    address: ["By address", (a, b) => byName(a.addresses[0] ?? "~", b.addresses[0] ?? "~")],
    newest: ["Newest first", (a, b) => b.first - a.first],
    vendor: ["By vendor", (a, b) => byName(a.vendor || "~", b.vendor || "~") || byName(a.title, b.title)],
  },
};

// ---- services ----

function serviceRow(s, row) {
  row.className = "row service" + (justChanged(s.id) ? " changed" : "");
  row.dataset.state = s.state;
  const d = devices.get(s.device);
  const place = s.port ? [s.host || s.addresses[0] || "", ":" + s.port] : [s.host || s.addresses[0] || "", ""];
  row.replaceChildren(
    h("span", { class: "mark" }, glyph(typeGlyph(s.type)), dot(s, stateWords[s.state])),
    h("span", { class: "who" }, show(s.title, "name"), h("span", { class: "sub" }, typeName(s.type) ? h("span", {}, typeName(s.type)) : show(s.type), d ? show(d.title, "small-only shrink") : "")),
    h("span", { class: "where mono" }, place[0] ? h("span", { class: "first" }, show(place[0]), place[1]) : h("span", { class: "none" }, "–")),
    h("span", { class: "mac" }, d ? show(d.title) : h("span", { class: "none" }, "device not known")),
    h("span", { class: "what" }, show(s.type, "type mono")),
    h("span", { class: "heard" }, me.hub ? heardBy(s, plain(s.protocol)) : [show(s.protocol), s.interface ? [" · ", show(s.interface)] : ""]),
    h("span", { class: "seen" }, when(s.last_seen)),
  );
}

export const servicesView = {
  ...inventoryView,
  title: "Services", one: "service", many: "services", placeholder: "Search names, addresses, services",
  columns: ["", "Name", "Where", "Device", "Type", "Heard by", "Seen"],
  map: services,
  row: serviceRow,
  says: has,
  href: (s) => (s.device ? "#/device/" + encodeURIComponent(s.device) : "#/services"),
  states,
  picks: {
    protocol: ["Protocol", (s, v) => s.protocol === v, protocolsOf],
    type: ["Service", (s, v) => s.type === v, typesOf],
  },
  orders: {
    name: ["By name", (a, b) => byName(a.title, b.title)],
    type: ["By type", (a, b) => byName(a.type, b.type) || byName(a.title, b.title)],
    newest: ["Newest first", (a, b) => b.first - a.first],
  },
};

// ---- gateways ----

function gatewayRow(g, row) {
  row.className = "row gateway";
  row.dataset.state = g.revoked ? "revoked" : g.state;
  const words = g.revoked ? "Revoked" : g.state === "online" ? "Online" : "Offline";
  row.replaceChildren(
    h("span", { class: "mark" }, glyph("router"), dot(g, words)),
    h("span", { class: "who" }, show(g.title, g.name ? "name" : "name mono"),
      h("span", { class: "sub" }, g.revoked ? h("b", { class: "bad" }, "revoked") : "", g.insecure ? h("b", { class: "tag" }, "insecure") : "", ...g.tags.slice(0, 3).map((t) => show(t, "tag")),
        h("span", { class: "small-only mono" }, show(g.address)))),
    h("span", { class: "where mono" }, g.address ? show(g.address, "first") : h("span", { class: "none" }, "–")),
    h("span", { class: "mac" }, show(g.version || "–")),
    h("span", { class: "what" }, g.devices ? g.devices.toLocaleString() : h("span", { class: "none" }, "–")),
    h("span", { class: "heard" }, words),
    h("span", { class: "seen" }, g.state === "online" ? (g.connected_at ? when(g.connected_at) : "") : g.last_seen ? when(g.last_seen) : "never"),
  );
}

export const gatewaysView = {
  title: "Gateways", one: "gateway", many: "gateways", placeholder: "Search names, labels, addresses",
  columns: ["", "Name", "Address", "Version", "Devices", "State", "Since"],
  map: gateways,
  synced: () => known.gateways,
  row: gatewayRow,
  href: (g) => "#/gateway/" + encodeURIComponent(g.id),
  states: {
    "": ["All", () => true],
    online: ["Online", (g) => g.state === "online" && !g.revoked, "online"],
    offline: ["Offline", (g) => g.state !== "online" || g.revoked, "offline"],
  },
  picks: {
    label: ["Label", (g, v) => g.tags.includes(v), () => {
      const all = new Map();
      for (const g of gateways.values()) for (const t of g.tags) all.set(t, (all.get(t) ?? 0) + 1);
      return [...all].sort((a, b) => b[1] - a[1]).slice(0, 200).map(([t]) => [t, t]).sort((a, b) => byName(a[1], b[1]));
    }],
  },
  orders: {
    name: ["By name", (a, b) => byName(a.title, b.title)],
    state: ["Offline first", (a, b) => (a.state === "online") - (b.state === "online") || byName(a.title, b.title)],
    address: ["By address", (a, b) => byName(a.address || "~", b.address || "~")],
    devices: ["Most devices first", (a, b) => b.devices - a.devices],
  },
  nothing: () => ["No gateway has joined yet", me.role === "admin" ? "Make a join token under Hub, and give it to lanfolk join on the gateway." : "An admin can let one join."],
};
