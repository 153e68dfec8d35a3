"""Under a chapter's title, say what running it took: wall time and memory, as measured when the book was built.

The numbers come from the executed notebook's metadata, `{"uqlib": {"seconds": ..., "peak_mb": ..., "cores": ...}}`,
which the program that executes the chapters writes there. A page without them gets no such line.
"""

import json
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

KEYS = ("seconds", "peak_mb", "cores")


def sentence(cost: dict[str, float]) -> str:
    """What a run took, in words.

    Args:
        cost: `seconds` of wall time, `peak_mb` MB of resident memory, number of `cores`.
    """
    seconds, cores = cost["seconds"], int(cost["cores"])
    time = f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"
    return f"Measured: {time}, {cost['peak_mb']:.0f} MB peak on {cores} core{'' if cores == 1 else 's'}"


def read_cost(app: Sphinx, docname: str, source: list[str]) -> None:
    """Remember the numbers of a chapter."""
    app.env.metadata[docname].pop("measured", None)
    if not str(app.env.doc2path(docname)).endswith(".ipynb"):
        return
    cost = json.loads(source[0])["metadata"].get("uqlib", {})
    if all(key in cost for key in KEYS):
        app.env.metadata[docname]["measured"] = sentence(cost)


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
