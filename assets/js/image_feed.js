/* Under the prompt: the progress line with Skip and Stop, the queue as chips, and the clicks with their pictures, newest first.
   Draws what images.js holds; live updates change only what they must. */
"use strict";

Tastemaker.parts = Tastemaker.parts || {};

Tastemaker.parts.imageFeed = (images, main, scroller) => {
  const { h, t, icon, keyed, clear } = Tastemaker;
  const tiles = Tastemaker.parts.imageTile(images);
  const EXAMPLES = 6;

  // ------------------------------------------------------------ parts

  const line = h("span", { class: "im-line-text", role: "status" });
  const bar = h("span", {});
  const progress = h("div", { class: "tm-progress", role: "progressbar", "aria-label": t("images.progress"), "aria-valuemin": 0, "aria-valuemax": 100 }, bar);
  const skip = h("button", { class: "tm-button", type: "button", id: "image-skip", title: t("images.skip_title"), onclick: () => images.skip() }, icon("skip"), h("span", {}, t("images.skip")));
  const stop = h("button", { class: "tm-button", type: "button", id: "image-stop", title: t("images.stop_title"), onclick: () => images.stop() }, icon("stop"), h("span", {}, t("images.stop")));
  const running = h("div", { class: "im-running", hidden: true }, h("div", { class: "im-line" }, line, progress), skip, stop);
  const queue = h("div", { class: "im-queue", id: "image-queue", role: "list", "aria-label": t("images.queue"), hidden: true });
  const status = h("div", { class: "im-status", id: "image-status" }, running, queue);
  const found = h("div", { class: "im-found tm-card", id: "image-found", role: "status", hidden: true });
  const list = h("div", { class: "im-list", id: "image-list" });
  const empty = h("div", { class: "im-empty", hidden: true });
  const end = h("div", { class: "im-end", "aria-hidden": "true" });
  main.append(found, status, list, empty, end);
  new IntersectionObserver((seen) => seen.some((one) => one.isIntersecting) && images.earlier(), { root: scroller, rootMargin: "500px" }).observe(end);

  // ------------------------------------------------------------ drawing

  /** What waits behind another one is only a chip until it begins. */
  const isShown = (batch) => batch.items.length > 0 && (batch.status !== "queued" || batch.job_id === images.job);

  function draw() {
    const shown = images.batches.filter(isShown);
    keyed(list, shown, (batch) => batch.job_id, create, update);
    empty.hidden = images.batches.length > 0 || !images.form;
    if (!empty.hidden && !empty.children.length) drawEmpty();
    drawQueue();
    if (images.more && end.getBoundingClientRect().top < innerHeight + 500 && Tastemaker.page() === "images") images.earlier();
  }

  function drawEmpty() {
    const examples = Array.from({ length: EXAMPLES }, (_, index) => t(`images.example.${index + 1}`));
    clear(empty, h("h2", {}, t("images.empty_title")), h("p", {}, t("images.empty_text")),
      h("div", { class: "im-examples" }, examples.map((text) => h("button", { class: "tm-chip", type: "button", "data-example": "", onclick: () => { images.composer.setText(text); images.composer.focus(); } }, text))),
      h("p", { class: "tm-small" }, t("images.empty_drop")));
  }

  function drawQueue() {
    const waiting = images.jobs.filter((job) => job.status === "queued" && job.job_id !== images.job);
    queue.hidden = !waiting.length;
    keyed(queue, waiting, (job) => job.job_id, (job) => h("span", { class: "tm-chip im-waiting", role: "listitem", "data-job": job.job_id },
      h("span", { class: "im-waiting-text", dir: "auto" }), h("button", { type: "button", "aria-label": t("images.queue_remove"), title: t("images.queue_remove"), onclick: () => images.cancel(job.job_id) }, icon("x"))),
    (node, job) => { node.querySelector(".im-waiting-text").textContent = t("images.queue_item", { prompt: short(job), n: job.n || 1 }); });
  }

  const short = (job) => {
    const text = job.prompt || (images.batchOf(job.job_id) || {}).prompt || t("images.no_prompt");
    return text.length > 28 ? `${text.slice(0, 27).trimEnd()}…` : text;
  };

  function drawProgress(view) {
    running.hidden = !images.job;
    if (running.hidden) return;
    const isStopping = images.stopping === images.job;
    line.textContent = isStopping ? t("images.stopping") : (view && view.line) || t("images.line.beginning");
    const part = view && view.fraction;
    progress.classList.toggle("is-unknown", part === null || part === undefined);
    bar.style.width = `${Math.round((part || 0) * 100)}%`;
    progress.setAttribute("aria-valuenow", Math.round((part || 0) * 100));
    stop.disabled = isStopping;
    skip.disabled = isStopping || !view || !view.items.some((item) => item.status === "running");
    skip.hidden = Boolean(view) && view.items.length < 2;
  }

  /** What was found in a dropped picture, with what can be done about it. */
  function drawFound(what) {
    found.hidden = !what;
    if (!what) return;
    const { view, name, undo, start } = what;
    const lines = view.found.length ? t("images.found", { name, list: view.found.join(t("images.list_comma")) }) : t("images.found_nothing", { name });
    clear(found, h("div", { class: "im-found-body" }, h("p", {}, icon("check"), h("span", {}, lines, view.tool ? ` ${t("images.found_tool", { tool: view.tool })}` : "")),
      view.notices.map((text) => h("p", { class: "im-found-note" }, icon("note"), h("span", {}, text)))),
    h("div", { class: "im-found-actions" }, h("button", { class: "tm-button", type: "button", "data-action": "start-from", onclick: () => { start(); drawFound(null); } }, icon("picture"), h("span", {}, t("images.found_start"))),
      view.creation_id ? h("button", { class: "tm-button", type: "button", "data-action": "show", onclick: () => images.show(view.creation_id) }, icon("external"), h("span", {}, t("images.found_show"))) : null,
      h("button", { class: "tm-button", type: "button", "data-action": "undo", onclick: () => { undo(); drawFound(null); } }, icon("undo"), h("span", {}, t("images.found_undo"))),
      h("button", { class: "tm-icon-button", type: "button", "aria-label": t("frame.close"), onclick: () => drawFound(null) }, icon("x"))));
    found.scrollIntoView({ block: "nearest" });
  }

  // ------------------------------------------------------------ one click's pictures

  function create(batch) {
    const action = (name, sign, run) => h("button", { class: "tm-icon-button", type: "button", "data-action": name, "aria-label": t(`images.batch.${name}`), title: t(`images.batch.${name}`), onclick: run }, icon(sign));
    const node = h("section", { class: "im-batch", "data-job": batch.job_id },
      h("header", { class: "im-batch-head" }, h("div", { class: "im-batch-text" }, h("p", { class: "im-batch-prompt", dir: "auto" }), h("p", { class: "tm-small im-batch-facts" })),
        h("div", { class: "im-batch-actions" }, h("button", { class: "tm-button", type: "button", "data-action": "resume", hidden: true, onclick: () => images.resume(batch.job_id) }, icon("forward"), h("span", {}, t("images.batch.resume"))),
          action("again", "retry", () => images.again(images.batchOf(batch.job_id))), action("reuse", "sliders", () => images.reuse(images.batchOf(batch.job_id))), action("trash", "trash", () => images.trash(images.batchOf(batch.job_id).items.map((item) => item.id))))),
      h("div", { class: "im-notes" }), h("div", { class: "im-grid" }), h("div", { class: "im-details" }));
    return node;
  }

  function update(node, batch) {
    const signature = JSON.stringify(batch) + (images.chosen && batch.items.some((item) => item.id === images.chosen) ? images.chosen : "");
    if (node.signature === signature) return;
    node.signature = signature;
    node.dataset.status = batch.status;
    node.setAttribute("aria-label", batch.prompt);
    const prompt = node.querySelector(".im-batch-prompt");
    prompt.textContent = batch.prompt || t("images.no_prompt");
    prompt.title = batch.prompt;
    const isLive = batch.status === "queued" || batch.status === "running";
    const absent = isLive ? [] : batch.items.filter((item) => !item.url);
    const shown = batch.items.filter((item) => !absent.includes(item));
    node.querySelector(".im-batch-facts").textContent = [batch.title, batch.created_at && Tastemaker.when(batch.created_at), ...reasons(absent)].filter(Boolean).join(" · ");
    node.querySelector("[data-action=resume]").hidden = !(batch.can_resume && absent.length);
    for (const name of ["again", "reuse", "trash"]) node.querySelector(`.im-batch-actions [data-action=${name}]`).hidden = isLive;
    clear(node.querySelector(".im-notes"), batch.notices.map((text) => h("p", { class: "th-note" }, icon("note"), h("span", {}, text))));
    const grid = node.querySelector(".im-grid");
    grid.dataset.count = shown.length;
    const details = node.querySelector(".im-details");
    batch.items.forEach((item, index) => { item.number = index + 1; });
    keyed(grid, shown, (item) => item.id, () => tiles.create(details), (tile, item) => tiles.update(tile, item, batch));
    for (const old of details.children) if (!batch.items.some((item) => item.id === old.dataset.of)) old.remove();
  }

  /** Pictures that never came: how many, and why. */
  function reasons(absent) {
    const counts = new Map();
    for (const item of absent) counts.set(item.note, (counts.get(item.note) || 0) + 1);
    return [...counts].map(([note, n]) => (n > 1 ? t("images.n_times", { n, note }) : note));
  }

  // ------------------------------------------------------------ live

  function live(view) {
    drawProgress(view);
    const node = list.querySelector(`[data-job="${CSS.escape(view.job_id)}"]`);
    if (!node) return;
    for (const item of view.items) {
      const tile = node.querySelector(`[data-creation="${CSS.escape(item.id)}"]`);
      if (tile) tiles.live(tile, item);
    }
  }

  const tileOf = (id) => list.querySelector(`[data-creation="${CSS.escape(id || "")}"]`);

  /** The tile that is `by` further, in the order of reading; `rows` up or down goes by what lies there. */
  function neighbour(id, by, isRow) {
    const all = [...list.querySelectorAll(".im-tile")];
    const from = all.findIndex((one) => one.dataset.creation === id);
    if (from < 0) return all[0] || null;
    if (!isRow) return all[Math.min(all.length - 1, Math.max(0, from + by))];
    const box = all[from].getBoundingClientRect();
    const middle = (one) => { const other = one.getBoundingClientRect(); return Math.abs(other.left + other.width / 2 - box.left - box.width / 2); };
    const beyond = all.filter((one) => (by > 0 ? one.getBoundingClientRect().top > box.top + 8 : one.getBoundingClientRect().top < box.top - 8));
    if (!beyond.length) return all[from];
    const tops = beyond.map((one) => one.getBoundingClientRect().top);
    const nearest = by > 0 ? Math.min(...tops) : Math.max(...tops);
    return beyond.filter((one) => Math.abs(one.getBoundingClientRect().top - nearest) < 8).sort((a, b) => middle(a) - middle(b))[0];
  }

  return { draw, drawProgress, drawFound, live, tileOf, neighbour, rate: tiles.rate };
};
