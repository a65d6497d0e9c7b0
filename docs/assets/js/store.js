// The learner's progress in this browser: the same event lines as courses/llm_course/progress/log.py.
//
//   course.log.add("quiz", "2", { event: "answered", question: "evict-step", right: true });
//   course.log.of("quiz", "2");
//   course.log.text();            everything, as lines of JSON: the file that ./lab progress import takes
//   course.log.merge(text);       adds what is new, returns how many; throws at a line that is no event
//   course.log.onChange(fn);      called after every change, of another tab as well
//
// Events are only ever appended, so that two logs join in any order. Where the browser gives no storage, the log lives
// as long as the page, and `course.log.lasting` is false.
(function () {
  "use strict";
  const course = (window.course = window.course || {});
  const KEY = "llm-course-log";
  const KINDS = ["exercise", "prediction", "quiz", "card", "deliverable", "criterion", "page"];
  const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/;

  const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

  // JSON as Python's json.dumps(sort_keys=True, ensure_ascii=False) writes it: equal events give equal lines.
  function canonical(value) {
    if (Array.isArray(value)) return `[${value.map(canonical).join(", ")}]`;
    if (isObject(value)) {
      const fields = Object.keys(value).filter((key) => value[key] !== undefined).sort();
      return `{${fields.map((key) => `${JSON.stringify(key)}: ${canonical(value[key])}`).join(", ")}}`;
    }
    return JSON.stringify(value);
  }

  function parse(text, source) {
    const events = [];
    text.split("\n").forEach((line, index) => {
      if (!line.trim()) return;
      let event = null;
      try {
        event = JSON.parse(line);
      } catch {
        // named below, with its line
      }
      const isEvent =
        isObject(event) && Object.keys(event).length === 4 && TIME.test(event.at) && KINDS.includes(event.kind) &&
        typeof event.key === "string" && isObject(event.facts);
      if (!isEvent) throw new Error(`${source}, line ${index + 1}: not an event of a progress log`);
      events.push(event);
    });
    return events;
  }

  class Log {
    constructor(storage) {
      this.storage = storage;
      this.memory = "";
      this.listeners = [];
      this.lasting = storage !== null;
    }

    text() {
      if (!this.lasting) return this.memory;
      return this.storage.getItem(KEY) || "";
    }

    get events() {
      const text = this.text();
      if (text !== this.parsedText) {
        this.parsed = parse(text, "this browser's log");
        this.parsedText = text;
      }
      return this.parsed;
    }

    of(kind, key) {
      return this.events.filter((event) => event.kind === kind && (key === undefined || event.key === key));
    }

    add(kind, key, facts) {
      const event = { at: new Date().toISOString(), kind, key, facts: facts || {} };
      this.write(`${this.text()}${canonical(event)}\n`);
      return event;
    }

    merge(text, source) {
      const lines = new Set(this.events.map(canonical));
      const before = lines.size;
      parse(text, source || "the file").forEach((event) => lines.add(canonical(event)));
      const at = (line) => JSON.parse(line).at;
      const sorted = [...lines].map((line) => [at(line), line]).sort((a, b) => (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0));
      this.write(sorted.map(([, line]) => `${line}\n`).join(""));
      return lines.size - before;
    }

    write(text) {
      this.memory = text;
      if (this.lasting) {
        try {
          this.storage.setItem(KEY, text);
        } catch {
          this.lasting = false; // full or forbidden: the page goes on with what it has in memory
        }
      }
      this.changed();
    }

    onChange(listener) {
      this.listeners.push(listener);
      return () => {
        this.listeners = this.listeners.filter((each) => each !== listener);
      };
    }

    changed() {
      [...this.listeners].forEach((listener) => listener());
    }
  }

  function usable() {
    try {
      window.localStorage.setItem(`${KEY}-probe`, "1");
      window.localStorage.removeItem(`${KEY}-probe`);
      return window.localStorage;
    } catch {
      return null;
    }
  }

  course.canonical = canonical;
  course.parseLog = parse;
  course.log = new Log(usable());
  window.addEventListener?.("storage", (event) => {
    if (event.key === KEY || event.key === null) course.log.changed();
  });

  // Generated data. A file of docs/assets/generated calls register…; an element asks for it with course.data(…).
  course.quizzes = {};
  course.cards = {};
  course.registerQuiz = (module, quiz) => {
    course.quizzes[module] = quiz;
  };
  course.registerCards = (cards) => {
    cards.forEach((card) => {
      course.cards[card.id] = card;
    });
  };
  course.registerOutline = (outline) => {
    course.outline = outline;
  };

  const script = window.document?.currentScript?.src;
  course.root = script ? new URL("../../", script).href : "";
  const loads = {};
  // Loads assets/generated/<name>.js once; a script and no fetch, because pages are read from file:// as well.
  course.data = (name) => {
    loads[name] ||= new Promise((done, failed) => {
      const tag = document.createElement("script");
      tag.src = `${course.root}assets/generated/${name}.js`;
      tag.onload = () => done();
      tag.onerror = () => failed(new Error(`${tag.src} cannot be loaded; ./lab docs writes it`));
      document.head.append(tag);
    });
    return loads[name];
  };
  course.pageOf = (module, page) => `${course.root}modules/${module}/${page}.html`;
  // The page's path below the site, without its ending: "modules/02-core-concepts/block-manager".
  course.here = () => {
    const path = location.href.split(/[?#]/)[0];
    const below = course.root && path.startsWith(course.root) ? path.slice(course.root.length) : path;
    return decodeURIComponent(below).replace(/\.html$/, "").replace(/\/$/, "") || "index";
  };
})();
