// <trace-blocks>: the block pool, the block table of one request, and the batch over time.
(function () {
  "use strict";
  const course = window.course;
  const { h, tint, count, list, ms, visible, timeline, hue } = course.draw;

  class TraceBlocks extends course.TraceElement {
    static about = "Block tables and block pool, replayed from an engine's trace";
    static events = "preemption, eviction or cache hit";
    static legend = [["decode", "decode"], ["prefill", "prefill chunk"], ["cached", "cached: nobody owns it, and it can be found"], ["free", "free"], ["fresh", "taken in this step"], ["evicted", "evicted"], ["hit", "prefix found"], ["preempted", "preempted"]];

    build(stage) {
      this.selected = null;
      this.poolTitle = h("h4");
      this.pool = h("div", { class: "t-pool" });
      this.cells = Array.from({ length: this.r.start.num_blocks }, (_, block) => {
        const cell = h("button", { type: "button", tabindex: -1, onclick: () => this.follow(block) }, h("i"), h("b", { text: block }), h("em"));
        this.pool.append(cell);
        return cell;
      });
      this.who = h("select", { "aria-label": "Request to follow" });
      this.who.addEventListener("change", () => this.select(this.who.value));
      this.tableTitle = h("h4", {}, "Block table of ", this.who, (this.tableSays = h("span")));
      this.table = h("div", { class: "t-table", tabindex: 0 });
      this.budgetTitle = h("h4");
      this.budget = h("div", { class: "t-budget" });
      this.line = h("div", { class: "t-scroll" });
      stage.append(
        h("div", { class: "t-cols" }, h("div", {}, this.poolTitle, this.pool, this.budgetTitle, this.budget), h("div", {}, this.tableTitle, this.table)),
        h("h4", { text: "Batch over time: a row a request, a column a step" }), this.line);
    }

    select(id) {
      this.selected = id;
      this.paint(this.i);
    }

    // A click on a shared block goes round its owners.
    follow(block) {
      const owners = this.at(this.r).owners.get(block);
      if (owners) this.select(owners[(owners.indexOf(this.selected) + 1) % owners.length]);
    }

    isEvent(i) {
      const { event } = this.at(this.r, i);
      return event.preempted.length > 0 || event.evicted.length > 0 || event.admitted.some((item) => item.cached_tokens);
    }

    explain(i) {
      const step = this.at(this.r, i), { event } = step, name = (id) => this.r.byId.get(id).short;
      const cells = event.sequences.map((item) => step.seqs.get(item.id).cell);
      const decodes = cells.filter((cell) => cell?.kind === "decode").length, chunks = cells.length - decodes;
      const head = `Step ${i}, ${ms(step.duration)}: ${count(decodes, "decode")}${chunks ? ` and ${count(chunks, "prefill chunk")}` : ""}.`;
      const said = event.preempted.map((item) => (item.id === item.needed_by
        ? `No block is left for ${name(item.id)}, and it is the last in order, so it gives its own blocks back and waits.`
        : `${name(item.needed_by)} needs a block and none is left, so ${name(item.id)}, the last in order, gives all its blocks back; ${count(item.lost_tokens, "token")} will be computed again.`));
      for (const item of event.admitted) {
        said.push(item.cached_tokens ? `${name(item.id)} starts, and ${item.cached_tokens} of its tokens are in blocks that the prefix cache knows, so they are not computed.` : `${name(item.id)} starts; nothing of it is cached.`);
      }
      if (event.evicted.length) said.push(`Nothing is free, so the cached ${event.evicted.length > 1 ? "blocks" : "block"} ${list(event.evicted)}, unused the longest, ${event.evicted.length > 1 ? "are" : "is"} overwritten.`);
      const fresh = this.fresh(step).filter((block) => !event.evicted.includes(block));
      if (fresh.length && !said.length) said.push(`${fresh.length > 1 ? "Blocks" : "Block"} ${list(fresh)} ${fresh.length > 1 ? "are" : "is"} taken from the free list: ${fresh.length > 1 ? "requests fill their last blocks" : "a request has filled its last block"}.`);
      if (!said.length) said.push("Every running request has room in its last block, so no block changes hands.");
      if (event.waiting.length) said.push(`Waiting: ${list(event.waiting.map(name))}.`);
      return [head, ...said];
    }

    fresh(step) {
      const before = step.index ? this.r.steps[step.index - 1].owners : new Map();
      const hits = new Set(step.event.admitted.flatMap((item) => item.cached_blocks));
      return [...step.owners.keys()].filter((block) => !before.has(block) && !hits.has(block));
    }

    paint(i) {
      const step = this.at(this.r, i);
      const running = step.event.sequences.map((item) => item.id);
      if (!step.seqs.get(this.selected)?.table.length) this.selected = step.event.admitted[0]?.id ?? running[0] ?? null;
      const ids = [...step.seqs.keys()].filter((id) => step.seqs.get(id).table.length);
      this.who.replaceChildren(...ids.map((id) => new Option(this.r.byId.get(id).short, id, false, id === this.selected)));
      this.paintPool(step);
      this.paintTable(step);
      this.paintBudget(step);
      const options = { i, width: this.width, selected: this.selected, onStep: (at) => this.go(at), onSelect: (id) => this.select(id) };
      this.line.replaceChildren(timeline(this.r, options));
    }

    paintPool(step) {
      const { block_size: size, num_blocks: total } = this.r.start;
      this.poolTitle.textContent = `Block pool: ${step.owners.size} owned, ${step.cached.size} cached, ${total - step.owners.size - step.cached.size} free`;
      const fresh = new Set(this.fresh(step)), evicted = new Set(step.event.evicted), mine = step.seqs.get(this.selected)?.table || [];
      const hits = new Set(step.event.admitted.flatMap((item) => item.cached_blocks));
      this.cells.forEach((cell, block) => {
        const owners = step.owners.get(block) || [], [bar, , note] = cell.children, at = mine.indexOf(block);
        const full = Math.max(0, ...owners.map((id) => Math.min(size, step.seqs.get(id).computed - step.seqs.get(id).table.indexOf(block) * size)));
        const state = owners.length ? "owned" : step.cached.has(block) ? "cached" : "free";
        cell.className = `t-block t-${state}${fresh.has(block) ? " t-fresh" : ""}${evicted.has(block) ? " t-evicted" : ""}${hits.has(block) ? " t-found" : ""}${at >= 0 ? " t-mine" : ""}`;
        const rows = owners.map((id) => this.r.byId.get(id).row);
        cell.style.setProperty("--h", rows.length ? hue(rows[0]) : 0);
        cell.style.setProperty("--stripes", rows.length > 1 ? stripes(rows) : "none");
        bar.style.width = `${(100 * full) / size}%`;
        note.textContent = at >= 0 ? `${at}` : owners.length > 1 ? `×${owners.length}` : "";
        const says = owners.length ? `Block ${block}: ${owners.map((id) => this.r.byId.get(id).short).join(", ")}, ${full} of ${size} tokens` : `Block ${block}: ${state}`;
        cell.title = says;
        cell.setAttribute("aria-label", says);
      });
    }

    paintTable(step) {
      const seq = step.seqs.get(this.selected), { block_size: size } = this.r.start;
      if (!seq) return void this.table.replaceChildren(h("p", { class: "t-soft", text: "No request runs." }));
      this.tableSays.textContent = `: ${count(seq.computed, "token")} in ${count(seq.table.length, "block")}`;
      const tokens = this.r.byId.get(this.selected).tokens, cell = seq.cell;
      const written = cell && cell.count ? [cell.first, cell.first + cell.count] : [-1, -1];
      const row = (block, index) => {
        const text = h("td", { class: "t-text" });
        for (let place = index * size; place < Math.min((index + 1) * size, seq.computed); place++) {
          const word = visible(tokens[place] ?? "…");
          text.append(place >= written[0] && place < written[1] ? h("mark", { text: word }) : word);
        }
        const empty = (index + 1) * size - Math.max(seq.computed, index * size);
        if (empty > 0) text.append(h("s", { text: "▫".repeat(empty), title: `${empty} places left` }));
        return h("tr", {}, h("td", { text: index }), h("td", {}, h("span", { class: "t-chip", style: tint(this.r.byId.get(this.selected).row), text: block })), text);
      };
      this.table.replaceChildren(h("table", {}, h("thead", {}, h("tr", {}, ...["logical", "physical", "tokens"].map((text) => h("th", { text })))), h("tbody", {}, ...seq.table.map(row))));
      this.table.scrollTop = this.table.scrollHeight;
    }

    paintBudget(step) {
      const budget = this.r.start.max_num_batched_tokens;
      this.budgetTitle.textContent = `Token budget: ${step.used} of ${budget} used`;
      this.budget.replaceChildren(...step.event.sequences.map((item) => {
        const { row, short } = this.r.byId.get(item.id), kind = step.seqs.get(item.id).cell?.kind;
        return h("i", { class: `t-seq t-${kind}`, style: `${tint(row)};width:${(100 * item.num_tokens) / budget}%`, title: `${short}: ${count(item.num_tokens, "token")}` });
      }));
    }
  }

  function stripes(rows) {
    const part = 100 / rows.length;
    const color = (row) => `oklch(var(--seq-l) var(--seq-c) ${hue(row)})`;
    return `linear-gradient(180deg, ${rows.map((row, k) => `${color(row)} ${k * part}% ${(k + 1) * part}%`).join(", ")})`;
  }

  course.defineTrace("trace-blocks", TraceBlocks);
})();
