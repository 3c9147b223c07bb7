/* The Images page: what is drawn, which job is followed, the address and the page's keys.
   Parts (composer, settings, source, feed, viewer) draw; this file holds their shared state and talks to Python for them. */
"use strict";

/* Live pictures arrive in a small widget of its own, so that nothing else is sent again while they grow. */
Tastemaker.widgets.imageLive = (host) => host.onValue((value) => value && Tastemaker.bus.emit("image-live", value));

Tastemaker.widgets.images = (host) => {
  const { h, t, bus, parts } = Tastemaker;
  const QUIET_MS = 8000; // a stream silent for longer is looked after
  const KINDS = ["imagine", "upscale"];

  const images = {
    host,
    config: host.value,
    form: null, // what can be chosen; ui/view_images.py: form_view
    batches: [], // newest first
    more: false,
    jobs: [], // waiting and running, oldest first
    job: null, // the one that is followed
    stopping: null,
    chosen: null, // creation id that keys act on
    next_training_in: 0,
    sent: null, // what the Library sent before the page was there
    apart: null, // a batch that only the large view shows: its address was opened, and the list has not come so far
  };

  const main = h("div", { class: "im-main" });
  const scroller = h("div", { class: "im-scroll", tabindex: -1 }, main);
  const page = h("div", { class: "im-page" }, scroller);
  host.root.append(page);
  images.changed = () => { if (images.composer && images.form) images.composer.draw(); };
  images.toTop = () => scroller.scrollTo({ top: 0, behavior: "instant" });
  images.mask = parts.imageMask();
  images.settings = parts.imageSettings(images);
  images.composer = parts.imageComposer(images, main);
  images.feed = parts.imageFeed(images, main, scroller);
  images.viewer = parts.imageViewer(images);
  page.append(images.settings.node);
  parts.imageDrop(images, page);
  const { feed, composer, settings, viewer } = images;

  // ------------------------------------------------------------ reading

  images.batchOf = (jobId) => images.batches.find((batch) => batch.job_id === jobId);
  const batchWith = (id) => [...images.batches, images.apart].find((batch) => batch && batch.items.some((item) => item.id === id));
  const itemOf = (id) => batchWith(id)?.items.find((item) => item.id === id);

  async function open() {
    const answer = await host.act("open", {}, { quiet: true }).catch((error) => { Tastemaker.notice(error.message === "no connection" ? t("frame.no_connection") : error.message, { kind: "error" }); return null; });
    if (!answer) return;
    const older = images.batches.filter((batch) => answer.more && !answer.batches.some((one) => one.job_id === batch.job_id) && batch.created_at < answer.batches.at(-1)?.created_at);
    Object.assign(images, { form: answer.form, batches: [...answer.batches, ...older], more: older.length ? images.more : answer.more, jobs: answer.jobs, next_training_in: answer.next_training_in });
    settings.draw();
    composer.draw();
    feed.draw();
    if (images.sent) images.restore(images.sent);
    images.sent = null;
    followNext();
    showAddress();
  }

  let isReadingOn = false;
  images.earlier = async () => {
    if (isReadingOn || !images.more || !images.batches.length) return;
    isReadingOn = true;
    const answer = await host.act("earlier", { before: images.batches.at(-1).job_id }, { quiet: true }).catch(() => null);
    isReadingOn = false;
    if (!answer) return;
    images.batches.push(...answer.batches.filter((batch) => !images.batchOf(batch.job_id)));
    images.more = answer.more;
    feed.draw();
  };

  /** Put a batch where it belongs, new or changed. */
  function take(batch) {
    const at = images.batches.findIndex((one) => one.job_id === batch.job_id);
    batch.items.forEach((item, index) => { item.number = index + 1; });
    if (at >= 0) images.batches[at] = batch;
    else if (images.apart && images.apart.job_id === batch.job_id) images.apart = batch;
    else if (batch.items.length) images.batches.unshift(batch);
    images.batches = images.batches.filter((one) => one.items.length);
    feed.draw();
    viewer.refresh(batch);
  }

  async function reread(jobId) {
    const answer = await host.act("batch", { job_id: jobId }, { quiet: true }).catch(() => null);
    if (answer) take(answer.batch);
    else { images.batches = images.batches.filter((one) => one.job_id !== jobId); feed.draw(); }
  }

  // ------------------------------------------------------------ drawing

  /** Start a job by the action `type`. `key` belongs to the click: a second click with the same one is the same job. */
  images.start = async (type, payload) => {
    const answer = await host.act(type, payload);
    images.jobs = answer.jobs;
    take(answer.batch);
    followNext();
    composer.drawState();
    bus.emit("job");
    return answer;
  };

  images.resume = (jobId) => images.start("resume", { job_id: jobId }).catch(() => null);
  images.again = (batch) => images.start("vary", { id: batch.items[0].id, n: batch.items.length, key: Tastemaker.newKey() }).catch(() => null);
  images.skip = (id = null) => images.job && host.act("skip", { job_id: batchWith(id)?.job_id || images.job, id }).catch(() => null);
  images.stop = () => { if (images.job) images.cancel(images.job); };
  images.cancel = async (jobId) => {
    images.stopping = jobId;
    feed.drawProgress(lastView);
    await host.act("cancel", { job_id: jobId }).catch(() => null);
    if (jobId !== images.job) {
      images.jobs = images.jobs.filter((job) => job.job_id !== jobId);
      await reread(jobId);
      bus.emit("job");
    }
  };

  let lastLive = 0;
  let lastView = null;

  /** One job is followed at a time, the one that draws; the others wait for it anyway. */
  function followNext() {
    if (images.job && images.jobs.some((job) => job.job_id === images.job)) { feed.draw(); return; }
    const next = images.jobs.find((job) => job.status === "running") || images.jobs[0];
    images.job = next ? next.job_id : null;
    lastView = null;
    if (next) {
      lastLive = Date.now();
      if (!images.batchOf(next.job_id)) reread(next.job_id);
      host.trigger("follow", { job_id: next.job_id });
    }
    feed.draw();
    feed.drawProgress(null);
    composer.drawState();
  }

  bus.on("image-live", async (view) => {
    if (view.error && typeof view.error === "object") { // the stream itself failed
      Tastemaker.notice(view.error.message, { kind: "error" });
      return;
    }
    if (view.job_id !== images.job) return;
    lastLive = Date.now();
    lastView = view;
    const batch = images.batchOf(view.job_id);
    if (batch && batch.status !== view.status && !view.done) { batch.status = view.status; feed.draw(); }
    feed.live(view);
    if (!view.done) return;
    if (view.error) Tastemaker.notice(view.error, { kind: "error" });
    if (document.hidden || Tastemaker.page() !== "images") markTitle();
    images.jobs = images.jobs.filter((job) => job.job_id !== view.job_id);
    await reread(view.job_id);
    followNext();
    bus.emit("job");
  });

  /** Somebody waits elsewhere: the title says that the pictures are there. */
  function markTitle() {
    document.title = `● ${document.title.replace(/^● /, "")}`;
    const clear = () => { document.title = document.title.replace(/^● /, ""); };
    document.addEventListener("visibilitychange", clear, { once: true });
  }

  const readJobs = async () => {
    const answer = await host.act("jobs", {}, { quiet: true }).catch(() => null);
    if (!answer) return;
    const gone = images.jobs.filter((job) => !answer.jobs.some((one) => one.job_id === job.job_id));
    images.jobs = answer.jobs;
    if (gone.some((job) => job.job_id === images.job)) images.job = null;
    for (const job of gone) await reread(job.job_id);
    followNext();
  };

  bus.on("model", () => { if (Tastemaker.page() === "images") { settings.change({ model: null }); open(); } }); // chosen in the top line

  // Another window, or the API, may draw too.
  bus.on("status", (status) => {
    const known = new Set(images.jobs.map((job) => job.job_id));
    if (images.form && status.jobs.some((job) => KINDS.includes(job.kind) && !known.has(job.job_id))) readJobs();
  });

  // A dropped connection ends a stream, never the job: ask how things stand and follow again.
  setInterval(async () => {
    if (!images.job || document.hidden || Date.now() - lastLive < QUIET_MS) return;
    lastLive = Date.now();
    const jobId = images.job;
    await readJobs();
    if (images.job === jobId) host.trigger("follow", { job_id: jobId });
  }, 2000);

  // ------------------------------------------------------------ choosing

  images.choose = (id, { quiet = false } = {}) => {
    if (images.chosen === id) return;
    images.chosen = id;
    feed.draw();
    if (!quiet) feed.tileOf(id)?.scrollIntoView({ block: "nearest" });
  };

  /** A rating was given, in the grid or in the large view. */
  images.rated = (id, answered) => {
    images.next_training_in = answered.next_training_in;
    const item = itemOf(id);
    if (item) item.rating = answered.rating;
    feed.draw();
  };
  bus.on("rated", ({ id, rating }) => {
    const item = itemOf(id);
    if (item && JSON.stringify(item.rating) !== JSON.stringify(rating)) { item.rating = rating; feed.draw(); }
  });

  images.prefer = async (id, others, { tie = false, both_bad = false } = {}) => {
    const answer = await host.act("prefer", { id, others, tie, both_bad });
    images.next_training_in = answer.next_training_in;
    bus.emit("judged");
    const batch = batchWith(id);
    if (batch) await reread(batch.job_id);
  };

  images.pick = async (item) => {
    const batch = batchWith(item.id);
    const others = batch.items.filter((one) => one.url && one.id !== item.id).map((one) => one.id);
    if (!item.url || !others.length) return;
    try {
      await images.prefer(item.id, others);
      Tastemaker.notice(t("images.pick_kept", { n: others.length, number: item.number }));
    } catch { /* said already */ }
  };

  images.star = async (item) => {
    const answer = await host.act("star", { id: item.id, on: !item.starred }).catch(() => null);
    const mine = itemOf(item.id);
    if (!answer || !mine) return;
    mine.starred = answer.starred;
    feed.draw();
    viewer.refresh(batchWith(item.id));
  };

  images.trash = async (ids) => {
    const jobs = [...new Set(ids.map((id) => batchWith(id)?.job_id).filter(Boolean))];
    const before = images.batches.map((batch) => batch.job_id);
    if (!(await host.act("trash", { ids }).catch(() => null))) return;
    for (const job of jobs) await reread(job);
    Tastemaker.notice(t("images.trashed", { n: ids.length }), { action: { label: t("frame.undo"), run: async () => {
      await host.act("restore", { ids });
      for (const job of jobs) await reread(job);
      images.batches.sort((a, b) => (before.indexOf(a.job_id) + 1 || 1e9) - (before.indexOf(b.job_id) + 1 || 1e9));
      feed.draw();
    } } });
  };

  // ------------------------------------------------------------ settings of a picture

  images.useModel = async (id) => {
    if (!(await host.act("use_model", { id }).catch(() => null))) return;
    settings.change({ model: null, width: null, height: null, steps: null, guidance: null });
    bus.emit("job"); // the top line names it
    open();
  };

  images.keepSeed = (seed) => {
    settings.change({ seed: String(seed) });
    Tastemaker.notice(t("images.seed_kept", { seed }));
  };

  /** The form as it was for this batch; with an `item` its seed too, so that Create makes the same picture. */
  images.reuse = (batch, item = null) => images.restore({ prompt: batch.prompt, options: { ...batch.options, seed: item ? item.seed : null } });

  /** Its prompt comes along, unless another one has been typed and not yet drawn. */
  images.startFrom = (item, { paints = false } = {}) => {
    const typed = composer.text.trim();
    if (!typed || images.batches.some((batch) => batch.prompt.trim() === typed)) composer.setText(item.prompt);
    if (paints) images.source.paint({ id: item.id, url: item.url, name: "", mask: null });
    else images.source.fromCreation(item.id, { url: item.url });
  };

  /** Returns what undoes it. */
  images.restore = ({ prompt, options }) => {
    const before = { text: composer.text, values: { ...settings.values }, source: images.source.now };
    if (prompt) composer.setText(prompt);
    settings.restore(options);
    images.source.put(options.init_image ? { id: options.init_image, url: `/media/${options.init_image}`, name: "", mask: null } : null);
    if (options.init_image === null) Tastemaker.notice(t("images.source_lost"));
    images.toTop();
    composer.focus();
    return () => { composer.setText(before.text); settings.change(before.values); images.source.put(before.source); };
  };
  bus.on("restore-image", (what) => { // the Library sends a creation here, perhaps before the form is there
    if (images.form) images.restore(what);
    else images.sent = what;
  });

  // ------------------------------------------------------------ address and keys

  /** Open a picture large; one that is not in sight is read first. */
  images.show = async (id, { push = true } = {}) => {
    let batch = batchWith(id);
    if (!batch) {
      const answer = await host.act("item", { id }, { quiet: true }).catch((error) => error);
      batch = answer.batch;
      const found = batch && batch.items.find((item) => item.id === id && item.url);
      if (!found) {
        Tastemaker.notice(answer.message || t("images.no_picture"), { kind: "error" });
        Tastemaker.navigate("images", { item: null }, { push: false });
        return;
      }
      images.apart = batch;
      take(batch);
    }
    images.chosen = id;
    const wasOpen = viewer.isOpen;
    viewer.open(batch, id); // before the address says so: whoever hears of the address finds it open
    Tastemaker.navigate("images", { item: id }, { push: push && !wasOpen });
    feed.draw();
  };

  function showAddress(address = Tastemaker.address()) {
    if (Tastemaker.page() !== "images" || !images.form) return;
    if (!address.item) viewer.close({ write: false });
    else if (address.item !== viewer.id) images.show(address.item, { push: false });
  }
  bus.on("address", showAddress);
  bus.on("page", (now) => { if (now !== "images") viewer.close({ write: false }); });

  /** The picture that keys act on: the one last touched, else the first of the newest click. */
  function active() {
    const chosen = itemOf(images.chosen);
    const item = chosen && chosen.url ? chosen : images.batches.find((batch) => batch.items.some((one) => one.url))?.items.find((one) => one.url);
    if (item) images.choose(item.id);
    return item;
  }

  function moveTo(by, isRow) {
    const tile = feed.neighbour(images.chosen, by, isRow);
    tile?.querySelector(".im-open").focus();
    return Boolean(tile);
  }

  function compareChosen(item) {
    const batch = batchWith(item.id);
    const other = batch.items.find((one) => one.url && one.id !== item.id);
    if (!other) return false;
    viewer.compare(batch, item, batch.items.slice(batch.items.indexOf(item)).find((one) => one.url && one.id !== item.id) || other);
    Tastemaker.navigate("images", { item: item.id });
    return true;
  }

  document.addEventListener("keydown", (event) => {
    if (Tastemaker.page() !== "images" || document.querySelector("dialog[open], .tm-menu")) return;
    const isCommand = event.ctrlKey || event.metaKey || event.altKey;
    if (viewer.isOpen) {
      if (!isCommand && !(Tastemaker.isTyping(event.target) && event.target.type !== "range") && viewer.key(event)) event.preventDefault();
      return;
    }
    if (event.key === "Escape" && images.job && !event.defaultPrevented) { images.stop(); return; }
    if (Tastemaker.isTyping(event.target) || isCommand || event.target.closest?.("[role=radiogroup], [role=tablist]")) return;
    if (/^[1-5]$/.test(event.key)) { const item = active(); if (item && item.url) feed.rate(item.id, Number(event.key)); else return; } else {
      const keys = { "/": () => { composer.focus(); return true; }, p: () => { const item = active(); if (item) images.pick(item); return Boolean(item); }, c: () => { const item = active(); return Boolean(item) && compareChosen(item); },
        s: () => { const item = active(); if (item) images.star(item); return Boolean(item); }, Delete: () => { const item = active(); if (item) images.trash([item.id]); return Boolean(item); },
        ArrowLeft: () => moveTo(-1), ArrowRight: () => moveTo(1), ArrowUp: () => moveTo(-1, true), ArrowDown: () => moveTo(1, true) };
      if (!keys[event.key] || !keys[event.key]()) return;
    }
    event.preventDefault();
  });

  host.onOpen(() => { open(); composer.grow(); });
};
