// Filters, grouping, window, range and what to compare with.

import { go, isLive, state } from "./address.js";
import { $, getJson, make } from "./dom.js";
import { clock, day, span } from "./format.js";

const RANGES = [60, 300, 600, 3600, 6 * 3600, 86400, 7 * 86400, 30 * 86400];
const WINDOWS = [5, 10, 30, 60, 300];
const COMPARE = [[0, "nothing"], [3600, "an hour before"], [86400, "yesterday"], [7 * 86400, "last week"]];
const TITLES = { model: "Model", engine: "Engine", class: "Class", tenant: "Tenant" };

function choose(label, options, value, act) {
  const select = make("select", { "aria-label": label, onchange: () => act(select.value) },
    ...options.map(([each, text]) => make("option", { value: each, text, selected: String(each) === String(value) })));
  return make("label", { class: "choose" }, make("span", { text: label }), select);
}

function filter(name, values) {
  const chosen = state.filters[name] ?? [];
  const all = [...new Set([...values, ...chosen])].sort();
  const toggle = (value, on) => {
    const next = on ? [...chosen, value] : chosen.filter((each) => each !== value);
    go({ filters: { ...state.filters, [name]: next } });
  };
  const boxes = all.map((value) => {
    const box = make("input", { type: "checkbox", checked: chosen.includes(value), onchange: () => toggle(value, box.checked) });
    return make("label", {}, box, make("span", { text: value }));
  });
  const text = chosen.length === 0 ? "all" : chosen.length === 1 ? chosen[0] : `${chosen.length} of ${all.length}`;
  return make("details", { class: chosen.length ? "menu set" : "menu", name: "filter", "data-filter": name },
    make("summary", {}, make("span", { text: TITLES[name] }), make("b", { text })),
    make("div", { class: "list" }, ...(boxes.length ? boxes : [make("p", { text: "No target has this label." })]),
      chosen.length ? make("button", { text: "Show all", onclick: () => go({ filters: { ...state.filters, [name]: [] } }) }) : null));
}

let known = { model: [], engine: [], class: [], tenant: [] };

export async function refreshFilters(board) {
  try { known = await getJson("/api/filters"); } catch { return; }
  if (!document.querySelector(".menu[open]")) showControls(board);
}

export function showControls(board) {
  const zoomed = state.start !== null;
  const grouping = [["", "total"], ...board.filters.filter((name) => name !== "tenant").map((name) => [name, TITLES[name].toLowerCase()])];
  const range = zoomed
    ? make("span", { class: "zoomed" }, `${span(state.end - state.start) === "0 s" ? "" : `${day(state.start)} ${clock(state.start)} – ${clock(state.end)}`}`,
      make("button", { class: "back", text: "Back to live", onclick: () => go({ start: null, end: null }) }))
    : choose("Range", RANGES.map((each) => [each, span(each)]), state.range, (value) => go({ range: Number(value) }));
  const hasPanels = board.sections.length > 0;
  $("controls").replaceChildren(
    ...board.filters.map((name) => filter(name, known[name] ?? [])),
    ...(board.filters.length > 1 ? [choose("By", grouping, state.by, (value) => go({ by: value }))] : []),
    make("span", { class: "space" }),
    ...(hasPanels ? [
      choose("Rates over", WINDOWS.map((each) => [each, span(each)]), state.window, (value) => go({ window: Number(value) })),
      choose("Compare", COMPARE, state.compare, (value) => go({ compare: Number(value) })),
      range] : []));
  document.body.classList.toggle("is-live", isLive());
}

// Close an open menu when something else is clicked.
addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll(".menu[open]")) if (!menu.contains(event.target)) menu.open = false;
});
