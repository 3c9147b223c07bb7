/* What came of a blind test: the interval as a bar against one half, what it means in words, automatic figures beside it,
   the prompts where the new version lost, and the switch. Also the history of switches. */
"use strict";

Tastemaker.parts = Tastemaker.parts || {};

Tastemaker.parts.arena = ({ host, open, ask }) => {
  const { h, t, icon, clear } = Tastemaker;
  const locale = Tastemaker.language() === "zh" ? "zh-CN" : "en-GB";
  const percent = (part) => Math.round(part * 100) + (locale === "zh-CN" ? "%" : " %");
  const number = (value, digits) => Number(value).toLocaleString(locale, { maximumFractionDigits: digits, minimumFractionDigits: Math.min(1, digits) });

  /** "12 of 30 votes", or how many answers are there while they are being written. */
  function standing(one) {
    const left = one.is_live && one.eta_s ? t("arena.left", { time: Tastemaker.duration(one.eta_s) }) : "";
    const ready = one.is_live && one.made < one.needed ? t("arena.made", { n: one.made, total: one.needed }) : "";
    return [one.votes ? t("arena.votes", { n: one.votes, total: one.needed }) : ready || t("arena.ready", { n: one.needed }), left].filter(Boolean).join(" · ");
  }

  // ------------------------------------------------------------ result

  function result(page, view) {
    const one = view.test.result;
    const signature = JSON.stringify(view);
    if (page.signature === signature) return;
    page.signature = signature;
    page.shown = null;
    const head = h("header", { class: "ar-head" }, h("div", { class: "ar-title" }, h("h1", {}, one.is_blind ? t(`arena.verdict.${one.verdict}`) : t("arena.automatic_only")),
      h("button", { class: "tm-icon-button", type: "button", "data-action": "leave", "aria-label": t("arena.leave"), title: t("arena.leave"), onclick: () => open(null) }, icon("x"))),
    h("p", {}, t("arena.compared", { name: one.name, against: one.against })));
    clear(page, h("div", { class: "result", "data-pass": String(one.pass) }, head,
      one.is_blind ? outcome(one) : null,
      one.reasons.length ? h("ul", { class: "ar-reasons" }, one.reasons.map((text) => h("li", {}, icon("warning"), h("span", {}, text)))) : null,
      actions(one), figures(one), worst(one), history(view.history)));
    host.root.closest(".tm-page")?.scrollTo(0, 0);
  }

  function outcome(one) {
    const at = (part) => `${(part * 100).toFixed(2)}%`;
    const mark = (part) => `left:clamp(18px, ${at(part)}, calc(100% - 18px))`;
    const [low, high] = one.interval;
    const label = t("arena.interval_label", { rate: percent(one.win_rate), low: percent(low), high: percent(high) });
    return h("section", { class: "ar-outcome-card tm-card" },
      h("div", { class: "ar-tally" }, tally("wins", one.wins), tally("losses", one.losses), tally("ties", one.ties)),
      h("div", { class: "ar-interval", role: "img", "aria-label": label },
        h("div", { class: "ar-scale" }, h("span", {}, t("arena.scale.current")), h("span", { class: "ar-half-label" }, percent(0.5)), h("span", {}, t("arena.scale.new"))),
        h("div", { class: "ar-track" }, h("i", { class: `ar-band${low > 0.5 ? " is-good" : high < 0.5 ? " is-care" : ""}`, style: `left:${at(low)};width:${at(high - low)}` }),
          h("i", { class: "ar-half" }), h("i", { class: "ar-point", style: `left:${at(one.win_rate)}` })),
        h("div", { class: "ar-marks" }, h("span", { style: mark(low) }, percent(low)), h("strong", { style: mark(one.win_rate) }, percent(one.win_rate)), h("span", { style: mark(high) }, percent(high)))),
      h("p", { class: "ar-words" }, t(`arena.words.${one.verdict}`, { rate: percent(one.win_rate), low: percent(low), high: percent(high), n: one.votes })),
      h("p", { class: "tm-small" }, t("arena.how_counted")));
  }

  const tally = (name, count) => h("div", { class: `ar-count-${name}` }, h("strong", {}, String(count)), h("span", { class: "tm-small" }, t(`arena.${name}`)));

  // ------------------------------------------------------------ switching

  function actions(one) {
    const promote = one.is_promoted ? h("p", { class: "ar-state" }, icon("check"), h("span", {}, t("arena.is_in_use")))
      : !one.can_promote ? null
        : one.pass && one.is_current ? h("button", { class: "tm-button is-primary", type: "button", "data-action": "promote", onclick: () => switchTo("promote", { adapter_id: one.adapter_id }) }, t("arena.promote"))
          : h("button", { class: "tm-button", type: "button", "data-action": "override", onclick: () => askOverride(one) }, t("arena.override"));
    const stale = one.can_promote && !one.is_current ? h("p", { class: "tm-small is-care" }, t("arena.stale")) : null;
    return h("div", { class: "ar-actions" }, promote, one.is_promoted ? rollBack(one) : null, stale,
      h("span", { class: "ar-grow" }), h("button", { class: "tm-button", type: "button", "data-action": "tests", onclick: () => open(null) }, t("arena.other_tests")));
  }

  async function switchTo(type, payload, options) {
    const answer = await ask(type, payload, options);
    if (!answer) return false;
    Tastemaker.notice(t("arena.switched", { name: answer.switched }));
    Tastemaker.bus.emit("adapter", answer.switched);
    Tastemaker.bus.emit("job");
    return true;
  }

  const rollBack = (one) => h("button", { class: "tm-button", type: "button", "data-action": "rollback", onclick: () => switchTo("rollback", { task: one.task, base_id: one.base_id }) }, icon("undo"), t("arena.rollback"));

  /** The gate can be overruled, with a reason that is kept beside the switch. */
  function askOverride(one) {
    const reason = h("textarea", { class: "tm-textarea", rows: 3, name: "override", placeholder: t("arena.override_example"), "aria-label": t("arena.override_reason") });
    const go = h("p", { class: "tm-small is-care", role: "alert", hidden: true }, t("arena.override_empty"));
    Tastemaker.dialog(t("arena.override_title", { name: one.name }), [h("p", { class: "tm-small" }, t("arena.override_hint")), h("label", { class: "ar-form tm-root" }, h("span", {}, t("arena.override_reason")), reason), go],
      [{ label: t("frame.cancel") }, { label: t("arena.promote_anyway"), primary: true, run: () => {
        if (!reason.value.trim()) { go.hidden = false; reason.focus(); return false; }
        return switchTo("promote", { adapter_id: one.adapter_id, override: reason.value.trim() });
      } }]);
    reason.focus();
  }

  // ------------------------------------------------------------ figures and regressions

  function figures(one) {
    if (!one.figures.length) return null;
    const cell = (row, side) => h("td", { class: row.better === side ? "is-good" : "" }, row[side] === null ? "–" : number(row[side], row.digits) + (row.is_share ? percent(0).slice(1) : ""));
    return h("section", {}, h("h2", {}, t("arena.figures")), h("p", { class: "tm-small" }, t("arena.figures_hint")),
      h("table", { class: "ar-table" }, h("thead", {}, h("tr", {}, h("th", {}), h("th", {}, t("arena.new")), h("th", {}, t("arena.current")))),
        h("tbody", {}, one.figures.map((row) => h("tr", { "data-figure": row.name }, h("th", { scope: "row" }, t(`arena.figure.${row.name}`), h("span", { class: "tm-small" }, t(`arena.figure.${row.name}.hint`))), cell(row, "new"), cell(row, "current"))))));
  }

  function worst(one) {
    if (!one.worst.length) return null;
    const side = (name, html) => {
      const text = h("div", { class: "answer", dir: "auto" });
      Tastemaker.setHtml(text, html);
      return h("div", { class: "ar-side tm-card" }, h("div", { class: "tm-small" }, t(`arena.${name}`)), text);
    };
    return h("section", {}, h("h2", {}, t("arena.worst")), h("p", { class: "tm-small" }, t("arena.worst_hint")),
      one.worst.map((match) => h("details", { class: "ar-worst" }, h("summary", { dir: "auto" }, match.prompt), h("div", { class: "ar-sides" }, side("new", match.new), side("current", match.current)))));
  }

  function history(rows) {
    if (!rows.length) return null;
    return h("section", { class: "ar-history" }, h("h2", {}, t("arena.history")), h("ol", {}, rows.map((row) => h("li", {},
      h("time", { class: "tm-small", datetime: row.at, title: new Date(row.at).toLocaleString(locale) }, Tastemaker.when(row.at)),
      h("div", {}, h("p", {}, t(row.kind === "rollback" ? "arena.history.rollback" : "arena.history.promote", { to: row.to, from: row.from, base: row.base })),
        row.why ? h("p", { class: "tm-small" }, row.why) : null)))));
  }

  return { result, history, standing, rollBack };
};
