// Alerts: what fires, what is about to, and every rule. A silence can be set here.

import { getJson, make } from "./dom.js";
import { clock, format, span } from "./format.js";

const ORDER = { firing: 0, pending: 1, resolved: 2 };
const SILENCE_SECONDS = 3600;

export class AlertList {
  constructor() {
    this.list = make("div", { class: "alerts" });
    this.rules = make("tbody");
    this.element = make("section", { class: "section view" }, make("h2", { text: "Active" }), this.list,
      make("h2", { text: "Rules" }), make("div", { class: "scroll" }, make("table", { class: "rules" },
        make("thead", {}, make("tr", {}, ...["Rule", "State", "Severity", "For", "Expression"].map((text, place) => make("th", { text, class: place === 3 ? "" : "left" })))), this.rules)));
    this.shown = "";
    this.timer = setInterval(() => this.refresh(), 2000);
    this.refresh();
  }

  close() { clearInterval(this.timer); }
  update() {}

  async refresh() {
    const [alerts, rules] = await Promise.all([getJson("/api/v1/alerts"), getJson("/api/v1/rules")]).catch(() => []);
    if (!alerts) return;
    const shape = JSON.stringify([alerts, rules, Math.floor(Date.now() / 10000)]);
    if (shape === this.shown) return;
    this.shown = shape;
    const sorted = alerts.data.alerts.toSorted((one, two) => (ORDER[one.state] ?? 3) - (ORDER[two.state] ?? 3) || Date.parse(two.activeAt) - Date.parse(one.activeAt));
    this.list.replaceChildren(...(sorted.length ? sorted.map((alert) => this.card(alert))
      : [make("p", { class: "calm" }, make("i"), "No alert is active.")]));
    const every = rules.data.groups.flatMap((group) => group.rules).filter((rule) => rule.type !== "recording");
    this.rules.replaceChildren(...every.map((rule) => make("tr", {}, make("td", { class: "left", text: rule.name }),
      make("td", { class: "left" }, make("span", { class: `pill ${rule.state}`, text: rule.state })), make("td", { class: "left", text: rule.labels?.severity ?? "" }),
      make("td", { text: rule.duration ? span(rule.duration) : "–" }), make("td", { class: "left query" }, make("code", { text: rule.query })))));
  }

  card(alert) {
    const labels = Object.entries(alert.labels).filter(([name]) => !["alertname", "severity"].includes(name));
    const since = Date.parse(alert.activeAt) / 1000, value = Number(alert.value);
    const muted = alert.silencedBy.length > 0;
    const silence = muted ? make("button", { text: "End the silence", onclick: () => this.unmute(alert) })
      : alert.state === "firing" ? make("button", { text: "Silence for an hour", onclick: () => this.silence(alert) }) : null;
    return make("article", { class: `alert ${alert.state}` },
      make("header", {}, make("span", { class: `pill ${alert.state}`, text: muted ? "silenced" : alert.state }), make("h3", { text: alert.labels.alertname }),
        make("span", { class: "since", text: `since ${clock(since)} · ${span(Math.max(1, Math.round(Date.now() / 1000 - since)))}` })),
      make("p", { text: alert.annotations.summary ?? "" }),
      make("p", { class: "labels" }, ...labels.map(([name, each]) => make("span", { text: `${name} ${each}` })),
        Number.isFinite(value) ? make("span", { text: `value ${format(value, "count")}` }) : null),
      make("footer", {}, this.runbook(alert.annotations.runbook), silence));
  }

  /** A link to the page that says what to do; its path where the monitor does not know the address of such pages. */
  runbook(address) {
    if (!address) return null;
    if (!/^https?:/.test(address)) return make("span", { class: "runbook", text: address });
    return make("a", { class: "runbook", href: address, rel: "noreferrer", text: "Runbook" });
  }

  async silence(alert) {
    const body = JSON.stringify({ matchers: alert.labels, seconds: SILENCE_SECONDS });
    await fetch("/api/silences", { method: "POST", headers: { "Content-Type": "application/json" }, body });
    this.shown = "";
    this.refresh();
  }

  async unmute(alert) {
    await Promise.all(alert.silencedBy.map((id) => fetch(`/api/silences/${id}`, { method: "DELETE" })));
    this.shown = "";
    this.refresh();
  }
}
