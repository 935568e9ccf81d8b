// The live picture: what the node knows, kept current by its event stream.

export const devices = new Map(); // id -> device; services hang on it as a Map
export const services = new Map(); // id -> service

const changed = new Set(); // who wants to know
const marks = new Map(); // id -> when it changed before our eyes

// onChange calls f after something changed, several times a second at most.
export function onChange(f) { changed.add(f); }

// onLink calls f with how the connection is:
// connecting, live, paused, lost, denied.
let tellLink = () => {};
export function onLink(f) { tellLink = f; }

export const link = { state: "connecting", synced: false };

function setLink(state) {
  if (link.state === state) return;
  link.state = state;
  tellLink(state);
  soon();
}

// justChanged says whether an object changed within the last moments.
export function justChanged(id) { return Date.now() - (marks.get(id) ?? 0) < 1200; }

let timer = 0;
function soon() {
  // The first picture is shown as a whole; then changes are gathered a little.
  if (!timer) timer = setTimeout(flush, link.synced ? 150 : 300);
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
    o.services = old?.services ?? new Map();
  } else if (old && old.device !== o.device) {
    detach(old);
  }
  prepare(kind, o);
  map.set(o.id, o);
  if (link.synced && !fresh && op !== "remove" && (!old || picture(old) !== picture(o))) marks.set(o.id, Date.now());
  if (kind === "device") {
    if (!old) for (const s of services.values()) if (s.device === o.id) o.services.set(s.id, s);
  } else {
    const d = devices.get(o.device);
    if (d) {
      d.services.set(o.id, o);
      d.version++;
    }
  }
}

function detach(s) {
  const d = devices.get(s.device);
  if (d?.services.delete(s.id)) d.version++;
}

// picture is what of an object is worth pointing at when it changes: not that
// it was heard once more.
function picture(o) {
  return o.state + "\n" + o.names?.join("\n") + o.name + "\n" + o.addresses + "\n" + o.port;
}

function drop(kind, id) {
  if (kind === "device") {
    devices.delete(id);
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

let source = null;
let retry = 1000;
let again = 0;

function connect() {
  clearTimeout(again);
  disconnect();
  setLink(link.state === "live" || link.state === "lost" ? "lost" : "connecting");
  generation++;
  fresh = true;
  const s = source = new EventSource("/api/v1/events?kind=all");
  const take = (e) => {
    const { event, kind, ...o } = JSON.parse(e.data);
    if (event === "remove") drop(kind, o.id);
    else put(kind, o, event);
    if (!fresh) soon();
  };
  for (const op of ["add", "update", "remove"]) s.addEventListener(op, take);
  s.addEventListener("synced", () => {
    if (fresh) sweep();
    fresh = false;
    retry = 1000;
    link.synced = true;
    setLink("live");
    clearTimeout(timer);
    flush();
  });
  s.onerror = () => {
    if (source !== s) return;
    disconnect();
    lost();
  };
}

function disconnect() {
  source?.close();
  source = null;
}

// lost finds out why the stream ended, which EventSource does not say.
async function lost() {
  let status = 0;
  try {
    status = (await fetch("/api/v1/session")).status;
  } catch { /* nobody answers */ }
  if (document.hidden) return;
  if (status === 401 || status === 403) {
    setLink("denied");
    return;
  }
  setLink("lost");
  again = setTimeout(connect, retry);
  retry = Math.min(retry * 2, 15000);
}

// A browser opens only six connections to one host: a page that nobody has
// looked at for a minute gives its own back.
let asleep = 0;
document.addEventListener("visibilitychange", () => {
  clearTimeout(asleep);
  if (document.hidden) {
    asleep = setTimeout(() => {
      disconnect();
      clearTimeout(again);
      setLink("paused");
    }, 60000);
  } else if (!source && link.state !== "denied") {
    connect();
  }
});
addEventListener("pagehide", disconnect);
addEventListener("pageshow", (e) => { if (e.persisted) connect(); });

export function start() { connect(); }

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

// ask calls the API and returns its JSON, or throws what to tell people.
export async function ask(path, method = "GET", body) {
  let answer;
  try {
    answer = await fetch("/api/v1" + path, {
      method,
      headers: body === undefined ? {} : { "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch {
    throw new Error("lanfolk does not answer");
  }
  if (answer.ok) return answer.status === 204 ? null : answer.json();
  let why = `status ${answer.status}`;
  try {
    const p = await answer.json();
    why = p.errors?.length ? p.errors.map((e) => e.message).join("; ") : p.detail || p.title || why;
  } catch { /* no problem document */ }
  throw Object.assign(new Error(why), { status: answer.status });
}
