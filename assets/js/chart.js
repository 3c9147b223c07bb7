/* A small line chart in SVG: several lines, smoothing, a logarithmic scale, marked points, values under the pointer or by arrow keys,
   and a sparkline. Knows numbers, words and colours (classes is-1 … is-6); knows no run and asks nobody. */
"use strict";

(() => {
  const T = window.Tastemaker;
  const HEIGHT = 190;
  const EDGE = { left: 46, right: 12, top: 10, bottom: 22 };
  const POINTS_DRAWN = 500; // of a line: more than there are pixels only cost time

  const svg = (tag, props, ...children) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(props || {})) if (value !== null && value !== undefined) node.setAttribute(name, value);
    node.append(...children.flat().filter(Boolean));
    return node;
  };

  /** Exponential moving average without the bias towards the start, as TensorBoard draws it. weight 0 … 0.99. */
  const smooth = (points, weight) => {
    if (!weight) return points;
    let sum = 0;
    return points.map(([x, y], i) => {
      sum = sum * weight + y * (1 - weight);
      return [x, sum / (1 - weight ** (i + 1))];
    });
  };

  /** Every k-th point and the last one. */
  const thin = (points) => {
    const every = Math.ceil(points.length / POINTS_DRAWN);
    return every < 2 ? points : points.filter((_, i) => i % every === 0 || i === points.length - 1);
  };

  /** The smallest step of 1, 2, 5 × 10^n that makes at most about `count` ticks. */
  const niceStep = (span, count) => {
    const ten = 10 ** Math.floor(Math.log10(span / count));
    return [1, 2, 5, 10].find((one) => span / (one * ten) <= count + 1) * ten;
  };

  const ticksBetween = (low, high, count) => {
    const step = niceStep(high - low || 1, count);
    const ticks = [];
    for (let at = Math.ceil(low / step - 1e-9) * step; at <= high + step * 1e-6; at += step) ticks.push(Math.abs(at) < step * 1e-9 ? 0 : at);
    return ticks;
  };

  const logTicks = (low, high) => {
    const ticks = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
      for (const one of [1, 2, 5]) if (one * 10 ** power >= low * 0.999 && one * 10 ** power <= high * 1.001) ticks.push(one * 10 ** power);
    }
    return ticks.length > 6 ? ticks.filter((_, i) => i % Math.ceil(ticks.length / 5) === 0) : ticks;
  };

  /** A figure with as many digits as say something: 0.0312, 1.42, 183. */
  T.figure = (value) => {
    if (value === null || value === undefined || !Number.isFinite(value)) return "–";
    const size = Math.abs(value);
    if (size >= 100) return value.toFixed(0);
    if (size >= 10) return value.toFixed(1);
    if (size >= 0.01 || size === 0) return String(Number(value.toFixed(3)));
    return value.toExponential(1);
  };

  const straight = (points, x, y) => points.map(([px, py], i) => `${i ? "L" : "M"}${x(px).toFixed(1)} ${y(py).toFixed(1)}`).join("");

  /** The y axis for what is shown: {low, high, log, ticks}. `range` [low, high] fixes it. */
  function axis(values, { log, range, floor }) {
    if (range) return { low: range[0], high: range[1], log: false, ticks: ticksBetween(range[0], range[1], 4) };
    const known = log ? values.filter((value) => value > 0) : values;
    let [low, high] = known.length ? [Math.min(...known), Math.max(...known)] : [0, 1];
    if (log && known.length) {
      if (high / low < 1.5) [low, high] = [low / 1.3, high * 1.3];
      return { low, high, log: true, ticks: logTicks(low, high) };
    }
    if (floor !== undefined) low = Math.min(low, floor);
    const room = (high - low || Math.abs(high) || 1) * 0.08;
    [low, high] = [low === floor ? low : low - room, high + room];
    return { low, high, log: false, ticks: ticksBetween(low, high, 4) };
  }

  /** One chart. `name` is its data-chart; `format(value)` words a figure; `range`, `floor`, `guide` shape the y axis.
      Returns {node, draw(lines, {smoothing, log})}; a line is
      {name, color, points: [[step, value]], dots, faint, hushed}; a hushed one is not in the legend. */
  T.chart = ({ name, title, format = T.figure, range = null, floor, guide = null, small = false }) => {
    const { h, t } = T;
    const height = small ? 120 : HEIGHT;
    const picture = svg("svg", { "data-chart": name, class: "ch-svg", role: "img", tabindex: "0", height });
    const legend = h("div", { class: "ch-legend" });
    const tip = h("div", { class: "ch-tip", hidden: true, role: "status" });
    const empty = h("p", { class: "ch-empty tm-small" }, t("train.chart.empty"));
    const plot = h("div", { class: "ch-plot" }, picture, tip, empty);
    const node = h("figure", { class: `ch${small ? " is-small" : ""}` }, h("figcaption", { class: "ch-head" }, h("h3", {}, title), legend), plot);
    let shown = [];
    let options = {};
    let scale = null;
    let at = null; // the step under the pointer, or null
    let width = 0;

    function draw(lines, changes = {}) {
      options = { ...options, ...changes };
      shown = lines.filter((line) => line.points.length);
      empty.hidden = shown.length > 0;
      picture.toggleAttribute("data-empty", !shown.length);
      drawLegend();
      paint();
    }

    function drawLegend() {
      T.keyed(legend, shown.filter((line) => !line.hushed), (line) => line.name, (line) => h("span", { class: "ch-key" }, h("i", { "aria-hidden": "true" }), h("span", {}), h("b", {})), (key, line) => {
        key.firstElementChild.className = `is-${line.color}${line.dots ? " has-dots" : ""}`;
        key.children[1].textContent = line.name;
        key.lastElementChild.textContent = format(line.points[line.points.length - 1][1]);
      });
    }

    function paint() {
      width = plot.clientWidth || 400;
      picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
      picture.setAttribute("width", width);
      if (!shown.length) { picture.replaceChildren(); picture.setAttribute("aria-label", `${title}. ${t("train.chart.empty")}`); return; }
      const curves = shown.map((line) => ({ ...line, curve: smooth(line.points, line.dots ? 0 : options.smoothing || 0) }));
      const values = shown.flatMap((line) => thin(line.points).map((point) => point[1]));
      const y = axis(values, { log: options.log, range, floor });
      const steps = shown.flatMap((line) => [line.points[0][0], line.points[line.points.length - 1][0]]);
      const [first, last] = [Math.min(0, ...steps), Math.max(1, ...steps)];
      const px = (step) => EDGE.left + ((step - first) / (last - first || 1)) * (width - EDGE.left - EDGE.right);
      const part = (value) => (y.log ? Math.log(Math.max(value, y.low) / y.low) / Math.log(y.high / y.low) : (value - y.low) / (y.high - y.low || 1));
      const py = (value) => height - EDGE.bottom - Math.max(-0.02, Math.min(1.02, part(value))) * (height - EDGE.top - EDGE.bottom);
      scale = { px, py, first, last, curves };
      picture.replaceChildren(...grid(y, px, py, first, last), ...curves.flatMap(drawLine), svg("g", { class: "ch-cursor" }));
      picture.setAttribute("aria-label", `${title}. ${curves.map(summary).join(" ")}`);
      drawCursor();
    }

    function grid(y, px, py, first, last) {
      const across = y.ticks.map((value) => [svg("line", { class: "ch-grid", x1: EDGE.left, x2: width - EDGE.right, y1: py(value), y2: py(value) }),
        svg("text", { class: "ch-tick", x: EDGE.left - 7, y: py(value) + 4, "text-anchor": "end" }, label(value, y))]);
      const steps = ticksBetween(first, last, Math.max(2, Math.floor(width / 80))).filter(Number.isInteger);
      const below = steps.map((step) => svg("text", { class: "ch-tick", x: px(step), y: height - 5, "text-anchor": step === first ? "start" : step === last ? "end" : "middle" }, String(step)));
      const middle = guide === null ? null : svg("line", { class: "ch-guide", x1: EDGE.left, x2: width - EDGE.right, y1: py(guide), y2: py(guide) });
      return [...across.flat(), ...below, middle].filter(Boolean);
    }

    /** Ticks that lie close together need the digits that tell them apart. */
    function label(value, y) {
      if (format !== T.figure || y.log || y.ticks.length < 2) return format(value);
      const step = y.ticks[1] - y.ticks[0];
      return step < 1e-3 ? format(value) : value.toFixed(Math.max(0, -Math.floor(Math.log10(step) + 1e-9)));
    }

    function drawLine(line) {
      const { px, py } = scale;
      const parts = [];
      const isSmooth = line.curve !== line.points;
      if (isSmooth) parts.push(svg("path", { class: `ch-line is-${line.color} is-raw`, d: straight(thin(line.points), px, py) }));
      parts.push(svg("path", { class: `ch-line is-${line.color}${line.faint ? " is-faint" : ""}`, d: straight(thin(line.curve), px, py) }));
      if (line.dots) parts.push(...thin(line.points).map(([x, value]) => svg("circle", { class: `ch-dot is-${line.color}`, cx: px(x).toFixed(1), cy: py(value).toFixed(1), r: 3 })));
      return parts;
    }

    /** What a person who does not see the picture hears of one line. */
    function summary(line) {
      const [from, to] = [line.points[0], line.points[line.points.length - 1]];
      const all = line.points.map((point) => point[1]);
      return t("train.chart.summary", { name: line.name, from: format(from[1]), to: format(to[1]), step: to[0], low: format(Math.min(...all)), high: format(Math.max(...all)) });
    }

    // ------------------------------------------------------------ values

    const before = (points, step) => {
      let low = 0;
      let high = points.length;
      while (low < high) { const mid = (low + high) >> 1; if (points[mid][0] <= step) low = mid + 1; else high = mid; }
      return points[low - 1] || null;
    };

    function drawCursor() {
      const group = picture.querySelector(".ch-cursor");
      if (!group) return;
      tip.hidden = at === null || !shown.length;
      group.replaceChildren();
      if (tip.hidden) return;
      const { px, py, curves } = scale;
      group.append(svg("line", { x1: px(at), x2: px(at), y1: EDGE.top, y2: height - EDGE.bottom }));
      const rows = curves.map((line) => [line, before(line.curve, at), before(line.points, at)]).filter((row) => row[1]);
      group.append(...rows.map(([line, point]) => svg("circle", { class: `is-${line.color}`, cx: px(point[0]), cy: py(point[1]), r: 4 })));
      T.clear(tip, h("strong", {}, t("train.step", { step: at })), rows.map(([line, point, raw]) => h("span", { class: "ch-key" }, h("i", { class: `is-${line.color}` }), h("span", {}, line.name),
        h("b", {}, format(point[1])), point[1] !== raw[1] ? h("span", { class: "tm-small" }, format(raw[1])) : null)));
      const left = px(at) > width / 2;
      tip.style.left = left ? "auto" : `${px(at) + 10}px`;
      tip.style.right = left ? `${width - px(at) + 10}px` : "auto";
    }

    const known = () => [...new Set(shown.flatMap((line) => line.points.map((point) => point[0])))].sort((a, b) => a - b);

    function point(event) {
      if (!shown.length) return;
      const box = picture.getBoundingClientRect();
      const wanted = scale.first + ((event.clientX - box.left - EDGE.left) / (width - EDGE.left - EDGE.right)) * (scale.last - scale.first);
      at = known().reduce((best, step) => (Math.abs(step - wanted) < Math.abs(best - wanted) ? step : best));
      drawCursor();
    }

    picture.addEventListener("pointermove", point);
    picture.addEventListener("pointerdown", point);
    const leave = () => { at = null; drawCursor(); };
    picture.addEventListener("pointerleave", leave);
    picture.addEventListener("blur", leave);
    picture.addEventListener("keydown", (event) => {
      const steps = known();
      const now = at === null ? -1 : steps.indexOf(at);
      const next = { ArrowRight: Math.min(now + 1, steps.length - 1), ArrowLeft: now < 0 ? steps.length - 1 : Math.max(0, now - 1), Home: 0, End: steps.length - 1 }[event.key];
      if (next === undefined || !steps.length) return;
      event.preventDefault();
      at = steps[next];
      drawCursor();
    });
    new ResizeObserver(() => { if (Math.abs(plot.clientWidth - width) > 1 && plot.clientWidth) paint(); }).observe(plot);
    return { node, draw };
  };

  /** A line of 84 × 22 without an axis, for a row of a list. values: numbers in order. */
  T.sparkline = (values, label) => {
    const box = svg("svg", { class: "ch-spark", viewBox: "0 0 84 22", width: 84, height: 22, role: "img", "aria-label": label });
    const low = Math.min(...values);
    const high = Math.max(...values);
    const x = (i) => 2 + (i / Math.max(1, values.length - 1)) * 80;
    const y = (value) => 19 - ((value - low) / (high - low || 1)) * 16;
    if (values.length > 1) box.append(svg("path", { d: straight(values.map((value, i) => [i, value]), x, y) }));
    if (values.length) box.append(svg("circle", { cx: x(values.length - 1), cy: y(values[values.length - 1]), r: 2.2 }));
    return box;
  };
})();
