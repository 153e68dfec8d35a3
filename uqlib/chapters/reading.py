"""What belongs to an exercise's solution in a chapter's cells, and how long a chapter takes to read.

After the heading "Exercises" all code but the starter cells is solution, or checks what a solution says; so is each
admonition with the title "Solution".
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

HEADING = re.compile(r"^## Exercises\b", re.MULTILINE)
SOLUTION = re.compile(r"^:::\{admonition\} Solution\b.*?^:::[ \t]*$\n*", re.MULTILINE | re.DOTALL)
STARTER = "exercise"  # the tag of a starter cell
OUT_OF_SIGHT = {"remove-cell", "remove-input", "hide-cell", "hide-input"}

WORDS_PER_MINUTE = 180  # of prose that is thought about, by a reader whose first language may be another
LINES_PER_MINUTE = 15  # of code that stands open on the page
STEP = 5  # minutes: nobody knows it better


def without_solutions(cells: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The cells of a notebook (JSON) without what belongs to a solution; a text that is empty then goes, too."""
    kept: list[dict[str, Any]] = []
    in_exercises = False
    for cell in cells:
        source = text_of(cell)
        if cell["cell_type"] == "markdown":
            in_exercises = in_exercises or HEADING.search(source) is not None
            rest = SOLUTION.sub("", source).strip("\n")
            if rest.strip():
                kept.append({**cell, "source": rest})
        elif not in_exercises or STARTER in cell["metadata"].get("tags", []):
            kept.append({**cell, "source": source})
    return kept


def solutions(cells: Iterable[Mapping[str, Any]]) -> list[str]:
    """What `without_solutions` takes away, piece by piece."""
    found: list[str] = []
    in_exercises = False
    for cell in cells:
        source = text_of(cell)
        if cell["cell_type"] == "markdown":
            in_exercises = in_exercises or HEADING.search(source) is not None
            found += SOLUTION.findall(source)
        elif in_exercises and STARTER not in cell["metadata"].get("tags", []):
            found.append(source)
    return found


def minutes(cells: Iterable[Mapping[str, Any]]) -> int:
    """How long a chapter takes to read without its solutions, rounded up to five minutes."""
    words = lines = 0
    for cell in without_solutions(cells):
        if cell["cell_type"] == "markdown":
            words += len(cell["source"].split())
        elif not OUT_OF_SIGHT.intersection(cell["metadata"].get("tags", [])):
            lines += sum(bool(line.strip()) for line in cell["source"].splitlines())
    return -int(-(words / WORDS_PER_MINUTE + lines / LINES_PER_MINUTE) // STEP) * STEP


def text_of(cell: Mapping[str, Any]) -> str:
    """A cell's source, which in JSON may be a list of lines."""
    source = cell["source"]
    return source if isinstance(source, str) else "".join(source)
