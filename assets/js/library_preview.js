/* The Library's preview pane: one Creation with its whole text, rating, versions, parameters and origin.
   Asks Python for one item at a time; tells the list what changed. */
"use strict";

Tastemaker.parts = Tastemaker.parts || {};

/** list: {patch(ids, change), step(by), setFacets(facets), closed(), star(ids, on), trash(ids), restore(ids), show(id), facets()} */
Tastemaker.parts.libraryPreview = (host, list) => {
  const { h, t, icon, keyed, clear } = Tastemaker;
  const LOCALE = Tastemaker.language() === "zh" ? "zh-CN" : "en-GB";
  const full = (iso) => new Date(iso).toLocaleString(LOCALE, { dateStyle: "medium", timeStyle: "short" });
  const number = (value, digits = 0) => Number(value).toLocaleString(LOCALE, { maximumFractionDigits: digits });

  let id = null; // what is shown, or asked for
  let lastId = null;
  let pending = null;
  let item = null;
  let rating = null;

  // ------------------------------------------------------------ parts

  const button = (sign, label, run, extra = {}) => h("button", { class: "tm-icon-button", type: "button", title: label, "aria-label": label, onclick: run, ...extra }, icon(sign));
  const star = button("star", t("library.star"), () => list.star([id], !item.starred), { "data-action": "star" });
  const copy = button("copy", t("library.copy"), () => Tastemaker.copy(item.output), { "data-action": "copy" });
  const more = button("dots", t("library.more"), openMore, { "aria-haspopup": "menu" });
  const bar = h("header", { class: "pane-bar" },
    button("chevronLeft", t("library.previous"), () => list.step(-1)), button("chevronRight", t("library.next"), () => list.step(1)),
    h("span", { class: "lib-gap" }), star, copy, more,
    button("x", t("frame.close"), () => close(), { "data-action": "close" }));
  const note = h("p", { class: "pane-note", hidden: true }, t("library.in_trash"));
  const prompt = h("div", { class: "pane-prompt" });
  const whole = h("button", { class: "tm-link tm-small", type: "button", hidden: true, onclick: () => { prompt.classList.remove("is-cut"); whole.hidden = true; } }, t("library.whole_prompt"));
  const answer = h("div", { class: "pane-answer answer" });
  const state = h("p", { class: "tm-small pane-state", hidden: true });
  const rate = h("div", { class: "pane-rate" });
  const figures = h("p", { class: "tm-small pane-figures" });
  const drawAgain = h("button", { class: "tm-button is-primary", type: "button", "data-action": "draw", onclick: openInImages }, icon("picture"), h("span", {}, t("library.open_in_images")));
  const save = h("button", { class: "tm-button", type: "button", "data-action": "download", "aria-haspopup": "menu", onclick: () => Tastemaker.parts.imageDownload(save, id) }, icon("download"), h("span", {}, t("images.view.download")));
  const write = h("button", { class: "tm-button is-primary", type: "button", "data-action": "write", onclick: openInWrite }, icon("pen"), h("span", {}, t("library.open_in_write")));
  const summarise = h("button", { class: "tm-button is-primary", type: "button", "data-action": "summarise", onclick: () => Tastemaker.navigate("summarize", { item: id }) }, icon("summary"), h("span", {}, t("library.open_in_summarize")));
  const again = h("button", { class: "tm-button", type: "button", "data-action": "reproduce", onclick: reproduce }, icon("repeat"), h("span", {}, t("library.reproduce")));
  const back = h("button", { class: "tm-button", type: "button", "data-action": "restore", onclick: () => list.restore([id]) }, icon("undo"), h("span", {}, t("library.restore")));
  const result = h("div", { class: "pane-result", role: "status", hidden: true });
  const tags = h("div", { class: "pane-tags" });
  const sections = h("div", { class: "pane-sections" });
  const content = h("div", { class: "pane-scroll", tabindex: "-1" }, note, h("h2", { class: "pane-label" }, t("library.prompt")), prompt, whole, answer, state, rate, figures,
    h("div", { class: "pane-actions" }, back, write, summarise, drawAgain, save, again), result, tags, sections);
  const root = h("aside", { class: "lib-pane", id: "library-preview", "aria-label": t("library.preview"), hidden: true }, bar, content);

  // ------------------------------------------------------------ open and close

  async function open(wanted) {
    const isOther = wanted !== id;
    if (wanted === pending) return;
    id = lastId = pending = wanted;
    root.hidden = false;
    root.parentElement?.setAttribute("data-preview", "");
    if (isOther) { item = null; content.scrollTop = 0; result.hidden = true; root.setAttribute("aria-busy", "true"); }
    try {
      const found = await host.act("open", { id: wanted });
      if (wanted === id) draw(found);
    } catch {
      if (wanted === id) close();
    } finally {
      if (pending === wanted) pending = null;
    }
  }

  function close(write = true) {
    id = item = null;
    root.hidden = true;
    root.parentElement?.removeAttribute("data-preview");
    if (write) Tastemaker.navigate("library", { item: null }, { push: false });
    list.closed();
  }

  function draw(found) {
    item = found;
    root.removeAttribute("aria-busy");
    star.classList.toggle("is-on", item.starred);
    star.setAttribute("aria-pressed", String(item.starred));
    note.hidden = !item.trashed;
    state.hidden = !item.note;
    state.textContent = item.note;
    prompt.textContent = item.prompt || t("library.no_prompt");
    prompt.classList.add("is-cut");
    whole.hidden = prompt.scrollHeight <= prompt.clientHeight + 4;
    if (whole.hidden) prompt.classList.remove("is-cut");
    if (item.image_url) clear(answer, h("img", { class: item.clear ? "is-clear" : "", src: item.image_url, alt: item.title }));
    else Tastemaker.setHtml(answer, item.html);
    answer.hidden = !item.output && !item.image_url;
    drawRating();
    figures.textContent = item.figures.join(" · ");
    back.hidden = !item.trashed;
    write.hidden = item.trashed || item.kind !== "text";
    summarise.hidden = item.trashed || item.kind !== "summary" || item.origin === "imported";
    drawAgain.hidden = item.trashed || item.kind !== "image" || item.origin === "imported";
    save.hidden = !item.image_url;
    copy.hidden = item.kind === "image";
    again.hidden = !item.can_reproduce || item.trashed;
    drawTags();
    drawSections();
  }

  /** Read it again if it is one of these. */
  const reload = (ids) => { if (id && ids.includes(id)) open(id); };

  // ------------------------------------------------------------ rating

  function drawRating() {
    rate.hidden = item.status === "queued" || item.status === "running" || item.trashed;
    const answer = item; // the control changes its rating
    rating = Tastemaker.parts.rating({
      host, reasons: host.value.reasons[item.kind] || host.value.reasons.text, answer, left: item.next_training_in,
      onRated: (answered) => {
        list.patch([answer.id], { score: answered.rating ? answered.rating.score : null });
        if (answer.id !== id) return;
        item = Object.assign(answer, { history: answered.detail.history, preferences: answered.detail.preferences, versions: answered.detail.versions });
        drawSections();
      },
    });
    clear(rate, rating.thumbs, rating.details);
  }

  // ------------------------------------------------------------ actions

  async function openInWrite() {
    const from = await host.act("write", { id });
    Tastemaker.navigate("write", { c: null }); // also makes the page read a conversation again that it already shows
    if (from.conversation_id) Tastemaker.navigate("write", { c: from.conversation_id }, { push: false });
    else Tastemaker.bus.emit("restore", { prompt: from.prompt, params: from.params });
  }

  /** The settings that made it, its seed too: Create makes the same picture. */
  async function openInImages() {
    const what = await host.act("draw", { id });
    Tastemaker.navigate("images", { item: null });
    Tastemaker.bus.emit("restore-image", what);
  }

  function openMore() {
    Tastemaker.menu(more, [
      { label: t("library.copy_prompt"), icon: "copy", run: () => Tastemaker.copy(item.prompt) },
      ...(item.kind === "image" ? [] : [{ label: t("library.copy_markdown"), icon: "copy", run: () => Tastemaker.copy(`> ${item.prompt.replaceAll("\n", "\n> ")}\n\n${item.output}\n`) }]),
      { label: t("library.copy_settings"), icon: "sliders", run: () => Tastemaker.copy(JSON.stringify({ model: item.model_id, adapter: item.adapter_id, seed: item.seed, ...item.params }, null, 2)) },
      { label: t("library.copy_link"), icon: "external", run: () => Tastemaker.copy(`${location.origin}${location.pathname}?tab=library&item=${item.id}`) },
      item.trashed ? { label: t("library.restore"), icon: "undo", run: () => list.restore([id]) } : { label: t("library.trash"), icon: "trash", danger: true, run: () => list.trash([id]) },
    ]);
  }

  /** Make it again and compare; asked twice a second until it ends. Leaving the item only stops the asking. */
  async function reproduce() {
    const at = id;
    again.disabled = true;
    result.hidden = false;
    clear(result, h("span", {}, t(item.kind === "image" ? "images.redraw.busy" : "library.reproduce.busy")), h("div", { class: "tm-progress is-unknown" }, h("span", {})));
    try {
      const { job_id } = await host.act("reproduce", { id: at });
      Tastemaker.bus.emit("job", { job_id });
      let job = { done: false };
      while (!job.done && at === id) {
        await new Promise((done) => { setTimeout(done, 500); });
        job = await host.act("reproduced", { job_id });
      }
      if (at === id) clear(result, icon(job.identical ? "check" : "warning"), h("span", {}, job.message), job.text ? h("pre", {}, job.text) : null);
    } catch {
      if (at === id) result.hidden = true;
    } finally {
      again.disabled = false;
    }
  }

  // ------------------------------------------------------------ tags

  async function saveTags(change) {
    const at = id;
    const answered = await host.act("tag", { ids: [at], ...change });
    const kept = item.tags.filter((tag) => !(change.remove || []).includes(tag));
    list.setFacets(answered.facets);
    list.patch([at], { tags: [...new Set([...kept, ...(change.add || [])])].sort() });
    if (at === id) await open(at);
  }

  function drawTags() {
    const field = h("input", {
      class: "pane-tag-input", type: "text", maxlength: 60, placeholder: t("library.tag.add"), "aria-label": t("library.tag.add"), list: "pane-tags",
      onkeydown: (event) => {
        const tag = field.value.trim();
        if (event.key === "Escape") { event.stopPropagation(); field.value = ""; field.blur(); }
        if ((event.key !== "Enter" && event.key !== ",") || !tag || event.isComposing) return;
        event.preventDefault();
        saveTags({ add: [tag] }).then(() => tags.querySelector("input").focus());
      },
      onchange: () => { const tag = field.value.trim(); if (list.facets().tags.includes(tag) && !item.tags.includes(tag)) saveTags({ add: [tag] }); },
    });
    clear(tags, icon("tag"), item.tags.map((tag) => h("span", { class: "tm-badge pane-tag" }, tag,
      h("button", { type: "button", "aria-label": t("library.tag.remove", { tag }), onclick: () => saveTags({ remove: [tag] }) }, icon("x")))),
    field, h("datalist", { id: "pane-tags" }, list.facets().tags.map((tag) => h("option", { value: tag }))));
  }

  // ------------------------------------------------------------ sections

  function drawSections() {
    const open = new Set((Tastemaker.store.get("library-sections") || "versions").split(","));
    const all = [
      ["versions", item.versions.length > 1 && versions(), item.versions.length],
      ["settings", settings()],
      ["ratings", item.history.length > 0 && history(), item.history.length],
      ["preferences", item.preferences.length > 0 && preferences(), item.preferences.length],
      ["origin", origin()],
    ].filter(([, body]) => body);
    keyed(sections, all, ([name]) => name, ([name]) => h("details", {
      open: open.has(name),
      ontoggle: () => {
        const now = [...sections.children].filter((one) => one.open).map((one) => one.dataset.key);
        Tastemaker.store.set("library-sections", now.join(",") || "none");
      },
    }, h("summary", {}, h("span", {}, t(`library.section.${name}`)), h("span", { class: "tm-small" }), icon("chevronDown")), h("div", { class: "pane-section" })), (node, [, body, n]) => {
      node.querySelector(".tm-small").textContent = n ? String(n) : "";
      clear(node.querySelector(".pane-section"), body);
    });
  }

  function versions() {
    return item.versions.map((one) => h("button", { class: "pane-version", type: "button", "aria-current": String(one.id === id), onclick: () => list.show(one.id) },
      h("span", { class: "tm-small" }, String(one.n)), h("span", { class: "pane-version-text" }, one.picture ? h("img", { src: one.picture, alt: "", loading: "lazy" }) : one.excerpt || Tastemaker.ofKind(item, "status", one.status)),
      one.origin === "edited" ? h("span", { class: "tm-badge" }, Tastemaker.ofKind(item, "badge", "edited")) : null, Tastemaker.scoreMark(one.score) || null));
  }

  const rows = (pairs) => h("dl", { class: "pane-facts" }, pairs.filter(([, value]) => value !== null && value !== undefined && value !== "").flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));

  function settings() {
    if (item.facts) return rows([[t("library.fact.seed"), item.seed === null ? null : String(item.seed)], ...item.facts]);
    const { system, ...rest } = item.params;
    const known = ["temperature", "top_p", "top_k", "repetition_penalty", "max_new_tokens", "stop"];
    const names = [...known.filter((name) => name in rest), ...Object.keys(rest).filter((name) => !known.includes(name))];
    const text = (value) => (typeof value === "number" ? number(value, 3) : typeof value === "string" ? value : JSON.stringify(value));
    return rows([
      [t("library.fact.model"), item.model], [t("library.fact.adapter"), adapter()], [t("library.fact.seed"), item.seed === null ? null : String(item.seed)],
      ...names.map((name) => [Tastemaker.has(`write.option.${name}`) ? t(`write.option.${name}`) : name, text(rest[name])]),
      [t("write.system"), system ? h("span", { class: "pane-system" }, system) : null],
    ]);
  }

  /** What wrote it, with the way back to the ratings it learned from. */
  function adapter() {
    if (item.adapter_id === "base" || item.origin !== "generated") return item.adapter;
    return h("button", { class: "tm-link", type: "button", title: t("lineage.open"), "data-action": "lineage", onclick: () => Tastemaker.parts.lineage(host, item.id) }, item.adapter);
  }

  function history() {
    return item.history.map((one) => h("div", { class: `pane-rating${one.current ? " is-current" : ""}` },
      one.score === null ? h("span", { class: "tm-small" }, t("library.withdrawn")) : Tastemaker.scoreMark(one.score),
      h("span", {}, [...one.reasons.map((name) => (Tastemaker.has(`reason.${name}`) ? t(`reason.${name}`) : name)), one.comment].filter(Boolean).join(" · ")),
      h("time", { class: "tm-small", datetime: one.created_at }, full(one.created_at))));
  }

  function preferences() {
    return item.preferences.map((one) => h("div", { class: "pane-rating" },
      h("span", {}, t(`library.preference.${one.result}`, { other: one.other_n ? t("library.version_n", { n: one.other_n }) : t("library.another") })),
      h("span", { class: "tm-small" }, t(`library.source.${one.source}`)),
      h("button", { class: "tm-link tm-small", type: "button", onclick: () => list.show(one.other_id) }, t("library.open"))));
  }

  function origin() {
    const path = Object.entries(item.path).filter(([name]) => name !== "segments").map(([name, value]) => `${name} ${typeof value === "string" ? value : JSON.stringify(value)}`);
    return rows([
      [t("library.fact.origin"), Tastemaker.ofKind(item, "origin", item.origin)], [t("library.fact.made"), full(item.created_at)],
      [t("library.fact.tokens"), item.tokens === null ? null : t("library.tokens", { n: number(item.tokens), prompt: number(item.prompt_tokens || 0) })],
      [t("library.fact.speed"), item.tokens_per_s ? t("library.speed", { n: number(item.tokens_per_s, 1) }) : null],
      [t("library.fact.first"), item.ttft_s === null ? null : t("library.seconds", { n: number(item.ttft_s, 2) })],
      [t("library.fact.path"), path.join(" · ")], [t("library.fact.id"), h("code", {}, item.id)], [t("library.fact.sha256"), item.media_sha256 ? h("code", {}, item.media_sha256) : null],
    ]);
  }

  // ------------------------------------------------------------ keys

  /** What the list's key handler passes on: 1–5 rate, arrows flip versions, c copies. True when it was used. */
  function key(event) {
    if (!item) return false;
    const at = item.versions.findIndex((one) => one.id === id);
    const flip = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (flip) { const other = item.versions[at + flip]; if (other) list.show(other.id); return item.versions.length > 1; }
    if (event.key >= "1" && event.key <= "5" && !rate.hidden) { rating?.byKey(Number(event.key)); return true; }
    if (event.key === "c") { Tastemaker.copy(item.output); return true; }
    return false;
  }

  return { root, open, close, reload, key, get id() { return id; }, get lastId() { return lastId; } };
};

/** A word of the Library for a state or origin, as said of this kind of creation. */
Tastemaker.ofKind = (item, area, name) => Tastemaker.t(Tastemaker.has(`library.${area}.${name}.${item.kind}`) ? `library.${area}.${name}.${item.kind}` : `library.${area}.${name}`);

/** A score as a small sign, or nothing: a thumb for full marks, with its number of stars in between. */
Tastemaker.scoreMark = (score) => {
  if (score === null || score === undefined) return null;
  const { h, t, icon } = Tastemaker;
  const stars = Math.round(score * 2 + 3);
  const tone = score > 0 ? "is-good" : score < 0 ? "is-bad" : "";
  return h("span", { class: `lib-score ${tone}`, title: t("library.rated", { n: stars }), role: "img", "aria-label": t("library.rated", { n: stars }) },
    icon(score < 0 ? "down" : "up"), Math.abs(score) === 1 ? null : h("span", {}, String(stars)));
};
