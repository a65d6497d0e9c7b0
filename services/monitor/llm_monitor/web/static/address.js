// What the viewer chose, in the page's address: to share it is to share the view.

export const FILTERS = ["model", "engine", "class", "tenant"];
const DEFAULTS = { window: 10, range: 300, by: "", compare: 0 };
const listeners = new Set();

export const state = { board: "overview", filters: {}, by: "", window: 10, range: 300, start: null, end: null, compare: 0, panel: "", trace: "" };

let liveMost = 300; // seconds of a live range: what the monitor holds in memory
export const setLiveMost = (seconds) => { liveMost = seconds; };

export const isLive = () => state.start === null && state.range <= liveMost;

export function read() {
  const query = new URLSearchParams(location.search);
  const number = (name, otherwise) => (Number.isFinite(Number(query.get(name) ?? NaN)) && query.has(name) ? Number(query.get(name)) : otherwise);
  state.board = location.pathname.slice(1) || "overview";
  state.filters = {};
  for (const name of FILTERS) if (query.has(name)) state.filters[name] = query.getAll(name);
  state.by = FILTERS.includes(query.get("by")) ? query.get("by") : "";
  state.window = number("window", DEFAULTS.window);
  state.range = number("range", DEFAULTS.range);
  state.start = number("start", null);
  state.end = number("end", null);
  if (state.start === null || state.end === null || state.start >= state.end) state.start = state.end = null;
  state.compare = number("compare", DEFAULTS.compare);
  state.panel = query.get("panel") ?? "";
  state.trace = query.get("trace") ?? "";
}

// The part of the query string that the server needs.
export function choice() {
  const query = new URLSearchParams();
  for (const name of FILTERS) for (const value of state.filters[name] ?? []) query.append(name, value);
  if (state.by) query.set("by", state.by);
  if (state.window !== DEFAULTS.window) query.set("window", state.window);
  return query;
}

export function address(changes = {}) {
  const wanted = { ...state, ...changes };
  const query = new URLSearchParams();
  for (const name of FILTERS) for (const value of wanted.filters[name] ?? []) query.append(name, value);
  for (const name of ["by", "window", "range", "compare"]) {
    if (wanted[name] !== DEFAULTS[name]) query.set(name, wanted[name]);
  }
  if (wanted.start !== null) {
    query.delete("range");
    query.set("start", Math.round(wanted.start * 1000) / 1000);
    query.set("end", Math.round(wanted.end * 1000) / 1000);
  }
  for (const name of ["panel", "trace"]) if (wanted[name]) query.set(name, wanted[name]);
  const text = query.toString();
  return `/${wanted.board === "overview" ? "" : wanted.board}${text ? `?${text}` : ""}`;
}

// Change the choice: the address first, then everything that listens.
export function go(changes, replace = false) {
  const next = address(changes);
  if (next !== location.pathname + location.search) history[replace ? "replaceState" : "pushState"](null, "", next);
  arrive();
}

export const onChange = (listener) => listeners.add(listener);

function arrive() {
  const before = JSON.stringify(state);
  read();
  if (JSON.stringify(state) !== before) for (const listener of listeners) listener(state);
}
addEventListener("popstate", arrive);
