"""Every chapter runs from top to bottom (nbmake), within what Binder gives it. The site is made from the same runs."""

import re
from collections import Counter

import execute
import notebooks
import pytest
from nbformat import NotebookNode

from uqlib.chapters import Claim

MEMORY_LIMIT_MB = 1500  # Binder has 2 GB in all, for the kernel and what serves it

WIDGET = "application/vnd.jupyter.widget"

CHAPTERS = notebooks.chapter_names()


def test_there_are_chapters() -> None:
    assert CHAPTERS, f"{notebooks.TOC.name} names no notebook that exists in book/"


def test_every_notebook_is_a_chapter() -> None:
    found = {path.stem for path in (notebooks.ROOT / "book").glob("*.ipynb")}
    assert found == set(CHAPTERS), "a notebook that _toc.yml does not name is executed and read by nobody"


def test_the_front_page_lists_the_chapters_in_the_order_of_the_sidebar() -> None:
    page = (notebooks.ROOT / "book/index.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| \{doc\}`(\w+)` \|", page, flags=re.MULTILINE) == CHAPTERS


@pytest.fixture(scope="module", params=CHAPTERS)
def chapter(request: pytest.FixtureRequest) -> NotebookNode:
    """An executed chapter: the run that the book shows, or a new one if there was none."""
    return execute.execute(request.param)


def test_chapter_runs(chapter: NotebookNode) -> None:
    assert chapter.metadata["uqlib"].get("failed") is None
    errors = [output for cell in code(chapter) for output in cell.outputs if output.output_type == "error"]
    assert errors == []
    assert all(cell.execution_count for cell in code(chapter) if cell.source.strip())


def test_every_claim_holds_here(chapter: NotebookNode) -> None:
    made = [Claim(**each) for each in chapter.metadata["uqlib"]["claims"]]
    assert [str(each) for each in made if not each.holds] == []


def test_no_two_claims_share_their_words(chapter: NotebookNode) -> None:
    count = Counter(each["words"] for each in chapter.metadata["uqlib"]["claims"])
    assert [words for words, times in count.items() if times > 1] == [], "the words are a claim's name"


def test_chapter_fits_into_memory(chapter: NotebookNode) -> None:
    assert 0 < chapter.metadata["uqlib"]["peak_mb"] <= MEMORY_LIMIT_MB


def test_chapter_prints_no_warning(chapter: NotebookNode) -> None:
    """Nothing on the standard error stream: no warnings, no debris of progress bars."""
    printed = [
        output.text
        for cell in code(chapter)
        for output in cell.outputs
        if output.output_type == "stream" and output.name == "stderr"
    ]
    assert printed == []


def test_chapter_shows_no_progress_bar(chapter: NotebookNode) -> None:
    state = chapter.metadata.get("widgets", {}).get(f"{WIDGET}-state+json", {}).get("state", {})
    views = [output.get("data", {}).get(f"{WIDGET}-view+json") for cell in code(chapter) for output in cell.outputs]
    waiting, shown = [view["model_id"] for view in views if view], set()
    while waiting:
        model = state[waiting.pop()]
        shown.add(model["model_name"])
        waiting += [child.removeprefix("IPY_MODEL_") for child in model["state"].get("children", [])]
    assert "FloatProgressModel" not in shown


def code(notebook: NotebookNode) -> list[NotebookNode]:
    """The code cells of a notebook."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]
