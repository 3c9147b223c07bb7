/* The top of the Train page: what the ratings are enough for, the preset, every setting, and Start with the reason when it can't.
   The form is {task, preset, recipe, base, dataset, name, settings}: only what was changed; the rest is the plan's. */
"use strict";

Tastemaker.parts = Tastemaker.parts || {};

/** page: {started(runId), rateMore(task), task()}: the last says that another task was chosen */
Tastemaker.parts.trainForm = (host, page) => {
  const { h, t, icon, clear, keyed, bytes } = Tastemaker;
  const TASKS = ["text", "summary"];
  const PRESETS = ["quick", "balanced", "careful"];
  const METHODS = ["dpo", "kto", "sft"];
  const STORED = "train-form";
  const EMPTY = { task: "text", preset: "balanced", recipe: null, base: null, dataset: null, name: "", settings: {} };

  let form = read();
  let plan = null;
  let bases = [];
  let datasets = [];
  let timer = null;
  let asked = 0;
  let key = Tastemaker.newKey();

  function read() {
    try { return { ...EMPTY, ...JSON.parse(Tastemaker.store.get(STORED) || "{}") }; } catch { return { ...EMPTY }; }
  }

  // ------------------------------------------------------------ parts

  const tasks = h("div", { class: "im-choice tr-tasks", role: "radiogroup", "aria-label": t("train.task"), id: "train-task" }, TASKS.map((name) => h("button", { type: "button", role: "radio", "data-value": name, onclick: () => choose(name) }, t(`train.task.${name}`))));
  const headline = h("h2", { class: "tr-headline", id: "train-headline" }, "…");
  const hint = h("p", { class: "tr-hint" });
  const presets = h("div", { class: "tr-presets", role: "radiogroup", "aria-label": t("train.preset") });
  const start = h("button", { class: "tm-button is-primary", type: "button", "data-action": "start", disabled: true, onclick: run }, icon("train"), h("span", {}, t("train.start")));
  const more = h("button", { class: "tm-button", type: "button", "data-action": "rate", hidden: true, onclick: () => page.rateMore(form.task) }, icon("pen"), h("span", {}));
  const facts = h("p", { class: "tr-facts tm-small" });
  const reasons = h("ul", { class: "tr-reasons", role: "status" });
  const foldTitle = h("span", {}, t("train.settings"));
  const changed = h("span", { class: "tm-badge is-accent", hidden: true });
  const reset = h("button", { class: "tm-link tm-small", type: "button", hidden: true, onclick: () => load({ task: form.task }) }, t("train.settings.reset"));
  const choices = h("div", { class: "tr-choices" });
  const groups = h("div", { class: "tr-groups" });
  const fold = h("details", { class: "tr-fold", id: "train-settings" }, h("summary", {}, foldTitle, changed, icon("chevronDown")), h("div", { class: "tr-fold-body" }, choices, reset, groups));
  const node = h("section", { class: "tr-form tm-card", "aria-label": t("train.new") }, tasks, headline, hint, presets, h("div", { class: "tr-start" }, start, more, facts), reasons, fold);

  /** Writing and summaries have ratings, datasets and versions of their own. */
  function choose(task) {
    if (task === form.task) return;
    set({ task, dataset: null });
    page.task();
  }

  // ------------------------------------------------------------ plan

  function set(changes, { soon = false } = {}) {
    form = { ...form, ...changes };
    Tastemaker.store.set(STORED, JSON.stringify(form));
    key = Tastemaker.newKey();
    clearTimeout(timer);
    timer = setTimeout(ask, soon ? 350 : 0);
  }

  async function ask() {
    const mine = ++asked;
    try {
      const answer = await host.act("plan", { form }, { quiet: true });
      if (mine !== asked) return;
      plan = answer;
    } catch (error) {
      if (mine !== asked) return;
      if (error.code === "not_found" && (form.dataset || form.base)) { set({ dataset: null, base: null }); return; } // deleted since
      if (!plan) { headline.textContent = error.message; return; }
      plan = { ...plan, can_start: false, reasons: [error.message] };
    }
    draw();
  }

  async function run() {
    start.disabled = true;
    try {
      const { run_id: id } = await host.act("start", { form, key });
      set({ name: "" }); // a name is for one training, and so is the click's key
      page.started(id);
    } catch { ask(); } // act has said why
    start.disabled = !plan?.can_start;
  }

  /** Fill the form, from an earlier run's or with nothing. */
  function load(given, { open = false } = {}) {
    const { task } = form;
    set({ ...EMPTY, ...given, settings: { ...(given.settings || {}) } });
    if (form.task !== task) page.task();
    if (open) {
      fold.open = true;
      node.scrollIntoView({ block: "start", behavior: "smooth" });
    }
  }

  // ------------------------------------------------------------ drawing

  function draw() {
    if (!plan) return;
    for (const button of tasks.children) button.setAttribute("aria-checked", String(button.dataset.value === form.task));
    more.lastElementChild.textContent = t(`train.rate_more.${form.task}`);
    headline.textContent = plan.headline;
    hint.textContent = plan.hint;
    drawPresets();
    facts.textContent = [plan.method && t(`train.method.${plan.method}`), plan.base_name, plan.rows && t("train.rows", plan.rows)].filter(Boolean).join(" · ");
    start.disabled = !plan.can_start;
    start.classList.toggle("is-primary", plan.can_start && !plan.is_busy);
    more.classList.toggle("is-primary", !plan.can_start);
    start.lastElementChild.textContent = t(plan.is_busy ? "train.start.queue" : "train.start");
    more.hidden = plan.is_enough;
    clear(reasons, plan.reasons.map((text) => h("li", {}, icon("warning"), h("span", {}, text))));
    const fields = plan.settings.flatMap((group) => group.fields);
    const count = fields.filter(isChanged).length + ["recipe", "base", "dataset"].filter((name) => form[name]).length;
    changed.hidden = !count;
    changed.textContent = t("train.settings.changed", { n: count });
    reset.hidden = !count && !form.name;
    drawChoices();
    drawFields();
  }

  function drawPresets() {
    keyed(presets, PRESETS, (name) => name, (name) => {
      const input = h("input", { type: "radio", name: "train-preset", value: name, class: "tm-visually-hidden", onchange: () => set({ preset: name }) });
      return h("label", { class: "tr-preset", "data-preset": name }, input, h("strong", {}, t(`train.preset.${name}`)), h("span", { class: "tr-preset-note" }, t(`train.preset.${name}.note`)), h("span", { class: "tm-small" }));
    }, (label, name) => {
      const estimate = plan.estimates?.[name];
      label.classList.toggle("is-on", form.preset === name);
      label.firstElementChild.checked = form.preset === name;
      label.lastElementChild.textContent = estimate ? [t("train.about", { time: Tastemaker.duration(estimate.duration_s) }), estimate.memory_bytes ? bytes(estimate.memory_bytes) : ""].filter(Boolean).join(" · ") : "";
    });
  }

  function select(name, label, options) {
    const box = h("select", { class: "tm-select", "data-choice": name, onchange: () => set({ [name]: box.value || null }) }, options.map(([value, text]) => h("option", { value: value || "" }, text)));
    box.value = form[name] || "";
    return h("label", { class: "tr-field" }, h("span", { class: "tr-label" }, label), box);
  }

  function drawChoices() {
    const signature = JSON.stringify([form.recipe, form.base, form.dataset, form.name, plan.suggested, bases, datasets]);
    if (choices.signature === signature || (choices.contains(document.activeElement) && document.activeElement.matches("input"))) return; // what is being typed stays
    choices.signature = signature;
    const name = h("input", { class: "tm-input", type: "text", maxlength: 80, value: form.name, placeholder: t("train.name.example"), oninput: () => set({ name: name.value }, { soon: true }) });
    clear(choices,
      select("recipe", t("train.method"), [["", plan.suggested ? t("train.method.auto", { name: t(`train.method.${plan.suggested}`) }) : t("train.method.any")], ...METHODS.map((one) => [one, t(`train.method.${one}`)])]),
      select("base", t("train.base"), [["", t("train.base.default")], ...bases.map((one) => [one.id, one.name])]),
      select("dataset", t("train.dataset"), [["", t("train.dataset.now")], ...datasets.map((one) => [one.id, one.title])]),
      h("label", { class: "tr-field" }, h("span", { class: "tr-label" }, t("train.name")), name));
  }

  // ------------------------------------------------------------ every setting

  function drawFields() {
    keyed(groups, plan.settings, (group) => group.name, (group) => h("fieldset", { class: "tr-group" }, h("legend", {}, group.label), h("div", { class: "tr-fields" })), (set_, group) => {
      keyed(set_.lastElementChild, group.fields, (field) => field.name, createField, updateField);
    });
  }

  const isChanged = (field) => field.name in form.settings && JSON.stringify(form.settings[field.name]) !== JSON.stringify(field.preset);

  function createField(field) {
    const change = (event) => {
      const value = valueOf(field, event.target);
      const settings = { ...form.settings };
      if (value === undefined) delete settings[field.name];
      else settings[field.name] = value;
      set({ settings }, { soon: true });
    };
    const id = `train-set-${field.name}`;
    const input = field.type === "choice" ? h("select", { class: "tm-select", id, onchange: change })
      : field.type === "bool" ? h("input", { type: "checkbox", class: "tr-check", id, onchange: change })
        : h("input", { type: "text", class: "tm-input", id, spellcheck: "false", autocomplete: "off", inputmode: field.type === "int" || field.type === "float" ? "decimal" : null, oninput: change });
    const undo = h("button", { class: "tm-icon-button", type: "button", hidden: true, "aria-label": t("train.settings.undo"), title: t("train.settings.undo"),
      onclick: () => { const settings = { ...form.settings }; delete settings[field.name]; input.stale = true; set({ settings }); } }, icon("undo"));
    return h("div", { class: "tr-field", "data-setting": field.name }, h("label", { class: "tr-label", for: id }, field.label), h("div", { class: "tr-input" }, input, undo), h("p", { class: "tm-small", id: `${id}-note` }, field.note));
  }

  function updateField(node_, field) {
    const [input, undo] = node_.children[1].children;
    node_.classList.toggle("is-changed", isChanged(field));
    undo.hidden = !isChanged(field);
    input.setAttribute("aria-describedby", `train-set-${field.name}-note`);
    if (field.type === "choice") keyed(input, [...new Set([...field.choices, field.value])], (one) => one, (one) => h("option", { value: one }, one));
    if (document.activeElement === input && !input.stale) return; // what is being typed stays
    input.stale = false;
    const value = field.name in form.settings ? form.settings[field.name] : field.value;
    if (field.type === "bool") input.checked = Boolean(value);
    else input.value = value === null || value === undefined ? "" : Array.isArray(value) ? value.join(", ") : String(value);
  }

  /** What the input says, as the setting's type; text that is no number goes up as text, and Python names the fault. */
  function valueOf(field, input) {
    if (field.type === "bool") return input.checked;
    const text = input.value.trim();
    if (!text) return field.is_optional ? null : undefined;
    if (field.type === "int" || field.type === "float") return Number.isFinite(Number(text)) ? Number(text) : text;
    if (field.type === "list") return text.split(/[,，\s]+/).filter(Boolean);
    return text;
  }

  return {
    node,
    ask,
    load,
    get task() { return form.task; },
    /** What the selects offer. */
    offer(values) { ({ bases, datasets } = values); if (plan) draw(); },
    choose(dataset) { set({ dataset }); fold.open = true; },
  };
};
