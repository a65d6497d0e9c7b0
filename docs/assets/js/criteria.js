// <course-criteria module="2"></course-criteria>: the module's success criteria and deliverables, to tick. The exercise
// runner ticks the same keys in the same log (llm_course/progress/marks.py).
(function () {
  "use strict";
  const course = window.course;
  const { el, define } = course.ui;
  const DONE = { criterion: "met", deliverable: "filled" };

  // The keys whose last event says that they are done.
  function marked(log, kind) {
    const last = {};
    log.of(kind).forEach((event) => {
      last[event.key] = event.facts.event;
    });
    return new Set(Object.keys(last).filter((key) => last[key] === DONE[kind]));
  }

  function list(kind, title, items) {
    const done = marked(course.log, kind);
    const rows = items.map((item) => {
      const box = el("input", { type: "checkbox", checked: done.has(item.key) });
      box.onchange = () => course.log.add(kind, item.key, { event: box.checked ? DONE[kind] : "withdrawn" });
      return el("li", {}, el("label", {}, box, el("span", { html: item.text })));
    });
    return el("div", {}, el("p", { class: "criteria-title" }, title), el("ul", { class: "criteria-list" }, ...rows));
  }

  course.criteria = { marked };
  define("course-criteria", async (host) => {
    await course.data("outline");
    const module = course.outline.modules.find((each) => String(each.module) === host.getAttribute("module"));
    if (!module) throw new Error(`There is no module ${host.getAttribute("module")}.`);
    const show = () => {
      const lists = [list("criterion", "You have finished when", module.criteria), list("deliverable", "You keep", module.deliverables)];
      const focused = host.contains(document.activeElement) && [...host.querySelectorAll("input")].indexOf(document.activeElement);
      host.replaceChildren(...lists);
      if (focused !== false && focused >= 0) host.querySelectorAll("input")[focused].focus();
    };
    show();
    host.leave = course.log.onChange(show);
  });
})();
