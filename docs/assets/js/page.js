/* What every page does once it is there: formulas, diagrams, tables that scroll, code regions that take the keyboard.
   KaTeX and mermaid are served from here and loaded by the pages that need them. */
(function () {
  "use strict";
  const course = (window.course = window.course || {});
  const here = document.currentScript.src;

  /* The address of a file of assets/, from any page, over http and file. */
  course.asset = (path) => new URL("../" + path, here).href;

  course.script = (path) =>
    new Promise((resolve, reject) => {
      const element = document.createElement("script");
      element.src = course.asset(path);
      element.onload = resolve;
      element.onerror = () => reject(new Error("could not load " + path));
      document.head.append(element);
    });

  course.style = (path) => {
    const element = document.createElement("link");
    element.rel = "stylesheet";
    element.href = course.asset(path);
    document.head.append(element);
  };

  course.isDark = () => document.body.dataset.mdColorScheme === "slate";

  async function drawFormulas() {
    const formulas = document.querySelectorAll(".arithmatex");
    if (!formulas.length) return;
    course.style("vendor/katex/katex.min.css");
    await course.script("vendor/katex/katex.min.js");
    for (const element of formulas) {
      const text = element.textContent.trim();
      const displayMode = text.startsWith("\\[");
      window.katex.render(text.slice(2, -2), element, { displayMode, throwOnError: false });
    }
  }

  function colours() {
    const style = getComputedStyle(document.body);
    const of = (name) => style.getPropertyValue(name).trim();
    return {
      background: of("--panel"), primaryColor: of("--panel"), primaryTextColor: of("--ink"), primaryBorderColor: of("--hue0"),
      secondaryColor: of("--paper"), tertiaryColor: of("--paper"), lineColor: of("--faint"), textColor: of("--ink"),
      noteBkgColor: of("--paper"), noteTextColor: of("--ink"), noteBorderColor: of("--rule"), actorBkg: of("--panel"),
      actorBorder: of("--hue0"), signalColor: of("--soft"), signalTextColor: of("--ink"), labelBoxBkgColor: of("--panel"),
      edgeLabelBackground: of("--paper"), fontSize: "15px",
    };
  }

  let drawn = 0;

  async function drawDiagrams(diagrams) {
    window.mermaid.initialize({
      startOnLoad: false, securityLevel: "strict", theme: "base", themeVariables: colours(), fontFamily: "inherit",
    });
    for (const figure of diagrams) {
      const { svg } = await window.mermaid.render("diagram-" + ++drawn, figure.dataset.text);
      figure.innerHTML = svg;
    }
  }

  async function diagrams() {
    const blocks = document.querySelectorAll("pre.diagram");
    if (!blocks.length) return;
    await course.script("vendor/mermaid/mermaid.min.js");
    const figures = [...blocks].map((block) => {
      const figure = document.createElement("div");
      figure.className = "diagram";
      figure.setAttribute("role", "img");
      figure.dataset.text = block.textContent;
      block.replaceWith(figure);
      return figure;
    });
    await drawDiagrams(figures);
    new MutationObserver(() => drawDiagrams(figures)).observe(document.body, { attributeFilter: ["data-md-color-scheme"] });
  }

  /* Folded parts, such as the answers of an interview, are open on paper. */
  function unfoldInPrint() {
    let opened = [];
    addEventListener("beforeprint", () => {
      opened = [...document.querySelectorAll("article details:not([open])")];
      for (const part of opened) part.open = true;
    });
    addEventListener("afterprint", () => {
      for (const part of opened) part.open = false;
    });
  }

  async function start() {
    unfoldInPrint();
    document.documentElement.classList.toggle("from-file", location.protocol === "file:");
    await Promise.all([drawFormulas(), diagrams()]);
    course.isReady = true;
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
