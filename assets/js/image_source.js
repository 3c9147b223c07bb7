/* The picture that drawing starts from, and the part of it to make anew: shown under the prompt, kept until it is taken out.
   It is a creation, or a file that was uploaded and lives in the studio's folder for uploads until the studio is started again. */
"use strict";

Tastemaker.parts = Tastemaker.parts || {};

/** images: {host, settings, composer, mask}; `now` is {id or path, url, name, mask: {path, url, share}}. */
Tastemaker.parts.imageSource = (images, box) => {
  const { h, t, icon, store, clear } = Tastemaker;
  const PAINTED_STRENGTH = 0.85; // what is painted is meant to become something else
  let now = null;

  const strength = h("input", { type: "range", min: 0.05, max: 1, step: 0.05, "aria-label": t("images.option.strength"), "data-option": "strength", oninput: () => images.settings.change({ strength: Number(strength.value) }) });
  const strengthText = h("span", { class: "tm-small" });

  // ------------------------------------------------------------ taking one

  function set(next) {
    now = next;
    store.set("image-source", now ? JSON.stringify({ id: now.id, path: now.path, name: now.name }) : null);
    images.changed();
  }

  function fromCreation(id, { url = `/media/${id}`, name = "" } = {}) {
    set({ id, url, name, mask: null });
    images.composer.focus();
  }

  /** Upload and check; resolves with the file's path, or null when it was refused (that has been said). */
  async function upload(file) {
    try {
      const { path } = await images.host.upload(file);
      return path;
    } catch {
      Tastemaker.notice(t("images.not_sent"), { kind: "error" });
      return null;
    }
  }

  /** `answer` is what do_read said of it, if it has been asked. */
  async function fromFile(file) {
    const path = await upload(file);
    const answer = path && await images.host.act("read", { path }).catch(() => null);
    if (answer) fromPath(path, file);
  }

  const fromPath = (path, file) => set({ path, url: URL.createObjectURL(file), name: file.name, mask: null });

  async function paint(start = now) {
    if (!start) return;
    const made = await images.mask.open(start.url, start.mask);
    if (!made) return;
    const path = await upload(new File([made.blob], "mask.png", { type: "image/png" }));
    if (!path) return;
    if (!start.mask && images.settings.values.strength < PAINTED_STRENGTH) images.settings.change({ strength: PAINTED_STRENGTH });
    set({ ...start, mask: { path, url: made.url, strokes: made.strokes, share: made.share } });
    images.composer.focus();
  }

  // ------------------------------------------------------------ for the job

  const options = () => (now ? { ...(now.id ? { init_image: now.id } : {}), strength: images.settings.values.strength } : {});
  const files = () => ({ source: (now && now.path) || null, mask: (now && now.mask && now.mask.path) || null });

  // ------------------------------------------------------------ drawing

  function draw() {
    box.hidden = !now;
    if (!now) { box.signature = null; return; }
    const { values } = images.settings;
    strength.value = values.strength;
    strengthText.textContent = t("images.strength", { n: Math.round(values.strength * 100) });
    const signature = [now.url, now.mask && now.mask.url].join();
    if (box.signature === signature) return;
    box.signature = signature;
    const { mask } = now;
    const action = (name, sign, run) => h("button", { class: "tm-chip", type: "button", "data-action": name, onclick: run }, icon(sign), h("span", {}, t(`images.source.${name}`)));
    clear(box, h("button", { class: "im-source-picture", type: "button", title: t("images.source.paint"), "aria-label": t("images.source.paint"), onclick: () => paint() },
      h("img", { src: now.url, alt: t("images.source"), onerror: () => set(null) }), mask && h("img", { class: "im-source-mask", src: mask.url, alt: "" })),
    h("div", { class: "im-source-body" }, h("strong", {}, mask ? t("images.source_painted", { n: mask.share }) : t("images.source_whole")),
      h("label", { class: "im-source-strength" }, strength, strengthText),
      h("div", { class: "im-source-actions" }, action("paint", "brush", () => paint()), mask && action("unpaint", "eraser", () => set({ ...now, mask: null })))),
    h("button", { class: "tm-icon-button", type: "button", "data-action": "drop-source", "aria-label": t("images.source_remove"), title: t("images.source_remove"), onclick: () => set(null) }, icon("x")));
  }

  /** What was there before the page was loaded again. */
  function recall() {
    try {
      const kept = JSON.parse(store.get("image-source") || "null");
      if (kept && kept.id) now = { ...kept, url: `/media/${kept.id}`, mask: null };
      else if (kept && kept.path) now = { ...kept, url: `${location.pathname.replace(/\/$/, "")}/gradio_api/file=${kept.path}`, mask: null };
    } catch { now = null; }
  }

  recall();
  return { draw, fromCreation, fromFile, fromPath, upload, paint, options, files, put: set, get now() { return now; } };
};
