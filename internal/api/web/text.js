// Text from the network is hostile until shown otherwise. Everything on the
// page is made here, from text nodes: no markup is ever parsed.

// What shows as nothing, or turns or breaks the text around it: control and
// format characters, line separators, private and unassigned code points, lone
// surrogates, and the letters that are blank.
const hidden = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0]/gu;
// A joiner inside an emoji is part of it.
const joined = /\p{Extended_Pictographic}\ufe0f?$/u;

// longest is how many characters of one text are shown.
const longest = 512;

const named = new Map([
  ["\u0000", "null"], ["\u0007", "bell"], ["\u0008", "backspace"], ["\t", "tab"], ["\n", "line feed"], ["\r", "carriage return"], ["\u001b", "escape"],
  ["\u200b", "zero-width space"], ["\u200c", "zero-width non-joiner"], ["\u200d", "zero-width joiner"], ["\u200e", "left-to-right mark"], ["\u200f", "right-to-left mark"],
  ["\u202a", "left-to-right embedding"], ["\u202b", "right-to-left embedding"], ["\u202c", "end of embedding"], ["\u202d", "left-to-right override"], ["\u202e", "right-to-left override"],
  ["\u2066", "left-to-right isolate"], ["\u2067", "right-to-left isolate"], ["\u2068", "first strong isolate"], ["\u2069", "end of isolate"], ["\ufeff", "byte order mark"],
]);

const code = (c) => "U+" + c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");

// pieces cuts text into what can be shown and codes of what can't.
function pieces(text, limit = longest, tabs = false) {
  text = String(text ?? "");
  const cut = text.length > limit;
  if (cut) text = text.slice(0, limit);
  const out = [];
  let from = 0;
  for (const m of text.matchAll(hidden)) {
    if (tabs && m[0] === "\t") continue;
    if (m[0] === "\u200d" && joined.test(text.slice(Math.max(0, m.index - 4), m.index))) continue;
    if (m.index > from) out.push({ text: text.slice(from, m.index) });
    out.push({ code: code(m[0]), name: named.get(m[0]) ?? "character that does not show" });
    from = m.index + m[0].length;
  }
  if (from < text.length) out.push({ text: text.slice(from) });
  if (cut) out.push({ text: "…" });
  return out;
}

// plain is text for a title or a label.
export function plain(text) {
  return pieces(text).map((p) => p.text ?? `⟨${p.code}⟩`).join("");
}

// show is an element that shows text from the network: isolated, so that text
// in another direction leaves its surroundings alone.
export function show(text, cls) {
  const out = document.createElement("bdi");
  if (cls) out.className = cls;
  out.append(...nodes(pieces(text)));
  return out;
}

const nodes = (all) => all.map((p) => p.text ?? h("span", { class: "code", title: p.name }, p.code));

// longestLine is how many characters of a line of output are shown.
const longestLine = 4000;

// line shows one line of output, in which tabs are tabs.
export function line(text) {
  const out = h("bdi", { class: "line" });
  out.append(...nodes(pieces(text, longestLine, true)));
  if (text.length > longestLine) out.append(h("span", { class: "note" }, ` ${text.length.toLocaleString()} characters in this line`));
  return out;
}

// bytes is a size for people.
export function bytes(n) {
  if (n < 1000) return `${n} B`;
  const [size, unit] = n < 1e6 ? [1e3, "kB"] : n < 1e9 ? [1e6, "MB"] : [1e9, "GB"];
  return `${(n / size).toFixed(n / size < 10 ? 1 : 0)} ${unit}`;
}

// h makes an element. Attributes are set by name, on… adds a listener;
// children are nodes or our own words.
export function h(tag, attributes = {}, ...children) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(attributes)) {
    if (v === undefined || v === null || v === false) continue;
    if (k.startsWith("on")) e.addEventListener(k.slice(2), v);
    else e.setAttribute(k, v === true ? "" : v);
  }
  e.append(...children.flat().filter((c) => c !== undefined && c !== null && c !== false && c !== ""));
  return e;
}

const svgNS = "http://www.w3.org/2000/svg";

// glyph is one of the drawings in glyphs.svg.
export function glyph(name, cls = "glyph") {
  const s = document.createElementNS(svgNS, "svg");
  s.setAttribute("class", cls);
  s.setAttribute("aria-hidden", "true");
  const u = document.createElementNS(svgNS, "use");
  u.setAttribute("href", "/glyphs.svg#" + name);
  s.append(u);
  return s;
}

const units = [[60, 1, "s"], [3600, 60, "min"], [86400, 3600, "h"], [86400 * 60, 86400, "d"], [Infinity, 86400 * 30, "mo"]];

// ago says how long ago a time is, shortly.
export function ago(time, now = Date.now()) {
  const s = Math.max(0, Math.round((now - Date.parse(time)) / 1000));
  if (Number.isNaN(s)) return "–";
  if (s < 10) return "now";
  const [, size, name] = units.find(([limit]) => s < limit);
  return `${Math.floor(s / size)} ${name}`;
}

// when is a live time element; tick brings the ones on the page up to date.
export function when(time, ending = "") {
  const e = h("time", { datetime: time, "data-ending": ending });
  refresh(e);
  return e;
}

export function refresh(e, now) {
  const time = e.dateTime;
  const t = Date.parse(time);
  const words = ago(time, now);
  const text = words === "now" || words === "–" ? words : words + e.dataset.ending;
  if (e.textContent !== text) e.textContent = text;
  if (!e.title && !Number.isNaN(t)) e.title = new Date(t).toLocaleString();
}

export function tick() {
  const now = Date.now();
  for (const e of document.querySelectorAll("time[data-ending]")) refresh(e, now);
}
