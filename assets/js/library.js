/* The Library's list: loading, drawing, selection and keys. Filter, preview pane and files have their own scripts.
   State lives here and in the address; Python answers one page of 50 at a time. */
"use strict";

Tastemaker.widgets.library = (host) => {
  const { h, t, icon, keyed, clear, parts } = Tastemaker;
  const PAGES_SHOWN = 20; // 1,000 items in the page at once; older ones replace them
  const LOCALE = Tastemaker.language() === "zh" ? "zh-CN" : "en-GB";

  let items = new Map();
  let total = null;
  let first = 1;
  let page = 0;
  let more = false;
  let busy = false;
  let generation = 0;
  let anchor = null; // where a range of the selection starts
  let focused = null; // the item that keys act on
  let isSelecting = false; // on a touch screen: boxes are shown before anything is selected
  const selected = new Set();

  // ------------------------------------------------------------ parts

  const input = h("input", {
    class: "tm-input", type: "search", placeholder: t("library.search"), "aria-label": t("library.search"), autocomplete: "off", spellcheck: "false",
    oninput: () => { clearTimeout(input.timer); input.timer = setTimeout(() => filter.set({ q: input.value.trim() }), 180); },
  });
  const filter = parts.libraryFilter(input, () => { selected.clear(); jump(1); });
  const files = parts.libraryFiles(host, {
    request: filter.request, total: () => (total || 0).toLocaleString(LOCALE), isFiltered: () => filter.isOn || filter.isTrash, imported: () => { jump(1); loadFacets(); },
  });
  const preview = parts.libraryPreview(host, {
    patch, step, show, star: starItems, trash: trashItems, restore: restoreItems, facets: () => filter.facets, setFacets: (value) => { filter.facets = value; },
    closed: () => { drawList(); focusItem(preview.lastId); },
  });
  const count = h("span", { class: "lib-count tm-small", role: "status" });
  const views = h("div", { class: "lib-views", role: "group", "aria-label": t("library.view") }, ["list", "grid"].map((name) => h("button", {
    class: "tm-icon-button", type: "button", "data-view": name, title: t(`library.view.${name}`), "aria-label": t(`library.view.${name}`), onclick: () => setView(name),
  }, icon(name))));
  const touch = h("button", { class: "tm-icon-button lib-touch", type: "button", "aria-label": t("library.select"), title: t("library.select"), onclick: () => { isSelecting = !isSelecting; select([]); } }, icon("check"));
  const marks = h("div", { class: "lib-marks", role: "toolbar", "aria-label": t("library.selection"), hidden: true });
  const list = h("div", { class: "lib-list", id: "library-list", role: "list" });
  const newer = h("button", { class: "tm-link lib-more", type: "button", hidden: true, onclick: () => jump(Math.max(1, first - PAGES_SHOWN)) }, t("library.newer"));
  const older = h("button", { class: "tm-link lib-more", type: "button", hidden: true, onclick: () => jump(page + 1) }, t("library.older"));
  const empty = h("div", { class: "tm-empty", hidden: true });
  const end = h("div", { class: "lib-end", "aria-hidden": "true" });
  const scroller = h("div", { class: "lib-scroll" }, newer, list, empty, older, end);
  const main = h("section", {
    class: "lib-main", ondragover: (event) => event.preventDefault(),
    ondrop: (event) => { event.preventDefault(); if (event.dataTransfer.files[0]) files.openImport(event.dataTransfer.files[0]); },
  }, h("header", { class: "lib-head" },
    h("div", { class: "lib-row" }, h("div", { class: "lib-search", id: "library-search" }, icon("search"), input), h("span", { class: "lib-gap" }), touch, views, files.buttons),
    h("div", { class: "lib-row lib-row-chips" }, filter.root, marks, count)), scroller);
  const body = h("div", { class: "lib" }, main, preview.root);
  host.root.append(body);
  new IntersectionObserver((seen) => seen.some((one) => one.isIntersecting) && load(), { root: scroller, rootMargin: "600px" }).observe(end);

  // ------------------------------------------------------------ loading

  function jump(to) {
    first = to;
    page = to - 1;
    scroller.scrollTop = 0;
    load(true);
  }

  /** Fetch the next page, or begin again at `first`. An answer that another filter has overtaken is dropped. */
  async function load(again = false) {
    if (!again && (busy || !more || page - first + 1 >= PAGES_SHOWN)) return;
    if (again) generation += 1;
    const turn = generation;
    busy = true;
    scroller.setAttribute("aria-busy", "true");
    const answer = await host.act("search", { filter: filter.request(), page: page + 1 }).catch(() => null); // act has said why
    if (turn !== generation) return;
    busy = false;
    scroller.removeAttribute("aria-busy");
    if (!answer) { more = false; return; }
    if (again) items = new Map();
    for (const item of answer.items) items.set(item.id, item);
    ({ total, page, more } = answer);
    drawList();
  }

  /** What changed while another page was shown: new things on top, other scores. Keeps the place if nothing came or went. */
  async function refresh() {
    if (total === null) { jump(1); return; }
    if (first > 1) return;
    const turn = generation;
    const answer = await host.act("search", { filter: filter.request(), page: 1 }, { quiet: true }).catch(() => null);
    if (!answer || turn !== generation || busy) return;
    if (answer.total !== total || !answer.items.every((item) => items.has(item.id))) {
      items = new Map();
      ({ total, page, more } = answer);
      scroller.scrollTop = 0;
    }
    for (const item of answer.items) items.set(item.id, item);
    drawList();
  }

  const loadFacets = () => host.act("facets", {}, { quiet: true }).then((value) => { filter.facets = value; drawList(); }).catch(() => null);

  // ------------------------------------------------------------ drawing

  function drawList() {
    const shown = [];
    let heading = null;
    for (const item of items.values()) {
      const day = dayName(item.created_at);
      if (day !== heading) shown.push({ id: `day ${day}`, heading: day });
      heading = day;
      shown.push(item);
    }
    const words = filter.words;
    keyed(list, shown, (one) => one.id, (one) => (one.heading ? h("h2", { class: "lib-day", role: "presentation" }, one.heading) : create()), (node, one) => one.heading || update(node, one, words));
    if (!items.has(focused)) focused = items.keys().next().value || null;
    for (const open of list.querySelectorAll(".lib-open")) open.tabIndex = open.closest(".lib-item").dataset.creation === focused ? 0 : -1;
    count.textContent = total === null ? "" : t(filter.isOn ? "library.found" : "library.count", { n: total === 1 ? 1 : total.toLocaleString(LOCALE) });
    newer.hidden = first === 1;
    older.hidden = !(more && page - first + 1 >= PAGES_SHOWN);
    drawEmpty();
    drawMarks();
    // The end may still be in sight: an observer speaks only when that changes.
    if (more && !busy && Tastemaker.page() === "library" && end.getBoundingClientRect().top < innerHeight + 600) load();
  }

  const daysAgo = (date) => Math.round((new Date().setHours(0, 0, 0, 0) - new Date(date).setHours(0, 0, 0, 0)) / 864e5);

  /** "Today", "Yesterday", the days of a week, then months. */
  function dayName(iso) {
    const date = new Date(iso);
    const days = daysAgo(date);
    if (days <= 1) return t(days < 1 ? "library.today" : "library.yesterday");
    if (days < 7) return date.toLocaleDateString(LOCALE, { weekday: "long" });
    return date.toLocaleDateString(LOCALE, { month: "long", year: "numeric" });
  }

  /** What its heading leaves open: the time under a day, the day under a month. */
  function timeOf(iso) {
    const date = new Date(iso);
    return daysAgo(date) < 7 ? date.toLocaleTimeString(LOCALE, { hour: "2-digit", minute: "2-digit" }) : date.toLocaleDateString(LOCALE, { day: "numeric", month: "short" });
  }

  function drawEmpty() {
    empty.hidden = total === null || items.size > 0;
    if (empty.hidden) return;
    const state = filter.isOn ? "none" : filter.isTrash ? "trash" : "new";
    const sign = { none: "search", trash: "trash", new: "library" }[state];
    const run = state === "new" ? () => Tastemaker.navigate("write") : filter.clear;
    clear(empty, icon(sign), h("h2", {}, t(`library.empty.${state}`)), h("p", {}, t(`library.empty.${state}.hint`)),
      h("button", { class: `tm-button${state === "new" ? " is-primary" : ""}`, type: "button", onclick: run }, t(`library.empty.${state}.act`)));
  }

  function create() {
    const node = h("article", { class: "lib-item", role: "listitem" });
    const id = () => node.dataset.key;
    node.append(
      h("input", { type: "checkbox", class: "lib-check", tabindex: "-1", "aria-label": t("library.select"), onclick: (event) => mark(id(), event.shiftKey) }),
      h("button", {
        class: "lib-open", type: "button", onfocus: () => { focused = id(); },
        onclick: (event) => { if (event.shiftKey || event.ctrlKey || event.metaKey || isSelecting) mark(id(), event.shiftKey); else show(id()); },
      }, h("span", { class: "lib-title" }), h("span", { class: "lib-excerpt" })),
      h("div", { class: "lib-facts" }),
      h("button", { class: "tm-icon-button lib-star", type: "button", tabindex: "-1", onclick: () => starItems([id()], !items.get(id()).starred) }, icon("star")));
    return node;
  }

  function update(node, item, words) {
    const isSelected = selected.has(item.id);
    const isOpen = preview.id === item.id;
    const signature = JSON.stringify([item, words, isSelected, isOpen, filter.facets.models.length > 1]);
    if (node.signature === signature) return;
    node.signature = signature;
    node.dataset.creation = item.id;
    const [check, open, facts, star] = node.children;
    node.classList.toggle("is-selected", isSelected);
    node.classList.toggle("is-open", isOpen);
    check.checked = isSelected;
    open.setAttribute("aria-current", String(isOpen));
    clear(open.children[0], highlight(item.title || t("library.no_prompt"), words));
    const isDone = item.status === "done";
    open.classList.toggle("has-picture", Boolean(item.picture));
    clear(open.children[1], item.picture ? h("img", { src: item.picture, alt: "", loading: "lazy" }) : highlight(item.excerpt, words));
    clear(facts, isDone ? null : h("span", { class: "tm-badge is-care" }, Tastemaker.ofKind(item, "status", item.status)),
      item.origin === "generated" ? null : h("span", { class: "tm-badge" }, Tastemaker.ofKind(item, "badge", item.origin)),
      item.tags.slice(0, 2).map((tag) => h("span", { class: "tm-badge lib-tag", title: tag }, tag)), item.tags.length > 2 ? h("span", { class: "tm-small" }, `+${item.tags.length - 2}`) : null,
      Tastemaker.scoreMark(item.score), filter.facets.models.length > 1 ? h("span", { class: "tm-small lib-model" }, item.model) : null, h("time", { class: "tm-small", datetime: item.created_at }, timeOf(item.created_at)));
    const label = t(item.starred ? "library.unstar" : "library.star");
    star.classList.toggle("is-on", item.starred);
    for (const [name, value] of [["aria-pressed", String(item.starred)], ["aria-label", label], ["title", label]]) star.setAttribute(name, value);
  }

  /** Text with the searched words marked; always text nodes. */
  function highlight(text, words) {
    if (!words.length) return [document.createTextNode(text)];
    const pattern = new RegExp(`(${words.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|")})`, "giu");
    return text.split(pattern).map((part, at) => (at % 2 ? h("mark", {}, part) : document.createTextNode(part)));
  }

  function setView(name) {
    Tastemaker.store.set("library-view", name);
    body.dataset.view = name;
    for (const button of views.children) button.setAttribute("aria-pressed", String(button.dataset.view === name));
  }

  // ------------------------------------------------------------ one item

  const nodeOf = (id) => list.querySelector(`[data-creation="${CSS.escape(id || "")}"]`);

  function show(id) {
    Tastemaker.navigate("library", { item: id }, { push: !preview.id });
    focused = id;
    preview.open(id);
    drawList();
    nodeOf(id)?.scrollIntoView({ block: "nearest" });
  }

  /** The next or previous one of the list. */
  function step(by) {
    const ids = [...items.keys()];
    const next = ids[Math.max(0, ids.indexOf(preview.id) + by)];
    if (next && next !== preview.id) show(next);
    if (ids.indexOf(next) > ids.length - 5) load();
  }

  function focusItem(id) {
    if (!items.has(id)) return;
    focused = id;
    const open = nodeOf(id)?.querySelector(".lib-open");
    if (open) { open.tabIndex = 0; open.focus(); }
  }

  function patch(ids, change) {
    for (const id of ids) if (items.has(id)) items.set(id, { ...items.get(id), ...(typeof change === "function" ? change(items.get(id)) : change) });
    drawList();
  }

  function remove(ids) {
    total -= ids.filter((id) => items.delete(id)).length;
    ids.forEach((id) => selected.delete(id));
    if (ids.includes(preview.id)) preview.close();
    drawList();
  }

  // ------------------------------------------------------------ selection

  function select(ids) {
    selected.clear();
    ids.forEach((id) => selected.add(id));
    drawList();
  }

  function mark(id, isRange) {
    const ids = [...items.keys()];
    if (isRange && items.has(anchor)) {
      const [from, to] = [ids.indexOf(anchor), ids.indexOf(id)].sort((a, b) => a - b);
      ids.slice(from, to + 1).forEach((one) => selected.add(one));
    } else if (!selected.delete(id)) selected.add(id);
    anchor = id;
    drawList();
  }

  function drawMarks() {
    marks.hidden = selected.size === 0 && !isSelecting;
    filter.root.hidden = count.hidden = !marks.hidden;
    body.toggleAttribute("data-selecting", !marks.hidden);
    if (marks.hidden) return;
    const ids = [...selected];
    const isStarred = ids.every((id) => items.get(id)?.starred);
    const button = (sign, name, run) => h("button", { class: "tm-chip", type: "button", "data-action": sign === "undo" ? "restore" : sign, onclick: run }, icon(sign), h("span", {}, t(`library.${name}`)));
    clear(marks, h("strong", { class: "lib-selected" }, t("library.selected", { n: selected.size })),
      selected.size < items.size ? h("button", { class: "tm-link", type: "button", "data-action": "all", onclick: () => select([...items.keys()]) }, t("library.select_all", { n: items.size })) : null,
      button("star", isStarred ? "unstar" : "star", () => starItems(ids, !isStarred)),
      filter.isTrash ? null : button("tag", "tag", () => tagItems(ids)),
      filter.isTrash ? button("undo", "restore", () => restoreItems(ids)) : button("trash", "trash", () => trashItems(ids)),
      h("button", { class: "tm-icon-button", type: "button", "aria-label": t("library.select_none"), title: t("library.select_none"), onclick: () => { isSelecting = false; select([]); } }, icon("x")));
    for (const one of marks.querySelectorAll(".tm-chip")) one.disabled = selected.size === 0;
  }

  async function starItems(ids, on) {
    await host.act("star", { ids, on });
    patch(ids, { starred: on });
    preview.reload(ids);
  }

  async function trashItems(ids) {
    await host.act("trash", { ids });
    if (filter.isTrash) refresh();
    else remove(ids);
    Tastemaker.notice(t("library.trashed", { n: ids.length }), { action: { label: t("library.undo"), run: () => restoreItems(ids, false) } });
  }

  async function restoreItems(ids, isNew = true) {
    await host.act("restore", { ids });
    if (filter.isTrash) remove(ids);
    else refresh();
    preview.reload(ids);
    if (isNew) Tastemaker.notice(t("library.restored", { n: ids.length }), { action: { label: t("library.undo"), run: () => trashItems(ids) } });
  }

  function tagItems(ids) {
    const used = new Map();
    for (const id of ids) for (const tag of items.get(id)?.tags || []) used.set(tag, (used.get(tag) || 0) + 1);
    files.askTags(ids.length, used, filter.facets.tags, async (add, gone) => {
      const answer = await host.act("tag", { ids, add, remove: gone });
      filter.facets = answer.facets;
      patch(ids, (item) => ({ tags: [...new Set([...item.tags.filter((tag) => !gone.includes(tag)), ...add])].sort() }));
      preview.reload(ids);
    });
  }

  // ------------------------------------------------------------ keys

  document.addEventListener("keydown", (event) => {
    if (Tastemaker.page() !== "library" || document.querySelector("dialog[open], .tm-menu")) return;
    const isCommand = event.ctrlKey || event.metaKey;
    if (event.target === input) {
      if (event.key === "Escape" && input.value) filter.set({ q: null });
      else if (event.key === "ArrowDown") focusItem(items.keys().next().value);
      else return;
      event.preventDefault();
      return;
    }
    if (event.altKey || (Tastemaker.isTyping(event.target) && !event.target.classList.contains("lib-check"))) return;
    const at = document.activeElement?.closest?.(".lib-item")?.dataset.creation || preview.id;
    const targets = selected.size ? [...selected] : at ? [at] : [];
    const keys = {
      "/": () => input.focus(),
      Escape: () => { if (selected.size || isSelecting) { isSelecting = false; select([]); } else if (preview.id) preview.close(); },
      ArrowDown: () => arrow(1, event.shiftKey), ArrowUp: () => arrow(-1, event.shiftKey), j: () => arrow(1, false), k: () => arrow(-1, false),
      x: () => at && mark(at, false),
      s: () => targets.length && starItems(targets, !targets.every((id) => items.get(id)?.starred)),
      t: () => targets.length && !filter.isTrash && tagItems(targets),
      Delete: () => targets.length && (filter.isTrash ? restoreItems(targets) : trashItems(targets)),
    };
    if (isCommand && event.key.toLowerCase() === "a") select([...items.keys()]);
    else if (isCommand || (!keys[event.key] && !preview.key(event))) return;
    else keys[event.key]?.();
    event.preventDefault();
  });

  function arrow(by, extend) {
    const ids = [...items.keys()];
    const at = ids.indexOf(document.activeElement?.closest?.(".lib-item")?.dataset.creation || preview.id);
    const next = ids[Math.max(0, Math.min(ids.length - 1, at + by))];
    if (!next) return;
    if (extend) [ids[at], next].forEach((id) => id && selected.add(id));
    if (preview.id && !extend) show(next);
    else drawList();
    focusItem(next);
    if (ids.indexOf(next) > ids.length - 5) load();
  }

  // ------------------------------------------------------------ opening

  host.onOpen((address) => {
    filter.readAddress();
    loadFacets();
    refresh();
    if (address.item) preview.open(address.item);
    else if (preview.id) preview.close(false);
  });
  let jobs = 0;
  Tastemaker.bus.on("status", (status) => { // something was finished, here or in another window
    const isDone = status.jobs.length < jobs;
    jobs = status.jobs.length;
    if (isDone && Tastemaker.page() === "library" && scroller.scrollTop < 200) refresh();
  });
  Tastemaker.bus.on("address", (address) => {
    if (Tastemaker.page() !== "library" || (address.item || null) === preview.id) return;
    if (address.item) preview.open(address.item);
    else preview.close(false);
  });
  setView(Tastemaker.store.get("library-view") === "grid" ? "grid" : "list");
};
