// What an admin does at the hub itself: letting gateways join. The rest is done
// on the hub's machine.

import { ask } from "./api.js";
import { h, show, plain, when } from "./text.js";

const lifetimes = [["1h", "1 hour"], ["24h", "1 day"], ["168h", "7 days"]];

export class Admin {
  constructor(root, { toast }) {
    Object.assign(this, { root, toast });
    const name = h("input", { id: "token-name", type: "text", maxlength: "120", autocomplete: "off", placeholder: "Workshop" });
    const ttl = h("select", { id: "token-ttl", "aria-label": "How long it works" }, ...lifetimes.map(([v, words]) => h("option", { value: v }, words)));
    this.bad = h("p", { class: "bad", role: "alert" });
    this.made = h("div", { class: "made", hidden: true });
    this.list = h("ul", { class: "plain-list", role: "list" });
    const form = h("form", { class: "edit" },
      h("label", { for: "token-name" }, "What the gateway will be called"), name,
      h("div", { class: "run-terms" }, h("button", { type: "submit", class: "primary" }, "Make a join token"), ttl), this.bad);
    form.addEventListener("submit", (e) => { e.preventDefault(); this.make({ name: name.value.trim(), ttl: ttl.value }); });
    root.replaceChildren(
      h("section", { class: "card" }, h("h2", {}, "Let a gateway join"),
        h("p", { class: "hint" }, "A join token is one line of text. Give it to ", h("code", {}, "lanfolk join"), " on the gateway; it works for one gateway, and for a short time."),
        form, this.made, this.list),
      h("section", { class: "card" }, h("h2", {}, "People"),
        h("p", { class: "hint" }, "Accounts, grants and API tokens are looked after on the hub’s machine: ",
          h("code", {}, "lanfolk hub user"), ", ", h("code", {}, "lanfolk hub grant"), ", ", h("code", {}, "lanfolk hub api-token"), ".")));
    this.load();
  }

  async load() {
    try {
      const tokens = (await ask("/join-tokens")).filter((t) => !t.used && Date.parse(t.expires) > Date.now());
      this.list.replaceChildren(...tokens.map((t) => h("li", {}, h("div", {}, t.name ? show(t.name) : h("span", { class: "none" }, "no name"),
        h("p", { class: "sub" }, "made by ", show(t.by), ", ", when(t.created, " ago"), ", works until ", new Date(t.expires).toLocaleString())),
        h("button", { type: "button", class: "plain push", "aria-label": "Take back the token for " + plain(t.name || t.id), onclick: () => this.remove(t.id) }, "Take back"))));
    } catch (e) {
      this.bad.textContent = plain(e.message);
    }
  }

  async make(request) {
    this.bad.textContent = "";
    try {
      const { token } = await ask("/join-tokens", "POST", request);
      const text = h("input", { type: "text", class: "mono", readonly: true, "aria-label": "The join token" });
      text.value = token;
      const copy = h("button", { type: "button", class: "plain", onclick: async () => {
        text.select();
        try {
          await navigator.clipboard.writeText(token);
          this.toast("Copied");
        } catch {
          this.toast("Copy what is marked");
        }
      } }, "Copy");
      this.made.replaceChildren(h("p", {}, "It is shown this once. On the gateway:"), h("p", { class: "mono" }, "lanfolk join -"), h("div", { class: "run-terms" }, text, copy));
      this.made.hidden = false;
      text.focus();
      text.select();
    } catch (e) {
      this.bad.textContent = "Not made: " + plain(e.message);
    }
    this.load();
  }

  async remove(id) {
    try {
      await ask("/join-tokens/" + encodeURIComponent(id), "DELETE");
      this.toast("Taken back");
    } catch (e) {
      this.toast("Not done: " + plain(e.message));
    }
    this.load();
  }
}
