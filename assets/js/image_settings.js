/* How pictures are drawn: the values of the form, kept in this browser, and the drawer that shows those one seldom needs.
   A value of null is the model's own; a chosen seed is used until it is taken out. */
"use strict";

Tastemaker.parts = Tastemaker.parts || {};

/** images: {form, changed()}; `form` is what Python offers (ui/view_images.py: form_view). */
Tastemaker.parts.imageSettings = (images) => {
  const { h, t, icon, store, clear } = Tastemaker;
  const DEFAULTS = { model: null, style: null, n: 4, preset: "balanced", steps: null, guidance: null, scheduler: null, width: null, height: null, seed: "", negative: "", transparent: false, upscale: 1, strength: 0.6 };
  let values = read();

  function read() {
    try { return { ...DEFAULTS, ...JSON.parse(store.get("images") || "{}") }; } catch { return { ...DEFAULTS }; }
  }

  // ------------------------------------------------------------ values

  const models = () => (images.form ? images.form.models : []);
  const model = () => models().find((one) => one.id === values.model) || models().find((one) => one.id === images.form.model) || null;
  const steps = () => values.steps ?? (model()?.presets.find((one) => one.name === values.preset) || { steps: 20 }).steps;
  const size = () => (values.width && values.height ? [values.width, values.height] : model() ? [model().width, model().height] : [512, 512]);

  /** How many times a picture of this size may be enlarged; 1 among them. */
  const factors = (side = Math.max(...size())) => [1, ...images.form.limits.enlarge.filter((factor) => side * factor <= images.form.limits.final_side)];

  const clamp = (value, [low, high], isWhole) => {
    const number = Number(value);
    if (value === "" || value === null || value === undefined || !Number.isFinite(number)) return null;
    return Math.min(high, Math.max(low, isWhole ? Math.round(number) : number));
  };

  function change(changes) {
    values = { ...values, ...changes };
    if ("preset" in changes && !("steps" in changes)) values.steps = null;
    fit();
    store.set("images", JSON.stringify(values));
    draw();
    images.changed();
  }

  /** What the chosen model does not know goes back to its own default. */
  function fit() {
    const now = model();
    if (!now) return;
    const { limits } = images.form;
    if (values.style && !now.styles.some((one) => one.id === values.style)) values.style = null;
    if (values.scheduler && !now.schedulers.includes(values.scheduler)) values.scheduler = null;
    if (!now.can_clear) values.transparent = false;
    values.n = clamp(values.n, [1, limits.pictures], true) ?? DEFAULTS.n;
    values.steps = clamp(values.steps, [1, limits.steps], true);
    values.guidance = clamp(values.guidance, [0, limits.guidance]);
    values.strength = clamp(values.strength, [0.05, 1]) ?? DEFAULTS.strength;
    values.width = clamp(values.width, [limits.side, now.max_side], true);
    values.height = now.is_square ? values.width : clamp(values.height, [limits.side, now.max_side], true);
    if (!values.width || !values.height) values.width = values.height = null;
    if (!factors().includes(values.upscale)) values.upscale = 1;
  }

  /** Options for the next job, without what is left to the model. */
  function options({ withSeed = true } = {}) {
    const found = { n: values.n, preset: values.preset };
    for (const name of ["style", "steps", "guidance", "scheduler", "width", "height"]) if (values[name] !== null) found[name] = values[name];
    if (model()) found.model = model().id;
    if (values.negative.trim() && model()?.has_negative) found.negative = values.negative;
    if (values.transparent) found.transparent = true;
    if (values.upscale > 1) found.upscale = values.upscale;
    if (withSeed && values.seed !== "") found.seed = Number(values.seed);
    return found;
  }

  /** Take over settings of a picture, by the names of the options; everything it does not say goes back to the default. */
  function restore(given, { seed = null } = {}) {
    const known = Object.fromEntries(Object.entries(given).filter(([name, value]) => name in DEFAULTS && name !== "n" && value !== null && value !== undefined));
    if (known.model && !models().some((one) => one.id === known.model)) delete known.model;
    const wanted = seed ?? given.seed;
    change({ ...DEFAULTS, n: values.n, model: values.model, ...known, seed: wanted === null || wanted === undefined ? "" : String(wanted) });
  }

  // ------------------------------------------------------------ fields

  const field = (name, control, help = null) => h("div", { class: "im-field", "data-field": name }, h("span", { class: "im-field-name", id: `im-field-${name}` }, t(`images.option.${name}`)), control,
    help && h("span", { class: "tm-small" }, help));

  function numberField(name, { min, max, step, help }) {
    const number = h("input", { class: "tm-input", type: "number", min, max, step, "data-option": name, "aria-labelledby": `im-field-${name}`, onchange: () => change({ [name]: number.value === "" ? null : Number(number.value) }) });
    const range = h("input", { type: "range", min, max, step, tabindex: -1, "aria-hidden": "true", oninput: () => change({ [name]: Number(range.value) }) });
    return { node: field(name, h("div", { class: "im-field-row" }, range, number), help), set: (value) => { number.value = value; range.value = value; },
      bound: (top) => { number.max = top; range.max = Math.min(top, 60); } };
  }

  const choice = (name, entries, now, run) => h("div", { class: "im-choice", role: "radiogroup", "aria-labelledby": `im-field-${name}` }, entries.map(([value, label, title]) => h("button", {
    type: "button", role: "radio", "aria-checked": String(value === now), "data-value": value, title: title || null, onclick: () => run(value) }, label)));

  const modelBox = h("div", {});
  const sizeBox = h("div", {});
  const samplerBox = h("div", {});
  const clearBox = h("div", {});
  const enlargeBox = h("div", {});
  const stepsField = numberField("steps", { min: 1, max: 150, step: 1, help: t("images.option.steps.help") });
  const guidanceField = numberField("guidance", { min: 0, max: 30, step: 0.5, help: t("images.option.guidance.help") });
  const seed = h("input", { class: "tm-input", inputmode: "numeric", pattern: "[0-9]*", "data-option": "seed", placeholder: t("images.seed_random"), "aria-labelledby": "im-field-seed",
    onchange: () => change({ seed: seed.value.replace(/\D/g, "").slice(0, 15) }) });
  const roll = h("button", { class: "tm-icon-button", type: "button", "aria-label": t("images.seed_new"), title: t("images.seed_new"), "data-action": "roll", onclick: () => change({ seed: String(Math.floor(Math.random() * 2 ** 31)) }) }, icon("dice"));
  const drop = h("button", { class: "tm-icon-button", type: "button", "aria-label": t("images.seed_random"), title: t("images.seed_random"), "data-action": "unseed", onclick: () => change({ seed: "" }) }, icon("x"));
  const reset = h("button", { class: "tm-link", type: "button", "data-action": "reset", onclick: () => change({ ...DEFAULTS, n: values.n, style: values.style, negative: values.negative, model: values.model }) }, t("images.option.reset"));
  const close = h("button", { class: "tm-icon-button", type: "button", "aria-label": t("frame.close"), title: t("frame.close"), onclick: () => fold(false) }, icon("x"));
  const node = h("aside", { class: "im-drawer", id: "image-settings", "aria-label": t("images.settings"), hidden: true },
    h("header", { class: "im-drawer-head" }, h("h2", {}, t("images.settings")), close),
    h("div", { class: "im-drawer-body" }, modelBox, sizeBox, stepsField.node, guidanceField.node, samplerBox, field("seed", h("div", { class: "im-field-row" }, seed, roll, drop), t("images.option.seed.help")), clearBox, enlargeBox, reset));
  node.addEventListener("keydown", (event) => { if (event.key === "Escape") { event.stopPropagation(); fold(false); } });

  function drawModel() {
    const now = model();
    if (!now || models().length < 2) { clear(modelBox); return; }
    const select = h("select", { class: "tm-select", "data-option": "model", "aria-labelledby": "im-field-model", onchange: () => images.useModel(select.value) },
      models().map((one) => h("option", { value: one.id }, one.name)));
    select.value = now.id;
    clear(modelBox, field("model", select));
  }

  function drawSize() {
    const now = model();
    const [width, height] = size();
    const names = now.sizes.map(([w, tall]) => [`${w}x${tall}`, w === tall ? String(w) : `${w} × ${tall}`, `${w} × ${tall}`]);
    const pick = (value) => { const [w, tall] = value.split("x").map(Number); change({ width: w, height: tall }); };
    const own = (name, value, label) => {
      const input = h("input", { class: "tm-input", type: "number", min: images.form.limits.side, max: now.max_side, step: 8, value, "data-option": name, "aria-label": label, onchange: () => change(now.is_square ? { width: Number(input.value), height: Number(input.value) } : { width, height, [name]: Number(input.value) }) });
      return input;
    };
    clear(sizeBox, field("size", h("div", { class: "im-size" }, choice("size", names, `${width}x${height}`, pick),
      h("div", { class: "im-field-row" }, own("width", width, t("images.option.width")), now.is_square ? null : [h("span", { class: "tm-small" }, "×"), own("height", height, t("images.option.height"))]))));
  }

  function drawSampler() {
    const now = model();
    const select = h("select", { class: "tm-select", "data-option": "scheduler", "aria-labelledby": "im-field-scheduler", onchange: () => change({ scheduler: select.value }) }, now.schedulers.map((name) => h("option", { value: name }, name)));
    select.value = values.scheduler || now.schedulers[0] || "";
    clear(samplerBox, field("scheduler", select, t("images.option.scheduler.help")));
  }

  function drawSwitches() {
    const now = model();
    const on = h("input", { type: "checkbox", class: "im-check", checked: values.transparent, "data-option": "transparent", onchange: () => change({ transparent: on.checked }) });
    clear(clearBox, now.can_clear ? h("label", { class: "im-switch" }, on, h("span", {}, t("images.option.transparent"))) : null);
    clear(enlargeBox, field("upscale", choice("upscale", factors().map((factor) => [factor, factor === 1 ? t("images.enlarge_no") : `${factor}×`]), values.upscale, (factor) => change({ upscale: factor }))));
  }

  function draw() {
    if (!model()) return;
    const focused = node.contains(document.activeElement) ? document.activeElement.dataset.option || document.activeElement.dataset.value : null;
    drawModel();
    drawSize();
    stepsField.bound(images.form.limits.steps);
    stepsField.set(steps());
    guidanceField.set(values.guidance ?? model().guidance);
    drawSampler();
    if (document.activeElement !== seed) seed.value = values.seed;
    else if (values.seed !== seed.value) seed.value = values.seed;
    drop.hidden = values.seed === "";
    drawSwitches();
    if (focused && !node.contains(document.activeElement)) node.querySelector(`[data-option="${CSS.escape(focused)}"], [data-value="${CSS.escape(focused)}"]`)?.focus();
    node.dataset.changed = String(isChanged());
  }

  const isChanged = () => ["steps", "guidance", "scheduler", "width"].some((name) => values[name] !== null) || values.seed !== "" || values.transparent || values.upscale > 1;

  function fold(open = node.hidden) {
    node.hidden = !open;
    document.documentElement.toggleAttribute("data-image-settings", open);
    const toggle = document.getElementById("image-settings-toggle");
    toggle?.setAttribute("aria-expanded", String(open));
    if (open) node.querySelector("select, input")?.focus({ preventScroll: true });
    else toggle?.focus({ preventScroll: true });
  }

  return { node, draw: () => { fit(); draw(); }, change, factors, restore, options, fold, model, steps, isChanged, get values() { return values; } };
};
