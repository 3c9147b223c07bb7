/* Painting the part of a picture that is to be made anew: with mouse, finger, pen or keys, over the whole page.
   Knows a picture's address and gives back a mask as a PNG, white where it is painted; asks Python nothing. */
"use strict";

Tastemaker.parts = Tastemaker.parts || {};

Tastemaker.parts.imageMask = () => {
  const { h, t, icon } = Tastemaker;
  const MAX_SIDE = 1024; // of the mask; it is scaled to the picture anyway
  const SHOWN = "rgb(224 122 79 / 62%)";
  const KEY_STEP = 1 / 40; // of the shorter side

  /** Resolves with {blob, url, strokes, share} (share in per cent), or null when it was left. `earlier` strokes may go on. */
  function open(address, earlier = null) {
    return new Promise((resolve) => begin(address, earlier, resolve));
  }

  function begin(address, earlier, resolve) {
    let strokes = earlier ? [...earlier.strokes] : []; // each {size, erase, points: [[x, y]…]}, in shares of width; or {fill}, {clear}
    let undone = [];
    let stroke = null;
    let isErasing = false;
    let at = [0.5, 0.5]; // where keys paint
    let byKey = false;
    const before = document.activeElement;

    // ---------------------------------------------------------- parts

    const picture = h("img", { class: "mk-picture", src: address, alt: "", draggable: "false", onload: start, onerror: () => leave(null) });
    const canvas = h("canvas", { class: "mk-canvas", tabindex: 0, role: "application", "aria-label": t("images.mask.canvas"), "aria-describedby": "mask-keys" });
    const cursor = h("i", { class: "mk-cursor", hidden: true, "aria-hidden": "true" });
    const size = h("input", { type: "range", min: 2, max: 40, value: 12, id: "mask-size", "aria-label": t("images.mask.size"), oninput: drawCursor });
    const tool = (name, sign, run) => h("button", { class: "tm-icon-button", type: "button", "data-action": name, "aria-label": t(`images.mask.${name}`), title: t(`images.mask.${name}`), onclick: run }, icon(sign));
    const brush = tool("brush", "brush", () => choose(false));
    const eraser = tool("eraser", "eraser", () => choose(true));
    const undo = tool("undo", "undo", takeBack);
    const done = h("button", { class: "tm-button is-primary", type: "button", "data-action": "done", onclick: finish }, icon("check"), h("span", {}, t("images.mask.done")));
    const hint = h("p", { class: "tm-small mk-hint", id: "mask-keys" }, t("images.mask.hint"));
    const root = h("div", { class: "im-over mk tm-root", id: "image-mask", role: "dialog", "aria-modal": "true", "aria-label": t("images.mask.title"), onkeydown: onKey },
      h("header", { class: "mk-head" }, h("h2", {}, t("images.mask.title")), h("span", { class: "tm-topline-gap" }),
        h("button", { class: "tm-button", type: "button", "data-action": "cancel", onclick: () => leave(null) }, t("frame.cancel")), done),
      h("div", { class: "mk-stage" }, h("div", { class: "mk-frame" }, picture, canvas, cursor)),
      h("footer", { class: "mk-tools", role: "toolbar", "aria-label": t("images.mask.tools") }, brush, eraser,
        h("label", { class: "mk-size" }, h("span", { class: "tm-small" }, t("images.mask.size")), size), undo, tool("clear", "trash", clear), tool("invert", "invert", invert)), hint);
    document.body.append(root);
    Tastemaker.cover(true);
    Tastemaker.trapFocus(root);
    const context = canvas.getContext("2d");

    function start() {
      const scale = Math.min(1, MAX_SIDE / Math.max(picture.naturalWidth, picture.naturalHeight));
      canvas.width = Math.max(1, Math.round(picture.naturalWidth * scale));
      canvas.height = Math.max(1, Math.round(picture.naturalHeight * scale));
      draw();
      choose(false);
      canvas.focus({ preventScroll: true });
    }

    // ---------------------------------------------------------- painting

    function paintInto(target, colour) {
      const { width, height } = target.canvas;
      target.clearRect(0, 0, width, height);
      target.lineCap = target.lineJoin = "round";
      for (const one of strokes) {
        target.globalCompositeOperation = one.erase ? "destination-out" : "source-over";
        target.fillStyle = target.strokeStyle = colour;
        if (one.clear) { target.clearRect(0, 0, width, height); continue; }
        if (one.invert) {
          target.globalCompositeOperation = "xor";
          target.fillRect(0, 0, width, height);
          continue;
        }
        target.lineWidth = one.size * Math.min(width, height);
        target.beginPath();
        one.points.forEach(([x, y], index) => (index ? target.lineTo(x * width, y * height) : target.moveTo(x * width, y * height)));
        if (one.points.length === 1) target.lineTo(one.points[0][0] * width + 0.01, one.points[0][1] * height);
        target.stroke();
      }
      target.globalCompositeOperation = "source-over";
    }

    /** Strokes are laid down opaque and tinted as a whole, so that where two cross is no darker. */
    function draw() {
      paintInto(context, "#fff");
      context.globalCompositeOperation = "source-in";
      context.fillStyle = SHOWN;
      context.fillRect(0, 0, canvas.width, canvas.height);
      context.globalCompositeOperation = "source-over";
      undo.disabled = !strokes.length;
      done.disabled = !strokes.length;
    }

    const place = (event) => {
      const box = canvas.getBoundingClientRect();
      return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    };
    const newStroke = (point) => ({ size: Number(size.value) / 100, erase: isErasing, points: [point] });

    canvas.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      event.preventDefault();
      canvas.focus({ preventScroll: true });
      canvas.setPointerCapture(event.pointerId);
      byKey = false;
      undone = [];
      stroke = newStroke(place(event));
      strokes.push(stroke);
      move(event);
      draw();
    });
    canvas.addEventListener("pointermove", (event) => {
      move(event);
      if (!stroke) return;
      for (const one of event.getCoalescedEvents?.() || [event]) stroke.points.push(place(one));
      draw();
    });
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { stroke = null; });
    canvas.addEventListener("pointerleave", () => { if (!byKey) cursor.hidden = true; });

    function move(event) {
      at = place(event);
      cursor.hidden = event.pointerType === "touch" && !stroke;
      drawCursor();
    }

    function drawCursor() {
      const box = canvas.getBoundingClientRect();
      const wide = (Number(size.value) / 100) * Math.min(box.width, box.height);
      Object.assign(cursor.style, { width: `${wide}px`, height: `${wide}px`, left: `${at[0] * box.width}px`, top: `${at[1] * box.height}px` });
    }

    // ---------------------------------------------------------- tools and keys

    function choose(erases) {
      isErasing = erases;
      brush.setAttribute("aria-pressed", String(!erases));
      eraser.setAttribute("aria-pressed", String(erases));
    }

    function add(one) { undone = []; strokes.push(one); draw(); }
    function clear() { if (strokes.length) add({ clear: true }); }
    function invert() { add({ invert: true }); }
    function takeBack() { if (strokes.length) { undone.push(strokes.pop()); draw(); } }
    function redo() { if (undone.length) { strokes.push(undone.pop()); draw(); } }

    function onKey(event) {
      event.stopPropagation(); // the page behind has keys of its own
      const isCommand = event.ctrlKey || event.metaKey;
      const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
      const isOnCanvas = document.activeElement === canvas;
      if (event.key === "Escape") leave(null);
      else if (isCommand && event.key.toLowerCase() === "z") { if (event.shiftKey) redo(); else takeBack(); }
      else if (isCommand && event.key === "Enter") finish();
      else if (event.key === "[" || event.key === "]") { size.value = Number(size.value) + (event.key === "]" ? 3 : -3); drawCursor(); }
      else if (event.key === "e" && isOnCanvas) choose(!isErasing);
      else if (isOnCanvas && moves[event.key]) step(moves[event.key], event.shiftKey);
      else if (isOnCanvas && (event.key === " " || event.key === "Enter")) dab();
      else return;
      event.preventDefault();
    }
    root.addEventListener("keyup", (event) => { if (event.key === " " || event.key === "Enter") stroke = null; });

    function step([x, y], isFar) {
      byKey = true;
      const far = KEY_STEP * (isFar ? 4 : 1);
      const aspect = canvas.width / canvas.height;
      at = [Math.min(1, Math.max(0, at[0] + x * far / Math.max(1, aspect))), Math.min(1, Math.max(0, at[1] + y * far * Math.min(1, aspect)))];
      cursor.hidden = false;
      drawCursor();
      if (stroke) { stroke.points.push([...at]); draw(); }
    }

    /** A key press paints one dab; while it is held, arrows draw a line. */
    function dab() {
      byKey = true;
      cursor.hidden = false;
      drawCursor();
      if (stroke) return;
      undone = [];
      stroke = newStroke([...at]);
      strokes.push(stroke);
      draw();
    }

    // ---------------------------------------------------------- the end

    async function finish() {
      if (!strokes.length || !canvas.width) return;
      const mask = document.createElement("canvas");
      mask.width = canvas.width;
      mask.height = canvas.height;
      const target = mask.getContext("2d", { willReadFrequently: true });
      paintInto(target, "#fff");
      const pixels = target.getImageData(0, 0, mask.width, mask.height).data;
      let painted = 0;
      for (let index = 3; index < pixels.length; index += 4) painted += pixels[index] > 127;
      const share = Math.round((100 * painted) / (mask.width * mask.height));
      if (!painted) { Tastemaker.notice(t("images.mask.empty"), { kind: "error" }); return; }
      target.globalCompositeOperation = "destination-over";
      target.fillStyle = "#000";
      target.fillRect(0, 0, mask.width, mask.height);
      const blob = await new Promise((ready) => { mask.toBlob(ready, "image/png"); });
      leave({ blob, url: canvas.toDataURL("image/png"), strokes, share: Math.max(1, share) });
    }

    function leave(made) {
      root.remove();
      Tastemaker.cover(false);
      before?.focus?.({ preventScroll: true });
      resolve(made);
    }
  }

  return { open };
};
