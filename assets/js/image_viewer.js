/* One picture large, with its rating, every setting and everything that can be made from it; over the whole page, moved by keys.
   Shows pictures of one click; the address names the picture. Comparing two is image_compare.js's. */
"use strict";

Tastemaker.parts = Tastemaker.parts || {};

/** The menu of files that a picture can be had as; also the Library's. */
Tastemaker.parts.imageDownload = (anchor, id) => {
  const { t } = Tastemaker;
  const file = (format, visible) => () => Tastemaker.download(`/media/${id}/export?format=${format}${visible ? "&visible=true" : ""}`, "");
  Tastemaker.menu(anchor, [
    { group: t("images.download.group") },
    ...["png", "webp", "jpeg"].map((format) => ({ label: t(`images.download.${format}`), note: t(`images.download.${format}.note`), run: file(format, false) })),
    { group: t("images.download.visible") },
    ...["png", "jpeg"].map((format) => ({ label: t("images.download.marked", { format: format.toUpperCase() }), run: file(format, true) })),
  ]);
};

Tastemaker.parts.imageViewer = (images) => {
  const { h, t, icon, clear, keyed } = Tastemaker;
  const CLOSE_STRENGTH = 0.35; // variations that stay near the picture
  const FREE_STRENGTH = 0.65;
  let batch = null;
  let item = null;
  let control = null;
  let before = null; // what had the focus
  let drawing = null; // a picture that is being drawn again

  // ------------------------------------------------------------ parts

  const button = (name, sign, label, run, extra = {}) => h("button", { class: "tm-icon-button", type: "button", "data-action": name, title: label, "aria-label": label, onclick: run, ...extra }, icon(sign));
  const wide = (name, sign, run, extra = {}) => h("button", { class: "tm-button", type: "button", "data-action": name, onclick: run, ...extra }, icon(sign), h("span", {}, t(`images.view.${name}`)));
  const place = h("span", { class: "tm-small im-place" });
  const star = button("star", "star", t("images.star"), () => images.star(item));
  const panelToggle = button("panel", "sliders", t("images.view.panel"), () => root.classList.toggle("is-bare"));
  const head = h("header", { class: "im-over-head" }, button("previous", "chevronLeft", t("images.view.previous"), () => step(-1)), place, button("next", "chevronRight", t("images.view.next"), () => step(1)),
    h("span", { class: "tm-topline-gap" }), star, panelToggle, button("close", "x", t("frame.close"), () => close()));
  const picture = h("img", { class: "im-large", alt: "" });
  const stage = h("div", { class: "im-stage", onclick: (event) => event.target === stage && close() }, picture);
  const strip = h("div", { class: "im-strip", role: "list", "aria-label": t("images.view.strip") });
  const prompt = h("p", { class: "im-view-prompt", dir: "auto" });
  const rate = h("div", { class: "im-view-rate" });
  const pick = wide("pick", "check", () => images.pick(item));
  const compare = wide("compare", "compare", () => startComparing());
  const vary = wide("vary", "dice", () => openVary(), { "aria-haspopup": "menu" });
  const edit = wide("edit", "picture", () => leaveFor(() => images.startFrom(item)));
  const paint = wide("paint", "brush", () => leaveFor(() => images.startFrom(item, { paints: true })));
  const enlarge = wide("enlarge", "enlarge", () => openEnlarge(), { "aria-haspopup": "menu" });
  const download = wide("download", "download", () => Tastemaker.parts.imageDownload(download, item.id), { "aria-haspopup": "menu" });
  const more = wide("more", "dots", () => openMore(), { "aria-haspopup": "menu" });
  const seed = h("button", { class: "th-seed", type: "button", "data-action": "reuse-seed", title: t("images.seed_reuse"), onclick: () => images.keepSeed(item.seed) });
  const facts = h("dl", { class: "pane-facts" });
  const result = h("div", { class: "im-result", role: "status", hidden: true });
  const panel = h("div", { class: "im-panel" }, prompt, rate, h("div", { class: "im-view-actions" }, pick, compare, vary, edit, paint, enlarge, download, more), result, h("p", { class: "tm-small" }, seed), facts);
  const body = h("div", { class: "im-over-body" }, h("div", { class: "im-view-main" }, stage, strip), panel);
  const root = h("div", { class: "im-over im-view tm-root", id: "image-viewer", role: "dialog", "aria-modal": "true", "aria-label": t("images.view"), tabindex: -1, hidden: true }, head, body);
  document.body.append(root);
  Tastemaker.trapFocus(root);
  const comparing = Tastemaker.parts.imageCompare(images, root, { back: () => draw(), shown: () => item });

  // ------------------------------------------------------------ open and close

  function open(found, id) {
    const wasClosed = root.hidden;
    if (wasClosed) {
      before = document.activeElement;
      Tastemaker.cover(true);
    }
    batch = found;
    item = batch.items.find((one) => one.id === id);
    root.hidden = false;
    comparing.leave();
    draw();
    if (wasClosed) root.focus({ preventScroll: true });
  }

  function close({ write = true } = {}) {
    if (root.hidden) return;
    root.hidden = true;
    Tastemaker.cover(false);
    comparing.leave();
    const id = item && item.id;
    batch = item = null;
    if (write) Tastemaker.navigate("images", { item: null }, { push: false });
    const tile = images.feed.tileOf(id)?.querySelector(".im-open");
    (tile || before)?.focus?.({ preventScroll: !tile });
  }

  /** The page underneath does something with the picture. */
  function leaveFor(run) {
    const kept = item;
    run(kept);
    close();
    images.toTop();
  }

  const shown = () => batch.items.filter((one) => one.url);

  function step(by) {
    const all = shown();
    const next = all[all.findIndex((one) => one.id === item.id) + by];
    if (next) images.show(next.id, { push: false });
  }

  // ------------------------------------------------------------ drawing

  function draw() {
    if (root.hidden || !batch || comparing.isOn) return;
    const all = shown();
    const at = all.findIndex((one) => one.id === item.id);
    place.textContent = t("images.view.place", { n: at + 1, total: all.length });
    head.querySelector("[data-action=previous]").disabled = at <= 0;
    head.querySelector("[data-action=next]").disabled = at >= all.length - 1;
    star.classList.toggle("is-on", item.starred);
    star.setAttribute("aria-pressed", String(item.starred));
    if (picture.getAttribute("src") !== item.url) picture.src = item.url;
    picture.alt = item.prompt;
    stage.classList.toggle("is-clear", item.clear);
    picture.style.setProperty("--im-ratio", `${item.width || 1} / ${item.height || 1}`);
    prompt.textContent = item.prompt || t("images.no_prompt");
    strip.hidden = all.length < 2;
    drawStrip(all, [item.id], (one) => images.show(one.id, { push: false }));
    if (rate.of !== item.id || rate.rating !== JSON.stringify(item.rating)) drawRating();
    pick.hidden = compare.hidden = all.length < 2;
    const model = images.settings.model();
    edit.hidden = !model || !model.can_start;
    paint.hidden = !model || !model.can_mask;
    enlarge.hidden = images.settings.factors(Math.max(item.width || 1, item.height || 1)).length < 2;
    pick.setAttribute("aria-pressed", String(batch.picked === item.id));
    pick.querySelector("span").textContent = t(batch.picked === item.id ? "images.picked" : "images.view.pick");
    pick.disabled = batch.status === "running" || batch.status === "queued";
    seed.textContent = item.seed === null || item.seed === undefined ? "" : t("images.seed", { seed: item.seed });
    clear(facts, item.facts.flatMap(([name, value]) => [h("dt", {}, name), h("dd", { dir: "auto" }, item.adapter && value === item.adapter.name
      ? h("button", { class: "th-adapter", type: "button", title: t("lineage.open"), "data-action": "lineage", onclick: () => Tastemaker.parts.lineage(images.host, item.id) }, value) : value)]));
    if (result.of !== item.id) result.hidden = true;
  }

  function drawStrip(all, on, run) {
    keyed(strip, all, (one) => one.id, (one) => h("button", { class: "im-thumb", type: "button", role: "listitem" }, h("img", { src: one.thumb, alt: "", loading: "lazy" }), h("span", { class: "im-thumb-best", "aria-hidden": "true" }, icon("check"))),
      (node, one) => {
        node.onclick = () => run(one);
        node.setAttribute("aria-current", String(on.includes(one.id)));
        node.setAttribute("aria-label", t("images.picture_n", { n: one.number || all.indexOf(one) + 1 }));
        node.classList.toggle("is-picked", batch.picked === one.id);
      });
  }

  function drawRating() {
    rate.of = item.id;
    rate.rating = JSON.stringify(item.rating);
    control = Tastemaker.parts.rating({ host: images.host, reasons: images.config.reasons, answer: { id: item.id, rating: item.rating }, left: images.next_training_in, open: true,
      onRated: (answered) => { rate.rating = JSON.stringify(answered.rating); images.rated(rate.of, answered); } });
    clear(rate, control.thumbs, control.summary, control.details);
  }

  // ------------------------------------------------------------ what can be made from it

  function openVary() {
    const near = (strength) => images.start("imagine", { prompt: item.prompt, options: { ...batch.options, n: 4, parent_id: item.id, init_image: item.id, strength, upscale: 1 }, key: Tastemaker.newKey() });
    const run = (make) => () => { make().catch(() => null); close(); images.toTop(); };
    Tastemaker.menu(vary, [
      { group: t("images.vary.group") },
      { label: t("images.vary.seeds"), note: t("images.vary.seeds.note"), run: run(() => images.start("vary", { id: item.id, n: 4, key: Tastemaker.newKey() })) },
      { label: t("images.vary.close"), note: t("images.vary.close.note"), run: run(() => near(CLOSE_STRENGTH)) },
      { label: t("images.vary.free"), note: t("images.vary.free.note"), run: run(() => near(FREE_STRENGTH)) },
    ]);
  }

  function openEnlarge() {
    Tastemaker.menu(enlarge, images.settings.factors(Math.max(item.width || 1, item.height || 1)).filter((factor) => factor > 1).map((factor) => ({ label: t("images.enlarge_n", { n: factor }), note: item.width ? `${item.width * factor} × ${item.height * factor}` : "",
      run: () => { images.start("enlarge", { id: item.id, factor, key: Tastemaker.newKey() }).catch(() => null); close(); images.toTop(); } })));
  }

  function openMore() {
    const at = item;
    Tastemaker.menu(more, [
      { label: t("images.view.reuse"), note: t("images.view.reuse.note"), icon: "sliders", run: () => leaveFor(() => images.reuse(batch, at)) },
      { label: t("images.view.redraw"), note: t("images.view.redraw.note"), icon: "repeat", run: () => redraw(at) },
      { label: t("library.copy_prompt"), icon: "copy", run: () => Tastemaker.copy(at.prompt) },
      { label: t("images.view.link"), icon: "external", run: () => Tastemaker.copy(`${location.origin}${location.pathname}?tab=images&item=${at.id}`) },
      { label: t("images.view.library"), icon: "library", run: () => { close({ write: false }); Tastemaker.navigate("library", { item: at.id }); } },
      { label: t("images.view.trash"), icon: "trash", danger: true, run: () => images.trash([at.id]) },
    ]);
  }

  /** Draw it again and compare every pixel; leaving the picture only stops the asking. */
  async function redraw(at) {
    const mine = {};
    drawing = mine;
    result.of = at.id;
    result.hidden = false;
    clear(result, h("span", {}, t("images.redraw.busy")), h("div", { class: "tm-progress is-unknown" }, h("span", {})));
    try {
      const { job_id: job } = await images.host.act("redraw", { id: at.id });
      Tastemaker.bus.emit("job");
      let state = { done: false };
      while (!state.done && drawing === mine) {
        await new Promise((resolve) => { setTimeout(resolve, 400); });
        state = await images.host.act("redrawn", { job_id: job });
      }
      if (drawing === mine) clear(result, icon(state.identical ? "check" : "warning"), h("span", {}, state.message));
      result.classList.toggle("is-good", Boolean(state.identical));
    } catch { if (drawing === mine) result.hidden = true; }
  }

  function startComparing(other = null) {
    const all = shown();
    const second = other || all[all.findIndex((one) => one.id === item.id) + 1] || all.find((one) => one.id !== item.id);
    if (second) comparing.open(batch, item, second);
  }

  // ------------------------------------------------------------ keys

  /** What the page's key handler passes on while this is open. True when it was used. */
  function key(event) {
    if (comparing.isOn) return comparing.key(event);
    if (/^[1-5]$/.test(event.key)) { control.byKey(Number(event.key)); return true; }
    const keys = { Escape: () => close(), ArrowLeft: () => step(-1), ArrowRight: () => step(1), p: () => pick.hidden || pick.disabled || images.pick(item), c: () => startComparing(), s: () => images.star(item), v: () => openVary(), Delete: () => images.trash([item.id]) };
    if (!keys[event.key]) return false;
    keys[event.key]();
    return true;
  }

  /** The batch has changed: draw it as it is now, or close when the picture is gone. */
  function refresh(found) {
    if (root.hidden || !batch || found.job_id !== batch.job_id) return;
    batch = found;
    const same = batch.items.find((one) => one.id === item.id) || shown()[0];
    if (!same || !same.url) { close(); return; }
    if (same.id !== item.id) Tastemaker.navigate("images", { item: same.id }, { push: false });
    item = same;
    if (comparing.isOn) comparing.refresh(batch);
    else draw();
  }

  return { open, close, refresh, key, compare: (found, one, other) => { open(found, one.id); startComparing(other); }, get id() { return item && item.id; }, get isOpen() { return !root.hidden; } };
};
