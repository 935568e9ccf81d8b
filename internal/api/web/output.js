// A command's output as it comes. It is text of the gateway's: shown line by
// line, with what can't be seen made visible, and only so much of it.

import { refusal } from "./api.js";
import { h, line, bytes } from "./text.js";

const mostBytes = 256 << 10; // that are shown
const mostLines = 2000;

// addressOf is where the whole output is.
export const addressOf = (id) => `/api/v1/commands/${encodeURIComponent(id)}/output`;

export class Output {
  // over() says, in time, whether the command has ended.
  constructor(id, label, over) {
    Object.assign(this, { id, over });
    this.text = h("div", { class: "output mono", role: "log", tabindex: "0", "aria-label": label, hidden: true });
    this.said = h("p", { class: "hint" });
    this.root = h("div", { class: "result" }, this.text, this.said);
  }

  // start reads from the beginning to the end; with follow, the newest stays in
  // sight.
  async start(follow) {
    this.stop();
    const ending = this.ending = new AbortController();
    Object.assign(this, { following: follow, read: 0, lines: 0, raw: "", open: "", openLine: null, binary: false, cut: false, done: false, bad: "", toggle: null, decoder: new TextDecoder("utf-8", { fatal: true }) });
    this.text.replaceChildren();
    this.text.hidden = true;
    this.say();
    for (let wait = 1000; !ending.signal.aborted; wait = Math.min(wait * 2, 15000)) {
      const before = this.read;
      try {
        if (!(await this.pull(ending)) || (await this.over())) break;
        this.bad = "";
      } catch (e) {
        if (ending.signal.aborted) return;
        this.bad = e.message;
        if (e.status && e.status !== 503) break;
      }
      if (ending.signal.aborted) return;
      this.say();
      if (this.read > before) wait = 1000;
      await new Promise((done) => { setTimeout(done, wait); });
    }
    if (!ending.signal.aborted) this.finish();
  }

  // pull reads on from where it stopped; false means that no more is wanted.
  async pull(ending) {
    let answer;
    try {
      answer = await fetch(`${addressOf(this.id)}?follow=1&offset=${this.read}`, { signal: ending.signal });
    } catch {
      throw new Error("lanfolk does not answer");
    }
    if (!answer.ok) throw await refusal(answer);
    this.bad = "";
    const reader = answer.body.getReader();
    for (;;) {
      const { done, value } = await reader.read().catch(() => { throw new Error("The connection broke."); });
      if (ending.signal.aborted) throw new Error("not wanted any more");
      if (done) return true;
      if (this.take(value)) continue;
      reader.cancel().catch(() => {});
      return false;
    }
  }

  stop() { this.ending?.abort(); }

  // take shows a piece, and returns false when it wants no more.
  take(piece) {
    const room = mostBytes - this.read;
    const part = piece.length > room ? piece.subarray(0, room) : piece;
    this.read += part.length;
    try {
      if (part.includes(0)) throw new TypeError("no text");
      this.more(this.decoder.decode(part, { stream: true }));
    } catch {
      this.binary = true;
      return false;
    }
    this.cut = piece.length > room;
    this.flush();
    if (this.lines >= mostLines) this.cut = true;
    this.say();
    return !this.cut;
  }

  more(text) {
    this.raw += text;
    this.open += text;
  }

  // flush shows the lines that are whole, and the one that isn't yet.
  flush() {
    if (this.binary) return;
    const whole = this.open.split("\n");
    this.open = whole.pop();
    const atEnd = this.text.scrollTop + this.text.clientHeight >= this.text.scrollHeight - 4;
    this.openLine?.remove();
    this.openLine = null;
    const out = document.createDocumentFragment();
    for (const l of whole) {
      if (++this.lines > mostLines) break;
      out.append(line(l.endsWith("\r") ? l.slice(0, -1) : l));
    }
    if (this.open && this.lines < mostLines) {
      this.openLine = line(this.open);
      out.append(this.openLine);
    }
    this.text.append(out);
    this.text.hidden = !this.text.firstChild;
    if (atEnd && this.following && !this.done) this.text.scrollTop = this.text.scrollHeight;
  }

  finish() {
    this.done = true;
    try {
      this.more(this.decoder.decode());
    } catch {
      if (!this.cut) this.binary = true; // or the cut went through a character
    }
    this.flush();
    if (this.binary) {
      this.text.replaceChildren();
      this.text.hidden = true;
    } else if (!this.cut && !this.bad) {
      this.tidy();
    }
    this.say();
  }

  // tidy shows JSON on one line as people read it.
  tidy() {
    if (this.lines > 1 || this.read < 100) return;
    if (!/^[[{]/.test(this.raw)) return;
    let nice;
    try {
      nice = JSON.stringify(JSON.parse(this.raw), null, 2).split("\n");
    } catch {
      return;
    }
    const before = [...this.text.childNodes];
    const after = nice.slice(0, mostLines).map(line);
    let tidied = true;
    const button = h("button", { type: "button", class: "plain", onclick: () => {
      tidied = !tidied;
      this.text.replaceChildren(...(tidied ? after : before));
      button.textContent = tidied ? "As it came" : "Easier to read";
    } }, "As it came");
    this.text.replaceChildren(...after);
    this.text.scrollTop = 0;
    this.toggle = button;
  }

  say() {
    const whole = (words) => h("a", { class: "plain", href: addressOf(this.id), download: this.id }, words);
    const words = [];
    if (this.bad) words.push(h("span", { class: "bad" }, this.bad), " ");
    if (this.binary) words.push("This is no text. ", whole("Download it"));
    else if (this.cut) words.push(`The first ${bytes(this.read)}${this.lines >= mostLines ? `, ${mostLines.toLocaleString()} lines,` : ""} are shown. `, whole("Download all of it"));
    else if (this.done && this.read) words.push(this.toggle ?? "", whole("Download"));
    this.said.replaceChildren(...words);
    this.said.hidden = !words.length;
  }
}
