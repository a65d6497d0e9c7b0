// A chart of one panel: uPlot with the theme's colours. Colours repeat with dashes, so that no two series look the same.

import { colour } from "./dom.js";
import { clock, day, tick } from "./format.js";

const HUES = ["hue0", "hue1", "hue3", "hue2", "hue4", "hue5"];
const DASHES = [[], [6, 3], [2, 3]];
const STRENGTH = [0.38, 0.68, 1]; // of P50, P95, P99 in the accent
const FONT = '11px Inter, ui-sans-serif, system-ui, sans-serif';
const MARKS = { deploy: "hue4", note: "hue5", alert: "bad", down: "bad", up: "good" };

const faded = (hex, alpha) => hex + Math.round(alpha * 255).toString(16).padStart(2, "0");

// Choose stroke, width and dash of each series of a panel.
export function looks(panel, columns) {
  const groups = [...new Set(columns.map((column) => JSON.stringify(column.labels)))];
  return columns.map((column, index) => {
    if (panel.kind === "percentiles" && groups.length === 1) {
      return { stroke: faded(colour("hue0"), STRENGTH[column.query] ?? 1), width: column.query === 2 ? 1.75 : 1.25, dash: [] };
    }
    const stroke = colour(HUES[index % HUES.length]);
    return { stroke, width: 1.6, dash: DASHES[Math.floor(index / HUES.length) % DASHES.length] };
  });
}

// Sum series from the bottom up; a missing value counts as 0 unless all are missing.
export function stacked(series, length) {
  const sum = new Array(length).fill(null);
  return series.map((values) => values.map((value, step) => {
    if (value !== null) sum[step] = (sum[step] ?? 0) + value;
    return sum[step];
  }));
}

export class Chart {
  // `on.select(start, end)` after a brush, `on.back()` after a double click, `on.hover(index or null)`.
  constructor(host, panel, on) {
    this.host = host;
    this.panel = panel;
    this.height = 0;
    this.on = on;
    this.marks = [];
    this.range = [0, 1];
    this._plot = null;
    this._shape = "";
    this._observer = new ResizeObserver(() => this._resize());
    this._observer.observe(host);
  }

  destroy() {
    this._observer.disconnect();
    this._plot?.destroy();
    this._plot = null;
    this._shape = "";
  }

  restyle() { this._shape = ""; }

  // Draw series of equal length. `ghosts` are those of the range to compare with.
  draw(times, columns, ghosts, { range, marks, height }) {
    const width = this.host.clientWidth;
    if (!width) return;
    this.range = range;
    this.marks = marks;
    this.height = height;
    const isStacked = this.panel.kind === "area";
    const values = isStacked ? stacked(columns.map((column) => column.values), times.length) : columns.map((column) => column.values);
    const shown = isStacked && ghosts.length ? [stacked(ghosts, times.length).at(-1)] : ghosts;
    const shape = JSON.stringify([columns.map((column) => [column.query, column.labels]), shown.length, height]);
    const data = [times, ...(isStacked ? values.toReversed() : values), ...shown];
    if (this._plot === null || shape !== this._shape) {
      this._plot?.destroy();
      this._shape = shape;
      this._plot = new uPlot(this._options(columns, shown.length, width), data, this.host);
    } else {
      this._plot.batch(() => {
        this._plot.setData(data, false);
        this._plot.setScale("x", { min: range[0], max: range[1] });
      });
    }
  }

  _resize() {
    const width = this.host.clientWidth;
    if (this._plot && width && width !== this._plot.width) this._plot.setSize({ width, height: this.height });
  }

  _options(columns, ghosts, width) {
    const rule = colour("rule"), faint = colour("faint"), isStacked = this.panel.kind === "area";
    const styles = looks(this.panel, columns);
    const drawn = isStacked ? styles.toReversed() : styles;
    const single = columns.length === 1 && this.panel.kind === "lines";
    const series = drawn.map((style, index) => ({
      ...style, points: { show: false }, spanGaps: false,
      fill: isStacked ? faded(style.stroke, 0.42) : single ? faded(style.stroke, 0.09) : undefined,
      width: isStacked ? 1 : style.width, dash: isStacked ? [] : style.dash,
      show: true, label: String(index),
    }));
    const ghost = { stroke: faint, width: 1.2, dash: [3, 3], points: { show: false }, spanGaps: true };
    return {
      width, height: this.height, pxAlign: 1,
      padding: [8, 18, 0, 0],
      legend: { show: false },
      cursor: {
        sync: { key: "boards", setSeries: false }, y: false, points: { size: 6 },
        drag: { x: true, y: false, setScale: false, dist: 4 },
        bind: { dblclick: () => () => { this.on.back(); return null; } },
      },
      scales: {
        x: { time: true, range: () => this.range },
        y: { range: (_, low, high) => this._extent(low, high) },
      },
      axes: [
        { stroke: faint, font: FONT, size: 22, gap: 4, space: (_, __, low, high) => (high - low < 240 ? 72 : high - low > 86400 ? 64 : 44), grid: { show: false }, ticks: { show: false },
          values: (_, splits, __, ___, step) => splits.map((time) => (step >= 86400 ? day(time) : clock(time, step < 60))) },
        { stroke: faint, font: FONT, size: (_, values) => Math.max(30, 10 + 6.2 * Math.max(0, ...(values ?? []).map((text) => text.length))),
          gap: 6, space: 34, ticks: { show: false }, grid: { stroke: rule, width: 1 },
          values: (_, splits) => splits.map((value) => tick(value, this.panel.unit)) },
      ],
      bands: isStacked ? drawn.slice(1).map((_, index) => ({ series: [index + 1, index + 2] })) : [],
      series: [{}, ...series, ...Array.from({ length: ghosts }, () => ghost)],
      hooks: {
        setSelect: [(plot) => this._brushed(plot)],
        setCursor: [(plot) => this.on.hover(plot.cursor.idx ?? null)],
        drawClear: [(plot) => { this._unknown(plot); this._marks(plot); }],
        draw: [(plot) => this._limit(plot)],
      },
    };
  }

  _extent(low, high) {
    if (low === null || high === null) return [0, 1];
    const top = Math.max(high, 0), bottom = Math.min(low, 0);
    if (this.panel.unit === "share") return [bottom, top > 0.5 ? Math.max(1, top) : top > 0.1 ? 0.5 : top > 0.02 ? 0.1 : 0.02];
    if (top === 0 && bottom === 0) return [0, 1];
    return [bottom * 1.08, top * 1.12];
  }

  _brushed(plot) {
    const { left, width } = plot.select;
    if (width < 5) return;
    const start = plot.posToVal(left, "x"), end = plot.posToVal(left + width, "x");
    plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
    this.on.select(start, end);
  }

  // Shade what a histogram cannot resolve: everything below its smallest bucket.
  _unknown(plot) {
    const { smallest } = this.panel, { max } = plot.scales.y;
    if (smallest === null || smallest < max / 40) return;
    const { ctx } = plot, { left, width } = plot.bbox, top = plot.valToPos(Math.min(smallest, max), "y", true);
    ctx.save();
    ctx.fillStyle = faded(colour("base"), 0.1);
    ctx.fillRect(left, top, width, plot.valToPos(0, "y", true) - top);
    ctx.restore();
  }

  _marks(plot) {
    const { ctx } = plot, { top, height } = plot.bbox, ratio = devicePixelRatio;
    ctx.save();
    for (const mark of this.marks) {
      if (mark.time < this.range[0] || mark.time > this.range[1]) continue;
      const left = Math.round(plot.valToPos(mark.time, "x", true));
      ctx.strokeStyle = ctx.fillStyle = faded(colour(MARKS[mark.kind] ?? "hue5"), 0.55);
      ctx.lineWidth = ratio;
      ctx.setLineDash([3 * ratio, 3 * ratio]);
      ctx.beginPath(); ctx.moveTo(left, top); ctx.lineTo(left, top + height); ctx.stroke();
      ctx.beginPath(); ctx.moveTo(left - 4 * ratio, top); ctx.lineTo(left + 4 * ratio, top); ctx.lineTo(left, top + 6 * ratio); ctx.fill();
    }
    ctx.restore();
  }

  _limit(plot) {
    const { limit } = this.panel;
    if (limit === null || limit > plot.scales.y.max) return;
    const { ctx } = plot, { left, width } = plot.bbox, y = Math.round(plot.valToPos(limit, "y", true));
    ctx.save();
    ctx.strokeStyle = faded(colour("bad"), 0.6);
    ctx.lineWidth = devicePixelRatio;
    ctx.setLineDash([5 * devicePixelRatio, 4 * devicePixelRatio]);
    ctx.beginPath(); ctx.moveTo(left, y); ctx.lineTo(left + width, y); ctx.stroke();
    ctx.restore();
  }
}
