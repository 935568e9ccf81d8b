// The live picture of a hub's gateways and of what they were told, and what
// whoever is signed in may tell them.

import { ask, me, Stream } from "./api.js";

export const gateways = new Map(); // id -> gateway
export const commands = new Map(); // id -> command; those that were looked at

// known says whether the picture of the gateways has come, and how often a name
// changed since.
export const known = { gateways: false, names: 0 };

const changed = new Set();

// onFleet calls f after something changed, several times a second at most.
export function onFleet(f) { changed.add(f); }

let timer = 0;
function soon(wait = 150) {
  timer ||= setTimeout(() => {
    timer = 0;
    for (const f of changed) f();
  }, wait);
}

// ---- gateways ----

let generation = 0;

const present = new Stream({
  begin() { generation++; },
  take(event, g) {
    const old = gateways.get(g.id);
    if (event === "remove") {
      gateways.delete(g.id);
    } else {
      delete g.event;
      g.generation = generation;
      g.title = g.name || g.id;
      g.called = g.title.toLowerCase();
      g.tags = Object.entries(g.labels ?? {}).sort(([a], [b]) => (a < b ? -1 : 1)).map(([k, v]) => (v ? `${k}=${v}` : k));
      g.hay = [g.id, g.name, g.address, g.version, ...g.tags].join("\n").toLowerCase();
      gateways.set(g.id, g);
      if (old?.title !== g.title) known.names++;
    }
    if (known.gateways) soon();
  },
  synced() {
    for (const g of gateways.values()) if (g.generation !== generation) gateways.delete(g.id);
    known.gateways = true;
    soon(0);
  },
});

export function start() { present.open("/gateways/events"); }

// nameOf is what people call a gateway.
export const nameOf = (id) => gateways.get(id)?.title || id;

// parseLabels reads "a=b, c=d"; it throws what to tell people.
export function parseLabels(text) {
  const out = {};
  for (const pair of text.split(",").map((t) => t.trim()).filter(Boolean)) {
    const at = pair.indexOf("=");
    if (at < 1) throw new Error(`“${pair}” is no pair like site=oslo`);
    const key = pair.slice(0, at).trim();
    Object.defineProperty(out, key, { value: pair.slice(at + 1).trim(), enumerable: true, configurable: true, writable: true });
  }
  return out;
}

// ---- commands ----

const mostCommands = 20000; // that are kept here
const mostHistory = 10000; // that are asked for

// history says how far back the list of all commands reaches.
export const history = { oldest: "", newest: "", came: false, whole: false, loading: false };

// ends are the states after which a command changes no more.
const ends = new Set(["ok", "error", "timeout", "offline", "denied", "cancelled", "interrupted"]);

export const ended = (c) => ends.has(c.status);

const perPage = 200;
let first = null; // the ids that the stream begins with, until it has

const told = new Stream({
  begin() { first = []; },
  take(event, c) {
    if (event === "remove") {
      commands.delete(c.command_id);
    } else {
      first?.push(c.command_id);
      learn(c);
    }
    if (!first) soon();
  },
  synced() {
    if (told.path === everything) reach(first);
    first = null;
    catchUp().catch(() => {}); // the stream will tell if nobody answers
    soon(0);
  },
});

const everything = "/commands/events?limit=" + perPage;

// reach notes how far the newest commands, which are known now, reach back.
function reach(ids) {
  const joined = history.newest && ids.some((id) => id <= history.newest);
  if (!joined) Object.assign(history, { oldest: ids[0] ?? "", whole: ids.length < perPage });
  history.newest = ids.at(-1) ?? history.newest;
  history.came = true;
}

// learn keeps a command. What is heard late takes nothing back.
export function learn(c) {
  const id = c.command_id, old = commands.get(id);
  if (!id) return c;
  delete c.event;
  if (old && (ended(old) || old.status === "running") && !ended(c) && c.status !== old.status) return old;
  c.id = id;
  delete c.output; // it is read where it is shown
  const name = c.gateway_name || nameOf(c.gateway);
  c.title = name;
  c.hay = [id, c.command, c.by, c.gateway, name, c.error].join("\n").toLowerCase();
  commands.set(id, c);
  if (commands.size > mostCommands) forget();
  return c;
}

// forget drops the oldest tenth.
function forget() {
  const ids = [...commands.keys()].sort();
  const gone = ids.slice(0, mostCommands / 10);
  for (const id of gone) commands.delete(id);
  Object.assign(history, { oldest: ids[gone.length], whole: false });
}

// older asks for the page of all commands before the oldest.
export async function older() {
  if (history.loading || history.whole || !history.came) return;
  history.loading = true;
  try {
    const found = await page({ before: history.oldest, limit: perPage });
    history.oldest = found.at(-1)?.command_id ?? history.oldest;
    if (found.length < perPage || commands.size > mostHistory) history.whole = true;
  } finally {
    history.loading = false;
    soon(0);
  }
}

// catchUp asks for what may have ended while nobody told.
async function catchUp() {
  const open = [...commands.values()].filter((c) => !ended(c)).map((c) => c.id).sort();
  if (!open.length) return;
  for (let before = "", n = 0; n < 20; n++) {
    const found = await page({ before, limit: 1000 });
    before = found.at(-1)?.command_id ?? "";
    if (before <= open[0]) return;
  }
}

// watch follows the commands that are worth it: all of them ("all"), a gateway's
// ({gateway}), a few ({ids}) or none ("").
export function watch(what) {
  if (!what) told.close();
  else if (what === "all") told.open(everything);
  else if (what.gateway) told.open("/commands/events?limit=20&gateway=" + encodeURIComponent(what.gateway));
  else told.open("/commands/events?id=" + what.ids.map(encodeURIComponent).join(","));
}

// load asks for a command as it is now.
export async function load(id) {
  const c = learn(await ask("/commands/" + encodeURIComponent(id)));
  soon(0);
  return c;
}

// page asks for commands before the one named, the newest first.
export async function page({ gateway = "", before = "", limit = 100 } = {}) {
  const q = new URLSearchParams({ limit });
  if (gateway) q.set("gateway", gateway);
  if (before) q.set("before", before);
  const found = (await ask("/commands?" + q)).map(learn);
  soon(0);
  return found;
}

// run asks gateways to do what a line says.
export async function run(request) {
  const made = (await ask("/commands", "POST", request)).map(learn);
  soon(0);
  return made;
}

export async function cancel(id) {
  const c = await ask(`/commands/${encodeURIComponent(id)}/cancel`, "POST");
  if (c) learn(c);
  soon(0);
}

// ---- what he may ----

// verbs are what a gateway does. Which of them, each decides itself.
export const verbs = {
  status: ["status", "How the gateway is."],
  devices: ["devices [--protocol P] [--type T] [--state S] [--new D] [TEXT]", "What it knows of its network."],
  services: ["services [--protocol P] [--type T] [--state S] [--new D] [TEXT]", "What is offered in its network."],
  find: ["find [--timeout D] QUERY", "Ask its network now: a type (_ipp._tcp), a name, an address."],
  browse: ["browse [--resolve] [TYPE]", "Ask by DNS-SD now; without a type, which types there are."],
  fingerprints: ["fingerprints [--protocol P] [--query Q] [--mac M] [--since D] [--limit N] [--latest]", "What passive monitoring heard."],
  list: ["list", "Which files can be fetched."],
  get: ["get NAME", "Fetch a file that list names."],
  capture: ["capture INTERFACE SECONDS", "Record what passes an interface, as a pcap file."],
  exec: ["exec NAME [ARGUMENT…]", "Run a program that the gateway’s own config allows by this name."],
};

const granted = new Set(["exec", "get", "capture"]);

// matches says whether labels have all pairs of a selector.
export const matches = (selector, labels) => Object.entries(selector ?? {}).every(([k, v]) => Object.hasOwn(labels, k) && labels[k] === v);

// mayRun says whether the hub would let him; with no labels, whether anywhere.
// The hub decides: this is so that nobody is offered what would be refused.
export function mayRun(verb, labels) {
  if (me.role === "admin") return true;
  if (granted.has(verb)) return me.grants.some((g) => g.verb === verb && (!labels || matches(g.selector, labels)));
  return me.role === "operator";
}

export const mayRunAnything = (labels) => Object.keys(verbs).some((v) => mayRun(v, labels));

export const isAdmin = () => me.role === "admin";
