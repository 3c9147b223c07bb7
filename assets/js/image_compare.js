/* Two pictures of one prompt side by side, or one over the other with a line to draw across; which one is better is kept as a
   preference. Lives inside the large view; the keys are those of the blind test. */
"use strict";

Tastemaker.parts = Tastemaker.parts || {};

/** view: {back(), shown()} of the large view whose `root` this is drawn in. */
Tastemaker.parts.imageCompare = (images, root, view) => {
  const { h, t, icon, keyed } = Tastemaker;
  const SIDES = ["left", "right"];
  let batch = null;
  let pair = [null, null];
  let next = 1; // the side that the strip changes
  let isOn = false;

  const figure = (side) => h("figure", { class: "cp-side", "data-side": side, onclick: () => { next = SIDES.indexOf(side); draw(); } }, h("img", { alt: "" }), h("figcaption", {}, h("kbd", { class: "tm-kbd" }, side === "left" ? "←" : "→"),
    h("span", { class: "cp-name" }), h("span", { class: "tm-topline-gap" }), h("button", { class: "tm-button", type: "button", "data-action": `better-${side}`, onclick: (event) => { event.stopPropagation(); judge(side); } }, icon("check"), h("span", {}, t("images.compare.better")))));
  const figures = SIDES.map(figure);
  const over = h("img", { class: "cp-over", alt: "" });
  const divider = h("input", { class: "cp-divider", type: "range", min: 0, max: 100, value: 50, "aria-label": t("images.compare.divider"), oninput: () => slide() });
  const pairBox = h("div", { class: "cp-pair" }, figures);
  const laid = h("div", { class: "cp-laid", hidden: true }, h("img", { alt: "", class: "cp-under" }), over, divider);
  const mode = h("button", { class: "tm-chip", type: "button", "data-action": "slide", "aria-pressed": "false", onclick: () => setMode(laid.hidden) }, icon("compare"), h("span", {}, t("images.compare.slide")));
  const chip = (name, run, key) => h("button", { class: "tm-chip", type: "button", "data-action": name, onclick: run }, h("kbd", { class: "tm-kbd" }, key), h("span", {}, t(`images.compare.${name}`)));
  const strip = h("div", { class: "im-strip", role: "list", "aria-label": t("images.compare.choose") });
  const node = h("div", { class: "cp", id: "image-compare", hidden: true },
    h("header", { class: "im-over-head" }, h("h2", {}, t("images.compare")), h("span", { class: "tm-topline-gap" }), mode, h("button", { class: "tm-icon-button", type: "button", "data-action": "back", "aria-label": t("images.compare.back"), title: t("images.compare.back"), onclick: () => { leave(); view.back(); } }, icon("x"))),
    pairBox, laid, h("div", { class: "cp-judge" }, chip("same", () => judge("tie"), "↓"), chip("both_bad", () => judge("bad"), "↑")), strip);
  root.append(node);

  function open(found, one, other) {
    batch = found;
    pair = [one, other];
    next = 1;
    isOn = true;
    node.hidden = false;
    root.classList.add("is-comparing");
    draw();
    root.focus({ preventScroll: true });
  }

  function leave() {
    isOn = false;
    node.hidden = true;
    root.classList.remove("is-comparing");
  }

  function draw() {
    pair.forEach((one, at) => {
      const [picture, caption] = figures[at].children;
      if (picture.getAttribute("src") !== one.url) picture.src = one.url;
      picture.alt = t("images.picture_n", { n: one.number });
      figures[at].classList.toggle("is-clear", one.clear);
      figures[at].classList.toggle("is-next", at === next);
      caption.querySelector(".cp-name").textContent = [t("images.picture_n", { n: one.number }), t("images.seed", { seed: one.seed })].join(" · ");
    });
    laid.firstElementChild.src = pair[0].url;
    over.src = pair[1].url;
    laid.classList.toggle("is-clear", pair.some((one) => one.clear));
    slide();
    const all = batch.items.filter((one) => one.url);
    strip.hidden = all.length < 3;
    keyed(strip, all, (one) => one.id, (one) => h("button", { class: "im-thumb", type: "button", role: "listitem" }, h("img", { src: one.thumb, alt: "" })), (thumb, one) => {
      thumb.setAttribute("aria-current", String(pair.some((mine) => mine.id === one.id)));
      thumb.setAttribute("aria-label", t("images.picture_n", { n: one.number }));
      thumb.onclick = () => { if (!pair.some((mine) => mine.id === one.id)) { pair[next] = one; draw(); } };
    });
  }

  const slide = () => laid.style.setProperty("--cp-at", `${divider.value}%`);

  function setMode(isLaid) {
    laid.hidden = !isLaid;
    pairBox.hidden = isLaid;
    mode.setAttribute("aria-pressed", String(isLaid));
    if (isLaid) divider.focus();
  }

  /** The winner stays and meets the next one that it has not met. */
  async function judge(choice) {
    const [left, right] = pair;
    const [best, other] = choice === "right" ? [right, left] : [left, right];
    try {
      await images.prefer(best.id, [other.id], { tie: choice === "tie", both_bad: choice === "bad" });
    } catch { return; }
    met.add([left.id, right.id].sort().join());
    const waiting = batch.items.filter((one) => one.url && one.id !== best.id && !met.has([one.id, best.id].sort().join()));
    Tastemaker.notice(t(choice === "tie" || choice === "bad" ? "images.compare.kept_equal" : "images.compare.kept", { n: best.number, other: other.number }));
    if (!waiting.length || !isOn) { if (isOn) { leave(); view.back(); } return; }
    const at = pair.indexOf(best);
    pair[1 - at] = waiting[0];
    next = 1 - at;
    draw();
  }
  const met = new Set();

  function key(event) {
    if (event.target === divider && event.key !== "Escape" && event.key !== "m") return false;
    const keys = { Escape: () => { leave(); view.back(); }, ArrowLeft: () => judge("left"), ArrowRight: () => judge("right"), ArrowDown: () => judge("tie"), ArrowUp: () => judge("bad"), m: () => setMode(laid.hidden) };
    if (!keys[event.key]) return false;
    keys[event.key]();
    return true;
  }

  function refresh(found) {
    batch = found;
    pair = pair.map((one) => batch.items.find((same) => same.id === one.id) || one);
    draw();
  }

  return { open, leave, key, refresh, get isOn() { return isOn; } };
};
