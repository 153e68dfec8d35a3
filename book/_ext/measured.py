"""Under a chapter's title, say how long it takes to read and to do its exercises, and what running it took.

Reading is counted from words and lines of code (`uqlib.chapters.reading`), exercises as `exercises.toml` has them. Wall
time and memory were measured when the book was built. They come from the executed notebook's metadata, `{"uqlib":
{"seconds": ..., "peak_mb": ..., "cores": ...}}`, which the program that executes the chapters writes there. A page
without them says nothing of it.
"""

import json
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

from uqlib.chapters import exercises, reading

KEYS = ("seconds", "peak_mb", "cores")


def sentence(cost: dict[str, float]) -> str:
    """What a run took, in words.

    Args:
        cost: `seconds` of wall time, `peak_mb` MB of resident memory, number of `cores`.
    """
    seconds, cores = cost["seconds"], int(cost["cores"])
    time = f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"
    return f"Measured: {time}, {cost['peak_mb']:.0f} MB peak on {cores} core{'' if cores == 1 else 's'}"


def times(cells: list[dict[str, Any]], chapter: str) -> str:
    """How long a chapter takes a reader, in words."""
    practice = exercises.minutes(chapter)
    asked = f", exercises: about {practice:.0f} min" if practice else ""
    return f"Reading: about {reading.minutes(cells)} min{asked}. "


def read_cost(app: Sphinx, docname: str, source: list[str]) -> None:
    """Remember the numbers of a chapter."""
    app.env.metadata[docname].pop("measured", None)
    if not str(app.env.doc2path(docname)).endswith(".ipynb"):
        return
    notebook = json.loads(source[0])
    cost = notebook["metadata"].get("uqlib", {})
    words = times(notebook["cells"], docname.rpartition("/")[2])
    app.env.metadata[docname]["measured"] = words + (sentence(cost) if all(key in cost for key in KEYS) else "")


def insert_line(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Put the line below the first title."""
    words = app.env.metadata[docname].get("measured")
    title = next(iter(doctree.findall(nodes.title)), None)
    if words is None or title is None or title.parent is None:
        return
    line = nodes.paragraph("", words, classes=["measured"])
    title.parent.insert(title.parent.index(title) + 1, line)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("source-read", read_cost)
    app.connect("doctree-resolved", insert_line)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
