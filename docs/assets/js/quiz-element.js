// What a quiz looks like; its rules are in quiz.js.
(function () {
  "use strict";
  const course = window.course;
  const { el, fill, plural } = course.ui;

  class Attempt {
    // `store`: sessionStorage, or null; a reload goes on where the learner was.
    constructor(host, quiz, ids, store) {
      Object.assign(this, { host, quiz, ids, store });
      this.whole = !ids;
      this.key = `llm-course-quiz-${quiz.module}-${ids ? ids.join(",") : "all"}`;
      this.version = JSON.stringify(quiz).length; // an attempt at an older text of the quiz is not resumed
      const saved = this.read();
      this.seed = saved?.seed ?? Math.floor(Math.random() * 2 ** 32);
      this.given = saved?.given ?? {};
      this.show();
    }

    read() {
      try {
        const saved = JSON.parse(this.store?.getItem(this.key) ?? "null");
        return saved?.version === this.version ? saved : null;
      } catch {
        return null;
      }
    }

    save() {
      try {
        this.store?.setItem(this.key, JSON.stringify({ version: this.version, seed: this.seed, given: this.given }));
      } catch {
        // only a convenience: the answers are in the log
      }
    }

    again(ids) {
      this.seed = Math.floor(Math.random() * 2 ** 32);
      this.given = {};
      this.repeated = ids;
      this.save();
      this.show();
      this.host.querySelector(".quiz-question")?.focus();
    }

    show() {
      const repeated = this.repeated || this.ids;
      this.items = course.quiz.draw(this.quiz, this.seed, repeated);
      this.right = [];
      this.missed = [];
      this.status = el("p", { class: "quiz-status", role: "status" });
      this.bar = el("progress", { max: this.items.length, value: 0, "aria-label": "Questions answered" });
      this.end = el("div", { class: "quiz-end" });
      this.head = el("div", { class: "quiz-head" }, this.status, this.bar);
      const boxes = this.items.map((item, index) => this.box(item, index));
      this.host.replaceChildren(this.head, ...boxes.map((box) => box.node), this.end);
      boxes.forEach((box) => {
        if (box.id in this.given) box.settle(this.given[box.id], false);
      });
      this.tell();
    }

    get answered() {
      return this.right.length + this.missed.length;
    }

    tell() {
      const { best, tries } = course.quiz.standing(course.log, String(this.quiz.module));
      const passes = this.whole && !this.repeated && this.quiz.pass ? ` ${this.quiz.pass}% passes.` : "";
      const before = this.whole && tries ? ` Best so far ${Math.round(best)}% in ${plural(tries, "attempt")}.` : "";
      this.bar.value = this.answered;
      this.bar.hidden = this.items.length < 3;
      this.status.textContent = `${this.answered} of ${this.items.length} answered.${passes}${before}`;
      if (this.answered === this.items.length) this.finish();
    }

    // A whole attempt counts once, when its last answer is given; a reload shows its end again and counts nothing.
    finish() {
      const share = Math.round((100 * this.right.length) / this.items.length);
      const counts = this.whole && !this.repeated && this.quiz.pass;
      const passed = share >= this.quiz.pass;
      const verdict = counts ? (passed ? ": passed." : `; ${this.quiz.pass}% passes.`) : ".";
      const again = (ids, text) => el("button", { class: "md-button", type: "button", onclick: () => this.again(ids) }, text);
      this.end.replaceChildren(
        el("p", { class: `quiz-result ${counts ? (passed ? "is-right" : "is-wrong") : ""}` },
          `${this.right.length} of ${this.items.length} right (${share}%)${verdict}`),
        again(null, this.items.length > 1 ? "Try again, in a new order" : "Try again"),
        this.missed.length && this.items.length > 1 ? " " : null,
        this.missed.length && this.items.length > 1 ? again([...this.missed], `Only the ${this.missed.length} missed`) : null,
      );
    }

    box(item, index) {
      const { question } = item;
      const name = `${this.key}-${question.id}`;
      const place = item.variant ? question.variants.indexOf(item.variant) : null;
      const legend = el("legend", {}, this.items.length > 1 ? `Question ${index + 1} of ${this.items.length}` : "Question");
      const ask = el("div", { class: "quiz-ask", html: fill(question.ask, item.variant?.texts || {}) });
      const excerpt = question.excerpt ? el("div", { class: "quiz-excerpt", tabindex: 0, role: "region", "aria-label": "Excerpt of a trace", html: question.excerpt }) : null;
      const why = el("div", { class: "quiz-why", role: "status" });
      const node = el("fieldset", { class: "quiz-question", tabindex: -1, "data-question": question.id, "data-variant": place }, legend, ask, excerpt);
      const input = INPUTS[question.kind](item, name);
      const settle = (answer, isNew) => {
        const verdict = course.quiz.judge(item, answer);
        if (verdict === null) {
          why.textContent = question.kind === "number" || question.kind === "trace" ? "Write a number." : "Answer first.";
          return;
        }
        input.settle(answer);
        node.classList.add(verdict.right ? "is-right" : "is-wrong");
        why.replaceChildren(...this.reasons(item, verdict));
        (verdict.right ? this.right : this.missed).push(question.id);
        if (isNew) this.note(question, answer, verdict.right);
      };
      input.onanswer = (answer) => settle(answer, true);
      node.append(input.node, why);
      return { id: question.id, node, settle };
    }

    reasons(item, verdict) {
      const { question } = item;
      const answer = course.quiz.answerOf(item);
      const nodes = [el("p", {}, el("strong", {}, verdict.right ? "Right." : "No."))];
      if (!verdict.right && answer) nodes.push(el("p", { html: `The answer: <strong>${answer}</strong>` }));
      if (question.kind === "code") nodes.push(...solution(question));
      nodes.push(...verdict.reasons.map((reason) => el("p", { html: reason })));
      if (!verdict.right) {
        const href = course.pageOf(this.quiz.slug, question.page);
        nodes.push(el("p", {}, el("a", { href }, "Read it again")));
      }
      return nodes;
    }

    note(question, answer, right) {
      const module = String(this.quiz.module);
      this.given[question.id] = answer;
      this.save();
      course.log.add("quiz", module, { event: "answered", question: question.id, right });
      if (this.whole && !this.repeated && this.answered === this.items.length) {
        course.log.add("quiz", module, { event: "finished", score: this.right.length, of: this.items.length });
      }
      this.tell();
    }
  }

  function solution(question) {
    const mistakes = question.mistakes.map((mistake) =>
      el("li", {}, el("pre", {}, el("code", {}, mistake.code.trimEnd())), el("p", { html: mistake.why })));
    return [
      el("p", {}, "One that passes:"), el("pre", {}, el("code", {}, question.solution.trimEnd())),
      el("p", {}, "What people write instead, and what it does:"), el("ul", { class: "quiz-mistakes" }, ...mistakes),
    ];
  }

  const check = (onclick, text) => el("button", { class: "md-button", type: "button", onclick }, text || "Check");

  // A kind of input: its node, `settle` to freeze it with an answer, and `onanswer`, which the box sets.
  function choice(item, name) {
    const type = item.question.kind === "multiple" ? "checkbox" : "radio";
    const rows = item.options.map((option) => {
      const box = el("input", { type, name, value: option.text });
      const mark = el("span", { class: "quiz-mark", "aria-hidden": "true" });
      return { option, box, mark, node: el("label", {}, box, el("span", { html: option.text }), mark) };
    });
    const hint = type === "checkbox" ? el("p", { class: "quiz-hint" }, "Several are right.") : null;
    const button = check(() => input.onanswer(rows.filter((row) => row.box.checked).map((row) => row.option.text)));
    const settle = (answer) => {
      rows.forEach(({ option, box, mark, node }) => {
        box.checked = answer.includes(option.text);
        box.disabled = true;
        node.classList.toggle("is-right", option.right);
        node.classList.toggle("is-wrong", box.checked && !option.right);
        mark.textContent = option.right ? "✓ right" : box.checked ? "✗ wrong" : "";
      });
      button.remove();
    };
    const input = { node: el("div", { class: "quiz-options" }, hint, ...rows.map((row) => row.node), button), settle };
    return input;
  }

  function words(item) {
    const { question } = item;
    const isNumber = question.kind !== "short";
    const field = el("input", { type: "text", inputmode: isNumber ? "decimal" : "text", autocomplete: "off", spellcheck: "false", "aria-label": "Your answer" });
    const button = check(() => input.onanswer(field.value));
    field.onkeydown = (event) => {
      if (event.key === "Enter" && !field.disabled) input.onanswer(field.value);
    };
    const settle = (answer) => {
      field.value = answer;
      field.disabled = true;
      button.remove();
    };
    const input = { node: el("div", { class: "quiz-words" }, field, question.unit ? el("span", {}, question.unit) : null, button), settle };
    return input;
  }

  // Code is run by ./lab quiz; in the page the learner compares with the solution and says how it went.
  function code(item) {
    const field = el("textarea", { rows: item.question.starter.trimEnd().split("\n").length + 2, spellcheck: "false", "aria-label": "Your program" });
    field.value = item.question.starter.trimEnd();
    const module = Number(item.question.module);
    const own = el("div", { class: "quiz-own", hidden: true });
    const show = check(() => {
      own.hidden = false;
      show.remove();
    }, "Compare with a solution");
    own.append(el("div", {}, ...solution(item.question)), el("p", {}, "Does yours do the same?"),
      check(() => input.onanswer(true), "It does"), " ", check(() => input.onanswer(false), "Not yet"));
    const run = el("p", { class: "quiz-hint" }, "Run it with hidden assertions: ", el("code", {}, `./lab quiz ${module || ""} ${item.question.id}`.replace("  ", " ")));
    const settle = () => {
      field.disabled = true;
      show.remove();
      own.remove();
    };
    const input = { node: el("div", { class: "quiz-code" }, field, run, show, own), settle };
    return input;
  }

  const INPUTS = { single: choice, multiple: choice, number: words, trace: words, short: words, code };

  course.ui.define("course-quiz", async (host) => {
    const module = host.getAttribute("module");
    const ids = host.getAttribute("ids")?.split(",").map((id) => id.trim());
    await course.data(`quiz-${module.padStart(2, "0")}`);
    const quiz = course.quizzes[module];
    quiz.questions.forEach((question) => {
      question.module = quiz.module;
    });
    let store = null;
    try {
      store = window.sessionStorage;
    } catch {
      // an attempt then begins anew after a reload
    }
    new Attempt(host, quiz, ids, store);
  });
})();
