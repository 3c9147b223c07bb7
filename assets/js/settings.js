/* The Settings page: every choice is saved when it is made. */
"use strict";

Tastemaker.widgets.settings = (host) => {
  const { h, t, icon, clear, bytes } = Tastemaker;
  const THEMES = ["auto", "light", "dark"];
  let view = null;

  const column = h("div", { class: "se-column" });
  host.root.append(h("div", { class: "se-page" }, h("h1", {}, t("settings.title")), h("p", { class: "tm-small" }, t("settings.saved_at_once")), column));

  const ask = async (type, payload = {}, options = {}) => { view = await host.act(type, payload, options); draw(); return view; };
  const section = (name, ...children) => h("section", { class: "se-section tm-card", id: `settings-${name}` }, h("h2", {}, t(`settings.${name}`)), children);
  const row = (label, note, ...control) => h("div", { class: "se-row" }, h("div", {}, h("div", { class: "se-label" }, label), note ? h("p", { class: "tm-small" }, note) : null), h("div", { class: "se-control" }, control));

  /** A few choices side by side; arrow keys move as in any radio group. */
  function choose(name, values, now, run) {
    return h("div", { class: "se-choice", role: "radiogroup", "aria-label": t(`settings.${name}`) }, values.map(([value, label]) => h("label", { class: value === now ? "is-on" : "" },
      h("input", { type: "radio", name: `settings-${name}`, value: value ?? "", checked: value === now, class: "tm-visually-hidden", onchange: () => run(value) }), label)));
  }

  // ------------------------------------------------------------ drawing

  function draw() {
    const focus = document.activeElement?.closest?.(".se-choice") ? document.activeElement : null;
    const [name, value] = focus ? [focus.name, focus.value] : [];
    clear(column, warnings(), look(), device(), space(), copies(), privacy(), keys(), about());
    if (name) column.querySelector(`input[name="${name}"][value="${CSS.escape(value)}"]`)?.focus();
  }

  function warnings() {
    if (!view.warnings.length) return null;
    return h("section", { class: "se-warnings", role: "status" }, view.warnings.map((text) => h("p", {}, icon("warning"), h("span", {}, text))));
  }

  function look() {
    return section("look",
      row(t("settings.language"), null, choose("language", [[null, t("settings.language.auto")], ["en", "English"], ["zh", "中文"]], view.language, setLanguage)),
      row(t("settings.theme"), null, choose("theme", THEMES.map((value) => [value, t(`settings.theme.${value}`)]), Tastemaker.theme(), setTheme)));
  }

  async function setLanguage(value) {
    await host.act("set", { name: "language", value });
    const language = value || ((navigator.language || "").startsWith("zh") ? "zh" : "en");
    if (language === Tastemaker.language()) await ask("show");
    else location.assign((language === "zh" ? "/zh/" : "/") + location.search);
  }

  async function setTheme(value) {
    Tastemaker.setTheme(value);
    Tastemaker.bus.emit("theme", value);
    await ask("set", { name: "theme", value });
  }

  function device() {
    const { chosen, choices, running, name, flag } = view.device;
    const label = (value) => { const key = `settings.device.${value}`; return Tastemaker.has(key) ? t(key) : value; };
    const waits = !flag && chosen !== "auto" && running.split(":")[0] !== chosen.split(":")[0];
    const note = flag ? t("settings.device.flag", { flag }) : waits ? t("settings.device.waits") : t("settings.device.note");
    return section("machine", row(t("settings.device"), t("settings.device.running", { device: label(running), name: name || "" }), choose("device", choices.map((value) => [value, label(value)]), chosen, (value) => ask("set", { name: "device", value }).catch(() => ask("show")))),
      h("p", { class: `tm-small${waits ? " se-waits" : ""}` }, note));
  }

  // ------------------------------------------------------------ data

  function space() {
    const { parts, free_bytes: free } = view.space;
    const total = parts.reduce((sum, part) => sum + part.bytes, 0);
    const folder = (name) => row(t(`settings.${name}`), null, h("code", { class: "se-path" }, view.space[name]),
      h("button", { class: "tm-icon-button", type: "button", "aria-label": t("settings.copy_path"), title: t("settings.copy_path"), onclick: () => Tastemaker.copy(view.space[name]) }, icon("copy")));
    const bar = h("div", { class: "se-bar", "aria-hidden": "true" }, parts.filter((part) => part.bytes > 0).map((part) => h("span", { class: `is-${part.name}`, style: `flex-grow:${part.bytes}` })));
    const legend = h("ul", { class: "se-legend" }, parts.map((part) => h("li", {}, h("i", { class: `is-${part.name}` }), h("span", {}, t(`settings.space.${part.name}`)), h("span", { class: "tm-small" }, bytes(part.bytes)))));
    return section("data", folder("data_dir"), folder("models_dir"), h("p", { class: "se-total" }, t("settings.space", { used: bytes(total), free: bytes(free) })), bar, legend, h("p", { class: "tm-small" }, t("settings.data.move")));
  }

  function copies() {
    const save = h("button", { class: "tm-button", type: "button", id: "settings-backup-now", onclick: () => backup(save) }, icon("download"), h("span", {}, t("settings.backup.now")));
    const file = h("input", { type: "file", accept: ".zip", class: "tm-visually-hidden", id: "settings-restore-file", tabindex: "-1", onchange: () => file.files[0] && askRestore(file.files[0], open) });
    const open = h("button", { class: "tm-button", type: "button", onclick: () => file.click() }, icon("folder"), h("span", {}, t("settings.restore.choose")));
    const staged = view.staged ? h("div", { class: "se-staged", role: "status" }, icon("check"), h("p", {}, t("settings.restore.staged")), h("button", { class: "tm-link", type: "button", onclick: () => ask("unstage") }, t("settings.restore.unstage"))) : null;
    return section("backup", row(t("settings.backup.label"), t("settings.backup.note"), save), row(t("settings.restore.label"), t("settings.restore.note"), open, file), staged);
  }

  async function backup(button) {
    button.disabled = true;
    const close = Tastemaker.notice(t("settings.backup.busy"), { seconds: 3600 });
    try {
      const made = await host.act("backup");
      const base = location.pathname.startsWith("/zh") ? "/zh" : "";
      Tastemaker.download(`${base}/gradio_api/file=${encodeURI(made.path)}`, made.name);
      Tastemaker.notice(t("settings.backup.done", { name: made.name, size: bytes(made.size_bytes) }));
    } catch { /* act has said why */ } finally {
      close();
      button.disabled = false;
    }
  }

  function askRestore(file, button) {
    const run = () => { restore(file, button); };
    Tastemaker.dialog(t("settings.restore.label"), h("p", {}, t("settings.restore.ask", { name: file.name })), [{ label: t("frame.cancel") }, { label: t("settings.restore.check"), primary: true, run }]);
  }

  async function restore(file, button) {
    button.disabled = true;
    const close = Tastemaker.notice(t("settings.restore.busy", { name: file.name }), { seconds: 3600 });
    try {
      const sent = await host.upload(file).catch(() => null);
      if (!sent) Tastemaker.notice(t("settings.restore.not_sent"), { kind: "error" });
      else await ask("restore", { path: sent.path });
    } catch { /* act has said why */ } finally {
      close();
      button.disabled = false;
    }
  }

  // ------------------------------------------------------------ words

  function privacy() {
    return section("privacy", h("ul", { class: "se-list" }, ["local", "telemetry", "secrets"].map((name) => h("li", {}, icon("check"), h("span", {}, t(`settings.privacy.${name}`)))), view.offline ? h("li", {}, icon("check"), h("span", {}, t("settings.privacy.offline"))) : null));
  }

  function keys() {
    const ctrl = /Mac|iPhone|iPad/.test(navigator.platform) ? "⌘" : "Ctrl";
    const list = [
      ["write", [[[ctrl, "Enter"], "create"], [["Esc"], "stop"], [["/"], "focus"], [["←", "→"], "versions"], [["1", "–", "5"], "rate"], [["1", "–", "4"], "pick"]]],
      ["library", [[["/"], "search"], [["↑", "↓"], "move"], [["Enter"], "open"], [["x"], "select"], [[ctrl, "A"], "all"], [["s"], "star"], [["t"], "tag"], [["c"], "copy"], [["Delete"], "trash"], [["Esc"], "back"]]],
    ];
    return section("keys", h("div", { class: "se-keys" }, list.map(([page, rows]) => h("div", {}, h("h3", {}, t(`frame.tab.${page}`)), h("dl", { class: "tm-keys" }, rows.flatMap(([signs, name]) => [
      h("dt", {}, signs.map((sign) => (sign === "–" ? "–" : h("kbd", { class: "tm-kbd" }, sign)))), h("dd", {}, t(page === "write" ? `frame.key.${name}` : `settings.key.${name}`))]))))));
  }

  function about() {
    return section("about", h("p", {}, t("settings.about.text")), h("p", { class: "tm-small" }, [`Tastemaker ${view.version}`, t("settings.about.licence"), t(`settings.database.${view.database}`)].join(" · ")));
  }

  host.onOpen(() => ask("show").catch(() => null));
  Tastemaker.bus.on("status", () => { if (view && Tastemaker.page() === "settings" && column.querySelector('[name="settings-theme"]:checked')?.value !== Tastemaker.theme()) draw(); });
};
