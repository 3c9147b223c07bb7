/* The Library's filter: chips, their menus, the address, and the filter as Python wants it. Knows nothing of the list. */
"use strict";

Tastemaker.parts = Tastemaker.parts || {};

/** `changed()` is called after every change. `search` is the free text's input. */
Tastemaker.parts.libraryFilter = (search, changed) => {
  const { h, t, icon, clear } = Tastemaker;
  const NAMES = ["q", "kind", "model", "adapter", "rating", "date", "starred", "tag", "trash"];
  const TOGGLES = { starred: "star", trash: "trash" };
  const RATINGS = { rated: { rated: true }, unrated: { rated: false }, liked: { min_score: 0.5 }, disliked: { max_score: -0.5 } };
  const DAYS = { today: 0, week: 6, month: 29, year: 364 };

  let filter = {};
  let facets = { models: [], adapters: [], tags: [] };
  const root = h("div", { class: "lib-chips", role: "toolbar", "aria-label": t("library.filters") });

  const score = (stars) => (Number(stars) - 3) / 2;
  const midnight = (day, add = 0) => {
    const date = new Date(`${day}T00:00:00`);
    date.setDate(date.getDate() + add);
    return date.toISOString();
  };

  /** Days are the reader's own days. */
  function request() {
    const { q: query, kind, model, adapter, tag } = filter;
    const wanted = { query, kind, model, adapter, tag, starred: filter.starred ? true : null, trashed: Boolean(filter.trash) };
    if (filter.rating) {
      const [low, high] = filter.rating.split("-");
      Object.assign(wanted, RATINGS[filter.rating] || { min_score: score(low), max_score: score(high) });
    }
    if (filter.date in DAYS) {
      const today = new Date();
      today.setHours(0, 0, 0, 0);
      today.setDate(today.getDate() - DAYS[filter.date]);
      wanted.from = today.toISOString();
    } else if (filter.date) {
      const [from, to] = filter.date.split("..");
      Object.assign(wanted, { from: from && midnight(from), to: to && midnight(to, 1) });
    }
    return wanted;
  }

  function set(change) {
    filter = Object.fromEntries(Object.entries({ ...filter, ...change }).filter(([, value]) => value));
    if (search.value.trim() !== (filter.q || "")) search.value = filter.q || "";
    draw();
    writeAddress();
    changed();
  }

  const clearAll = () => set(Object.fromEntries(NAMES.map((name) => [name, null])));

  // ------------------------------------------------------------ address

  function writeAddress() {
    Tastemaker.navigate("library", Object.fromEntries(NAMES.map((name) => [name, filter[name] || null])), { push: false });
  }

  function readAddress() {
    const query = new URLSearchParams(location.search);
    const found = Object.fromEntries(NAMES.map((name) => [name, query.get(name)]).filter(([, value]) => value));
    if (found.rating && !(found.rating in RATINGS) && !/^[1-5]-[1-5]$/.test(found.rating)) delete found.rating;
    if (found.date && !(found.date in DAYS) && !/^(\d{4}-\d\d-\d\d)?\.\.(\d{4}-\d\d-\d\d)?$/.test(found.date)) delete found.date;
    if (found.kind && !["text", "image", "summary"].includes(found.kind)) delete found.kind;
    if (Object.keys(found).length) filter = found;
    search.value = filter.q || "";
    draw();
    writeAddress();
  }

  Tastemaker.bus.on("page", (name) => {
    if (name === "library") return;
    const query = new URLSearchParams(location.search);
    NAMES.forEach((one) => query.delete(one));
    const text = query.toString();
    history.replaceState(null, "", location.pathname + (text ? `?${text}` : ""));
  });

  // ------------------------------------------------------------ chips

  const nameOf = (all, id) => all.find((one) => one.id === id)?.name || id;
  const label = {
    kind: (value) => t(`library.kind.${value}`),
    model: (value) => nameOf(facets.models, value),
    adapter: (value) => nameOf(facets.adapters, value),
    rating: (value) => (value in RATINGS ? t(`library.rating.${value}`) : t("library.rating.from_to", { from: value[0], to: value[2] })),
    date: (value) => (value in DAYS ? t(`library.date.${value}`) : value.replace("..", " – ")),
    tag: (value) => value,
  };
  const values = {
    kind: () => ["text", "image", "summary"],
    model: () => facets.models.map((one) => one.id),
    adapter: () => facets.adapters.map((one) => one.id),
    rating: () => Object.keys(RATINGS),
    date: () => Object.keys(DAYS),
    tag: () => facets.tags,
  };
  const ask = { rating: askRating, date: askDates };

  function draw() {
    clear(root, NAMES.slice(1).map(chip),
      Object.keys(filter).length ? h("button", { class: "tm-link lib-clear", type: "button", onclick: clearAll }, t("library.clear")) : null);
  }

  function chip(name) {
    const value = filter[name];
    const sign = TOGGLES[name];
    const text = value && !sign ? label[name](value) : t(`library.filter.${name}`);
    const button = h("button", {
      class: `tm-chip${value ? " is-on" : ""}`, type: "button", "data-filter": name,
      "aria-pressed": sign ? String(Boolean(value)) : null, "aria-haspopup": sign ? null : "menu",
      onclick: () => (sign ? set({ [name]: value ? null : "1" }) : open(button, name)),
    }, sign ? icon(sign) : null, h("span", {}, text), sign ? null : icon("chevronDown"));
    return button;
  }

  function open(button, name) {
    const entries = values[name]().map((value) => ({ label: label[name](value), checked: filter[name] === value, run: () => set({ [name]: value }) }));
    const any = { label: t("library.any"), checked: !filter[name], run: () => set({ [name]: null }) };
    const between = ask[name] && { label: t(`library.${name}.range`), run: ask[name] };
    Tastemaker.menu(button, entries.length ? [any, ...entries, between].filter(Boolean) : [{ group: t(`library.none.${name}`) }, any]);
  }

  const field = (name, control) => h("label", { class: "lib-field" }, h("span", {}, t(`library.${name}`)), control);

  function askRating() {
    const [low, high] = /^\d-\d$/.test(filter.rating || "") ? filter.rating.split("-") : ["4", "5"];
    const stars = (now) => h("select", { class: "tm-select" }, [1, 2, 3, 4, 5].map((n) => h("option", { value: String(n), selected: String(n) === now }, t("library.stars", { n }))));
    const pair = [stars(low), stars(high)];
    const show = () => set({ rating: pair.map((one) => one.value).sort().join("-") });
    Tastemaker.dialog(t("library.rating.range"), h("div", { class: "lib-fields tm-root" }, field("from", pair[0]), field("to", pair[1])), [{ label: t("library.show"), primary: true, run: show }]);
  }

  function askDates() {
    const [low, high] = (filter.date || "").includes("..") ? filter.date.split("..") : ["", ""];
    const pair = [low, high].map((value) => h("input", { class: "tm-input", type: "date", value }));
    const show = () => {
      const days = pair.map((one) => one.value);
      if (days[0] && days[1]) days.sort();
      set({ date: days.some(Boolean) ? days.join("..") : null });
    };
    Tastemaker.dialog(t("library.date.range"), h("div", { class: "lib-fields tm-root" }, field("from", pair[0]), field("to", pair[1])), [{ label: t("library.show"), primary: true, run: show }]);
  }

  draw();
  return {
    root,
    set,
    clear: clearAll,
    request,
    readAddress,
    get words() { return (filter.q || "").split(/\s+/).filter(Boolean); },
    get isTrash() { return Boolean(filter.trash); },
    get isOn() { return Object.keys(filter).some((name) => name !== "trash"); },
    get facets() { return facets; },
    set facets(value) { facets = value; draw(); },
  };
};
