/* Runs as rows, each with its sparkline, state, result and next step; and how the settings of several runs differ.
   Draws what Python's rows say; decides nothing. */
"use strict";

Tastemaker.parts = Tastemaker.parts || {};

/** page: {open(id), act(type, row, button), overlay(id, on), isOverlaid(id), shown() → id} */
Tastemaker.parts.trainRuns = (host, page) => {
  const { h, t, icon, clear, keyed } = Tastemaker;
  const FIRST = 8;
  const MAIN = ["arena", "promote", "evaluate", "resume"];
  let rows = [];
  let isAll = false;

  const list = h("div", { class: "tr-rows", role: "list" });
  const all = h("button", { class: "tm-link", type: "button", onclick: () => { isAll = !isAll; draw(rows); } });
  const empty = h("p", { class: "tm-small" }, t("train.runs.none"));
  const table = h("div", { class: "tr-compare", id: "train-compare", hidden: true });
  const node = h("section", { class: "tr-runs", "aria-labelledby": "train-runs" }, h("h2", { id: "train-runs" }, t("train.runs")), empty, list, all, table);

  // ------------------------------------------------------------ rows

  function draw(given) {
    rows = given;
    empty.hidden = rows.length > 0;
    const shown = isAll ? rows : rows.slice(0, FIRST);
    all.hidden = rows.length <= FIRST;
    all.textContent = t(isAll ? "train.runs.fewer" : "train.runs.all", { n: rows.length });
    keyed(list, shown, (row) => row.id, create, update);
    drawTable();
  }

  function create(row) {
    const box = h("input", { type: "checkbox", class: "tr-check", "aria-label": t("train.compare.add", { name: row.title }), title: t("train.compare.add", { name: row.title }), onchange: () => page.overlay(row.id, box.checked) });
    return h("div", { class: "tr-row tm-card", role: "listitem", "data-run": row.id }, box,
      h("button", { class: "tr-open", type: "button", onclick: () => page.open(row.id) }, h("span", { class: "tr-row-title" }), h("span", { class: "tm-small" })),
      h("span", { class: "tr-spark" }), h("span", { class: "tr-row-state" }), h("span", { class: "tr-row-result" }), h("span", { class: "tr-row-next" }));
  }

  function update(node_, row) {
    const [box, open, spark, state, result, next] = node_.children;
    const isShown = page.shown() === row.id;
    box.checked = isShown || page.isOverlaid(row.id);
    box.disabled = isShown;
    node_.classList.toggle("is-shown", isShown);
    open.setAttribute("aria-current", String(isShown));
    const isMain = rows.find((one) => MAIN.includes(one.next)) === row && !rows.some((one) => one.is_live);
    const signature = JSON.stringify([row, isMain]);
    if (node_.signature === signature) return;
    node_.signature = signature;
    node_.dataset.status = row.status;
    open.firstElementChild.textContent = row.title;
    open.lastElementChild.textContent = [row.task === "text" ? "" : t(`train.task.${row.task}`), t(`train.method.${row.method}`), row.preset && t(`train.preset.${row.preset}`), row.examples ? t("train.examples", { n: row.examples }) : "", Tastemaker.when(row.created_at)].filter(Boolean).join(" · ");
    clear(spark, row.spark.length > 1 ? Tastemaker.sparkline(row.spark, t("train.runs.spark", { from: Tastemaker.figure(row.spark[0]), to: Tastemaker.figure(row.spark[row.spark.length - 1]) })) : null);
    clear(state, h("span", { class: `tm-badge tr-state is-${row.status}` }, row.is_promoted ? t("train.promoted") : [t(`train.status.${row.status}`), row.done].filter(Boolean).join(" ")),
      row.marks ? h("span", { class: "tr-mark", title: t("train.marks", { n: row.marks }) }, icon("warning")) : null);
    result.textContent = row.result;
    clear(next, row.next ? button(row, isMain) : null);
  }

  /** The next step; of the newest run that has one it is the one that the page recommends. */
  function button(row, isMain) {
    const made = h("button", { class: `tm-button${isMain ? " is-primary" : ""}`, type: "button", "data-action": row.next, onclick: () => page.act(row.next, row, made) }, t(`train.do.${row.next}`));
    return made;
  }

  // ------------------------------------------------------------ what differs

  /** Settings that are not the same in all compared runs, one column for each run. */
  function drawTable() {
    const runs = rows.filter((row) => page.shown() === row.id || page.isOverlaid(row.id));
    table.hidden = runs.length < 2;
    if (table.hidden) { table.signature = null; return; }
    const signature = JSON.stringify(runs.map((row) => [row.id, row.settings, row.result, row.figures]));
    if (table.signature === signature) return;
    table.signature = signature;
    const text = Tastemaker.parts.settingText;
    const names = [...new Set(runs.flatMap((row) => Object.keys(row.settings)))];
    const settings = names.map((name) => [runs[0].labels[name] || name, runs.map((row) => text(row.settings[name]))]);
    const facts = [...new Set(runs.flatMap((row) => row.figures.map((one) => one.label)))].map((label) => [label, runs.map((row) => row.figures.find((one) => one.label === label)?.text || "–")]);
    const differ = [...settings, ...facts].filter(([, values]) => new Set(values).size > 1);
    const head = h("tr", {}, h("th", { scope: "col" }, t("train.compare.setting")), runs.map((row) => h("th", { scope: "col" }, row.title)));
    clear(table, h("h3", {}, t("train.compare")), h("p", { class: "tm-small" }, differ.length ? t("train.compare.note") : t("train.compare.same")),
      differ.length ? h("div", { class: "tr-scroll" }, h("table", {}, h("thead", {}, head), h("tbody", {}, differ.map(([name, values]) => h("tr", {}, h("th", { scope: "row" }, name), values.map((value) => h("td", {}, value))))))) : null);
  }

  return { node, draw, redraw: () => draw(rows) };
};
