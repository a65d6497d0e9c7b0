// <course-quiz module="2"></course-quiz>: the whole quiz, with its pass mark.
// <course-quiz module="2" ids="evict-forgets,grow-is-atomic"></course-quiz>: some of its questions, without a score.
//
// The data is generated from courses/NN-slug/quiz.yaml. `draw` and `judge` below have no DOM; a test holds them against
// llm_course.quiz.session.
(function () {
  "use strict";
  const course = (window.course = window.course || {});

  // One attempt: questions in a fresh order, options in fresh places, one of the variants of each number question.
  function draw(quiz, seed, ids) {
    const { random, shuffle } = course.ui;
    const next = random(seed);
    const chosen = ids ? ids.map((id) => find(quiz, id)) : quiz.questions;
    return shuffle(chosen, next).map((question) => ({
      question,
      options: question.options ? shuffle(question.options, next) : [],
      variant: question.variants ? question.variants[Math.floor(next() * question.variants.length)] : null,
    }));
  }

  function find(quiz, id) {
    const question = quiz.questions.find((each) => each.id === id);
    if (!question) throw new Error(`Module ${quiz.module}'s quiz has no question ${id}.`);
    return question;
  }

  const THOUSANDS = /^-?\d{1,3}([,_ ]\d{3})+(\.\d+)?$/;
  const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;
  const normal = (text) => text.replaceAll("`", "").split(/\s+/).filter(Boolean).join(" ");

  // A number as people write it, or null.
  function toNumber(text, unit) {
    let words = normal(text);
    [unit, "%"].forEach((tail) => {
      if (tail && words.toLowerCase().endsWith(tail.toLowerCase())) words = words.slice(0, -tail.length).trim();
    });
    words = THOUSANDS.test(words) ? words.replace(/[,_ ]/g, "") : words.replaceAll(",", ".");
    return NUMBER.test(words) ? Number(words) : null;
  }

  const matches = (value, wanted, tolerance) =>
    Math.abs(value - wanted) <= Math.max(tolerance * Math.abs(wanted), 1e-9 * Math.max(1, Math.abs(wanted)));
  const fits = (pattern, words) => new RegExp(`^(?:${pattern})$`, "i").test(words);

  // The verdict on an answer: {right, reasons (HTML)}; null if it is none yet. An answer is what the learner gave: texts
  // of the chosen options, the words written, or, for code, true or false by the learner's own check.
  function judge(item, answer) {
    const { question, variant } = item;
    if (question.kind === "single" || question.kind === "multiple") return judgeChoice(question, answer);
    if (question.kind === "short") return judgeShort(question, normal(answer));
    if (question.kind === "code") return { right: answer, reasons: [question.why] };
    const value = toNumber(answer, question.unit);
    if (value === null) return null;
    const why = course.ui.fill(question.why, variant.texts);
    if (matches(value, variant.answer, question.tolerance)) return { right: true, reasons: [why] };
    const known = variant.wrong.findIndex((wrong) => matches(value, wrong, question.tolerance));
    return { right: false, reasons: known < 0 ? [why] : [course.ui.fill(question.wrong[known], variant.texts), why] };
  }

  function judgeChoice(question, chosen) {
    if (!chosen.length) return null;
    const isChosen = (option) => chosen.includes(option.text);
    const named = (option) => `<strong>${option.text}:</strong> ${option.why}`;
    const right = question.options.every((option) => isChosen(option) === option.right);
    if (question.kind === "multiple") {
      return { right, reasons: question.options.filter((option) => isChosen(option) || option.right).map(named) };
    }
    const reasons = question.options.filter(isChosen).map((option) => option.why);
    return { right, reasons: right ? reasons : [...reasons, ...question.options.filter((option) => option.right).map(named)] };
  }

  function judgeShort(question, words) {
    if (!words) return null;
    if (question.accept.some((pattern) => fits(pattern, words))) return { right: true, reasons: [question.why] };
    const known = question.wrong.find((wrong) => fits(wrong.pattern, words));
    return { right: false, reasons: known ? [known.why, question.why] : [question.why] };
  }

  // The right answer in a line of HTML; empty where the reasons name it.
  function answerOf(item) {
    const { question, variant } = item;
    if (variant) return `${variant.answer.toLocaleString("en-US", { maximumFractionDigits: 4 })} ${question.unit}`.trim();
    return question.answer || "";
  }

  // Best score so far, in per cent, and the number of finished attempts.
  function standing(log, module) {
    const finished = log.of("quiz", module).filter((event) => event.facts.event === "finished");
    const scores = finished.map((event) => (100 * event.facts.score) / event.facts.of);
    return { best: scores.length ? Math.max(...scores) : null, tries: scores.length };
  }

  course.quiz = { draw, judge, answerOf, standing, toNumber };
})();
