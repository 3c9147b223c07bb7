/* The ground that every widget stands on: drawing, words, actions, addresses, keys and notices.
   Knows the page; knows nothing of a tab. Text always goes through textContent. */
"use strict";

window.Tastemaker = window.Tastemaker || {};

(() => {
  const T = window.Tastemaker;
  T.widgets = T.widgets || {};
  T.words = T.words || {};
  T.hosts = [];
  const PAGES = ["write", "images", "summarize", "library", "train", "arena", "models", "settings"];

  // ---------------------------------------------------------------- drawing

  /** Make an element: h("button", {class: "x", onclick: f, "data-id": 3, hidden: true}, "text", child, null). */
  T.h = (tag, props, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(props || {})) T.setProp(node, name, value);
    node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
    return node;
  };

  T.setProp = (node, name, value) => {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "class") node.className = value;
    else if (name === "value" || name === "checked" || name === "disabled" || name === "hidden" || name === "open") node[name] = value;
    else if (value === null || value === undefined || value === false) node.removeAttribute(name);
    else node.setAttribute(name, value === true ? "" : String(value));
  };

  /** Draw `items` as children of `parent`, keeping the node of each key: focus, selection and scroll positions survive. */
  T.keyed = (parent, items, key, create, update) => {
    const old = new Map([...parent.children].map((node) => [node.dataset.key, node]));
    const seen = new Set();
    let at = parent.firstElementChild;
    for (const item of items) {
      const id = String(key(item));
      seen.add(id);
      let node = old.get(id);
      if (!node) {
        node = create(item);
        node.dataset.key = id;
      }
      if (update) update(node, item);
      if (node === at) at = at.nextElementSibling;
      else parent.insertBefore(node, at);
    }
    for (const [id, node] of old) if (!seen.has(id)) node.remove();
  };

  /** Only for HTML that ui/view.py has rendered from Markdown and sanitised. */
  T.setHtml = (node, html) => {
    if (node.shownHtml === html) return;
    node.shownHtml = html;
    node.innerHTML = html;
  };

  T.clear = (node, ...children) => { node.replaceChildren(...children.flat().filter(Boolean)); return node; };

  // ---------------------------------------------------------------- words

  T.t = (key, values = {}) => {
    let text = (values.n === 1 && T.words[`${key}.one`]) || T.words[key] || key;
    for (const [name, value] of Object.entries(values)) text = text.replaceAll(`{${name}}`, String(value));
    return text;
  };
  T.language = () => document.documentElement.dataset.language || "en";
  T.has = (key) => key in T.words;

  /** 98362432 -> "98 MB". */
  T.bytes = (size) => {
    if (!size && size !== 0) return "";
    for (const [unit, factor] of [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]]) {
      if (size >= factor) return `${(size / factor).toFixed(size / factor < 10 ? 1 : 0)} ${unit}`;
    }
    return `${size} B`;
  };

  /** An ISO time as people say it: "14:03", "Tuesday", "3 Nov". */
  T.when = (iso) => {
    const date = new Date(iso);
    const days = (new Date().setHours(0, 0, 0, 0) - new Date(date).setHours(0, 0, 0, 0)) / 864e5;
    const locale = T.language() === "zh" ? "zh-CN" : "en-GB";
    if (days < 1) return date.toLocaleTimeString(locale, { hour: "2-digit", minute: "2-digit" });
    if (days < 7) return date.toLocaleDateString(locale, { weekday: "long" });
    const sameYear = date.getFullYear() === new Date().getFullYear();
    return date.toLocaleDateString(locale, sameYear ? { day: "numeric", month: "short" } : { day: "numeric", month: "short", year: "numeric" });
  };

  // ---------------------------------------------------------------- between widgets

  const listeners = new Map();
  T.bus = {
    on(name, fn) { listeners.set(name, [...(listeners.get(name) || []), fn]); },
    emit(name, data) { for (const fn of listeners.get(name) || []) fn(data); },
  };

  /** Keys survive for one key press: a click and Enter at the same time carry the same one, so that they are one job. */
  T.newKey = () => (crypto.randomUUID ? crypto.randomUUID() : Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join(""));

  T.store = {
    get(key) { try { return localStorage.getItem(`tastemaker:${key}`); } catch { return null; } },
    set(key, value) {
      try {
        if (value === null || value === "") localStorage.removeItem(`tastemaker:${key}`);
        else localStorage.setItem(`tastemaker:${key}`, value);
      } catch { /* a full or forbidden storage costs a draft, not the page */ }
    },
  };

  T.copy = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = T.h("textarea", { value: text, class: "tm-offscreen" });
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    T.notice(T.t("frame.copied"));
  };

  // ---------------------------------------------------------------- notices

  /** One calm line at the bottom; `action` is {label, run} (undo). Errors stay until closed. */
  T.notice = (message, { kind = "info", action = null, seconds = 6 } = {}) => {
    let area = document.getElementById("tm-notices");
    if (!area) {
      area = T.h("div", { id: "tm-notices", "aria-live": "polite" });
      document.body.append(area);
    }
    const close = () => line.remove();
    const line = T.h("div", { class: `tm-notice is-${kind}`, role: kind === "error" ? "alert" : "status" },
      T.h("span", { class: "tm-notice-text" }, message),
      action && T.h("button", { class: "tm-link", type: "button", onclick: () => { close(); action.run(); } }, action.label),
      T.h("button", { class: "tm-icon-button", type: "button", "aria-label": T.t("frame.close"), onclick: close }, T.icon("x")));
    [...area.children].filter((old) => old.textContent === line.textContent).forEach((old) => old.remove());
    area.append(line);
    while (area.children.length > 3) area.firstElementChild.remove();
    if (kind !== "error") setTimeout(close, seconds * 1000);
    else setTimeout(close, 20000);
    return close;
  };

  // ---------------------------------------------------------------- address

  T.address = () => {
    const query = new URLSearchParams(location.search);
    return { tab: PAGES.includes(query.get("tab")) ? query.get("tab") : "write", c: query.get("c"), item: query.get("item"), run: query.get("run") };
  };

  T.page = () => document.documentElement.dataset.page || "write";

  /** Show a page and write its address; values that are null leave the address. */
  T.navigate = (page, values = {}, { push = true } = {}) => {
    const query = new URLSearchParams(location.search);
    if (page !== T.page()) for (const name of ["item", "run"]) query.delete(name);
    for (const [name, value] of Object.entries(values)) {
      if (value) query.set(name, value);
      else query.delete(name);
    }
    if (page === "write") query.delete("tab");
    else query.set("tab", page);
    const text = query.toString();
    const address = location.pathname + (text ? `?${text}` : "");
    if (address !== location.pathname + location.search) history[push ? "pushState" : "replaceState"](null, "", address);
    T.showPage(page);
    T.bus.emit("address", T.address());
  };

  T.showPage = (page) => {
    const changed = document.documentElement.dataset.page !== page;
    document.documentElement.dataset.page = page;
    if (changed || !T.shownOnce) T.bus.emit("page", page);
    T.shownOnce = true;
  };

  addEventListener("popstate", () => { T.showPage(T.address().tab); T.bus.emit("address", T.address()); });

  // ---------------------------------------------------------------- widgets

  class Host {
    constructor(mount) {
      Object.assign(this, { name: mount.name, root: mount.element.querySelector(".tm-root") || mount.element, props: mount.props });
      this.mount = mount;
    }

    get value() { return this.mount.props.value; }

    onValue(fn) { this.mount.watch("value", () => fn(this.value)); }

    trigger(event, data = {}) { this.mount.trigger(event, data); }

    upload(file) { return this.mount.upload(file); }

    /** Ask Python. Resolves with its answer; an error is shown once, then thrown, so that the caller keeps its input. */
    async act(type, payload = {}, { quiet = false } = {}) {
      const answer = await this.mount.server.act({ type, ...payload });
      if (answer === undefined) {
        if (!quiet) T.notice(T.t("frame.no_connection"), { kind: "error" });
        throw new Error("no connection");
      }
      if (answer && answer.error) {
        if (!quiet) T.notice(answer.error.message, { kind: "error" });
        throw Object.assign(new Error(answer.error.message), { code: answer.error.code });
      }
      return answer;
    }

    get page() {
      const page = this.mount.element.closest(".tm-page");
      return page ? page.id.replace("page-", "") : null;
    }

    /** Run `fn` each time this widget's page is shown, and now if it is. */
    onOpen(fn) {
      T.bus.on("page", (page) => page === this.page && fn(T.address()));
      if (T.page() === this.page) fn(T.address());
    }
  }

  let scriptsAreLoaded = false;
  T.drain = () => {
    if (!scriptsAreLoaded) return; // a widget may be made of several files
    const queue = window.TastemakerQueue || [];
    for (const mount of [...queue]) {
      const widget = T.widgets[mount.name];
      if (!widget) continue;
      queue.splice(queue.indexOf(mount), 1);
      const host = new Host(mount);
      T.hosts.push(host);
      try { widget(host); } catch (error) { console.error(`widget ${mount.name}:`, error); } // one broken widget leaves the others alone
    }
  };
  document.addEventListener("DOMContentLoaded", () => { scriptsAreLoaded = true; T.drain(); });

  // ---------------------------------------------------------------- theme

  const darkQuery = matchMedia("(prefers-color-scheme: dark)");

  /** "auto", "light" or "dark"; the attribute is set before the first paint by the page's head, this keeps it up to date. */
  T.setTheme = (theme) => {
    T.store.set("theme", theme);
    applyTheme();
    T.bus.emit("theme", theme);
  };
  T.theme = () => T.store.get("theme") || document.documentElement.dataset.savedTheme || "auto";

  const applyTheme = () => {
    const dark = T.theme() === "dark" || (T.theme() === "auto" && darkQuery.matches);
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    document.body?.classList.toggle("dark", dark); // Gradio's own components look at this
  };
  darkQuery.addEventListener("change", applyTheme);
  document.addEventListener("DOMContentLoaded", () => {
    applyTheme();
    // Gradio sets its class from the system's scheme when it starts, after us.
    new MutationObserver(() => {
      if (document.body.classList.contains("dark") !== (document.documentElement.dataset.theme === "dark")) applyTheme();
    }).observe(document.body, { attributes: true, attributeFilter: ["class"] });
  });

  T.showPage(T.address().tab);
})();
