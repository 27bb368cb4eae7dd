"use strict";
// The index of a large leaderboard: shows the pages that hold every word; a word of six letters or more may begin a cell id.
(() => {
  const DIGITS = 6;
  const rows = [...document.querySelectorAll("#parts tbody tr")];
  const search = document.getElementById("words");
  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const holds = (row, word) => row.dataset.words.includes(word) || (word.length >= DIGITS && row.dataset.cells.includes(` ${word.slice(0, DIGITS)}`));
    for (const row of rows) row.hidden = !words.every((word) => holds(row, word));
  };
  search.addEventListener("input", () => {
    filter();
    const kept = search.value && `#${new URLSearchParams({ search: search.value })}`; // so that a link or a bookmark keeps it
    history.replaceState(null, "", `${location.href.split("#")[0]}${kept}`);
  });
  search.value = new URLSearchParams(location.hash.slice(1)).get("search") ?? "";
  filter();
})();
