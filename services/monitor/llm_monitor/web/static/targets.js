// The monitor's targets: which answer, how fast, how much they export, and what is wrong with the others.

import { make, say } from "./dom.js";
import { clock, format } from "./format.js";

const COLUMNS = [["Job", "left"], ["Target", "left"], ["State", "left"], ["Scrape", ""], ["Series", ""], ["Dropped", ""], ["Clock ahead", ""]];

export class TargetList {
  constructor() {
    this.rows = make("tbody");
    this.count = make("span", { class: "sub" });
    this.element = make("section", { class: "section view" }, make("h2", {}, "Targets ", this.count), make("div", { class: "scroll" }, make("table", {},
      make("thead", {}, make("tr", {}, ...COLUMNS.map(([text, kind]) => make("th", { text, class: kind })))), this.rows)));
  }

  close() {}

  update({ targets }) {
    const sorted = targets.toSorted((one, two) => one.up - two.up || one.job.localeCompare(two.job) || one.instance.localeCompare(two.instance));
    say(this.count, `${targets.filter((target) => target.up).length} of ${targets.length} answer`);
    this.rows.replaceChildren(...sorted.map((target) => make("tr", {},
      make("td", { class: "left", text: target.job }), make("td", { class: "left", text: target.instance, title: target.url }),
      make("td", { class: target.up ? "left good" : "left bad", text: target.up ? "up" : `${target.error || "down"}${target.since ? `, last seen ${clock(target.since)}` : ""}` }),
      make("td", { text: target.up ? format(target.duration, "seconds") : "–" }), make("td", { text: String(target.series) }),
      make("td", { class: target.dropped ? "bad" : "", text: String(target.dropped) }),
      make("td", { class: Math.abs(target.skew ?? 0) > 2 ? "bad" : "", text: target.skew === null ? "–" : `${target.skew.toFixed(1)} s` }))));
  }
}
