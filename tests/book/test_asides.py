"""Questions and live figures: their source files, their cells in the notebooks, and the questions under a click."""

import json
from collections.abc import Iterator
from pathlib import Path

import asides
import execute
import live_page
import notebooks
import pytest
from browser import Listener, served
from markdown_it import MarkdownIt
from playwright.sync_api import Browser

FOLDER = notebooks.ROOT / "book" / "asides"
CHAPTERS = notebooks.chapter_names()
ONE = """\
[[live]]
before = "b"
figure = "well"
head = "mve"
title = "**Try it.**"
words = "Elsewhere."

[[question]]
before = "a"
ask = "How many?"
choices = ["One.", "Two.", "Three."]
right = 2
reason = "It is $1 + 1$."

[[question]]
ask = "And now?"
choices = ["This.", "That."]
right = 1
reason = "So it is."
"""


def notebook(*cells: tuple[str, str, str]) -> str:
    """A notebook's text of cells (kind, id, source)."""
    made = [{"cell_type": kind, "id": name, "metadata": {}, "source": [text]} for kind, name, text in cells]
    return json.dumps({"cells": made, "nbformat": 4}, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


PLAIN = notebook(
    ("markdown", "t", "# Å"), ("code", "a", "1"), ("code", "b", "2"), ("markdown", "end", "## Take-aways\n\n- x")
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the questions of a chapter named `one`."""
    (tmp_path / "one.toml").write_text(ONE, encoding="utf-8")
    return tmp_path


def test_cells_come_where_the_file_says_and_go_without_a_trace(folder: Path) -> None:
    placed = asides.placed(PLAIN, folder, "one")
    cells = {cell["id"]: "".join(cell["source"]) for cell in json.loads(placed)["cells"]}
    assert list(cells) == ["t", "quiz-1", "a", "live-1", "b", "quiz-last", "end"]
    assert "**Predict first.** How many?" in cells["quiz-1"]
    assert 'data-right="2"' in cells["quiz-1"]
    assert cells["quiz-last"].startswith("## Check yourself\n\n")
    assert cells["quiz-last"].count("Check yourself") == 1, "the heading says it, the boxes need not"
    assert "**Question 1 of 1.** And now?" in cells["quiz-last"]
    assert asides.placed(placed, folder, "one") == placed, "applied twice, it changes nothing more"
    assert asides.without(placed) == PLAIN, "results depend on the same text as before"
    assert asides.placed(placed, folder, "two") == PLAIN, "a chapter without a file has none"
    (folder / "one.toml").write_text(ONE.replace("How many?", "How much?"), encoding="utf-8")
    assert "How much?" in asides.placed(placed, folder, "one")
    assert "How many?" not in asides.placed(placed, folder, "one")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"a"', '"nowhere"', "no cell 'nowhere'"),
        ("right = 2", "right = 4", "3 choices and right = 4"),
        ("right = 2", "right = 0", "counted from 1"),
        ("reason = ", "cause = ", "cause"),
        ("[[live]]", "[[alive]]", "unknown table 'alive'"),
        ('"How many?"', '"How many?', r"one\.toml"),
    ],
)
def test_a_wrong_file_is_named(folder: Path, old: str, new: str, words: str) -> None:
    (folder / "one.toml").write_text(ONE.replace(old, new), encoding="utf-8")
    with pytest.raises(ValueError, match=words) as raised:
        asides.placed(PLAIN, folder, "one")
    assert "one.toml" in str(raised.value)


def test_a_chapter_need_not_run_again_for_a_question(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(notebooks, "ROOT", folder)
    (folder / "book").mkdir()
    chapter = folder / "book" / "one.ipynb"
    chapter.write_text(PLAIN, encoding="utf-8")
    before = execute.digest("one")
    chapter.write_text(asides.placed(PLAIN, folder, "one"), encoding="utf-8")
    assert execute.digest("one") == before
    chapter.write_text(PLAIN.replace('"1"', '"3"'), encoding="utf-8")
    assert execute.digest("one") != before


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_chapter_has_three_to_five_questions(chapter: str) -> None:
    questions, _ = asides.read(FOLDER, chapter)
    assert 3 <= len(questions) <= 5
    assert any(question.before for question in questions), "nothing to predict first"
    assert any(not question.before for question in questions)
    for question in questions:
        assert question.ask.endswith("?")
        assert len(set(question.choices)) == len(question.choices) >= 3
        assert all(text[0].isupper() or not text[0].isalpha() for text in [*question.choices, question.reason])
        assert all(text.rstrip().endswith((".", "?", ")")) for text in [*question.choices, question.reason])
        assert len(question.reason) < 320, "a reason is short"


def test_the_right_answer_has_no_usual_place() -> None:
    right = [question.right for chapter in CHAPTERS for question in asides.read(FOLDER, chapter)[0]]
    shares = [right.count(place) / len(right) for place in (1, 2, 3)]
    assert max(shares) < 0.45
    assert min(shares) > 0.2


def test_every_file_belongs_to_a_chapter() -> None:
    assert sorted(path.stem for path in FOLDER.iterdir()) == sorted(CHAPTERS)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_notebook_shows_no_directive_in_their_place(chapter: str) -> None:
    cells = json.loads(notebooks.source(chapter).read_text(encoding="utf-8"))["cells"]
    own = ["".join(cell["source"]) for cell in cells if cell["id"].startswith(asides.PREFIXES)]
    assert own
    for text in own:
        assert "```" not in text
        assert ":::" not in text
        assert text.count("<div") == text.count("</div>")


def test_live_figures_stand_in_their_chapters() -> None:
    found = {chapter: [live.head or live.figure for live in asides.read(FOLDER, chapter)[1]] for chapter in CHAPTERS}
    assert {chapter: heads for chapter, heads in found.items() if heads} == {
        "why_uncertainty": ["ensemble"],
        "judging_uncertainty": ["calibration"],
        "mve": ["mve"],
        "evidential": ["evidential"],
        "gmm": ["mixture"],
        "after_the_paper": ["llpr"],
    }


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A page with two questions, as a chapter shows them."""
    place = tmp_path_factory.mktemp("quiz")
    (place / "one.toml").write_text(ONE, encoding="utf-8")
    questions, _ = asides.read(place, "one")
    text = "\n\n".join(question.markdown(f"quiz-{number}") for number, question in enumerate(questions, start=1))
    live_page.write(place, MarkdownIt("commonmark").render(text))
    with served(place) as home:
        yield home


def test_an_answer_shows_only_after_a_click(browser: Browser, site: str) -> None:
    page = browser.new_page()
    with Listener(page, site) as listener:
        page.goto(f"{site}/index.html")
        first, second = page.locator(".quiz").all()
        first.locator("button").first.wait_for()
        reason = first.get_by_text("It is $1 + 1$.")
        assert not reason.is_visible()
        assert first.locator(".right, .wrong").count() == 0
        first.get_by_role("button", name="Three.").click()
        assert first.get_attribute("data-answered") == "wrong"
        assert reason.is_visible()
        assert first.locator(".right").all_inner_texts() == ["Two."]
        assert "number 2" in first.get_by_role("status").inner_text()
        assert first.get_by_role("button", name="Three.").get_attribute("aria-pressed") == "true"
        first.get_by_role("button", name="Two.").click()
        assert first.get_attribute("data-answered") == "right"
        assert first.locator(".wrong").count() == 0
        assert second.get_attribute("data-answered") is None, "the questions know nothing of each other"
        second.get_by_role("button", name="This.").focus()
        page.keyboard.press("Enter")
        assert second.get_attribute("data-answered") == "right"
        assert second.get_by_text("So it is.").is_visible()
        assert second.locator("ol[role=group]").get_attribute("aria-labelledby") == "quiz-2-question"
    assert listener.problems == []
    page.close()


def test_without_scripts_a_question_is_a_list_with_a_fold(browser: Browser, site: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{site}/index.html")
    first = page.locator(".quiz").first
    assert first.locator("li").all_inner_texts() == ["One.", "Two.", "Three."]
    assert not first.get_by_text("It is $1 + 1$.").is_visible()
    first.locator("summary").click()
    assert first.get_by_text("It is $1 + 1$.").is_visible()
    context.close()
