/* Sampling settings: folded away, sane defaults, kept in this browser. A chosen seed is used until it is taken out. */
"use strict";

Tastemaker.parts = Tastemaker.parts || {};

Tastemaker.parts.sampling = (write) => {
  const { h, t, icon, store } = Tastemaker;
  const { defaults } = write.config;
  const FIELDS = [
    { name: "temperature", min: 0, max: 2, step: 0.05 },
    { name: "max_new_tokens", min: 16, max: 4096, step: 16 },
    { name: "top_p", min: 0.05, max: 1, step: 0.01 },
    { name: "top_k", min: 0, max: 200, step: 1 },
    { name: "repetition_penalty", min: 0.8, max: 1.6, step: 0.01 },
  ];
  let values = read();

  function read() {
    try { return { ...defaults, stop: "", seed: "", ...JSON.parse(store.get("sampling") || "{}") }; } catch { return { ...defaults, stop: "", seed: "" }; }
  }

  const inputs = {};
  const fields = FIELDS.map(({ name, min, max, step }) => {
    const number = h("input", { class: "tm-input", type: "number", min, max, step, "data-option": name, "aria-label": t(`write.option.${name}`), onchange: () => change(name, number.value) });
    const range = h("input", { type: "range", min, max, step, tabindex: -1, "aria-hidden": "true", oninput: () => change(name, range.value) });
    inputs[name] = [number, range];
    return h("label", { class: "wr-field" }, h("span", { class: "wr-field-name" }, t(`write.option.${name}`)), h("span", { class: "wr-field-row" }, range, number),
      h("span", { class: "tm-small" }, t(`write.option.${name}.help`)));
  });
  const seed = h("input", { class: "tm-input", inputmode: "numeric", pattern: "[0-9]*", "data-option": "seed", placeholder: t("write.seed_random"), "aria-label": t("write.option.seed"), onchange: () => change("seed", seed.value.replace(/\D/g, "")) });
  const dropSeed = h("button", { class: "tm-icon-button", type: "button", "aria-label": t("write.seed_random"), title: t("write.seed_random"), onclick: () => change("seed", "") }, icon("x"));
  const stop = h("input", { class: "tm-input", "data-option": "stop", placeholder: t("write.option.stop.example"), "aria-label": t("write.option.stop"), onchange: () => change("stop", stop.value) });
  const node = h("div", { class: "wr-panel tm-card", hidden: true },
    h("div", { class: "wr-fields" }, fields,
      h("label", { class: "wr-field" }, h("span", { class: "wr-field-name" }, t("write.option.seed")), h("span", { class: "wr-field-row" }, seed, dropSeed), h("span", { class: "tm-small" }, t("write.option.seed.help"))),
      h("label", { class: "wr-field" }, h("span", { class: "wr-field-name" }, t("write.option.stop")), h("span", { class: "wr-field-row" }, stop), h("span", { class: "tm-small" }, t("write.option.stop.help")))),
    h("button", { class: "tm-link", type: "button", onclick: () => set({ ...defaults, stop: "", seed: "" }) }, t("write.option.reset")));

  function change(name, value) {
    if (name in defaults) {
      const field = FIELDS.find((one) => one.name === name);
      const wanted = Number(value);
      values[name] = Number.isFinite(wanted) && value !== "" ? Math.min(field.max, Math.max(field.min, wanted)) : defaults[name];
    } else {
      values[name] = String(value);
    }
    keep();
  }

  function set(changes) {
    for (const [name, value] of Object.entries(changes)) {
      if (name === "stop" && Array.isArray(value)) values.stop = value.join(", ");
      else if (name in values && value !== undefined && value !== null) values[name] = name in defaults ? Number(value) : String(value);
    }
    keep();
  }

  function keep() {
    store.set("sampling", JSON.stringify(values));
    draw();
  }

  function draw() {
    for (const [name, pair] of Object.entries(inputs)) for (const input of pair) input.value = values[name];
    seed.value = values.seed;
    stop.value = values.stop;
    dropSeed.hidden = values.seed === "";
    const changed = Object.keys(defaults).some((name) => values[name] !== defaults[name]) || values.seed !== "" || values.stop !== "";
    node.dataset.changed = String(changed);
    document.getElementById("settings-toggle")?.classList.toggle("is-on", changed);
  }

  function options({ withSeed }) {
    const found = Object.fromEntries(Object.keys(defaults).map((name) => [name, values[name]]));
    const texts = values.stop.split(",").map((text) => text.trim().replaceAll("\\n", "\n")).filter(Boolean).slice(0, 8);
    if (texts.length) found.stop = texts;
    if (withSeed && values.seed !== "") found.seed = Number(values.seed);
    return found;
  }

  draw();
  return { node, options, set, draw };
};
