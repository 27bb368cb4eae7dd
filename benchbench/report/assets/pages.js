"use strict";
// The index of a large leaderboard: shows the ranked models, and the pages of rows, that a search and choices leave. A word of
// six letters or more may begin a cell id. A page's link carries the search and choices.
(() => {
  const DIGITS = 6;
  const parts = [...document.querySelectorAll("#parts tbody tr")].map((row) =>
    ({ row, link: row.querySelector("a"), texts: row.dataset.words.split("\n"), radii: row.dataset.radii.split(" ").map(Number) }));

  function update() {
    const { words, radii } = filters.query();
    const holds = ({ row }, word) => row.dataset.words.includes(word) || (word.length >= DIGITS && row.dataset.cells.includes(` ${word.slice(0, DIGITS)}`));
    for (const part of parts) {
      part.row.hidden = !(words.every((word) => holds(part, word))
        && radii.every((radius) => part.radii.some((epsilon) => filters.near(radius, epsilon)))
        && [...filters.state.chosen.values()].every((value) => part.texts.includes(value.toLowerCase())));
      part.link.hash = String(filters.kept());
    }
    filters.filterRanked({ words, radii });
    const left = parts.filter(({ row }) => !row.hidden).length;
    document.getElementById("count").textContent = `${left} of ${parts.length} pages`;
  }

  function recall() {
    filters.recall();
    update();
  }

  filters.build(JSON.parse(document.getElementById("choices").textContent), () => { update(); filters.remember(filters.kept()); });
  recall();
  window.addEventListener("hashchange", recall);
})();
