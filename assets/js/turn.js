/* One turn of the thread: the prompt, the answer in sight with everything that can be done with it, or the candidates to pick from. */
"use strict";

Tastemaker.parts = Tastemaker.parts || {};

Tastemaker.parts.turn = (write) => {
  const { h, t, icon } = Tastemaker;
  const ratings = new Map(); // creation id -> rating control in the page, for keys

  const action = (name, sign, run, on = false) => h("button", { class: `tm-icon-button${on ? " is-on" : ""}`, type: "button", "data-action": name,
    "aria-label": t(`write.action.${name}`), title: t(`write.action.${name}`), "aria-pressed": name === "star" ? String(on) : null, onclick: run }, icon(sign));

  // ------------------------------------------------------------ prompt

  function promptNode(turn) {
    const text = h("div", { class: "th-prompt-text", dir: "auto" }, turn.prompt);
    const node = h("div", { class: "th-prompt" }, h("div", { class: "th-who" }, t("write.you")), text,
      h("div", { class: "th-prompt-actions" },
        action("edit-prompt", "pen", () => editor(text, turn.prompt, t("write.write_again"), (value) =>
          write.start({ prompt: value, options: { ...write.composer.options({ withSeed: false }), parent_id: turn.answer.id } }))),
        action("copy-prompt", "copy", () => Tastemaker.copy(turn.prompt))));
    return node;
  }

  /** Replace `node` by a text box until it is saved or left; the text stays in the box when saving fails. */
  function editor(node, value, label, save) {
    const section = node.closest("[data-turn]");
    section.dataset.editing = "1";
    const area = h("textarea", { class: "tm-textarea th-editor", value, dir: "auto", "aria-label": label });
    const end = () => {
      delete section.dataset.editing;
      box.replaceWith(node);
      if (section.latest) update(section, section.latest); // what came in meanwhile, the saved version among it
    };
    const go = async () => {
      if (area.value === value) { end(); return; }
      try { await save(area.value); } catch { return; }
      end();
    };
    const box = h("div", { class: "th-edit" }, area, h("div", { class: "th-edit-foot" },
      h("button", { class: "tm-button is-primary", type: "button", "data-action": "save", onclick: go }, label),
      h("button", { class: "tm-button", type: "button", onclick: end }, t("frame.cancel"))));
    area.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); go(); }
      if (event.key === "Escape") { event.preventDefault(); event.stopPropagation(); end(); }
    });
    area.addEventListener("input", grow);
    function grow() { area.style.height = "auto"; area.style.height = `${Math.min(area.scrollHeight + 2, innerHeight * 0.6)}px`; }
    node.replaceWith(box);
    grow();
    area.focus();
    area.setSelectionRange(area.value.length, area.value.length);
  }

  // ------------------------------------------------------------ answer

  function body(answer) {
    const text = h("div", { class: "answer", dir: "auto" });
    Tastemaker.setHtml(text, answer.html);
    if (!answer.text && isLive(answer)) text.append(h("p", { class: "th-wait" }, t(answer.status === "queued" ? "write.waiting" : "write.thinking")));
    return text;
  }

  const isLive = (answer) => answer.status === "queued" || answer.status === "running";

  function figures(answer) {
    const line = h("p", { class: "figures tm-small" }, answer.figures.join(" · "));
    if (answer.adapter) {
      line.append(" · ", h("button", { class: "th-adapter", type: "button", title: t("lineage.open"), "data-action": "lineage", "data-adapter": answer.adapter.id,
        onclick: () => Tastemaker.parts.lineage(write.host, answer.id) }, answer.adapter.name));
    }
    if (answer.seed !== null) {
      line.append(" · ", h("button", { class: "th-seed", type: "button", title: t("write.reuse_seed"), "data-action": "reuse-seed",
        onclick: () => { write.composer.setSeed(answer.seed); Tastemaker.notice(t("write.seed_kept", { seed: answer.seed })); } }, t("write.seed", { seed: answer.seed })));
    }
    return line;
  }

  const noteLines = (texts) => texts.map((text) => h("p", { class: "th-note" }, icon("note"), h("span", {}, text)));
  const notes = (answer) => noteLines([...answer.notices, ...(answer.note && !isLive(answer) ? [answer.note] : [])]);

  const rated = new Set(); // touched since the last prompt: these stay unfolded
  Tastemaker.bus.on("started", () => rated.clear());

  function rating(answer, isLast) {
    const control = Tastemaker.parts.rating({ host: write.host, reasons: write.config.reasons, answer, left: write.thread.next_training_in, open: isLast || rated.has(answer.id),
      onRated: (answered) => { rated.add(answer.id); write.thread.next_training_in = answered.next_training_in; } });
    ratings.set(answer.id, control);
    return control;
  }

  function versions(turn) {
    if (turn.versions.length < 2) return null;
    const flip = (step) => write.act("version", { id: turn.versions[turn.version_index + step] }).catch(() => null);
    return h("div", { class: "versions", role: "group", "aria-label": t("write.versions") },
      h("button", { class: "tm-icon-button prev", type: "button", "aria-label": t("write.version_before"), disabled: turn.version_index === 0, onclick: () => flip(-1) }, icon("chevronLeft")),
      h("span", { class: "tm-small" }, `${turn.version_index + 1}/${turn.versions.length}`),
      h("button", { class: "tm-icon-button next", type: "button", "aria-label": t("write.version_after"), disabled: turn.version_index === turn.versions.length - 1, onclick: () => flip(1) }, icon("chevronRight")));
  }

  async function star(answer, button) {
    const answered = await write.host.act("star", { id: answer.id, on: !answer.starred }).catch(() => null);
    if (!answered) return;
    answer.starred = answered.starred;
    button.classList.toggle("is-on", answer.starred);
    button.setAttribute("aria-pressed", String(answer.starred));
  }

  async function remove(answer) {
    const id = write.conversation.id;
    await write.act("delete", { id: answer.id });
    Tastemaker.notice(t("write.answer_deleted"), { action: { label: t("frame.undo"), run: async () => {
      const back = await write.host.act("undelete", { c: id, id: answer.id });
      if (write.conversation && write.conversation.id === id) write.apply(back);
    } } });
  }

  /** Write it again on the path it records; the answer stays as it is. */
  async function reproduce(answer, article) {
    const line = h("p", { class: "th-note th-reproduced", role: "status" }, icon("repeat"), h("span", {}, t("write.reproduce.running")));
    article.querySelector(".th-reproduced")?.remove();
    article.append(line);
    try {
      const { job_id: job } = await write.host.act("reproduce", { id: answer.id });
      Tastemaker.bus.emit("job");
      for (;;) {
        await new Promise((resolve) => setTimeout(resolve, 400));
        const state = await write.host.act("reproduced", { job_id: job });
        if (!state.done) continue;
        line.classList.add(state.identical ? "is-good" : "is-care");
        Tastemaker.clear(line, icon(state.identical ? "check" : "warning"), h("span", {}, state.message));
        if (state.text) line.append(h("details", {}, h("summary", {}, t("write.reproduce.show")), h("pre", { class: "th-plain", dir: "auto" }, state.text)));
        return;
      }
    } catch { line.remove(); }
  }

  async function branch(answer) {
    const answered = await write.host.act("branch", { c: write.conversation.id, id: answer.id });
    write.apply(answered);
    Tastemaker.notice(t("write.branched"));
  }

  function article(turn, answer, isLast) {
    const text = body(answer);
    const node = h("article", { class: "th-answer", "data-creation": answer.id, "data-status": answer.status, tabindex: -1, onpointerdown: () => choose(node) }, text, notes(answer));
    if (isLive(answer)) {
      node.append(h("p", { class: "figures tm-small" }, ""));
      return node;
    }
    const control = rating(answer, isLast);
    const again = () => write.start({ prompt: turn.prompt, options: { ...write.composer.options({ withSeed: false }), parent_id: answer.id } }).catch(() => null);
    const more = () => write.start({ type: "resume", id: answer.id }).catch(() => null);
    const starButton = action("star", "star", () => star(answer, starButton), answer.starred);
    const bar = h("div", { class: "th-bar" }, versions(turn), control.thumbs, control.summary, h("span", { class: "th-divider" }),
      action("regenerate", "retry", again),
      answer.can_continue && action("continue", "forward", more),
      action("edit", "pen", () => editor(text, answer.text, t("write.save_version"), (value) => write.act("edit", { id: answer.id, text: value }))),
      action("copy", "copy", () => Tastemaker.copy(answer.text)),
      starButton,
      action("branch", "branch", () => branch(answer).catch(() => null)),
      answer.can_reproduce && action("reproduce", "repeat", () => reproduce(answer, node)),
      action("delete", "trash", () => remove(answer).catch(() => null)));
    node.append(bar, control.details, figures(answer));
    return node;
  }

  // ------------------------------------------------------------ candidates

  function candidates(turn) {
    const ready = turn.candidates.every((answer) => !isLive(answer));
    const cards = turn.candidates.map((answer, index) => {
      const node = h("article", { class: "candidate tm-card", "data-creation": answer.id, "data-status": answer.status, tabindex: -1, onpointerdown: () => choose(node) },
        h("div", { class: "candidate-head" }, h("kbd", { class: "tm-kbd" }, String(index + 1)), h("span", { class: "figures tm-small" }, isLive(answer) ? "" : answer.figures.slice(0, 1).join(" · ")),
          answer.taste_rank === 1 && h("span", { class: "candidate-best" }, icon("heart"), t("taste.closest"))),
        body(answer), notes(answer));
      if (isLive(answer)) return node;
      const control = rating(answer, true);
      const starButton = action("star", "star", () => star(answer, starButton), answer.starred);
      node.append(h("div", { class: "th-bar" },
        h("button", { class: "tm-button candidate-pick", type: "button", "data-action": "pick", disabled: !ready, onclick: () => pick(answer) }, icon("check"), t("write.pick")),
        h("span", { class: "tm-topline-gap" }), control.thumbs, starButton, action("copy", "copy", () => Tastemaker.copy(answer.text))), control.details);
      return node;
    });
    return h("div", {}, h("div", { class: "candidates", "data-count": cards.length }, cards),
      h("p", { class: "tm-small candidates-hint" }, t(!ready ? "write.pick_wait" : turn.candidates[0].taste_rank ? "taste.pick_hint" : "write.pick_hint", { n: cards.length })));
  }

  const pick = (answer) => { write.chosen = answer.id; return write.act("pick", { id: answer.id }).catch(() => null); };

  function choose(node) {
    write.chosen = node.dataset.creation;
    for (const old of document.querySelectorAll("#thread .is-chosen")) old.classList.remove("is-chosen");
    node.classList.add("is-chosen");
  }

  function update(node, turn) {
    const isLast = write.thread.turns.at(-1).turn_id === turn.turn_id;
    const signature = JSON.stringify(turn) + isLast;
    if (node.signature === signature) return;
    node.latest = turn;
    if (node.dataset.editing) return; // drawn when the text box closes
    node.signature = signature;
    node.turn = turn;
    node.dataset.turn = turn.turn_id;
    node.dataset.candidates = turn.candidates.length;
    Tastemaker.clear(node, promptNode(turn), turn.candidates.length > 1 ? candidates(turn) : article(turn, turn.answer, isLast));
    const chosen = write.chosen && node.querySelector(`[data-creation="${write.chosen}"]`);
    if (chosen) choose(chosen);
  }

  return {
    create: () => h("section", { class: "th-turn" }),
    update,
    pick,
    notes: noteLines,
    rateByKey: (id, number) => ratings.get(id)?.byKey(number),
  };
};
