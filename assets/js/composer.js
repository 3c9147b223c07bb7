/* The prompt and what goes with it: templates, persona, how many at once, sampling settings, Create and Stop.
   What is typed stays in this browser until it has been taken, one draft for each conversation. */
"use strict";

Tastemaker.parts = Tastemaker.parts || {};

Tastemaker.parts.composer = (write, main) => {
  const { h, t, icon, store } = Tastemaker;
  let key = Tastemaker.newKey(); // of the next click; the same one until a job has been made from it
  let isSending = false;
  let timer = null;
  let isTypedAhead = false; // while the conversation it is meant for is still being opened

  // ------------------------------------------------------------ parts

  const prompt = h("textarea", { class: "wr-textarea", rows: 1, dir: "auto", placeholder: t("write.placeholder"), "aria-label": t("write.prompt"),
    oninput: () => { grow(); saveDraft(); drawState(); }, onkeydown: onKey });
  const create = h("button", { class: "tm-button is-primary wr-create", id: "create", type: "button", title: t("write.create_keys"), onclick: send }, icon("send"), h("span", {}, t("write.create")));
  const stop = h("button", { class: "tm-button wr-stop", id: "stop", type: "button", title: t("write.stop_keys"), hidden: true, onclick: () => write.stop() }, icon("stop"), h("span", {}, t("write.stop")));

  const templates = h("button", { class: "tm-chip", type: "button", id: "templates", onclick: showTemplates }, icon("template"), h("span", {}, t("write.templates")));
  const personaName = h("span", { class: "wr-persona-name" });
  const persona = h("button", { class: "tm-chip", type: "button", id: "persona", "aria-haspopup": "menu", onclick: showPersonas }, icon("user"), personaName);
  const count = h("div", { class: "wr-count", role: "radiogroup", id: "candidates", "aria-label": t("write.at_once") }, [1, 2, 3, 4].map((n) => h("button", {
    type: "button", role: "radio", "data-n": n, title: t("write.at_once_n", { n }), onclick: () => setCount(n) }, String(n))));
  count.prepend(icon("cards"));
  const tune = h("button", { class: "tm-icon-button", type: "button", id: "settings-toggle", "aria-expanded": "false", "aria-label": t("write.settings"), title: t("write.settings"),
    onclick: fold }, icon("sliders"));
  const panel = Tastemaker.parts.sampling(write);
  const taste = Tastemaker.parts.taste(write, { getCount, setCount });
  const hint = h("span", { class: "tm-small wr-hint" });

  const box = h("div", { class: "wr-box" }, h("div", { id: "prompt" }, prompt),
    h("div", { class: "wr-tools" }, templates, persona, count, taste.toggle, tune, h("span", { class: "tm-topline-gap" }), hint, stop, create));
  main.append(h("div", { class: "wr-composer" }, panel.node, box, taste.line));
  panel.node.id = "sampling";
  panel.draw(); // the button that shows whether something is changed exists only now

  function fold() {
    panel.node.hidden = !panel.node.hidden;
    tune.setAttribute("aria-expanded", String(!panel.node.hidden));
    if (!panel.node.hidden) panel.node.querySelector("input[type=number]").focus();
  }

  // ------------------------------------------------------------ prompt

  function onKey(event) {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.isComposing) {
      event.preventDefault();
      send();
    } else if (event.key === "Escape") {
      if (!write.job) prompt.blur();
    } else if (event.key === "Tab" && !event.shiftKey && nextBlank()) {
      event.preventDefault();
    }
  }

  /** Templates have [blanks]; Tab goes to the next one. */
  function nextBlank(from = prompt.selectionEnd) {
    const found = /\[[^\]\n]{1,80}\]/g;
    found.lastIndex = from;
    const match = found.exec(prompt.value);
    if (!match) return false;
    prompt.setSelectionRange(match.index, match.index + match[0].length);
    return true;
  }

  function grow() {
    prompt.style.height = "auto";
    prompt.style.height = `${Math.min(prompt.scrollHeight, innerHeight * 0.38)}px`;
  }

  function setText(text, { select = false } = {}) {
    prompt.value = text;
    key = Tastemaker.newKey();
    grow();
    saveDraft();
    drawState();
    prompt.focus();
    if (select) nextBlank(0);
  }

  const draftKey = (id) => `draft:${id || "new"}`;
  function saveDraft() {
    const id = write.wanted;
    isTypedAhead = write.isOpening();
    clearTimeout(timer);
    timer = setTimeout(() => store.set(draftKey(id), prompt.value), 250);
  }
  addEventListener("pagehide", () => {
    if (!write.isOpening() || isTypedAhead) store.set(draftKey(write.wanted), prompt.value);
  });

  /** Another conversation is shown: its draft, its persona. What was typed for it meanwhile, or while a first answer starts, stays. */
  function load() {
    if (!isSending && !isTypedAhead) {
      clearTimeout(timer);
      prompt.value = store.get(draftKey(write.wanted)) || "";
    }
    isTypedAhead = false;
    grow();
    drawPersona();
    drawState();
  }

  async function send() {
    if (isSending || write.job || !prompt.value.trim()) {
      prompt.focus();
      return;
    }
    isSending = true;
    drawState();
    const text = prompt.value;
    if (write.isOpening()) await write.open(write.wanted);
    isSending = !write.isOpening(); // when it could not be opened, that has been said and the prompt stays
    if (!isSending) {
      drawState();
      return;
    }
    const from = write.wanted;
    try {
      await write.start({ prompt: text, options: { ...options(), n: getCount(), ...taste.options() }, key });
      key = Tastemaker.newKey();
      if (prompt.value === text) prompt.value = "";
      store.set(draftKey(from), null);
      store.set(draftKey(write.wanted), prompt.value);
    } catch { /* said already; the prompt stays in the box, and the same key makes a second try the same job */ }
    isSending = false;
    grow();
    drawState();
  }

  function drawState(what) {
    const isWriting = Boolean(write.job);
    stop.hidden = !isWriting;
    stop.disabled = what === "stopping";
    create.hidden = isWriting;
    create.disabled = isSending || !prompt.value.trim();
    const waiting = Tastemaker.status && Tastemaker.status.download;
    hint.textContent = waiting && waiting.fraction !== null ? t("write.model_percent", { percent: Math.round(waiting.fraction * 100) }) : "";
  }
  Tastemaker.bus.on("status", () => drawState());

  // ------------------------------------------------------------ how many, settings

  function getCount() { return Number(store.get("at-once")) || 1; }
  function setCount(n) {
    store.set("at-once", n === 1 ? null : String(n));
    drawCount();
    taste.draw();
  }
  function drawCount() {
    for (const button of count.querySelectorAll("button")) button.setAttribute("aria-checked", String(Number(button.dataset.n) === getCount()));
  }

  /** WriteOptions for the next job, without what is left at its default. */
  function options({ withSeed = true } = {}) {
    return panel.options({ withSeed });
  }

  // ------------------------------------------------------------ templates and personas

  function useTemplate(one) { setText(one.prompt, { select: true }); }

  function showTemplates() {
    const dialog = Tastemaker.dialog(t("write.templates"), h("div", { class: "wr-templates" }, write.config.templates.map((one) => h("button", {
      class: "tm-card th-starter", type: "button", "data-template": one.id, onclick: () => { dialog.close(); useTemplate(one); } }, h("strong", {}, one.title), h("span", {}, one.about)))));
    dialog.classList.add("is-wide");
  }

  const system = () => (write.conversation ? write.conversation.system : write.system);
  let personas = [];

  async function setSystem(text) {
    if (write.conversation) {
      await write.host.act("set_system", { c: write.conversation.id, system: text });
      write.conversation.system = text;
    } else {
      write.system = text;
    }
    drawPersona();
  }

  function drawPersona() {
    const now = system();
    const known = personas.find((one) => one.system === now);
    personaName.textContent = !now ? t("write.no_persona") : known ? known.name : t("write.own_persona");
    persona.classList.toggle("is-on", Boolean(now));
  }

  async function loadPersonas() {
    personas = (await write.host.act("personas", {}, { quiet: true }).catch(() => ({ personas: [] }))).personas;
    drawPersona();
  }

  async function showPersonas() {
    await loadPersonas();
    const now = system();
    Tastemaker.menu(persona, [
      { label: t("write.no_persona"), checked: !now, run: () => setSystem("") },
      ...personas.map((one) => ({ label: one.name, note: one.system.slice(0, 80), checked: one.system === now, run: () => setSystem(one.system) })),
      { group: " " },
      { label: t("write.edit_persona"), icon: "pen", run: editPersona },
      ...personas.filter((one) => one.system === now).map((one) => ({ label: t("write.forget_persona", { name: one.name }), icon: "trash", danger: true,
        run: async () => { personas = (await write.host.act("remove_persona", { id: one.id })).personas; drawPersona(); } })),
    ]);
  }

  function editPersona() {
    const known = personas.find((one) => one.system === system());
    const text = h("textarea", { class: "tm-textarea", rows: 7, dir: "auto", maxlength: 20000, value: system(), placeholder: t("write.system_example"), "aria-label": t("write.system") });
    const name = h("input", { class: "tm-input", maxlength: 80, value: known ? known.name : "", placeholder: t("write.persona_name"), "aria-label": t("write.persona_name") });
    Tastemaker.dialog(t("write.persona"), h("div", { class: "wr-persona" }, h("p", {}, t("write.system_help")), text, h("p", { class: "tm-small" }, t("write.persona_save_help")), name), [
      { label: t("frame.cancel") },
      { label: t("write.use_persona"), primary: true, run: async () => {
        try {
          if (name.value.trim()) personas = (await write.host.act("save_persona", { name: name.value.trim(), system: text.value })).personas;
          await setSystem(text.value.trim());
        } catch { return false; }
        return true;
      } },
    ]);
    text.focus();
  }

  // ------------------------------------------------------------ from the Library

  function restore({ prompt: text, params, seed }) {
    if (text) setText(text);
    if (params) panel.set({ ...params, seed });
  }

  drawCount();
  drawPersona();
  loadPersonas();
  return { load, drawState, options, useTemplate, restore, focus: () => prompt.focus(), setSeed: (seed) => panel.set({ seed }) };
};
