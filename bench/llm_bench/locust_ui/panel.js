// The charts beneath the table of their tab. Locust's tabs hold tables only, so the charts stand under its page, drawn by
// the server, and show themselves while the tab is open.
(async () => {
  const tab = "llm-bench";
  const base = new URL("./llm-bench/", location.href);
  const panel = document.createElement("section");
  panel.hidden = true;
  document.body.append(panel);
  const root = panel.attachShadow({ mode: "open" });
  const style = document.createElement("style");
  style.textContent = await (await fetch(new URL("panel.css", base))).text();
  const charts = document.createElement("div");
  root.append(style, charts);
  const close = document.createElement("style"); // the page above is as high as the window
  close.textContent = "#root > * { min-height: 0 !important }";
  document.head.append(close);

  const isDark = () => {
    const [red, green, blue] = getComputedStyle(document.body).backgroundColor.match(/[\d.]+/g).map(Number);
    return red + green + blue < 384;
  };
  const isOpen = () => new URLSearchParams(location.search).get("tab") === tab;

  const draw = async () => {
    if (!panel.hidden) {
      panel.dataset.theme = isDark() ? "dark" : "light";
      charts.innerHTML = await (await fetch(new URL("charts", base))).text();
    }
  };
  setInterval(() => {
    const wasHidden = panel.hidden;
    panel.hidden = close.disabled = !isOpen();
    if (wasHidden && !panel.hidden) draw();
  }, 200);
  setInterval(draw, 2000);
})();
