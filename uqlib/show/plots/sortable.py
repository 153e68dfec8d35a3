"""A table whose rows are sorted by a click on the head of a column: plain HTML and some lines of JavaScript."""

from __future__ import annotations

import html
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from uqlib.metrics.layout import as_text

Cell = str | float | None

# The script touches its own table only, asks nothing of the page and nothing of the network. Without it the table
# stands as it is.
SCRIPT = """
(() => {
  const table = document.getElementById("ID"), body = table.tBodies[0];
  table.querySelectorAll("button").forEach((button) => button.addEventListener("click", () => {
    const head = button.parentElement, column = head.cellIndex, up = head.ariaSort !== "ascending";
    table.querySelectorAll("th[scope=col]").forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = (row) => row.cells[column].dataset.key ?? row.cells[column].textContent;
    const order = (a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      const found = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
      return up ? found : -found;
    };
    body.append(...[...body.rows].sort(order));
  }));
})();
"""
STYLE = """
#ID button {all: unset; cursor: pointer; font-weight: bold}
#ID button:focus-visible {outline: 2px solid currentColor}
#ID th[aria-sort=ascending] button::after {content: " ▲"}
#ID th[aria-sort=descending] button::after {content: " ▼"}
#ID {font-size: 0.85em; border-collapse: collapse}
#ID th, #ID td {padding: 0.15em 0.6em; text-align: left; vertical-align: top}
#ID td.number {text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums}
#ID td.short {white-space: nowrap}
"""
SHORT = 24  # letters that are kept in one line


@dataclass(frozen=True, kw_only=True)
class SortableTable:
    """Shown by Jupyter as HTML, and as aligned text where there is no browser."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    digits: tuple[int, ...]  # behind the point, of each column's numbers
    caption: str

    def _repr_html_(self) -> str:
        name = f"sortable-{secrets.token_hex(4)}"
        heads = "".join(map(_head, self.columns))
        body = "".join(f"<tr>{''.join(self._cells(row))}</tr>" for row in self.rows)
        table = (
            f'<div style="overflow-x: auto"><table id="{name}" class="sortable">'
            f"<caption>{html.escape(self.caption)}</caption><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"
            "</div>"
        )
        return f"<style>{STYLE.replace('ID', name)}</style>{table}<script>{SCRIPT.replace('ID', name)}</script>"

    def _cells(self, row: tuple[Cell, ...]) -> list[str]:
        found = []
        for value, text in zip(row, self._texts(row), strict=True):
            kind = ' class="number"' if not isinstance(value, str) else "" if len(value) > SHORT else ' class="short"'
            key = "" if value is None else html.escape(str(value))
            found.append(f'<td{kind} data-key="{key}">{html.escape(text)}</td>')
        return found

    def _texts(self, row: tuple[Cell, ...]) -> list[str]:
        return [
            "–" if value is None else value if isinstance(value, str) else f"{value:.{digits}f}"
            for value, digits in zip(row, self.digits, strict=True)
        ]

    def __repr__(self) -> str:
        return "\n".join(as_text([self.columns, *(self._texts(row) for row in self.rows)]))


def _head(column: str) -> str:
    """Of a column without a name there is nothing to be pressed, and nothing to be read out."""
    return f'<th scope="col"><button>{html.escape(column)}</button></th>' if column else "<td></td>"


def sortable_table(
    columns: Sequence[str], rows: Sequence[Sequence[Cell]], *, caption: str, digits: int | Sequence[int] = 2
) -> SortableTable:
    """A table for the output of a cell.

    Args:
        columns: Heads.
        rows: Texts, numbers, or None for what has no value, which stays at the end however the table is sorted.
        caption: What is shown.
        digits: Behind the point, for all columns or for each.

    Raises:
        ValueError: A row with another number of cells than there are columns.
    """
    if wrong := [len(row) for row in rows if len(row) != len(columns)]:
        raise ValueError(f"rows: got one with {wrong[0]} cells, expected {len(columns)}, as there are columns")
    each = (digits,) * len(columns) if isinstance(digits, int) else tuple(digits)
    if len(each) != len(columns):
        raise ValueError(f"digits: got {len(each)}, expected {len(columns)}, one a column")
    found = tuple(tuple(None if value != value else value for value in row) for row in rows)  # nan has no value either
    return SortableTable(columns=tuple(columns), rows=found, digits=each, caption=caption)
