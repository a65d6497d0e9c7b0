// The KV cache of an engine as a map: cells fill in order, since engines export how many blocks are in use, not which.

import { colour, make, say } from "./dom.js";
import { format } from "./format.js";

const COLUMNS = 48, ROWS = 8, CELL = 7, GAP = 1.5, FULL = 0.95;
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

export function blocksMap(instance) {
  const canvas = make("canvas", { role: "img" });
  const share = make("b"), facts = make("span", { class: "facts" });
  const element = make("figure", { class: "map" },
    make("figcaption", {}, make("span", { class: "name", text: instance, title: instance }), share), canvas, facts);
  let last = "";

  function draw({ used, blocks, size, hits, preempted }) {
    const cells = Math.min(COLUMNS * ROWS, blocks ?? COLUMNS * ROWS);
    const filled = used === null ? 0 : Math.min(cells, Math.ceil(used * cells - 1e-9));
    say(share, format(used, "share"));
    const count = blocks && used !== null ? `${whole.format(Math.round(used * blocks))} of ${whole.format(blocks)} blocks` : "";
    say(facts, [count, hits === null ? "" : `hits ${format(hits, "share")}`,
      preempted ? `${whole.format(Math.ceil(preempted))} preempted` : ""].filter(Boolean).join(" · "));
    const state = `${cells} ${filled}`;
    if (state === last) return;
    last = state;
    canvas.setAttribute("aria-label", `${instance}: ${format(used, "share")} of the KV blocks in use`);
    element.title = size ? `${size} tokens a block` : "";
    const rows = Math.ceil(cells / COLUMNS), width = COLUMNS * (CELL + GAP) - GAP, height = rows * (CELL + GAP) - GAP, ratio = 2;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    const [on, off] = [colour(used >= FULL ? "bad" : "hue0"), colour("rule")];
    for (let cell = 0; cell < cells; cell += 1) {
      context.fillStyle = cell < filled ? on : off;
      context.fillRect((cell % COLUMNS) * (CELL + GAP), Math.floor(cell / COLUMNS) * (CELL + GAP), CELL, CELL);
    }
  }
  return { element, draw, restyle: () => { last = ""; } };
}
