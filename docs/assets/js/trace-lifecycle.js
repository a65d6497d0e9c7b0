// <trace-lifecycle trace="lifecycle">: requests on their way through client, gateway and engine, on one clock.
(function () {
  "use strict";
  const course = window.course;
  const { h, s, tint, count, ms, label } = course.draw;
  const LANES = ["client", "gateway", "engine"], LEFT = 54, LANE = 62, TOP = 18;

  class TraceLifecycle extends course.TraceElement {
    static takes = ["lifecycle"];
    static about = "A request's way through client, gateway and engine, replayed from the records of all three";
    static events = "moment of this request";
    static legend = [["queue", "waits for a slot at the gateway"], ["upstream", "has a slot"], ["wait", "waits in the engine"], ["prefill", "prefill"], ["decode", "decode steps"], ["dot", "text reaches the client"]];

    build(stage) {
      this.selected = this.r.requests[0];
      this.who = h("select", { "aria-label": "Request to follow" });
      this.who.append(...this.r.requests.map((request, n) => new Option(`${request.short}, ${request.class}`, n)));
      this.who.addEventListener("change", () => this.select(this.r.requests[this.who.value]));
      this.heading = h("h4", {}, "Follow ", this.who, (this.says = h("span")));
      this.picture = h("div", { class: "t-scroll" });
      this.all = h("div", { class: "t-scroll" });
      stage.append(this.heading, this.picture, h("h4", { text: "All requests: from the first byte sent to the last byte read" }), this.all);
      const times = this.r.steps.map((step) => step.time);
      this.span = [Math.min(...times), Math.max(...times)];
    }

    select(request) {
      this.selected = request;
      this.who.value = this.r.requests.indexOf(request);
      this.show();
    }

    isEvent(i) {
      return this.r.steps[i].request === this.selected;
    }

    explain(i) {
      const { request, what, time, status, reason } = this.r.steps[i], name = request.short, at = `At ${ms(time - this.span[0])}:`;
      const said = {
        send: `The client sends ${name}, class ${request.class}, and asks for ${count(request.maxTokens, "token")}.`,
        enqueue: `The gateway has read and classified ${name}; it stands in the queue with its key.`,
        grant: `The gateway gives ${name} a slot after ${ms(request.wait || 0)} and sends it on to the engine.`,
        "engine-queued": `The engine knows ${name} and puts it in its own waiting list.`,
        "engine-step": `The engine’s first step with ${name}: its prompt is computed, beside the decodes of others.`,
        status: `The head of ${name}’s answer reaches the client: HTTP ${status}.`,
        "first-token": `The first text of ${name} reaches the client, ${ms(time - request.sent)} after it was sent: the time to first token.`,
        "engine-done": `The engine has sampled the last token of ${name} and gives its blocks back.`,
        release: `The gateway has passed on the last byte of ${name}; its slot is free for the next request.`,
        done: `The client has the whole answer of ${name}: ${count(request.tokens.length, "piece")} of text in ${ms(time - request.sent)}.`,
        refuse: `The gateway refuses ${name}: ${(reason || "").replace(/_/g, " ")}.`,
        leave: `${name} leaves the queue without a slot: ${(reason || "").replace(/_/g, " ")}.`,
      };
      return [at, said[what]];
    }

    paint(i) {
      const step = this.r.steps[i], one = this.selected;
      this.says.textContent = one.done ? `: first token after ${ms(one.tokens[0].time - one.sent)}, all after ${ms(one.done - one.sent)}` : "";
      this.picture.replaceChildren(this.draw(one, step.time));
      this.all.replaceChildren(this.overview(step.time));
    }

    draw(one, now) {
      const { width } = this, height = TOP + 3 * LANE + 4, from = one.sent, to = one.done ?? this.span[1];
      const x = (time) => LEFT + ((time - from) / (to - from)) * (width - LEFT - 10), lane = (n) => TOP + n * LANE;
      const picture = s("svg", { width, height, viewBox: `0 0 ${width} ${height}`, style: tint(one.row), "aria-hidden": "true" });
      LANES.forEach((name, n) => picture.append(s("rect", { x: LEFT, y: lane(n), width: width - LEFT - 6, height: LANE - 10, rx: 5, class: "t-lane" }), label(0, lane(n) + 29, name, { class: "t-label t-soft" })));
      const bar = (begin, end, n, kind, text) => {
        if (begin === undefined || end === undefined || begin > now) return;
        const stop = Math.min(end, now), w = Math.max(1.5, x(stop) - x(begin));
        picture.append(s("rect", { x: x(begin), y: lane(n) + 14, width: w, height: 24, rx: 3, class: kind }));
        if (text && w > text.length * 5.6 + 8) picture.append(label(x(begin) + 5, lane(n) + 30, text));
      };
      const arrow = (begin, end, a, b) => {
        if (begin === undefined || end === undefined || end > now) return;
        const down = b > a, y1 = down ? lane(a) + 38 : lane(a) + 14, y2 = down ? lane(b) + 14 : lane(b) + 38;
        picture.append(s("line", { x1: x(begin), x2: x(end), y1, y2, class: "t-arrow" }), s("circle", { cx: x(end), cy: y2, r: 2.2, class: "t-arrow-end" }));
      };
      bar(one.sent, one.tokens[0]?.time ?? to, 0, "t-ttft", `time to first token ${ms((one.tokens[0]?.time ?? to) - one.sent)}`);
      bar(one.tokens[0]?.time, one.done, 0, "t-answer", "");
      bar(one.enqueued, one.granted, 1, "t-queue", `queue ${ms(one.wait || 0)}`);
      bar(one.granted, one.released ?? to, 1, "t-upstream", "slot of the engine");
      bar(one.engineAt, one.steps[0]?.begin, 2, "t-wait", "waiting");
      for (const step of one.steps) bar(step.begin, step.end, 2, `t-seq t-${step.prefill ? "prefill" : "decode"}`, "");
      arrow(one.sent, one.enqueued, 0, 1);
      arrow(one.granted, one.engineAt, 1, 2);
      one.emitted.forEach((time, n) => arrow(time, one.tokens[n]?.time ?? time, 2, 1));
      for (const { time, text } of one.tokens) if (time <= now) picture.append(s("circle", { cx: x(time), cy: lane(0) + 26, r: 3.2, class: "t-dot t-seq" }, s("title", { text })));
      const shown = one.tokens.filter(({ time }) => time <= now).map(({ text }) => text).join("").replace(/\s+/g, " ");
      picture.append(label(LEFT + 4, TOP - 5, shown.slice(0, Math.floor((width - LEFT - 20) / 6)), { class: "t-label t-code" }));
      if (now >= from && now <= to) picture.append(s("line", { x1: x(now), x2: x(now), y1: TOP, y2: height - 12, class: "t-now" }));
      return picture;
    }

    overview(now) {
      const { width } = this, row = 20, height = this.r.requests.length * row + 4, [from, to] = this.span;
      const x = (time) => LEFT + ((Math.min(time, now) - from) / (to - from)) * (width - LEFT - 10);
      const picture = s("svg", { width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
      this.r.requests.forEach((one, n) => {
        const y = 2 + n * row, bar = (begin, end, kind) => begin !== undefined && begin <= now && picture.append(s("rect", { x: x(begin), y: y + 2, width: Math.max(1, x(end ?? now) - x(begin)), height: row - 7, rx: 2.5, style: tint(one.row), class: kind }));
        picture.append(label(0, y + 12, one.short, { class: one === this.selected ? "t-label t-strong" : "t-label t-soft" }));
        bar(one.enqueued, one.granted, "t-queue");
        bar(one.granted, one.steps[0]?.begin, "t-wait");
        bar(one.steps[0]?.begin, one.tokens[0]?.time, "t-seq t-prefill");
        bar(one.tokens[0]?.time, one.done, "t-seq");
      });
      picture.append(s("line", { x1: x(now), x2: x(now), y1: 0, y2: height, class: "t-now" }));
      picture.addEventListener("click", (event) => {
        const one = this.r.requests[Math.floor((event.clientY - picture.getBoundingClientRect().top - 2) / row)];
        if (one) this.select(one);
      });
      return picture;
    }
  }

  course.defineTrace("trace-lifecycle", TraceLifecycle);
})();
