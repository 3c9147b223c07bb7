/* The thread: turns in order, the live text of the answer that grows, the first page, and what keys act on. */
"use strict";

Tastemaker.parts = Tastemaker.parts || {};

Tastemaker.parts.thread = (write, main) => {
  const { h, t, icon } = Tastemaker;
  const turns = Tastemaker.parts.turn(write);
  const NEAR_PX = 120; // closer to the end than this, the page goes along with the text

  const title = h("h1", { class: "wr-heading", dir: "auto" });
  const head = h("header", { class: "wr-head" },
    h("button", { class: "tm-icon-button wr-menu", type: "button", "aria-label": t("write.conversations"), onclick: () => write.drawer(true) }, icon("menu")), title,
    h("button", { class: "tm-icon-button wr-menu", type: "button", "aria-label": t("write.new"), onclick: () => Tastemaker.navigate("write", { c: null }) }, icon("plus")));
  const earlier = h("button", { class: "tm-link th-earlier", type: "button", onclick: () => write.open(write.conversation.id, { shown: write.thread.turns.length + 60 }) });
  const list = h("div", { class: "th-list" });
  const empty = h("div", { class: "th-empty" });
  const scroller = h("div", { id: "thread", class: "th-scroll", tabindex: -1, onscroll: drawJump }, earlier, list, empty);
  const jump = h("button", { class: "tm-icon-button th-jump", type: "button", "aria-label": t("write.newest"), title: t("write.newest"), hidden: true, onclick: () => toEnd(true) }, icon("chevronDown"));
  main.append(head, h("div", { class: "th-frame" }, scroller, jump));

  // ------------------------------------------------------------ drawing

  function draw(view, isOther) {
    const wasNear = isNear();
    const shown = view ? view.turns : [];
    title.textContent = view ? view.conversation.title : t("write.new");
    earlier.hidden = !view || !view.earlier;
    earlier.textContent = view && view.earlier ? t("write.earlier", { n: view.earlier }) : "";
    Tastemaker.keyed(list, shown, (turn) => turn.turn_id, turns.create, turns.update);
    drawEmpty(!shown.length);
    if (!shown.length) scroller.scrollTop = 0;
    else if (isOther || wasNear) toEnd();
    if (isOther || wasNear) list.lastElementChild?.querySelector(".candidate-best")?.closest(".candidate").scrollIntoView({ block: "nearest" });
    drawJump();
  }

  function drawEmpty(isEmpty) {
    empty.hidden = !isEmpty;
    if (!isEmpty || empty.children.length) return;
    const first = write.config.templates.slice(0, 6);
    empty.append(h("h2", {}, t("write.empty_title")), h("p", { class: "th-empty-text" }, t("write.empty_text")),
      h("div", { class: "th-starters" }, first.map((one) => h("button", { class: "tm-card th-starter", type: "button", onclick: () => write.composer.useTemplate(one) },
        h("strong", {}, one.title), h("span", {}, one.about)))));
  }

  const isNear = () => scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < NEAR_PX;
  function toEnd(smooth = false) { scroller.scrollTo({ top: scroller.scrollHeight, behavior: smooth ? "smooth" : "instant" }); }
  function drawJump() { jump.hidden = isNear(); }

  // ------------------------------------------------------------ live text

  /** Only what changed: finished blocks stay untouched, the open one is replaced. Returns false when blocks are missing. */
  function live(view) {
    const wasNear = isNear();
    let isWhole = true;
    for (const row of view.creations) {
      const article = list.querySelector(`[data-creation="${row.id}"]`);
      const box = article && article.querySelector(".answer");
      if (!box || article.dataset.status === "done") continue;
      if (view.notices.length && !article.querySelector(".th-note")) box.after(...turns.notes(view.notices));
      if (!row.from && !row.blocks.length && !row.tail) {
        const wait = box.querySelector(".th-wait");
        if (wait && view.phase === "loading") wait.textContent = t("write.loading_model");
        continue;
      }
      if (!drawGrowing(box, row)) isWhole = false;
      box.classList.toggle("is-growing", !view.done && (row.status === "running" || row.status === "queued"));
      const figures = article.querySelector(".figures");
      if (figures) figures.textContent = [t("write.tokens", { n: row.tokens }), row.speed && t("write.speed", { speed: row.speed })].filter(Boolean).join(" · ");
    }
    if (wasNear) toEnd();
    else drawJump();
    return isWhole;
  }

  function drawGrowing(box, row) {
    if (!box.tail || !box.tail.isConnected) { // what the row had is replaced by what is live
      if (row.from > 0) return false;
      box.tail = h("div", { class: "block" });
      delete box.shownHtml;
      box.replaceChildren(box.tail);
    }
    const drawn = box.children.length - 1;
    if (row.from > drawn) return false;
    for (const html of row.blocks.slice(drawn - row.from)) {
      const block = h("div", { class: "block" });
      Tastemaker.setHtml(block, html);
      box.tail.before(block);
    }
    Tastemaker.setHtml(box.tail, row.tail);
    return true;
  }

  // ------------------------------------------------------------ keys

  /** The turn that keys act on: the one last touched, else the newest. */
  function active() {
    const article = write.chosen && list.querySelector(`[data-creation="${write.chosen}"]`);
    const node = (article && article.closest("[data-turn]")) || list.lastElementChild;
    return node ? { node, turn: node.turn } : null;
  }

  function flip(step) {
    const now = active();
    if (!now || now.turn.candidates.length > 1) return false;
    const id = now.turn.versions[now.turn.version_index + step];
    if (!id) return false;
    write.chosen = id;
    write.act("version", { id }).catch(() => null);
    return true;
  }

  /** 1-4 pick while candidates wait; otherwise 1-5 rate. */
  function number(value) {
    const now = active();
    if (!now) return false;
    if (now.turn.candidates.length > 1) {
      const answer = now.turn.candidates[value - 1];
      const waiting = now.turn.candidates.some((one) => one.status === "queued" || one.status === "running");
      if (!answer || waiting) return false;
      turns.pick(answer);
      return true;
    }
    return Boolean(turns.rateByKey(now.turn.answer.id, value));
  }

  return { draw, live, flip, number };
};
