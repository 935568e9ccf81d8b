// The live picture: what is known of devices and services, kept current by an
// event stream.

import { ask, link, onLink, Stream } from "./api.js";

export const devices = new Map(); // id -> device; services hang on it as a Map
export const services = new Map(); // id -> service

const early = new Map(); // device id -> services that came before their device

const changed = new Set(); // who wants to know
const marks = new Map(); // id -> when it changed before our eyes

// onChange calls f after something changed, several times a second at most.
export function onChange(f) { changed.add(f); }

// picture says whether all that there is has come, and whether it was too much.
export const picture = { synced: false, full: false };

// justChanged says whether an object changed within the last moments.
export function justChanged(id) { return Date.now() - (marks.get(id) ?? 0) < 1200; }

let timer = 0;
function soon() {
  // The first picture is shown as a whole; then changes are gathered a little.
  if (!timer) timer = setTimeout(flush, picture.synced ? 150 : 300);
}

function flush() {
  timer = 0;
  const now = Date.now();
  for (const [id, at] of marks) if (now - at > 2000) marks.delete(id);
  for (const f of changed) f();
}

// Each connection begins with the full picture; what is not in it has gone.
let generation = 0;
let fresh = false;

function put(kind, o, op) {
  const map = kind === "device" ? devices : services;
  const old = map.get(o.id);
  o.generation = generation;
  o.version = 0;
  if (kind === "device") {
    o.services = old?.services ?? early.get(o.id) ?? new Map();
    early.delete(o.id);
  } else if (old && old.device !== o.device) {
    detach(old);
  }
  prepare(kind, o);
  map.set(o.id, o);
  if (picture.synced && !fresh && op !== "remove" && (!old || telling(old) !== telling(o))) marks.set(o.id, Date.now());
  if (kind === "device" || !o.device) return;
  const d = devices.get(o.device);
  if (d) {
    d.services.set(o.id, o);
    d.version++;
  } else if (early.has(o.device)) {
    early.get(o.device).set(o.id, o);
  } else {
    early.set(o.device, new Map([[o.id, o]]));
  }
}

function detach(s) {
  const d = devices.get(s.device), waiting = early.get(s.device);
  if (d?.services.delete(s.id)) d.version++;
  if (waiting?.delete(s.id) && !waiting.size) early.delete(s.device);
}

// telling is what of an object is worth pointing at when it changes: not that
// it was heard once more.
function telling(o) {
  return o.state + "\n" + o.names?.join("\n") + o.name + "\n" + o.addresses + "\n" + o.port;
}

function drop(kind, id) {
  if (kind === "device") {
    const d = devices.get(id);
    devices.delete(id);
    if (d?.services.size) early.set(id, d.services);
    return;
  }
  const s = services.get(id);
  services.delete(id);
  if (s) detach(s);
}

// prepare makes once what sorting and searching need again and again.
function prepare(kind, o) {
  if (kind === "device") {
    o.title = o.names[0] || o.addresses[0] || o.macs[0] || o.id;
    o.anonymous = !o.names.length;
    o.hay = [o.id, o.vendor, o.model, o.os, o.class, o.gateway, ...o.aliases, ...o.names, ...o.tags, ...o.macs, ...o.addresses, ...o.protocols].join("\n").toLowerCase();
  } else {
    o.title = o.name || o.host || o.type;
    const txt = Object.entries(o.attributes).map(([k, v]) => k + "=" + v);
    o.hay = [o.id, o.name, o.type, o.host, o.protocol, o.interface, o.port, ...o.addresses, ...txt].join("\n").toLowerCase();
  }
  o.first = Date.parse(o.first_seen);
}

function sweep() {
  for (const d of devices.values()) if (d.generation !== generation) drop("device", d.id);
  for (const s of services.values()) if (s.generation !== generation) drop("service", s.id);
}

const stream = new Stream({
  begin() {
    generation++;
    fresh = true;
  },
  take(event, { kind, ...o }) {
    delete o.event;
    if (event === "remove") drop(kind, o.id);
    else put(kind, o, event);
    if (!fresh) soon();
    else if (devices.size + services.size > most) overflow();
  },
  synced() {
    if (fresh) sweep();
    fresh = false;
    picture.synced = true;
    clearTimeout(timer);
    flush();
  },
});
onLink(soon);

// A hub may know of more than a browser can hold.
const most = 100000;

function overflow() {
  stream.close();
  devices.clear();
  services.clear();
  early.clear();
  picture.full = picture.synced = true;
  soon();
}

let followed = null;

// follow keeps the picture of all, or of one gateway's, current.
export function follow(gateway = "") {
  if (gateway === followed) return;
  if (followed !== null && gateway !== followed) picture.synced = false;
  followed = gateway;
  picture.full = false;
  stream.open("/events?kind=all" + (gateway && "&gateway=" + encodeURIComponent(gateway)));
}

// following says whether follow was called, and unfollow ends it. What was
// known stays until the next picture.
export const following = () => followed !== null;

export function unfollow() {
  followed = null;
  stream.close();
}

// heard brings up to date when devices were last heard, which is no event.
export async function heard(ids) {
  if (!ids.length || link.state !== "live") return;
  for (const { id, last_seen } of await ask("/last-seen?id=" + ids.slice(0, 200).map(encodeURIComponent).join(","))) {
    const d = devices.get(id);
    if (d && d.last_seen !== last_seen) {
      d.last_seen = last_seen;
      d.version++;
    }
  }
  soon();
}
