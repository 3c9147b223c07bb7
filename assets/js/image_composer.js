/* The prompt of the Images page and what goes with it: styles, what to leave out, a picture to start from, how many, how carefully.
   What is typed stays in this browser until other words take its place: pictures are often made again with a word changed. */
"use strict";

Tastemaker.parts = Tastemaker.parts || {};

Tastemaker.parts.imageComposer = (images, main) => {
  const { h, t, icon, store, clear } = Tastemaker;
  const COUNTS = [1, 2, 4, 8];
  const PRESETS = ["fast", "balanced", "fine"];
  const EXPAND_MS = 300;
  const { settings } = images;
  const keys = new Map(); // what is being asked → its key, until a job has been made from it: a second try is the same job
  let timer = null;
  let expanding = null; // {job, before}
  let before = null; // the prompt as it was before the text model added to it
  let keyTimer = null;

  // ------------------------------------------------------------ parts

  const prompt = h("textarea", { class: "wr-textarea", rows: 1, dir: "auto", placeholder: t("images.placeholder"), "aria-label": t("images.prompt"), oninput: typed, onkeydown: onKey });
  const negative = h("textarea", { class: "im-negative", rows: 1, dir: "auto", placeholder: t("images.negative"), "aria-label": t("images.negative"), id: "image-negative",
    oninput: () => { grow(negative); clearTimeout(keyTimer); keyTimer = setTimeout(() => settings.change({ negative: negative.value }), 200); },
    onblur: () => { clearTimeout(keyTimer); if (settings.values.negative !== negative.value) settings.change({ negative: negative.value }); }, onkeydown: onKey });
  const without = h("div", { class: "im-without", hidden: true }, icon("minus"), negative);
  const create = h("button", { class: "tm-button is-primary wr-create", id: "image-create", type: "button", title: t("images.create_keys"), onclick: send }, icon("send"), h("span", {}, t("images.create")));

  const tool = (id, sign, label, run, extra = {}) => h("button", { class: "tm-icon-button", type: "button", id, "aria-label": label, title: label, onclick: run, ...extra }, icon(sign));
  const chooser = h("input", { type: "file", accept: "image/png,image/jpeg,image/webp,image/gif,image/bmp", class: "tm-visually-hidden", tabindex: -1, id: "image-file", "aria-hidden": "true",
    onchange: () => { if (chooser.files[0]) images.source.fromFile(chooser.files[0]); chooser.value = ""; } });
  const pick = tool("image-pick", "picture", t("images.source_pick"), () => chooser.click());
  const expand = tool("image-expand", "wand", t("images.expand"), startExpanding);
  const undo = h("button", { class: "tm-chip", type: "button", id: "image-unexpand", hidden: true, onclick: takeBack }, icon("undo"), h("span", {}, t("images.expand_undo")));
  const leave = tool("image-without", "minus", t("images.negative_open"), () => showNegative(without.hidden), { "aria-expanded": "false" });
  const tune = tool("image-settings-toggle", "sliders", t("images.settings"), () => settings.fold(), { "aria-expanded": "false", "aria-controls": "image-settings" });

  const radios = (id, label, names, run, text, title) => {
    const node = h("div", { class: "wr-count im-radio", role: "radiogroup", id, "aria-label": label }, names.map((name) => h("button", { type: "button", role: "radio", "data-value": name, title: title(name), onclick: () => run(name) }, text(name))));
    node.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      const all = [...node.querySelectorAll("button")];
      const next = step && all[(all.indexOf(document.activeElement) + step + all.length) % all.length];
      if (next) { event.preventDefault(); next.focus(); next.click(); }
    });
    return node;
  };
  const count = radios("image-count", t("images.count"), COUNTS, (n) => settings.change({ n }), String, (n) => t("images.count_n", { n }));
  const preset = radios("image-preset", t("images.preset"), PRESETS, (name) => settings.change({ preset: name }), (name) => t(`images.preset.${name}`), () => "");

  const styles = h("div", { class: "im-styles", role: "radiogroup", "aria-label": t("images.styles"), id: "image-styles" });
  styles.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const all = [...styles.children];
    const next = step && all[(all.indexOf(document.activeElement) + step + all.length) % all.length];
    if (next) { event.preventDefault(); next.focus(); next.click(); }
  });
  const missing = h("div", { class: "im-missing tm-card", id: "image-missing", role: "status", hidden: true });
  const sourceBox = h("div", { class: "im-source", id: "image-source", hidden: true });
  const box = h("div", { class: "wr-box im-box" }, h("div", { id: "image-prompt" }, prompt), without, sourceBox,
    h("div", { class: "wr-tools im-tools" }, pick, expand, leave, undo, count, preset, tune, h("span", { class: "tm-topline-gap" }), create), chooser);
  main.append(h("div", { class: "im-composer" }, missing, box, styles));
  images.source = Tastemaker.parts.imageSource(images, sourceBox);

  // ------------------------------------------------------------ prompt

  function typed() {
    grow(prompt);
    before = null;
    drawState();
    clearTimeout(timer);
    timer = setTimeout(save, 250);
  }
  const save = () => store.set("draft:images", prompt.value);
  addEventListener("pagehide", save);

  function onKey(event) {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.isComposing) {
      event.preventDefault();
      send();
    } else if (event.altKey && (event.key === "ArrowUp" || event.key === "ArrowDown") && event.target === prompt && !expanding) {
      event.preventDefault();
      recall(event.key === "ArrowUp" ? 1 : -1);
    } else if (event.key === "Escape") {
      if (expanding) stopExpanding();
      else if (!images.job) event.target.blur();
    }
  }

  let recalled = null; // {at, text}: which of the earlier prompts is shown, and what was typed before

  /** Alt+Up and Alt+Down go through earlier prompts, and back to what was typed. */
  function recall(by) {
    const earlier = [...new Set(images.batches.map((batch) => batch.prompt))].filter(Boolean);
    if (!recalled || prompt.value !== recalled.shown) recalled = { at: -1, text: prompt.value };
    const at = Math.max(-1, Math.min(earlier.length - 1, recalled.at + by));
    const shown = at < 0 ? recalled.text : earlier[at];
    recalled = { ...recalled, at, shown };
    setText(shown);
  }

  function grow(area) {
    area.style.height = "auto";
    area.style.height = `${Math.min(area.scrollHeight, innerHeight * 0.3)}px`;
  }

  function setText(text) {
    prompt.value = text;
    before = null;
    grow(prompt);
    save();
    drawState();
  }

  function showNegative(open) {
    without.hidden = !open;
    leave.setAttribute("aria-expanded", String(open));
    if (open) { grow(negative); negative.focus(); } else if (negative.value) { negative.value = ""; settings.change({ negative: "" }); }
  }

  // ------------------------------------------------------------ drawing pictures

  /** A click while the last one is still on its way is taken when it asks for something else. */
  async function send() {
    if (expanding || !settings.model() || !prompt.value.trim()) {
      prompt.focus();
      return;
    }
    clearTimeout(keyTimer);
    if (settings.values.negative !== negative.value && !without.hidden) settings.change({ negative: negative.value });
    const asked = { prompt: prompt.value, options: { ...settings.options(), ...images.source.options() }, ...images.source.files() };
    const signature = JSON.stringify(asked);
    if (keys.get(signature)?.isSending) return;
    const click = { key: keys.get(signature)?.key || Tastemaker.newKey(), isSending: true };
    keys.set(signature, click);
    before = null;
    drawState();
    try {
      await images.start("imagine", { ...asked, key: click.key });
      keys.delete(signature);
    } catch { click.isSending = false; /* said already; the prompt stays in the box, and a second try carries the same key */ }
    drawState();
  }

  // ------------------------------------------------------------ more detail, by the text model

  async function startExpanding() {
    if (expanding || !prompt.value.trim()) { prompt.focus(); return; }
    const mine = { before: prompt.value, job: null, isStopped: false };
    expanding = mine;
    prompt.readOnly = true;
    drawState();
    try {
      mine.job = (await images.host.act("expand", { prompt: mine.before, key: Tastemaker.newKey() })).job_id;
      Tastemaker.bus.emit("job");
      let state = { done: false };
      while (!state.done && !mine.isStopped) {
        await new Promise((resolve) => { setTimeout(resolve, EXPAND_MS); });
        state = await images.host.act("expanded", { job_id: mine.job });
        if (state.text && !mine.isStopped) { prompt.value = state.text; grow(prompt); }
      }
      if (state.error) Tastemaker.notice(state.error, { kind: "error" });
      endExpanding(mine, state.ok && !mine.isStopped ? state.text : mine.before);
    } catch { endExpanding(mine, mine.before); }
  }

  function endExpanding(mine, text) {
    if (expanding !== mine) return;
    expanding = null;
    prompt.readOnly = false;
    setText(text);
    before = text === mine.before ? null : mine.before;
    drawState();
    prompt.focus();
  }

  function stopExpanding() {
    const mine = expanding;
    mine.isStopped = true;
    if (mine.job) images.host.act("cancel", { job_id: mine.job }, { quiet: true }).catch(() => null);
    endExpanding(mine, mine.before);
  }

  function takeBack() {
    setText(before);
    prompt.focus();
  }

  // ------------------------------------------------------------ drawing the form

  function drawState() {
    create.disabled = Boolean(expanding) || !settings.model() || !prompt.value.trim();
    create.querySelector("span").textContent = t(images.job ? "images.queue_more" : "images.create");
    expand.disabled = !prompt.value.trim();
    expand.classList.toggle("is-on", Boolean(expanding));
    expand.setAttribute("aria-label", t(expanding ? "images.expanding" : "images.expand"));
    undo.hidden = before === null;
    box.classList.toggle("is-expanding", Boolean(expanding));
  }

  function draw() {
    const { values } = settings;
    const model = settings.model();
    missing.hidden = !images.form || !images.form.missing;
    if (!missing.hidden) clear(missing, h("span", {}, images.form.missing), h("button", { class: "tm-button is-primary", type: "button", onclick: () => Tastemaker.navigate("models") }, t("images.open_models")));
    for (const button of count.querySelectorAll("button")) button.setAttribute("aria-checked", String(Number(button.dataset.value) === values.n));
    for (const button of preset.querySelectorAll("button")) {
      const found = model?.presets.find((one) => one.name === button.dataset.value);
      button.setAttribute("aria-checked", String(values.steps === null && button.dataset.value === values.preset));
      button.title = found ? t("images.preset_steps", { n: found.steps }) : "";
    }
    for (const group of [count, preset]) {
      const all = [...group.querySelectorAll("button")];
      const on = all.find((one) => one.getAttribute("aria-checked") === "true") || all[0];
      for (const one of all) one.tabIndex = one === on ? 0 : -1;
    }
    tune.classList.toggle("is-on", settings.isChanged());
    pick.hidden = Boolean(model) && !model.can_start;
    leave.hidden = Boolean(model) && !model.has_negative;
    if (leave.hidden) without.hidden = true;
    if (document.activeElement !== negative && negative.value !== values.negative) negative.value = values.negative;
    if (values.negative && without.hidden && !leave.hidden) { without.hidden = false; leave.setAttribute("aria-expanded", "true"); grow(negative); }
    drawStyles(model, values.style);
    images.source.draw();
    drawState();
  }

  function drawStyles(model, now) {
    styles.hidden = !model || !model.styles.length;
    if (styles.hidden) return;
    const shown = [{ id: "", name: t("images.style_none"), picture: null }, ...model.styles];
    styles.classList.toggle("has-pictures", model.styles.some((one) => one.picture));
    const signature = JSON.stringify(shown);
    if (styles.signature !== signature) {
      styles.signature = signature;
      clear(styles, shown.map((one) => h("button", { class: "im-style", type: "button", role: "radio", "data-style": one.id, title: one.name, onclick: () => settings.change({ style: one.id || null }) },
        one.picture ? h("img", { src: one.picture, alt: "", width: 56, height: 56, loading: "lazy", draggable: "false" }) : h("span", { class: "im-style-blank", "aria-hidden": "true" }, one.id ? "" : icon("x")), h("span", { class: "im-style-name" }, one.name))));
    }
    for (const button of styles.children) {
      const on = button.dataset.style === (now || "");
      const was = button.getAttribute("aria-checked") === "true";
      button.setAttribute("aria-checked", String(on));
      button.tabIndex = on ? 0 : -1;
      if (on && !was) button.scrollIntoView({ block: "nearest", inline: "nearest" });
    }
  }

  prompt.value = store.get("draft:images") || "";
  negative.value = settings.values.negative;
  requestAnimationFrame(() => grow(prompt));
  return { draw, drawState, setText, focus: () => { prompt.focus(); prompt.select(); }, grow: () => grow(prompt), get text() { return prompt.value; } };
};
