/* What is to be summarised: pasted text and files, each with what was read of it. Files are read as soon as they arrive.
   What is typed and what was read stays in this browser until a summary of it has begun. */
"use strict";

Tastemaker.parts = Tastemaker.parts || {};

Tastemaker.parts.summaryInput = (summ, page) => {
  const { h, t, icon, store, clear, keyed } = Tastemaker;
  const POLL_MS = 250;
  let files = []; // {key, name, state: "sending" | "reading" | "ready" | "refused", line, fraction, document, message, job}
  let timer = null;
  let counter = 0;

  // ------------------------------------------------------------ parts

  const text = h("textarea", { class: "su-text", rows: 7, dir: "auto", placeholder: t("summarize.placeholder"), "aria-label": t("summarize.text"), id: "summary-text",
    oninput: () => { grow(); clearTimeout(timer); timer = setTimeout(save, 300); summ.changed(); },
    onkeydown: (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.isComposing) { event.preventDefault(); summ.send(); } } });
  const chooser = h("input", { type: "file", multiple: true, class: "tm-visually-hidden", tabindex: -1, id: "summary-files", "aria-hidden": "true", onchange: () => { take([...chooser.files]); chooser.value = ""; } });
  const add = h("button", { class: "tm-button", type: "button", id: "summary-add", onclick: () => chooser.click() }, icon("folder"), h("span", {}, t("summarize.add_files")));
  const hint = h("span", { class: "tm-small su-formats" }, t("summarize.formats"));
  const url = h("input", { class: "tm-input su-url", type: "url", placeholder: t("summarize.url"), "aria-label": t("summarize.url"), id: "summary-url",
    onkeydown: (event) => { if (event.key === "Enter") { event.preventDefault(); fetchUrl(); } } });
  const urlRow = h("div", { class: "su-url-row", hidden: true }, url, h("button", { class: "tm-button", type: "button", id: "summary-fetch", onclick: fetchUrl }, icon("download"), h("span", {}, t("summarize.fetch"))));
  const list = h("div", { class: "su-files", id: "summary-file-list" });
  const node = h("div", { class: "su-input tm-card" }, text, list, urlRow, h("div", { class: "su-input-tools" }, add, hint), chooser);
  const veil = h("div", { class: "im-veil", id: "summary-drop", hidden: true }, h("div", {}, icon("folder"), h("strong", {}, t("summarize.drop")), h("span", { class: "tm-small" }, t("summarize.formats"))));
  page.append(veil);

  function grow() {
    text.style.height = "auto";
    text.style.height = `${Math.min(Math.max(text.scrollHeight, 168), innerHeight * 0.45)}px`;
  }

  // ------------------------------------------------------------ kept in this browser

  const TEXT_KEPT = 200000; // a storage holds a few megabytes for everything

  function save() {
    store.set("draft:summarize", text.value.length <= TEXT_KEPT ? text.value : null);
    const kept = files.filter((one) => one.state === "ready" || one.state === "reading").map((one) => ({ name: one.name, document: one.document, job: one.job }));
    store.set("summarize-files", kept.length ? JSON.stringify(kept) : null);
  }

  function restore() {
    text.value = store.get("draft:summarize") || "";
    let kept = [];
    try { kept = JSON.parse(store.get("summarize-files") || "[]"); } catch { /* another version wrote it */ }
    files = kept.map((one) => ({ key: ++counter, ...one, state: one.document ? "ready" : "reading" }));
    for (const job of new Set(files.filter((one) => one.state === "reading").map((one) => one.job))) poll(job, files.filter((one) => one.job === job));
    draw();
    requestAnimationFrame(grow);
  }

  // ------------------------------------------------------------ files

  /** Send and read them; several at once go to one reader. */
  async function take(chosen) {
    const mine = chosen.map((file) => ({ key: ++counter, name: file.name, state: "sending", file }));
    if (!mine.length) return;
    files.push(...mine);
    draw();
    const paths = await Promise.all(mine.map(async (one) => {
      try { return (await summ.host.upload(one.file)).path; } catch { refuse(one, t("summarize.not_sent")); return null; } finally { delete one.file; }
    }));
    const sent = mine.filter((one, index) => paths[index] && files.includes(one));
    if (!sent.length) { draw(); return; }
    for (const one of sent) one.state = "reading";
    draw();
    await begin("read", { paths: paths.filter((path, index) => path && files.includes(mine[index])) }, sent);
  }

  async function fetchUrl() {
    const address = url.value.trim();
    if (!address) { url.focus(); return; }
    const one = { key: ++counter, name: address, state: "reading" };
    files.push(one);
    draw();
    if (await begin("fetch", { url: address }, [one])) url.value = "";
  }

  async function begin(type, payload, mine) {
    try {
      const { job_id: job } = await summ.host.act(type, payload, { quiet: true });
      for (const one of mine) one.job = job;
      save();
      Tastemaker.bus.emit("job");
      return poll(job, mine);
    } catch (error) {
      for (const one of mine) refuse(one, error.message === "no connection" ? t("frame.no_connection") : error.message);
      return false;
    }
  }

  async function poll(job, mine) {
    for (;;) {
      const view = await summ.host.act("reading", { job_id: job }, { quiet: true }).catch(() => null);
      if (!view) { for (const one of mine) refuse(one, t("summarize.lost")); return false; }
      for (const one of mine) Object.assign(one, { line: view.line, fraction: view.fraction });
      if (view.done) { settle(view, mine); return view.documents.length > 0; }
      draw();
      await new Promise((resolve) => { setTimeout(resolve, POLL_MS); });
      if (!mine.some((one) => files.includes(one))) return false;
    }
  }

  /** Documents come in the order of the files, without those that were refused; names tell which. */
  function settle(view, mine) {
    const refused = [...view.refused];
    const documents = [...view.documents];
    for (const one of mine) {
      const no = refused.findIndex((other) => other.name === one.name);
      if (view.status !== "done") refuse(one, view.message || t("summarize.stopped"));
      else if (no >= 0) refuse(one, refused.splice(no, 1)[0].message);
      else if (documents.length) Object.assign(one, { state: "ready", document: documents.shift() });
      else refuse(one, refused.length ? refused.shift().message : t("summarize.lost"));
    }
    save();
    draw();
  }

  function refuse(one, message) {
    Object.assign(one, { state: "refused", message });
    save();
    draw();
  }

  function remove(one) {
    files = files.filter((other) => other !== one);
    if (one.state === "reading" && one.job && !files.some((other) => other.job === one.job)) summ.host.act("cancel", { job_id: one.job }, { quiet: true }).catch(() => null);
    save();
    draw();
  }

  // ------------------------------------------------------------ drawing

  function draw() {
    keyed(list, files, (one) => one.key, create, update);
    list.hidden = !files.length;
    summ.changed();
  }

  function create(one) {
    return h("div", { class: "su-file" }, h("span", { class: "su-file-sign" }), h("div", { class: "su-file-body" }, h("strong", { dir: "auto" }), h("span", { class: "tm-small su-file-facts" }), h("ul", { class: "tm-small su-skipped" })),
      h("button", { class: "tm-icon-button", type: "button", "aria-label": t("summarize.remove"), title: t("summarize.remove"), onclick: () => remove(one) }, icon("x")));
  }

  function update(row, one) {
    row.dataset.state = one.state;
    const name = one.document?.title || one.name;
    row.querySelector("strong").textContent = name;
    clear(row.querySelector(".su-file-sign"), icon({ ready: "check", refused: "warning" }[one.state] || "note"));
    const line = one.state === "ready" ? [one.document.name !== name ? one.document.name : "", one.document.facts].filter(Boolean).join(" · ") : one.state === "refused" ? one.message : t(one.state === "sending" ? "summarize.sending" : "summarize.reading");
    const percent = one.state === "reading" && one.fraction ? ` · ${t("frame.percent", { n: Math.round(one.fraction * 100) })}` : "";
    row.querySelector(".su-file-facts").textContent = line + percent;
    clear(row.querySelector(".su-skipped"), ((one.document && one.document.skipped) || []).map((what) => h("li", {}, what)));
  }

  // ------------------------------------------------------------ dropping

  let depth = 0;
  const isHere = () => Tastemaker.page() === "summarize" && !document.querySelector("dialog[open]");
  const hasFile = (event) => [...(event.dataTransfer?.types || [])].includes("Files");
  document.addEventListener("dragenter", (event) => { if (isHere() && hasFile(event)) { depth += 1; veil.hidden = false; } });
  document.addEventListener("dragleave", () => { depth = Math.max(0, depth - 1); if (!depth) veil.hidden = true; });
  document.addEventListener("dragover", (event) => { if (isHere() && hasFile(event)) event.preventDefault(); });
  document.addEventListener("drop", (event) => {
    depth = 0;
    veil.hidden = true;
    if (!isHere() || !hasFile(event)) return;
    event.preventDefault();
    if (summ.turn) summ.begin();
    take([...event.dataTransfer.files]);
  });
  document.addEventListener("paste", (event) => {
    const pasted = isHere() && [...(event.clipboardData?.files || [])];
    if (!pasted || !pasted.length) return;
    event.preventDefault();
    if (summ.turn) summ.begin();
    take(pasted);
  });
  addEventListener("pagehide", save);

  restore();
  return {
    node,
    form: () => { chooser.accept = summ.form.accept; urlRow.hidden = !summ.form.urls; },
    get isReady() { return !files.some((one) => one.state === "sending" || one.state === "reading") && (text.value.trim() !== "" || files.some((one) => one.state === "ready")); },
    get isReading() { return files.some((one) => one.state === "sending" || one.state === "reading"); },
    sources: () => ({ text: text.value, documents: files.filter((one) => one.state === "ready").map((one) => one.document.id) }),
    empty: () => { text.value = ""; files = []; save(); draw(); grow(); },
    setText: (value) => { text.value = value; save(); grow(); summ.changed(); },
    focus: () => text.focus(),
    grow,
  };
};
