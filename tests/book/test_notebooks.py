"""The form that notebooks have in git, the set-up cell they share, and the one place of the repository's address."""

import json
from pathlib import Path

import nbformat
import notebooks
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

CONFIG = """\
title: A book # with a remark
repository:
  # where the book lives
  url: "" # set by `make repository URL=...`
  branch: main
html:
  url: kept
"""


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A book of one chapter, as an author may leave it: executed, without the set-up cell."""
    (tmp_path / "book").mkdir()
    (tmp_path / "_config.yml").write_text(CONFIG)
    (tmp_path / "_toc.yml").write_text(
        "format: jb-book\nroot: book/index\nparts:\n  - caption: A\n    chapters:\n      - file: book/one\n"
    )
    monkeypatch.setattr(notebooks, "ROOT", tmp_path)
    monkeypatch.setattr(notebooks, "CONFIG", tmp_path / "_config.yml")
    monkeypatch.setattr(notebooks, "TOC", tmp_path / "_toc.yml")
    output = nbformat.v4.new_output("stream", text="2\n")
    figure = new_code_cell("plot()  \n", metadata={"mystnb": {"image": {"alt": "a line"}}, "scrolled": True})
    cells = [new_markdown_cell("# One\n"), new_code_cell("1 + 1", outputs=[output], execution_count=3), figure]
    notebook = new_notebook(cells=cells, metadata={"colab": {"a": 1}})
    notebook.cells.append(figure)  # a copied cell, id included
    (tmp_path / "book" / "one.ipynb").write_text(json.dumps(notebook))
    return tmp_path


def test_normal_form(book: Path) -> None:
    path = book / "book" / "one.ipynb"
    assert notebooks.faults(path)
    assert notebooks.fix(path)
    assert notebooks.faults(path) == []
    assert not notebooks.fix(path), "applied twice, it changes nothing more"
    cells = nbformat.read(path, as_version=4).cells
    assert [cell.source for cell in cells] == ["# One", notebooks.setup_cell(), "1 + 1", "plot()", "plot()"]
    assert all(not cell.outputs and cell.execution_count is None for cell in cells[1:])
    assert len({cell.id for cell in cells}) == len(cells)
    assert cells[3].metadata == {"mystnb": {"image": {"alt": "a line"}}}
    assert dict(nbformat.read(path, as_version=4).metadata) == notebooks.NOTEBOOK_METADATA


def test_a_chapter_begins_with_its_title(book: Path) -> None:
    path = book / "book" / "one.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("1")]), path)
    assert "begins with a markdown cell" in notebooks.faults(path)[0]
    with pytest.raises(ValueError, match="begins with a markdown cell"):
        notebooks.fix(path)


def test_chapters_are_the_notebooks_of_the_table_of_contents(book: Path) -> None:
    assert notebooks.chapter_names() == ["one"]


@pytest.mark.parametrize("given", ["https://github.com/a/b", "https://github.com/a/b.git", " https://github.com/a/b/ "])
def test_the_repository_is_set_once_for_all(book: Path, given: str) -> None:
    path = book / "book" / "one.ipynb"
    notebooks.fix(path)
    assert notebooks.repository_url() == ""
    assert "OWNER" not in path.read_text()
    notebooks.set_repository(given)
    assert notebooks.repository_url() == "https://github.com/a/b"
    assert (book / "_config.yml").read_text() == CONFIG.replace('""', "https://github.com/a/b")
    assert "git+https://github.com/a/b\\n" in path.read_text()
    notebooks.set_repository("https://github.com/c/d")
    assert (book / "_config.yml").read_text() == CONFIG.replace('""', "https://github.com/c/d")
    assert notebooks.faults(path) == []


def test_an_address_goes_into_the_set_up_cell_alone(book: Path) -> None:
    path = book / "book" / "one.ipynb"
    notebooks.fix(path)
    text = path.read_text()
    known = notebooks.with_address(text, "https://github.com/a/b")
    assert "git+https://github.com/a/b\\n" in known
    assert notebooks.with_address(known, "https://github.com/a/b") == known
    assert notebooks.with_address(known, "") == text


@pytest.mark.parametrize("given", ["", "github.com/a/b", "https://github.com/a", 'https://github.com/a/b"; rm -rf ~'])
def test_what_is_no_address_changes_nothing(book: Path, given: str) -> None:
    with pytest.raises(ValueError, match=r"expected the form https://github.com/owner/name"):
        notebooks.set_repository(given)
    assert (book / "_config.yml").read_text() == CONFIG


def test_a_configuration_without_the_line_is_reported(book: Path) -> None:
    (book / "_config.yml").write_text("title: A book\n")
    with pytest.raises(ValueError, match="no line 'url:' under 'repository:'"):
        notebooks.set_repository("https://github.com/a/b")


ALL = sorted((Path(__file__).resolve().parents[2] / "book").glob("*.ipynb"))


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_the_books_notebooks_are_in_this_form(path: Path) -> None:
    assert notebooks.faults(path) == []
