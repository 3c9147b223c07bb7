/* What the studio has learned of a taste: the switch that puts the best of several answers first, and the line that says it. */
"use strict";

Tastemaker.parts = Tastemaker.parts || {};

/** taste(write, {getCount, setCount}) -> {toggle, line, options, draw}. Sorting needs several answers: switching it on asks for
    four unless more than one was asked for already, and asking for one switches it off. */
Tastemaker.parts.taste = (write, { getCount, setCount }) => {
  const { h, t, icon, store, bus } = Tastemaker;
  const BEST_OF = 4;
  const POLL_MS = 900;
  let known = { ready: false, sure: false, learning: false, text: "" };
  let timer = null;
  let asked = 0; // only the newest answer counts

  const toggle = h("button", { class: "tm-chip wr-taste", id: "by-taste", type: "button", role: "switch", title: t("taste.switch_help"), onclick: flip }, icon("heart"), h("span", {}, t("taste.switch")));
  const line = h("p", { class: "wr-learned tm-small", id: "learned", role: "status" });

  const isWanted = () => store.get("by-taste") === "1";
  const isOn = () => isWanted() && known.ready && getCount() > 1;

  function flip() {
    if (!known.ready) {
      Tastemaker.notice(known.text || t("taste.switch_help"));
      return;
    }
    const on = !isOn();
    store.set("by-taste", on ? "1" : null);
    if (on && getCount() === 1) setCount(BEST_OF);
    draw();
  }

  function draw() {
    const on = isOn();
    toggle.setAttribute("aria-checked", String(on));
    toggle.classList.toggle("is-on", on);
    toggle.classList.toggle("is-unready", !known.ready);
    line.textContent = known.text;
    line.title = known.text;
    line.classList.toggle("is-sure", known.sure);
    line.classList.toggle("is-learning", known.learning);
  }

  async function ask(check) {
    clearTimeout(timer);
    const mine = ++asked;
    const answer = await write.host.act("taste", { check }, { quiet: true }).catch(() => null);
    if (mine !== asked) return;
    if (answer) known = answer;
    draw();
    if (answer && answer.learning) timer = setTimeout(() => ask(false), POLL_MS);
  }

  bus.on("rated", () => ask(false));
  bus.on("judged", () => ask(false));
  bus.on("page", (page) => page === "write" && ask(true)); // something may have been rated elsewhere meanwhile
  document.addEventListener("visibilitychange", () => !document.hidden && Tastemaker.page() === "write" && ask(true));
  ask(true);

  return { toggle, line, draw, options: () => (isOn() ? { rank_by: "taste" } : {}) };
};
