"""Starter cells: one for each exercise that can be checked, behind its question, and running as they are."""

import contextlib
import io

import nbformat
import notebooks
import pytest
import starters
from nbformat.v4 import new_code_cell, new_markdown_cell

from uqlib.chapters.exercises import exercises

CHAPTERS = [name for name in notebooks.chapter_names() if starters.numbers(name)]


def test_every_exercise_belongs_to_a_chapter() -> None:
    assert {each.chapter for each in exercises().values()} <= set(notebooks.chapter_names())
    assert len(CHAPTERS) > 10


@pytest.mark.parametrize("name", CHAPTERS)
def test_the_chapters_have_the_starter_cells_of_the_file(name: str) -> None:
    cells = nbformat.read(notebooks.source(name), as_version=4).cells
    wanted = starters.with_starters(name, cells)
    assert [cell.source for cell in cells] == [cell.source for cell in wanted], "run: python book/starters.py"


@pytest.mark.parametrize("name", CHAPTERS)
def test_starter_cells_run_as_they_are_and_import_once(name: str) -> None:
    cells = nbformat.read(notebooks.source(name), as_version=4).cells
    sources = [cell.source for cell in cells if starters.TAG in cell.metadata.get("tags", [])]
    shared: dict[str, object] = {}
    for source, asked in zip(sources, starters.numbers(name).values(), strict=True):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(source, "starter", "exec"), shared)
        assert printed.getvalue().count("not answered yet") == len(asked)
    assert "\n".join(sources).count("import") == 1


def test_a_starter_cell_takes_no_name_that_the_chapter_uses() -> None:
    for name in CHAPTERS:
        cells = nbformat.read(notebooks.source(name), as_version=4).cells
        others = [c.source for c in cells if c.cell_type == "code" and starters.TAG not in c.metadata.get("tags", [])]
        assert not any("your_answer" in source or " check =" in source for source in others)


def test_old_starters_go_and_new_ones_stand_behind_their_questions() -> None:
    old = new_code_cell("old", metadata={"tags": [starters.TAG]})
    text = "## Exercises\n\n:::{{admonition}} {}. A question\nWhat?\n:::"
    cells = [new_markdown_cell(text.format(1)), old, new_code_cell("solution"), new_markdown_cell(text.format(2))]
    placed = starters.with_starters("dynamics", cells)
    assert [cell.cell_type for cell in placed] == ["markdown", "code", "code", "markdown", "code"]
    assert 'check("dynamics.1b", your_answer)' in placed[1].source
    assert placed[2].source == "solution"
    assert 'check("dynamics.2", your_answer)' in placed[4].source
    again = starters.with_starters("dynamics", placed)
    assert [cell.source for cell in again] == [cell.source for cell in placed]


def test_a_question_that_is_not_there_is_reported() -> None:
    with pytest.raises(ValueError, match="dynamics has no question 1"):
        starters.with_starters("dynamics", [new_markdown_cell("# Nothing")])
