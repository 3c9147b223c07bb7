/* Your own versions of a model, on its card in the Models page: where each comes from, what its test said, and what can be done with it. */
"use strict";

Tastemaker.parts = Tastemaker.parts || {};

/** `ask(type, payload, options)` acts and draws the page again. Gives a function: card → node, or null when the model has no versions. */
Tastemaker.parts.modelAdapters = (ask) => {
  const { h, t, icon, bytes } = Tastemaker;

  const act = async (type, payload, options) => {
    const answer = await ask(type, payload, options);
    Tastemaker.bus.emit("job"); // the top line names the version in use
    return answer;
  };

  function row(one) {
    const facts = [one.task === "text" ? "" : t(`train.task.${one.task}`), t(`models.adapter.method.${one.method}`), one.examples ? t("arena.from_examples", { n: one.examples }) : "", Tastemaker.when(one.created_at), bytes(one.size_bytes)].filter(Boolean).join(" · ");
    const more = h("button", { class: "tm-icon-button", type: "button", "aria-haspopup": "menu", "aria-label": t("models.more", { name: one.name }), title: t("models.more", { name: one.name }), "data-action": "adapter", onclick: () => openMore(more, one) }, icon("dots"));
    const result = one.result ? h("button", { class: "tm-link tm-small", type: "button", onclick: () => Tastemaker.navigate("arena", { run: one.result.run }) }, one.result.text) : h("span", { class: "tm-small" }, one.under_way || t("arena.untested"));
    return h("li", { class: "mo-adapter", "data-adapter": one.id, "data-state": one.state },
      h("div", { class: "mo-adapter-text" }, h("p", {}, h("strong", {}, one.name), one.state === "promoted" ? h("span", { class: "tm-badge is-accent" }, t("models.in_use")) : null),
        h("p", { class: "tm-small" }, facts), result, one.marks ? h("p", { class: "tm-small mo-marks" }, t("arena.marks", { n: one.marks })) : null), more);
  }

  function openMore(anchor, one) {
    const entries = one.state === "promoted"
      ? [{ label: t("arena.rollback"), note: t("models.adapter.rollback.note"), icon: "undo", run: () => act("rollback", { task: one.task, base_id: one.base_id }).catch(() => null) }]
      : [{ label: t("arena.promote"), note: t("models.adapter.promote.note"), icon: "check", run: () => promote(one) }];
    entries.push({ label: t(one.result ? "arena.test_again" : "arena.test"), icon: "arena", run: () => Tastemaker.navigate("arena") });
    if (one.run) entries.push({ label: t("models.adapter.run"), icon: "train", run: () => Tastemaker.navigate("train", { run: one.run }) });
    entries.push({ label: t("models.adapter.rename"), icon: "pen", run: () => rename(one) });
    if (one.state !== "promoted") entries.push({ label: t("models.remove"), icon: "trash", danger: true, run: () => remove(one) });
    Tastemaker.menu(anchor, entries);
  }

  /** A version that has not passed its test can still be used, with a reason: the studio's own sentence says what is missing. */
  async function promote(one) {
    try {
      await act("promote", { id: one.id }, { quiet: true });
      Tastemaker.notice(t("arena.switched", { name: one.name }));
    } catch (error) {
      if (error.code !== "gate") { if (error.code) Tastemaker.notice(error.message, { kind: "error" }); return; }
      const reason = h("textarea", { class: "tm-textarea", rows: 3, name: "override", placeholder: t("arena.override_example"), "aria-label": t("arena.override_reason") });
      Tastemaker.dialog(t("arena.override_title", { name: one.name }), [h("p", {}, error.message), h("label", { class: "mo-form tm-root" }, h("span", {}, t("arena.override_reason")), reason)],
        [{ label: t("frame.cancel") }, { label: t("arena.promote_anyway"), primary: true, run: async () => {
          if (!reason.value.trim()) { reason.focus(); return false; }
          return act("promote", { id: one.id, override: reason.value.trim() }).then(() => true, () => false);
        } }]);
      reason.focus();
    }
  }

  function rename(one) {
    const name = h("input", { class: "tm-input", name: "name", value: one.name, autocomplete: "off", "aria-label": t("models.adapter.rename") });
    const save = () => act("rename_adapter", { id: one.id, name: name.value.trim() }).then(() => true, () => false);
    const dialog = Tastemaker.dialog(t("models.adapter.rename"), h("div", { class: "mo-form tm-root" }, name), [{ label: t("frame.cancel") }, { label: t("frame.save"), primary: true, run: save }]);
    dialog.addEventListener("keydown", (event) => { if (event.key === "Enter" && event.target === name) { event.preventDefault(); dialog.querySelector(".is-primary").click(); } });
    name.focus();
    name.select();
  }

  const remove = (one) => Tastemaker.dialog(t("models.remove.title", { name: one.name }), h("p", {}, t("models.adapter.remove.ask", { size: bytes(one.size_bytes) })),
    [{ label: t("frame.cancel") }, { label: t("models.remove"), danger: true, run: () => { act("remove_adapter", { id: one.id }).catch(() => null); } }]);

  return (card) => (card.adapters && card.adapters.length ? h("section", { class: "mo-adapters", "aria-label": t("models.adapters") }, h("h4", {}, t("models.adapters")), h("ul", {}, card.adapters.map(row))) : null);
};
