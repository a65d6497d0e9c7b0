// The frame that all trace elements share: load, play, step, scrub, explain, compare with the counters, open a file.
//
//   <trace-NAME trace="paging" against="other" step="26" speed="6"></trace-NAME>
//
// A subclass has: build(stage), paint(i), explain(i) -> [headline, sentence, …], isEvent(i), and `static` about, events,
// legend, takes (the kinds of trace it can show).
(function () {
  "use strict";
  const course = window.course;
  const { h, s, load } = course.draw;
  const ICONS = {
    first: "M5 5h2.5v14H5zM20 5v14L9.5 12z", back: "M17 5v14L6.5 12z", play: "M7 4.5v15l12-7.5z", pause: "M6 5h4v14H6zM14 5h4v14h-4z",
    next: "M7 5v14l10.5-7z", event: "M13 2 5 13.5h5.5L10 22l8.5-12H13z", more: "M5 10h4v4H5zM10.5 10h4v4h-4zM16 10h4v4h-4z",
  };
  const icon = (name) => s("svg", { viewBox: "0 0 24 24", class: "t-icon", "aria-hidden": "true" }, s("path", { d: ICONS[name] }));

  class TraceElement extends HTMLElement {
    static takes = ["engine"];
    static speeds = [2, 5, 12, 30];

    connectedCallback() {
      if (this.made) return;
      this.made = true;
      this.classList.add("trace");
      this.setAttribute("role", "group");
      this.setAttribute("aria-label", this.constructor.about);
      this.textContent = "Loading the trace …";
      const names = [this.getAttribute("trace"), this.getAttribute("against")].filter(Boolean);
      Promise.all(names.map(load)).then((texts) => this.open(texts), (error) => this.fail(error));
    }

    disconnectedCallback() {
      this.stop();
      this.resizer?.disconnect();
      this.made = false;
    }

    fail(error) {
      this.stop();
      this.replaceChildren(h("p", { class: "t-warn", text: `The trace cannot be shown: ${error.message}.` }));
    }

    open(texts) {
      try {
        this.replays = texts.map(course.replay);
        for (const replay of this.replays) {
          if (!this.constructor.takes.includes(replay.kind)) throw new Error(`it is a trace of the ${replay.kind}, and this picture shows ${this.constructor.takes.join(" or ")}`);
          if (!replay.steps.length) throw new Error("it has no steps");
        }
      } catch (error) {
        return this.fail(error);
      }
      this.r = this.replays[0];
      this.last = Math.max(...this.replays.map((replay) => replay.steps.length)) - 1;
      this.frame();
      this.build(this.stage);
      this.resizer?.disconnect();
      this.resizer = new ResizeObserver(() => this.measure());
      this.resizer.observe(this.stage);
      this.i = Math.min(Number(this.getAttribute("step") || 0), this.last);
      this.measure();
      this.go(this.i);
    }

    // The state of a replay at the current step; a shorter one rests at its end.
    at(replay, i = this.i) {
      return replay.steps[Math.min(i, replay.steps.length - 1)];
    }

    measure() {
      const width = Math.floor(this.stage.clientWidth);
      if (!width || width === this.width) return;
      this.width = width;
      if (this.i !== undefined) this.show();
    }

    frame() {
      this.stop();
      const button = (name, title, act, more = {}) => h("button", { type: "button", title, "aria-label": title, onclick: act, ...more }, icon(name));
      this.playButton = button("play", "Play (space)", () => (this.timer ? this.stop() : this.play()), { class: "t-main" });
      this.scrub = h("input", { type: "range", min: 0, max: this.last, "aria-label": "Step" });
      this.scrub.addEventListener("input", () => this.go(Number(this.scrub.value)));
      this.place = h("output", { class: "t-place" });
      this.speed = h("select", { "aria-label": "Speed, steps a second" });
      const wanted = Number(this.getAttribute("speed") || 5);
      for (const value of this.constructor.speeds) this.speed.append(new Option(`${value}/s`, value, value === wanted, value === wanted));
      this.say = h("p", { class: "t-say", role: "status", "aria-live": "polite" });
      this.stage = h("div", { class: "t-stage" });
      this.replaceChildren(
        h("div", { class: "t-bar" },
          button("first", "First step (Home)", () => this.go(0)),
          button("back", "Step back (left arrow)", () => this.go(this.i - 1)),
          this.playButton,
          button("next", "Step forward (right arrow)", () => this.go(this.i + 1)),
          button("event", `Next ${this.constructor.events} (N)`, () => this.nextEvent()),
          this.scrub, this.place, this.speed),
        this.say, this.stage, h("div", { class: "t-legend", "aria-hidden": "true" }, this.legend()), this.foot());
      this.addEventListener("keydown", this.onKey);
    }

    opener() {
      const file = h("input", { type: "file", accept: ".jsonl,.json,.txt,.trace", hidden: true });
      file.addEventListener("change", async () => file.files[0] && this.open([await file.files[0].text()]));
      const open = h("button", { type: "button", class: "t-file", title: "Replay a file that --trace or --queue-trace wrote", onclick: () => file.click() }, "Open your own trace");
      return h("span", {}, open, file);
    }

    legend() {
      return (this.constructor.legend || []).map(([kind, text]) => h("span", {}, h("i", { class: `t-swatch t-is-${kind}` }), text));
    }

    foot() {
      const wrong = this.replays.reduce((sum, replay) => sum + replay.mismatches, 0);
      const steps = this.replays.reduce((sum, replay) => sum + replay.steps.length, 0);
      const unit = this.r.kind === "engine" ? "steps" : "events";
      const badge = wrong
        ? h("span", { class: "t-warn", text: `✕ ${wrong} of ${steps} ${unit} differ from the recorded counters` })
        : h("span", { class: "t-check", text: `✓ all ${steps} ${unit} agree with ${{ queue: "the gateway’s", engine: "the engine’s", lifecycle: "all three programs’" }[this.r.kind]} own records` });
      const recordings = this.replays.map((replay) => replay.recording).filter(Boolean);
      const how = recordings.map((recording) => h("div", {}, h("p", { text: recording.about }), h("code", { text: recording.command }), recording.flags ? h("code", { text: recording.flags }) : null));
      return h("div", { class: "t-foot" }, badge, this.opener(), how.length ? h("details", {}, h("summary", { text: "How this was recorded" }), how) : null);
    }

    onKey(event) {
      if (event.target.matches("select, input[type=file], summary") || event.ctrlKey || event.metaKey || event.altKey) return;
      const moves = { ArrowLeft: this.i - 1, ArrowRight: this.i + 1, Home: 0, End: this.last };
      if (event.key in moves) this.go(moves[event.key]);
      else if (event.key === " " && !event.target.matches("button")) this.timer ? this.stop() : this.play();
      else if (event.key.toLowerCase() === "n") this.nextEvent();
      else return;
      event.preventDefault();
      event.stopPropagation(); // N alone turns to the next page in Material
    }

    play() {
      if (this.i >= this.last) this.go(0);
      this.say.setAttribute("aria-live", "off");
      this.playButton.replaceChildren(icon("pause"));
      this.playButton.setAttribute("aria-label", "Pause (space)");
      const tick = () => {
        if (this.i >= this.last) return this.stop();
        this.go(this.i + 1);
        this.timer = setTimeout(tick, 1000 / this.speed.value);
      };
      this.timer = setTimeout(tick, 0);
    }

    stop() {
      clearTimeout(this.timer);
      this.timer = null;
      if (!this.playButton) return;
      this.playButton.replaceChildren(icon("play"));
      this.playButton.setAttribute("aria-label", "Play (space)");
      this.say.setAttribute("aria-live", "polite");
    }

    nextEvent() {
      for (let k = 1; k <= this.last; k++) {
        const i = (this.i + k) % (this.last + 1);
        if (this.isEvent(i)) return this.go(i);
      }
    }

    go(i) {
      this.i = Math.max(0, Math.min(i, this.last));
      this.show();
    }

    show() {
      this.scrub.value = this.i;
      this.scrub.style.setProperty("--at", `${(100 * this.i) / Math.max(1, this.last)}%`);
      this.place.textContent = `${this.i} / ${this.last}`;
      const [head, ...sentences] = this.explain(this.i);
      this.say.replaceChildren(h("b", { text: head }), ` ${sentences.filter(Boolean).join(" ")}`);
      if (this.replays.some((replay) => !this.at(replay).ok)) this.say.append(h("span", { class: "t-warn", text: " This state differs from the recorded counters." }));
      this.paint(this.i);
      this.dispatchEvent(new CustomEvent("trace-step", { bubbles: true, detail: { step: this.i } }));
    }
  }
  course.TraceElement = TraceElement;
  course.defineTrace = (name, type) => customElements.get(name) || customElements.define(name, type);
})();
