/* How to summarise: method, style, length, how many, a question, language, a reference, a seed. Choices save themselves in this browser. */
"use strict";

Tastemaker.parts = Tastemaker.parts || {};

Tastemaker.parts.summaryOptions = (summ) => {
  const { h, t, icon, store, clear } = Tastemaker;
  const DEFAULTS = { methods: ["extractive"], style: "abstract", length: "medium", unit: "words", n: 100, language: "", focus: "", reference: "", model: "", count: 1, seed: "" };
  const LIMITS = { sentences: [1, 200], words: [5, 5000], percent: [1, 90] };
  let values = { ...DEFAULTS };
  try { values = { ...DEFAULTS, ...JSON.parse(store.get("summarize") || "{}") }; } catch { /* another version wrote it */ }

  function change(some) {
    values = { ...values, ...some };
    store.set("summarize", JSON.stringify(values));
    draw();
    summ.changed();
  }

  // ------------------------------------------------------------ parts

  const field = (name, control, ...more) => h("div", { class: "su-field", "data-field": name }, h("span", { class: "su-field-name", id: `su-field-${name}` }, t(`summarize.option.${name}`)), control, ...more);
  const methods = h("div", { class: "im-choice", role: "group", "aria-labelledby": "su-field-method", id: "summary-methods" });
  const about = h("p", { class: "tm-small su-about" });
  const style = h("select", { class: "tm-select", "aria-labelledby": "su-field-style", id: "summary-style", onchange: () => change({ style: style.value }) });
  const lengths = h("div", { class: "im-choice", role: "radiogroup", "aria-labelledby": "su-field-length", id: "summary-length" });
  const number = h("input", { class: "tm-input", type: "number", min: 1, id: "summary-length-n", "aria-label": t("summarize.length.own"), onchange: () => change({ n: bounded(Number(number.value), values.unit) }) });
  const unit = h("select", { class: "tm-select", id: "summary-length-unit", "aria-label": t("summarize.length.unit"), onchange: () => change({ unit: unit.value, n: bounded(values.n, unit.value) }) },
    Object.keys(LIMITS).map((name) => h("option", { value: name }, t(`summarize.unit.${name}`))));
  const own = h("div", { class: "su-own", hidden: true }, number, unit);
  const counts = h("div", { class: "im-choice", role: "radiogroup", "aria-labelledby": "su-field-count", "aria-describedby": "summary-count-about", id: "summary-count" });
  const enough = h("p", { class: "tm-small", id: "summary-count-about", hidden: true }, t("summarize.count_one"));
  const language = h("select", { class: "tm-select", id: "summary-language", "aria-labelledby": "su-field-language", onchange: () => change({ language: language.value }) },
    ["", "en", "zh"].map((code) => h("option", { value: code }, code ? t(`language.${code}`) : t("summarize.same_language"))));
  const focus = h("input", { class: "tm-input", id: "summary-focus", maxlength: 500, dir: "auto", placeholder: t("summarize.focus_example"), "aria-labelledby": "su-field-focus", oninput: () => { values.focus = focus.value; }, onchange: () => change({ focus: focus.value }) });
  const reference = h("textarea", { class: "tm-textarea", id: "summary-reference", rows: 3, maxlength: 50000, dir: "auto", placeholder: t("summarize.reference_example"), "aria-labelledby": "su-field-reference", oninput: () => { values.reference = reference.value; }, onchange: () => change({ reference: reference.value }) });
  const seed = h("input", { class: "tm-input", id: "summary-seed", inputmode: "numeric", pattern: "[0-9]*", placeholder: t("summarize.seed_random"), "aria-labelledby": "su-field-seed", onchange: () => change({ seed: seed.value.replace(/\D/g, "").slice(0, 15) }) });
  const unseed = h("button", { class: "tm-icon-button", type: "button", "data-action": "unseed", "aria-label": t("summarize.seed_random"), title: t("summarize.seed_random"), onclick: () => change({ seed: "" }) }, icon("x"));
  const more = h("details", { class: "su-more" }, h("summary", {}, t("summarize.more")), h("div", { class: "su-more-body" }, field("language", language), field("reference", reference, h("p", { class: "tm-small" }, t("summarize.reference_about"))),
    field("seed", h("div", { class: "su-seed" }, seed, unseed), h("p", { class: "tm-small" }, t("summarize.seed_about")))));
  const create = h("button", { class: "tm-button is-primary", type: "button", id: "summary-create", title: t("summarize.create_keys"), onclick: () => summ.send() }, icon("send"), h("span", {}, t("summarize.create")));
  const missing = h("p", { class: "tm-small su-missing", hidden: true });
  const node = h("div", { class: "su-options" }, field("method", methods, about), h("div", { class: "su-row" }, field("length", h("div", { class: "su-lengths" }, lengths, own)), field("style", style), field("count", counts, enough)), field("focus", focus), more,
    h("div", { class: "su-go" }, missing, h("span", { class: "tm-topline-gap" }), create));

  const bounded = (n, name) => Math.min(LIMITS[name][1], Math.max(LIMITS[name][0], Math.round(n) || DEFAULTS.n));

  // ------------------------------------------------------------ drawing

  /** Several methods may be chosen: their summaries come side by side. One always is. */
  function toggle(name) {
    const on = values.methods.includes(name);
    const next = on ? values.methods.filter((one) => one !== name) : [...values.methods, name];
    if (next.length) change({ methods: summ.form.methods.map((one) => one.id).filter((one) => next.includes(one)) });
  }

  const writes = (method) => method !== "extractive";
  /** How many summaries a method gives: picking sentences comes out the same each time. */
  const countOf = (method) => (writes(method) ? Math.min(values.count, summ.form.most) : 1);

  function draw() {
    if (!summ.form) return;
    const chosen = summ.form.methods.filter((one) => values.methods.includes(one.id));
    if (!methods.children.length) {
      clear(methods, summ.form.methods.map((one) => h("button", { type: "button", "data-value": one.id, title: one.about, onclick: () => toggle(one.id) }, one.name)));
      clear(style, summ.form.styles.map((one) => h("option", { value: one.id }, one.name)));
      clear(lengths, [...summ.form.lengths, { id: "own", name: t("summarize.length.own") }].map((one) => h("button", { type: "button", role: "radio", "data-value": one.id, onclick: () => change({ length: one.id }) }, one.name)));
      clear(counts, Array.from({ length: summ.form.most }, (_, place) => h("button", { type: "button", role: "radio", "data-value": place + 1, onclick: () => change({ count: place + 1 }) }, String(place + 1))));
    }
    for (const button of methods.children) button.setAttribute("aria-pressed", String(values.methods.includes(button.dataset.value)));
    for (const button of lengths.children) button.setAttribute("aria-checked", String(values.length === button.dataset.value));
    const canVary = values.methods.some(writes);
    for (const button of counts.children) { button.disabled = !canVary; button.setAttribute("aria-checked", String((canVary ? values.count : 1) === Number(button.dataset.value))); }
    enough.hidden = canVary;
    const total = chosen.reduce((sum, method) => sum + countOf(method.id), 0);
    about.textContent = total > 1 ? t("summarize.side_by_side", { n: total }) : chosen.map((method) => method.about).join("");
    style.value = values.style;
    own.hidden = values.length !== "own";
    number.value = values.n;
    unit.value = values.unit;
    language.value = values.language;
    seed.value = values.seed;
    unseed.hidden = values.seed === "";
    if (document.activeElement !== focus) focus.value = values.focus;
    if (document.activeElement !== reference) reference.value = values.reference;
    drawState();
  }

  function drawState() {
    if (!summ.form) return;
    missing.hidden = !(values.methods.some(writes) && !summ.form.model);
    missing.textContent = missing.hidden ? "" : t("summarize.no_model");
    create.disabled = !missing.hidden || !summ.canSend();
    create.querySelector("span").textContent = t(summ.turn ? "summarize.another" : "summarize.create");
  }

  const options = (method) => ({ method, style: values.style, length: values.length === "own" ? { [values.unit]: bounded(values.n, values.unit) } : values.length, language: values.language || null, focus: values.focus, reference: values.reference, n: countOf(method), seed: values.seed === "" ? null : Number(values.seed) });

  return { node, draw, drawState, options, change, get methods() { return values.methods.filter((one) => summ.form.methods.some((other) => other.id === one)); } };
};
