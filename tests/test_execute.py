"""A chapter is executed once per change of anything that it depends on, and a failed run leaves nothing."""

from pathlib import Path

import execute
import nbformat
import notebooks
import pytest


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty book with a library of one file."""
    (tmp_path / "book").mkdir()
    (tmp_path / "uqlib" / "data").mkdir(parents=True)
    (tmp_path / "uqlib" / "units.py").write_text("KELVIN = 1.0\n")
    (tmp_path / "uqlib" / "data" / "a.xyz").write_text("1\n")
    (tmp_path / "requirements.lock").write_text("torch==2.13.0\n")
    monkeypatch.setattr(notebooks, "ROOT", tmp_path)
    monkeypatch.setattr(execute, "BUILD", tmp_path / "_build")
    monkeypatch.setattr(execute, "EXECUTED", tmp_path / "_build" / "executed")
    return tmp_path


def write_chapter(book: Path, *cells: str) -> None:
    new = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbformat.write(new, book / "book" / "tiny.ipynb")


def test_a_chapter_is_executed_once(book: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    write_chapter(
        book,
        f"with open({str(log)!r}, 'a') as file:\n    file.write('x')",
        "from tqdm.auto import tqdm\ntotal = sum(tqdm(range(4), disable=False))\nblock = bytearray(200_000_000)",
        "total",
    )
    first = execute.execute("tiny")
    assert first.cells[1].outputs == [], "a progress bar is shown"
    assert [output.data["text/plain"] for output in first.cells[2].outputs] == ["6"]
    cost = first.metadata["uqlib"]
    assert cost["seconds"] > 0
    assert cost["cores"] >= 1
    assert 200 < cost["peak_mb"] < 600
    assert execute.execute("tiny") == first
    assert log.read_text() == "x"
    assert sorted(path.name for path in (book / "book").iterdir()) == ["tiny.ipynb"]


def test_a_failed_run_leaves_nothing(book: Path) -> None:
    write_chapter(book, "x = 0", "1 / x")
    with pytest.raises(execute.ChapterFailed, match=r"chapter 'tiny', cell 1: .*ZeroDivisionError"):
        execute.execute("tiny")
    assert not execute.is_fresh("tiny")
    assert list(execute.executed_path("tiny").parent.iterdir()) == []


@pytest.mark.parametrize(
    "changed", ["uqlib/units.py", "uqlib/data/a.xyz", "uqlib/new.py", "requirements.lock", "book/tiny.ipynb"]
)
def test_the_digest_follows_every_dependency(book: Path, changed: str) -> None:
    write_chapter(book, "1")
    before = execute.digest("tiny")
    assert execute.digest("tiny") == before
    path = book / changed
    path.write_text((path.read_text() if path.exists() else "") + " ")
    assert execute.digest("tiny") != before


def test_the_digest_ignores_compiled_files(book: Path) -> None:
    write_chapter(book, "1")
    before = execute.digest("tiny")
    (book / "uqlib" / "__pycache__").mkdir()
    (book / "uqlib" / "__pycache__" / "units.pyc").write_bytes(b"x")
    assert execute.digest("tiny") == before


def test_an_unknown_chapter_is_named(book: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no chapter 'nowhere'"):
        execute.execute("nowhere")
