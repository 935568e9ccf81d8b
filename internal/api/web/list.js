// A list that keeps only the rows in sight in the page: it holds a hundred
// thousand as easily as ten. Rows are links; the arrow keys move between them.

import { h } from "./text.js";

const beyond = 8; // rows made before and after those in sight

export class List {
  // render(item, row) fills a row's link; href(item) is where it leads.
  constructor(scroller, list) {
    this.scroller = scroller;
    this.list = list;
    this.rows = new Map(); // id -> {li, a, item, index}
    this.items = [];
    this.turn = 0;
    this.render = () => {};
    scroller.addEventListener("scroll", () => this.request(), { passive: true });
    new ResizeObserver(() => this.measure()).observe(scroller);
    list.addEventListener("keydown", (e) => this.key(e));
    this.measure();
  }

  measure() {
    const height = parseFloat(getComputedStyle(this.list).getPropertyValue("--row")) || 64;
    if (height !== this.height) {
      this.height = height;
      this.list.style.setProperty("height", this.items.length * height + "px");
      this.clear();
    }
    this.request();
  }

  clear() {
    for (const r of this.rows.values()) r.li.remove();
    this.rows.clear();
  }

  use(render, href) {
    this.render = render;
    this.href = href;
    this.clear();
    this.scroller.scrollTop = 0;
  }

  // set brings the list up to date: rows whose item is another one or says
  // another version are rendered again, and all of them if anew is set.
  set(items, anew) {
    this.items = items;
    if (anew) this.turn++;
    this.list.style.setProperty("height", items.length * this.height + "px");
    this.draw();
  }

  request() {
    this.waiting ||= requestAnimationFrame(() => { this.waiting = 0; this.draw(); });
  }

  // draw makes the rows in sight, and those just beyond.
  draw() {
    const top = this.scroller.scrollTop;
    const from = Math.max(0, Math.floor(top / this.height) - beyond);
    const to = Math.min(this.items.length, Math.ceil((top + this.scroller.clientHeight) / this.height) + beyond);
    const wanted = new Set();
    let before = null;
    for (let i = from; i < to; i++) {
      const item = this.items[i];
      wanted.add(item.id);
      let r = this.rows.get(item.id);
      if (!r) {
        const a = h("a", { class: "row" });
        r = { a, li: h("li", {}, a) };
        this.rows.set(item.id, r);
      }
      if (r.item !== item || r.version !== item.version || r.turn !== this.turn) {
        r.item = item;
        r.version = item.version;
        r.turn = this.turn;
        r.a.setAttribute("href", this.href(item));
        this.render(item, r.a);
      }
      if (r.index !== i) {
        r.index = i;
        r.li.style.setProperty("transform", `translateY(${i * this.height}px)`);
        r.li.setAttribute("aria-posinset", i + 1);
      }
      r.li.setAttribute("aria-setsize", this.items.length);
      // The order in the document is the order of the Tab key.
      const next = before ? before.nextSibling : this.list.firstChild;
      if (r.li !== next) this.list.insertBefore(r.li, next);
      before = r.li;
    }
    for (const [id, r] of this.rows) {
      // The row that has the focus stays, or the keyboard would lose its place.
      if (wanted.has(id) || (r.li.contains(document.activeElement) && this.items[r.index]?.id === id)) continue;
      r.li.remove();
      this.rows.delete(id);
    }
  }

  // nearEnd says whether the last rows are in sight, or nearly.
  nearEnd() {
    return this.scroller.scrollTop + this.scroller.clientHeight + beyond * this.height >= this.items.length * this.height;
  }

  // shown returns the ids of the rows in the page.
  shown() { return [...this.rows.keys()]; }

  key(e) {
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity }[e.key];
    const here = [...this.rows.values()].find((r) => r.li.contains(document.activeElement));
    if (!step || !here || e.altKey || e.ctrlKey || e.metaKey) return;
    e.preventDefault();
    this.focus(Math.min(this.items.length - 1, Math.max(0, here.index + step)));
  }

  focus(index) {
    const item = this.items[index];
    if (!item) return;
    const top = index * this.height;
    const box = this.scroller;
    if (top < box.scrollTop) box.scrollTop = top;
    else if (top + this.height > box.scrollTop + box.clientHeight) box.scrollTop = top + this.height - box.clientHeight;
    this.draw();
    this.rows.get(item.id)?.a.focus({ preventScroll: true });
  }

  focusID(id) {
    const i = this.items.findIndex((item) => item.id === id);
    if (i >= 0) this.focus(i);
    return i >= 0;
  }
}
