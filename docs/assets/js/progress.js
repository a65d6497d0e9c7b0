// <course-progress></course-progress>: the summary of this browser's log, export and import.
//
// `summary` has no DOM and computes what courses/llm_course/progress/summary.py computes; a test compares the two.
// This file also notes the time that each page is read.
(function () {
  "use strict";
  const course = window.course;
  const { el, plural, define } = course.ui;
  const LONGEST_GAP = 20 * 60;
  const GROUP = 10;
  const MODULE = /^(?:modules\/)?0?([1-9])(?:[./-]|$)/;

  function moduleOf(event, cards) {
    if (event.kind === "card") return cards[event.key]?.module ?? null;
    const match = MODULE.exec(event.key);
    return match ? Number(match[1]) : null;
  }

  // Hours by module; a gap between two events counts if it is short enough to have been work.
  function hours(events, cards) {
    const spent = new Map();
    let before = null;
    events.forEach((event) => {
      const at = Date.parse(event.at) / 1000;
      const reading = event.kind === "page" ? event.facts.seconds || 0 : 0;
      const gap = before === null ? reading : at - before;
      const worked = gap <= LONGEST_GAP ? gap : Math.min(reading, gap);
      const module = moduleOf(event, cards);
      spent.set(module, (spent.get(module) || 0) + worked / 3600);
      before = at;
    });
    return spent;
  }

  function ratio(predicted, actual) {
    if (predicted === actual) return 1;
    if (typeof predicted !== "number" || typeof actual !== "number" || actual === 0) return 0;
    return Math.max(0, predicted / actual);
  }

  function calibration(events) {
    const first = new Map();
    events.forEach((event) => {
      const name = `${event.key} ${event.facts.name}`;
      if (!first.has(name)) first.set(name, event);
    });
    const ratios = [...first.values()].map((event) => ratio(event.facts.predicted, event.facts.actual));
    const share = (flags) => (flags.length ? flags.filter(Boolean).length / flags.length : 0);
    const within = (tolerance) => ratios.map((each) => Math.abs(each - 1) <= tolerance + 1e-9);
    const close = within(0.25);
    const curve = [];
    for (let start = 0; start < close.length; start += GROUP) curve.push(share(close.slice(start, start + GROUP)));
    return {
      count: ratios.length,
      within_10: share(within(0.1)),
      within_25: share(close),
      within_2x: share(ratios.map((each) => each >= 0.5 && each <= 2)),
      too_high: share(ratios.map((each) => each > 1.1)),
      curve,
    };
  }

  function summary(log, outline, cards, now) {
    const spent = hours(log.events, cards);
    const known = course.fsrs.standings(log.of("card"));
    const passed = new Set(log.of("exercise").filter((event) => event.facts.event === "passed").map((event) => event.key));
    const [filled, met] = [course.criteria.marked(log, "deliverable"), course.criteria.marked(log, "criterion")];
    const keys = (items, done) => items.map((item) => item.key).filter((key) => done.has(key));
    const modules = outline.modules.map((module) => {
      const { best, tries } = course.quiz.standing(log, String(module.module));
      const mine = Object.values(cards).filter((card) => card.module === module.module);
      const seen = mine.filter((card) => known[card.id]);
      return {
        module: module.module,
        title: module.title,
        hours_spent: spent.get(module.module) || 0,
        hours: module.hours,
        exercises_passed: keys(module.exercises, passed),
        exercises: module.exercises.length,
        quiz_best: best,
        quiz_tries: tries,
        pass_mark: module.pass,
        cards_seen: seen.length,
        cards_known: seen.filter((card) => known[card.id].known).length,
        cards: mine.length,
        deliverables_filled: keys(module.deliverables, filled),
        deliverables: module.deliverables.length,
        criteria_met: keys(module.criteria, met),
        criteria: module.criteria.length,
      };
    });
    return {
      modules,
      hours_spent: [...spent.values()].reduce((sum, each) => sum + each, 0),
      hours: outline.hours,
      cards_due: Object.values(cards).filter((card) => known[card.id]?.due <= now).length,
      predictions: calibration(log.of("prediction")),
    };
  }

  course.progress = { summary };

  const percent = (share) => `${Math.round(100 * share)}%`;
  const of = (done, count) => (count ? `${done} of ${count}` : "–");

  function quizCell(module) {
    if (module.pass_mark === null) return "–";
    if (module.quiz_best === null) return `${module.pass_mark}% passes`;
    return `${Math.round(module.quiz_best)}%${module.quiz_best >= module.pass_mark ? " ✓" : ` of ${module.pass_mark}%`}`;
  }

  function table(found) {
    const heads = ["Module", "Hours", "Exercises", "Quiz", "Cards", "Deliverables", "Criteria"];
    const rows = found.modules.map((module) => {
      const cells = [
        `${module.hours_spent.toFixed(1)} of ${module.hours[0]}–${module.hours[1]}`,
        of(module.exercises_passed.length, module.exercises),
        quizCell(module),
        module.cards ? `${module.cards_seen} of ${module.cards}, ${module.cards_known} known` : "–",
        of(module.deliverables_filled.length, module.deliverables),
        of(module.criteria_met.length, module.criteria),
      ];
      return el("tr", {}, el("th", { scope: "row" }, `${module.module} ${module.title}`), ...cells.map((cell) => el("td", {}, cell)));
    });
    const head = el("thead", {}, el("tr", {}, ...heads.map((text) => el("th", { scope: "col" }, text))));
    return el("div", { class: "progress-table", tabindex: 0, role: "region", "aria-label": "Progress by module" }, el("table", {}, head, el("tbody", {}, ...rows)));
  }

  function predictions(seen) {
    if (!seen.count) return el("p", {}, "No prediction has met its number yet: pages ask for yours before they show theirs.");
    const rows = [["within 10%", seen.within_10], ["within 25%", seen.within_25], ["within a factor of 2", seen.within_2x], ["more than 10% too high", seen.too_high]];
    const meters = rows.map(([label, share]) =>
      el("div", { class: "progress-meter" }, el("span", {}, label), el("meter", { min: 0, max: 1, value: share, "aria-label": label }), el("span", {}, percent(share))));
    const curve = seen.curve.length > 1 ? el("p", {}, `Within 25%, ten by ten: ${seen.curve.map(percent).join(", ")}.`) : null;
    return el("div", {}, el("p", {}, `${plural(seen.count, "prediction")}:`), ...meters, curve);
  }

  function transfer(note) {
    const link = el("a", { class: "md-button", download: "llm-course-progress.jsonl", role: "button", href: "#" }, "Export");
    link.onclick = () => {
      link.href = URL.createObjectURL(new Blob([course.log.text()], { type: "application/jsonl" }));
    };
    const file = el("input", { type: "file", accept: ".jsonl,.json,.txt", id: "progress-file", class: "progress-file" });
    file.onchange = async () => {
      try {
        const count = course.log.merge(await file.files[0].text(), file.files[0].name);
        note.textContent = `${plural(count, "new event")}.`;
      } catch (error) {
        note.textContent = error.message;
      }
      file.value = "";
    };
    const label = el("label", { class: "md-button", for: "progress-file" }, "Import");
    return el("div", { class: "progress-transfer" }, link, " ", file, label, note);
  }

  define("course-progress", async (host) => {
    await Promise.all([course.data("outline"), course.data("cards")]);
    const note = el("span", { class: "progress-note", role: "status" });
    const body = el("div");
    const show = () => {
      const found = summary(course.log, course.outline, course.cards, Date.now());
      const [low, high] = found.hours;
      body.replaceChildren(
        el("p", {}, `${found.hours_spent.toFixed(1)} hours of ${low} to ${high}; ${plural(found.cards_due, "card")} due.`),
        table(found), predictions(found.predictions));
    };
    show();
    const lost = course.log.lasting ? null : el("p", { class: "course-error", role: "alert" }, "This browser keeps nothing for this page: export before you close it.");
    const hint = el("p", {}, "In the terminal: ", el("code", {}, "./lab progress export FILE"), " and ", el("code", {}, "./lab progress import FILE"), " take the same file.");
    host.replaceChildren(...[lost, body, transfer(note), hint].filter(Boolean));
    host.leave = course.log.onChange(show);
  });

  // Reading time: the seconds that a page is visible, noted when it is left.
  const LEAST = 15;
  const MOST = 60 * 60;
  function readingTime() {
    let page = course.here();
    let since = document.hidden ? null : Date.now();
    let seconds = 0;
    const pause = () => {
      if (since !== null) seconds += (Date.now() - since) / 1000;
      since = null;
    };
    const leave = () => {
      pause();
      if (page.startsWith("modules/") && seconds >= LEAST) {
        course.log.add("page", page, { event: "read", seconds: Math.round(Math.min(seconds, MOST)) });
      }
      seconds = 0;
    };
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) leave();
      else since = Date.now();
    });
    window.addEventListener("pagehide", leave);
    // Material's instant navigation changes the page without leaving the document.
    window.document$?.subscribe(() => {
      if (course.here() === page) return;
      leave();
      page = course.here();
      since = document.hidden ? null : Date.now();
    });
  }
  if (typeof document !== "undefined" && document.addEventListener) readingTime();
})();
