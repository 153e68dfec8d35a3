"""There is always a site: a chapter that a cell stopped is shown and named, and what fell short is listed."""

import re
import shutil
import subprocess
from pathlib import Path

import address
import build
import execute
import nbformat
import notebooks
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

REAL = Path(__file__).resolve().parents[2]

FAIR = """\
from uqlib.chapters import claim
claim("one is less than two", 1, below=2)
claim("the gap is wide", 0.003, above=0.02, unit="eV")"""


def chapter(title: str, *cells: str) -> nbformat.NotebookNode:
    """A notebook of one title, the given code, and a last word."""
    code = [new_code_cell(cell, id=f"cell-{number}") for number, cell in enumerate(cells)]
    last = new_markdown_cell("The last word.", id="last")
    return new_notebook(cells=[new_markdown_cell(f"# {title}", id="title"), *code, last])


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A book of three chapters beside the real settings and extensions: one fair, one broken, one that follows."""
    shutil.copy(REAL / "_config.yml", tmp_path)
    shutil.copytree(REAL / "book" / "_ext", tmp_path / "book" / "_ext")
    shutil.copy(REAL / "book" / "logo.svg", tmp_path / "book")
    (tmp_path / "book" / "references.bib").write_text("")
    (tmp_path / "book" / "index.md").write_text("# A book\n")
    (tmp_path / "_toc.yml").write_text(
        "format: jb-book\nroot: book/index\nchapters:\n"
        "  - file: book/fair\n  - file: book/broken\n  - file: book/whole\n"
    )
    fair = chapter("Fair", FAIR)
    fair.cells.insert(1, new_code_cell(address.setup_cell(""), id=notebooks.SETUP_ID))
    nbformat.write(fair, tmp_path / "book" / "fair.ipynb")
    nbformat.write(chapter("Broken", "x = 0\nx", "# 1\n1 / x", "'not reached'"), tmp_path / "book" / "broken.ipynb")
    nbformat.write(chapter("Whole", "6 * 7"), tmp_path / "book" / "whole.ipynb")
    for name, value in (("ROOT", tmp_path), ("CONFIG", tmp_path / "_config.yml"), ("TOC", tmp_path / "_toc.yml")):
        monkeypatch.setattr(notebooks, name, value)
    monkeypatch.setattr(build, "ROOT", tmp_path)
    for module in (build, execute):
        monkeypatch.setattr(module, "EXECUTED", tmp_path / "_build" / "executed", raising=False)
        monkeypatch.setattr(module, "BUILD", tmp_path / "_build", raising=False)
    for name, place in (("SITE", "html"), ("DOCTREES", ".doctrees"), ("SITE_KEY", "site.key")):
        monkeypatch.setattr(build, name, tmp_path / "_build" / place)
    return tmp_path


def test_the_site_is_there_and_says_what_failed(book: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build.build(notebooks.chapter_names()) == 1
    said = capsys.readouterr()
    assert "1 of 2 claims fall short here" in said.out
    assert "fair: Here: 0.003 eV, expected above 0.02 eV: “the gap is wide”" in said.out
    assert "broken, cell 3 of 5 (# 1): ZeroDivisionError: division by zero" in said.err

    pages = {name: (build.SITE / "book" / f"{name}.html").read_text() for name in ("fair", "broken", "whole")}
    words = {name: " ".join(re.sub(r"<[^>]+>|&\w+;", " ", page).split()) for name, page in pages.items()}
    assert "This chapter stopped at cell 3 of 5 ZeroDivisionError: division by zero" in " ".join(
        words["broken"].split()
    )
    assert 'href="#stopped-here"' in pages["broken"]
    assert pages["broken"].count('id="stopped-here"') == 1
    assert pages["broken"].index('id="stopped-here"') < pages["broken"].index("traceback highlight")
    assert "The last word." in words["broken"]
    assert not any("stopped" in words[name] for name in ("fair", "whole"))
    assert 'class="claim-short"' in pages["fair"]
    assert "42" in words["whole"]

    everything = "".join(path.read_text() for path in build.SITE.glob("book/*.html"))
    assert not re.search(r"OWNER|mybinder|colab\.research|github\.com/[\w-]+/\w", everything), "nobody knows an address"

    subprocess.run(["git", "init", "-q", book], check=True)
    subprocess.run(["git", "-C", book, "remote", "add", "origin", "git@github.com:some-one/book.git"], check=True)
    nbformat.write(chapter("Broken", "x = 1", "1 / x"), book / "book" / "broken.ipynb")
    assert build.build(notebooks.chapter_names()) == 0, "what falls short does not change the exit status"
    assert "stopped" not in (build.SITE / "book" / "broken.html").read_text()
    page = (build.SITE / "book" / "fair.html").read_text()
    for part in (
        "https://mybinder.org/v2/gh/some-one/book/main?urlpath=lab/tree/book/fair.ipynb",
        "https://colab.research.google.com/github/some-one/book/blob/main/book/fair.ipynb",
        'href="https://github.com/some-one/book/blob/main/book/fair.ipynb',
    ):
        assert part in page
    assert "git+https://github.com/some-one/book" in re.sub(r"<[^>]+>", "", page)
    tracked = [book / "_config.yml", *(book / "book").glob("*.ipynb")]
    assert not any("some-one" in path.read_text() for path in tracked), "what git tracks stays as it is"
    capsys.readouterr()
    assert build.build(["fair", "whole"]) == 0
    said = capsys.readouterr().out
    assert "fair: unchanged" in said
    assert "site: unchanged" in said


def test_an_unknown_chapter_is_named(book: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build.build(["nowhere"]) == 1
    assert "no chapter 'nowhere'; there are fair, broken, whole" in capsys.readouterr().err
