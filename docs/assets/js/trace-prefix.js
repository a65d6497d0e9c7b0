// <trace-prefix trace="hash" against="radix">: what the prefix cache knows, as a tree of blocks.
(function () {
  "use strict";
  const course = window.course;
  const { h, s, tint, count, list, percent, visible, label } = course.draw;
  const ROW = 24, BOX = 19;

  class TracePrefix extends course.TraceElement {
    static about = "The prefix cache as a tree of blocks, replayed from engine traces";
    static events = "hit, eviction";
    static legend = [["owned", "owned by running requests"], ["cached", "cached: nobody owns it"], ["found", "found by the request that starts"], ["fresh", "known from this step on"], ["evicted", "evicted"]];

    build(stage) {
      this.panels = this.replays.map((replay) => {
        const title = h("h4"), picture = h("div", { class: "t-scroll" }), most = Math.max(...replay.steps.map((step) => leaves(tree(step)).length));
        stage.append(title, picture);
        return { replay, title, picture, most };
      });
      this.depth = 1 + Math.max(...this.replays.flatMap((replay) => replay.steps.flatMap((step) => [...step.knownAfter.values()].map((node) => node.depth))), 0);
    }

    isEvent(i) {
      return this.replays.some((replay) => {
        const { event } = this.at(replay, i);
        return event.evicted.length > 0 || event.admitted.some((item) => item.cached_tokens);
      });
    }

    explain(i) {
      const step = this.at(this.r, i), size = this.r.start.block_size, said = [];
      for (const item of step.event.admitted) {
        const { short, prompt } = this.r.byId.get(item.id), other = this.replays[1] && this.at(this.replays[1], i).event.admitted.find((one) => one.id === item.id);
        const part = item.cached_tokens % size;
        said.push(item.cached_tokens
          ? `${short} brings ${count(prompt, "prompt token")}; the walk from the root finds ${item.cached_tokens} of them in ${count(item.cached_blocks.length, "block")}${part ? `, ${part} of those in the beginning of block ${item.cached_blocks.at(-1)}, which is copied before it is written` : ""}.`
          : `${short} brings ${count(prompt, "prompt token")}, and nothing matches from the root on: all are computed.`);
        if (other && other.cached_tokens > item.cached_tokens) said.push(`The radix tree finds ${other.cached_tokens - item.cached_tokens} more, since it also matches the beginning of a block.`);
      }
      const gone = step.event.evicted;
      if (gone.length) said.push(`${gone.length > 1 ? "Blocks" : "Block"} ${list(gone)}, unused the longest, ${gone.length > 1 ? "are" : "is"} evicted; leaves go first, so a prefix outlives its continuations.`);
      if (step.inserted.length) said.push(`${step.inserted.length > 1 ? "Blocks" : "Block"} ${list(step.inserted.map(([block]) => block))} became full, so later requests can find ${step.inserted.length > 1 ? "them" : "it"}.`);
      if (!said.length) said.push("No block became full and nobody started, so the tree stays as it is.");
      return [`Step ${i}.`, ...said];
    }

    paint(i) {
      for (const panel of this.panels) {
        const { replay } = panel, step = this.at(replay, i), { found, asked } = step.hits;
        const name = { hash: "Chained hashes", radix: "Radix tree", off: "No prefix cache" }[replay.start.prefix_cache];
        panel.title.replaceChildren(h("b", { text: name }), `  ${count(step.knownAfter.size, "block")} known; ${found.toLocaleString("en")} of ${asked.toLocaleString("en")} tokens found so far (${percent(found, asked)})`);
        panel.picture.replaceChildren(this.draw(panel, step));
      }
    }

    draw({ replay, most }, step) {
      const { width } = this, root = 18, gap = (width - root - 4) / this.depth, height = Math.max(2, most) * ROW + 6;
      const picture = s("svg", { width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
      const found = new Map(step.event.admitted.flatMap((item) => item.cached_blocks.map((block, n) => [block, Math.min(1, item.cached_tokens / replay.start.block_size - n)])));
      const fresh = new Set(step.inserted.map(([block]) => block));
      const nodes = tree(step), tops = nodes.filter((node) => node.up === null);
      let line = 0;
      const place = (node) => {
        node.x = root + node.depth * gap;
        if (!node.children.length) node.y = 4 + line++ * ROW;
        else {
          node.children.forEach(place);
          node.y = node.children[0].y;
        }
      };
      tops.forEach(place);
      picture.append(s("circle", { cx: 7, cy: 4 + BOX / 2, r: 4, class: "t-root" }));
      for (const node of nodes) picture.append(this.link(node, gap, found));
      for (const node of nodes) picture.append(this.box(node, { gap, step, replay, found, fresh }));
      return picture;
    }

    link(node, gap, found) {
      const x1 = node.up ? node.up.x + gap - 8 : node.depth ? node.x - 10 : 7, y1 = (node.up ? node.up.y : node.depth ? node.y : 4) + BOX / 2;
      const y2 = node.y + BOX / 2, middle = Math.max(x1, node.x - 5);
      return s("path", { d: `M${x1} ${y1}H${middle}V${y2}H${node.x}`, class: `t-link${found.has(node.block) ? " t-found" : ""}${!node.up && node.depth ? " t-orphan" : ""}` });
    }

    box(node, { gap, step, replay, found, fresh }) {
      const owners = step.owners.get(node.block) || [], width = gap - 8, part = found.get(node.block);
      const state = node.gone ? "evicted" : owners.length ? "owned" : "cached";
      const group = s("g", { class: `t-node t-${state}${fresh.has(node.block) ? " t-fresh" : ""}${part ? " t-found" : ""}` }, s("title", { text: `Block ${node.block}: ${node.text}` }));
      group.append(s("rect", { x: node.x, y: node.y, width, height: BOX, rx: 4 }));
      if (!node.gone) owners.slice(0, 6).forEach((id, n) => group.append(s("rect", { x: node.x + 2 + n * 5, y: node.y + BOX - 4, width: 4, height: 2.5, rx: 1, style: tint(replay.byId.get(id).row), class: "t-seq t-owner" })));
      if (part && part < 1) group.append(s("rect", { x: node.x, y: node.y, width: width * part, height: BOX, rx: 4, class: "t-part" }));
      group.append(label(node.x + 4, node.y + 12, node.block, { class: "t-label t-number" }));
      const room = Math.floor((width - 26) / 5.8);
      if (room > 3) group.append(label(node.x + 22, node.y + 12, visible(node.text.trim()).slice(0, room), { class: "t-label t-code" }));
      return group;
    }
  }

  // The known blocks, and those that went in this step, as nodes with children, in the order in which they became known.
  function tree(step) {
    const nodes = new Map([...step.knownAfter].map(([block, node]) => [block, { block, ...node, children: [], up: null }]));
    for (const gone of step.gone) nodes.set(`gone ${gone.block}`, { ...gone, children: [], up: null, gone: true });
    const by = (block) => nodes.get(block) || nodes.get(`gone ${block}`);
    for (const node of nodes.values()) {
      const up = node.parent === null || node.parent === undefined ? null : by(node.parent);
      if (up && up !== node && up.depth === node.depth - 1) {
        node.up = up;
        up.children.push(node);
      }
    }
    return [...nodes.values()].filter((node) => node.depth !== undefined);
  }
  const leaves = (nodes) => nodes.filter((node) => !node.children.length);

  course.defineTrace("trace-prefix", TracePrefix);
})();
