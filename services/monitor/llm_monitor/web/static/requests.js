// Requests: the newest traces, and one of them as a waterfall of its spans.

import { go, state } from "./address.js";
import { getJson, make, say } from "./dom.js";
import { clock, format } from "./format.js";

const HUES = { "llm-gateway": "hue0", "llm-router": "hue3", "llm-engine": "hue4",
  "engine.queue": "hue5", "engine.prefill": "hue1", "engine.decode": "hue2" };
const hue = (span) => `var(--${HUES[span.name] ?? HUES[span.service] ?? "hue4"})`;
const SECONDS = 2;

export class RequestList {
  constructor() {
    this.rows = make("tbody");
    this.empty = make("p", { class: "note", text: "No trace has arrived. Point tracing.otlp_endpoint of gateway and router and --otlp-traces-endpoint of the engines at this monitor: /v1/traces." });
    this.table = make("div", { class: "scroll", hidden: true }, make("table", {},
      make("thead", {}, make("tr", {}, ...["Started", "Request", "Model", "Class", "Outcome", "Spans", "Duration"].map((text, place) => make("th", { text, class: place < 5 ? "left" : "" })))), this.rows));
    this.order = "";
    this.waterfall = make("div", { class: "waterfall", hidden: true });
    this.phases = make("p", { class: "legend", "aria-label": "Median duration of each phase" });
    const find = make("input", { type: "search", placeholder: "Trace id, 32 hex digits", "aria-label": "Trace id", spellcheck: "false",
      onchange: () => { if (/^[0-9a-f]{32}$/.test(find.value.trim())) go({ trace: find.value.trim() }); } });
    const orders = [["", "Newest"], ["&order=slowest", "Slowest"], ["&outcome=failed", "Failed"]].map(([query, text]) =>
      make("button", { text, "aria-pressed": String(query === ""), onclick: (event) => {
        this.order = query;
        for (const button of event.target.parentElement.children) button.setAttribute("aria-pressed", String(button === event.target));
        this.refresh();
      } }));
    this.element = make("section", { class: "section view" }, make("h2", { text: "One request" }),
      make("div", { class: "toolbar" }, make("div", { class: "segments" }, ...orders), find), this.waterfall, this.phases, this.table, this.empty);
    this.timer = setInterval(() => this.refresh(), SECONDS * 1000);
    this.refresh();
    this.navigate();
  }

  close() { clearInterval(this.timer); }
  update() {}

  async refresh() {
    const [traces, phases] = await Promise.all([getJson(`/api/traces?${this.order}`), getJson("/api/traces/phases")]).catch(() => [null]);
    if (traces === null) return;
    this.phases.replaceChildren(...Object.entries(phases).map(([name, seconds]) => {
      const swatch = make("i", { class: "swatch" });
      swatch.style.background = hue({ name, service: `llm-${name.split(".")[0]}` });
      return make("span", { class: "item" }, swatch, `${name} p50 ${format(seconds, "seconds")}`);
    }));
    this.empty.hidden = traces.length > 0;
    this.table.hidden = traces.length === 0;
    this.rows.replaceChildren(...traces.slice(0, 20).map((trace) => {
      const of = (name) => trace.attributes[name] ?? "";
      const outcome = of("llm_gateway.outcome") || of("llm_router.outcome") || of("llm_engine.outcome") || (trace.failed ? "failed" : "ok");
      return make("tr", { class: trace.id === state.trace ? "chosen" : "", tabindex: 0, onclick: () => go({ trace: trace.id }),
        onkeydown: (event) => { if (event.key === "Enter") go({ trace: trace.id }); } },
        make("td", { text: clock(trace.start) }), make("td", { class: "left", text: trace.name }), make("td", { class: "left", text: of("gen_ai.request.model") }),
        make("td", { class: "left", text: of("llm_gateway.class") }), make("td", { class: trace.failed || outcome !== "ok" ? "left bad" : "left", text: outcome }),
        make("td", { text: String(trace.spans) }), make("td", { text: format(trace.seconds, "seconds") }));
    }));
  }

  async navigate() {
    this.waterfall.hidden = !state.trace;
    if (!state.trace) return;
    const wanted = state.trace;
    try {
      const spans = await getJson(`/api/traces/${wanted}`);
      if (wanted === state.trace) this.waterfall.replaceChildren(...waterfall(wanted, spans));
    } catch (error) {
      this.waterfall.replaceChildren(make("p", { class: "note", text: error.message }));
    }
    this.refresh();
  }
}

function waterfall(id, spans) {
  const start = Math.min(...spans.map((span) => span.start)), end = Math.max(...spans.map((span) => span.end)), length = Math.max(end - start, 1e-6);
  const depths = new Map();
  const detail = make("dl", { class: "detail" });
  const rows = spans.map((span) => {
    const depth = depths.has(span.parent) ? depths.get(span.parent) + 1 : 0;
    depths.set(span.id, depth);
    const name = make("span", { class: "name" }, make("b", { text: span.name }));
    name.style.paddingLeft = `${depth * 14}px`;
    const bar = make("i", { class: span.failed || span.attributes["error.type"] ? "failed" : "" });
    bar.style.left = `${(100 * (span.start - start)) / length}%`;
    bar.style.width = `max(2px, ${(100 * (span.end - span.start)) / length}%)`;
    if (!bar.className) bar.style.background = hue(span);
    const first = span.attributes["gen_ai.response.time_to_first_chunk"];
    const tick = typeof first === "number" ? make("em", { title: `first chunk after ${format(first, "seconds")}` }) : null;
    if (tick) tick.style.left = `${(100 * (span.start + first - start)) / length}%`;
    const row = make("button", { class: "span", onclick: () => show(span) }, name, make("span", { class: "track" }, bar, tick),
      make("span", { class: "time", text: format(span.end - span.start, "seconds") }));
    return row;
  });
  const show = (span) => detail.replaceChildren(...[["service", span.service], ["after", format(span.start - start, "seconds")], ...Object.entries(span.attributes)]
    .flatMap(([name, value]) => [make("dt", { text: name }), make("dd", { text: String(value) })]));
  if (spans.length) show(spans[0]);
  const close = make("button", { class: "icon", text: "×", "aria-label": "Close the waterfall", onclick: () => go({ trace: "" }) });
  const title = make("h3", {}, "Trace ", make("code", { text: id }));
  const total = make("span", { class: "value" });
  say(total, format(end - start, "seconds"));
  return [make("header", {}, title, total, close), ...rows, detail];
}
