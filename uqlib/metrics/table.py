"""`Report`: scores as a table, for the terminal, for a notebook, for a paper."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from textwrap import fill
from typing import Any

from torch import Tensor

from .layout import as_markdown, as_text
from .resampling import Estimate
from .suite import CALIBRATED_RANK, FULL_NAME, METRICS, NEXT_ROW, Scores

QUESTIONS = {"accuracy": "How large are the errors?", "order": "Right order?", "size": "Right size?"}

CELL = "text-align:left;padding:0.15em 0.8em 0.15em 0"


@dataclass(frozen=True, kw_only=True)
class Report:
    """A table of scores: a column for each quantity, a row for each metric.

    `print(report)` shows it, a notebook renders it, `to_markdown()` and `rows()` take it elsewhere, and
    `report["forces", "Spearman"]` is one `Estimate`.
    """

    title: str
    columns: tuple[Scores, ...]
    notes: tuple[str, ...]
    curves: Mapping[str, Mapping[str, Tensor]] = field(repr=False)  # quantity -> arrays, for `plots.report_page`

    def __getitem__(self, key: tuple[str, str]) -> Estimate:
        """Raises KeyError, with the reason where there is one, for what has no value."""
        quantity, metric = key
        metric = FULL_NAME.get(metric, metric)
        found = {column.name: column for column in self.columns}
        if quantity not in found:
            raise KeyError(f"quantity: got {quantity!r}, this report has {list(found)}")
        if metric not in found[quantity].values:
            reason = found[quantity].missing.get(metric, f"expected one of {list(found[quantity].values)}")
            raise KeyError(f"{metric!r} of {quantity!r}: {reason}")
        return found[quantity].values[metric]

    def rows(self) -> list[dict[str, Any]]:
        """One mapping for each number, as `pandas.DataFrame` or `csv.DictWriter` like it."""
        return [
            {
                "quantity": column.name,
                "metric": name,
                "value": value.value,
                "standard_error": value.standard_error,
                "low": value.low,
                "high": value.high,
                "unit": column.unit if METRICS[name].unit == "same" else METRICS[name].unit,
                "ideal": METRICS[name].ideal,
            }
            for column in self.columns
            for name, value in column.values.items()
        ]

    def __str__(self) -> str:
        table = [["", *self._header(), "ideal"], *(row for _, row in self._table())]
        lines = as_text(table)
        text = [self.title, "", *lines[:2]]
        question = ""
        for (asked, _), line in zip(self._table(), lines[2:], strict=True):
            text += [] if asked == question else [QUESTIONS[asked]]
            question = asked
            text.append(line)
        notes = [fill(note, max(80, *map(len, lines)), subsequent_indent="  ") for note in self.notes]
        return "\n".join([*text, *notes])

    def to_markdown(self) -> str:
        """The table in GitHub's Markdown, title above, notes below."""
        header = ["metric", *self._header(), "ideal"]
        rows = [header, *([cell.strip() for cell in row] for _, row in self._table())]
        lines = as_markdown([[plain_markdown(cell) for cell in row] for row in rows])
        notes = (f"{plain_markdown(note)}  " for note in self.notes)
        return "\n".join([f"**{plain_markdown(self.title)}**", "", *lines, "", *notes]).rstrip()

    def _repr_html_(self) -> str:
        head = "".join(f'<th style="{CELL}">{escape(cell)}</th>' for cell in ("", *self._header(), "ideal"))
        body, question = "", ""
        for asked, row in self._table():
            if asked != question:
                body += f'<tr><th colspan="{len(row)}" style="text-align:left">{QUESTIONS[asked]}</th></tr>'
                question = asked
            cells = "".join(f'<td style="{CELL}">{escape(cell)}</td>' for cell in row)
            body += f"<tr>{cells}</tr>"
        notes = "<br>".join(escape(note) for note in self.notes)
        caption = f'<caption style="caption-side:top">{escape(self.title)}</caption>'
        table = f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        style = "overflow-x:auto;font-size:0.75em;white-space:nowrap"
        return f'<div style="{style}">{table}</div><p style="font-size:0.75em">{notes}</p>'

    def _header(self) -> list[str]:
        return [f"{column.name} ({column.predictions})" for column in self.columns]

    def _table(self) -> list[tuple[str, list[str]]]:
        """(question, cells) of each metric that has a value in some column."""
        shown = [name for name in METRICS if any(name in column.values for column in self.columns)]
        return [
            (METRICS[name].asks, [f"  {name}", *(_cell(name, column) for column in self.columns), _ideal(name, shown)])
            for name in shown
        ]


def _ideal(name: str, shown: list[str]) -> str:
    """The last cell of a row. A score in nats has no simulated ideal, and then there is no row to point to."""
    ideal = METRICS[name].ideal
    return "–" if ideal == NEXT_ROW and CALIBRATED_RANK not in shown else ideal


def _cell(name: str, column: Scores) -> str:
    value = column.values.get(name)
    unit = METRICS[name].unit
    return "–" if value is None else f"{value} {column.unit}" if unit == "same" else f"{value}"


def plain_markdown(text: str) -> str:
    """Text that stays text in a table of Markdown: no tag, no new column, no new line."""
    return " ".join(escape(text, quote=False).replace("|", "\\|").split())
