// Panels: a chart with its legend, or a figure with its spark line. Each says where its number comes from.

import { choice, go, state } from "./address.js";
import { blocksMap } from "./blocks.js";
import { Chart, looks } from "./chart.js";
import { aligned } from "./data.js";
import { colour, make, say } from "./dom.js";
import { format, MISSING, parts } from "./format.js";

const HEIGHT = 148, TALL = 420, LEGEND = 23; // pixels; a chart without a legend takes its place
let opened = 0;

// Name a series: the query's name, then the labels in which the series differ.
export function nameOf(panel, column, columns) {
  const differing = Object.keys(column.labels).filter((label) => columns.some((other) => other.labels[label] !== column.labels[label]));
  const isOne = columns.every((other) => other.query === column.query);
  const kept = differing.length ? differing : panel.queries.length > 1 && panel.queries[column.query].name ? [] : Object.keys(column.labels);
  return [isOne && kept.length ? "" : panel.queries[column.query].name, ...kept.map((label) => column.labels[label] ?? "")].filter(Boolean).join(" ") || panel.title;
}

// Order the series of engines by their name; others stay as they came, the largest first.
function byPlace(one, two) {
  const [first, second] = [one, two].map(({ labels }) => labels.instance ?? labels.engine ?? "");
  return first.localeCompare(second, "en", { numeric: true }) || one.query - two.query;
}

// Format a value; below the smallest bucket a percentile is only known to be below it.
function shown(panel, value) {
  if (value === null || value === undefined) return MISSING;
  if (panel.smallest !== null && value < panel.smallest) return `< ${format(panel.smallest, "seconds")}`;
  if (panel.largest !== null && value >= panel.largest) return `≥ ${format(panel.largest, "seconds")}`;
  return format(value, panel.unit);
}

// The address of what a panel shows, as a file.
function exported(panel, kind) {
  const query = choice(), now = Date.now() / 1000;
  query.set("board", state.board);
  query.set("panel", panel.key);
  query.set("start", state.start ?? now - state.range);
  query.set("end", state.end ?? now);
  query.set("format", kind);
  return `/api/export?${query}`;
}

// The button with a panel's origin, and what it opens.
function origin(panel, expanded) {
  const id = `about-${(opened += 1)}`;
  const about = make("div", { class: "about", id, hidden: true },
    make("p", { text: panel.shows }),
    make("p", {}, make("b", { text: "From " }), panel.source),
    panel.cannot ? make("p", {}, make("b", { text: "Cannot know " }), panel.cannot) : null,
    panel.needs ? make("p", {}, make("b", { text: "Needs " }), `${panel.needs}.`) : null,
    ...panel.queries.map((query) => make("code", { text: query.expression })),
    make("p", { class: "export" }, ...["csv", "parquet"].map((kind) => make("button", { text: kind.toUpperCase(), title: "What the panel shows, as a file",
      onclick: () => location.assign(exported(panel, kind)) }))));
  const ask = make("button", { class: "icon", "aria-expanded": "false", "aria-controls": id, title: "Where the number comes from",
    "aria-label": `About ${panel.title}`, text: "i", onclick: () => {
      about.hidden = !about.hidden;
      ask.setAttribute("aria-expanded", String(!about.hidden));
    } });
  const grow = make("button", { class: "icon grow", title: expanded ? "Back to the board" : "Enlarge",
    "aria-label": expanded ? "Back to the board" : `Enlarge ${panel.title}`, text: expanded ? "×" : "⤢",
    onclick: () => go({ panel: expanded ? "" : panel.key }) });
  return { about, ask, grow };
}

export class ChartPanel {
  constructor(panel, { expanded, hover }) {
    this.panel = panel;
    this.value = make("span", { class: "value" });
    this.note = make("span", { class: "sub" });
    this.legend = make("div", { class: "legend" });
    const { about, ask, grow } = origin(panel, expanded);
    const plot = make("div", { class: "plot" });
    this.element = make("section", { class: expanded ? "panel expanded" : "panel", "data-panel": panel.key, tabindex: 0, "aria-label": panel.title },
      make("header", {}, make("h3", { text: panel.title }), this.note, this.value, ask, grow), about, plot, this.legend);
    this.height = expanded ? TALL : HEIGHT;
    this.chart = new Chart(plot, panel, {
      select: (start, end) => go({ start, end }),
      back: () => go({ start: null, end: null }),
      hover,
    });
    this.visible = true;
    this._rows = [];
    this._shape = "";
  }

  destroy() { this.chart.destroy(); }
  restyle() { this.chart.restyle(); this._shape = ""; }

  draw({ table, other, shift, range, marks, index }) {
    const all = table.of(this.panel.key).sort(byPlace);
    const grouped = this.panel.kind === "percentiles" && all.some((column) => JSON.stringify(column.labels) !== JSON.stringify(all[0].labels));
    const columns = this.columns = grouped ? all.filter((column) => column.query === this.panel.queries.length - 1) : all;
    say(this.note, grouped ? this.panel.queries.at(-1).name : "");
    this.element.classList.toggle("empty", columns.length === 0);
    if (!columns.length) return false;
    if (!this.visible) return true;
    const step = table.times.length > 1 ? table.times[1] - table.times[0] : 1;
    const ghosts = other ? other.of(this.panel.key).filter((column) => !grouped || column.query === this.panel.queries.length - 1).map((column) => aligned(table.times, other.times, column.values, shift, 4 * Math.max(step, other.step))) : [];
    this.chart.draw(table.times, columns, ghosts, { range, marks, height: this.height + (columns.length > 1 ? 0 : LEGEND) });
    this._legend(columns, table.hidden[this.panel.key] ?? 0);
    this.show(index);
    return true;
  }

  // Show the values at a step, or the last ones.
  show(index) {
    const at = (column) => column.values[index ?? column.values.length - 1];
    const columns = this.columns ?? [];
    say(this.value, columns.length === 1 ? shown(this.panel, at(columns[0])) : "");
    if (columns.length > 1) columns.forEach((column, place) => { if (this._rows[place]) say(this._rows[place], shown(this.panel, at(column))); });
  }

  _legend(columns, hidden) {
    const shape = JSON.stringify([columns.map((column) => [column.query, column.labels]), hidden]);
    if (shape === this._shape) return;
    this._shape = shape;
    this._rows = columns.map(() => make("b"));
    if (columns.length < 2) return this.legend.replaceChildren();
    const styles = looks(this.panel, columns);
    this.legend.replaceChildren(...columns.map((column, place) => {
      const swatch = make("i", { class: "swatch" });
      swatch.style.background = styles[place].dash?.length && this.panel.kind !== "area"
        ? `repeating-linear-gradient(90deg, ${styles[place].stroke} 0 4px, transparent 4px 6px)` : styles[place].stroke;
      return make("span", { class: "item" }, swatch, make("span", { class: "name", text: nameOf(this.panel, column, columns) }), this._rows[place]);
    }), hidden ? make("span", { class: "item more", text: `and ${hidden} more` }) : "");
  }
}

export class StatPanel {
  constructor(panel) {
    this.panel = panel;
    this.number = make("span", { class: "number" });
    this.unit = make("span", { class: "unit" });
    this.side = make("span", { class: "side" });
    this.canvas = make("canvas", { class: "spark", "aria-hidden": "true" });
    const { about, ask } = origin(panel, false);
    this.element = make("section", { class: "tile", "data-panel": panel.key, "aria-label": panel.title },
      make("header", {}, make("h3", { text: panel.title }), ask),
      make("p", { class: "figure" }, this.number, this.unit, this.side), this.canvas, about);
    this.visible = true;
  }

  destroy() {}
  restyle() {}

  draw({ table, index }) {
    this.columns = table.of(this.panel.key);
    this.show(index);
    if (this.visible) this._spark(this.columns.find((column) => column.query === 0));
    return true;
  }

  show(index) {
    const [main, side] = [0, 1].map((query) => this.columns?.find((column) => column.query === query));
    const value = main?.values[index ?? main.values.length - 1];
    const text = value !== null && value !== undefined && this.panel.smallest !== null && value < this.panel.smallest
      ? ["< " + parts(this.panel.smallest, "seconds")[0], parts(this.panel.smallest, "seconds")[1]] : parts(value, this.panel.unit);
    say(this.number, text[0]);
    say(this.unit, text[1]);
    const other = side?.values[index ?? side.values.length - 1] ?? null;
    const name = this.panel.queries[1]?.name;
    say(this.side, other === null ? "" : name === "of" ? `of ${format(other, this.panel.unit)}` : `${format(other, this.panel.unit)} ${name}`);
    const over = value !== null && value !== undefined && ((this.panel.limit !== null && value >= this.panel.limit) || (name === "of" && other !== null && value < other));
    this.element.classList.toggle("over", over);
  }

  _spark(column) {
    const { canvas } = this, ratio = devicePixelRatio, width = canvas.clientWidth, height = canvas.clientHeight;
    if (!width) return;
    if (canvas.width !== Math.round(width * ratio)) { canvas.width = Math.round(width * ratio); canvas.height = Math.round(height * ratio); }
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    const values = column?.values ?? [];
    const most = values.reduce((high, value) => (value !== null && value > high ? value : high), 0) || 1;
    context.strokeStyle = colour("hue0");
    context.lineWidth = 1.4;
    context.fillStyle = colour("hue0") + "14";
    let segment = [];
    const finish = () => {
      if (segment.length) {
        const line = new Path2D(), area = new Path2D();
        segment.forEach(([x, y], place) => { if (place) { line.lineTo(x, y); area.lineTo(x, y); } else { line.moveTo(x, y); area.moveTo(x, y); } });
        area.lineTo(segment.at(-1)[0], height); area.lineTo(segment[0][0], height);
        context.fill(area); context.stroke(line);
      }
      segment = [];
    };
    values.forEach((value, step) => {
      if (value === null) finish();
      else segment.push([(step / Math.max(1, values.length - 1)) * width, height - 2 - (value / most) * (height - 4)]);
    });
    finish();
  }
}

export class BlocksPanel {
  constructor(panel) {
    this.panel = panel;
    const { about, ask } = origin(panel, false);
    this.body = make("div", { class: "maps" });
    this.element = make("section", { class: "panel wide", "data-panel": panel.key, "aria-label": panel.title },
      make("header", {}, make("h3", { text: panel.title }), make("span", { class: "value" }), ask), about, this.body);
    this.visible = true;
    this._maps = new Map();
  }

  destroy() {}
  restyle() { for (const map of this._maps.values()) map.restyle(); }

  draw({ table, index }) {
    const columns = table.of(this.panel.key);
    this.element.classList.toggle("empty", columns.length === 0);
    if (!columns.length) return false;
    const value = (query, instance) => {
      const column = columns.find((each) => each.query === query && each.labels.instance === instance);
      return column ? column.values[index ?? column.values.length - 1] : null;
    };
    for (const { labels: { instance } } of columns.filter((column) => column.query === 0).sort(byPlace)) {
      if (!this._maps.has(instance)) {
        this._maps.set(instance, blocksMap(instance));
        this.body.append(this._maps.get(instance).element);
      }
      const info = columns.find((each) => each.query === 1 && each.labels.instance === instance)?.labels;
      this._maps.get(instance).draw({ used: value(0, instance), blocks: Number(info?.num_gpu_blocks) || null,
        size: Number(info?.block_size) || null, hits: value(2, instance), preempted: value(3, instance) });
    }
    return true;
  }

  show(index) { this._index = index; }
}

export function panelOf(panel, options) {
  if (panel.kind === "stat") return new StatPanel(panel);
  return panel.kind === "blocks" ? new BlocksPanel(panel) : new ChartPanel(panel, options);
}

export const isExpanded = (panel) => state.panel === panel.key;
