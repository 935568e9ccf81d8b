package api_test

// What is looked for on every page, as expressions of a browser.

// tooWide finds what stands beyond the page's edge and can't be scrolled to.
const tooWide = `[...document.querySelectorAll("body *")].filter(e => {
	if (e.closest("#chips, .skip, .unseen, #panel[hidden]")) return false;
	const r = e.getBoundingClientRect();
	return r.width > 0 && r.height > 0 && (r.right > innerWidth + 1 || r.left < -1) && !(() => {
		for (let a = e.parentElement; a; a = a.parentElement) if (getComputedStyle(a).overflowX !== "visible" && a !== document.body && a.getBoundingClientRect().right <= innerWidth + 1) return true;
	})();
}).slice(0, 5).map(e => e.tagName + "." + e.className)`

// lowContrast finds text of less than 4.5:1 (WCAG 2.2, 1.4.3).
const lowContrast = `(() => {
	const parse = c => { const m = c.match(/[\d.]+/g).map(Number); return c.startsWith("color(") ? [m[0]*255, m[1]*255, m[2]*255, m[3] ?? 1] : [m[0], m[1], m[2], m[3] ?? 1]; };
	const lum = c => { const [r, g, b] = c.map(v => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; }); return .2126 * r + .7152 * g + .0722 * b; };
	const ground = e => { const over = []; for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c[3] > 0) over.push(c); if (c[3] === 1) break; }
		return over.reverse().reduce((a, c) => a.map((v, i) => v * (1 - c[3]) + c[i] * c[3]), [255, 255, 255]); };
	const out = new Set();
	for (const e of document.querySelectorAll("body *")) {
		if (![...e.childNodes].some(c => c.nodeType === 3 && c.data.trim()) || e.closest(".unseen, option, [hidden]") || !e.checkVisibility()) continue;
		const g = ground(e), a = lum(parse(getComputedStyle(e).color).slice(0, 3)), b = lum(g);
		const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
		if (ratio < 4.5) out.add(e.tagName + "." + e.className + " " + ratio.toFixed(2));
	}
	return [...out].slice(0, 8);
})()`

// unlabelled finds what a screen reader or a finger would miss.
const unlabelled = `(() => {
	const out = [], seen = new Set();
	for (const e of document.querySelectorAll("button, a, input, select, textarea")) {
		const label = e.ariaLabel || e.innerText?.trim() || (e.labels && [...e.labels].map(l => l.textContent).join("")) || "";
		if (e.checkVisibility() && (e.tagName === "SELECT" || e.tagName === "INPUT" ? !(e.ariaLabel || e.labels?.length) : !label)) out.push("no label: " + e.outerHTML.slice(0, 120));
	}
	for (const e of document.querySelectorAll("[id]")) { if (seen.has(e.id)) out.push("id twice: " + e.id); seen.add(e.id); }
	for (const e of document.querySelectorAll("[aria-labelledby], label[for]")) { const id = e.getAttribute("aria-labelledby") ?? e.htmlFor; if (!document.getElementById(id)) out.push("no element " + id); }
	for (const e of document.querySelectorAll("svg")) if (e.getAttribute("aria-hidden") !== "true") out.push("a drawing is read aloud");
	for (const e of document.querySelectorAll("img")) if (!e.hasAttribute("alt")) out.push("img without alt");
	for (const e of document.querySelectorAll("[tabindex]")) if (e.tabIndex > 0) out.push("tabindex " + e.tabIndex);
	if (!document.documentElement.lang) out.push("no language");
	if (document.querySelectorAll("main").length !== 1 || document.querySelectorAll("h1").length !== 1) out.push("not one main and one h1");
	for (const e of document.querySelectorAll("button, select, input, .row")) { const r = e.getBoundingClientRect(); if (e.checkVisibility() && (r.height < 24 || r.width < 24)) out.push("too small to touch: " + e.outerHTML.slice(0, 80)); }
	return out;
})()`
