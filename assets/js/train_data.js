/* What there is to learn from: counts for each way of learning, balance, duplicates, examples, frozen datasets, and TRL rows in and out. */
"use strict";

Tastemaker.parts = Tastemaker.parts || {};

/** page: {use(datasetId), changed()} */
Tastemaker.parts.trainData = (host, page) => {
  const { h, t, icon, clear } = Tastemaker;
  const METHODS = ["dpo", "kto", "sft"];
  const FORMATS = ["dpo", "kto", "sft"];
  const { openImport } = Tastemaker.parts.libraryFiles(host, { request: () => ({}), total: () => 0, isFiltered: () => false, imported: () => page.changed() });

  let data = null;

  const short = h("span", { class: "tm-small" });
  const body = h("div", { class: "tr-fold-body" });
  const fold = h("details", { class: "tr-fold tm-card tr-data", id: "train-data", ontoggle: () => draw(data) }, h("summary", {}, h("span", {}, t("train.data")), short, icon("chevronDown")), body);

  function draw(given) {
    if (!given) return;
    data = given;
    short.textContent = data.summary;
    const signature = JSON.stringify(data);
    if (!fold.open || fold.signature === signature) return;
    fold.signature = signature;
    clear(body, methods(), balance(), notes(), examples(), frozen(), files());
  }

  // ------------------------------------------------------------ counts

  function methods() {
    const cell = (label, value) => h("div", {}, h("dt", {}, label), h("dd", {}, String(value)));
    return h("div", { class: "tr-methods" }, METHODS.filter((name) => data.methods[name]).map((name) => {
      const one = data.methods[name];
      return h("article", { class: `tr-method${name === data.suggested ? " is-on" : ""}`, "data-method": name }, h("h4", {}, t(`train.method.${name}`), name === data.suggested ? h("span", { class: "tm-badge is-accent" }, t("train.data.suggested")) : null),
        h("p", { class: "tm-small" }, t(`train.method.${name}.note`)),
        h("dl", {}, one.map((pair) => cell(pair.label, pair.value))));
    }));
  }

  /** How many were liked and how many were not: a training needs both. */
  function balance() {
    const { liked, disliked } = data.balance;
    if (!liked && !disliked) return null;
    const bar = h("div", { class: "tr-balance-bar", "aria-hidden": "true" }, h("span", { class: "is-good", style: `flex-grow:${liked}` }), h("span", { class: "is-bad", style: `flex-grow:${disliked}` }));
    return h("div", { class: "tr-balance" }, h("p", {}, t("train.data.balance", { liked, disliked })), bar);
  }

  function notes() {
    const rows = [...data.notes, ...data.missing];
    return rows.length ? h("ul", { class: "tr-list-plain" }, rows.map((text) => h("li", {}, text))) : null;
  }

  function examples() {
    if (!data.examples.length) return null;
    const answer = (one) => h("div", { class: `tr-answer is-${one.kind}` }, h("h4", {}, t(`train.example.${one.kind}`)), h("div", { class: "tr-text" }, one.text));
    return h("section", { class: "tr-part" }, h("h4", { class: "tr-sub" }, t("train.data.examples")), data.examples.map((row) => h("article", { class: "tr-sample" }, h("p", { class: "tr-prompt" }, row.earlier ? h("span", { class: "tm-small" }, t("train.example.earlier", { n: row.earlier })) : null, row.prompt), h("div", { class: "tr-pair" }, row.answers.map(answer)))));
  }

  // ------------------------------------------------------------ frozen ones

  function frozen() {
    if (!data.datasets.length) return null;
    const row = (one) => h("tr", { "data-dataset": one.id }, h("td", {}, one.title), h("td", {}, t(`train.method.${one.method}`)), h("td", { class: "is-number" }, String(one.train)), h("td", { class: "is-number" }, String(one.held_out)), h("td", {}, Tastemaker.when(one.created_at)), h("td", {}, h("code", {}, one.sha256.slice(0, 8))),
      h("td", { class: "tr-cell-buttons" }, h("button", { class: "tm-link tm-small", type: "button", "data-action": "use-dataset", onclick: () => page.use(one.id) }, t("train.data.use")),
        h("button", { class: "tm-link tm-small", type: "button", "data-action": "export-dataset", onclick: () => exportRows({ dataset: one.id, format: one.method }) }, t("train.data.export_one"))));
    return h("section", { class: "tr-part" }, h("h4", { class: "tr-sub" }, t("train.data.frozen")), h("p", { class: "tm-small" }, t("train.data.frozen.note")), h("div", { class: "tr-scroll" }, h("table", {},
      h("thead", {}, h("tr", {}, ["name", "method", "train", "held_out", "made", "hash", "do"].map((name) => h("th", { scope: "col", class: name === "train" || name === "held_out" ? "is-number" : null }, t(`train.data.column.${name}`))))), h("tbody", {}, data.datasets.map(row)))));
  }

  // ------------------------------------------------------------ files

  function files() {
    const out = h("button", { class: "tm-button", type: "button", "data-action": "export", "aria-haspopup": "menu", onclick: () => Tastemaker.menu(out, [{ group: t("train.data.export.note") }, ...FORMATS.map((format) => ({ label: t(`library.export.${format}`), note: t(`library.export.${format}.note`), run: () => exportRows({ format }) }))]) }, icon("download"), h("span", {}, t("train.data.export")));
    return h("div", { class: "tr-buttons" }, h("button", { class: "tm-button", type: "button", "data-action": "freeze", onclick: openFreeze }, icon("filter"), h("span", {}, t("train.data.freeze"))), h("button", { class: "tm-button", type: "button", "data-action": "import", onclick: () => openImport() }, icon("folder"), h("span", {}, t("train.data.import"))), out);
  }

  /** A dataset of a part of the ratings: those that a Library filter passes. */
  async function openFreeze() {
    const facets = await host.act("facets").catch(() => null);
    if (!facets) return;
    const any = h("option", { value: "" }, t("library.any"));
    const select = (values) => h("select", { class: "tm-select" }, any.cloneNode(true), values.map(([value, label]) => h("option", { value }, label)));
    const controls = {
      tag: select(facets.tags.map((one) => [one, one])),
      model: select(facets.models.map((one) => [one.id, one.name])),
      query: h("input", { class: "tm-input", type: "search", maxlength: 200 }),
      from: h("input", { class: "tm-input", type: "date" }),
      starred: h("input", { class: "tr-check", type: "checkbox" }),
      name: h("input", { class: "tm-input", type: "text", maxlength: 80 }),
    };
    const field = (name) => h("label", { class: "lib-field" }, h("span", {}, t(`train.freeze.${name}`)), controls[name]);
    const save = async () => {
      const { tag, model, query, from, starred, name } = controls;
      const filter = { tag: tag.value, model: model.value, query: query.value.trim(), from: from.value ? new Date(`${from.value}T00:00`).toISOString() : null, starred: starred.checked };
      try {
        const made = await host.act("freeze", { task: data.task, filter, name: name.value.trim() });
        Tastemaker.notice(t("train.freeze.done", { name: made.title }));
        page.changed();
        page.use(made.id);
        return true;
      } catch { return false; } // act has said why; the dialog keeps what was chosen
    };
    Tastemaker.dialog(t("train.data.freeze"), h("div", { class: "tm-root" }, h("p", { class: "tm-small tr-dialog-hint" }, t("train.freeze.hint")), h("div", { class: "lib-fields" }, Object.keys(controls).map(field))), [{ label: t("frame.cancel") }, { label: t("train.freeze.save"), primary: true, run: save }]);
  }

  async function exportRows(request) {
    const close = Tastemaker.notice(t("library.export.busy"), { seconds: 600 });
    try {
      const file = await host.act("export", { ...request, task: data.task });
      if (file.rows) Tastemaker.download(file.url, file.name);
      Tastemaker.notice(file.rows ? t("library.export.done", { n: file.rows, name: file.name }) : t(`library.export.none.${request.format}`));
    } catch { /* act has said why */ } finally { close(); }
  }

  return { node: fold, draw };
};
