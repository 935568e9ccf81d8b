// What gateways were told: the list of commands, and the panel of one.

import { me } from "./api.js";
import { commands, gateways, ended, history, nameOf, load, older, cancel, watch, isAdmin } from "./fleet.js";
import { h, show, plain, glyph, when, bytes } from "./text.js";
import { Output } from "./output.js";

export const stateWords = {
  queued: "Waiting", running: "Running", ok: "Done", error: "Failed", timeout: "Timed out", offline: "Offline", denied: "Refused",
  cancelled: "Cancelled", interrupted: "Interrupted",
};

const explained = {
  queued: "It goes to the gateway when that is there.", timeout: "Its time was over before it had ended.", offline: "The gateway was not there.",
  denied: "The gateway does not allow it.", interrupted: "The gateway stopped while it ran. It is not run again.",
};

export const wordOf = (c) => (Object.hasOwn(stateWords, c.status) ? stateWords[c.status] : plain(c.status));

// outcome is how a command went, in a few words.
export function outcome(c) {
  const out = [wordOf(c)];
  if (c.exit) out.push(`exit ${c.exit}`);
  if (ended(c) && c.size) out.push(bytes(c.size));
  return out.join(" · ");
}

const dot = (c) => h("i", { class: "dot", "data-state": c.status, "aria-hidden": "true" });

export const hrefOf = (id) => "#/command/" + encodeURIComponent(id);

export const glyphOf = (line) => ({ get: "folder", list: "folder", capture: "web", find: "search", browse: "search" })[line.trim().split(/\s/, 1)[0]] ?? "terminal";

// ---- the list ----

// only are the ids that a run made; null is all.
let only = null;
export function showOnly(ids) { only = ids && new Set(ids); }

export const view = {
  title: "Commands", one: "command", many: "commands", placeholder: "Search commands, gateways, people",
  columns: ["", "Command", "Gateway", "How it went", "", "By", "When"],
  map: commands,
  synced: () => history.came,
  row(c, row) {
    row.className = "row command";
    row.dataset.state = c.status;
    row.replaceChildren(
      h("span", { class: "mark" }, glyph(glyphOf(c.command)), h("i", { class: "dot", "data-state": c.status }, h("span", { class: "unseen" }, wordOf(c)))),
      h("span", { class: "who" }, show(c.command, "name mono"), h("span", { class: "sub" }, h("span", { class: "small-only shrink" }, show(c.title)), h("span", { class: "small-only" }, outcome(c)))),
      h("span", { class: "where" }, show(c.title, "first")),
      h("span", { class: "mac" }, outcome(c), c.error ? show(c.error, "note first") : ""),
      h("span", { class: "what" }),
      h("span", { class: "heard" }, show(c.by)),
      h("span", { class: "seen" }, when(c.created)),
    );
  },
  href: (c) => hrefOf(c.id),
  states: {
    "": ["All", () => true],
    open: ["Going on", (c) => !ended(c), "running"],
    ok: ["Done", (c) => c.status === "ok", "ok"],
    bad: ["Not done", (c) => ended(c) && c.status !== "ok", "bad"],
  },
  orders: {
    newest: ["Newest first", (a, b) => (a.id < b.id ? 1 : a.id > b.id ? -1 : 0)],
    gateway: ["By gateway", (a, b) => collator.compare(a.title, b.title)],
  },
  picks: {
    by: ["Anybody", (c, v) => c.by === v, () => [...new Set([...commands.values()].map((c) => c.by))].slice(0, 200).sort().map((b) => [b, b])],
  },
  fits: (c) => !only || only.has(c.id),
  // what the list is narrowed to, which a button takes away
  narrowed: () => only && [`This run: ${only.size.toLocaleString()}`, () => { only = null; }],
  open() { watch("all"); },
  close() { watch(""); },
  // more looks further back; endless says whether there is more to see.
  more() { older().catch(() => {}); }, // the stream will tell if nobody answers
  endless: () => !history.whole && !only,
  nothing: () => ["No command was given yet", "What gateways are told, and how it went, stands here."],
};

const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

// ---- one command ----

// CommandCard shows a command as it goes on: its state, output and end.
export class CommandCard {
  constructor(id, { toast }) {
    Object.assign(this, { id, toast, drawn: "" });
    this.head = h("div", { class: "card-head" });
    this.note = h("p", { class: "note" });
    this.output = new Output(id, "Output", async () => ended(await load(id)));
    this.root = h("div", { class: "card command-card" }, this.head, this.note, this.output.root);
    this.draw();
  }

  draw() {
    const c = commands.get(this.id);
    if (!c) return;
    const said = JSON.stringify([c.status, c.exit, c.error, c.size, c.cancelled_by, c.command]);
    if (said === this.drawn) return;
    this.drawn = said;
    const over = ended(c);
    const mine = c.by === me.name || isAdmin();
    const held = this.head.contains(document.activeElement);
    this.head.replaceChildren(
      dot(c),
      h("div", {}, show(c.command, "mono strong"), h("p", { class: "sub", role: "status" }, outcome(c))),
      !over && mine ? h("button", { type: "button", class: "plain", disabled: Boolean(c.cancelled_by), onclick: () => this.cancel() }, c.cancelled_by ? "Being cancelled" : "Cancel") : "");
    if (held) this.root.querySelector(".output")?.focus({ preventScroll: true });
    this.note.replaceChildren(...[
      c.error ? show(c.error, ["error", "denied", "interrupted"].includes(c.status) ? "bad" : "") : "",
      !c.error && Object.hasOwn(explained, c.status) ? explained[c.status] : "",
      c.status === "ok" && !c.size ? "Nothing came back." : "",
      c.cancelled_by ? h("span", { class: "faint" }, " Cancelled by ", show(c.cancelled_by), ".") : "",
    ].filter(Boolean));
    this.note.hidden = !this.note.firstChild;
    // Nothing comes of what never began.
    if (!this.reading && (c.status === "running" || (over && c.size > 0))) {
      this.reading = true;
      this.output.start(!over);
    }
  }

  async cancel() {
    try {
      await cancel(this.id);
    } catch (e) {
      this.toast("Not cancelled: " + plain(e.message));
    }
  }

  end() { this.output.stop(); }
}

// CommandPanel is the panel of one command.
export class CommandPanel {
  // found() is called when a command that was opened is there.
  constructor(root, { close, toast, found }) { Object.assign(this, { root, close, toast, found, id: "" }); }

  open(id) {
    if (id === this.id) return;
    this.card?.end();
    this.card = null;
    this.id = id;
    this.root.replaceChildren();
    if (!id) return;
    this.root.setAttribute("aria-label", "Command");
    this.words = h("div", { class: "words" });
    this.facts = h("section", { "aria-label": "What is known" });
    this.body = h("div", { class: "body" }, this.facts);
    this.root.append(h("div", { class: "head" },
      h("button", { type: "button", class: "icon close", "aria-label": "Close", onclick: () => this.close() }, glyph("close"), glyph("back", "glyph back")),
      h("div", { class: "title" }, h("span", { class: "mark" }, glyph("terminal")), this.words)), this.body);
    this.words.replaceChildren(h("h2", { tabindex: "-1" }, "…"));
    this.words.firstChild.focus({ preventScroll: true });
    load(id).then(() => { if (id === this.id) this.found(); }).catch((e) => {
      if (id !== this.id || this.card) return;
      this.words.replaceChildren(h("h2", { tabindex: "-1" }, e.status === 404 ? "Gone" : "Not shown"));
      this.facts.replaceChildren(h("p", { class: "hint" }, e.status === 404 ? "This command is not known, or not any more." : plain(e.message)));
    });
    this.draw();
  }

  draw() {
    const c = commands.get(this.id);
    if (!c) return;
    if (!this.card) {
      this.card = new CommandCard(this.id, this);
      this.body.prepend(h("section", { "aria-label": "Output" }, this.card.root));
      this.words.firstChild.replaceChildren(show(c.command, "mono"));
      this.words.append(h("p", { class: "sub" }, gateways.has(c.gateway) ? h("a", { class: "ref", href: "#/gateway/" + encodeURIComponent(c.gateway) }, show(nameOf(c.gateway))) : show(c.title)));
    }
    this.card.draw();
    const said = JSON.stringify([c.status, c.started, c.ended, c.size, c.sha256, c.deadline]);
    if (said === this.drawn && this.facts.firstChild) return;
    this.drawn = said;
    const row = (label, ...value) => h("div", {}, h("dt", {}, label), h("dd", {}, ...value));
    const at = (t) => [when(t, " ago"), h("span", { class: "line faint" }, new Date(t).toLocaleString())];
    this.facts.replaceChildren(h("dl", { class: "facts" },
      row("How it went", outcome(c)),
      row("Asked for by", show(c.by)),
      row("Asked for", ...at(c.created)),
      c.started ? row("Began", ...at(c.started)) : "",
      c.ended ? row("Ended", ...at(c.ended)) : "",
      c.deadline && !c.ended ? row("Its time is over", new Date(c.deadline).toLocaleString()) : "",
      c.queue ? row("Queue", "It may wait for the gateway.") : "",
      c.size ? row("Output", `${bytes(c.size)} (${c.size.toLocaleString()} bytes)`) : "",
      c.sha256 ? row("SHA-256", show(c.sha256, "mono faint")) : "",
      row("Id", show(c.id, "mono faint"))));
  }
}
