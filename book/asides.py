"""Questions and live figures of the chapters: from `book/asides/<chapter>.toml` into markdown cells.

The source says before which cell each one stands. The cells it makes are plain markdown and HTML: in JupyterLab and
Colab a question is a list with a fold, and a figure is one sentence; on the site the scripts in `_ext/live/` make
buttons and pictures of them. They hold no code, so that a chapter need not run again when a question changes.

    [[live]]
    before = "why-14"         # a cell's id
    figure = "well"
    head = "ensemble"
    words = "One sentence for readers without the figure."

    [[question]]
    before = "why-12"         # without it: among the questions before the take-aways
    ask = "What will happen?"
    choices = ["This.", "That."]
    right = 2                 # counted from 1
    reason = "Because."
"""

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path

PREFIXES = ("live-", "quiz-")
LAST = "quiz-last"
"""The cell of the questions that stand together near the end."""

TAKE_AWAYS = "## Take-aways"


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question with choices, of which one is right."""

    ask: str
    choices: list[str]
    right: int
    reason: str
    before: str = ""

    def __post_init__(self) -> None:
        """Raise ValueError for a question that cannot be answered."""
        if len(self.choices) < 2 or not 1 <= self.right <= len(self.choices):
            raise ValueError(
                f"the question {self.ask!r} has {len(self.choices)} choices and right = {self.right}, "
                "expected two or more choices, and the number of one of them, counted from 1"
            )

    def markdown(self, name: str, word: str = "Predict first") -> str:
        """The question as markdown between two HTML tags; `word` stands in bold before it."""
        choices = "\n".join(f"{number}. {choice}" for number, choice in enumerate(self.choices, start=1))
        return (
            f'<div class="quiz" id="{name}" data-right="{self.right}">\n\n**{word}.** {self.ask}\n\n{choices}\n\n'
            f"<details><summary>Answer and reason</summary>\n\n**{self.right}.** {self.reason}\n\n</details>\n\n</div>"
        )


@dataclass(frozen=True, kw_only=True)
class Live:
    """A place where a live figure stands on the site, and a sentence for everywhere else."""

    before: str
    figure: str
    words: str
    title: str
    head: str = ""

    def markdown(self) -> str:
        """What to try, and an HTML tag around the sentence."""
        head = f' data-head="{self.head}"' if self.head else ""
        tag = f'<div class="live" data-figure="{self.figure}"{head}>'
        return f"{self.title.strip()}\n\n{tag}\n\n*{self.words}*\n\n</div>"


def read(folder: Path, chapter: str) -> tuple[list[Question], list[Live]]:
    """A chapter's questions and live figures; none where it has no file.

    Raises:
        ValueError: the file is no TOML, or an entry has a wrong or missing field.
    """
    path = folder / f"{chapter}.toml"
    if not path.exists():
        return [], []
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
        unknown = found.keys() - {"question", "live"}
        if unknown:
            raise ValueError(f"unknown table {min(unknown)!r}, expected [[question]] or [[live]]")
        return [Question(**each) for each in found.get("question", [])], [
            Live(**each) for each in found.get("live", [])
        ]
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path.name}: {error}") from error


def without(text: str) -> str:
    """A notebook's text (JSON) without these cells: what its results depend on."""
    notebook = json.loads(text)
    return _written(notebook, [cell for cell in notebook["cells"] if not _is_aside(cell)], text)


def placed(text: str, folder: Path, chapter: str) -> str:
    """A notebook's text (JSON) with the cells that its file asks for, each in its place, and no others of their kind.

    Raises:
        ValueError: as `read`; or a place that the notebook does not have.
    """
    notebook = json.loads(text)
    questions, figures = read(folder, chapter)
    cells = [cell for cell in notebook["cells"] if not _is_aside(cell)]
    last = []
    together = sum(not question.before for question in questions)
    for number, question in enumerate(questions, start=1):
        name = f"quiz-{number}"
        if question.before:
            _insert(cells, question.before, name, question.markdown(name), chapter)
        else:
            last.append(question.markdown(name, f"Question {len(last) + 1} of {together}"))
    for number, figure in enumerate(figures, start=1):
        _insert(cells, figure.before, f"live-{number}", figure.markdown(), chapter)
    if last:
        end = next((cell.get("id") for cell in cells if TAKE_AWAYS in "".join(cell["source"]).splitlines()), None)
        _insert(cells, end, LAST, "## Check yourself\n\n" + "\n\n".join(last), chapter)
    return _written(notebook, cells, text)


def _insert(cells: list[dict], before: str | None, name: str, source: str, chapter: str) -> None:
    places = [number for number, cell in enumerate(cells) if cell.get("id") == before]
    if not places:
        raise ValueError(f"{chapter}.toml: there is no cell {before!r} before which {name!r} could stand")
    new = {"cell_type": "markdown", "id": name, "metadata": {}, "source": source.splitlines(keepends=True)}
    cells.insert(places[0], new)


def _is_aside(cell: dict) -> bool:
    return cell["cell_type"] == "markdown" and cell.get("id", "").startswith(PREFIXES)


def _written(notebook: dict, cells: list[dict], text: str) -> str:
    """JSON as nbformat writes it; the same text where no cell was changed."""
    if cells == notebook["cells"]:
        return text
    return json.dumps({**notebook, "cells": cells}, ensure_ascii=False, indent=1, sort_keys=True) + "\n"
