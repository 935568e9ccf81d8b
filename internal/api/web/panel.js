// The panel beside the list: one device, what it offers, and why lanfolk
// believes all that.

import { ask, me } from "./api.js";
import { gateways, nameOf, isAdmin } from "./fleet.js";
import { devices, picture } from "./inventory.js";
import { h, show, plain, glyph, when } from "./text.js";
import { deviceGlyph, typeGlyph, typeName, stateWords } from "./kinds.js";

const perPage = 100; // pieces of evidence shown at first

export class Panel {
  constructor(root, { close, toast }) {
    Object.assign(this, { root, close, toast, id: "", evidence: null, editing: false });
  }

  open(id) {
    if (id === this.id) return;
    this.id = id;
    this.evidence = null;
    this.answers = [];
    this.why = "";
    this.limit = perPage;
    this.editing = false;
    this.drawn = "";
    this.root.hidden = !id;
    this.root.replaceChildren();
    if (!id) return;
    this.root.setAttribute("aria-label", "Device");
    this.head = h("div", { class: "head" });
    this.body = h("div", { class: "body" });
    this.root.append(this.head, this.body);
    this.root.scrollTop = 0;
    this.draw();
    this.load();
    this.head.querySelector("h2")?.focus({ preventScroll: true });
  }

  async load() {
    const id = this.id;
    this.loadedAt = Date.now();
    try {
      const x = await ask(`/devices/${encodeURIComponent(id)}/evidence`);
      if (id !== this.id) return;
      this.answers = x.reasons;
      this.evidence = x.evidence.sort((a, b) => Date.parse(b.time) - Date.parse(a.time));
      if (x.device.id !== id && devices.has(x.device.id)) { // an alias: it is another one now
        location.replace("#/device/" + encodeURIComponent(x.device.id));
        return;
      }
    } catch (e) {
      if (id !== this.id) return;
      this.why = e.message;
    }
    this.draw(true);
  }

  // reload asks for the evidence anew, every two seconds at most.
  reload() {
    if (this.due) return;
    this.due = setTimeout(() => {
      this.due = 0;
      if (this.id) this.load();
    }, Math.max(0, this.loadedAt + 2000 - Date.now()));
  }

  draw(anew = false) {
    if (!this.id || this.editing) return;
    const d = devices.get(this.id);
    if (!d) {
      const words = !picture.synced ? "One moment." : "This device is not known any more.";
      if (this.drawn !== words) {
        this.drawn = words;
        this.head.replaceChildren(this.closer(), h("h2", { tabindex: "-1" }, picture.synced ? "Gone" : "…"));
        this.body.replaceChildren(h("p", { class: "hint" }, words));
      }
      return;
    }
    const services = [...d.services.values()];
    // The times change all the time; they alone are no reason to draw all anew.
    const said = JSON.stringify([d.names, d.state, d.addresses, d.macs, d.vendor, d.model, d.model_confidence, d.os, d.os_confidence, d.class, d.class_confidence, d.tags, d.protocols, d.aliases, d.separated,
      services.map((s) => [s.id, s.name, s.state, s.addresses, s.port, s.attributes])]);
    if (said !== this.drawn && this.drawn) this.reload();
    if (said === this.drawn && !anew) {
      const seen = this.body.querySelector("#last-seen time");
      if (seen && seen.dateTime !== d.last_seen) seen.replaceWith(when(d.last_seen, " ago"));
      return;
    }
    this.drawn = said;
    const focus = this.root.contains(document.activeElement) ? document.activeElement.dataset.keep : "";
    this.drawHead(d);
    this.body.replaceChildren(this.facts(d), this.offers(services), this.apart(d), this.reasons(d));
    // A button that is gone leaves the focus in the panel.
    if (focus) (this.root.querySelector(`[data-keep="${CSS.escape(focus)}"]`) ?? this.head.querySelector("h2")).focus({ preventScroll: true });
  }

  closer() {
    return h("button", { type: "button", class: "icon close", "aria-label": "Close", "data-keep": "close", onclick: () => this.close() }, glyph("close"), glyph("back", "glyph back"));
  }

  drawHead(d) {
    this.head.replaceChildren(
      this.closer(),
      h("div", { class: "title" },
        h("span", { class: "mark", "data-state": d.state }, glyph(deviceGlyph(d))),
        h("div", { class: "words" },
          h("h2", { tabindex: "-1", "data-keep": "title" }, show(d.title)),
          h("p", { class: "sub" },
            h("span", { class: "state", "data-state": d.state }, h("i", { class: "dot", "data-state": d.state, "aria-hidden": "true" }), stateWords[d.state] ?? d.state),
            d.vendor ? [" · ", show(d.vendor)] : ""))),
      h("div", { class: "tags" },
        ...d.tags.map((t) => show(t, "tag")),
        mayEdit() ? h("button", { type: "button", class: "plain", "data-keep": "edit", onclick: () => this.edit(d) }, glyph("edit"), "Name and tags") : ""),
    );
  }

  edit(d) {
    this.editing = true;
    const name = h("input", { id: "edit-name", type: "text", maxlength: "120", autocomplete: "off", placeholder: plain(d.title) });
    name.value = d.names[0] ?? "";
    const tags = h("input", { id: "edit-tags", type: "text", maxlength: "400", autocomplete: "off", placeholder: "office, printer" });
    tags.value = d.tags.join(", ");
    const bad = h("p", { class: "bad", role: "alert" });
    const done = () => { this.editing = false; this.draw(true); this.root.querySelector('[data-keep="edit"]')?.focus(); };
    const form = h("form", { class: "edit" },
      h("label", { for: "edit-name" }, "Name"), name,
      h("p", { class: "hint" }, "Shown instead of what the device calls itself. Leave it empty to go back to that."),
      h("label", { for: "edit-tags" }, "Tags"), tags,
      h("p", { class: "hint" }, "Words of yours, with commas between."),
      bad,
      h("div", { class: "buttons" }, h("button", { type: "submit", class: "primary" }, "Save"), h("button", { type: "button", class: "plain", onclick: done }, "Cancel")));
    form.addEventListener("keydown", (e) => { if (e.key === "Escape") { e.preventDefault(); e.stopPropagation(); done(); } });
    form.addEventListener("submit", async (e) => {
      e.preventDefault();
      const body = { tags: [...new Set(tags.value.split(",").map((t) => t.trim()).filter(Boolean))] };
      // A name that was not touched is not what a person said.
      if (name.value.trim() !== (d.names[0] ?? "")) body.names = name.value.trim() ? [name.value.trim()] : [];
      try {
        await ask(`/devices/${encodeURIComponent(d.id)}`, "PATCH", body);
        done();
        this.toast("Saved");
      } catch (err) {
        bad.textContent = "Not saved: " + plain(err.message);
      }
    });
    this.head.querySelector(".tags").replaceWith(form);
    name.focus();
    name.select();
  }

  facts(d) {
    const row = (label, ...value) => h("div", {}, h("dt", {}, label), h("dd", {}, ...value));
    const lines = (values, cls) => values.map((v) => show(v, "line " + cls));
    const none = h("span", { class: "none" }, "not known");
    const answer = (label, what, value, confidence) => (value ? row(label, show(value), sureness(confidence), this.because(what)) : "");
    return h("section", { "aria-label": "What is known" }, h("dl", { class: "facts" },
      answer("Model", "model", d.model, d.model_confidence),
      answer("System", "os", d.os, d.os_confidence),
      answer("Kind", "class", d.class, d.class_confidence),
      row("Addresses", ...(d.addresses.length ? lines(d.addresses, "mono") : [none])),
      row(d.macs.length > 1 ? "Hardware addresses" : "Hardware address", ...(d.macs.length ? lines(d.macs, "mono") : [none.cloneNode(true)]),
        d.random_mac ? h("p", { class: "hint" }, "Private: the device made it up, and may come back under another one.") : ""),
      d.names.length > 1 ? row("Also called", ...lines(d.names.slice(1), "")) : "",
      row("Heard by", d.protocols.map(plain).join(", ") || "–"),
      d.gateway ? row("Gateway", gateways.has(d.gateway) ? h("a", { class: "ref", href: "#/gateway/" + encodeURIComponent(d.gateway) }, show(nameOf(d.gateway))) : show(d.gateway)) : "",
      row("Last heard", h("span", { id: "last-seen" }, when(d.last_seen, " ago"))),
      row("First heard", h("time", { datetime: d.first_seen }, new Date(d.first_seen).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" }))),
      row("Id", show(d.id, "mono faint")),
      d.aliases.length ? row("Earlier ids", ...lines(d.aliases, "mono faint")) : "",
    ));
  }

  // because tells what speaks for an answer, and against it.
  because(what) {
    const mine = this.answers.filter((r) => r.answer === what);
    if (!mine.length) return "";
    return h("details", { class: "idents" }, h("summary", {}, mine.length === 1 ? "1 reason" : `${mine.length} reasons`),
      ...mine.map((r) => h("p", { class: "because" }, r.verdict === "agrees" ? "" : h("b", {}, r.verdict === "contradicts" ? "against it: " : "overruled: "),
        show(r.value), sureness(r.confidence), " – ", show(r.source),
        ...r.signals.map((s) => h("span", { class: "line mono faint" }, show(s.kind), " ", show(s.value))))));
  }

  offers(services) {
    const names = new Intl.Collator(undefined, { numeric: true });
    services.sort((a, b) => names.compare(typeName(a.type) ?? a.type, typeName(b.type) ?? b.type) || names.compare(a.id, b.id));
    return h("section", { "aria-labelledby": "offers" },
      h("h3", { id: "offers" }, "Offers ", h("small", {}, services.length ? String(services.length) : "")),
      services.length ? h("ul", { class: "cards", role: "list" }, ...services.map((s) => this.service(s))) : h("p", { class: "hint" }, "No service was announced."));
  }

  service(s) {
    const txt = Object.entries(s.attributes).sort(([a], [b]) => (a < b ? -1 : 1));
    const open = pageOf(s);
    return h("li", { class: "card", "data-state": s.state },
      h("div", { class: "card-head" }, glyph(typeGlyph(s.type)),
        h("div", {}, h("strong", {}, typeName(s.type) ?? show(s.type)), h("p", { class: "sub" }, show(s.name))),
        s.state === "unreachable" ? h("span", { class: "state", "data-state": s.state }, "Away") : "",
        open ? h("a", { class: "icon", href: open, target: "_blank", rel: "noopener noreferrer", "aria-label": "Open " + plain(open) + " in a new tab", title: plain(open) }, glyph("open")) : ""),
      h("dl", { class: "facts small" },
        h("div", {}, h("dt", {}, "Where"), h("dd", { class: "mono" }, s.host ? show(s.host) : "", s.port ? [h("span", { class: "faint" }, (s.host ? " " : "") + "port "), String(s.port)] : "",
          ...s.addresses.map((a) => show(a, "line faint")))),
        h("div", {}, h("dt", {}, "Type"), h("dd", { class: "mono" }, show(s.type), h("span", { class: "faint" }, " · ", show(s.protocol), s.interface ? [" on ", show(s.interface)] : ""))),
      ),
      txt.length ? h("details", { class: "txt" }, h("summary", {}, `${txt.length} ${txt.length === 1 ? "detail" : "details"}`),
        h("dl", {}, ...txt.map(([k, v]) => h("div", {}, h("dt", { class: "mono" }, show(k)), h("dd", { class: "mono" }, show(v)))))) : "");
  }

  reasons(d) {
    const section = h("section", { "aria-labelledby": "reasons" }, h("h3", { id: "reasons" }, "Why lanfolk believes this"));
    if (!this.evidence) {
      section.append(h("p", { class: "hint" }, this.why ? plain(this.why) : "One moment."));
      return section;
    }
    if (!this.evidence.length) section.append(h("p", { class: "hint" }, "Nothing that was heard about it still holds; this is what is remembered."));
    section.append(h("ol", { class: "evidence" }, ...this.evidence.slice(0, this.limit).map((e) => this.fact(d, e))));
    if (this.evidence.length > this.limit) {
      section.append(h("button", { type: "button", class: "plain", onclick: () => { this.limit = Infinity; this.draw(true); } }, `Show all ${this.evidence.length}`));
    }
    return section;
  }

  // apart lists what a person separated, and takes it back.
  apart(d) {
    if (!d.separated.length) return "";
    return h("section", { "aria-labelledby": "apart" },
      h("h3", { id: "apart" }, "Kept apart ", h("small", {}, String(d.separated.length))),
      h("p", { class: "hint" }, "You said that these join nothing."),
      ...d.separated.map((id) => h("p", { class: "ident" }, ...identifier(id),
        mayEdit() && h("button", { type: "button", class: "plain", "data-keep": "join " + key(id), "aria-label": "Join again: " + plain(id.value), onclick: () => this.rejoin(d, id) }, "Join again"))));
  }

  fact(d, e) {
    return h("li", {},
      h("p", { class: "heard-line" }, h("span", { class: "proto" }, show(e.protocol)), e.interface ? show(e.interface, "faint") : "", when(e.time, " ago")),
      h("p", { class: "said mono" }, show(e.what)),
      e.why_joined ? h("p", { class: "because" }, show(e.why_joined)) : "",
      e.identifiers.length ? h("details", { class: "idents" }, h("summary", {}, e.identifiers.length === 1 ? "1 identifier" : `${e.identifiers.length} identifiers`),
        ...e.identifiers.map((id) => h("p", { class: "ident" }, ...identifier(id),
          d.separated.some((x) => key(x) === key(id)) ? h("span", { class: "faint" }, "kept apart")
            : mayEdit() && h("button", { type: "button", class: "plain", title: "What has this identifier is another device", onclick: () => this.separate(d, id) }, "Not this device")))) : "");
  }

  async separate(d, id) {
    try {
      await ask(`/devices/${encodeURIComponent(d.id)}/separate`, "POST", id);
      this.toast("Kept apart from now on", { label: "Undo", run: () => this.rejoin(d, id) });
      this.load();
    } catch (e) {
      this.toast("Not done: " + plain(e.message));
    }
  }

  async rejoin(d, id) {
    try {
      await ask(`/devices/${encodeURIComponent(d.id)}/rejoin`, "POST", id);
      this.toast("Joined again");
      this.load();
    } catch (e) {
      this.toast("Not done: " + plain(e.message));
    }
  }
}

// mayEdit says whether he may say something of a device: at a hub admins may.
const mayEdit = () => !me.hub || isAdmin();

// sureness is a confidence for people; a person's own word needs none.
const sureness = (c) => h("span", { class: "faint" }, c < 1 ? ` ${Math.round(100 * c)} %` : " you said so");

const key = (id) => JSON.stringify([id.kind, id.value, id.gateway ?? "", id.interface ?? ""]);

const kinds = { mac: "hardware address", id: "id", host: "host name", ip: "address" };

function identifier(id) {
  return [h("span", { class: "faint" }, Object.hasOwn(kinds, id.kind) ? kinds[id.kind] : plain(id.kind)), " ", show(id.value, "mono"),
    id.interface ? h("span", { class: "faint" }, " on ", show(id.interface)) : "",
    id.gateway ? h("span", { class: "faint" }, " at ", show(id.gateway)) : ""];
}

// pageOf is the address of a web page that a service announces, made only of
// an IP address and a port: no name or path that it chose.
function pageOf(s) {
  const scheme = { "_http._tcp": "http", "_https._tcp": "https" }[s.type];
  const address = s.addresses.find((a) => /^[0-9.]+$/.test(a)) ?? s.addresses.find((a) => /^[0-9a-f:.]+$/.test(a) && !a.startsWith("fe80"));
  if (!scheme || !address || !(s.port > 0)) return "";
  return `${scheme}://${address.includes(":") ? `[${address}]` : address}:${s.port}/`;
}
