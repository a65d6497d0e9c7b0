// <trace-batch trace="continuous" against="static">: the slots of a batch over time, one bar a request.
(function () {
  "use strict";
  const course = window.course;
  const { h, s, tint, count, list, percent, label } = course.draw;
  const LEFT = 44, ROW = 26, TOP = 18;

  class TraceBatch extends course.TraceElement {
    static about = "Continuous batching compared with static batching, replayed from two traces";
    static events = "request that ends";
    static legend = [["decode", "decode"], ["prefill", "prefill"], ["idle", "slot that is reserved and does nothing"]];

    build(stage) {
      this.panels = this.replays.map((replay) => {
        const title = h("h4"), picture = h("div", { class: "t-scroll" });
        stage.append(title, picture);
        return { replay, title, picture, static: Boolean(replay.recording?.static), lanes: lanes(replay) };
      });
    }

    isEvent(i) {
      return this.r.seqs.some((seq) => seq.end === i);
    }

    explain(i) {
      const [first, second] = this.panels;
      const ended = this.r.seqs.filter((seq) => seq.end === i - 1), begun = this.at(this.r, i).event.admitted;
      const said = [];
      if (ended.length) {
        const next = begun.length ? `${list(begun.map((item) => this.r.byId.get(item.id).short))} take${begun.length === 1 ? "s" : ""} the free slot in this very step` : "the slot is free, and nobody waits for it";
        said.push(`${list(ended.map((seq) => seq.short))} ended: ${next}.`);
      } else said.push(`${count(this.at(this.r, i).event.sequences.length, "slot")} of ${this.r.start.max_num_seqs} ${this.at(this.r, i).event.sequences.length === 1 ? "works" : "work"}.`);
      if (second && i < second.replay.steps.length) {
        const idle = second.lanes.length - this.at(second.replay, i).event.sequences.length;
        if (idle > 0) said.push(`With static batching, ${count(idle, "slot")} ${idle === 1 ? "waits" : "wait"} for the longest answer of the batch.`);
      }
      if (second && i >= first.replay.steps.length) said.push(`Continuous batching was done at step ${first.replay.steps.length - 1}.`);
      return [`Step ${i}.`, ...said];
    }

    paint(i) {
      for (const panel of this.panels) {
        const { replay, lanes: slots } = panel, now = Math.min(i, replay.steps.length - 1);
        const busy = replay.steps.slice(0, now + 1).reduce((sum, step) => sum + step.event.sequences.length, 0);
        const tokens = replay.steps.slice(0, now + 1).reduce((sum, step) => sum + step.sampled.reduce((more, item) => more + item.token_ids.length, 0), 0);
        const name = panel.static ? "Static batching" : "Continuous batching";
        const done = i >= replay.steps.length - 1 ? `done at step ${replay.steps.length - 1}` : `${count(tokens, "token")} so far`;
        panel.title.replaceChildren(h("b", { text: name }), `  ${done}, slots busy ${percent(busy, slots.length * (now + 1))}`);
        panel.picture.replaceChildren(this.draw(panel, i));
      }
    }

    draw({ replay, lanes: slots }, i) {
      const { width } = this, scale = (width - LEFT - 4) / (this.last + 1), height = TOP + slots.length * ROW;
      const picture = s("svg", { width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
      const x = (step) => LEFT + step * scale;
      for (let step = 0; step <= this.last; step += width < 480 ? 50 : 20) picture.append(label(x(step), 10, step, { class: "t-label t-soft" }));
      slots.forEach((lane, n) => {
        const y = TOP + n * ROW;
        picture.append(label(0, y + 15, `slot ${n}`, { class: "t-label t-soft" }), s("rect", { x: LEFT, y: y + 1, width: x(this.last + 1) - LEFT, height: ROW - 6, rx: 4, class: "t-lane" }));
        for (const { from, to } of lane.idle) if (from <= i) picture.append(s("rect", { x: x(from), y: y + 1, width: x(Math.min(to, i + 1)) - x(from), height: ROW - 6, class: "t-idle" }));
        for (const { seq, from, to } of lane.bars) picture.append(...this.bar(seq, { from, to, y, x, i }));
      });
      picture.append(s("line", { x1: x(i + 0.5), x2: x(i + 0.5), y1: 12, y2: height, class: "t-now" }));
      picture.addEventListener("click", (event) => this.go(Math.floor((event.clientX - picture.getBoundingClientRect().left - LEFT) / scale)));
      return picture;
    }

    bar(seq, { from, to, y, x, i }) {
      const parts = [], box = { y: y + 1, height: ROW - 6, rx: 4, style: tint(seq.row) };
      parts.push(s("rect", { x: x(from) + 0.5, width: Math.max(1, x(to) - x(from) - 1), class: "t-seq t-later", ...box }));
      if (from <= i) parts.push(s("rect", { x: x(from) + 0.5, width: Math.max(1, x(Math.min(to, i + 1)) - x(from) - 1), class: "t-seq", ...box }));
      const prefill = [...seq.cells].filter(([, cell]) => cell.kind === "prefill").map(([step]) => step);
      if (prefill.length && prefill[0] <= i) parts.push(s("rect", { x: x(prefill[0]) + 0.5, width: Math.max(2, x(prefill.at(-1) + 1) - x(prefill[0]) - 1), class: "t-seq t-prefill", ...box }));
      if (x(to) - x(from) > 24) parts.push(label(x(from) + 5, y + 14.5, seq.short, { class: from <= i ? "t-label t-on" : "t-label t-soft" }));
      return parts;
    }
  }

  // Which request has which slot from when to when; the trace has no slots, so each takes the lowest that is free.
  function lanes(replay) {
    const slots = Array.from({ length: replay.start.max_num_seqs }, () => ({ bars: [], idle: [] }));
    const held = new Map();
    const batch = Boolean(replay.recording?.static);
    replay.steps.forEach((step, index) => {
      const now = new Set([...step.event.sequences.map((item) => item.id), ...step.event.skipped]);
      for (const [id, slot] of held) if (!now.has(id)) { slots[slot].bars.at(-1).to = index; held.delete(id); }
      for (const id of now) {
        if (held.has(id)) continue;
        const slot = slots.findIndex((_, n) => ![...held.values()].includes(n));
        held.set(id, slot);
        slots[slot].bars.push({ seq: replay.byId.get(id), from: index, to: replay.steps.length });
      }
    });
    if (batch) for (const slot of slots) slot.bars.forEach((bar, n) => slot.idle.push({ from: bar.to, to: slot.bars[n + 1]?.from ?? replay.steps.length }));
    return slots;
  }

  course.defineTrace("trace-batch", TraceBatch);
})();
