// <trace-queue trace="policy-priority" against="policy-fcfs">: the waiting line and the slots, of an engine's scheduler
// or of the gateway's queue.
(function () {
  "use strict";
  const course = window.course;
  const { h, s, count, list, ms, label } = course.draw;
  const CLASSES = ["interactive", "standard", "batch"], CHIP = 62, LINE = 40;

  class TraceQueue extends course.TraceElement {
    static takes = ["engine", "queue"];
    static about = "The waiting line and who is served next, replayed from traces of engine or gateway";
    static events = "request that is served, or refused";
    static legend = [["class0", "interactive, priority 0"], ["class1", "standard, priority 1"], ["class2", "batch, priority 2"]];

    build(stage) {
      this.panels = this.replays.map((replay) => {
        const view = replay.kind === "queue" ? gatewayView(replay) : engineView(replay);
        const panel = { replay, view, title: h("h4"), hall: h("div", { class: "t-hall" }), chips: new Map(), waits: h("div", { class: "t-scroll" }) };
        panel.slots = Array.from({ length: view.slots }, (_, n) => h("div", { class: "t-slot" }, h("span", { text: `slot ${n}` })));
        panel.hall.append(...panel.slots);
        stage.append(panel.title, panel.hall, panel.waits);
        return panel;
      });
      this.longest = Math.max(...this.panels.map(({ view }) => view.longest), 0.001);
    }

    isEvent(i) {
      return this.panels.some(({ view, replay }) => i < replay.steps.length && view.at(i).marked);
    }

    explain(i) {
      const { view, replay } = this.panels[0];
      const said = view.explain(Math.min(i, replay.steps.length - 1));
      return said;
    }

    paint(i) {
      for (const panel of this.panels) {
        const { view, replay } = panel, now = Math.min(i, replay.steps.length - 1), state = view.at(now);
        panel.title.replaceChildren(h("b", { text: view.name }), `  ${count(state.waiting.length, "request waits", "requests wait")}, ${state.holders.length} of ${view.slots} slots taken${state.refused.length ? `, ${state.refused.length} turned away` : ""}`);
        this.arrange(panel, state);
        panel.waits.replaceChildren(this.draw(panel, now));
      }
    }

    // The next to be served stands beside the slots; the line goes on to the left and down.
    arrange({ hall, slots, chips, view }, state) {
      const right = this.width - 84, columns = Math.max(1, Math.floor(right / CHIP));
      const rows = Math.max(view.slots, Math.ceil(view.deepest / columns));
      hall.style.height = `${rows * LINE + 8}px`;
      slots.forEach((slot, n) => (slot.style.transform = `translate(${this.width - 76}px, ${n * LINE + 4}px)`));
      const taken = new Map();
      state.holders.forEach(({ id, slot }) => taken.set(id, [this.width - 70, slot * LINE + 9]));
      state.waiting.forEach(({ id }, n) => taken.set(id, [right - CHIP - (n % columns) * CHIP - 4, Math.floor(n / columns) * LINE + 9]));
      state.refused.slice(-1).forEach(({ id }) => state.turnedAway === id && taken.set(id, [4, (rows - 1) * LINE + 9]));
      for (const [id, chip] of chips) if (!taken.has(id)) { chip.remove(); chips.delete(id); }
      for (const [id, [x, y]] of taken) {
        let chip = chips.get(id);
        const { short, cls, key, late } = view.about(id, state);
        if (!chip) {
          chip = h("div", { class: `t-token t-class${cls}`, style: `transform:translate(${-CHIP}px,${y}px)` }, h("b", { text: short }), h("small"));
          chips.set(id, chip);
          hall.append(chip);
          chip.getBoundingClientRect(); // so that it moves in from the left
        }
        chip.lastChild.textContent = key;
        chip.classList.toggle("t-late", Boolean(late));
        chip.classList.toggle("t-next", state.waiting[0]?.id === id);
        chip.classList.toggle("t-refused", state.turnedAway === id);
        chip.style.transform = `translate(${x}px,${y}px)`;
      }
    }

    // How long each request waited, by class.
    draw({ view }, now) {
      const { width } = this, left = 72, row = 20, height = CLASSES.length * row + 18, scale = (width - left - 14) / this.longest;
      const picture = s("svg", { width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
      CLASSES.forEach((name, cls) => {
        const y = 10 + cls * row, waits = view.waits(now).filter((one) => one.cls === cls);
        picture.append(label(0, y + 4, name, { class: "t-label t-soft" }), s("line", { x1: left, x2: width - 8, y1: y, y2: y, class: "t-axis" }));
        for (const { wait } of waits) picture.append(s("circle", { cx: left + wait * scale, cy: y, r: 4.2, class: `t-dot t-class${cls}` }));
        if (waits.length) {
          const mean = waits.reduce((sum, one) => sum + one.wait, 0) / waits.length;
          picture.append(s("line", { x1: left + mean * scale, x2: left + mean * scale, y1: y - 8, y2: y + 8, class: "t-mean" }));
        }
      });
      const y = height - 3;
      picture.append(label(left, y, "0", { class: "t-label t-soft" }), s("text", { x: width - 8, y, "text-anchor": "end", class: "t-label t-soft", text: `waited ${view.unit(this.longest)}; the bar is the mean` }));
      return picture;
    }
  }

  function engineView(replay) {
    const slots = replay.start.max_num_seqs, order = replay.start.scheduling_policy;
    const states = [], held = new Map(), waits = [];
    for (const step of replay.steps) {
      const running = new Set([...step.event.sequences.map((item) => item.id), ...step.event.skipped]);
      for (const id of [...held.keys()]) if (!running.has(id)) held.delete(id);
      for (const id of running) {
        if (held.has(id)) continue;
        held.set(id, [...Array(slots).keys()].find((n) => ![...held.values()].includes(n)));
        if (!waits.some((one) => one.id === id)) waits.push({ id, at: step.index, cls: replay.byId.get(id).priority, wait: step.index - replay.byId.get(id).queuedAt });
      }
      const waiting = step.event.waiting.map((id) => ({ id }));
      states.push({ waiting, holders: [...held].map(([id, slot]) => ({ id, slot })), refused: [], marked: step.event.admitted.length > 0, index: step.index });
    }
    const about = (id, state) => {
      const seq = replay.byId.get(id);
      return { short: seq.short, cls: seq.priority, key: `p${seq.priority} · ${state.index - seq.queuedAt} st.` };
    };
    const explain = (i) => {
      const step = replay.steps[i], name = (id) => replay.byId.get(id).short, said = [];
      for (const { id } of step.event.admitted) {
        const seq = replay.byId.get(id), over = step.event.waiting.map((other) => replay.byId.get(other)).filter((other) => other.order.at(-1) < seq.order.at(-1));
        said.push(`${name(id)}, priority ${seq.priority}, gets a slot after ${count(i - seq.queuedAt, "step")}${over.length ? `, ahead of ${list(over.map((other) => other.short), 3)}, which came before it` : ""}.`);
      }
      const next = step.event.waiting[0];
      if (!said.length) said.push(next ? `All ${slots} slots are taken. Next is ${name(next)}: ${order === "priority" ? "the most urgent, and of those the one that came first" : "the one that came first"}.` : "Nobody waits.");
      return [`Step ${i}.`, ...said];
    };
    return {
      slots, about, explain, name: order === "priority" ? "Priority" : "First come, first served", at: (i) => states[i], unit: (value) => count(Math.round(value), "step"),
      waits: (now) => waits.filter((one) => one.at <= now), longest: Math.max(...waits.map((one) => one.wait), 1), deepest: Math.max(...states.map((state) => state.waiting.length)),
    };
  }

  function gatewayView(replay) {
    const { start, requests } = replay, slots = start.engines.reduce((sum, engine) => sum + engine.slots, 0);
    const rank = (name) => start.classes.find((cls) => cls.name === name)?.priority ?? 1;
    const held = new Map(), states = [], waits = [];
    for (const step of replay.steps) {
      const now = new Set(step.holders.map((one) => one.id));
      for (const id of [...held.keys()]) if (!now.has(id)) held.delete(id);
      for (const id of now) if (!held.has(id)) held.set(id, [...Array(slots).keys()].find((n) => ![...held.values()].includes(n)) ?? slots - 1);
      if (step.event.event === "grant") waits.push({ at: step.index, cls: rank(requests.get(step.event.id).class), wait: step.event.wait });
      const away = step.event.event === "refuse" ? step.event.id : null;
      states.push({ waiting: step.waiting, holders: [...held].map(([id, slot]) => ({ id, slot })), refused: step.refused, turnedAway: away, time: step.time, marked: ["grant", "refuse", "leave"].includes(step.event.event) });
    }
    const origin = replay.steps[0].time;
    const about = (id, state) => {
      const request = requests.get(id), key = request.reason ? "refused" : request.key === null || request.key === undefined ? "" : `key ${(request.key - base).toFixed(2)}`;
      return { short: request.short, cls: rank(request.class), key, late: request.due !== null && request.due < state.time };
    };
    const base = Math.floor(Math.min(...[...requests.values()].map((request) => request.key ?? Infinity)));
    const explain = (i) => {
      const { event, waiting } = replay.steps[i], request = requests.get(event.id), at = `At ${ms(event.time - origin)}:`;
      const key = (one) => ((one.key ?? 0) - base).toFixed(2);
      if (event.event === "enqueue") return [at, `${request.short}, ${request.class}, joins the line with key ${key(request)}.`, waiting[0] === request ? "It has the smallest key, so it is next." : `${waiting[0].short} has the smallest key, ${key(waiting[0])}, so it stays next.`];
      if (event.event === "grant") return [at, `${request.short}, ${request.class}, gets a slot after ${ms(event.wait)}.`, waiting.length ? `Its key ${key(request)} is the smallest; ${waiting[0].short} follows with ${key(waiting[0])}.` : "Nobody else waits."];
      if (event.event === "release") return [at, `${request.short} is done and gives its slot back after ${ms(event.held)}.`, waiting.length ? `${waiting[0].short} is next: it has the smallest key.` : "Nobody waits for it."];
      if (event.event === "refuse") return [at, `${request.short}, ${request.class}, is not let in: ${event.message}.`, "A full queue answers at once, so that the client can go elsewhere."];
      return [at, `${request.short} leaves the line without a slot: ${event.reason.replace(/_/g, " ")}.`];
    };
    return {
      slots, about, explain, name: `Gateway, policy ${start.policy}`, at: (i) => states[i], unit: ms,
      waits: (now) => waits.filter((one) => one.at <= now), longest: Math.max(...waits.map((one) => one.wait), 0.001), deepest: Math.max(...states.map((state) => state.waiting.length)),
    };
  }

  course.defineTrace("trace-queue", TraceQueue);
})();
