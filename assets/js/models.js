/* The Models page: this machine, what is in memory, a card for each model by task, and adding one's own.
   Every action answers the whole page; while something is being fetched the page asks each second. */
"use strict";

Tastemaker.widgets.models = (host) => {
  const { h, t, icon, keyed, clear, bytes } = Tastemaker;
  const TASKS = ["text", "embedding", "image"];
  const LOCALE = Tastemaker.language() === "zh" ? "zh-CN" : "en-GB";
  const languageNames = new Intl.DisplayNames([LOCALE], { type: "language" });
  const percent = (fraction) => `${Math.round((fraction || 0) * 100)} %`;

  let view = null;
  let timer = null;
  let checking = null; // the model whose files are being read again
  let speed = null; // the newest measurement
  let isMeasuring = false;

  // ------------------------------------------------------------ parts

  const add = h("button", { class: "tm-button", id: "models-add", type: "button", "aria-haspopup": "menu", onclick: openAdd }, icon("plus"), h("span", {}, t("models.add")));
  const machine = h("section", { class: "mo-machine tm-card", "aria-label": t("models.machine") });
  const offline = h("p", { class: "mo-offline", hidden: true }, icon("warning"), h("span", {}, t("models.offline")));
  const tasks = h("div", { class: "mo-tasks" });
  host.root.append(h("div", { class: "mo-page" }, h("header", { class: "mo-head" }, h("h1", {}, t("models.title")), add), machine, offline, tasks));

  const adapters = Tastemaker.parts.modelAdapters(ask);

  // ------------------------------------------------------------ asking

  async function ask(type, payload = {}, options = {}) {
    const answer = await host.act(type, payload, options);
    const finished = view && checking && view.cards.find((card) => card.id === checking && card.job_id);
    view = answer;
    const now = checking && view.cards.find((card) => card.id === checking);
    if (finished && now && !now.job_id) {
      if (now.state === "installed" && !now.error) Tastemaker.notice(t("models.verified", { name: now.name }));
      checking = null;
    }
    draw();
    plan();
    return answer;
  }

  /** Ask again soon while something moves, seldom otherwise, and not while nobody looks. */
  function plan() {
    clearTimeout(timer);
    if (Tastemaker.page() !== "models") return;
    const isBusy = view && view.cards.some((card) => card.job_id);
    timer = setTimeout(() => (document.hidden ? plan() : ask("show", {}, { quiet: true }).catch(plan)), isBusy ? 1000 : 4000);
  }

  const run = (type, payload) => ask(type, payload).then(() => { Tastemaker.bus.emit("job"); }).catch(() => ask("show", {}, { quiet: true }).catch(() => null));

  // ------------------------------------------------------------ machine

  function meter(label, used, total) {
    const part = total ? Math.min(1, Math.max(0, used / total)) : 0;
    return h("div", { class: "mo-meter" }, h("div", { class: "mo-meter-line" }, h("span", {}, label), h("span", { class: "tm-small" }, t("models.free", { free: bytes(total - used), total: bytes(total) }))),
      h("div", { class: `tm-progress${part > 0.9 ? " is-full" : ""}`, role: "meter", "aria-label": label, "aria-valuenow": Math.round(part * 100), "aria-valuemin": 0, "aria-valuemax": 100 }, h("span", { style: `width:${part * 100}%` })));
  }

  /** A figure takes seconds and the machine's whole strength, so it is measured only when somebody asks. */
  function measure() {
    isMeasuring = true;
    draw();
    ask("measure").then((answer) => { speed = answer.speed; }).catch(() => null).finally(() => { isMeasuring = false; draw(); });
  }

  function speedometer() {
    const said = speed && !isMeasuring ? [
      h("p", { class: "mo-rates" }, h("span", {}, h("strong", {}, String(speed.write_tokens_per_s)), ` ${t("models.speed.writes")}`), h("span", {}, h("strong", {}, String(speed.read_tokens_per_s)), ` ${t("models.speed.reads")}`)),
      h("p", { class: "tm-small" }, [speed.name, speed.form, t("models.speed.first", { n: speed.first_token_s, tokens: speed.prompt_tokens })].filter(Boolean).join(" · ")),
    ] : [];
    const label = isMeasuring ? t("models.speed.measuring") : speed ? t("models.speed.again") : t("models.speed.measure");
    return h("div", { class: "mo-speed", "aria-live": "polite" }, said, h("button", { class: "tm-link tm-small", id: "models-measure", type: "button", disabled: isMeasuring, title: t("models.speed.note"), onclick: measure }, label));
  }

  function drawMachine() {
    const m = view.hardware;
    const device = m.device === "cpu" ? t("models.device.cpu") : m.device === "mps" ? t("models.device.mps") : t("models.device.cuda", { device: m.device });
    const facts = h("div", { class: "mo-facts" }, icon("cpu"), h("div", {}, h("strong", {}, m.gpu || m.cpu || t("models.machine")), h("p", { class: "tm-small" }, [device, m.gpu ? m.cpu : "", t("models.cores", { n: m.cores })].filter(Boolean).join(" · ")), speedometer()));
    const meters = [meter(t("models.memory"), m.ram_bytes - m.ram_available_bytes, m.ram_bytes)];
    if (m.gpu_bytes) meters.push(meter(t("models.gpu_memory"), m.gpu_bytes - (m.gpu_available_bytes || 0), m.gpu_bytes));
    const loaded = view.loaded.length ? view.loaded.map((one) => h("div", { class: "mo-loaded", "data-model": one.id }, h("span", {}, one.name), h("span", { class: "tm-small" }, bytes(one.size_bytes)),
      one.in_use ? h("span", { class: "tm-badge" }, t("models.writing")) : h("button", { class: "tm-link tm-small", type: "button", onclick: () => run("unload", { id: one.id }) }, t("models.unload"))))
      : [h("p", { class: "tm-small" }, t("models.none_loaded"))];
    clear(machine, facts, h("div", { class: "mo-meters" }, meters), h("div", { class: "mo-memory" }, h("h2", {}, t("models.in_memory")), loaded));
  }

  // ------------------------------------------------------------ cards

  function draw() {
    drawMachine();
    offline.hidden = !view.offline;
    const shown = TASKS.map((task) => ({ task, cards: view.cards.filter((card) => card.task === task) })).filter((one) => one.cards.length);
    keyed(tasks, shown, (one) => one.task, (one) => h("section", { class: "mo-task", "aria-labelledby": `mo-${one.task}` },
      h("h2", { id: `mo-${one.task}` }, t(`models.task.${one.task}`)), h("p", { class: "tm-small" }, t(`models.task.${one.task}.hint`)),
      h("div", { class: "mo-cards" }), h("details", { class: "mo-unfit" }, h("summary", {}), h("div", { class: "mo-cards" }))), (node, one) => {
      const isHere = (card) => card.state !== "missing" || card.job_id || card.is_added || card.error;
      const near = one.cards.filter((card) => card.fits || isHere(card));
      const far = one.cards.filter((card) => !near.includes(card));
      const order = (card) => (isHere(card) ? 0 : card.is_recommended ? 1 : 2);
      near.sort((a, b) => order(a) - order(b));
      const [,, cards, details] = node.children;
      keyed(cards, near, (card) => card.id, create, update);
      details.hidden = !far.length;
      details.firstElementChild.textContent = t("models.too_large", { n: far.length });
      keyed(details.lastElementChild, far, (card) => card.id, create, update);
    });
  }

  const create = (card) => h("article", { class: "mo-card tm-card", "data-model": card.id, tabindex: "-1" });

  function update(node, card) {
    const signature = JSON.stringify([card, view.offline]);
    if (node.signature === signature) return;
    const progress = node.querySelector(".mo-progress");
    // While it is fetched only the figures change: the Cancel button under the pointer stays the same.
    if (progress && card.job_id && node.phase === card.phase) drawProgress(progress, card);
    else clear(node, header(card), h("p", { class: "mo-about" }, card.description || card.origin), facts(card), fit(card), card.error ? h("p", { class: "mo-error", role: "alert" }, icon("warning"), h("span", {}, card.error)) : null, adapters(card), actions(card));
    node.signature = signature;
    node.phase = card.phase;
    node.dataset.state = card.job_id ? "getting" : card.state;
  }

  function header(card) {
    const badges = [
      card.is_default ? h("span", { class: "tm-badge is-accent" }, t("models.in_use")) : null,
      card.state === "installed" && !card.is_added && !card.is_default ? h("span", { class: "tm-badge is-good" }, t("models.installed")) : null,
      card.is_added ? h("span", { class: "tm-badge" }, t("models.yours")) : null,
      card.state === "missing" && card.is_recommended && !card.job_id && !card.is_default ? h("span", { class: "tm-badge" }, t("models.recommended")) : null,
    ];
    return h("header", {}, h("h3", {}, card.name), badges);
  }

  function facts(card) {
    const languages = card.languages.map((code) => languageNames.of(code));
    const context = card.context_length >= 1000 ? `${Math.round(card.context_length / 1024)}k` : card.context_length;
    const rows = [
      ["languages", languages.length ? languages.slice(0, 5).join(t("models.comma")) + (languages.length > 5 ? ` +${languages.length - 5}` : "") : ""],
      ["size", card.size_bytes ? bytes(card.state === "missing" ? card.download_bytes || card.size_bytes : card.size_bytes) : ""],
      ["memory", card.memory_bytes ? bytes(card.memory_bytes) : ""],
      ["context", context ? t("models.tokens", { n: context }) : ""],
      ["licence", card.licence],
      ["from", card.description ? card.origin : ""],
    ].filter(([, value]) => value);
    const list = h("dl", { class: "mo-rows" }, rows.flatMap(([name, value]) => [h("dt", {}, t(`models.fact.${name}`)), h("dd", {}, value)]));
    if (languages.length > 5) list.children[1].title = languages.join(t("models.comma"));
    return list;
  }

  function fit(card) {
    if (card.is_added && !card.memory_bytes) return h("p", { class: "mo-fit tm-small" }, t("models.elsewhere"));
    if (card.fits) return h("p", { class: "mo-fit tm-small is-good" }, icon("check"), h("span", {}, t(card.is_recommended || card.is_added ? "models.fits" : "models.fits_slow")));
    return h("p", { class: "mo-fit tm-small is-care" }, icon("warning"), h("span", {}, t("models.unfit", { needs: bytes(card.needs_bytes), have: bytes(card.have_bytes) })));
  }

  function actions(card) {
    const button = (name, label, onclick, extra = "") => h("button", { class: `tm-button${extra}`, type: "button", "data-action": name, onclick }, label);
    if (card.job_id) {
      const progress = h("div", { class: "mo-progress" }, h("div", { class: "tm-progress", role: "progressbar", "aria-label": card.name, "aria-valuemin": 0, "aria-valuemax": 100 }, h("span", {})), h("span", { class: "tm-small" }));
      drawProgress(progress, card);
      return h("footer", {}, progress, button("cancel", t("frame.cancel"), () => run("cancel", { id: card.id })));
    }
    const more = h("button", { class: "tm-icon-button", type: "button", "aria-haspopup": "menu", "aria-label": t("models.more", { name: card.name }), title: t("models.more", { name: card.name }), "data-action": "more", onclick: () => openMore(more, card) }, icon("dots"));
    if (card.state === "installed") {
      const use = !card.is_default && card.task !== "embedding" ? button("default", t("models.use"), () => run("default", { id: card.id, task: card.task })) : null;
      const memory = card.loaded_bytes ? t("models.in_memory_now", { size: bytes(card.loaded_bytes) }) : card.is_default && card.memory_bytes ? t("models.loads_later") : "";
      return h("footer", {}, use, h("span", { class: "tm-small" }, memory), h("span", { class: "mo-gap" }), more);
    }
    if (!card.is_stored && !card.is_added) return h("footer", {}, h("span", { class: "tm-small" }, t("models.not_shipped")));
    const label = card.state === "partial" ? t("models.go_on") : t("models.get", { size: bytes(card.download_bytes || card.size_bytes) });
    const get = button("get", label, () => run("get", { id: card.id }), card.is_recommended && card.is_starter ? " is-primary" : "");
    get.disabled = view.offline;
    return h("footer", {}, get, h("span", { class: "mo-gap" }), card.state === "partial" || card.is_added ? more : null);
  }

  function drawProgress(node, card) {
    const known = card.progress !== null && !(card.progress === 0 && !card.eta_s);
    const left = card.eta_s ? t("models.left", { time: duration(card.eta_s) }) : "";
    node.firstElementChild.classList.toggle("is-unknown", !known);
    node.firstElementChild.firstElementChild.style.width = percent(card.progress).replace(" ", "");
    node.firstElementChild.setAttribute("aria-valuenow", Math.round((card.progress || 0) * 100));
    const phase = t(`models.phase.${card.phase || "start"}`);
    const done = card.phase === "download" && card.download_bytes ? `${bytes(card.progress * card.download_bytes)} / ${bytes(card.download_bytes)}` : known ? percent(card.progress) : "";
    node.lastElementChild.textContent = [phase, done, left].filter(Boolean).join(" · ");
  }

  function duration(seconds) {
    if (seconds < 60) return t("models.seconds", { n: Math.max(1, Math.round(seconds)) });
    if (seconds < 3600) return t("models.minutes", { n: Math.round(seconds / 60) });
    return t("models.hours", { n: (seconds / 3600).toFixed(1) });
  }

  // ------------------------------------------------------------ menus and dialogs

  function openMore(anchor, card) {
    const entries = [];
    if (card.is_stored && card.state === "installed") entries.push({ label: t("models.verify"), note: t("models.verify.note"), icon: "check", run: () => { checking = card.id; run("get", { id: card.id }); } });
    if (card.loaded_bytes) entries.push({ label: t("models.unload"), note: t("models.unload.note"), icon: "cpu", run: () => run("unload", { id: card.id }) });
    if (card.is_default && !card.loaded_bytes && card.state === "installed" && card.memory_bytes) entries.push({ label: t("models.load"), note: t("models.load.note"), icon: "cpu", run: () => run("load") });
    if (card.is_stored || card.is_added) entries.push({ label: t(card.is_added ? "models.forget" : "models.remove"), icon: "trash", danger: true, run: () => askRemove(card) });
    Tastemaker.menu(anchor, entries);
  }

  function askRemove(card) {
    const text = card.is_added ? t("models.forget.ask") : t("models.remove.ask", { size: bytes(card.size_bytes) });
    Tastemaker.dialog(t(card.is_added ? "models.forget.title" : "models.remove.title", { name: card.name }), h("p", {}, text, card.is_default ? ` ${t("models.remove.default")}` : ""),
      [{ label: t("frame.cancel") }, { label: t(card.is_added ? "models.forget" : "models.remove"), danger: true, run: () => { run("remove", { id: card.id }); } }]);
  }

  function openAdd() {
    Tastemaker.menu(add, [
      { label: t("models.add.local"), note: t("models.add.local.note"), icon: "folder", run: () => askNew("local", ["path", "name"]) },
      { label: t("models.add.server"), note: t("models.add.server.note"), icon: "server", run: () => askNew("server", ["url", "model", "name", "key"]) },
    ]);
  }

  /** A small form; what is wrong is said under it, and everything typed stays. */
  function askNew(kind, names) {
    const inputs = names.map((name) => h("input", {
      class: "tm-input", name, type: name === "key" ? "password" : "text", autocomplete: name === "key" ? "new-password" : "off", spellcheck: "false", placeholder: t(`models.add.${kind}.${name}.example`),
    }));
    const problem = h("p", { class: "mo-error", role: "alert", hidden: true });
    const save = async () => {
      const values = Object.fromEntries(inputs.map((input) => [input.name, input.value.trim()]));
      problem.hidden = true;
      try {
        const answer = await ask(`add_${kind}`, values, { quiet: true });
        const card = tasks.querySelector(`[data-model="${CSS.escape(answer.added)}"]`);
        card?.scrollIntoView({ block: "center", behavior: "smooth" });
        card?.focus({ preventScroll: true });
        Tastemaker.bus.emit("job");
        return true;
      } catch (error) {
        clear(problem, icon("warning"), h("span", {}, error.code ? error.message : t("frame.no_connection")));
        problem.hidden = false;
        return false;
      }
    };
    const dialog = Tastemaker.dialog(t(`models.add.${kind}`), [
      h("p", { class: "tm-small" }, t(`models.add.${kind}.hint`)),
      h("div", { class: "mo-form tm-root" }, inputs.map((input) => h("label", {}, h("span", {}, t(`models.add.${kind}.${input.name}`)), input, input.name === "key" ? h("span", { class: "tm-small" }, t("models.add.server.key.note")) : null))), problem,
    ], [{ label: t("frame.cancel") }, { label: t("models.add.save"), primary: true, run: save }]);
    dialog.addEventListener("keydown", (event) => { if (event.key === "Enter" && event.target.tagName === "INPUT") { event.preventDefault(); dialog.querySelector(".is-primary").click(); } });
    inputs[0].focus();
  }

  // ------------------------------------------------------------ opening

  host.onOpen(() => ask("show").catch(plan));
  Tastemaker.bus.on("model", () => Tastemaker.page() === "models" && ask("show", {}, { quiet: true }).catch(() => null));
};
