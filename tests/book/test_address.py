"""The repository's address: from the settings, from the checkout, or, in Colab, from Colab."""

import importlib.util
import io
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import address
import pytest
from IPython.core.inputtransformer2 import TransformerManager

from uqlib.chapters import colab

REPOSITORY = "https://github.com/some-one/a.book"


@pytest.mark.parametrize(
    "remote",
    [
        "https://github.com/some-one/a.book",
        "https://github.com/some-one/a.book.git",
        "https://github.com/some-one/a.book/",
        "https://name:secret@github.com/some-one/a.book.git",
        "git@github.com:some-one/a.book.git",
        "ssh://git@github.com/some-one/a.book.git",
    ],
)
def test_a_checkout_from_github_knows_its_address(remote: str, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    subprocess.run(["git", "-C", tmp_path, "remote", "add", "origin", remote], check=True)
    assert address.of_checkout(tmp_path) == REPOSITORY
    (tmp_path / "inside").mkdir()
    assert address.of_checkout(tmp_path / "inside") == "", "a folder within somebody else's checkout"


@pytest.mark.parametrize("remote", ["/srv/git/book.git", "https://example.org/a/b", "https://github.com.evil.org/a/b"])
def test_other_remotes_are_no_address(remote: str, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    assert address.of_checkout(tmp_path) == "", "no remote at all"
    subprocess.run(["git", "-C", tmp_path, "remote", "add", "origin", remote], check=True)
    assert address.of_checkout(tmp_path) == ""


def test_a_page_says_nothing_of_a_repository_that_nobody_knows() -> None:
    text = "one\n<!-- with an address -->\ntwo\n<!-- end -->\nthree\n"
    assert address.page_with(text, REPOSITORY) == "one\ntwo\nthree\n"
    assert address.page_with(text, "") == "one\nthree\n"


class Shell:
    """Takes the place of IPython: notes what its pip is asked for, with the names in braces put in."""

    def __init__(self) -> None:
        self.commands: list[str] = []
        self.names: dict[str, Any] = {"get_ipython": lambda: self}

    def run_line_magic(self, name: str, line: str) -> None:
        """Called by what IPython makes of `%pip ...`."""
        self.commands.append(f"{name} {line.format(**self.names)}")

    def run(self, cell: str) -> None:
        """Run a cell."""
        exec(TransformerManager().transform_cell(cell), self.names)


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> Shell:
    """One in which `uqlib` is missing until pip was called."""
    made = Shell()
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "uqlib" else find(name))
    monkeypatch.setattr(colab, "finish_setup", lambda: made.commands.append("finished"))
    return made


def test_the_set_up_cell_installs_from_the_address(shell: Shell) -> None:
    shell.run(address.setup_cell(REPOSITORY))
    assert shell.commands == [f"pip install -q --no-deps git+{REPOSITORY}", "finished"]


def test_without_an_address_colab_is_asked(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    path = "fileId=https%3A%2F%2Fgithub.com%2Fsome-one%2Fa.book%2Fblob%2Fmain%2Fbook%2Fpainn.ipynb"
    sessions = f'[{{"kernel": {{}}, "name": "painn.ipynb", "path": "{path}"}}]'
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: io.BytesIO(sessions.encode()))
    shell.run(address.setup_cell(""))
    assert shell.commands == [f"pip install -q --no-deps git+{REPOSITORY}", "finished"]


@pytest.mark.parametrize("answer", ["[]", None])
def test_where_nobody_knows_the_address_the_remedy_is_said(
    answer: str | None, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def urlopen(*_: object, **__: object) -> io.BytesIO:
        if answer is None:
            raise urllib.error.URLError("connection refused")
        return io.BytesIO(answer.encode())

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    with pytest.raises(ModuleNotFoundError, match="Run `make` in the folder of the book"):
        shell.run(address.setup_cell(""))
    assert shell.commands == []
    assert "OWNER" not in address.setup_cell("")
