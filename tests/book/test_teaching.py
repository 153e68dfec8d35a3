"""The pages on teaching: schedules whose times add up, and commands that do what the pages say."""

import itertools
import re

import notebooks
import pytest
import yaml

PAGES = notebooks.ROOT / "book" / "workshop"
ROW = re.compile(r"^\| (\d+):(\d\d) \| (\d+) \|", re.MULTILINE)


@pytest.mark.parametrize(("page", "hours"), [("half_day", 4.0), ("one_day", 8.5)])
def test_a_schedule_has_no_gap(page: str, hours: float) -> None:
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
    rows = [(60 * int(h) + int(m), int(length)) for h, m, length in ROW.findall(text)]
    assert len(rows) > 10
    for (start, length), (following, _) in itertools.pairwise(rows):
        assert start + length == following, f"{start // 60}:{start % 60:02} and {length} minutes"
    assert sum(length for _, length in rows) == 60 * hours
    said = re.findall(r"^(\d+):(\d\d), ", text, flags=re.MULTILINE)
    assert said
    assert {60 * int(h) + int(m) for h, m in said} <= {start for start, _ in rows}, "a stop that is not in the schedule"


def test_every_page_stands_in_the_part_on_teaching() -> None:
    parts = yaml.safe_load(notebooks.TOC.read_text(encoding="utf-8"))["parts"]
    (first,) = next(part["chapters"] for part in parts if part.get("caption") == "Teaching")
    listed = {first["file"], *(section["file"] for section in first["sections"])}
    pages = {path.stem for path in PAGES.glob("*.md")} - {"README_students"}
    assert listed == {f"book/workshop/{name}" for name in pages}


def test_each_question_of_the_exam_has_a_folded_solution() -> None:
    text = (PAGES / "questions.md").read_text(encoding="utf-8")
    asked = re.findall(r"^:::\{admonition\} \d\. ", text, flags=re.MULTILINE)
    assert len(asked) >= 5
    assert text.count(":::{admonition} Solution\n:class: dropdown\n") == len(asked)


def test_the_first_submission_of_the_projects_names_what_is_there() -> None:
    """Its code compiles, and each name of `leaderboard` and `uqlib` in it exists."""
    import uqlib
    from uqlib.chapters import leaderboard

    text = (PAGES / "projects.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    compile(code, "projects.md", "exec")
    assert all(hasattr(leaderboard, name) for name in re.findall(r"leaderboard\.(\w+)", code))
    assert all(
        hasattr(uqlib, name) for name in re.findall(r"uqlib\.([A-Za-z]+)\b(?! import)", code) if name != "chapters"
    )
    assert str(leaderboard.BUDGET) == "60"
    assert "sixty" in text.lower()
