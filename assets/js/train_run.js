/* One run as a monitor: phases, time left, charts, answers before and after, log and facts. Draws what train.js has collected;
   asks Python only through the page's actions. */
"use strict";

Tastemaker.parts = Tastemaker.parts || {};

/** 204 → "3 min", 42 → "42 s", 8100 → "2 h 15 min". */
Tastemaker.duration = (seconds) => {
  const { t } = Tastemaker;
  if (seconds < 90) return t("train.seconds", { n: Math.max(1, Math.round(seconds)) });
  const minutes = Math.round(seconds / 60);
  if (minutes < 100) return t("train.minutes", { n: minutes });
  return [t("train.hours", { n: Math.floor(minutes / 60) }), minutes % 60 ? t("train.minutes", { n: minutes % 60 }) : ""].filter(Boolean).join(" ");
};

/** page: {act(type, run), again(run), compare(run), overlays() → [run]} where a run is {view, rows, samples, log, alarms, color}. */
Tastemaker.parts.trainRun = (host, page) => {
  const { h, t, icon, clear, keyed, bytes } = Tastemaker;
  const PHASES = ["load", "prepare", "train", "evaluate", "save"];
  const percent = (value) => t("frame.percent", { n: Math.round(value * 100) });
  const LOG_LINES = 400;
  const NEVER = { accuracy: ["sft", "kto"], margin: ["sft"] }; // charts that these ways of learning have no figures for

  let run = null;
  let smoothing = Number(Tastemaker.store.get("train-smoothing") || 0.6);
  let isLog = Tastemaker.store.get("train-log") === "1";
  let step = null; // whose samples are shown; null = the newest

  // ------------------------------------------------------------ parts

  const title = h("h2", { class: "tr-title" });
  const badge = h("span", { class: "tm-badge tr-state" });
  const line = h("p", { class: "tr-progress-line", role: "status" });
  const buttons = h("div", { class: "tr-buttons" });
  const phases = h("ol", { class: "tr-phases", "aria-label": t("train.phases") });
  const bar = h("span", {});
  const progress = h("div", { class: "tm-progress", role: "progressbar", "aria-label": t("train.progress"), "aria-valuemin": 0, "aria-valuemax": 100 }, bar);
  const notes = h("div", { class: "tr-notes" });
  const slider = h("input", { type: "range", min: 0, max: 0.95, step: 0.05, value: smoothing, id: "train-smoothing", oninput: () => { smoothing = Number(slider.value); Tastemaker.store.set("train-smoothing", slider.value); drawCharts(); } });
  const logButton = h("button", { class: "tm-chip", type: "button", "aria-pressed": String(isLog), "data-action": "log", onclick: () => { isLog = !isLog; Tastemaker.store.set("train-log", isLog ? "1" : "0"); logButton.setAttribute("aria-pressed", String(isLog)); drawCharts(); } }, t("train.chart.log"));
  const overlaid = h("div", { class: "tr-overlaid" });
  const toolbar = h("div", { class: "tr-toolbar" }, h("label", { class: "tr-smooth", for: "train-smoothing" }, h("span", {}, t("train.chart.smoothing")), slider), logButton, overlaid);
  const charts = {
    loss: Tastemaker.chart({ name: "loss", title: t("train.chart.loss") }),
    accuracy: Tastemaker.chart({ name: "accuracy", title: t("train.chart.accuracy"), format: percent, range: [0, 1], guide: 0.5 }),
    margin: Tastemaker.chart({ name: "margin", title: t("train.chart.margin"), floor: 0 }),
    speed: Tastemaker.chart({ name: "speed", title: t("train.chart.speed"), floor: 0 }),
    memory: Tastemaker.chart({ name: "memory", title: t("train.chart.memory"), format: bytes, floor: 0, small: true }),
    cpu: Tastemaker.chart({ name: "cpu", title: t("train.chart.cpu"), format: (value) => percent(value / 100), floor: 0, small: true }),
    rate: Tastemaker.chart({ name: "learning_rate", title: t("train.chart.rate"), floor: 0, small: true }),
    perplexity: Tastemaker.chart({ name: "perplexity", title: t("train.chart.perplexity"), small: true }),
  };
  const chartBox = h("div", { class: "charts tr-charts" }, ["loss", "accuracy", "margin", "speed"].map((name) => charts[name].node));
  const smallBox = h("div", { class: "charts tr-charts is-small" }, ["memory", "cpu", "rate", "perplexity"].map((name) => charts[name].node));
  const stepBar = h("div", { class: "tr-steps" });
  const samples = h("div", { class: "tr-samples" });
  const sampleBox = h("section", { class: "tr-part", "aria-labelledby": "train-samples" }, h("div", { class: "tr-part-head" }, h("h3", { id: "train-samples" }, t("train.samples")), stepBar), samples);
  const log = h("pre", { class: "tr-log", tabindex: "0" });
  const logFold = h("details", { class: "tr-fold", id: "train-log", ontoggle: () => { if (logFold.open) drawLog(); } }, h("summary", {}, h("span", {}, t("train.log")), h("span", { class: "tm-small" }), icon("chevronDown")), log);
  const facts = h("div", { class: "tr-fold-body" });
  const factFold = h("details", { class: "tr-fold", id: "train-facts" }, h("summary", {}, h("span", {}, t("train.facts")), icon("chevronDown")), facts);
  const node = h("section", { class: "tr-run tm-card", id: "train-run", hidden: true, "aria-label": t("train.run") },
    h("header", { class: "tr-run-head" }, h("div", { class: "tr-run-title" }, title, badge), buttons), phases, progress, line, notes, toolbar, chartBox, smallBox, sampleBox, logFold, factFold);

  // ------------------------------------------------------------ head

  function draw(shown) {
    const isOther = !run || !shown || run.view.id !== shown.view.id;
    run = shown;
    node.hidden = !run;
    if (!run) return;
    if (isOther) { step = null; clear(samples); factFold.signature = null; }
    const { view } = run;
    node.dataset.run = view.id;
    node.dataset.status = view.status;
    node.parentElement?.toggleAttribute("data-live", view.is_live);
    title.textContent = view.title;
    badge.textContent = t(`train.status.${view.stopping ? "stopping" : view.waiting ? "waiting" : view.status}`);
    badge.className = `tm-badge tr-state is-${view.status}`;
    drawButtons();
    drawPhases();
    drawNotes();
    drawCharts();
    drawSamples();
    drawLog();
    drawFacts();
  }

  function drawButtons() {
    const { view } = run;
    const wanted = [...view.actions, "again", "copy", "compare", ...(run.rows.length > 1 ? ["picture"] : [])];
    const signs = { stop: "stop", resume: "forward", cancel: "x", evaluate: "arena", arena: "arena", promote: "check", copy: "copy", picture: "download", compare: "train", again: "retry" };
    const main = ["resume", "evaluate", "arena", "promote"];
    // A button stays when another run is shown: what it acts on is the run that is shown when it is pressed.
    const act = (name, button) => {
      if (name === "again") page.again(run);
      else if (name === "compare") page.compare(run, button);
      else if (name === "copy") Tastemaker.copy(JSON.stringify(run.view.form, null, 2));
      else page.act(name, run.view, button);
    };
    keyed(buttons, wanted, (name) => name, (name) => {
      const button = h("button", { class: `tm-button${main.includes(name) ? " is-primary" : ""}`, type: "button", "data-action": name, title: Tastemaker.has(`train.do.${name}.note`) ? t(`train.do.${name}.note`) : null, onclick: () => act(name, button) }, icon(signs[name]), h("span", {}, t(`train.do.${name}`)));
      return button;
    });
  }

  function drawPhases() {
    const { view } = run;
    const now = PHASES.indexOf(view.phase);
    const isOver = view.status === "done";
    keyed(phases, PHASES, (name) => name, (name) => h("li", {}, h("i", { "aria-hidden": "true" }), h("span", {}, t(`train.phase.${name}`))), (item, name) => {
      const at = PHASES.indexOf(name);
      const state = isOver || at < now ? "done" : at === now ? (view.is_live ? "now" : "ended") : "later";
      item.className = `is-${state}`;
      item.setAttribute("aria-current", state === "now" ? "step" : "false");
    });
    const part = isOver ? 1 : view.fraction;
    progress.classList.toggle("is-unknown", view.is_live && view.status === "running" && part === null);
    bar.style.width = `${Math.round((part || 0) * 100)}%`;
    progress.setAttribute("aria-valuenow", Math.round((part || 0) * 100));
    const words = [];
    if (view.status === "queued") words.push(t("train.queued"));
    else if (view.is_live && view.phase) words.push(t(view.is_looking ? "train.looking" : `train.phase.${view.phase}`));
    if (view.is_live && part !== null && view.total) words.push(t(view.phase === "prepare" ? "train.part_of" : "train.step_of", { step: view.step, total: view.total }), percent(part));
    if (view.is_live && view.eta_s) words.push(t("train.left", { time: Tastemaker.duration(view.eta_s) }));
    if (!view.is_live) words.push(view.outcome);
    if (view.duration_s) words.push(t("train.took", { time: Tastemaker.duration(view.duration_s) }));
    if (view.machine) words.push(view.machine);
    line.textContent = words.filter(Boolean).join(" · ");
  }

  function drawNotes() {
    const { view } = run;
    const found = [];
    if (view.error) found.push(["bad", "warning", view.error]);
    if (view.stopping) found.push(["calm", "stop", t("train.stopping")]);
    else if (view.short) found.push(["calm", "cpu", t("train.short")]);
    else if (view.waiting) found.push(["calm", "pen", t("train.waiting")]);
    found.push(...run.alarms.map((one) => ["care", "warning", one.text]));
    if (view.marks) found.push(["care", "warning", t("train.marks", { n: view.marks })]);
    keyed(notes, found, (one) => one.join(), ([kind, sign, text]) => h("p", { class: `tr-note is-${kind}`, role: kind === "calm" ? "status" : "alert" }, icon(sign), h("span", {}, text)));
  }

  // ------------------------------------------------------------ charts

  const series = (one, name) => one.rows.filter((row) => Number.isFinite(row[name])).map((row) => [row.step, row[name]]);

  /** Lines of one chart for the run and those laid over it. figures: [[field, word, color, dots, faint]]. */
  function linesOf(figures) {
    const all = [run, ...page.overlays(run)];
    if (all.length === 1) return figures.map(([field, word, color, dots]) => ({ name: word, color, points: series(run, field), dots }));
    // With several runs the colour says which; the legend names each once, by its last figure that has values.
    return all.flatMap((one) => {
      const lines = figures.map(([field, word, , dots, faint]) => ({ name: `${one.view.title} · ${word}`, color: one.color, points: series(one, field), dots, faint })).filter((line) => line.points.length);
      return lines.map((line, i) => ({ ...line, hushed: i < lines.length - 1, name: lines.length > 1 ? line.name : one.view.title }));
    });
  }

  function drawCharts() {
    if (!run) return;
    smallBox.hidden = toolbar.hidden = !run.rows.length;
    const put = (name, figures, options = {}) => charts[name].draw(linesOf(figures), { smoothing, ...options });
    put("loss", [["loss", t("train.line.train"), 1, false, true], ["held_out_loss", t("train.line.held_out"), 2, true, false]], { log: isLog });
    put("accuracy", [["accuracy", t("train.line.train"), 1, false, true], ["held_out_accuracy", t("train.line.held_out"), 2, true, false]]);
    put("margin", [["margin", t("train.line.train"), 1, false, true], ["held_out_margin", t("train.line.held_out"), 2, true, false]]);
    put("speed", [["tokens_per_s", t("train.line.speed"), 1, false, false]]);
    put("memory", [["rss_bytes", t("train.line.ram"), 1, false, false], ["gpu_bytes", t("train.line.gpu"), 3, false, false]], { smoothing: 0 });
    put("cpu", [["cpu_percent", t("train.line.cpu"), 1, false, false], ["gpu_percent", t("train.line.gpu"), 3, false, false]]);
    put("rate", [["learning_rate", t("train.line.rate"), 1, false, false]], { smoothing: 0 });
    put("perplexity", [["perplexity", t("train.line.perplexity"), 2, true, false]]);
    for (const [name, methods] of Object.entries(NEVER)) charts[name].node.hidden = methods.includes(run.view.method) && !series(run, name).length;
    charts.perplexity.node.hidden = !linesOf([["perplexity", "", 1]]).some((one) => one.points.length);
    drawOverlaid();
  }

  function drawOverlaid() {
    const others = page.overlays(run);
    overlaid.hidden = !others.length;
    keyed(overlaid, others.length ? [run, ...others] : [], (one) => one.view.id, (one) => h("span", { class: "tr-chip" }, h("i", {}), h("span", {}, one.view.title),
      one === run ? null : h("button", { class: "tm-icon-button", type: "button", "aria-label": t("train.compare.remove", { name: one.view.title }), onclick: () => page.overlay(one.view.id, false) }, icon("x"))), (chip, one) => { chip.firstElementChild.className = `is-${one.color}`; });
  }

  // ------------------------------------------------------------ answers before and after

  function drawSamples() {
    const steps = [...new Set([...run.samples.values()].map((one) => one.step))].sort((a, b) => b - a);
    const later = steps.filter((one) => one > 0);
    sampleBox.hidden = !steps.length;
    const chosen = step !== null && later.includes(step) ? step : later[0];
    keyed(stepBar, later, (one) => one, (one) => h("button", { class: "tm-chip", type: "button", "data-step": one, onclick: () => { step = one; drawSamples(); } }, t("train.step", { step: one })),
      (chip, one) => chip.setAttribute("aria-pressed", String(one === chosen)));
    const indexes = [...new Set([...run.samples.values()].map((one) => one.index))].sort((a, b) => a - b);
    const rows = indexes.map((index) => ({ index, before: run.samples.get(`0/${index}`), after: run.samples.get(`${chosen}/${index}`) })).filter((one) => one.before || one.after);
    const answer = (name) => h("div", { class: "tr-answer" }, h("h4", {}, name), h("div", { class: "tr-text" }));
    const put = (box, one) => {
      const text = one ? one.text : t("train.samples.later");
      if (box.shown !== text) box.textContent = text;
      box.shown = text;
      box.classList.toggle("is-missing", !one);
    };
    keyed(samples, rows, (one) => one.index, () => h("article", { class: "tr-sample" }, h("p", { class: "tr-prompt" }), h("div", { class: "tr-pair" }, answer(t("train.samples.before")), answer(""))), (card, one) => {
      card.firstElementChild.textContent = (one.before || one.after).prompt;
      const [left, right] = card.lastElementChild.children;
      right.firstElementChild.textContent = chosen ? t("train.samples.after", { step: chosen }) : t("train.samples.after_training");
      put(left.lastElementChild, one.before);
      put(right.lastElementChild, one.after);
    });
  }

  // ------------------------------------------------------------ log and facts

  function drawLog() {
    logFold.hidden = !run.log.length;
    logFold.querySelector("summary .tm-small").textContent = t("train.log.lines", { n: run.log.length });
    if (!logFold.open) return;
    const isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 30;
    log.textContent = run.log.slice(-LOG_LINES).join("\n");
    if (isAtEnd) log.scrollTop = log.scrollHeight;
  }

  function drawFacts() {
    const { view } = run;
    const signature = JSON.stringify([view.id, view.facts, view.settings]);
    if (factFold.signature === signature) return;
    factFold.signature = signature;
    const path = (value) => [h("code", {}, value), h("button", { class: "tm-icon-button", type: "button", "aria-label": t("train.copy_path"), title: t("train.copy_path"), onclick: () => Tastemaker.copy(value) }, icon("copy"))];
    const rows = view.facts.map((one) => [h("dt", {}, one.label), h("dd", {}, one.is_path ? path(one.text) : one.text)]);
    const settings = Object.entries(view.settings).map(([name, value]) => [h("dt", {}, view.labels[name] || name), h("dd", {}, Tastemaker.parts.settingText(value))]);
    clear(facts, h("dl", { class: "tr-list" }, rows.flat()), h("h4", {}, t("train.facts.settings")), h("dl", { class: "tr-list is-columns" }, settings.flat()));
  }

  return { node, draw, redraw: drawCharts };
};

/** A setting's value as text. */
Tastemaker.parts.settingText = (value) => {
  if (value === null || value === undefined) return "–";
  if (typeof value === "boolean") return Tastemaker.t(value ? "train.yes" : "train.no");
  if (Array.isArray(value)) return value.join(", ");
  return String(value);
};
