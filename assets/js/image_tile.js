/* One picture of the grid: waiting, growing from its previews, or there, with its rating and what can be done at once. */
"use strict";

Tastemaker.parts = Tastemaker.parts || {};

Tastemaker.parts.imageTile = (images) => {
  const { h, t, icon, clear } = Tastemaker;
  const ratings = new Map(); // creation id -> rating control of the grid, for keys

  const isLive = (status) => status === "queued" || status === "running";

  function create(details) {
    const picture = h("img", { class: "im-picture", alt: "", draggable: "true", decoding: "async", hidden: true });
    const preview = h("img", { class: "im-preview", alt: "", hidden: true });
    const ring = h("span", { class: "im-ring", hidden: true }, h("span", {}));
    const note = h("span", { class: "im-note" });
    const open = h("button", { class: "im-open", type: "button", onclick: () => (node.item.url ? images.show(node.item.id) : null) }, picture, preview, note, ring);
    const star = h("button", { class: "tm-icon-button im-star", type: "button", "data-action": "star", onclick: () => images.star(node.item) }, icon("star"));
    const leave = h("button", { class: "tm-icon-button im-leave", type: "button", "data-action": "skip-one", "aria-label": t("images.skip_one"), title: t("images.skip_one"), hidden: true, onclick: () => images.skip(node.item.id) }, icon("x"));
    const bar = h("div", { class: "im-bar" });
    const node = h("article", { class: "im-tile", onpointerdown: () => images.choose(node.item.id, { quiet: true }), onfocusin: () => images.choose(node.item.id, { quiet: true }) },
      h("kbd", { class: "tm-kbd im-number", "aria-hidden": "true" }), h("span", { class: "im-best", hidden: true }, icon("check"), t("images.picked")), star, leave, open, bar);
    open.addEventListener("dragstart", (event) => { if (node.item.url) event.dataTransfer.setData("text/tastemaker-picture", node.item.id); });
    node.details = details;
    return node;
  }

  function update(node, item, batch) {
    node.item = item;
    node.dataset.creation = item.id;
    node.classList.toggle("is-chosen", images.chosen === item.id);
    node.classList.toggle("is-clear", item.clear);
    node.classList.toggle("is-picked", batch.picked === item.id);
    node.style.setProperty("--im-ratio", `${item.width || 1} / ${item.height || 1}`);
    node.querySelector(".im-number").textContent = String(item.number);
    node.querySelector(".im-best").hidden = batch.picked !== item.id;
    const open = node.querySelector(".im-open");
    open.setAttribute("aria-label", t(item.url ? "images.open_n" : "images.waiting_n", { n: item.number, prompt: item.prompt }));
    open.tabIndex = 0;
    show(node, { status: item.status, url: item.url, note: item.note, preview: null, part: null });
    const star = node.querySelector(".im-star");
    star.hidden = !item.url;
    star.classList.toggle("is-on", item.starred);
    star.setAttribute("aria-pressed", String(item.starred));
    const label = t(item.starred ? "images.unstar" : "images.star");
    star.setAttribute("aria-label", label);
    star.title = label;
    drawBar(node, item, batch);
  }

  function drawBar(node, item, batch) {
    const bar = node.querySelector(".im-bar");
    const ready = Boolean(item.url) && item.status === "done";
    const others = batch.items.filter((one) => one.url && one.id !== item.id);
    const signature = JSON.stringify([item.id, ready, others.length > 0, batch.picked === item.id, isLive(batch.status)]);
    bar.hidden = !ready;
    const rating = JSON.stringify(item.rating); // given elsewhere, in the large view or another window
    if (bar.signature === signature && bar.rating === rating) { drawDetails(node, item); return; }
    Object.assign(bar, { signature, rating });
    node.details.querySelector(`[data-of="${CSS.escape(item.id)}"]`)?.remove();
    if (!ready) { clear(bar); return; }
    const control = Tastemaker.parts.rating({ host: images.host, reasons: images.config.reasons, answer: item, left: images.next_training_in, open: true,
      onRated: (answered) => { bar.rating = JSON.stringify(answered.rating); images.rated(item.id, answered); drawDetails(node, node.item); } });
    ratings.set(item.id, control);
    const pick = others.length ? h("button", { class: "tm-button im-pick", type: "button", "data-action": "pick", disabled: isLive(batch.status), title: t(isLive(batch.status) ? "images.pick_wait" : "images.pick_title"),
      "aria-pressed": String(batch.picked === item.id), onclick: () => images.pick(item) }, icon("check"), h("span", {}, t(batch.picked === item.id ? "images.picked" : "images.pick"))) : null;
    clear(bar, control.thumbs, control.summary, h("span", { class: "tm-topline-gap" }), pick);
    node.details.append(h("div", { class: "im-detail", "data-of": item.id, hidden: true }, h("p", { class: "tm-small" }, t("images.picture_n", { n: item.number })), control.details));
    drawDetails(node, item);
  }

  /** The reasons of the chosen picture lie under the whole row, where there is room for them. */
  function drawDetails(node, item) {
    const mine = node.details.querySelector(`[data-of="${CSS.escape(item.id)}"]`);
    if (mine) mine.hidden = images.chosen !== item.id || !item.rating;
  }

  function show(node, { status, url, note, preview, part }) {
    node.dataset.status = status;
    const picture = node.querySelector(".im-picture");
    const before = node.querySelector(".im-preview");
    if (url && picture.getAttribute("src") !== url) {
      picture.onload = () => { picture.hidden = false; before.hidden = true; };
      picture.src = url;
      picture.alt = node.item.prompt;
    }
    if (!url) picture.hidden = true;
    if (preview) { before.src = preview; before.hidden = Boolean(url) && !picture.hidden; }
    if (!isLive(status) && !url) before.hidden = true;
    const text = node.querySelector(".im-note");
    text.textContent = url ? "" : note || (status === "queued" ? t("images.waiting") : status === "running" && before.hidden ? t("images.starting") : "");
    const ring = node.querySelector(".im-ring");
    ring.hidden = status !== "running";
    ring.firstElementChild.style.width = `${Math.round((part || 0) * 100)}%`;
    node.querySelector(".im-leave").hidden = !isLive(status);
  }

  function live(node, item) {
    node.item.status = item.status;
    node.item.url = item.url;
    node.item.note = item.note;
    show(node, item);
  }

  return { create, update, live, rate: (id, number) => ratings.get(id)?.byKey(number) };
};
