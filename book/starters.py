"""The starter cell of every exercise that a program can check: what is asked, an empty answer, and the check.

python book/starters.py     bring the chapters' starter cells in line with uqlib/chapters/exercises.toml

A starter cell stands behind the cell with its question. It runs as it is, and says that there is no answer yet. It is
known by its tag, and made anew from the file: change the question there, not in the notebook.
"""

import re
import textwrap

import nbformat
import notebooks
from nbformat import NotebookNode

from uqlib.chapters.exercises import Exercise, exercises

TAG = "exercise"
QUESTION = r"^:::\{{admonition\}} {number}\. "
WIDTH = 100


def numbers(chapter: str) -> dict[str, list[Exercise]]:
    """The exercises of a chapter that can be checked, by their number: "1", "2", ..."""
    found: dict[str, list[Exercise]] = {}
    for exercise in exercises().values():
        if exercise.chapter == chapter and exercise.kind != "open":
            found.setdefault(exercise.key.split(".")[1].rstrip("abcdefgh"), []).append(exercise)
    return found


def source(asked: list[Exercise], *, first: bool) -> str:
    """Code of the starter cell of one exercise; the first one of a chapter imports what all of them call."""
    lines = ["from uqlib.chapters import check", ""] if first else []
    for exercise in asked:
        choice = " or ".join(f'"{option}"' for option in exercise.options)
        text = f"Asked: {exercise.ask}{f' ({choice})' if choice else ''}"
        comment = textwrap.wrap(text, WIDTH, initial_indent="# ", subsequent_indent="# ")
        lines += [*comment, "your_answer = None", f'check("{exercise.key}", your_answer)', ""]
    return "\n".join(lines[:-1])


def with_starters(chapter: str, cells: list[NotebookNode]) -> list[NotebookNode]:
    """A chapter's cells with its starter cells, and no other than these, each behind its question.

    Raises:
        ValueError: a question is not there.
    """
    kept = [cell for cell in cells if TAG not in cell.metadata.get("tags", [])]
    for nth, (number, asked) in enumerate(sorted(numbers(chapter).items())):
        pattern = re.compile(QUESTION.format(number=number), re.MULTILINE)
        place = next((k for k, cell in enumerate(kept) if is_text(cell) and pattern.search(cell.source)), None)
        if place is None:
            raise ValueError(f"{chapter} has no question {number}: write one, or take {asked[0].key} out of the file")
        code = source(asked, first=nth == 0)
        new = nbformat.v4.new_code_cell(code, id=f"exercise-{number}", metadata={"tags": [TAG]})
        kept.insert(place + 1, new)
    return kept


def is_text(cell: NotebookNode) -> bool:
    return cell.cell_type == "markdown"


def main() -> None:
    """Rewrite the chapters whose starter cells differ from the file."""
    for name in notebooks.chapter_names():
        path = notebooks.source(name)
        text = path.read_text(encoding="utf-8")
        notebook = nbformat.v4.reads(text)
        notebook.cells = with_starters(name, notebook.cells)
        wanted = notebooks.normal_form(nbformat.v4.writes(notebook))
        if wanted != text:
            path.write_text(wanted, encoding="utf-8")
            print(f"book/{name}.ipynb: starter cells brought in line")


if __name__ == "__main__":
    main()
