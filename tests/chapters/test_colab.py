"""The set-up in Colab: what is missing is installed, what is there stays."""

import subprocess
import sys
from importlib import metadata
from types import ModuleType

import pytest

from uqlib.chapters import colab

REQUIREMENTS = [
    "torch>=2.5",
    "numpy>=1.26",
    "ase>=3.23",
    "scikit-learn>=1.4",
    'nglview!=4.0.1,>=4.0; extra == "show"',
    'pyscf>=2.9; extra == "oracles"',
    'jupyterlab>=4.2; extra == "book"',
    'tomli>=2; python_version < "3.0"',
]


def test_missing_names_what_is_absent_and_no_more() -> None:
    installed = {"torch": "2.6.0+cu124", "numpy": "1.26.4", "scikit-learn": "1.6.1"}
    assert colab.missing(REQUIREMENTS, installed) == ["ase>=3.23", "nglview!=4.0.1,>=4.0", "pyscf>=2.9"]


def test_another_spelling_of_a_name_counts_as_present() -> None:
    assert colab.missing(["Scikit_Learn>=1.4"], {"scikit-learn": "1.6.1"}) == []


def test_nothing_happens_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "google.colab", raising=False)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("a program was started"))
    colab.finish_setup()


@pytest.fixture
def in_colab(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A stand-in for Colab's module; returns the list of what was called in it."""
    called: list[str] = []
    google, package, output = ModuleType("google"), ModuleType("google.colab"), ModuleType("google.colab.output")
    output.enable_custom_widget_manager = lambda: called.append("widgets")  # type: ignore[attr-defined]
    package.output = output  # type: ignore[attr-defined]
    for module in (google, package, output):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(metadata, "requires", lambda _: [*REQUIREMENTS, "no-such-package>=1"])
    return called


def test_pip_may_not_touch_what_is_installed(in_colab: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []
    held: list[str] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        if "--constraint" in command:
            with open(command[command.index("--constraint") + 1]) as file:
                held.extend(file.read().split())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    colab.finish_setup()
    assert in_colab == ["widgets"]
    assert [command[-1] for command in commands] == ["no-such-package>=1"]
    assert f"torch=={metadata.version('torch')}" in held
    assert f"numpy=={metadata.version('numpy')}" in held


def test_the_view_package_comes_without_its_dependencies(in_colab: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(
        subprocess,
        "run",
        lambda command, **_: commands.append(command) or subprocess.CompletedProcess(command, 0, "", ""),
    )
    monkeypatch.setattr(metadata, "distributions", list)
    colab.finish_setup()
    assert [command[-2:] for command in commands if "--no-deps" in command] == [["--no-deps", "nglview!=4.0.1,>=4.0"]]


def test_a_failing_pip_is_quoted(in_colab: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 1, "", "ERROR: no route to host")
    )
    with pytest.raises(RuntimeError, match=r"no-such-package[^$]*no route to host[^$]*Remedy"):
        colab.finish_setup()
    assert in_colab == []
