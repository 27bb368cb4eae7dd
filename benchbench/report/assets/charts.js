"use strict";
// Draws the charts that the page describes, in the colours of the reader's scheme, after the page itself is there.
(() => {
  const own = document.currentScript;
  const specifications = JSON.parse(document.getElementById("charts").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");

  function configuration() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const labels = { labelColor: colour("--text"), titleColor: colour("--text") };
    return {
      background: colour("--back"), // so that a chart drawn in the dark can be read on paper, too
      view: { stroke: colour("--line") },
      axis: { ...labels, gridColor: colour("--line"), domainColor: colour("--line"), tickColor: colour("--line"), titleFontWeight: "normal" },
      legend: labels,
      header: labels,
      rule: { color: colour("--text") },
    };
  }

  function draw() {
    for (const [id, specification] of Object.entries(specifications)) {
      window.vegaEmbed(document.getElementById(id), specification, { actions: false, renderer: "canvas", config: configuration() })
        .catch((error) => console.error(error));
    }
  }

  function start() {
    draw();
    dark.addEventListener("change", draw);
  }

  if (window.vegaEmbed) {
    start();
  } else {
    // The runtime is large: ask for it once the table can be seen.
    requestAnimationFrame(() => setTimeout(() => {
      const runtime = document.createElement("script");
      runtime.src = own.dataset.runtime;
      runtime.onload = start;
      document.head.append(runtime);
    }));
  }
})();
