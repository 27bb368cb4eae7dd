"use strict";
// The filters of a suite's page: a search and choices that stand in the address, and the ranked models that they leave. The
// table of all rows and the index of a large board use them. Text is only ever set as textContent.
const filters = (() => {
  const form = document.getElementById("filters");
  const state = { search: "", chosen: new Map() }; // by the key of a column

  const make = (name, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...children);
    return element;
  };

  function choose(select) {
    if (select.selectedIndex > 0) state.chosen.set(select.name, select.value);
    else state.chosen.delete(select.name);
  }

  // A choice has a key, a label, and values; one with fewer than two is left out.
  function build(choices, changed) {
    const search = make("input", { type: "search", name: "search", autocomplete: "off" });
    search.addEventListener("input", () => { state.search = search.value; changed(); });
    form.append(make("label", {}, "Search", search));
    for (const { key, label, values } of choices.filter(({ values }) => values.length > 1)) {
      const options = values.map((value) => make("option", { value, textContent: value }));
      const select = make("select", { name: key }, make("option", { value: "", textContent: "all" }), ...options);
      select.addEventListener("change", () => { choose(select); changed(); });
      form.append(make("label", {}, label, select));
    }
  }

  // The search and choices stand in the address's fragment, so that a link or a bookmark keeps them.
  const kept = () => new URLSearchParams([...(state.search ? [["search", state.search]] : []), ...state.chosen]);
  function remember(parameters) {
    history.replaceState(null, "", `${location.href.split("#")[0]}${String(parameters) && `#${parameters}`}`);
  }

  // Returns what the address keeps; null if it names a place on the page.
  function recall() {
    if (location.hash && !location.hash.includes("=")) return null;
    const parameters = new URLSearchParams(location.hash.slice(1));
    form.elements.search.value = state.search = parameters.get("search") ?? "";
    for (const select of form.querySelectorAll("select")) {
      select.value = parameters.get(select.name) ?? "";
      if (select.selectedIndex < 0) select.selectedIndex = 0; // a value that this board lacks
      choose(select);
    }
    return parameters;
  }

  // "epsilon 8/255" anywhere in the search means that radius; the other words are sought as they are.
  const RADIUS = /\b(?:epsilon|eps)\s*=?\s*(\d*\.?\d+)(?:\/(\d+))?(?=\s|$)/g;
  function query() {
    const radii = [];
    const rest = state.search.toLowerCase().replace(RADIUS, (_, top, bottom) => { radii.push(top / (bottom ?? 1)); return " "; });
    return { words: rest.split(/\s+/).filter(Boolean), radii };
  }
  const near = (radius, epsilon) => Math.abs(radius - epsilon) <= 0.005 * epsilon; // shown with three digits
  const matches = ({ words, radii }, haystack, epsilon) =>
    words.every((word) => haystack.includes(word)) && radii.every((radius) => near(radius, epsilon));

  const boards = [...document.querySelectorAll(".ranked table")];
  const ranked = boards.flatMap((board) => [...board.tBodies[0].rows].map((line) =>
    ({ line, about: { ...board.dataset, ...line.dataset }, haystack: `${board.caption.textContent}\n${board.dataset.profile}\n${line.textContent}\n${line.dataset.architecture}\n${line.dataset.attack}\n${line.dataset.ids}`.toLowerCase() })));
  function filterRanked(wanted) {
    for (const { line, about, haystack } of ranked) {
      const meets = ([key, value]) => (about[key] ?? "").split("\n").includes(value);
      line.hidden = !(matches(wanted, haystack, Number(about.epsilon)) && [...state.chosen].every(meets));
    }
    const vacant = (element) => element.querySelector("tbody tr:not([hidden])") === null;
    for (const board of boards) board.parentElement.hidden = vacant(board);
    for (const section of document.querySelectorAll("section.ranked")) section.hidden = vacant(section);
    if (boards.length) document.getElementById("none").hidden = ranked.some(({ line }) => !line.hidden);
  }

  return { state, make, build, kept, remember, recall, query, near, matches, filterRanked };
})();
