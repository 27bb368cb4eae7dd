"use strict";
// The leaderboard's table: sorts, filters and shows a slice of the rows that the page carries as JSON. Text is only ever set
// as textContent: what a leaderboard file holds cannot become markup.
(() => {
  const PAGE = 100;
  const data = JSON.parse(document.getElementById("rows").textContent);
  const { columns, setting, texts } = data;
  const unpack = (cell, place) => (texts[place] ? texts[place][cell] : cell);
  const rows = data.rows.map(([id, flagged, page, ...cells]) => ({ id, flagged: Boolean(flagged), page: Boolean(page), cells: cells.map(unpack) }));
  const table = document.getElementById("board");
  const minor = ["variation", "threat", "profile"]; // columns that a laptop shows beneath the method
  const classes = (column, index) => (setting.includes(index) ? `told ${minor.includes(column.key) ? "minor" : ""}` : "");
  const state = { sort: -1, descending: false, page: 0, search: "", chosen: new Map() };
  let shown = rows;

  const make = (name, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...children);
    return element;
  };
  const number = (value, column) => (column.kind === "share" ? (100 * value).toFixed(2) : Number.isInteger(value) ? String(value) : value.toPrecision(4));
  const text = (cell) => (Array.isArray(cell) ? "" : cell ?? "");
  const threat = columns.findIndex((column) => column.key === "threat"); // its texts are like "linf 0.1"
  const radius = (row) => Number(row.cells[threat].split(" ").pop());
  const haystacks = rows.map((row) => row.cells.map(text).concat(row.id, "epsilon").join("\n").toLowerCase());
  const position = new Map(rows.map((row, index) => [row, index]));

  function heading(column, index) {
    const button = make("button", { type: "button", textContent: column.label });
    button.addEventListener("click", () => {
      state.descending = state.sort === index ? !state.descending : column.best === "high";
      state.sort = index;
      state.page = 0;
      update();
      remember();
    });
    const head = make("th", { scope: "col", className: column.kind !== "text" ? "number" : classes(column, index) }, button);
    head.setAttribute("aria-sort", "none");
    return head;
  }

  function entry(cell, column, row, index) {
    if (index === 0) {
      const own = !row.page ? {} : { href: `rows/${encodeURIComponent(row.id)}.html` }; // of a large leaderboard, few rows have pages
      const link = make("a", { ...own, textContent: cell });
      const beneath = (className, places) => make("small", { className, textContent: places.map((place) => row.cells[place]).filter(Boolean).join(", ") });
      return make("th", { scope: "row" }, link, beneath("setting", setting), beneath("beneath", setting.filter((place) => minor.includes(columns[place].key))));
    }
    if (column.kind === "text") return make("td", { className: column.key === "remarks" ? "remarks" : classes(column, index), textContent: cell });
    if (cell === null) return make("td", { className: "number", textContent: "-" });
    const [value, low, high] = cell;
    const shownValue = make("td", { className: "number", textContent: number(value, column) });
    if (low !== null && high !== null) shownValue.append(" ", make("small", { textContent: `[${number(low, column)}, ${number(high, column)}]` }));
    return shownValue;
  }

  function compare(first, second) {
    const [a, b] = [first.cells[state.sort], second.cells[state.sort]];
    const numeric = columns[state.sort].kind !== "text";
    if (numeric && (a === null || b === null)) return (a === null) - (b === null); // what was not measured comes last
    // A flagged row's attack may have failed: by what the attack found it never comes before an unflagged one.
    if (columns[state.sort].doubtful && first.flagged !== second.flagged) return first.flagged - second.flagged;
    const order = numeric ? a[0] - b[0] : a.localeCompare(b, "en", { numeric: true });
    return (state.descending ? -order : order) || position.get(first) - position.get(second);
  }

  // "epsilon 8/255" anywhere in the search means that radius; the other words are sought as they are.
  const RADIUS = /\b(?:epsilon|eps)\s*=?\s*(\d*\.?\d+)(?:\/(\d+))?(?=\s|$)/g;
  function query() {
    const radii = [];
    const rest = state.search.toLowerCase().replace(RADIUS, (_, top, bottom) => { radii.push(top / (bottom ?? 1)); return " "; });
    return { words: rest.split(/\s+/).filter(Boolean), radii };
  }
  const matches = ({ words, radii }, haystack, epsilon) =>
    words.every((word) => haystack.includes(word)) && radii.every((radius) => Math.abs(radius - epsilon) <= 0.005 * epsilon); // shown with three digits

  const boards = [...document.querySelectorAll(".ranked table")];
  const ranked = boards.flatMap((board) => [...board.tBodies[0].rows].map((line) =>
    ({ line, about: { ...board.dataset, ...line.dataset }, haystack: `${board.caption.textContent}\n${board.dataset.profile}\n${line.textContent}\n${line.dataset.architecture}\n${line.dataset.attack}\n${line.dataset.ids}`.toLowerCase() })));
  function filterRanked(wanted) {
    for (const { line, about, haystack } of ranked) {
      const meets = ([column, value]) => (about[columns[column].key] ?? "").split("\n").includes(value);
      line.hidden = !(matches(wanted, haystack, Number(about.epsilon)) && [...state.chosen].every(meets));
    }
    const vacant = (element) => element.querySelector("tbody tr:not([hidden])") === null;
    for (const board of boards) board.parentElement.hidden = vacant(board);
    for (const section of document.querySelectorAll("section.ranked")) section.hidden = vacant(section);
    if (boards.length) document.getElementById("none").hidden = ranked.some(({ line }) => !line.hidden);
  }

  function update() {
    const wanted = query();
    filterRanked(wanted);
    shown = rows.filter((row, index) =>
      matches(wanted, haystacks[index], radius(row)) && [...state.chosen].every(([column, value]) => text(row.cells[column]) === value));
    if (state.sort >= 0) shown = [...shown].sort(compare);
    [...table.tHead.rows[0].cells].forEach((head, index) =>
      head.setAttribute("aria-sort", index !== state.sort ? "none" : state.descending ? "descending" : "ascending"));
    const pages = Math.max(1, Math.ceil(shown.length / PAGE));
    state.page = Math.min(state.page, pages - 1);
    draw(pages);
  }

  function draw(pages) {
    const first = state.page * PAGE;
    const slice = shown.slice(first, first + PAGE);
    table.tBodies[0].replaceChildren(...slice.map((row) =>
      make("tr", { className: row.flagged ? "flagged" : "" }, ...columns.map((column, index) => entry(row.cells[index], column, row, index)))));
    const range = shown.length > PAGE ? `, rows ${first + 1} to ${first + slice.length} shown` : "";
    document.getElementById("count").textContent = `${shown.length} of ${rows.length} rows${range}`;
    const turn = (label, change) => {
      const button = make("button", { type: "button", textContent: label, disabled: !(state.page + change >= 0 && state.page + change < pages) });
      button.addEventListener("click", () => { state.page += change; draw(pages); });
      return button;
    };
    const bar = document.getElementById("pages");
    bar.replaceChildren(...(pages > 1 ? [turn("Previous", -1), make("span", { textContent: `Page ${state.page + 1} of ${pages}` }), turn("Next", 1)] : []));
  }

  function choose(index, select) {
    if (select.selectedIndex > 0) state.chosen.set(index, select.value);
    else state.chosen.delete(index);
  }

  // The search, choices and order stand in the address's fragment, so that a link or a bookmark keeps them.
  function remember() {
    const kept = new URLSearchParams();
    if (state.search) kept.set("search", state.search);
    for (const [index, value] of state.chosen) kept.set(columns[index].key, value);
    if (state.sort >= 0) kept.set(state.descending ? "falling" : "rising", columns[state.sort].key);
    history.replaceState(null, "", `${location.href.split("#")[0]}${String(kept) && `#${kept}`}`);
  }

  function recall() {
    if (location.hash && !location.hash.includes("=")) return update(); // a place on the page
    const kept = new URLSearchParams(location.hash.slice(1));
    const form = document.getElementById("filters");
    form.elements.search.value = state.search = kept.get("search") ?? "";
    columns.forEach((column, index) => {
      const select = form.elements[column.key];
      if (!select) return;
      select.value = kept.get(column.key) ?? "";
      if (select.selectedIndex < 0) select.selectedIndex = 0; // a value that this board lacks
      choose(index, select);
    });
    state.descending = kept.has("falling");
    state.sort = columns.findIndex((column) => column.key === (kept.get("falling") ?? kept.get("rising")));
    state.page = 0;
    update();
  }

  function filters() {
    const form = document.getElementById("filters");
    const search = make("input", { type: "search", name: "search", autocomplete: "off" });
    search.addEventListener("input", () => { state.search = search.value; state.page = 0; update(); remember(); });
    form.append(make("label", {}, "Search", search));
    columns.forEach((column, index) => {
      const values = [...new Set(rows.map((row) => text(row.cells[index])))].sort();
      if (!column.filtered || values.length < 2) return;
      const select = make("select", { name: column.key }, make("option", { value: "", textContent: "all" }), ...values.map((value) => make("option", { value, textContent: value })));
      select.addEventListener("change", () => {
        choose(index, select);
        state.page = 0;
        update();
        remember();
      });
      form.append(make("label", {}, column.label, select));
    });
  }

  table.tHead.append(make("tr", {}, ...columns.map(heading)));
  filters();
  recall();
  window.addEventListener("hashchange", recall);
})();
