// <trace-pressure trace="recompute" against="swap">: memory over time, and what each request has on the device, in host
// memory, and lost.
(function () {
  "use strict";
  const course = window.course;
  const { h, s, tint, count, list, label } = course.draw;
  const LEFT = 42, CHART = 64, TOP = 6, ROW = 19;

  class TracePressure extends course.TraceElement {
    static about = "Preemption under memory pressure, by recomputation and by swapping, replayed from engine traces";
    static events = "preemption or return";
    static legend = [["decode", "KV on the device"], ["host", "KV in host memory"], ["lost", "thrown away, to be computed again"], ["rest", "tokens still to come"], ["preempted", "preemption"]];

    build(stage) {
      this.panels = this.replays.map((replay) => {
        const title = h("h4"), picture = h("div", { class: "t-scroll" });
        stage.append(title, picture);
        return { replay, title, picture };
      });
      this.longest = Math.max(...this.replays.flatMap((replay) => replay.seqs.map((seq) => seq.tokens.length)));
    }

    isEvent(i) {
      return this.replays.some((replay) => {
        const step = this.at(replay, i);
        return step.index === i && (step.event.preempted.length > 0 || step.event.admitted.some((item) => back(replay, item.id, i)));
      });
    }

    explain(i) {
      const said = this.replays.map((replay) => {
        const step = this.at(replay, i), name = (id) => replay.byId.get(id).short, words = [];
        if (step.index !== i) return "";
        for (const item of step.event.preempted) {
          const cause = item.id === item.needed_by ? `${name(item.id)} needs a block, none is left, and it is the last in order itself` : `${name(item.needed_by)} needs a block and none is left; ${name(item.id)} is the last in order`;
          words.push(`${cause}: it gives everything back. ${item.host_blocks.length ? `Its ${count(item.host_blocks.length, "block")} are copied to host memory.` : `The KV of ${count(item.lost_tokens, "token")} is thrown away.`}`);
        }
        for (const item of step.event.admitted) {
          if (!back(replay, item.id, i)) continue;
          words.push(item.host_tokens ? `${name(item.id)} comes back: the KV of ${count(item.host_tokens, "token")} is copied in from host memory.` : `${name(item.id)} comes back and computes its ${count(replay.byId.get(item.id).cells.get(i)?.count || 0, "token")} again.`);
        }
        if (!words.length) return "";
        return this.replays.length > 1 ? `${replay.start.num_cpu_blocks ? "Swapping" : "Recomputing"}: ${words.join(" ")}` : words.join(" ");
      }).filter(Boolean);
      if (!said.length) {
        const step = this.at(this.r, i);
        said.push(step.event.waiting.length ? `${list(step.event.waiting.map((id) => this.r.byId.get(id).short))} wait${step.event.waiting.length === 1 ? "s" : ""} until blocks are free for all that has been written so far.` : "Every request runs and grows by a token a step.");
      }
      return [`Step ${i}.`, ...said];
    }

    paint(i) {
      for (const { replay, title, picture } of this.panels) {
        const step = this.at(replay, i), now = replay.steps.slice(0, step.index + 1);
        const preempted = now.reduce((sum, one) => sum + one.event.preempted.length, 0), lost = now.reduce((sum, one) => sum + one.event.preempted.reduce((more, item) => more + item.lost_tokens, 0), 0);
        const moved = now.reduce((sum, one) => sum + one.event.copies.filter(([move]) => move !== "copy").length, 0);
        const name = replay.start.num_cpu_blocks ? "Swap" : "Recompute";
        title.replaceChildren(h("b", { text: name }), `  ${count(preempted, "preemption")}, ${replay.start.num_cpu_blocks ? `${count(moved, "block")} copied` : `${count(lost, "token")} thrown away`}`);
        picture.replaceChildren(this.draw(replay, step));
      }
    }

    draw(replay, step) {
      const { width } = this, total = replay.start.num_blocks, base = TOP + CHART + 12;
      const height = base + replay.seqs.length * ROW + 2, scale = (width - LEFT - 4) / (this.last + 1);
      const picture = s("svg", { width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
      const x = (index) => LEFT + index * scale, y = (blocks) => TOP + CHART * (1 - blocks / total);
      picture.append(s("rect", { x: LEFT, y: TOP, width: x(replay.steps.length) - LEFT, height: CHART, rx: 4, class: "t-lane" }));
      replay.steps.forEach((one, index) => {
        const later = index > step.index ? " t-later" : "";
        picture.append(s("rect", { x: x(index), width: scale, "shape-rendering": "crispEdges", y: y(one.owners.size), height: y(0) - y(one.owners.size), class: `t-usage${later}` }));
        if (one.cached.size) picture.append(s("rect", { x: x(index), width: scale, "shape-rendering": "crispEdges", y: y(one.owners.size + one.cached.size), height: y(0) - y(one.cached.size), class: `t-usage-cached${later}` }));
        if (one.event.preempted.length) picture.append(s("path", { d: `M${x(index + 0.5)} ${TOP + 9}l-5 -9h10z`, class: `t-preempted${later}` }));
      });
      picture.append(label(0, TOP + 9, total, { class: "t-label t-soft" }), label(0, y(0), "blocks", { class: "t-label t-soft" }));
      picture.append(s("line", { x1: x(step.index + 0.5), x2: x(step.index + 0.5), y1: TOP, y2: TOP + CHART, class: "t-now" }));
      replay.seqs.forEach((seq, n) => picture.append(...this.bar(replay, seq, step, base + n * ROW)));
      picture.addEventListener("click", (event) => this.go(Math.floor((event.clientX - picture.getBoundingClientRect().left - LEFT) / scale)));
      return picture;
    }

    bar(replay, seq, step, y) {
      const unit = (this.width - LEFT - 4) / this.longest, state = step.seqs.get(seq.id), size = replay.start.block_size;
      const box = { y: y + 2, height: ROW - 6, rx: 3 }, parts = [label(0, y + 12, seq.short, { class: state ? "t-label" : "t-label t-soft" })];
      if (!state) {
        const ended = seq.end !== null && seq.end < step.index;
        if (ended) parts.push(label(LEFT, y + 12, "done", { class: "t-label t-soft" }));
        return parts;
      }
      const known = state.tokens, piece = (from, to, kind) => to > from && parts.push(s("rect", { x: LEFT + from * unit, width: (to - from) * unit, ...box, style: tint(seq.row), class: kind }));
      piece(0, seq.tokens.length, "t-rest");
      if (state.host.length) piece(0, Math.min(known, state.host.length * size), "t-seq t-host");
      else if (state.state === "preempted") piece(0, Math.min(known, state.lost || known), "t-lost");
      else {
        piece(0, state.computed, "t-seq");
        if (state.lost) piece(state.computed, Math.min(known, state.computed + state.lost), "t-lost");
        state.table.slice(1).forEach((_, k) => parts.push(s("line", { x1: LEFT + (k + 1) * size * unit, x2: LEFT + (k + 1) * size * unit, y1: box.y, y2: box.y + box.height, class: "t-edge" })));
      }
      if (state.state === "preempted") parts.push(label(LEFT + 5, y + 12, state.host.length ? "waits; KV in host memory" : "waits; KV thrown away", { class: "t-label t-strong" }));
      return parts;
    }
  }

  // It was preempted before: this is not its first admission.
  const back = (replay, id, i) => [...replay.byId.get(id).cells].some(([step, cell]) => cell.kind === "preempted" && step < i);

  course.defineTrace("trace-pressure", TracePressure);
})();
