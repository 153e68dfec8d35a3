"""The page "Paths": which chapter needs which, and how long a way through the book takes.

A chapter says itself what it needs, behind "You need first"; the picture and the table are made of that.
"""

import json
import re

import drawing
import notebooks
import student

from uqlib.chapters import exercises, reading

NAME = "paths"
NEEDS = re.compile(r"\*\*You need first\*\*:(.*?)(?:\n\n|\Z)", re.DOTALL)
WIDTH = 720
MAP = "<!-- the map -->"
TABLE = "<!-- the chapters -->"
WAY = re.compile(r"<!-- the way: ([\w, ]+) -->")
STEP = 5  # minutes
SHORT = {
    "why_uncertainty": "why",
    "judging_uncertainty": "judging",
    "rmd17": "rMD17",
    "silica_active_learning": "silica learning",
    "error_bars_that_travel": "travel",
    "released_potentials": "released",
}
"""Names that are too long for a box."""

LABEL = "The chapters; arrows lead to what each needs first. The table below says the same."


def needs() -> dict[str, set[str]]:
    """Chapter -> chapters that it asks for, in the order of the book."""
    names = notebooks.chapter_names()
    found = {}
    for name in names:
        asked = NEEDS.search("\n".join(reading.text_of(cell) for cell in _cells(name)))
        found[name] = {each["name"] for each in student.DOC.finditer(asked[1])} & set(names) if asked else set()
    return found


def fill(text: str) -> str:
    """The page's text with picture, table and times in place."""
    graph = needs()
    picture = drawing.picture(graph, label=LABEL, address=lambda name: f"{name}.html", words=_short, width=WIDTH)
    text = text.replace(MAP, f'```{{raw}} html\n<div class="wide" tabindex="0">{picture}</div>\n```')
    text = text.replace(TABLE, _table(graph))
    return WAY.sub(lambda found: _way([name.strip() for name in found[1].split(",")]), text)


def _table(graph: dict[str, set[str]]) -> str:
    rows = ["| chapter | reading | exercises | needs first |", "|---|---|---|---|"]
    for name, asked in graph.items():
        first = ", ".join(f"{{doc}}`{_short(each)} <{each}>`" for each in graph if each in asked) or "nothing"
        rows.append(f"| {{doc}}`{name}` | {_reading(name)} min | {_exercises(name)} min | {first} |")
    return "\n".join(rows)


def _way(names: list[str]) -> str:
    """A numbered list of chapters, and how long they take.

    Raises:
        ValueError: there is no such chapter.
    """
    if missing := [name for name in names if not notebooks.source(name).exists()]:
        raise ValueError(f"{NAME}.md: there is no chapter {missing[0]!r}")
    minutes = sum(_reading(name) for name in names)
    practice = STEP * round(sum(_exercises(name) for name in names) / STEP)
    lines = [f"{number}. {{doc}}`{name}`" for number, name in enumerate(names, start=1)]
    return "\n".join([*lines, "", f"Reading: about {minutes} min. Exercises: about {practice} min."])


def _short(name: str) -> str:
    return SHORT.get(name, name.replace("_", " "))


def _cells(name: str) -> list[dict]:
    return json.loads(notebooks.source(name).read_text(encoding="utf-8"))["cells"]


def _reading(name: str) -> int:
    return reading.minutes(_cells(name))


def _exercises(name: str) -> int:
    return round(exercises.minutes(name))
