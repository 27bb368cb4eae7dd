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
  const state = { sort: -1, descending: false, page: 0, search: "", chosen: new Map() };
  let shown = rows;

  const make = (name, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...children);
    return element;
  };
  const number = (value, column) => (column.kind === "share" ? (100 * value).toFixed(2) : Number.isInteger(value) ? String(value) : value.toPrecision(4));
  const text = (cell) => (Array.isArray(cell) ? "" : cell ?? "");
  const haystacks = rows.map((row) => row.cells.map(text).concat(row.id).join("\n").toLowerCase());
  const position = new Map(rows.map((row, index) => [row, index]));

  function heading(column, index) {
    const button = make("button", { type: "button", textContent: column.label });
    button.addEventListener("click", () => {
      state.descending = state.sort === index ? !state.descending : column.best === "high";
      state.sort = index;
      state.page = 0;
      update();
    });
    const head = make("th", { scope: "col", className: column.kind !== "text" ? "number" : setting.includes(index) ? "told" : "" }, button);
    head.setAttribute("aria-sort", "none");
    return head;
  }

  function entry(cell, column, row, index) {
    if (index === 0) {
      const own = !row.page ? {} : { href: `rows/${encodeURIComponent(row.id)}.html` }; // of a large leaderboard, few rows have pages
      const link = make("a", { ...own, textContent: cell });
      const told = setting.map((place) => row.cells[place]).filter(Boolean).join(", ");
      return make("th", { scope: "row" }, link, make("small", { className: "setting", textContent: told })); // on phones, instead of columns
    }
    if (column.kind === "text") return make("td", { className: column.key === "remarks" ? "remarks" : setting.includes(index) ? "told" : "", textContent: cell });
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
    const words = state.search.toLowerCase().split(/\s+/).filter(Boolean);
    shown = rows.filter((row, index) =>
      words.every((word) => haystacks[index].includes(word)) && [...state.chosen].every(([column, value]) => text(row.cells[column]) === value));
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

  function filters() {
    const form = document.getElementById("filters");
    const search = make("input", { type: "search", name: "search", autocomplete: "off" });
    search.addEventListener("input", () => { state.search = search.value; state.page = 0; update(); });
    form.append(make("label", {}, "Search", search));
    columns.forEach((column, index) => {
      const values = [...new Set(rows.map((row) => text(row.cells[index])))].sort();
      if (!column.filtered || values.length < 2) return;
      const select = make("select", { name: column.key }, make("option", { value: "", textContent: "all" }), ...values.map((value) => make("option", { value, textContent: value })));
      select.addEventListener("change", () => {
        if (select.selectedIndex > 0) state.chosen.set(index, select.value);
        else state.chosen.delete(index);
        state.page = 0;
        update();
      });
      form.append(make("label", {}, column.label, select));
    });
  }

  table.tHead.append(make("tr", {}, ...columns.map(heading)));
  filters();
  update();
})();
