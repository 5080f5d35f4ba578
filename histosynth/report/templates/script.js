// Sort the ranked rows of a table by a column. Rows of different protocols are never mixed: where a
// column holds several, they stay in groups. Cells without a number stay last.
for (const table of document.querySelectorAll("table[data-sortable]")) {
  const status = document.getElementById("sort-status");
  const buttons = table.querySelectorAll("th button");
  for (const button of buttons) {
    button.addEventListener("click", () => {
      const head = button.closest("th");
      const at = Number(button.dataset.column);
      const better = button.dataset.better;
      const best = better === "higher" ? "descending" : "ascending";
      const other = best === "ascending" ? "descending" : "ascending";
      const order = head.getAttribute("aria-sort") === best ? other : best;
      for (const b of buttons) {
        b.closest("th").removeAttribute("aria-sort");
        b.querySelector(".way").textContent = "";
      }
      head.setAttribute("aria-sort", order);
      button.querySelector(".way").textContent = order === "ascending" ? "▴" : "▾";
      const body = table.querySelector("tbody.ranked");
      const key = (row) => {
        const cell = row.querySelectorAll("td.score")[at];
        const text = cell.dataset.value;
        return { group: cell.dataset.protocol || "", value: text === "" ? NaN : Number(text) };
      };
      const rows = [...body.querySelectorAll("tr")];
      rows.sort((a, b) => {
        const x = key(a), y = key(b);
        if (isNaN(x.value) || isNaN(y.value)) return isNaN(x.value) - isNaN(y.value);
        if (x.group !== y.group) return x.group < y.group ? -1 : 1;
        return order === "ascending" ? x.value - y.value : y.value - x.value;
      });
      body.append(...rows);
      if (status) status.textContent = `Sorted by ${button.dataset.name}, ${order}.`;
    });
  }
}
