// The audit: who did what, and how it ended. For admins.

import { ask } from "./api.js";
import { nameOf } from "./fleet.js";
import { h, show, when } from "./text.js";
import { hrefOf } from "./commands.js";

const perPage = 200;

const entries = new Map(); // number -> entry
const state = { loading: false, newest: 0, oldest: 0, whole: false, came: false, bad: "" };
let changed = () => {};

// onAudit calls f when more has come.
export function onAudit(f) { changed = f; }

async function load(before) {
  if (state.loading) return;
  state.loading = true;
  try {
    const found = await ask(`/audit?limit=${perPage}` + (before ? `&before=${before}` : ""));
    if (!before && state.newest && found.at(-1)?.seq > state.newest + 1) { // too much came meanwhile
      entries.clear();
      Object.assign(state, { oldest: 0, whole: false });
    }
    for (const e of found) {
      e.id = String(e.seq);
      e.hay = [e.who, e.what, e.gateway, nameOf(e.gateway), e.ref, e.detail, e.outcome].join("\n").toLowerCase();
      entries.set(e.id, e);
    }
    state.newest = Math.max(state.newest, found[0]?.seq ?? 0);
    const last = found.at(-1)?.seq ?? 0;
    if (last && (!state.oldest || last < state.oldest)) state.oldest = last;
    if (found.length < perPage || state.oldest === 1) state.whole = true;
    state.bad = "";
  } catch (e) {
    state.bad = e.message;
  }
  state.came = true;
  state.loading = false;
  changed();
}

export const view = {
  title: "Audit", one: "entry", many: "entries", placeholder: "Search who, what, gateways",
  columns: ["", "What", "Who", "Gateway", "", "How it ended", "When"],
  map: entries,
  synced: () => state.came,
  row(e, row) {
    row.className = "row audit";
    row.dataset.state = "";
    row.replaceChildren(
      h("span", { class: "mark mono", title: "Its number" }, String(e.seq)),
      h("span", { class: "who" }, show(e.what, "name"), h("span", { class: "sub" }, h("span", { class: "small-only shrink" }, show(e.who)), show(e.detail, "mono"))),
      h("span", { class: "where" }, show(e.who, "first")),
      h("span", { class: "mac" }, e.gateway ? show(nameOf(e.gateway)) : h("span", { class: "none" }, "–")),
      h("span", { class: "what" }),
      h("span", { class: "heard" }, show(e.outcome || "–")),
      h("span", { class: "seen" }, when(e.time)),
    );
  },
  // Where the entry is about a command or a gateway, that is a step away.
  href: (e) => (/^[0-9A-HJKMNP-TV-Z]{26}$/.test(e.ref) ? hrefOf(e.ref) : e.gateway ? "#/gateway/" + encodeURIComponent(e.gateway) : "#/audit"),
  states: { "": ["All", () => true] },
  orders: { newest: ["Newest first", (a, b) => b.seq - a.seq] },
  picks: {
    what: ["Anything", (e, v) => e.what === v, () => [...new Set([...entries.values()].map((e) => e.what))].sort().map((w) => [w, w])],
    by: ["Anybody", (e, v) => e.who === v, () => [...new Set([...entries.values()].map((e) => e.who))].sort().slice(0, 200).map((w) => [w, w])],
  },
  open() { load(0); },
  more() { if (!state.whole && state.oldest) load(state.oldest); },
  endless: () => !state.whole,
  nothing: () => [state.bad || "Nothing yet", ""],
};
