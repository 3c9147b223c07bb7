/* The Library's export menu, import dialog and tag dialog. Each asks through `host` and tells the list what changed. */
"use strict";

Tastemaker.parts = Tastemaker.parts || {};

/** list: {request(), total(), isFiltered(), imported()} */
Tastemaker.parts.libraryFiles = (host, list) => {
  const { h, t, icon, clear } = Tastemaker;
  const FORMATS = ["sft", "dpo", "kto", "csv", "bundle"];
  const exporter = h("button", { class: "tm-button", id: "library-export", type: "button", "aria-haspopup": "menu", onclick: openExport }, icon("download"), h("span", {}, t("library.export")));
  const importer = h("button", { class: "tm-button", id: "library-import", type: "button", onclick: () => openImport() }, icon("folder"), h("span", {}, t("library.import")));

  function openExport() {
    const n = list.total();
    Tastemaker.menu(exporter, [{ group: t(list.isFiltered() ? "library.export.shown" : "library.export.all", { n }) },
      ...FORMATS.map((format) => ({ label: t(`library.export.${format}`), note: t(`library.export.${format}.note`), run: () => runExport(format) }))]);
  }

  async function runExport(format) {
    const close = Tastemaker.notice(t("library.export.busy"), { seconds: 600 });
    exporter.disabled = true;
    try {
      const file = await host.act("export", { format, filter: list.request() });
      const isEmpty = !file.rows && format !== "bundle"; // a bundle also holds what is in the trash
      if (!isEmpty) Tastemaker.download(file.url, file.name);
      Tastemaker.notice(isEmpty ? t(`library.export.none.${format}`) : t("library.export.done", { n: file.rows, name: file.name }));
    } catch { /* act has said why */ } finally {
      close();
      exporter.disabled = false;
    }
  }

  // ------------------------------------------------------------ import

  function openImport(dropped = null) {
    const input = h("input", { type: "file", accept: ".zip,.jsonl", class: "tm-visually-hidden", id: "library-import-file", onchange: () => input.files[0] && read(input.files[0]) });
    const area = h("label", {
      class: "tm-drop",
      ondragover: (event) => event.preventDefault(),
      ondrop: (event) => { event.preventDefault(); if (event.dataTransfer.files[0]) read(event.dataTransfer.files[0]); },
    }, input, icon("folder"), h("strong", {}, t("library.import.choose")), h("span", { class: "tm-small" }, t("library.import.hint")));
    const dialog = Tastemaker.dialog(t("library.import"), area);

    async function read(file) {
      clear(area, icon("download"), h("strong", {}, t("library.import.busy", { name: file.name })), h("div", { class: "tm-progress is-unknown" }, h("span", {})));
      try {
        const { path } = await host.upload(file);
        const result = await host.act("import", { path });
        clear(area.parentElement, report(result));
        list.imported();
      } catch (error) {
        if (!error.code) Tastemaker.notice(t("library.import.not_sent"), { kind: "error" });
        dialog.close();
      }
    }
    if (dropped) read(dropped);
  }

  function report(result) {
    const counts = result.failed ? [t("library.import.refused", { n: result.failed })]
      : [t("library.import.added", { n: result.added }), result.skipped ? t("library.import.skipped", { n: result.skipped }) : ""];
    const left = result.failed - result.errors.length;
    const rows = result.errors.map((one) => h("tr", {}, h("td", {}, String(one.row)), h("td", {}, one.message)));
    return h("div", { class: "lib-report tm-root" }, h("p", {}, counts.filter(Boolean).join(" ")),
      rows.length ? h("table", {}, h("thead", {}, h("tr", {}, h("th", {}, t("library.import.row")), h("th", {}, t("library.import.why")))), h("tbody", {}, rows)) : null,
      left > 0 ? h("p", { class: "tm-small" }, t("library.import.more_errors", { n: left })) : null);
  }

  // ------------------------------------------------------------ tags

  /** Ask for tags of several items at once. `used`: Map(tag -> how many of them wear it). `save(add, remove)`. */
  function askTags(count, used, known, save) {
    const remove = new Set();
    const input = h("input", { class: "tm-input", type: "text", maxlength: 60, list: "library-tags", placeholder: t("library.tag.new"), "aria-label": t("library.tag.new") });
    const chips = [...used.keys()].sort().map((tag) => h("button", {
      class: "tm-chip is-on", type: "button", "aria-pressed": "true",
      onclick: (event) => {
        const keep = remove.delete(tag);
        if (!keep) remove.add(tag);
        event.currentTarget.classList.toggle("is-on", keep);
        event.currentTarget.setAttribute("aria-pressed", String(keep));
      },
    }, `${tag} · ${used.get(tag)}`));
    const dialog = Tastemaker.dialog(t("library.tag.title", { n: count }), h("div", { class: "tm-root" },
      input, h("datalist", { id: "library-tags" }, known.map((tag) => h("option", { value: tag }))),
      chips.length ? h("p", { class: "tm-small" }, t("library.tag.keep")) : "", h("div", { class: "lib-known" }, chips)), [{ label: t("library.tag.save"), primary: true, run: () => save(input.value.split(/[,，]/).map((one) => one.trim()).filter(Boolean), [...remove]) }]);
    input.addEventListener("keydown", (event) => event.key === "Enter" && dialog.querySelector(".is-primary").click());
    input.focus();
  }

  return { buttons: [importer, exporter], openImport, askTags };
};

/** Save one of our own addresses as a file. */
Tastemaker.download = (url, name) => {
  const link = Tastemaker.h("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
};
