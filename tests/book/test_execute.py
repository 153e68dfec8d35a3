"""A chapter is executed once per change of anything that it depends on; a failed run is shown, and tried again."""

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


def test_a_failed_run_is_kept_up_to_the_cell_that_failed(book: Path) -> None:
    write_chapter(book, "x = 0\nx", "1 / x", "x")
    notebook = nbformat.read(book / "book" / "tiny.ipynb", as_version=4)
    notebook.cells[1].metadata["tags"] = ["remove-cell", "kept"]
    nbformat.write(notebook, book / "book" / "tiny.ipynb")
    done = execute.execute("tiny")
    failed = {"cell": 2, "cells": 3, "error": "ZeroDivisionError: division by zero"}
    assert done.metadata["uqlib"]["failed"] == failed
    assert done.cells[0].outputs[0].data["text/plain"] == "0"
    assert [output.ename for output in done.cells[1].outputs] == ["ZeroDivisionError"]
    assert done.cells[1].metadata["tags"] == ["kept"], "the cell that failed is in sight"
    assert done.cells[2].outputs == []
    assert done.cells[2].execution_count is None
    assert not execute.is_fresh("tiny"), "the next build tries again"


@pytest.mark.parametrize(
    ("cell", "error"),
    [
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "DeadKernelError: the kernel died"),
        ("import time\ntime.sleep(60)", "timed out"),
    ],
)
def test_what_ends_without_a_traceback_is_shown_too(
    book: Path, monkeypatch: pytest.MonkeyPatch, cell: str, error: str
) -> None:
    monkeypatch.setattr(execute, "CELL_TIMEOUT", 5)
    write_chapter(book, "x = 0", cell, "x")
    done = execute.execute("tiny")
    assert done.metadata["uqlib"]["failed"]["cell"] == 2
    assert error in done.metadata["uqlib"]["failed"]["error"]
    assert done.cells[1].outputs[-1].output_type == "error"
    assert error in done.cells[1].outputs[-1].traceback[0]


def test_claims_are_recorded_with_the_run(book: Path) -> None:
    say = "from uqlib.chapters import claim"
    write_chapter(
        book, say, "claim('a holds', 2, above=1, unit='eV')\nclaim('b falls short', [2, 1], above=1)", "1 / 0"
    )
    first, second = map(dict, execute.execute("tiny").metadata["uqlib"]["claims"])
    assert (first["words"], first["value"], first["holds"], first["unit"]) == ("a holds", 2.0, True, "eV")
    assert (second["words"], second["value"], second["holds"]) == ("b falls short", 1.0, False)


def test_a_run_under_another_environment_is_not_remembered(book: Path) -> None:
    write_chapter(book, "import os\nos.environ['UQLIB_SOMETHING']")
    assert execute.run("tiny", {"UQLIB_SOMETHING": "there"}).cells[0].outputs[0].data["text/plain"] == "'there'"
    assert not execute.executed_path("tiny").exists()


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


@pytest.mark.parametrize(("code", "follows"), [("from uqlib import loops", True), ("import uqlib.study", False)])
def test_the_cells_of_a_campaign_count_where_they_are_read(book: Path, code: str, follows: bool) -> None:
    write_chapter(book, code)
    before = execute.digest("tiny")
    cell = book / "uqlib" / "data" / "loops" / "ammonia" / "10" / "mve.json"
    cell.parent.mkdir(parents=True)
    cell.write_text("{}")
    assert (execute.digest("tiny") != before) == follows


def test_an_unknown_chapter_is_named(book: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no chapter 'nowhere'"):
        execute.execute("nowhere")
