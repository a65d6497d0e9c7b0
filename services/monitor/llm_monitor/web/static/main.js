// The page: one board at a time, fed by the live stream or, for a range in the past, by queries.

import { choice, go, isLive, onChange, read, setLiveMost, state } from "./address.js";
import { AlertList } from "./alerts.js";
import { refreshFilters, showControls } from "./controls.js";
import { Table } from "./data.js";
import { $, getJson, make, say } from "./dom.js";
import { span } from "./format.js";
import { isExpanded, panelOf } from "./panel.js";
import { RequestList } from "./requests.js";
import { Stream } from "./stream.js";
import { TargetList } from "./targets.js";

const VIEWS = { requests: RequestList, alerts: AlertList, monitor: TargetList };
const KEYS = [["1 … 8", "boards"], ["l", "live"], ["← →", "earlier, later"], ["+ −", "shorter, longer range"], ["esc", "close, leave the zoom"],
  ["drag", "zoom into a range"], ["double click", "back to live"], ["?", "this list"]];

const MOST_IN_ROW = 4;

let boards = [], interval = 0.25, shown = [], sections = [], view = null, index = null;
let table = new Table(), other = null, marks = [], fleet = { targets: [], alerts: [] };
let drawing = false, refreshing = 0, loads = 0;

const board = () => boards.find((each) => each.key === state.board) ?? boards[0];
const stream = new Stream({
  onPast: (block) => { if (isLive()) { table.past(block); schedule(); } },
  onNow: (message) => { if (isLive()) { table.now(message); table.trim(message.t - state.range - 5); schedule(); } },
  onState: (next) => { fleet = next; badge(); view?.update(fleet); },
});

// --- drawing ------------------------------------------------------------------------------------------------------

function schedule() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => { drawing = false; draw(); });
}

function draw() {
  const range = isLive() ? [table.last - state.range, table.last] : [rangeNow().start, rangeNow().end];
  if (!Number.isFinite(range[0])) return;
  const context = { table, other, shift: state.compare, range, marks, index };
  for (const { element, panels, absent } of sections) {
    const missing = panels.filter((panel) => !panel.draw(context) && !panel.panel.needs);
    arrange(panels.filter((panel) => !panel.element.classList.contains("empty")));
    const text = missing.length ? `No data: ${missing.map((panel) => panel.panel.title).join(", ")}` : "";
    say(absent, text);
    absent.hidden = !text;
    element.classList.toggle("bare", missing.length + panels.filter((panel) => panel.panel.needs && panel.element.classList.contains("empty")).length === panels.length);
    element.hidden = element.classList.contains("bare") && !text;
  }
  freshness();
  document.dispatchEvent(new CustomEvent("drawn", { detail: { time: table.last, times: table.times } }));
}

// Give the rows of a section as equal a number of panels as they can have, four at most.
function arrange(panels) {
  const count = panels.filter((panel) => panel.panel.kind !== "blocks").length;
  const rows = Math.ceil(count / MOST_IN_ROW) || 1, least = Math.floor(count / rows), longer = count % rows;
  let place = 0;
  for (const panel of panels) {
    if (panel.panel.kind === "blocks") continue;
    const inRow = place < longer * (least + 1) ? least + 1 : least;
    const span = String(12 / inRow);
    if (panel.element.style.getPropertyValue("--span") !== span) panel.element.style.setProperty("--span", span);
    place += 1;
  }
}

function freshness() {
  const pill = $("freshness"), age = stream.age;
  const past = state.start !== null;
  const lost = !past && stream.isLost;
  const late = lost || (age ?? 0) > 1;
  pill.className = `fresh ${past || age === null ? "past" : lost ? "lost" : late ? "late" : "live"}`;
  say(pill.lastElementChild, past ? "past" : age === null ? "connecting" : lost ? `no data for ${span(Math.round(age))}` : `${age.toFixed(2)} s`);
  document.body.classList.toggle("is-lost", lost);
}

function hover(next) {
  if (next === index) return;
  index = next;
  for (const panel of shown) panel.show(index);
}

// --- boards -------------------------------------------------------------------------------------------------------

function build() {
  const chosen = board();
  document.title = `${chosen.title} · Monitor`;
  for (const panel of shown) panel.destroy();
  view?.close();
  index = null;
  shown = [];
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const panel = shown.find((each) => each.element === entry.target);
      if (panel && panel.visible !== entry.isIntersecting) { panel.visible = entry.isIntersecting; if (panel.visible) schedule(); }
    }
  }, { rootMargin: "200px" });
  view = VIEWS[chosen.key] ? new VIEWS[chosen.key]() : null;
  const alone = chosen.sections.some((section) => section.panels.some(isExpanded));
  sections = chosen.sections.map((section) => {
    const panels = section.panels.filter((panel) => !alone || isExpanded(panel)).map((panel) => panelOf(panel, { expanded: alone, hover }));
    const isTiles = panels.length > 0 && panels.every((panel) => panel.panel.kind === "stat");
    const absent = make("p", { class: "absent", hidden: true });
    const element = make("section", { class: isTiles ? "section tiles" : "section" },
      make("h2", { text: section.title }), make("div", { class: isTiles ? "tile-row" : "panels" }, ...panels.map((panel) => panel.element)), absent);
    shown.push(...panels);
    return { element, panels, absent };
  }).filter((section) => section.panels.length);
  $("board").replaceChildren(...(view && !alone ? [view.element] : []), ...sections.map((section) => section.element));
  for (const panel of shown) watcher.observe(panel.element);
  view?.update(fleet);
  for (const link of $("boards").children) {
    const isCurrent = link.dataset.board === chosen.key;
    link.toggleAttribute("aria-current", isCurrent);
    if (isCurrent) $("boards").scrollLeft = link.offsetLeft - $("boards").offsetLeft - 40;
  }
  showControls(chosen);
}

function badge() {
  const firing = (fleet.alerts ?? []).filter((alert) => alert.state === "firing").length;
  const count = document.querySelector('[data-board="alerts"] .count');
  if (count) { say(count, firing ? String(firing) : ""); count.hidden = !firing; }
}

// --- data ---------------------------------------------------------------------------------------------------------

const rangeNow = () => (state.start === null ? { start: stream.time - state.range, end: stream.time } : { start: state.start, end: state.end });

async function load() {
  const mine = (loads += 1);
  clearTimeout(refreshing);
  const query = choice();
  query.set("board", board().key);
  if (isLive()) query.set("span", state.range);
  table = new Table();
  other = null;
  marks = [];
  stream.open(query.toString()); // also over a range in the past: it says how the fleet is
  await refresh(mine);
}

// Ask for a range in the past, for the range to compare with, and for the marks.
async function refresh(mine) {
  const { start, end } = rangeNow();
  const step = Math.max(interval, (end - start) / 600);
  const query = choice();
  query.set("board", board().key);
  const ask = (from, to) => getJson(`/api/range?${query}&start=${from}&end=${to}&step=${step}`);
  try {
    const [past, compared, found] = await Promise.all([
      isLive() ? null : ask(start, end),
      state.compare ? ask(start - state.compare, end - state.compare + (isLive() ? 30 : 0)) : null,
      getJson(`/api/annotations?start=${start}&end=${end}`)]);
    if (mine !== loads) return;
    if (past) { table = new Table(); table.past(past); }
    if (compared) { other = new Table(); other.past(compared); other.step = compared.step; }
    marks = found;
    schedule();
  } catch (error) {
    if (mine === loads) console.warn(`range: ${error.message}`);
  }
  const again = state.start !== null ? 0 : isLive() ? 5000 : Math.max(5000, step * 1000);
  if (mine === loads && again) refreshing = setTimeout(() => refresh(mine), again);
}

// --- keys ---------------------------------------------------------------------------------------------------------

function shift(part) {
  const { start, end } = rangeNow(), length = end - start;
  const next = Math.min(end + part * length, stream.time);
  if (next >= stream.time - interval) go({ start: null, end: null }); else go({ start: next - length, end: next });
}

function zoom(factor) {
  if (state.start === null) return go({ range: Math.min(30 * 86400, Math.max(60, Math.round(state.range * factor))) });
  const middle = (state.start + state.end) / 2, half = ((state.end - state.start) / 2) * factor;
  return go({ start: middle - half, end: Math.min(middle + half, stream.time) });
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || /INPUT|SELECT|TEXTAREA/.test(event.target.tagName)) return;
  const acts = {
    l: () => go({ start: null, end: null, range: 300 }), "?": () => $("help").showModal(),
    ArrowLeft: () => shift(-0.5), ArrowRight: () => shift(0.5), "+": () => zoom(0.5), "-": () => zoom(2),
    Escape: () => (state.panel ? go({ panel: "" }) : go({ start: null, end: null })),
  };
  const number = Number(event.key);
  if (number >= 1 && number <= boards.length) go({ board: boards[number - 1].key, panel: "", trace: "" });
  else if (acts[event.key]) { event.preventDefault(); acts[event.key](); }
}

// --- start --------------------------------------------------------------------------------------------------------

let before = "";
function changed() {
  const frame = JSON.stringify([state.board, state.panel]);
  if (frame !== before) build(); else { index = null; showControls(board()); }
  before = frame;
  if (view?.navigate) view.navigate();
  load();
}

async function start() {
  read();
  $("help").append(make("h2", { text: "Keyboard" }), make("dl", {}, ...KEYS.flatMap(([key, text]) => [make("dt", { text: key }), make("dd", { text })])),
    make("form", { method: "dialog" }, make("button", { text: "Close" })));
  const found = await getJson("/api/boards");
  ({ boards, interval } = found);
  setLiveMost(found.live);
  $("boards").append(...boards.map((each) => make("a", { href: each.key === "overview" ? "/" : `/${each.key}`, "data-board": each.key,
    onclick: (event) => { if (!event.ctrlKey && !event.metaKey) { event.preventDefault(); go({ board: each.key, panel: "", trace: "" }); } } },
    each.title, each.key === "alerts" ? make("span", { class: "count", hidden: true }) : null)));
  onChange(changed);
  changed();
  refreshFilters(board());
  setInterval(() => refreshFilters(board()), 10000);
  setInterval(freshness, 250);
  addEventListener("keydown", onKey);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { for (const panel of shown) panel.restyle(); schedule(); });
}

start();
