/* The Train page: what the ratings are enough for, the run that is shown (by the address: ?tab=train&run=id), all runs, the data.
   A run's figures come as numbered events: each second only what is new; a reload or a second window starts from 0 and sees the same. */
"use strict";

Tastemaker.widgets.train = (host) => {
  const { h, t } = Tastemaker;
  const COLORS = [1, 2, 3, 4, 5, 6];
  const parts = Tastemaker.parts;

  const runs = new Map(); // id → {view, rows, samples, log, alarms, color, after}
  const overlaid = new Set();
  let rows = [];
  let shownId = null;
  let timer = null;
  let isAsking = false;
  let nextRows = 0;
  let changes = null; // what the server last said of all runs' states
  let rowsOf = null; // and of those that are drawn

  // ------------------------------------------------------------ parts

  const form = parts.trainForm(host, { started: (id) => { Tastemaker.bus.emit("job"); open(id); refresh(); }, rateMore: (task) => Tastemaker.navigate(task === "summary" ? "summarize" : "write"), task: () => refresh().catch(() => null) });
  const monitor = parts.trainRun(host, { act, again, compare, overlay, overlays: (run) => [...overlaid].filter((id) => id !== run.view.id && runs.has(id)).map((id) => runs.get(id)) });
  const list = parts.trainRuns(host, { open, act, overlay, isOverlaid: (id) => overlaid.has(id), shown: () => shownId });
  const data = parts.trainData(host, { use: (id) => form.choose(id), changed: () => refresh() });
  host.root.append(h("div", { class: "tr-page" }, h("h1", {}, t("train.title")), form.node, monitor.node, list.node, data.node));

  // ------------------------------------------------------------ asking

  /** The whole page: rows, data, what the form offers. */
  async function refresh() {
    const { task } = form;
    const answer = await host.act("show", { task }, { quiet: rows.length > 0 });
    if (task !== form.task) return; // another one was chosen meanwhile
    take(answer);
    form.offer({ bases: answer.bases, datasets: answer.data.datasets });
    data.draw(answer.data);
    form.ask();
    if (!shownId && !Tastemaker.address().run && rows.length) open(first().id, { push: false });
    else list.draw(rows);
  }

  const known = (id) => {
    if (!runs.has(id)) {
      const used = new Set([...runs.values()].map((one) => one.color));
      runs.set(id, { view: null, rows: [], samples: new Map(), log: [], alarms: [], after: 0, color: COLORS.find((color) => !used.has(color)) || COLORS[runs.size % COLORS.length] });
    }
    return runs.get(id);
  };

  /** Ask for what is new of one run, and add it. */
  async function follow(id) {
    const run = known(id);
    const update = await host.act("run", { id, after: run.after }, { quiet: run.view !== null });
    if (run.after !== update.since) return run; // another answer came first
    run.view = run.view ? { ...run.view, ...update.view } : update.view;
    run.after = update.after;
    changes = update.changes;
    for (const row of update.metrics) add(run, row);
    for (const one of update.samples) run.samples.set(`${one.step}/${one.index}`, one);
    run.log.push(...update.log);
    for (const one of update.alarms) run.alarms = [...run.alarms.filter((other) => other.name !== one.name), one];
    return run;
  }

  /** A run that went on from a checkpoint does some steps again: their old figures go. */
  function add(run, row) {
    let last = run.rows[run.rows.length - 1];
    while (last && last.step > row.step) { run.rows.pop(); last = run.rows[run.rows.length - 1]; }
    if (last && last.step === row.step) Object.assign(last, row);
    else run.rows.push({ ...row });
  }

  /** Each second while the shown run lives; rows every few seconds; nothing while nobody looks. */
  function plan() {
    clearTimeout(timer);
    if (Tastemaker.page() !== "train") return;
    timer = setTimeout(tick, 1000);
  }

  async function tick() {
    if (!document.hidden && !isAsking) {
      isAsking = true;
      try {
        const before = runs.get(shownId)?.view?.status;
        if (shownId && (!before || runs.get(shownId).view.is_live)) await show(shownId);
        else ({ changes } = await host.act("changes", {}, { quiet: true }));
        await followOverlaid();
        const now = runs.get(shownId)?.view?.status;
        if (before && now !== before) Tastemaker.bus.emit("job");
        if (changes !== rowsOf || Date.now() > nextRows) await (before && now !== before ? refresh() : refreshRows());
      } catch { nextRows = Date.now() + 5000; /* said once, asked again */ } finally { isAsking = false; }
    }
    plan();
  }

  /** Curves that are laid over the shown ones grow too. */
  async function followOverlaid() {
    const growing = [...overlaid].filter((id) => id !== shownId && runs.get(id)?.view?.is_live);
    for (const id of growing) await follow(id);
    if (growing.length) monitor.redraw();
  }

  function take(answer) {
    rows = answer.runs;
    changes = rowsOf = answer.changes;
    nextRows = Date.now() + 5000;
  }

  /** Rows, and the shown run when it goes on somewhere else: another window may have resumed or begun it. */
  async function refreshRows() {
    nextRows = Date.now() + 5000;
    take(await host.act("runs", {}, { quiet: true }));
    list.draw(rows);
    const shown = rows.find((row) => row.id === shownId);
    if (shown && shown.status !== runs.get(shownId)?.view?.status) await show(shownId);
    else if (!shownId && rows.length) open(first().id, { push: false });
  }

  // ------------------------------------------------------------ one run

  /** Which run is shown while nobody has chosen one: the one that trains, before those that wait and those that are over. */
  const first = () => rows.find((row) => row.status === "running") || rows.find((row) => row.is_live) || rows[0];

  function open(id, { push = true } = {}) {
    if (Tastemaker.address().run !== id) Tastemaker.navigate("train", { run: id }, { push });
    else show(id).catch(() => null);
  }

  async function show(id) {
    if (shownId !== id) { overlaid.delete(id); shownId = id; }
    const run = await follow(id).catch((error) => {
      if (error.code === "not_found" && shownId === id) { shownId = null; monitor.draw(null); Tastemaker.navigate("train", { run: null }, { push: false }); }
      throw error;
    });
    if (shownId === id) monitor.draw(run);
    list.draw(rows);
  }

  async function act(type, run, button) {
    if (type === "picture") { Tastemaker.download(run.picture_url || `/runs/${run.id}/run.png`, `${run.title}.png`); return; }
    if (type === "arena") { Tastemaker.navigate("arena", { run: run.evaluation_id }); return; }
    if (type === "cancel" && run.status === "running" && !(await sure("train.cancel", run))) return;
    if (button) button.disabled = true;
    try {
      const answer = await host.act(type, { id: run.id });
      Tastemaker.bus.emit("job");
      if (answer.notice) Tastemaker.notice(answer.notice);
      if (answer.evaluation_id) { Tastemaker.navigate("arena", { run: answer.evaluation_id }); return; }
      if (type === "promote") Tastemaker.refreshStatus?.();
      await refresh();
      await show(run.id);
    } catch { /* act has said why */ } finally { if (button) button.disabled = false; }
  }

  const sure = (key, run) => new Promise((resolve) => {
    const dialog = Tastemaker.dialog(t(`${key}.title`, { name: run.title }), h("p", {}, t(`${key}.ask`)), [{ label: t("train.cancel.keep") }, { label: t(`${key}.yes`), danger: true, run: () => resolve(true) }]);
    dialog.addEventListener("close", () => resolve(false));
  });

  /** The form with an earlier run's settings. */
  function again(run) {
    form.load(run.view.form, { open: true });
    Tastemaker.notice(t("train.loaded", { name: run.view.title }));
  }

  // ------------------------------------------------------------ comparing

  function compare(run, button) {
    const others = rows.filter((row) => row.id !== run.view.id);
    if (!others.length) { Tastemaker.notice(t("train.compare.none")); return; }
    Tastemaker.menu(button, [{ group: t("train.compare.with") }, ...others.slice(0, 12).map((row) => ({ label: row.title, note: [t(`train.method.${row.method}`), Tastemaker.when(row.created_at)].join(" · "), checked: overlaid.has(row.id), run: () => overlay(row.id, !overlaid.has(row.id)) }))]);
  }

  async function overlay(id, on) {
    if (on && id !== shownId) {
      overlaid.add(id);
      await follow(id).catch(() => overlaid.delete(id));
    } else overlaid.delete(id);
    monitor.redraw();
    list.redraw();
  }

  // ------------------------------------------------------------ the page

  host.onOpen((address) => {
    refresh().catch(() => null);
    if (address.run) show(address.run).catch(() => null);
    plan();
  });
  Tastemaker.bus.on("address", (address) => { if (address.tab === "train" && address.run && address.run !== shownId) show(address.run).catch(() => null); });
  // Something may have been rated or started in another window meanwhile.
  document.addEventListener("visibilitychange", () => { if (!document.hidden && Tastemaker.page() === "train") { refresh().catch(() => null); tick(); } });
};
