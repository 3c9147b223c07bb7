/* The Arena page: the versions to test, the blind test itself (a prompt and two answers, nothing else), and what came of it.
   Which side is which is known to the server alone: this script gets two texts and gives back a choice. */
"use strict";

Tastemaker.widgets.arena = (host) => {
  const { h, t, icon, clear } = Tastemaker;
  const KEYS = { ArrowLeft: "left", ArrowRight: "right", ArrowDown: "tie", ArrowUp: "bad", 1: "left", 2: "right" };
  const VOTES_CHOICES = [10, 20, 30, 50];

  let run = null; // the test that is shown; null = the list
  let view = null; // what the server last said of it
  let timer = null;
  let busy = false;

  const page = h("div", { class: "ar-page" });
  host.root.append(page);
  const parts = Tastemaker.parts.arena({ host, open, ask });

  // ------------------------------------------------------------ asking

  /** An action whose answer is the page again. Resolves with it, or with null after the error was shown. */
  async function ask(type, payload = {}, options = {}) {
    const asked = run;
    const answer = await host.act(type, { run, ...payload }, options).catch((error) => {
      if (error.code === "not_found" && type === "show" && asked) open(null, { push: false });
      return null;
    });
    if (answer && asked === run) show(answer);
    return answer;
  }

  async function load(options = {}) {
    const answer = await ask("show", {}, options);
    if (!answer) plan(4000);
  }

  /** Ask again soon while answers are being written, seldom otherwise, and not while nobody looks. */
  function plan(wait = 0) {
    clearTimeout(timer);
    if (Tastemaker.page() !== "arena") return;
    const moves = view && (view.test ? view.test.is_live && !(view.test.match && view.test.made >= view.test.needed) : view.open.some((one) => one.is_live));
    timer = setTimeout(() => (document.hidden || busy ? plan() : load({ quiet: true })), wait || (moves ? 1000 : 5000));
  }

  function open(id, { push = true } = {}) {
    Tastemaker.navigate("arena", { run: id }, { push });
  }

  function show(answer) {
    view = answer;
    if (view.test && view.test.result) parts.result(page, view);
    else if (view.test) drawTest(view.test);
    else drawHome();
    plan();
  }

  // ------------------------------------------------------------ the list

  function drawHome() {
    const signature = JSON.stringify(view);
    if (page.signature === signature) return;
    const isFirst = !page.querySelector(".ar-home");
    page.signature = signature;
    const tested = view.versions.length ? h("div", { class: "ar-rows" }, view.versions.map(versionRow)) : h("div", { class: "tm-empty" },
      h("h2", {}, t("arena.none.title")), h("p", {}, t("arena.none")), h("button", { class: "tm-button is-primary", type: "button", onclick: () => Tastemaker.navigate("train") }, t("arena.go_train")));
    clear(page, h("div", { class: "ar-home" },
      h("header", { class: "ar-head" }, h("h1", {}, t("arena.title")), h("p", {}, t("arena.lead"))),
      view.in_use.length ? h("section", { class: "ar-in-use", "aria-label": t("arena.in_use") }, view.in_use.map(inUse)) : null,
      view.open.length ? h("section", {}, h("h2", {}, t("arena.open")), h("div", { class: "ar-rows" }, view.open.map(openRow))) : null,
      h("section", {}, view.versions.length ? h("h2", {}, t("arena.versions")) : null, tested),
      parts.history(view.history)));
    if (isFirst) page.parentElement.scrollTop = 0;
  }

  const inUse = (one) => h("div", { class: "ar-using tm-card", "data-base": one.base_id },
    h("div", { class: "ar-grow" }, h("p", { class: "tm-small" }, t("arena.in_use_for", { base: one.base })), h("strong", {}, one.name), one.since ? h("span", { class: "tm-small" }, ` ${t("arena.since", { when: Tastemaker.when(one.since) })}`) : null),
    one.can_roll_back ? parts.rollBack(one) : null);

  const openRow = (one) => h("div", { class: "ar-row tm-card", "data-run": one.run },
    h("div", { class: "ar-grow" }, h("strong", {}, one.name), h("p", { class: "tm-small" }, parts.standing(one)),
      h("div", { class: "tm-progress" }, h("span", { style: `width:${(100 * one.votes) / Math.max(1, one.needed)}%` }))),
    h("button", { class: "tm-button is-primary", type: "button", "data-action": "go-on", onclick: () => open(one.run) }, t(one.votes ? "arena.go_on" : "arena.begin")));

  function versionRow(one) {
    const facts = [one.task === "text" ? "" : t(`train.task.${one.task}`), one.base, one.examples ? t("arena.from_examples", { n: one.examples }) : "", Tastemaker.when(one.created_at)].filter(Boolean).join(" · ");
    const result = one.result ? h("button", { class: "tm-link ar-outcome", type: "button", onclick: () => open(one.result.run) }, one.result.text) : h("span", { class: "tm-small ar-outcome" }, one.under_way || t("arena.untested"));
    const test = h("button", { class: "tm-button", type: "button", "data-action": "evaluate", onclick: () => askTest(one) }, t(one.result ? "arena.test_again" : "arena.test"));
    return h("div", { class: "ar-row tm-card", "data-adapter": one.id, "data-state": one.state },
      h("div", { class: "ar-grow" }, h("strong", {}, one.name), one.state === "promoted" ? h("span", { class: "tm-badge is-accent" }, t("arena.in_use")) : null,
        h("p", { class: "tm-small" }, facts), one.marks ? h("p", { class: "tm-small is-care" }, t("arena.marks", { n: one.marks })) : null),
      result, one.state === "promoted" ? null : test);
  }

  /** How many votes, and against what: fixed before the first one. */
  function askTest(one) {
    const votes = h("select", { class: "tm-select", name: "n" }, VOTES_CHOICES.map((n) => h("option", { value: String(n), selected: n === 30 }, t("arena.n_votes", { n }))));
    const against = h("select", { class: "tm-select", name: "against" }, h("option", { value: "promoted" }, t("arena.against.promoted")), h("option", { value: "base" }, t("arena.against.base")));
    const start = async () => {
      const answer = await host.act("evaluate", { adapter_id: one.id, n: Number(votes.value), against: against.value }).catch(() => null);
      if (!answer) return false;
      Tastemaker.bus.emit("job");
      open(answer.run);
      return true;
    };
    Tastemaker.dialog(t("arena.test_of", { name: one.name }), [
      h("p", { class: "tm-small" }, t("arena.test_hint")),
      h("div", { class: "ar-form tm-root" }, h("label", {}, h("span", {}, t("arena.how_many")), votes), h("label", {}, h("span", {}, t("arena.against")), against)),
    ], [{ label: t("frame.cancel") }, { label: t("arena.start"), primary: true, run: start }]);
  }

  // ------------------------------------------------------------ the test

  const back = () => h("button", { class: "tm-icon-button", type: "button", "data-action": "leave", "aria-label": t("arena.leave"), title: t("arena.leave"), onclick: () => open(null) }, icon("x"));

  function drawTest(test) {
    const signature = JSON.stringify(test);
    if (page.signature === signature) return;
    const match = test.match;
    const isSame = page.shown === `${run}/${match ? match.id : ""}` && match && page.querySelector(".ar-arena");
    page.signature = signature;
    page.shown = `${run}/${match ? match.id : ""}`;
    const progress = h("header", { class: "progress" },
      h("span", { class: "ar-count", "aria-live": "polite" }, t("arena.progress", { n: test.votes, total: test.needed })),
      h("div", { class: "tm-progress", role: "progressbar", "aria-label": t("arena.title"), "aria-valuemin": 0, "aria-valuemax": test.needed, "aria-valuenow": test.votes }, h("span", { style: `width:${(100 * test.votes) / Math.max(1, test.needed)}%` })),
      h("button", { class: "tm-icon-button", type: "button", "data-action": "undo", "aria-label": t("arena.undo"), title: t("arena.undo"), disabled: !test.votes, onclick: undo }, icon("undo")), back());
    if (isSame) {
      page.querySelector(".progress").replaceWith(progress); // more answers are ready: the two that are being read stay untouched
      return;
    }
    clear(page, h("div", { class: "ar-arena" }, progress, match ? matchNode(match) : waitNode(test)));
    page.parentElement.scrollTop = 0;
    host.root.closest(".tm-page")?.scrollTo(0, 0);
  }

  const LONG = 600; // characters: a document that is summarised is read in a box of its own

  function matchNode(match) {
    const side = (name, html) => {
      const text = h("div", { class: "answer", dir: "auto" });
      Tastemaker.setHtml(text, html);
      return h("article", { class: "ar-side tm-card", "aria-label": t(`arena.side.${name}`) }, h("div", { class: "ar-letter", "aria-hidden": "true" }, t(`arena.letter.${name}`)), text);
    };
    const button = (choice, key) => h("button", { class: "tm-button", type: "button", "data-vote": choice, onclick: () => vote(choice) }, h("kbd", { class: "tm-kbd" }, key), h("span", {}, t(`arena.vote.${choice}`)));
    const before = match.context.length ? h("details", { class: "ar-context" }, h("summary", {}, t("arena.before", { n: match.context.length })),
      match.context.map((one) => h("p", { dir: "auto" }, h("span", { class: "tm-small" }, t(`arena.role.${one.role}`)), one.text))) : null;
    return h("div", { class: "ar-match" }, before, h("p", { class: `ar-prompt${match.prompt.length > LONG ? " is-document" : ""}`, dir: "auto", tabindex: match.prompt.length > LONG ? 0 : null }, match.prompt),
      h("div", { class: "ar-sides" }, side("left", match.left), side("right", match.right)),
      h("div", { class: "ar-votes", role: "group", "aria-label": t("arena.which") }, button("left", "←"), button("tie", "↓"), button("bad", "↑"), button("right", "→")));
  }

  function waitNode(test) {
    if (test.is_live) {
      return h("div", { class: "tm-empty ar-wait" }, h("h2", {}, t(test.status === "queued" ? "arena.queued" : "arena.writing")),
        h("p", {}, parts.standing({ ...test, votes: 0 })), h("div", { class: "tm-progress" }, h("span", { style: `width:${(100 * test.made) / Math.max(1, test.needed)}%` })),
        h("p", { class: "tm-small" }, t("arena.wait_hint")),
        h("button", { class: "tm-button", type: "button", "data-action": "cancel", onclick: () => ask("cancel") }, t("arena.cancel")));
    }
    return h("div", { class: "tm-empty ar-wait" }, h("h2", {}, t(`arena.ended.${test.status}`)), test.error ? h("p", {}, test.error) : null,
      test.can_resume ? h("button", { class: "tm-button is-primary", type: "button", "data-action": "resume", onclick: () => ask("resume") }, t("arena.resume")) : null,
      h("button", { class: "tm-button", type: "button", onclick: () => open(null) }, t("arena.leave")));
  }

  async function vote(choice) {
    const match = view && view.test && view.test.match;
    if (!match || busy) return;
    busy = true;
    const pressed = page.querySelector(`[data-vote="${choice}"]`);
    pressed?.classList.add("is-on");
    await ask("vote", { match_id: match.id, choice });
    pressed?.classList.remove("is-on");
    busy = false;
  }

  async function undo() {
    if (!view || !view.test || !view.test.votes || view.test.result || busy) return;
    busy = true;
    await ask("undo");
    busy = false;
  }

  // ------------------------------------------------------------ keys and opening

  document.addEventListener("keydown", (event) => {
    if (Tastemaker.page() !== "arena" || !run || !view || !view.test || view.test.result) return;
    if (Tastemaker.isTyping(event.target) || document.querySelector("dialog[open]") || event.ctrlKey || event.metaKey || event.altKey) return;
    const isUndo = event.key === "Backspace" || event.key === "u";
    if (!KEYS[event.key] && !isUndo) return;
    event.preventDefault();
    if (event.repeat) return; // a key held down is one vote
    if (isUndo) undo();
    else vote(KEYS[event.key]);
  });

  function arrive(address) {
    if (address.tab !== "arena") { clearTimeout(timer); return; }
    const wanted = address.run || null;
    if (wanted !== run || !view) {
      run = wanted;
      view = null;
      page.signature = page.shown = null;
      clear(page);
    }
    load({ quiet: Boolean(view) });
  }

  host.onOpen(() => arrive(Tastemaker.address()));
  Tastemaker.bus.on("address", (address) => { if (address.tab === "arena" && (address.run || null) !== run) arrive(address); });
};
