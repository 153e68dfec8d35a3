"""Slides of a workshop, made from the chapters' own figures, viewers and questions: `make slides`.

python book/slides.py     from the executed chapters into _build/slides/half_day.html

What is on which slide stands in `book/slides/*.toml`. nbconvert makes the slides (reveal.js); all scripts lie in the
folder beside them, so that they open from a disk in a room without network.
"""

import html
import re
import runpy
import shutil
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import asides
import execute
import nbformat
import notebooks
import student
from nbconvert import SlidesExporter
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from uqlib.show import viewer

SOURCES = notebooks.ROOT / "book" / "slides"
OUT = execute.BUILD / "slides"
VENDOR = notebooks.ROOT / "book" / "_ext" / "vendor"
ARCHIVES = ("reveal-5.2.1.zip", "mathjax-3.2.2.zip")
KEYS = {"title", "text", "chapter", "cell", "question", "say"}
STOP = re.compile(r"^(\d+:\d\d),[^\n]*\n: (.*?)(?=\n\n|\Z)", re.MULTILINE | re.DOTALL)
"""A stop of the schedule with what to say there, as the page has it."""


def main() -> int:
    """Make the slides; returns the exit status."""
    OUT.mkdir(parents=True, exist_ok=True)
    copy_scripts(OUT / "_static")
    for source in sorted(SOURCES.glob("*.toml")):
        try:
            text = page(source)
        except (ValueError, FileNotFoundError) as error:
            print(error, file=sys.stderr)
            return 1
        target = OUT / f"{source.stem}.html"
        target.write_text(text, encoding="utf-8")
        print(f"The slides: {target.as_uri()} (S opens the speaker's notes)")
    return 0


def copy_scripts(folder: Path) -> None:
    """All that the slides load. Raises ValueError for an archive that is not the one that was checked."""
    runpy.run_path(str(VENDOR.parent / "selfhost.py"))["verify"](VENDOR)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in ARCHIVES:
        with zipfile.ZipFile(VENDOR / name) as archive:
            archive.extractall(folder)
    for name in ("deck.js", "deck.css"):
        shutil.copyfile(SOURCES / name, folder / name)
    shutil.copyfile(notebooks.ROOT / "book/logo.svg", folder / "logo.svg")
    (folder / "viewer").mkdir()
    for name, text in (
        ("uqlib-viewer.js", viewer.page_script()),
        ("uqlib-viewer.css", viewer.style()),
        ("uqlib-engine.js", viewer.engine_script()),
    ):
        (folder / "viewer" / name).write_text(text, encoding="utf-8")


def page(source: Path) -> str:
    """The slides that a file asks for, as HTML.

    Raises:
        ValueError: an unknown field, cell, question or stop; a cell without a picture.
        FileNotFoundError: a chapter that was not executed yet.
    """
    asked = tomllib.loads(source.read_text(encoding="utf-8"))
    said = dict(STOP.findall((notebooks.ROOT / "book/workshop" / asked["schedule"]).read_text(encoding="utf-8")))
    notebook = new_notebook(metadata={"title": asked["title"]})
    for number, slide in enumerate(asked["slide"], start=1):
        try:
            notebook.cells += cells(slide, said)
        except ValueError as error:
            raise ValueError(f"{source.name}, slide {number} ({slide.get('title')}): {error}") from error
    # The code cells hold outputs alone; the chapters have the code.
    exporter = SlidesExporter(
        template_name="deck",
        extra_template_basedirs=[str(SOURCES)],
        reveal_url_prefix="_static/reveal",
        reveal_theme="white",
    )
    return exporter.from_notebook_node(notebook)[0]


def cells(slide: dict[str, Any], said: dict[str, str]) -> list[NotebookNode]:
    """One slide: its first cell begins it."""
    if unknown := slide.keys() - KEYS:
        raise ValueError(f"got {min(unknown)!r}, expected one of {', '.join(sorted(KEYS))}")
    chapters = notebooks.chapter_names()
    text = student.plain(slide.get("text", ""), chapters)
    found = [_cell(f"## {slide['title']}\n\n{text}", "slide")]
    if "question" in slide:
        found += question(slide["question"])
    if "cell" in slide:
        found.append(figure(slide["chapter"], slide["cell"]))
    if "say" in slide:
        if slide["say"] not in said:
            raise ValueError(f"say: got {slide['say']!r}, expected a stop of the schedule: {', '.join(said)}")
        found.append(_cell(said[slide["say"]], "notes"))
    return found


def question(key: str) -> list[NotebookNode]:
    """A question of a chapter with its choices; the answer comes with the next step."""
    chapter, _, number = key.partition(".")
    asked, _ = asides.read(notebooks.ROOT / "book/asides", chapter)
    if not number.isdigit() or not 1 <= int(number) <= len(asked):
        raise ValueError(f"question: got {key!r}, expected a chapter and a number up to {len(asked)}")
    one = asked[int(number) - 1]
    choices = "\n".join(f"{place}. {choice}" for place, choice in enumerate(one.choices, start=1))
    return [_cell(f"{one.ask}\n\n{choices}", "-"), _cell(f"**{one.right}.** {one.reason}", "fragment")]


def figure(chapter: str, name: str) -> NotebookNode:
    """What a cell of an executed chapter shows: its picture with alternative text, its viewer, or its table."""
    path = execute.executed_path(chapter)
    if not path.exists():
        raise FileNotFoundError(f"{chapter} was not executed yet: make book")
    cell = next((cell for cell in nbformat.read(path, as_version=4).cells if cell.get("id") == name), None)
    shown = [_html(output, cell.metadata) for output in cell.outputs if "data" in output] if cell else []
    if not any(shown):
        raise ValueError(f"cell: {chapter} has no cell {name!r} with a picture, a viewer or a table")
    outputs = [new_output("display_data", data={"text/html": text}) for text in shown if text]
    return new_code_cell("", id=f"{chapter}-{name}", outputs=outputs, metadata={"slideshow": {"slide_type": "-"}})


def _html(output: NotebookNode, metadata: NotebookNode) -> str:
    if "image/png" in output.data:
        alt = metadata.get("mystnb", {}).get("image", {}).get("alt", "")
        return f'<img src="data:image/png;base64,{output.data["image/png"].strip()}" alt="{html.escape(alt)}">'
    text = output.data.get("text/html", "")
    return "" if 'class="uqv-print"' in text else text


def _cell(text: str, kind: str) -> NotebookNode:
    return new_markdown_cell(text, metadata={"slideshow": {"slide_type": kind}})


if __name__ == "__main__":
    sys.exit(main())
