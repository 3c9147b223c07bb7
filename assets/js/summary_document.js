/* The documents beside a summary: what was read, their text, and the passage that a sentence comes from.
   Offsets count code points; a paragraph is cut with Array.from, which does too. A text of megabytes is drawn sheet by sheet, where somebody looks. */
"use strict";

Tastemaker.parts = Tastemaker.parts || {};

Tastemaker.parts.summaryDocument = (summ) => {
  const { h, t, icon, clear } = Tastemaker;
  let documents = []; // with paragraphs: [offset, text, page]
  let shown = 0;
  let marked = []; // paragraphs that hold a highlight now
  const SHEET_CHARS = 12000;
  const LINE_CHARS = 70;
  const LINE_PX = 26;

  const tabs = h("div", { class: "su-tabs", role: "tablist", "aria-label": t("summarize.documents"), hidden: true });
  const title = h("h2", { dir: "auto" });
  const facts = h("p", { class: "tm-small" });
  const skipped = h("details", { class: "tm-small su-left-out", hidden: true }, h("summary", {}), h("ul", {}));
  const text = h("div", { class: "su-doc-text", id: "summary-document", tabindex: 0, "aria-label": t("summarize.document_text") });
  const node = h("section", { class: "su-doc", "aria-label": t("summarize.document") }, tabs, h("header", { class: "su-doc-head" }, title, facts, skipped), text);

  const watcher = new IntersectionObserver((seen) => { for (const one of seen) if (one.isIntersecting) fill(one.target); }, { root: text, rootMargin: "1200px" });

  // ------------------------------------------------------------ drawing

  /** `about` may be without text yet: a document is shown as soon as it is known. */
  function put(list) {
    const same = list.length === documents.length && list.every((one, index) => one.id === documents[index].id && Boolean(one.paragraphs) === Boolean(documents[index].paragraphs));
    if (same) return;
    documents = list;
    shown = Math.min(shown, Math.max(0, list.length - 1));
    draw();
  }

  function draw() {
    const now = documents[shown];
    node.dataset.state = now ? (now.paragraphs ? "ready" : "waiting") : "empty";
    tabs.hidden = documents.length < 2;
    clear(tabs, documents.map((one, index) => h("button", { type: "button", role: "tab", class: "su-tab", "aria-selected": String(index === shown), title: one.title, onclick: () => show(index) }, `${index + 1}. ${one.title}`)));
    title.textContent = now ? now.title : t("summarize.reading");
    facts.textContent = now ? [now.name !== now.title ? now.name : "", now.facts].filter(Boolean).join(" · ") : "";
    skipped.hidden = !now || !now.skipped.length;
    if (!skipped.hidden) {
      skipped.querySelector("summary").textContent = t("summarize.left_out", { n: now.skipped.length });
      clear(skipped.querySelector("ul"), now.skipped.map((what) => h("li", {}, what)));
    }
    marked = [];
    watcher.disconnect();
    clear(text, sheets(now && now.paragraphs ? now.paragraphs : []));
    for (const sheet of text.children) watcher.observe(sheet);
    if (text.firstElementChild) fill(text.firstElementChild);
  }

  /** Empty sheets of about the height that they will have, each for some paragraphs. */
  function sheets(rows) {
    const made = [];
    let first = 0;
    let chars = 0;
    rows.forEach((row, index) => {
      chars += row[1].length + LINE_CHARS;
      if (chars < SHEET_CHARS && index + 1 < rows.length) return;
      const sheet = h("div", { class: "su-sheet" });
      Object.assign(sheet, { first, last: index });
      sheet.style.minHeight = `${Math.round((chars / LINE_CHARS) * LINE_PX)}px`;
      made.push(sheet);
      first = index + 1;
      chars = 0;
    });
    return made;
  }

  function fill(sheet) {
    if (sheet.childElementCount) return;
    sheet.style.minHeight = "";
    watcher.unobserve(sheet);
    sheet.append(...documents[shown].paragraphs.slice(sheet.first, sheet.last + 1).map(([start, words, page], index) => paragraph(start, words, page, sheet.first + index)));
  }

  /** The paragraph with this number, drawn if it was not. */
  function paragraphAt(index) {
    const sheet = [...text.children].find((one) => one.last >= index);
    if (!sheet) return null;
    fill(sheet);
    return sheet.children[index - sheet.first];
  }

  function paragraph(start, words, page, index) {
    const node = h("p", { dir: "auto", "data-start": start, "data-index": index }, words);
    if (page && documents[shown].paragraphs.at(-1)[2] !== 1) node.dataset.page = t("summarize.page", { n: page });
    return node;
  }

  function show(index) {
    if (index === shown || !documents[index]) return;
    shown = index;
    text.scrollTop = 0;
    draw();
  }

  // ------------------------------------------------------------ the passage of a sentence

  function unmark() {
    for (const one of marked) one.replaceChildren(documents[shown].paragraphs[Number(one.dataset.index)][1]);
    marked = [];
  }

  /** Highlight the passages; the best one's document is shown, at that place. Returns whether there is one. */
  function highlight(sources) {
    const best = sources.find((one) => documents[one.document] && documents[one.document].paragraphs);
    unmark();
    if (!best) return false;
    show(best.document);
    const rows = documents[shown].paragraphs;
    for (const source of sources.filter((one) => one.document === shown)) markPassage(rows, source);
    const first = text.querySelector(`mark[data-at="${best.start}"]`) || text.querySelector("mark");
    first?.scrollIntoView({ block: "center", behavior: "instant" });
    return Boolean(first);
  }

  function markPassage(rows, source) {
    let at = rows.findIndex(([start], index) => index + 1 === rows.length || rows[index + 1][0] > source.start);
    for (; at >= 0 && at < rows.length && rows[at][0] < source.end; at += 1) {
      const node = paragraphAt(at);
      if (!node || marked.includes(node)) continue; // one passage a paragraph: the better one came first
      const points = Array.from(rows[at][1]);
      const from = Math.max(0, source.start - rows[at][0]);
      const to = Math.min(points.length, source.end - rows[at][0]);
      if (from >= to) continue;
      node.replaceChildren(points.slice(0, from).join(""), h("mark", { "data-at": source.start }, points.slice(from, to).join("")), points.slice(to).join(""));
      marked.push(node);
    }
  }

  return { node, put, highlight, unmark, show, reset: () => { documents = []; shown = 0; draw(); }, get hasText() { return documents.length > 0 && documents.every((one) => one.paragraphs); } };
};
