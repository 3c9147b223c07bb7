/* The Write page: which conversation is shown, which job is followed, and the page's keys.
   Parts (conversations, thread, composer) draw; this file holds their shared state and talks to Python for them. */
"use strict";

/* Live text arrives in a small widget of its own, so that the thread is never sent again while an answer grows. */
Tastemaker.widgets.live = (host) => host.onValue((value) => value && Tastemaker.bus.emit("live", value));

Tastemaker.widgets.write = (host) => {
  const { h, t, bus } = Tastemaker;
  const REFOLLOW_MS = 1000;
  const QUIET_MS = 8000; // a stream silent for longer is looked after

  const write = {
    host,
    config: host.value,
    conversation: null, // {id, title, system}
    thread: null,
    job: null, // the job that is followed
    chosen: null, // creation id that keys act on
    system: "", // for the next new conversation
    wanted: null,
  };

  const side = h("aside", { id: "conversations", class: "wr-side", "aria-label": t("write.conversations") });
  const veil = h("div", { class: "wr-veil", onclick: () => write.drawer(false) });
  const main = h("div", { class: "wr-main" });
  host.root.append(h("div", { class: "wr-page" }, side, veil, main));
  write.drawer = (open) => host.root.firstElementChild.classList.toggle("is-drawer", open);

  const { parts } = Tastemaker;
  const conversations = parts.conversations(write, side);
  const thread = parts.thread(write, main);
  const composer = parts.composer(write, main);
  write.composer = composer;

  // ------------------------------------------------------------ showing

  /** Whether the conversation of the address is not shown yet. */
  write.isOpening = () => (write.wanted || null) !== ((write.conversation && write.conversation.id) || null);

  write.open = async (id, { shown } = {}) => {
    write.wanted = id;
    if (!id) {
      show(null);
      return;
    }
    try {
      const answer = await host.act("open", { c: id, shown }, { quiet: true });
      if (write.wanted === id) show(answer.thread);
    } catch (error) {
      if (write.wanted !== id) return;
      const isGone = error.code === "not_found";
      Tastemaker.notice(isGone ? t("write.no_conversation") : error.message, { kind: isGone ? "info" : "error" });
      if (error.code === "not_found") Tastemaker.navigate(Tastemaker.page(), { c: null }, { push: false });
    }
  };

  function show(view) {
    const before = write.conversation && write.conversation.id;
    write.thread = view;
    write.conversation = view ? view.conversation : null;
    const now = write.conversation && write.conversation.id;
    if (before !== now || !view) {
      write.chosen = null;
      write.job = null;
    }
    if (Tastemaker.page() === "write") document.title = `${view ? view.conversation.title : t("frame.tab.write")} · Tastemaker`;
    thread.draw(view, before !== now);
    conversations.mark(now);
    if (before !== now) composer.load();
    if (view && view.job_id && view.job_id !== write.job) follow(view.job_id);
    if (view && !view.job_id) write.job = null;
    composer.drawState();
  }

  /** Show what an action answered, unless the reader has gone elsewhere meanwhile. */
  write.apply = (answer) => {
    if (!answer.thread) return;
    const id = answer.thread.conversation.id;
    write.wanted = id;
    show(answer.thread);
    Tastemaker.navigate("write", { c: id }, { push: false });
    conversations.refresh();
  };

  /** An action on the shown conversation whose answer is the thread. */
  write.act = async (type, payload = {}) => {
    const id = write.conversation.id;
    const answer = await host.act(type, { c: id, ...payload });
    if (["pick", "edit", "delete"].includes(type)) bus.emit("judged");
    if (write.conversation && write.conversation.id === id) write.apply(answer);
    return answer;
  };

  // ------------------------------------------------------------ writing

  /** Start a job. `key` belongs to the click: a second click with the same one is the same job. */
  write.start = async ({ prompt = "", options = {}, key = Tastemaker.newKey(), type = "write", id = null }) => {
    const from = write.conversation && write.conversation.id;
    bus.emit("started");
    const answer = await host.act(type, { c: from, id, prompt, options, key, system: write.system });
    if (from === (write.conversation && write.conversation.id)) {
      write.chosen = answer.creation_ids[0];
      write.apply(answer);
    } else {
      conversations.refresh();
    }
    bus.emit("job");
    return answer;
  };

  write.stop = async () => {
    if (!write.job) return;
    composer.drawState("stopping");
    await host.act("cancel", { job_id: write.job }).catch(() => null);
  };

  let lastLive = 0;

  function follow(jobId) {
    write.job = jobId;
    lastLive = Date.now();
    host.trigger("follow", { job_id: jobId });
    composer.drawState();
  }

  bus.on("live", async (view) => {
    if (view.error && typeof view.error === "object") { // the stream itself failed
      Tastemaker.notice(view.error.message, { kind: "error" });
      return;
    }
    if (view.job_id !== write.job) return;
    const isWhole = thread.live(view);
    if (isWhole) lastLive = Date.now();
    else if (!view.done && Date.now() - lastLive > REFOLLOW_MS) follow(view.job_id); // too slow for the stream, or redrawn: start it anew
    if (!view.done) return;
    write.job = null;
    if (document.hidden) markTitle();
    if (view.error) Tastemaker.notice(view.error, { kind: "error" });
    composer.drawState();
    bus.emit("job");
    if (view.conversation_id === (write.conversation && write.conversation.id)) await write.open(view.conversation_id);
    conversations.refresh();
  });

  /** Somebody waits in another window: the title says that the answer is there. */
  function markTitle() {
    document.title = `● ${document.title.replace(/^● /, "")}`;
    document.addEventListener("visibilitychange", () => { document.title = document.title.replace(/^● /, ""); }, { once: true });
  }

  // The same conversation may be written in from another tab or device.
  bus.on("status", (status) => {
    const id = write.conversation && write.conversation.id;
    if (id && !write.job && status.jobs.some((job) => job.conversation_id === id && job.kind === "write")) write.open(id);
  });

  // A dropped connection ends a stream, never the job: ask how things stand and follow again. An end that came when the thread
  // could not be asked for leaves the job open in it, so the thread says what is to be looked after.
  setInterval(async () => {
    const jobId = write.thread && write.thread.job_id;
    if (!jobId || document.hidden || Date.now() - lastLive < QUIET_MS) return;
    lastLive = Date.now();
    const answer = await host.act("open", { c: write.conversation.id }, { quiet: true }).catch(() => null);
    if (!answer || !write.thread || write.thread.job_id !== jobId) return;
    if (answer.thread.job_id === jobId) follow(jobId);
    else show(answer.thread);
  }, 2000);

  // ------------------------------------------------------------ address and keys

  bus.on("address", (address) => {
    if (address.tab === "write" && (address.c || null) !== (write.wanted || null)) write.open(address.c);
  });
  bus.on("page", (page) => page === "write" && document.title && (document.title = `${write.conversation ? write.conversation.title : t("frame.tab.write")} · Tastemaker`));
  bus.on("restore", (what) => composer.restore(what)); // the Library sends a creation back here

  document.addEventListener("keydown", (event) => {
    if (Tastemaker.page() !== "write" || document.querySelector("dialog[open]")) return;
    if (event.key === "Escape" && write.job && !event.defaultPrevented) {
      write.stop();
      return;
    }
    if (Tastemaker.isTyping(event.target) || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "/") {
      event.preventDefault();
      composer.focus();
    } else if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
      if (thread.flip(event.key === "ArrowLeft" ? -1 : 1)) event.preventDefault();
    } else if (/^[1-5]$/.test(event.key)) {
      if (thread.number(Number(event.key))) event.preventDefault();
    }
  });

  conversations.refresh();
  write.open(Tastemaker.address().c);
};
