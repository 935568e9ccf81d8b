// Running a command: the form, and the panel that runs it on many gateways.

import { gateways, known, run, verbs, mayRun, matches, parseLabels, watch } from "./fleet.js";
import { h, show, plain, glyph } from "./text.js";

const times = [["", "Usual time"], ["10s", "10 seconds"], ["1m", "1 minute"], ["10m", "10 minutes"], ["1h", "1 hour"], ["24h", "1 day"]];

// mostNamed is how many gateways one request names; more go by labels.
const mostNamed = 1000;

export class RunForm {
  // labels() are the gateway's, or nothing for many; request() is of whom it is
  // asked; began(commands) is told what was made of it.
  constructor(prefix, { labels, request, began, button = "Run" }) {
    Object.assign(this, { labels, request, began });
    this.line = h("input", { id: prefix + "-line", class: "mono", type: "text", "aria-label": "Command", maxlength: "65536", autocomplete: "off", autocapitalize: "off", spellcheck: "false", placeholder: "status", required: true, enterkeyhint: "send" });
    this.hint = h("p", { class: "hint", id: prefix + "-hint" });
    this.line.setAttribute("aria-describedby", prefix + "-hint");
    this.offered = h("div", { class: "verbs", role: "group", "aria-label": "What there is" },
      ...Object.keys(verbs).filter((v) => mayRun(v, labels())).map((v) => h("button", { type: "button", class: "verb mono", title: verbs[v][1], onclick: () => this.offer(v) }, v)));
    this.timeout = h("select", { "aria-label": "How long it may take", title: "Usually an hour, or a day if it waits" }, ...times.map(([v, words]) => h("option", { value: v }, words)));
    this.queue = h("input", { type: "checkbox", id: prefix + "-queue" });
    this.queueWords = h("label", { class: "check", for: prefix + "-queue" }, this.queue, h("span", {}, "Wait for it if it is offline"));
    this.bad = h("p", { class: "bad", role: "alert" });
    this.button = h("button", { type: "submit", class: "primary" }, button);
    this.root = h("form", { class: "run" },
      h("div", { class: "run-line" }, h("span", { class: "prompt mono", "aria-hidden": "true" }, "›"), this.line),
      this.offered, this.hint,
      h("details", {}, h("summary", {}, "How the line is read"),
        h("p", { class: "hint" }, "Spaces part words. Quotes keep words together, and a backslash keeps the character after it as it is: ", h("code", {}, "find 'office printer'"), "."),
        h("p", { class: "hint" }, "There is no shell: $, *, | and ; are characters like others. The gateway decides what it does, and does nothing but what is named above.")),
      h("div", { class: "run-terms" }, this.button, this.timeout, this.queueWords),
      this.bad);
    this.line.addEventListener("input", () => this.say());
    this.line.addEventListener("keydown", (e) => {
      if (e.key !== "Escape" || !this.line.value) return;
      e.preventDefault(); // it empties the line, and closes nothing
      this.line.value = "";
      this.say();
    });
    this.root.addEventListener("submit", (e) => { e.preventDefault(); this.submit(); });
    this.say();
  }

  offer(verb) {
    this.line.value = verb + (/^(find|get|capture|exec)$/.test(verb) ? " " : "");
    this.line.focus();
    this.say();
  }

  // say tells how the verb that is being typed is used.
  say() {
    const verb = this.line.value.trim().split(/\s/, 1)[0];
    this.bad.textContent = "";
    if (!Object.hasOwn(verbs, verb)) {
      this.hint.replaceChildren(verb ? "" : "Type a command, or take one of these.");
      return;
    }
    const [usage, words] = verbs[verb];
    this.hint.replaceChildren(h("span", { class: "mono" }, usage), " ", words, mayRun(verb, this.labels()) ? "" : h("span", { class: "bad" }, " It takes a grant for this gateway."));
  }

  offline(yes) {
    this.root.dataset.offline = yes ? "yes" : "";
  }

  async submit() {
    this.bad.textContent = "";
    this.button.disabled = true;
    try {
      const request = { line: this.line.value.trim(), queue: this.queue.checked, ...this.request() };
      if (this.timeout.value) request.timeout = this.timeout.value;
      this.began(await run(request));
    } catch (e) {
      this.bad.textContent = plain(e.message);
    }
    this.button.disabled = false;
  }
}

// RunPanel runs a command on many gateways. What comes of it shows in the list.
export class RunPanel {
  // chosen() are the gateways that the list of them shows now; began(commands) is
  // told what was made.
  constructor(root, { close, chosen, began }) { Object.assign(this, { root, close, chosen, began, id: "" }); }

  open(id) {
    if (id === this.id) return;
    this.id = id;
    this.root.replaceChildren();
    if (!id) return;
    this.root.setAttribute("aria-label", "Run on many");
    this.shown = this.chosen();
    const labels = h("input", { id: "run-labels", type: "text", class: "mono", "aria-label": "Labels", autocomplete: "off", autocapitalize: "off", spellcheck: "false", maxlength: "2000", placeholder: "site=oslo" });
    this.count = h("p", { class: "hint", role: "status" });
    const choice = (value, words, more = "") => h("div", {}, h("label", { class: "check" }, h("input", { type: "radio", name: "of", value, onchange: () => this.draw() }), h("span", {}, words)), more);
    this.labels = labels;
    const few = this.shown.length < gateways.size && this.shown.length > 0;
    this.form = new RunForm("many", {
      labels: () => undefined, button: "Run on these",
      request: () => this.request(),
      began: (made) => this.began(made),
    });
    this.form.queueWords.lastChild.textContent = "Wait for those that are offline";
    this.of = h("fieldset", { class: "of" }, h("legend", {}, "Where"),
      few ? choice("shown", `The ${this.shown.length.toLocaleString()} that the list showed`) : "",
      choice("labels", "Those with these labels", labels),
      choice("all", "All gateways"));
    labels.addEventListener("focus", () => { this.of.querySelector('[value="labels"]').checked = true; this.draw(); });
    labels.addEventListener("input", () => this.draw());
    this.of.querySelector("input[type=radio]").checked = true;
    this.root.append(
      h("div", { class: "head" },
        h("button", { type: "button", class: "icon close", "aria-label": "Close", onclick: () => this.close() }, glyph("close"), glyph("back", "glyph back")),
        h("div", { class: "title" }, h("span", { class: "mark" }, glyph("terminal")), h("div", { class: "words" }, h("h2", { tabindex: "-1" }, "Run on many"), this.count))),
      h("div", { class: "body" }, h("section", { "aria-label": "Where" }, this.of), h("section", { "aria-label": "What" }, this.form.root)));
    this.draw();
    this.form.line.focus({ preventScroll: true });
  }

  picked() { return this.of.querySelector("input[type=radio]:checked").value; }

  meant() {
    if (this.picked() === "all") return [...gateways.values()];
    if (this.picked() === "shown") return this.shown.map((id) => gateways.get(id)).filter(Boolean);
    const wanted = parseLabels(this.labels.value);
    if (!Object.keys(wanted).length) return [];
    return [...gateways.values()].filter((g) => matches(wanted, g.labels));
  }

  draw() {
    if (!this.id || !known.gateways) return;
    try {
      const meant = this.meant().filter((g) => !g.revoked);
      const on = meant.filter((g) => g.state === "online").length;
      this.count.replaceChildren(`${meant.length.toLocaleString()} gateway${meant.length === 1 ? "" : "s"}, ${on.toLocaleString()} online`);
    } catch (e) {
      this.count.replaceChildren(show(e.message));
    }
  }

  // request names the gateways; it throws what to tell people.
  request() {
    watch("all");
    if (this.picked() === "all") return { all: true };
    if (this.picked() === "labels") {
      const selector = parseLabels(this.labels.value);
      if (!Object.keys(selector).length) throw new Error("Say which labels, like site=oslo.");
      return { selector };
    }
    const ids = this.shown.filter((id) => gateways.has(id));
    if (ids.length > mostNamed) throw new Error(`At most ${mostNamed.toLocaleString()} gateways can be named one by one: choose by labels.`);
    return { gateways: ids };
  }
}
