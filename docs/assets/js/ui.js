// Small things that all learning elements use: nodes, texts with parameters, a seeded shuffle.
(function () {
  "use strict";
  const course = (window.course = window.course || {});

  // el("button", { class: "md-button", onclick: go }, "Go"): a node with attributes, handlers and children.
  function el(tag, attributes, ...children) {
    const node = document.createElement(tag);
    Object.entries(attributes || {}).forEach(([name, value]) => {
      if (name.startsWith("on")) node[name] = value;
      else if (name === "html") node.innerHTML = value;
      else if (value === true) node.setAttribute(name, "");
      else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
    });
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  }

  const escape = (text) => String(text).replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);
  // {name} in generated HTML becomes a value; braces around other names stay as they are.
  const fill = (html, values) => html.replace(/\{(\w+)\}/g, (all, name) => (name in values ? escape(values[name]) : all));

  // Attributes are plain text; only `code` in backticks is marked up.
  const inline = (text) => escape(text).replace(/`([^`]+)`/g, "<code>$1</code>");

  // mulberry32: the same numbers from the same seed, so that an attempt survives a reload.
  function random(seed) {
    let state = seed >>> 0;
    return () => {
      state = (state + 0x6d2b79f5) >>> 0;
      let t = Math.imul(state ^ (state >>> 15), state | 1);
      t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
      return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    };
  }

  function shuffle(list, next) {
    const out = [...list];
    for (let i = out.length - 1; i > 0; i--) {
      const j = Math.floor(next() * (i + 1));
      [out[i], out[j]] = [out[j], out[i]];
    }
    return out;
  }

  const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

  // Registers an element; its `start` runs when it enters the page, and an error in it is shown, not swallowed.
  function define(name, start) {
    if (customElements.get(name)) return;
    customElements.define(name, class extends HTMLElement {
      connectedCallback() {
        if (this.started) return;
        this.started = true;
        Promise.resolve()
          .then(() => start(this))
          .catch((error) => this.replaceChildren(el("p", { class: "course-error", role: "alert" }, error.message)));
      }
      disconnectedCallback() {
        this.leave?.();
      }
    });
  }

  course.ui = { el, fill, inline, escape, random, shuffle, plural, define };
})();
