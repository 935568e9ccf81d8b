// How the page talks with lanfolk: who is signed in, single questions, and
// streams of events that come back by themselves.

// me is who is signed in. At a node that is whoever may open the page, and the
// rest is empty.
export const me = { hub: false, name: "", role: "", csrf: "", grants: [] };

// whoAmI asks who is signed in, and throws what ask does.
export async function whoAmI() {
  const { name = "", role = "", csrf = "", grants = [] } = await ask("/session");
  Object.assign(me, { hub: role !== "", name, role, csrf, grants });
}

// ask calls the API and returns its JSON, or throws what to tell people.
export async function ask(path, method = "GET", body) {
  const headers = {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (method !== "GET" && me.csrf) headers["X-CSRF-Token"] = me.csrf;
  let answer;
  try {
    answer = await fetch("/api/v1" + path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch {
    throw new Error("lanfolk does not answer");
  }
  if (answer.ok) return answer.status === 204 ? null : answer.json();
  throw await refusal(answer);
}

// byName begins the types of a 401 of a hub, where people have accounts.
export const byName = /^urn:lanfolk:problem:(sign-in|no-accounts)$/;

// refusal is the error that an answer stands for.
export async function refusal(answer) {
  let why = `status ${answer.status}`, type = "";
  try {
    const p = await answer.json();
    type = p.type ?? "";
    why = p.errors?.length ? p.errors.map((e) => e.message).join("; ") : p.detail || p.title || why;
  } catch { /* no problem document */ }
  if (answer.status === 401) setDenied();
  return Object.assign(new Error(why), { status: answer.status, type });
}

// ---- how the connection is ----

// link.state is connecting, live, paused, lost or denied.
export const link = { state: "connecting" };
const tellLink = new Set();

// onLink calls f when link.state has changed.
export function onLink(f) { tellLink.add(f); }

const gravest = ["denied", "lost", "paused", "connecting", "live"];
const streams = new Set(); // that are wanted
let denied = false;

function setDenied() {
  denied = true;
  setLink();
}

// setLink tells the gravest state of all streams.
function setLink() {
  const states = [...streams].map((s) => s.state);
  const state = denied ? "denied" : gravest.find((g) => states.includes(g)) ?? link.state;
  if (state === link.state) return;
  link.state = state;
  for (const f of tellLink) f(state);
}

// unreachable says that lanfolk doesn't answer, before there is any stream.
export function unreachable() {
  link.state = "lost";
  for (const f of tellLink) f("lost");
}

// Stream is a stream of events, which begins with the full picture each time.
export class Stream {
  // begin() is called before each picture, take(event, data) for each event, and
  // synced() at the picture's end.
  constructor({ begin, take, synced }) {
    Object.assign(this, { begin, take, synced, path: "", source: null, state: "connecting", retry: 1000, again: 0 });
  }

  // open follows a path of the API instead of the one before.
  open(path) {
    if (this.path === path) return;
    this.close();
    this.path = path;
    this.state = "connecting";
    streams.add(this);
    this.connect();
  }

  close() {
    this.disconnect();
    this.path = "";
    streams.delete(this);
    setLink();
  }

  connect() {
    this.disconnect();
    this.say(this.state === "live" || this.state === "lost" ? "lost" : "connecting");
    this.begin();
    const s = this.source = new EventSource("/api/v1" + this.path);
    const take = (e) => this.take(e.type, JSON.parse(e.data));
    for (const op of ["add", "update", "remove"]) s.addEventListener(op, take);
    s.addEventListener("synced", () => {
      this.retry = 1000;
      denied = false;
      this.synced();
      this.say("live");
    });
    s.onerror = () => {
      if (this.source !== s) return;
      this.disconnect();
      this.lost();
    };
  }

  disconnect() {
    clearTimeout(this.again);
    this.again = 0;
    this.source?.close();
    this.source = null;
  }

  // lost finds out why the stream ended, which EventSource does not say.
  async lost() {
    const path = this.path, before = JSON.stringify(me);
    let status = 0;
    try {
      await whoAmI();
      // What he may do has changed: so has the page.
      if (me.hub && JSON.stringify({ ...me, csrf: "" }) !== JSON.stringify({ ...JSON.parse(before), csrf: "" })) location.reload();
    } catch (e) {
      status = e.status ?? 0; // 0: nobody answers
    }
    if (document.hidden || this.path !== path || this.source) return;
    if (status === 401 || status === 403) {
      setDenied();
      return;
    }
    this.say("lost");
    this.again = setTimeout(() => this.connect(), this.retry);
    this.retry = Math.min(this.retry * 2, 15000);
  }

  say(state) {
    this.state = state;
    setLink();
  }
}

// A browser opens only six connections to one host: a page that nobody has
// looked at for a minute gives its own back.
let asleep = 0;
document.addEventListener("visibilitychange", () => {
  clearTimeout(asleep);
  if (document.hidden) {
    asleep = setTimeout(() => {
      for (const s of streams) {
        s.disconnect();
        s.say("paused");
      }
    }, 60000);
  } else if (!denied) {
    for (const s of streams) if (!s.source) s.connect();
  }
});
addEventListener("pagehide", () => { for (const s of streams) s.disconnect(); });
addEventListener("pageshow", (e) => { if (e.persisted) for (const s of streams) s.connect(); });
