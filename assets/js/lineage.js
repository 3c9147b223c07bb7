/* Where an answer comes from: its adapter, the training that made it, and the ratings behind that. Opened from the Write page. */
"use strict";

Tastemaker.parts = Tastemaker.parts || {};

Tastemaker.parts.lineage = async (host, creationId) => {
  const { h, t } = Tastemaker;
  const view = await host.act("lineage", { id: creationId }).catch(() => null);
  if (!view) return;
  const time = (iso) => new Date(iso).toLocaleString(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" });

  const step = (name, ...lines) => h("li", {}, h("strong", {}, t(`lineage.${name}`)), lines.filter(Boolean).map((one) => (typeof one === "string" ? h("p", {}, one) : one)));
  const { adapter, promoted, run, dataset } = view;
  const steps = [step("answer", t("lineage.written", { time: time(view.written_at) }))];
  if (adapter) {
    steps.push(step("adapter", t("lineage.adapter_on", { name: adapter.name, model: adapter.model }), use(promoted), adapter.is_removed && t("lineage.removed")));
  }
  if (run) {
    steps.push(step("run", t("lineage.run_text", { method: t(`lineage.method.${adapter.method}`), time: time(run.at) }),
      h("button", { class: "tm-link", type: "button", "data-run": run.id, onclick: () => { dialog.close(); Tastemaker.navigate("train", { run: run.id }); } }, t("lineage.run_open"))));
  }
  if (dataset) steps.push(step("dataset", t("lineage.dataset_text", dataset), view.gone > 0 && t("lineage.gone", { n: view.gone })));
  if (view.rows && view.rows.length) {
    steps.push(step("ratings", h("ol", { class: "ln-rows" }, view.rows.map(row)), view.more > 0 && t("lineage.more", { n: view.more })));
  }
  const dialog = Tastemaker.dialog(t("lineage.title"), h("ol", { class: "ln-steps", id: "lineage" }, steps));
  dialog.classList.add("is-wide");

  function use(switched) {
    if (!switched) return t("lineage.never_promoted");
    return t(switched.override ? "lineage.promoted_override" : "lineage.promoted", { time: time(switched.at), reason: switched.override });
  }

  /** One choice or rating; texts are set as text. */
  function row(one) {
    const said = (key, text, values, picture) => h("p", {}, h("span", { class: "ln-said" }, t(`lineage.${key}`, values)), " ", picture ? h("img", { class: "ln-picture", src: picture, alt: one.prompt, loading: "lazy" }) : h("span", { dir: "auto" }, text));
    return h("li", {}, h("p", { class: "ln-prompt", dir: "auto" }, h("button", { class: "tm-link", type: "button", title: t("lineage.row_open"), onclick: () => { dialog.close(); Tastemaker.navigate("library", { item: one.id }); } }, one.prompt)),
      one.chosen !== undefined ? [said("chosen", one.chosen, {}, one.chosen_picture), said("rejected", one.rejected, {}, one.rejected_picture)] : said("rated", one.text, { score: one.score }, one.picture));
  }
};
