"""Load the live figures and the questions on the pages that have them.

A page says in plain HTML where one stands: `<div class="live" data-figure="..." data-head="...">` with a sentence for
readers without scripts, or `<div class="quiz" data-right="...">` with a list of choices and a fold. The scripts in
`live/` put the figure there, or make the choices buttons. They are plain scripts and no modules, for a browser refuses
modules from a disk; each adds to the one global name `uqlive`, so that their order matters.
"""

import re
import shutil
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

HERE = Path(__file__).parent / "live"
STYLE = "live.css"
ENGINE = ("numbers.js", "network.js", "heads.js", "features.js", "scores.js", "plot.js")
FIGURES = {"well": ("wells.js", "well-input.js", "well-figure.js"), "calibration": ("calibration-figure.js",)}
QUIZ = ("quiz.js",)
PLACE = re.compile(r'<div class="live" data-figure="(\w+)"(?: data-head="(\w+)")?>')
ALT = {
    "well": "A double well with training points and what networks learn from them; below it, the uncertainty along x.",
    "calibration": "A calibration curve, and two scores against the factor that stretches every error bar.",
}


def still(figure: str, head: str) -> str:
    """Name of the still picture of a figure; `book/stills.py` makes it."""
    return f"stills/{figure}{f'-{head}' if head else ''}.png"


def with_stills(body: str, static: str) -> str:
    """A page with a still picture in the place of each figure: for print, and where no script runs.

    Args:
        body: the page's HTML.
        static: the way from the page to `_static`.
    """

    def picture(place: re.Match[str]) -> str:
        source = f"{static}/live/{still(place[1], place[2] or '')}"
        return f'{place[0]}<img class="live-still" src="{source}" alt="{ALT[place[1]]}" loading="lazy">'

    return PLACE.sub(picture, body)


def scripts(body: str) -> list[str]:
    """Names of the scripts that a page needs, in their order; none for a page without figures and questions."""
    wanted = [name for figure, names in FIGURES.items() if f'data-figure="{figure}"' in body for name in names]
    found = [*ENGINE, *wanted] if wanted else []
    return found + (list(QUIZ) if 'class="quiz"' in body else [])


def copy_scripts(app: Sphinx) -> None:
    """Fill `_static/live/` before the pages are written, so that they can name each script's checksum."""
    if app.builder.format == "html":
        shutil.copytree(HERE, Path(app.outdir) / "_static" / "live", dirs_exist_ok=True)


def load_scripts(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Load what this page needs, and nothing on the others."""
    wanted = scripts(context.get("body", ""))
    if wanted:
        context["body"] = with_stills(context["body"], f"{'../' * page.count('/')}_static")
        app.add_css_file(f"live/{STYLE}")
    for name in wanted:
        app.add_js_file(f"live/{name}", loading_method="defer")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("builder-inited", copy_scripts)
    app.connect("html-page-context", load_scripts)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
