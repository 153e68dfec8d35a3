"""Mend, on every page, what others' HTML lacks for readers with a keyboard or a screen reader.

* The theme's fold of a branch of the contents has an icon and no name.
* Lists of references have a role that their entries do not fit; without it they are read out as what they are.
* Sphinx breaks a long signature into a list of definitions without anything that is defined.
* What scrolls sideways can be reached by the tab key.
"""

import re
from collections.abc import Callable
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

REPLACED = (
    ('<div role="list" class="citation-list">', '<div class="citation-list">'),
    (' role="doc-biblioentry"', ""),
)
SCROLLS = re.compile(r'<div style="overflow-x: ?auto(?P<rest>[^"]*)">(?!<table id="sortable)')  # those have buttons
SUMMARY = re.compile(r"<summary>(?=\s*<span class=\"toctree-toggle\")")
SIGNATURE = re.compile(r'(<span class="sig-paren">\(</span>)\s*<dl>(.*?)</dl>', re.DOTALL)


def mended(body: str) -> str:
    """A page's own HTML."""
    body = SIGNATURE.sub(_lines, body)
    for old, new in REPLACED:
        body = body.replace(old, new)
    return SCROLLS.sub(
        r'<div style="overflow-x:auto\g<rest>" tabindex="0" role="region" aria-label="A wide table">', body
    )


def _lines(found: re.Match[str]) -> str:
    """The arguments of a signature as lines, and no list."""
    inside = found[2].replace("<dd>", '<span class="sig-line">').replace("</dd>", "</span>")
    return f'{found[1]}<span class="sig-lines">{inside}</span>'


def named(tree: Callable[..., Any]) -> Callable[..., str]:
    """The theme's function for the table of contents, with names for its folds."""

    def made(*arguments: Any, **options: Any) -> str:
        return SUMMARY.sub(
            '<summary aria-label="Show or hide the pages below this one">', str(tree(*arguments, **options))
        )

    return made


def mend(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None) -> None:
    """Mend one page."""
    if "body" in context:
        context["body"] = mended(context["body"])
    if "generate_toctree_html" in context:
        context["generate_toctree_html"] = named(context["generate_toctree_html"])


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx, behind the theme."""
    app.connect("html-page-context", mend, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
