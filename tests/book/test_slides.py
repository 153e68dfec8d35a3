"""Slides: what their file asks for is on them, they ask nobody else, and what cannot be made is named."""

import re
import tomllib
from pathlib import Path

import execute
import nbformat
import pytest
import slides
from browser import Listener, served
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from playwright.sync_api import Browser

SOURCE = slides.SOURCES / "half_day.toml"
DECKS = {path.stem: tomllib.loads(path.read_text(encoding="utf-8")) for path in slides.SOURCES.glob("*.toml")}
HIGH = 720  # pixels of a slide


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The slides of the executed chapters, with their scripts."""
    place = tmp_path_factory.mktemp("slides")
    slides.copy_scripts(place / "_static")
    for name in DECKS:
        (place / f"{name}.html").write_text(slides.page(slides.SOURCES / f"{name}.toml"), encoding="utf-8")
    return place


@pytest.mark.parametrize("deck", sorted(DECKS))
def test_every_slide_shows_its_pictures_fits_and_asks_nobody_else(folder: Path, browser: Browser, deck: str) -> None:
    asked = DECKS[deck]["slide"]
    page = browser.new_page(viewport={"width": 1280, "height": HIGH})
    page.set_default_timeout(90_000)
    with served(folder) as home, Listener(page, home) as listener:
        page.goto(f"{home}/{deck}.html")
        page.wait_for_selector("html[data-ready]")
        assert page.evaluate("Reveal.getTotalSlides()") == len(asked)
        for number, slide in enumerate(asked):
            page.evaluate("(number) => Reveal.slide(number)", number)
            here = page.locator("section.present:not(.stack)")
            assert here.locator("h2").inner_text() == slide["title"]
            if here.locator(".uqv-static").count():
                here.locator(".uqv[data-ready]").wait_for()
            elif "cell" in slide:
                assert here.locator("img:visible, table").count()
            for picture in here.locator("img").all():
                assert picture.evaluate("(image) => image.decode().then(() => image.naturalWidth)") > 0
                assert picture.get_attribute("alt")
            assert here.evaluate("(section) => section.scrollHeight") <= HIGH, slide["title"]
    assert listener.problems == []
    page.close()


def test_slides_open_from_a_disk(folder: Path, browser: Browser) -> None:
    page = browser.new_page()
    with Listener(page, "file://") as listener:
        page.goto((folder / "half_day.html").as_uri())
        page.wait_for_selector("html[data-ready]")
        page.evaluate("Reveal.slide(10)")
        page.locator("section.present:not(.stack) mjx-container").first.wait_for()
    assert listener.problems == []
    page.close()


@pytest.mark.parametrize(
    ("deck", "words"), [("half_day", "Who drew a wide band"), ("afternoon", "What could one network tell us?")]
)
def test_the_speaker_has_the_words_of_the_schedule(folder: Path, deck: str, words: str) -> None:
    text = (folder / f"{deck}.html").read_text(encoding="utf-8")
    notes = re.findall(r'<aside class="notes">(.*?)</aside>', text, re.DOTALL)
    assert len(notes) == sum("say" in slide for slide in DECKS[deck]["slide"]) >= 5
    assert words in notes[0]


@pytest.fixture
def executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One executed chapter, `painn`, with a cell that has a picture and one that has not."""
    (tmp_path / "book").mkdir()
    picture = new_output("display_data", data={"image/png": "aGVsbG8="})
    cells = [
        new_markdown_cell("# X", id="title"),
        new_code_cell("1", id="with", outputs=[picture], metadata={"mystnb": {"image": {"alt": 'A "bar" & more'}}}),
        new_code_cell("2", id="without", outputs=[new_output("stream", text="2")]),
    ]
    nbformat.write(new_notebook(cells=cells), tmp_path / "book/painn.ipynb")
    monkeypatch.setattr(execute, "EXECUTED", tmp_path)


@pytest.mark.usefixtures("executed")
def test_a_picture_keeps_its_alternative_text() -> None:
    shown = slides.figure("painn", "with").outputs[0].data["text/html"]
    assert shown == '<img src="data:image/png;base64,aGVsbG8=" alt="A &quot;bar&quot; &amp; more">'


@pytest.mark.usefixtures("executed")
@pytest.mark.parametrize(
    ("slide", "words"),
    [
        ({"title": "a", "chapter": "painn", "cell": "nowhere"}, "no cell 'nowhere' with a picture"),
        ({"title": "a", "chapter": "painn", "cell": "without"}, "no cell 'without' with a picture"),
        ({"title": "a", "question": "painn.99"}, "a number up to"),
        ({"title": "a", "say": "9:99"}, "a stop of the schedule: 0:10"),
        ({"title": "a", "words": "b"}, "got 'words', expected one of"),
    ],
)
def test_what_cannot_be_made_is_named(slide: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        slides.cells(slide, {"0:10": "Hello"})


def test_a_chapter_that_was_not_executed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execute, "EXECUTED", tmp_path)
    with pytest.raises(FileNotFoundError, match="why_uncertainty was not executed yet: make book"):
        slides.page(SOURCE)
