// <trace-prefill trace="chunked" against="whole">: each step as long as it took and as high as the tokens it computed,
// and below it the moments at which the running answers got a token.
(function () {
  "use strict";
  const course = window.course;
  const { h, s, tint, count, list, ms, label } = course.draw;
  const LEFT = 44, CHART = 96, TOP = 16, ROW = 16;

  class TracePrefill extends course.TraceElement {
    static about = "Chunked prefill and the token budget of a step, replayed from engine traces";
    static events = "prefill chunk";
    static legend = [["decode", "decodes"], ["prefill", "prefill chunk"], ["budget", "token budget"], ["dot", "a token of that answer"], ["gap", "its longest wait for a token"]];

    build(stage) {
      this.panels = this.replays.map((replay) => {
        const title = h("h4"), picture = h("div", { class: "t-scroll" });
        stage.append(title, picture);
        return { replay, title, picture, answers: replay.seqs.filter((seq) => seq.prompt <= 24).slice(0, 6) };
      });
      this.origin = this.panels.map(({ replay }) => replay.steps[0].time);
      this.seconds = Math.max(...this.panels.map(({ replay }, n) => replay.steps.at(-1).end - this.origin[n]));
    }

    isEvent(i) {
      return [...this.at(this.r, i).seqs.values()].some((seq) => seq.cell?.kind === "prefill");
    }

    explain(i) {
      const step = this.at(this.r, i), budget = this.r.start.max_num_batched_tokens;
      const cells = step.event.sequences.map((item) => ({ ...item, seq: this.r.byId.get(item.id), cell: step.seqs.get(item.id).cell }));
      const chunks = cells.filter(({ cell }) => cell.kind === "prefill"), decodes = cells.length - chunks.length;
      const said = [];
      if (decodes && chunks.length) said.push(`The ${count(decodes, "decode")} come first and take ${count(decodes, "token")} of the budget; ${list(chunks.map(({ seq }) => seq.short))} take${chunks.length === 1 ? "s" : ""} what is left.`);
      for (const { seq, first_token: first, num_tokens: n } of chunks) {
        const rest = seq.prompt - first - n;
        said.push(rest > 0 ? `${n} of ${seq.short}’s ${seq.prompt} prompt tokens are computed now, and ${rest} wait for the next step.` : first ? `The last ${n} tokens of ${seq.short}’s prompt are computed, so it gets its first token.` : `The whole prompt of ${seq.short} is computed at once.`);
      }
      if (!chunks.length) said.push("No prompt is under way: each running answer computes one token.");
      const other = this.panels[1];
      if (other) {
        const slow = longest(other);
        if (slow.gap) said.push(`With whole prompts, ${slow.seq.short} waits up to ${ms(slow.gap)} for a token; here at most ${ms(longest(this.panels[0]).gap)}.`);
      }
      return [`Step ${i}: ${step.used} of ${budget} tokens, ${ms(step.duration)}.`, ...said];
    }

    paint(i) {
      this.panels.forEach((panel, n) => {
        const budget = panel.replay.start.max_num_batched_tokens;
        const chunked = panel.replay.steps.every((step) => step.used <= budget) && panel.replay.steps.some((step) => step.used === budget);
        panel.title.replaceChildren(h("b", { text: chunked ? "Chunked prefill" : "Whole prompts" }), `  budget of ${budget.toLocaleString("en")} tokens, longest step ${ms(Math.max(...panel.replay.steps.map((step) => step.duration)))}`);
        panel.picture.replaceChildren(this.draw(panel, i, this.origin[n], chunked));
      });
    }

    draw({ replay, answers }, i, origin, chunked) {
      const { width } = this, height = TOP + CHART + 8 + answers.length * ROW + 4;
      const most = Math.max(...replay.steps.map((step) => step.used));
      const x = (time) => LEFT + ((time - origin) / this.seconds) * (width - LEFT - 6), y = (tokens) => TOP + CHART * (1 - tokens / (most * 1.06));
      const picture = s("svg", { width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
      picture.append(label(0, y(most) + 4, most, { class: "t-label t-soft" }), label(0, y(0), "tokens", { class: "t-label t-soft" }));
      if (chunked) picture.append(s("line", { x1: LEFT, x2: width - 6, y1: y(most), y2: y(most), class: "t-limit" }));
      replay.steps.forEach((step, index) => {
        const x1 = x(step.time), w = Math.max(1.5, x(step.end) - x1 - 0.8);
        let base = 0;
        for (const item of [...step.event.sequences].sort((a, b) => a.num_tokens - b.num_tokens)) {
          const cell = step.seqs.get(item.id).cell;
          const top = y(base + item.num_tokens);
          picture.append(s("rect", { x: x1, width: w, y: top, height: Math.max(1, y(base) - top), style: tint(replay.byId.get(item.id).row), class: `t-seq t-${cell.kind}${index > i ? " t-later" : ""}` }));
          base += item.num_tokens;
        }
        if (index === i) picture.append(s("rect", { x: x1 - 1, width: w + 2, y: TOP - 4, height: height - TOP + 2, class: "t-cursor" }));
      });
      picture.append(s("line", { x1: LEFT, x2: width - 6, y1: y(0), y2: y(0), class: "t-axis" }));
      answers.forEach((seq, n) => picture.append(...this.rhythm(seq, { y: TOP + CHART + 16 + n * ROW, x, until: replay.steps[Math.min(i, replay.steps.length - 1)].end })));
      picture.addEventListener("click", (event) => {
        const at = event.clientX - picture.getBoundingClientRect().left;
        const hit = replay.steps.findIndex((step) => at >= x(step.time) && at <= x(step.end));
        if (hit >= 0) this.go(hit);
      });
      return picture;
    }

    rhythm(seq, { y, x, until }) {
      const parts = [label(0, y + 3.5, seq.short, { class: "t-label t-soft" })];
      const { gap, from, to } = widest(seq);
      if (gap && from <= until) parts.push(s("line", { x1: x(from), x2: x(Math.min(to, until)), y1: y, y2: y, class: "t-gap" }));
      for (const time of seq.times) parts.push(s("circle", { cx: x(time), cy: y, r: 2.6, style: tint(seq.row), class: `t-seq${time > until ? " t-later" : ""}` }));
      return parts;
    }
  }

  function widest(seq) {
    return seq.times.slice(1).reduce((best, time, n) => (time - seq.times[n] > (best.gap || 0) ? { seq, gap: time - seq.times[n], from: seq.times[n], to: time } : best), {});
  }
  const longest = ({ answers }) => answers.map(widest).reduce((best, one) => ((one.gap || 0) > (best.gap || 0) ? one : best), {});

  course.defineTrace("trace-prefill", TracePrefill);
})();
