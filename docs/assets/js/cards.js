// <course-cards page="why-the-kv-cache-is-paged"></course-cards>: that page's cards, all of them, to go through at once.
// <course-cards module="2"></course-cards>, <course-cards></course-cards>: what is due, of a module or of all.
//
// Space or Enter shows the answer, 1 to 4 grades it. Grades go into the log; fsrs.js says when a card is due again.
(function () {
  "use strict";
  const course = window.course;
  const { el, plural, define } = course.ui;
  const { fsrs } = course;
  const GRADES = [["again", fsrs.AGAIN], ["hard", fsrs.HARD], ["good", fsrs.GOOD], ["easy", fsrs.EASY]];

  function wait(standing) {
    const minutes = Math.round((standing.due - standing.last) / 60000);
    return minutes < 60 ? plural(minutes, "minute") : plural(Math.round(minutes / (24 * 60)), "day");
  }

  class Review {
    constructor(host, deck, onlyDue) {
      Object.assign(this, { host, deck, onlyDue });
      this.begin(onlyDue);
    }

    begin(onlyDue) {
      this.known = fsrs.standings(course.log.of("card"));
      this.queue = onlyDue ? fsrs.due(this.deck, this.known, Date.now()) : [...this.deck];
      this.done = 0;
      this.next(false);
    }

    next(focus) {
      this.card = this.queue.shift();
      if (!this.card) return this.end();
      this.flipped = false;
      const front = el("div", { class: "card-front", html: this.card.front });
      this.back = el("div", { class: "card-back", role: "status" });
      this.buttons = el("div", { class: "card-buttons" });
      const left = this.queue.length + 1;
      const where = this.host.hasAttribute("page") ? "" : this.place();
      const head = el("p", { class: "card-head" }, `${plural(left, "card")} left`, where);
      this.face = el("div", { class: "card-face", tabindex: 0, role: "group", "aria-label": "Card" }, front, this.back);
      this.face.onkeydown = (event) => this.key(event);
      const flip = el("button", { class: "md-button", type: "button", onclick: () => this.flip() }, "Show the answer");
      this.buttons.append(flip);
      this.host.replaceChildren(head, this.face, this.buttons);
      if (focus) this.face.focus();
    }

    place() {
      const link = el("a", { href: course.pageOf(this.card.slug, this.card.page) }, this.card.page.replaceAll("-", " "));
      return el("span", {}, " · ", link);
    }

    flip() {
      if (this.flipped) return;
      this.flipped = true;
      this.back.innerHTML = this.card.back;
      const grades = GRADES.map(([name, grade]) => {
        const then = fsrs.after(this.known[this.card.id], grade, Date.now());
        const label = el("span", { class: "card-wait" }, wait(then));
        return el("button", { class: "md-button", type: "button", "data-grade": grade, onclick: () => this.grade(grade) }, `${grade} ${name}`, label);
      });
      this.buttons.replaceChildren(...grades);
      this.face.focus();
    }

    grade(grade) {
      const standing = fsrs.after(this.known[this.card.id], grade, Date.now());
      this.known[this.card.id] = standing;
      course.log.add("card", this.card.id, { grade, due: new Date(standing.due).toISOString() });
      this.done += 1;
      if (grade === fsrs.AGAIN) this.queue.push(this.card);
      this.next(true);
    }

    key(event) {
      if (event.target !== this.face || event.ctrlKey || event.metaKey || event.altKey) return;
      const isFlip = event.key === " " || event.key === "Enter";
      if (!this.flipped && isFlip) this.flip();
      else if (this.flipped && "1234".includes(event.key) && event.key) this.grade(Number(event.key));
      else return;
      event.preventDefault();
    }

    end() {
      const known = Object.values(this.known);
      const soon = known.map((standing) => standing.due).filter((due) => due > Date.now());
      const text = this.done ? `Done: ${plural(this.done, "card")} reviewed.` : "No card is due.";
      const then = soon.length ? ` The next is due ${new Date(Math.min(...soon)).toLocaleString()}.` : "";
      const all = el("button", { class: "md-button", type: "button", onclick: () => this.begin(false) }, "Go through all of them");
      const button = this.deck.length ? all : null;
      this.host.replaceChildren(...[el("p", { role: "status" }, text + then), button].filter(Boolean));
    }
  }

  define("course-cards", async (host) => {
    await course.data("cards");
    const page = host.getAttribute("page");
    const module = host.getAttribute("module");
    const isMine = (card) => (page ? card.page === page : !module || String(card.module) === module);
    const deck = Object.values(course.cards).filter(isMine);
    if (!deck.length) throw new Error(`There are no cards of ${page || `module ${module}`}.`);
    new Review(host, deck, !page);
  });
})();
