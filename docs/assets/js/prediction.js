// <course-prediction name="evict-or-preempt" ask="…" answer="31" unit="steps" why="…"></course-prediction>
//
// Asks for the reader's own number before the page's. The first answer is kept in the log, as kind "prediction" with the
// page as key; after it the element shows both numbers and the reason. `key` names an exercise instead of the page.
(function () {
  "use strict";
  const course = window.course;
  const { el, inline, define } = course.ui;

  // How far apart two answers are, in words.
  function distance(predicted, actual) {
    if (typeof predicted !== "number" || typeof actual !== "number") {
      return predicted === actual ? "Right." : "Not so.";
    }
    if (predicted === actual) return "Exactly right.";
    if (actual === 0 || predicted / actual <= 0) return "The size is another.";
    const ratio = predicted / actual;
    const off = Math.abs(ratio - 1);
    if (off <= 0.1) return `${Math.max(1, Math.round(100 * off))}% off: close.`;
    if (ratio >= 0.5 && ratio <= 2) return `${Math.round(100 * off)}% too ${ratio > 1 ? "high" : "low"}.`;
    const factor = (ratio > 1 ? ratio : 1 / ratio).toLocaleString("en-US", { maximumSignificantDigits: 2 });
    return `Too ${ratio > 1 ? "high" : "low"} by a factor of ${factor}.`;
  }

  // The answer as it is compared: a number if the page's answer is one, else words.
  function read(text, actual, unit) {
    if (typeof actual === "number") return course.quiz.toNumber(text, unit);
    return text.trim().toLowerCase() || null;
  }

  function start(host) {
    const at = (name) => host.getAttribute(name) || "";
    const number = course.quiz.toNumber(at("answer"), at("unit"));
    const actual = number === null ? at("answer").trim().toLowerCase() : number;
    const key = at("key") || course.here();
    const mine = () => course.log.of("prediction", key).find((event) => event.facts.name === at("name"));
    const show = () => {
      const event = mine();
      host.replaceChildren(el("p", { class: "prediction-ask", html: inline(at("ask")) }), event ? answered(event) : form());
    };
    const unit = at("unit") ? ` ${at("unit")}` : "";
    function answered(event) {
      const { predicted } = event.facts;
      const say = (value) => `${typeof value === "number" ? value.toLocaleString("en-US") : value}${unit}`;
      return el("div", { class: "prediction-answer", role: "status" },
        el("p", {}, "You said ", el("strong", {}, say(predicted)), ". It is ", el("strong", {}, say(actual)), ". ", distance(predicted, actual)),
        el("p", { html: inline(at("why")) }));
    }
    function form() {
      const field = el("input", { type: "text", inputmode: number === null ? "text" : "decimal", autocomplete: "off", "aria-label": "Your prediction" });
      const note = el("span", { class: "prediction-note", role: "status" });
      const submit = (event) => {
        event.preventDefault();
        const predicted = read(field.value, actual, at("unit"));
        if (predicted === null) {
          note.textContent = number === null ? "Write your answer first." : "Write a number first.";
          return;
        }
        course.log.add("prediction", key, { name: at("name"), predicted, actual, unit: at("unit") });
        show();
      };
      return el("form", { class: "prediction-form", onsubmit: submit }, field, el("span", {}, unit),
        el("button", { class: "md-button", type: "submit" }, "That is my prediction"), note);
    }
    show();
  }

  course.prediction = { distance, read };
  define("course-prediction", start);
})();
