/* Dropping or pasting a picture anywhere in the Images page: its settings come back, or it becomes the picture to start from.
   A picture of the page itself may be dragged onto the prompt. Python reads the file; here is only said what it found. */
"use strict";

Tastemaker.parts = Tastemaker.parts || {};

Tastemaker.parts.imageDrop = (images, page) => {
  const { h, t, icon } = Tastemaker;
  const OURS = "text/tastemaker-picture";
  let depth = 0;

  const veil = h("div", { class: "im-veil", id: "image-drop", hidden: true }, h("div", {}, icon("picture"), h("strong", {}, t("images.drop")), h("span", { class: "tm-small" }, t("images.drop_hint"))));
  page.append(veil);

  const isHere = () => Tastemaker.page() === "images" && !document.querySelector("dialog[open], #image-mask");
  const hasFile = (event) => [...(event.dataTransfer?.types || [])].includes("Files");
  const isOurs = (event) => [...(event.dataTransfer?.types || [])].includes(OURS);
  const show = (on) => { veil.hidden = !on; };

  // The whole window takes it: a file dropped beside a target would otherwise replace the page.
  document.addEventListener("dragenter", (event) => { if (isHere() && (hasFile(event) || isOurs(event))) { depth += 1; show(hasFile(event) && !isOurs(event)); } });
  document.addEventListener("dragleave", () => { depth = Math.max(0, depth - 1); if (!depth) show(false); });
  document.addEventListener("dragend", () => { depth = 0; show(false); });
  document.addEventListener("dragover", (event) => { if (isHere() && (hasFile(event) || isOurs(event))) event.preventDefault(); });
  document.addEventListener("drop", (event) => {
    depth = 0;
    show(false);
    if (!isHere() || !(hasFile(event) || isOurs(event))) return;
    event.preventDefault();
    const id = event.dataTransfer.getData(OURS);
    if (id) { if (event.target.closest?.(".im-composer")) images.source.fromCreation(id); return; }
    const file = event.dataTransfer.files[0];
    if (file) { images.viewer.close(); take(file); }
  });
  document.addEventListener("paste", (event) => {
    const file = isHere() && [...(event.clipboardData?.files || [])].find((one) => one.type.startsWith("image/"));
    if (!file) return;
    event.preventDefault();
    images.viewer.close();
    take(file);
  });

  async function take(file) {
    const path = await images.source.upload(file);
    const answer = path && await images.host.act("read", { path }).catch(() => null); // a file that is no picture has been refused in one sentence
    if (!answer) return;
    const start = () => images.source.fromPath(path, file);
    if (!answer.settings) {
      start();
      Tastemaker.notice(t("images.no_settings"));
      return;
    }
    const view = answer.settings;
    const undo = images.restore({ prompt: view.prompt, options: view.options });
    images.feed.drawFound({ view, name: file.name, undo, start });
  }
};
