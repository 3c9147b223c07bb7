/* The Summarise page: what is on it, which jobs are followed, the address and the page's keys.
   Parts (input, options, document, card) draw; this file holds their shared state and talks to Python for them. */
"use strict";

/* Growing summaries arrive in a small widget of its own, so that nothing else is sent again while they do. */
Tastemaker.widgets.summaryLive = (host) => host.onValue((value) => value && Tastemaker.bus.emit("summary-live", value));

Tastemaker.widgets.summarize = (host) => {
  const { h, t, bus, parts, icon, keyed, clear } = Tastemaker;
  const QUIET_MS = 4000; // a stream silent for longer is looked after

  const summ = {
    host,
    config: host.value,
    form: null,
    recent: [],
    turn: null, // the documents on screen with all summaries of them; null while new ones are chosen
    chosen: null, // creation id that keys act on
    lives: new Map(), // job id → its last live view
    stopping: new Set(),
    next_training_in: 0,
  };

  // ------------------------------------------------------------ parts

  const page = h("div", { class: "su-page is-new", "data-show": "summary" });
  host.root.append(page);
  summ.changed = () => summ.options && summ.options.drawState();
  summ.canSend = () => (summ.turn ? !isSending : Boolean(summ.input && summ.input.isReady) && !isSending);
  let isSending = false;
  summ.options = parts.summaryOptions(summ);
  summ.input = parts.summaryInput(summ, page);
  summ.document = parts.summaryDocument(summ);
  const cards = parts.summaryCard(summ);

  const intro = h("header", { class: "su-intro" }, h("h1", {}, t("summarize.title")), h("p", {}, t("summarize.intro")));
  const recent = h("section", { class: "su-recent", hidden: true }, h("h2", {}, t("summarize.recent")), h("div", { class: "su-recent-list", id: "summary-recent" }));
  const start = h("div", { class: "su-start" }, intro, summ.input.node, recent);

  const fresh = h("button", { class: "tm-button", type: "button", id: "summary-new", onclick: () => summ.begin() }, icon("plus"), h("span", {}, t("summarize.new")));
  const heading = h("h1", { class: "su-heading", dir: "auto" });
  const switcher = h("div", { class: "wr-count su-switch", role: "radiogroup", "aria-label": t("summarize.show") }, ["summary", "document"].map((name) => h("button", { type: "button", role: "radio", "data-show": name, onclick: () => show(name) }, t(`summarize.show.${name}`))));
  const again = h("details", { class: "su-again tm-card" }, h("summary", {}, icon("plus"), h("span", {}, t("summarize.another"))), h("div", { class: "su-again-body" }));
  const list = h("div", { class: "su-list", id: "summary-list" });
  const result = h("div", { class: "su-result" }, h("header", { class: "su-head" }, fresh, heading, switcher), list, again);
  page.append(h("div", { class: "su-scroll su-first" }, start), summ.document.node, h("div", { class: "su-scroll su-second" }, result));

  function show(name) {
    page.dataset.show = name;
    for (const button of switcher.children) button.setAttribute("aria-checked", String(button.dataset.show === name));
  }
  show("summary");

  // ------------------------------------------------------------ drawing

  function draw() {
    page.classList.toggle("is-new", !summ.turn);
    if (!summ.turn) {
      if (summ.options.node.parentElement !== start) summ.input.node.after(summ.options.node);
      drawRecent();
      summ.options.draw();
      return;
    }
    if (!again.contains(summ.options.node)) again.querySelector(".su-again-body").append(summ.options.node);
    heading.textContent = summ.turn.title;
    heading.title = summ.turn.title;
    page.classList.toggle("has-many", summ.turn.versions.length > 2);
    keyed(list, summ.turn.versions, (version) => version.id, cards.create, cards.update);
    summ.options.draw();
  }

  function drawRecent() {
    recent.hidden = !summ.recent.length;
    keyed(recent.querySelector("#summary-recent"), summ.recent, (one) => one.id, (one) => h("button", { class: "su-recent-row", type: "button", onclick: () => Tastemaker.navigate("summarize", { item: one.id }) }, h("strong", { dir: "auto" }), h("span", { class: "su-recent-text", dir: "auto" }), h("span", { class: "tm-small" })),
      (node, one) => {
        node.children[0].textContent = one.title;
        node.children[1].textContent = one.text;
        node.children[2].textContent = [one.live ? t("summarize.in_work") : "", one.n > 1 ? t("summarize.versions", { n: one.n }) : "", Tastemaker.when(one.created_at)].filter(Boolean).join(" · ");
      });
  }

  // ------------------------------------------------------------ reading

  async function open() {
    const answer = await host.act("open", {}, { quiet: true }).catch((error) => { Tastemaker.notice(error.message === "no connection" ? t("frame.no_connection") : error.message, { kind: "error" }); return null; });
    if (!answer) return;
    Object.assign(summ, { form: answer.form, recent: answer.recent, next_training_in: answer.next_training_in });
    summ.input.form();
    draw();
    await showAddress();
  }

  async function showAddress() {
    if (Tastemaker.page() !== "summarize" || !summ.form) return;
    const { item, run } = Tastemaker.address();
    if (run) {
      const live = summ.recent.find((one) => one.live);
      Tastemaker.navigate("summarize", { run: null, item: live ? live.id : item }, { push: false });
      return;
    }
    if (!item) { if (summ.turn) close(); return; }
    if (summ.turn && (summ.turn.id === item || summ.turn.versions.some((version) => version.id === item))) return;
    const answer = await host.act("turn", { id: item }).catch(() => null);
    if (!answer) { Tastemaker.navigate("summarize", { item: null }, { push: false }); return; }
    if (Tastemaker.address().item !== item) return;
    summ.document.reset();
    take(answer.turn);
    summ.chosen = answer.turn.versions.some((version) => version.id === item) ? item : null;
    again.open = false;
  }

  /** Put a turn on screen, or its newer state. */
  function take(turn) {
    summ.turn = turn;
    summ.document.put(summ.document.hasText && sameDocuments(turn) ? texts : turn.documents);
    draw();
    followAll();
    readTexts();
  }

  let texts = [];
  const sameDocuments = (turn) => texts.length === turn.documents.length && texts.every((one, index) => one.id === turn.documents[index].id);

  async function readTexts() {
    if (!summ.turn || !summ.turn.documents.length) return;
    if (sameDocuments(summ.turn)) { summ.document.put(texts); return; }
    const id = summ.turn.id;
    const answer = await host.act("documents", { id }).catch(() => null);
    if (!answer || !summ.turn || summ.turn.id !== id) return;
    texts = answer.documents;
    summ.document.put(texts);
  }

  async function reread() {
    if (!summ.turn) return;
    const { id } = summ.turn;
    const answer = await host.act("turn", { id }, { quiet: true }).catch(() => null);
    if (answer && summ.turn && summ.turn.id === id) take(answer.turn);
  }

  function close() {
    summ.turn = null;
    summ.chosen = null;
    summ.document.reset();
    show("summary");
    draw();
    host.act("recent", {}, { quiet: true }).then((answer) => { summ.recent = answer.recent; if (!summ.turn) drawRecent(); }).catch(() => null);
  }

  /** Other documents. */
  summ.begin = () => { Tastemaker.navigate("summarize", { item: null }); if (summ.turn) close(); summ.input.grow(); summ.input.focus(); };

  // ------------------------------------------------------------ summarising

  let keys = null; // {asked, list}: a second try of the same click carries the same keys, so that it is the same job

  summ.send = async () => {
    if (isSending || !summ.form || !summ.canSend() || document.getElementById("summary-create").disabled) return;
    const { turn } = summ;
    const source = turn ? { text: "", documents: [] } : summ.input.sources();
    const wanted = summ.options.methods.map((method) => summ.options.options(method));
    const asked = JSON.stringify([source, wanted, turn && turn.id]);
    if (!keys || keys.asked !== asked) keys = { asked, list: wanted.map(() => Tastemaker.newKey()) };
    isSending = true;
    summ.changed();
    try {
      let parent = turn ? turn.id : null;
      for (const [index, options] of wanted.entries()) {
        const answer = await host.act("summarize", { ...source, options: { ...options, parent_id: parent }, key: keys.list[index] });
        parent = parent || answer.id;
        if (!turn) summ.document.reset();
        Tastemaker.navigate("summarize", { item: answer.turn.id }, { push: !summ.turn });
        take(answer.turn);
      }
      keys = null;
      again.open = false;
      if (!turn) summ.input.empty();
      list.lastElementChild?.scrollIntoView({ block: "nearest" });
      bus.emit("job");
    } catch { /* said already; everything stays in its place */ }
    isSending = false;
    summ.changed();
  };

  summ.resume = async (version) => {
    const answer = await host.act("resume", { job_id: version.job_id }).catch(() => null);
    if (answer) { followed.delete(version.job_id); take(answer.turn); bus.emit("job"); }
  };

  summ.stop = async (jobId) => {
    summ.stopping.add(jobId);
    draw();
    for (const version of summ.together(jobId)) cards.live(cardOf(version.id), summ.lives.get(jobId) || { line: "", fraction: null }, []);
    await host.act("cancel", { job_id: jobId }).catch(() => null);
    await reread();
    bus.emit("job");
  };

  // ------------------------------------------------------------ live

  const followed = new Map(); // job id → when it was last heard of
  const cardOf = (id) => list.querySelector(`[data-creation="${CSS.escape(id)}"]`);
  const isLive = (version) => version.status === "queued" || version.status === "running";

  /** The summaries of one click that are still being made: one stop ends them all. */
  summ.together = (jobId) => (summ.turn ? summ.turn.versions.filter((version) => version.job_id === jobId && isLive(version)) : []);

  function followAll() {
    for (const version of summ.turn.versions) {
      if (!isLive(version) || !version.job_id || followed.has(version.job_id)) continue;
      followed.set(version.job_id, Date.now());
      host.trigger("follow", { job_id: version.job_id });
    }
  }

  bus.on("summary-live", async (view) => {
    if (view.error && typeof view.error === "object") { Tastemaker.notice(view.error.message, { kind: "error" }); return; } // the stream itself failed
    if (view.done) { followed.delete(view.job_id); summ.stopping.delete(view.job_id); summ.lives.delete(view.job_id); } else { followed.set(view.job_id, Date.now()); summ.lives.set(view.job_id, view); }
    if (!summ.turn || view.turn_id !== summ.turn.id) return;
    if (view.documents.length && view.documents.length !== summ.turn.documents.length) { summ.turn.documents = view.documents; readTexts(); }
    for (const one of view.done ? [] : view.summaries) {
      const card = cardOf(one.id);
      if (card && isLive(card.version)) cards.live(card, view, one.lines);
    }
    if (!view.done) return;
    if (view.error) Tastemaker.notice(view.error, { kind: "error" });
    if (document.hidden || Tastemaker.page() !== "summarize") markTitle();
    await reread();
    bus.emit("job");
  });

  function markTitle() {
    document.title = `● ${document.title.replace(/^● /, "")}`;
    document.addEventListener("visibilitychange", () => { document.title = document.title.replace(/^● /, ""); }, { once: true });
  }

  // A dropped connection ends a stream, never the job: ask how things stand and follow again.
  setInterval(async () => {
    if (!summ.turn || document.hidden) return;
    const silent = summ.turn.versions.filter((version) => isLive(version) && Date.now() - (followed.get(version.job_id) || 0) > QUIET_MS);
    if (!silent.length) return;
    for (const version of silent) followed.delete(version.job_id);
    await reread();
  }, 2000);

  // ------------------------------------------------------------ sentences and their sources

  summ.unselect = () => { for (const one of list.querySelectorAll(".su-sentence.is-open")) one.classList.remove("is-open"); for (const one of list.querySelectorAll(".su-why")) one.hidden = true; };
  summ.showSources = (about) => {
    if (!about.sources.length) { summ.document.unmark(); return; }
    if (matchMedia("(max-width: 900px)").matches) show("document");
    summ.document.highlight(about.sources);
  };

  // ------------------------------------------------------------ choosing

  const versionOf = (id) => summ.turn && summ.turn.versions.find((version) => version.id === id);
  const active = () => versionOf(summ.chosen) || (summ.turn && summ.turn.versions.findLast((version) => !isLive(version)));

  summ.choose = (id) => {
    if (summ.chosen === id) return;
    summ.chosen = id;
    for (const card of list.children) card.classList.toggle("is-chosen", card.dataset.creation === id);
  };

  summ.rated = (id, answered) => {
    summ.next_training_in = answered.next_training_in;
    const version = versionOf(id);
    if (version) version.rating = answered.rating;
  };
  bus.on("rated", ({ id, rating }) => { const version = versionOf(id); if (version && JSON.stringify(version.rating) !== JSON.stringify(rating)) { version.rating = rating; draw(); } });

  summ.pick = async (version) => {
    const others = summ.turn.versions.filter((one) => one.id !== version.id && one.text && !isLive(one)).map((one) => one.id);
    if (!others.length) return;
    const answer = await host.act("prefer", { id: version.id, others }).catch(() => null);
    if (!answer) return;
    summ.next_training_in = answer.next_training_in;
    take(answer.turn);
    bus.emit("judged");
    Tastemaker.notice(t("summarize.pick_kept", { n: others.length }));
  };

  /** Another summary with the seed of this one: a longer one, in another style, or the same again. */
  summ.reuse = (seed) => {
    summ.options.change({ seed });
    Tastemaker.notice(t("summarize.seed_kept", { seed }));
  };

  summ.star = async (version) => {
    const answer = await host.act("star", { id: version.id, on: !version.starred }).catch(() => null);
    if (answer) { version.starred = answer.starred; draw(); }
  };

  summ.trash = async (version) => {
    if (!(await host.act("trash", { ids: [version.id] }).catch(() => null))) return;
    const left = summ.turn.versions.filter((one) => one.id !== version.id);
    const undo = { label: t("frame.undo"), run: async () => { await host.act("restore", { ids: [version.id] }); Tastemaker.navigate("summarize", { item: version.id }); summ.turn = null; await showAddress(); } };
    if (left.length) await reread();
    else summ.begin();
    Tastemaker.notice(t("summarize.trashed"), { action: undo });
  };

  summ.edit = async (version, text) => {
    const answer = await host.act("edit", { id: version.id, text }).catch(() => null);
    if (!answer) return false;
    take(answer.turn);
    bus.emit("judged");
    judged(answer.job_id);
    return true;
  };

  async function judged(jobId) {
    for (let n = 0; n < 240; n += 1) {
      await new Promise((resolve) => { setTimeout(resolve, 500); });
      const view = await host.act("judged", { job_id: jobId }, { quiet: true }).catch(() => ({ done: true }));
      if (view.message) Tastemaker.notice(view.message, { kind: "error" });
      if (view.done) { await reread(); return; }
    }
  }

  // ------------------------------------------------------------ keys and addresses

  bus.on("address", showAddress);
  bus.on("model", () => { if (Tastemaker.page() === "summarize") open(); });

  document.addEventListener("keydown", (event) => {
    if (Tastemaker.page() !== "summarize" || event.defaultPrevented || document.querySelector("dialog[open], .tm-menu")) return;
    if (event.key === "Escape") {
      const running = new Set(summ.turn ? summ.turn.versions.filter(isLive).map((version) => version.job_id) : []);
      if (running.size) event.preventDefault();
      for (const jobId of running) summ.stop(jobId);
      return;
    }
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.isComposing) { event.preventDefault(); summ.send(); return; }
    if (Tastemaker.isTyping(event.target) || event.ctrlKey || event.metaKey || event.altKey) return;
    const version = active();
    if (/^[1-5]$/.test(event.key) && version) cards.rate(version.id, Number(event.key));
    else if (event.key === "/" && !summ.turn) summ.input.focus();
    else if (event.key === "p" && version) summ.pick(version);
    else return;
    event.preventDefault();
  });

  host.onOpen(() => { open(); summ.input.grow(); });
};
