"""Rows of words as a table, for every table that the library prints."""

from __future__ import annotations

from collections.abc import Sequence

NARROWEST = 3  # hyphens that make a column in Markdown


def as_text(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table with aligned columns; the first row has their names, and a rule stands under it.

    Raises ValueError for rows of different length.
    """
    padded, widths = _padded(rows)
    lines = ["  ".join(row).rstrip() for row in padded]
    return [lines[0], "  ".join("-" * width for width in widths), *lines[1:]]


def as_markdown(rows: Sequence[Sequence[str]]) -> list[str]:
    """The same in GitHub's Markdown, aligned as well, so that it can be read as it is.

    Raises ValueError for rows of different length.
    """
    padded, widths = _padded([[cell.replace("|", "\\|") for cell in row] for row in rows], NARROWEST)
    lines = [f"| {' | '.join(row)} |" for row in padded]
    return [lines[0], f"| {' | '.join('-' * width for width in widths)} |", *lines[1:]]


def _padded(rows: Sequence[Sequence[str]], narrowest: int = 0) -> tuple[list[list[str]], list[int]]:
    """Every cell as wide as its column, and the widths."""
    widths = [max(narrowest, *map(len, column)) for column in zip(*rows, strict=True)]
    return [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows], widths
