/* The rating control, the same on every answer: thumbs, 1-5, reasons and a comment after the first click. */
"use strict";

Tastemaker.parts = Tastemaker.parts || {};

/** rating({host, reasons, answer, left, open, onRated}) -> {thumbs, summary, details, byKey}. `answer` is {id, rating};
    `left` examples are needed for a training; `open` shows the details of a rating that exists, otherwise one line stands for them. */
Tastemaker.parts.rating = ({ host, reasons, answer, left, open = true, onRated }) => {
  const { h, t, icon } = Tastemaker;
  const SCORES = [-1, -0.5, 0, 0.5, 1];
  let rating = answer.rating;
  let needed = left;
  let timer = null;

  const thumbs = h("div", { class: "rate", role: "group", "aria-label": t("rating.label") }, [[1, "up"], [-1, "down"]].map(([score, sign]) =>
    h("button", { class: "tm-icon-button", type: "button", "data-score": score, "aria-label": t(`rating.${sign}`), title: t(`rating.${sign}`),
      onclick: () => set(rating && Math.sign(rating.score) === score ? null : score) }, icon(sign))));
  const summary = h("button", { class: "rate-summary tm-small", type: "button", title: t("rating.open"), onclick: () => { open = true; draw(); } });
  const scale = h("div", { class: "rate-scale", role: "group", "aria-label": t("rating.scale") }, SCORES.map((score, index) =>
    h("button", { type: "button", "data-scale": index + 1, title: t(`rating.scale.${index + 1}`), onclick: () => set(score) }, String(index + 1))));
  const chips = h("div", { class: "rate-reasons" });
  const comment = h("textarea", { class: "tm-textarea comment", rows: 1, maxlength: 4000, placeholder: t("rating.comment"), "aria-label": t("rating.comment"),
    oninput: () => { clearTimeout(timer); timer = setTimeout(send, 700); }, onblur: () => { if (timer) { clearTimeout(timer); send(); } } });
  const effect = h("p", { class: "tm-small rate-effect", role: "status" });
  const details = h("div", { class: "rate-details", hidden: true }, h("div", { class: "rate-row" }, scale, chips), comment, effect);

  const reasonText = (name) => (Tastemaker.has(`reason.${name}`) ? t(`reason.${name}`) : name);

  function draw() {
    const score = rating ? rating.score : null;
    for (const button of thumbs.children) {
      const on = score !== null && score !== 0 && Math.sign(score) === Number(button.dataset.score);
      button.setAttribute("aria-pressed", String(on));
    }
    for (const button of scale.children) button.setAttribute("aria-pressed", String(score !== null && SCORES[button.dataset.scale - 1] === score));
    details.hidden = !rating || !open;
    summary.hidden = !rating || open;
    summary.textContent = rating ? [SCORES.indexOf(rating.score) + 1 || rating.score, ...rating.reasons.map(reasonText), rating.comment && "…"].filter(Boolean).join(" · ") : "";
    effect.textContent = needed > 0 ? t("rating.effect", { n: needed }) : t("rating.effect_ready");
    const names = score === null ? [] : score > 0 ? reasons.good : score < 0 ? reasons.bad : [...reasons.good, ...reasons.bad];
    const shown = [...new Set([...names, ...((rating && rating.reasons) || [])])];
    Tastemaker.keyed(chips, shown, (name) => name, (name) => h("button", { class: "tm-chip reason", type: "button", "data-reason": name,
      onclick: () => toggle(name) }, reasonText(name)),
    (node, name) => node.setAttribute("aria-pressed", String(Boolean(rating && rating.reasons.includes(name)))));
    if (document.activeElement !== comment) comment.value = (rating && rating.comment) || "";
  }

  function toggle(name) {
    const on = rating.reasons.includes(name);
    rating = { ...rating, reasons: on ? rating.reasons.filter((one) => one !== name) : [...rating.reasons, name] };
    draw();
    send();
  }

  async function set(score) {
    const turned = score === null || !rating || Math.sign(rating.score) !== Math.sign(score);
    open = true;
    rating = score === null ? null : { score, reasons: turned ? [] : rating.reasons, comment: rating ? rating.comment : "" };
    draw();
    details.scrollIntoView({ block: "nearest" });
    await send();
  }

  /** Ratings are sent one after the other; the last one wins, on the page and in the library. */
  let sending = Promise.resolve();
  function send() {
    clearTimeout(timer);
    timer = null;
    if (rating) rating = { ...rating, comment: comment.value };
    const wanted = rating;
    sending = sending.then(async () => {
      try {
        const answered = await host.act("rate", { id: answer.id, score: wanted ? wanted.score : null, reasons: wanted ? wanted.reasons : [], comment: wanted ? wanted.comment : "" });
        needed = answered.next_training_in;
        answer.rating = answered.rating;
        if (onRated) onRated(answered);
      } catch {
        rating = answer.rating; // what the library holds
      }
      draw();
      Tastemaker.bus.emit("rated", { id: answer.id, rating });
    });
    return sending;
  }

  draw();
  return { thumbs, summary, details, byKey: (number) => set(SCORES[number - 1]) };
};
