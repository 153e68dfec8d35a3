"""Say on a chapter's page that a cell stopped it: at the top, with a link, and where that cell stands.

What stopped it comes from the executed notebook's metadata, `{"uqlib": {"failed": {"cell": ..., "cells": ..., "error":
...}}}`, which the program that executes the chapters writes there. A page without it stays as it is.
"""

import json
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

PLACE = "stopped-here"


def read_failure(app: Sphinx, docname: str, source: list[str]) -> None:
    """Remember what stopped a chapter."""
    app.env.metadata[docname].pop("stopped", None)
    if str(app.env.doc2path(docname)).endswith(".ipynb"):
        failed = json.loads(source[0])["metadata"].get("uqlib", {}).get("failed")
        if failed:
            app.env.metadata[docname]["stopped"] = json.dumps(failed)


def mark(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Put a notice below the first title and one above the cell."""
    text = app.env.metadata[docname].get("stopped")
    title = next(iter(doctree.findall(nodes.title)), None)
    if text is None or title is None or title.parent is None:
        return
    failed = json.loads(text)
    cell = next((node for node in doctree.findall(nodes.container) if _index(node) == failed["cell"] - 1), None)
    top = _notice(f"This chapter stopped at cell {failed['cell']} of {failed['cells']}", failed["error"])
    after = nodes.paragraph("", "What was computed before is whole. The code after it was not run. ")
    top += after
    if cell is not None and cell.parent is not None:
        after += nodes.reference("", "To the cell", refid=PLACE, internal=True)
        here = _notice("The chapter stopped here", failed["error"])
        here["ids"].append(PLACE)
        cell.parent.insert(cell.parent.index(cell), here)
    title.parent.insert(title.parent.index(title) + 1, top)


def _notice(title: str, text: str) -> nodes.admonition:
    return nodes.admonition("", nodes.title("", title), nodes.paragraph("", text), classes=["error"])


def _index(node: nodes.container) -> int | None:
    """A code cell's place in the notebook, from 0."""
    return node.get("cell_index") if node.get("nb_element") == "cell_code" else None


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("source-read", read_failure)
    app.connect("doctree-resolved", mark)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
