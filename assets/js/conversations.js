/* The sidebar: all conversations, search, rename, trash and undo. */
"use strict";

Tastemaker.parts = Tastemaker.parts || {};

Tastemaker.parts.conversations = (write, root) => {
  const { h, t, icon } = Tastemaker;
  let trashed = false;
  let current = null;
  let timer = null;
  let asked = 0;

  const fresh = h("button", { class: "tm-button wr-new", id: "new-conversation", type: "button", onclick: startNew }, icon("plus"), t("write.new"));
  const search = h("input", { class: "tm-input", type: "search", id: "conversation-search", placeholder: t("write.search"), "aria-label": t("write.search"),
    oninput: () => { clearTimeout(timer); timer = setTimeout(refresh, 180); } });
  const list = h("div", { class: "wr-list", role: "list" });
  const empty = h("p", { class: "wr-list-empty tm-small" });
  const trashButton = h("button", { class: "wr-trash", type: "button", onclick: () => { trashed = !trashed; refresh(); } });
  root.append(h("div", { class: "wr-side-head" }, fresh, h("div", { class: "wr-search" }, icon("search"), search)), empty, list, trashButton);

  function startNew() {
    write.drawer(false);
    Tastemaker.navigate("write", { c: null });
    write.composer.focus();
  }

  async function refresh() {
    const number = ++asked;
    const answer = await write.host.act("list", { query: search.value, trashed }, { quiet: true }).catch(() => null);
    if (!answer || number !== asked) return; // a newer search has been sent
    Tastemaker.keyed(list, answer.conversations, (one) => one.id, create, update);
    empty.textContent = answer.conversations.length ? "" : t(search.value ? "write.none_found" : trashed ? "write.trash_empty" : "write.none_yet");
    Tastemaker.clear(trashButton, icon(trashed ? "chevronLeft" : "trash"), t(trashed ? "write.leave_trash" : "write.trash"));
  }

  function create(one) {
    const link = h("a", { class: "wr-link", href: `?c=${one.id}`, onclick: (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return; // a new tab is the browser's business
      event.preventDefault();
      write.drawer(false);
      Tastemaker.navigate("write", { c: one.id });
    } }, h("span", { class: "wr-title", dir: "auto" }), h("span", { class: "tm-small" }));
    const more = h("button", { class: "tm-icon-button wr-more", type: "button", "aria-label": t("write.more"), "aria-haspopup": "menu", onclick: () => menu(node, more) }, icon("dots"));
    const node = h("div", { class: "wr-item", role: "listitem", "data-conversation": one.id }, link, more);
    return node;
  }

  function update(node, one) {
    node.one = one;
    const [title, when] = node.firstElementChild.children;
    if (!node.querySelector("input.wr-rename")) title.textContent = one.title;
    title.title = one.title;
    when.textContent = Tastemaker.when(one.updated_at);
    node.classList.toggle("is-current", one.id === current);
    node.classList.toggle("is-branch", one.branched);
  }

  function menu(node, anchor) {
    const { id } = node.one;
    Tastemaker.menu(anchor, node.one.trashed
      ? [{ label: t("write.take_back"), icon: "undo", run: () => restore(id) }]
      : [{ label: t("write.rename"), icon: "pen", run: () => rename(node) },
        { label: t("write.copy_link"), icon: "copy", run: () => Tastemaker.copy(`${location.origin}${location.pathname}?c=${id}`) },
        { label: t("write.delete"), icon: "trash", danger: true, run: () => trash(id) }]);
  }

  function rename(node) {
    const { id, title } = node.one;
    const input = h("input", { class: "tm-input wr-rename", value: title, maxlength: 200, "aria-label": t("write.rename") });
    const end = async (keep) => {
      if (node.link === null) return; // leaving the box ends it too, and Enter leaves it
      const link = node.link;
      node.link = null;
      const text = input.value.trim();
      input.replaceWith(link);
      if (keep && text && text !== title) await write.host.act("rename", { c: id, title: text }).catch(() => null);
      refresh();
      if (keep && write.conversation && write.conversation.id === id) write.open(id);
    };
    input.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.key === "Enter") end(true);
      if (event.key === "Escape") end(false);
    });
    input.addEventListener("blur", () => end(true));
    node.link = node.querySelector(".wr-link");
    node.link.replaceWith(input);
    input.focus();
    input.select();
  }

  async function trash(id) {
    await write.host.act("trash", { c: id });
    if (write.conversation && write.conversation.id === id) Tastemaker.navigate("write", { c: null });
    refresh();
    Tastemaker.notice(t("write.conversation_trashed"), { action: { label: t("frame.undo"), run: () => restore(id) } });
  }

  async function restore(id) {
    await write.host.act("restore", { c: id });
    trashed = false;
    Tastemaker.navigate("write", { c: id });
    refresh();
  }

  function mark(id) {
    current = id;
    for (const node of list.children) node.classList.toggle("is-current", node.dataset.conversation === id);
  }

  // Conversations that are being written in wear a dot, also those that are not open.
  Tastemaker.bus.on("status", (status) => {
    const busy = new Set(status.jobs.map((job) => job.conversation_id));
    for (const node of list.children) node.classList.toggle("is-busy", busy.has(node.dataset.conversation));
  });

  return { refresh, mark };
};
