// What the trace elements draw with: nodes, colours, words, and the registry of recorded traces.
(function () {
  "use strict";
  const course = (window.course = window.course || {});
  const SVG = "http://www.w3.org/2000/svg";

  function fill(node, attributes, children) {
    for (const [name, value] of Object.entries(attributes || {})) {
      if (value === null || value === undefined || value === false) continue;
      if (name === "text") node.textContent = value;
      else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children.flat().filter((child) => child !== null && child !== undefined));
    return node;
  }
  const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
  const s = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

  // A hue for each request, far from those of its neighbours; lightness and chroma come from traces.css.
  const hue = (row) => Math.round((row * 137.5 + 250) % 360);
  const tint = (row) => `--h:${hue(row)}`;

  const count = (n, one, many = `${one}s`) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
  const list = (items, most = 4) => {
    const shown = items.length > most ? [...items.slice(0, most), `${items.length - most} more`] : items;
    return shown.length > 1 ? `${shown.slice(0, -1).join(", ")} and ${shown.at(-1)}` : shown.join("");
  };
  const ms = (seconds) => {
    const value = seconds * 1000;
    return value < 10 ? `${value.toFixed(1)} ms` : value < 10000 ? `${Math.round(value).toLocaleString("en")} ms` : `${(value / 1000).toFixed(1)} s`;
  };
  const percent = (part, whole) => (whole ? `${Math.round((100 * part) / whole)}%` : "0%");
  const visible = (text) => text.replace(/\n/g, "⏎").replace(/\t/g, "→").replace(/ {2,}/g, (spaces) => "·".repeat(spaces.length));

  const label = (x, y, text, more = {}) => s("text", { x, y, class: "t-label", text, ...more });

  // The timeline of an engine: a row a request, a column a step.
  function timeline(replay, { i, width, selected, onStep, onSelect }) {
    const left = 34, cell = width < 480 ? 7 : 9, row = 12, span = Math.max(10, Math.floor((width - left) / cell));
    const total = replay.steps.length;
    const from = Math.max(0, Math.min(i - Math.floor(span * 0.6), total - span)), to = Math.min(total, from + span);
    const rows = replay.seqs.filter((seq) => (seq.end ?? 1e9) >= from && seq.queuedAt < to);
    const height = 16 + rows.length * row;
    const picture = s("svg", { width, height, viewBox: `0 0 ${width} ${height}`, class: "t-timeline", "aria-hidden": "true" });
    for (let step = Math.ceil(from / 10) * 10; step < to; step += 10) picture.append(label(left + (step - from) * cell, 9, step, { class: "t-label t-soft" }));
    picture.append(s("rect", { x: left + (i - from) * cell - 1, y: 12, width: cell + 1, height: height - 12, class: "t-cursor" }));
    rows.forEach((seq, line) => {
      const y = 14 + line * row;
      picture.append(label(0, y + 9, seq.short, { class: seq.id === selected ? "t-label t-strong" : "t-label t-soft" }));
      for (let step = from; step < to; step++) {
        const k = seq.cells.get(step);
        if (!k) continue;
        const x = left + (step - from) * cell, later = step > i ? " t-later" : "";
        if (k.kind === "waiting") picture.append(s("rect", { x, y: y + 4, width: cell - 1, height: row - 9, class: `t-wait${later}` }));
        else picture.append(s("rect", { x, y, width: cell - 1, height: row - 2, rx: 1.5, style: tint(seq.row), class: `t-seq t-${k.kind}${later}` }));
        if (k.cached) picture.append(s("rect", { x, y: y + row - 4.5, width: cell - 1, height: 2.5, class: `t-hit${later}` }));
      }
    });
    const at = (event) => {
      const box = picture.getBoundingClientRect();
      return { step: from + Math.floor((event.clientX - box.left - left) / cell), seq: rows[Math.floor((event.clientY - box.top - 14) / row)] };
    };
    picture.addEventListener("click", (event) => {
      const { step, seq } = at(event);
      if (seq) onSelect?.(seq.id);
      if (step >= from && step < to) onStep?.(step);
    });
    return picture;
  }

  const waiting = new Map(), known = new Map();
  const here = document.currentScript.src.replace(/js\/[^/]*$/, "traces/");
  course.registerTrace = (name, text) => {
    known.set(name, text);
    waiting.get(name)?.forEach((take) => take(text));
    waiting.delete(name);
  };
  // Traces are scripts: a page from a disk may not fetch.
  function load(name) {
    if (known.has(name)) return Promise.resolve(known.get(name));
    return new Promise((take, fail) => {
      if (waiting.has(name)) return void waiting.get(name).push(take);
      waiting.set(name, [take]);
      const script = h("script", { src: `${here}${name}.js` });
      script.onerror = () => {
        waiting.delete(name);
        fail(new Error(`there is no trace ${name}`));
      };
      document.head.append(script);
    });
  }

  course.draw = { h, s, hue, tint, count, list, ms, percent, visible, label, timeline, load };
})();
