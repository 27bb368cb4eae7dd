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
  const state = { sort: -1, descending: false, page: 0 };
  let shown = rows;

  const { make } = filters;
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
      changed();
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

  function update() {
    const wanted = filters.query();
    filters.filterRanked(wanted);
    const chosen = [...filters.state.chosen].map(([key, value]) => [columns.findIndex((column) => column.key === key), value]);
    shown = rows.filter((row, index) =>
      filters.matches(wanted, haystacks[index], radius(row)) && chosen.every(([place, value]) => text(row.cells[place]) === value));
    if (state.sort >= 0) shown = [...shown].sort(compare);
    [...table.tHead.rows[0].cells].forEach((head, index) =>
      head.setAttribute("aria-sort", index !== state.sort ? "none" : state.descending ? "descending" : "ascending"));
    const pages = Math.max(1, Math.ceil(shown.length / PAGE));
    state.page = Math.min(state.page, pages - 1);
    draw(pages);
  }

  // A measure that none of the filtered rows has is hidden, unless they are sorted by it.
  const isEmpty = (column, index) => column.kind !== "text" && index !== state.sort && shown.length > 0 && shown.every((row) => row.cells[index] === null);

  // On paper all rows are shown that the filters leave.
  function draw(pages, whole = false) {
    const first = whole ? 0 : state.page * PAGE;
    const slice = whole ? shown : shown.slice(first, first + PAGE);
    const empty = columns.map(isEmpty);
    [...table.tHead.rows[0].cells].forEach((head, index) => { head.hidden = empty[index]; });
    table.tBodies[0].replaceChildren(...slice.map((row) =>
      make("tr", { className: row.flagged ? "flagged" : "" }, ...columns.flatMap((column, index) => (empty[index] ? [] : [entry(row.cells[index], column, row, index)])))));
    const range = slice.length < shown.length ? `, rows ${first + 1} to ${first + slice.length} shown` : "";
    document.getElementById("count").textContent = `${shown.length} of ${rows.length} rows${range}`;
    const turn = (label, change) => {
      const button = make("button", { type: "button", textContent: label, disabled: !(state.page + change >= 0 && state.page + change < pages) });
      button.addEventListener("click", () => { state.page += change; draw(pages); });
      return button;
    };
    const bar = document.getElementById("pages");
    bar.replaceChildren(...(pages > 1 ? [turn("Previous", -1), make("span", { textContent: `Page ${state.page + 1} of ${pages}` }), turn("Next", 1)] : []));
  }

  function changed() {
    state.page = 0;
    update();
    const kept = filters.kept();
    if (state.sort >= 0) kept.set(state.descending ? "falling" : "rising", columns[state.sort].key);
    filters.remember(kept);
  }

  function recall() {
    const kept = filters.recall();
    if (kept) {
      state.descending = kept.has("falling");
      state.sort = columns.findIndex((column) => column.key === (kept.get("falling") ?? kept.get("rising")));
      state.page = 0;
    }
    update();
  }

  const values = (index) => [...new Set(rows.map((row) => text(row.cells[index])))].sort();
  table.tHead.append(make("tr", {}, ...columns.map(heading)));
  filters.build(columns.map((column, index) => ({ ...column, values: column.filtered ? values(index) : [] })), changed);
  recall();
  window.addEventListener("hashchange", recall);
  window.addEventListener("beforeprint", () => draw(1, true));
  window.addEventListener("afterprint", update);
})();
