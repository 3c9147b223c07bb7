/* One summary: its sentences, each a way to its source; what is doubtful; rating, picking, editing, taking it along; its figures. */
"use strict";

Tastemaker.parts = Tastemaker.parts || {};

Tastemaker.parts.summaryCard = (summ) => {
  const { h, t, icon, clear } = Tastemaker;
  const ratings = new Map(); // creation id → rating control, for keys
  const FORMATS = ["markdown", "docx", "text", "json"];

  const isLive = (status) => status === "queued" || status === "running";

  const others = (version) => summ.turn.versions.filter((one) => one.id !== version.id && one.text && !isLive(one.status));

  function create(version) {
    const action = (name, sign, run, extra = {}) => h("button", { class: "tm-icon-button", type: "button", "data-action": name, "aria-label": t(`summarize.action.${name}`), title: t(`summarize.action.${name}`), onclick: run, ...extra }, icon(sign));
    const node = h("article", { class: "su-card tm-card", "data-creation": version.id, onpointerdown: () => summ.choose(node.version.id), onfocusin: () => summ.choose(node.version.id) },
      h("header", { class: "su-card-head" }, h("div", { class: "su-card-title" }, h("strong", {}), h("span", { class: "tm-small su-facts" }, h("span", {}),
          h("button", { class: "tm-link", type: "button", "data-action": "seed", title: t("summarize.seed_reuse"), hidden: true, onclick: () => summ.reuse(node.version.seed) }))),
        h("span", { class: "tm-badge su-best", hidden: true }, icon("check"), t("summarize.picked")),
        action("star", "star", () => summ.star(node.version)), action("trash", "trash", () => summ.trash(node.version))),
      h("div", { class: "su-progress", hidden: true }, h("div", { class: "im-line" }, h("span", { class: "im-line-text", role: "status" }), h("div", { class: "tm-progress", role: "progressbar", "aria-label": t("summarize.progress") }, h("span", {}))),
        h("button", { class: "tm-button", type: "button", "data-action": "stop", title: t("summarize.stop_title"), onclick: () => summ.stop(node.version.job_id) }, icon("stop"), h("span", {}, t("summarize.stop")))),
      h("div", { class: "su-notes" }), h("div", { class: "su-body", dir: "auto" }), h("p", { class: "tm-small su-why", role: "status", hidden: true }), h("p", { class: "su-verdict", hidden: true }), h("p", { class: "su-note", hidden: true }),
      h("form", { class: "su-edit", hidden: true, onsubmit: (event) => { event.preventDefault(); saveEdit(node); } }, h("textarea", { class: "tm-textarea", rows: 8, dir: "auto", "aria-label": t("summarize.action.edit") }),
        h("div", { class: "su-edit-foot" }, h("span", { class: "tm-small" }, t("summarize.edit_effect")), h("span", { class: "tm-topline-gap" }), h("button", { class: "tm-button", type: "button", onclick: () => edit(node, false) }, t("frame.cancel")), h("button", { class: "tm-button is-primary", type: "submit", "data-action": "save" }, t("summarize.save")))),
      h("footer", { class: "su-foot" }, h("div", { class: "su-rate" }), h("span", { class: "tm-topline-gap" }),
        h("button", { class: "tm-button im-pick", type: "button", "data-action": "pick", title: t("summarize.pick_title"), hidden: true, onclick: () => summ.pick(node.version) }, icon("check"), h("span", {}, t("summarize.pick"))),
        h("button", { class: "tm-button", type: "button", "data-action": "resume", hidden: true, onclick: () => summ.resume(node.version) }, icon("forward"), h("span", {}, t("summarize.resume"))),
        action("edit", "pen", () => edit(node, true)), action("copy", "copy", () => Tastemaker.copy(node.version.text)), action("export", "download", (event) => take(node, event.currentTarget), { "aria-haspopup": "menu" })),
      h("div", { class: "su-details" }), h("details", { class: "su-scores", hidden: true }, h("summary", {}, t("summarize.scores")), h("table", {}, h("tbody", {}))));
    return node;
  }

  function update(node, version) {
    const before = node.version;
    node.version = version;
    // Whether there is another one to be better than belongs to it.
    const signature = JSON.stringify([version, others(version).length, summ.chosen === version.id, summ.together(version.job_id).length]);
    if (node.signature === signature) return;
    node.signature = signature;
    const live = isLive(version.status);
    node.dataset.status = version.status;
    node.classList.toggle("is-picked", version.picked);
    node.classList.toggle("is-chosen", summ.chosen === version.id);
    node.querySelector(".su-card-title strong").textContent = version.label;
    const [facts, seed] = node.querySelector(".su-facts").children;
    facts.textContent = version.facts + (version.seed ? " · " : "");
    seed.textContent = t("summarize.seed", { seed: version.seed });
    seed.hidden = !version.seed;
    node.querySelector(".su-best").hidden = !version.picked;
    const star = node.querySelector("[data-action=star]");
    star.classList.toggle("is-on", version.starred);
    star.setAttribute("aria-pressed", String(version.starred));
    clear(node.querySelector(".su-notes"), [...version.notices.map((text) => ["note", text]), ...version.refused.map((one) => ["warning", one.message])].map(([sign, text]) => h("p", { class: "th-note" }, icon(sign), h("span", {}, text))));
    if (!live || !before || !isLive(before.status)) drawBody(node, version.lines, version.sentences);
    node.querySelector(".su-progress").hidden = !live;
    if (live) drawProgress(node, summ.lives.get(version.job_id));
    node.querySelector("[data-action=stop] span").textContent = t(summ.together(version.job_id).length > 1 ? "summarize.stop_all" : "summarize.stop");
    const verdict = node.querySelector(".su-verdict");
    verdict.hidden = !version.verdict;
    verdict.textContent = version.verdict;
    verdict.classList.toggle("is-sure", version.sentences.every((one) => one.supported && !one.flagged));
    const note = node.querySelector(".su-note");
    note.hidden = live || !version.note;
    note.textContent = version.note;
    drawFoot(node, version, live);
    drawScores(node, version.scores);
  }

  // ------------------------------------------------------------ sentences

  function drawBody(node, lines, sentences) {
    const body = node.querySelector(".su-body");
    const signature = JSON.stringify([lines, sentences]);
    if (body.signature === signature) return;
    body.signature = signature;
    node.querySelector(".su-why").hidden = true;
    const part = ([text, number]) => {
      const about = number === null ? null : sentences[number];
      if (!about) return text;
      const kind = !about.supported ? "is-unsupported" : about.flagged ? "is-flagged" : "";
      // No button: that is a box which does not wrap like the words around it.
      return h("span", { class: `su-sentence ${kind}`, role: "button", tabindex: 0, "data-sentence": number, title: about.why.join(" ") || t("summarize.show_source"), onclick: () => open(node, number),
        onkeydown: (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); event.stopPropagation(); open(node, number); } } }, text);
    };
    const nodes = [];
    for (const line of lines) {
      const made = h(line.item ? "li" : "p", {}, line.parts.map(part));
      if (!line.item) nodes.push(made);
      else if (nodes.at(-1)?.tagName === "UL") nodes.at(-1).append(made);
      else nodes.push(h("ul", {}, made));
    }
    clear(body, nodes);
  }

  /** Show where a sentence comes from, and say what is doubtful about it. */
  function open(node, number) {
    const about = node.version.sentences[number];
    summ.unselect();
    for (const one of node.querySelectorAll(`[data-sentence="${number}"]`)) one.classList.add("is-open");
    const why = node.querySelector(".su-why");
    why.textContent = about.why.join(" ");
    why.hidden = !about.why.length;
    summ.showSources(about);
  }

  // ------------------------------------------------------------ progress

  function drawProgress(node, view) {
    const isStopping = summ.stopping.has(node.version.job_id);
    node.querySelector(".im-line-text").textContent = isStopping ? t("summarize.stopping") : (view && view.line) || t("summarize.line.queued");
    const bar = node.querySelector(".tm-progress");
    const part = view ? view.fraction : null;
    bar.classList.toggle("is-unknown", part === null || part === undefined);
    bar.firstElementChild.style.width = `${Math.round((part || 0) * 100)}%`;
    node.querySelector("[data-action=stop]").disabled = isStopping;
  }

  function live(node, view, lines) {
    drawProgress(node, view);
    if (lines.length) drawBody(node, lines, []);
  }

  // ------------------------------------------------------------ foot

  function drawFoot(node, version, live) {
    const foot = node.querySelector(".su-foot");
    const ready = !live && version.text !== "";
    for (const name of ["edit", "copy", "export"]) foot.querySelector(`[data-action=${name}]`).hidden = !ready;
    node.querySelector("[data-action=trash]").hidden = live;
    foot.querySelector("[data-action=resume]").hidden = live || !version.can_resume;
    const pick = foot.querySelector("[data-action=pick]");
    pick.hidden = !ready || !others(version).length;
    pick.setAttribute("aria-pressed", String(version.picked));
    pick.querySelector("span").textContent = t(version.picked ? "summarize.picked" : "summarize.pick");
    const box = node.querySelector(".su-rate");
    const signature = JSON.stringify([ready, version.rating]);
    if (box.signature === signature) return;
    box.signature = signature;
    if (!ready) { clear(box); clear(node.querySelector(".su-details")); return; }
    const control = Tastemaker.parts.rating({ host: summ.host, reasons: summ.config.reasons, answer: version, left: summ.next_training_in, open: true,
      onRated: (answered) => { box.signature = JSON.stringify([true, answered.rating]); summ.rated(node.version.id, answered); } });
    ratings.set(version.id, control);
    clear(box, control.thumbs, control.summary);
    clear(node.querySelector(".su-details"), control.details);
  }

  function drawScores(node, scores) {
    const box = node.querySelector(".su-scores");
    box.hidden = !scores.length;
    clear(box.querySelector("tbody"), scores.map((one) => h("tr", {}, h("th", { scope: "row" }, one.name), h("td", {}, one.value), h("td", { class: "tm-small" }, one.about))));
  }

  // ------------------------------------------------------------ editing and taking along

  function edit(node, on) {
    const form = node.querySelector(".su-edit");
    form.hidden = !on;
    form.onkeydown = (event) => { if (event.key === "Escape") { event.preventDefault(); event.stopPropagation(); edit(node, false); } };
    node.querySelector(".su-body").hidden = on;
    if (!on) return;
    const area = form.querySelector("textarea");
    area.value = node.version.text;
    area.style.height = `${Math.min(420, Math.max(140, area.scrollHeight))}px`;
    area.focus();
  }

  async function saveEdit(node) {
    const text = node.querySelector(".su-edit textarea").value;
    if (await summ.edit(node.version, text)) edit(node, false);
  }

  function take(node, button) {
    Tastemaker.menu(button, FORMATS.map((format) => ({ label: t(`summarize.export.${format}`), icon: "download", run: () => {
      const link = h("a", { href: `/summaries/${node.version.id}/export?format=${format}`, download: "" });
      document.body.append(link);
      link.click();
      link.remove();
    } })));
  }

  return { create, update, live, rate: (id, number) => ratings.get(id)?.byKey(number) };
};
