/* The frame: rail with the tabs, top line (model, activity, language, theme, keys), the download banner. */
"use strict";

Tastemaker.widgets.rail = (host) => {
  const { h, t, icon } = Tastemaker;
  const TABS = [["write", "pen"], ["images", "picture"], ["summarize", "summary"], ["library", "library"], ["train", "train"], ["arena", "arena"], ["models", "models"], ["settings", "settings"]];
  const JOB_PAGES = { train: "train", evaluate: "arena", imagine: "images", upscale: "images", redraw: "images", expand: "images", summarize: "summarize", read: "summarize", judge: "summarize" };
  const THEMES = ["auto", "light", "dark"];
  const THEME_ICON = { auto: "auto", light: "sun", dark: "moon" };

  // ------------------------------------------------------------ parts

  const tabs = TABS.map(([page, sign]) => h("button", {
    class: "tm-tab", role: "tab", type: "button", id: `tab-${page}`, "data-tab": page, "aria-controls": `page-${page}`,
    onclick: () => Tastemaker.navigate(page),
  }, icon(sign), h("span", {}, t(`frame.tab.${page}`))));
  const rail = h("nav", { class: "tm-rail", role: "tablist", "aria-label": t("frame.pages"), "aria-orientation": "vertical", onkeydown: moveFocus },
    h("div", { class: "tm-brand" }, h("i", { class: "tm-brand-mark", "aria-hidden": "true" }), h("span", {}, "Tastemaker")), tabs);

  const modelName = h("span", { class: "tm-model-name" }, "…");
  const versionName = h("span", { class: "tm-model-version" });
  const model = h("button", { class: "tm-model", id: "model-in-use", type: "button", "aria-haspopup": "menu", title: t("frame.model_in_use"), onclick: pickModel },
    h("span", { class: "tm-model-both" }, modelName, versionName), icon("chevronDown"));
  const activityText = h("span", {}, t("frame.activity.idle"));
  const activity = h("button", { class: "tm-activity", id: "activity", type: "button", onclick: showJob },
    h("i", { class: "tm-activity-dot", "aria-hidden": "true" }), activityText);
  const other = Tastemaker.language() === "zh" ? "en" : "zh";
  const language = h("button", { class: "tm-icon-button tm-language", id: "language", type: "button", lang: other === "zh" ? "zh-CN" : "en",
    "aria-label": t("frame.switch_language"), title: t("frame.switch_language"), onclick: switchLanguage }, other === "zh" ? "中文" : "EN");
  const theme = h("button", { class: "tm-icon-button", id: "theme", type: "button", onclick: nextTheme });
  const keys = h("button", { class: "tm-icon-button tm-keys-button", id: "keys", type: "button", "aria-label": t("frame.keys"), title: t("frame.keys"),
    onclick: () => Tastemaker.showKeys() }, icon("keys"));
  const topline = h("header", { class: "tm-topline" }, model, h("span", { class: "tm-topline-gap" }), activity, language, theme, keys);

  const bannerText = h("span", { class: "tm-banner-text" });
  const bannerBar = h("span", {});
  const bannerProgress = h("div", { class: "tm-progress", role: "progressbar" }, bannerBar);
  const bannerGo = h("button", { class: "tm-link", type: "button", onclick: () => Tastemaker.navigate("models") }, t("frame.open_models"));
  const banner = h("div", { class: "tm-banner", id: "download-banner", role: "status", hidden: true }, bannerText, bannerProgress, bannerGo);
  host.root.append(rail, topline, banner);

  // ------------------------------------------------------------ pages

  function showTabs() {
    for (const tab of tabs) {
      const on = tab.dataset.tab === Tastemaker.page();
      tab.setAttribute("aria-selected", on);
      tab.tabIndex = on ? 0 : -1;
    }
    for (const [page] of TABS) {
      const panel = document.getElementById(`page-${page}`);
      panel?.setAttribute("role", "tabpanel");
      panel?.setAttribute("aria-labelledby", `tab-${page}`);
    }
    document.title = Tastemaker.page() === "write" ? document.title : `${t(`frame.tab.${Tastemaker.page()}`)} · Tastemaker`;
  }

  function moveFocus(event) {
    const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const next = tabs[(tabs.indexOf(document.activeElement) + step + tabs.length) % tabs.length];
    next.focus();
    Tastemaker.navigate(next.dataset.tab);
  }

  Tastemaker.bus.on("page", (page) => { showTabs(); host.trigger(`open_${page}`, {}); });
  showTabs();

  // ------------------------------------------------------------ model, activity, banner

  let state = { models: [], jobs: [], model: null, drawing: { models: [], model: null }, download: null };
  let timer = null;

  /** Ask often while something runs, seldom otherwise, and not at all while nobody looks. */
  async function refresh() {
    clearTimeout(timer);
    if (!document.hidden) {
      try {
        state = await host.act("status", {}, { quiet: true });
        draw();
      } catch { activityText.textContent = t("frame.activity.offline"); }
    }
    timer = setTimeout(refresh, state.download || state.jobs.length ? 1000 : 5000);
  }

  function draw() {
    drawModel();
    activityText.textContent = state.activity;
    activity.classList.toggle("is-busy", state.jobs.length > 0);
    const shown = state.download;
    banner.hidden = !shown;
    document.documentElement.toggleAttribute("data-banner", Boolean(shown));
    if (shown) {
      bannerText.textContent = shown.text;
      bannerProgress.hidden = Boolean(shown.error);
      bannerProgress.classList.toggle("is-unknown", shown.fraction === null);
      bannerBar.style.width = `${Math.round((shown.fraction || 0) * 100)}%`;
    }
    Tastemaker.status = state;
    Tastemaker.bus.emit("status", state);
  }

  /** The model that draws on the Images page, elsewhere the one that writes. */
  const task = () => (Tastemaker.page() === "images" ? "image" : "text");
  const inUse = () => (task() === "image" ? state.drawing : state);

  function drawModel() {
    const { model: now } = inUse();
    const isThere = now && inUse().models.some((one) => one.id === now.id);
    const isNamed = now && (isThere || task() === "text");
    modelName.textContent = isNamed ? now.name : t("frame.no_model");
    versionName.textContent = isNamed ? ` · ${now.adapter}` : ""; // never cut off: it is what changes
  }
  Tastemaker.bus.on("page", drawModel);

  async function pickModel() {
    await refresh(); // a model that was added a moment ago is in the menu too
    const choose = async (id) => { state = await host.act("use_model", { model_id: id, task: task() }); draw(); Tastemaker.bus.emit("model", id); };
    const entries = inUse().models.map((one) => ({ label: one.name, note: one.note, checked: inUse().model && one.id === inUse().model.id, run: () => choose(one.id) }));
    entries.push({ label: t("frame.more_models"), icon: "models", run: () => Tastemaker.navigate("models") });
    Tastemaker.menu(model, entries);
  }

  function showJob() {
    if (state.jobs.length > 1) Tastemaker.menu(activity, state.jobs.map((job) => ({ label: job.text, run: () => openJob(job) })));
    else openJob(state.jobs[0]);
  }

  function openJob(job) {
    if (job && job.conversation_id) Tastemaker.navigate("write", { c: job.conversation_id });
    else if (job && JOB_PAGES[job.kind]) Tastemaker.navigate(JOB_PAGES[job.kind], { run: job.job_id });
    else Tastemaker.navigate(job ? "models" : Tastemaker.page());
  }

  Tastemaker.refreshStatus = refresh;
  document.addEventListener("visibilitychange", () => document.hidden || refresh());
  Tastemaker.bus.on("job", refresh);

  // ------------------------------------------------------------ language and theme

  async function switchLanguage() {
    await host.act("language", { language: other }).catch(() => null);
    location.assign((other === "zh" ? "/zh/" : "/") + location.search);
  }

  function drawTheme() {
    const now = Tastemaker.theme();
    Tastemaker.clear(theme, icon(THEME_ICON[now]));
    theme.setAttribute("aria-label", t(`frame.theme.${now}`));
    theme.title = t(`frame.theme.${now}`);
  }

  function nextTheme() {
    const next = THEMES[(THEMES.indexOf(Tastemaker.theme()) + 1) % THEMES.length];
    Tastemaker.setTheme(next);
    host.act("theme", { theme: next }, { quiet: true }).catch(() => null);
  }
  Tastemaker.bus.on("theme", drawTheme); // the Settings page changes it too
  drawTheme();
  refresh();
};
