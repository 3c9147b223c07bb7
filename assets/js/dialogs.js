/* Menus, dialogs and the list of keys: small pieces that several widgets open. */
"use strict";

(() => {
  const T = window.Tastemaker;

  /** A menu under `anchor`. entries: {label, note, icon, checked, danger, run} or {group: "heading"}. Arrow keys move, Esc closes. */
  T.menu = (anchor, entries) => {
    document.querySelector(".tm-menu")?.close?.();
    const { h } = T;
    const menu = h("div", { class: "tm-menu tm-root", role: "menu" }, entries.map((entry) => entry.group
      ? h("div", { class: "tm-menu-group" }, entry.group)
      : h("button", { type: "button", role: entry.checked === undefined ? "menuitem" : "menuitemradio", "aria-checked": entry.checked === undefined ? null : String(Boolean(entry.checked)),
        class: entry.danger ? "is-danger" : "", onclick: () => { close(); entry.run(); } },
      entry.icon && T.icon(entry.icon), h("span", {}, entry.label, entry.note && h("span", { class: "tm-small" }, entry.note)))));
    const close = (event) => {
      if (event && menu.contains(event.target)) return;
      menu.remove();
      document.removeEventListener("pointerdown", close, true);
      anchor.setAttribute("aria-expanded", "false");
    };
    menu.close = close;
    menu.addEventListener("keydown", (event) => {
      const items = [...menu.querySelectorAll("button")];
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (step) {
        event.preventDefault();
        items[(items.indexOf(document.activeElement) + step + items.length) % items.length].focus();
      } else if (event.key === "Escape") {
        event.stopPropagation();
        close();
        anchor.focus();
      }
    });
    document.body.append(menu);
    const box = anchor.getBoundingClientRect();
    const below = innerHeight - box.bottom > menu.offsetHeight + 12 || box.top < menu.offsetHeight;
    menu.style.top = `${below ? box.bottom + 4 : box.top - menu.offsetHeight - 4}px`;
    menu.style.left = `${Math.max(8, Math.min(box.left, innerWidth - menu.offsetWidth - 8))}px`;
    anchor.setAttribute("aria-expanded", "true");
    setTimeout(() => document.addEventListener("pointerdown", close, true));
    menu.querySelector("button")?.focus({ preventScroll: true });
    return menu;
  };

  /** A modal dialog. body: nodes; buttons: [{label, primary, danger, run}] where run may return false to stay open. */
  T.dialog = (title, body, buttons = []) => {
    const { h } = T;
    const close = () => dialog.close();
    const dialog = h("dialog", { class: "tm-dialog" },
      h("div", { class: "tm-dialog-head" }, h("h2", {}, title),
        h("button", { class: "tm-icon-button", type: "button", "aria-label": T.t("frame.close"), onclick: close }, T.icon("x"))),
      h("div", { class: "tm-dialog-body" }, body),
      buttons.length ? h("div", { class: "tm-dialog-foot" }, buttons.map((one) => h("button", {
        class: `tm-button${one.primary ? " is-primary" : ""}${one.danger ? " is-danger" : ""}`, type: "button",
        onclick: async () => { if ((await one.run?.()) !== false) close(); },
      }, one.label))) : null);
    dialog.addEventListener("close", () => dialog.remove());
    dialog.addEventListener("click", (event) => event.target === dialog && close());
    document.body.append(dialog);
    dialog.showModal();
    return dialog;
  };

  /** Tab goes round inside `root`, which lies over the page. */
  T.trapFocus = (root) => root.addEventListener("keydown", (event) => {
    if (event.key !== "Tab") return;
    const all = [...root.querySelectorAll("button, input, select, textarea, summary, [tabindex]")].filter((one) => one.tabIndex >= 0 && !one.disabled && one.offsetParent);
    const at = all.indexOf(document.activeElement);
    const next = event.shiftKey ? at <= 0 && all.at(-1) : at === all.length - 1 && all[0];
    if (next) { event.preventDefault(); next.focus(); }
  });

  let covers = 0;

  /** While something lies over the whole page, the page itself takes no focus and is not read out. */
  T.cover = (on) => {
    covers = Math.max(0, covers + (on ? 1 : -1));
    for (const one of document.querySelectorAll("gradio-app, .gradio-container")) one.inert = covers > 0;
  };

  T.showKeys = () => {
    if (document.querySelector(".tm-keys")) return;
    const { h, t } = T;
    const ctrl = /Mac|iPhone|iPad/.test(navigator.platform) ? "⌘" : "Ctrl";
    const rows = [[[ctrl, "Enter"], "create"], [["Esc"], "stop"], [["/"], "focus"], [["←", "→"], "versions"], [["1", "–", "5"], "rate"],
      [["1", "–", "4"], "pick"], [["←", "→", "↓", "↑"], "vote"], [["p"], "best"], [["c"], "compare"], [["u"], "undo"], [["?"], "keys"]];
    T.dialog(t("frame.keys"), h("dl", { class: "tm-keys" }, rows.flatMap(([keys, name]) => [
      h("dt", {}, keys.map((key) => (key === "–" ? "–" : h("kbd", { class: "tm-kbd" }, key)))), h("dd", {}, t(`frame.key.${name}`))])));
  };

  /** True where typing must stay typing. */
  T.isTyping = (target) => Boolean(target?.closest?.("input, textarea, select, [contenteditable], dialog, .tm-menu"));

  document.addEventListener("keydown", (event) => {
    if (event.key === "?" && !T.isTyping(event.target) && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      T.showKeys();
    }
  });
})();
