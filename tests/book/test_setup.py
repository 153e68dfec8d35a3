"""The set-up agrees with itself: one source of truth, and what follows from it follows."""

import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import workshop
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from scripts.setup import lock, supported

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCK_TEXT = lock.LOCK.read_text(encoding="utf-8")
PINS = lock.read_lock(LOCK_TEXT)


def requirements() -> list[Requirement]:
    """Everything that pyproject.toml asks for, in the library and in all extras."""
    texts = [*PROJECT["dependencies"], *(text for extra in PROJECT["optional-dependencies"].values() for text in extra)]
    found = [Requirement(text) for text in texts]
    return [requirement for requirement in found if requirement.name != PROJECT["name"]]


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_the_lock_satisfies_pyproject(requirement: Requirement) -> None:
    pinned = PINS.get(lock.canonical(requirement.name))
    assert pinned is not None, f"{requirement.name} is not in requirements.lock: make lock"
    assert requirement.specifier.contains(pinned, prereleases=True), (
        "requirements.lock is older than pyproject: make lock"
    )


def test_the_lock_pins_everything_and_prescribes_no_build() -> None:
    assert lock.lock_text(PINS) == LOCK_TEXT
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.!]*", f"{name}=={version}") for name, version in PINS.items())
    assert PINS["torch"] == "2.13.0"


def test_these_tests_run_with_what_is_locked() -> None:
    installed = {lock.canonical(d.metadata["Name"]): d.version.split("+")[0] for d in metadata.distributions()}
    other = {name: (installed[name], pin) for name, pin in PINS.items() if installed.get(name, pin) != pin}
    assert not other, "installed and locked versions differ: remove .venv/.installed and run make again"


def test_the_locked_packages_agree_with_each_other() -> None:
    for name in PINS:
        for text in _needs(name):
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                pin = PINS.get(lock.canonical(needed.name), "")
                assert needed.specifier.contains(pin, prereleases=True), f"{name} needs {needed}, locked is {pin!r}"


def _needs(name: str) -> list[str]:
    try:
        return metadata.requires(name) or []
    except metadata.PackageNotFoundError:  # for another system than this one
        return []


def test_environment_yml_follows_from_pyproject_and_lock() -> None:
    text = lock.ENVIRONMENT.read_text(encoding="utf-8")
    assert text == lock.environment_text(PINS, lock.direct_dependencies()), "make lock"
    dependencies = yaml.safe_load(text)["dependencies"]
    (python,) = [item for item in dependencies if str(item).startswith("python=")]
    assert SpecifierSet(PROJECT["requires-python"]).contains(python.removeprefix("python="))
    (pip,) = [item["pip"] for item in dependencies if isinstance(item, dict)]
    assert pip[0].endswith("/whl/cpu"), "Binder has 2 GB and no GPU"
    assert {"torch==2.13.0", "pyscf==" + PINS["pyscf"], "--editable ."} <= set(pip)


def test_the_readme_names_only_commands_that_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z]+)", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE))
    assert {"book", "test"} <= named <= targets


def windows_commands(text: str) -> list[str]:
    """What a text in Markdown runs on Windows with the environment's `python`: whole lines, and code between ticks."""
    found = re.findall(r"^\.venv\\Scripts\\python .*$", text, re.MULTILINE)
    return found + re.findall(r"`(\.venv\\Scripts\\python [^`]+)`", text)


@pytest.mark.parametrize("page", ["README.md", "book/workshop/README_students.md"])
def test_commands_for_windows_name_what_is_there(page: str) -> None:
    """Files with their options, modules, and a Python that is supported, all without `make`."""
    text = (ROOT / page).read_text(encoding="utf-8")
    commands = windows_commands(text)
    assert len(commands) >= 3
    for command in commands:
        first, *rest = command.split()[1:]
        if first == "-m":
            assert importlib.util.find_spec(rest[0]), command
            continue
        assert "/" not in first
        script = ROOT / first.replace("\\", "/")
        assert script.is_file(), command
        options = [word for word in rest if word.startswith("--")]
        assert all(f'"{option}"' in script.read_text(encoding="utf-8") for option in options), command
    (version,) = re.findall(r"^py -(\S+) -m venv \.venv$", text, re.MULTILINE)
    assert version in SpecifierSet(PROJECT["requires-python"])


def test_windows_leaves_out_what_has_no_package_there() -> None:
    """The README's filter of the lock takes away these packages and no others."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (words,) = re.findall(r'^findstr /v "([^"]+)" requirements\.lock > requirements-windows\.txt$', text, re.MULTILINE)
    gone = {line.split("==")[0] for line in LOCK_TEXT.splitlines() if any(word in line for word in words.split())}
    assert gone == set(workshop.NOT_ON_WINDOWS)
    assert "pip install -r requirements-windows.txt" in text


def test_extras_are_called_by_their_names() -> None:
    texts = [ROOT / "README.md", *(ROOT / "uqlib").rglob("*.py"), *(ROOT / "book").glob("*.ipynb")]
    named = {name for path in texts for name in re.findall(r"uqlib\[(\w+)\]", path.read_text(encoding="utf-8"))}
    assert named <= set(PROJECT["optional-dependencies"])


def test_the_readme_links_to_what_exists() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []


def test_make_alone_lists_every_command() -> None:
    printed = subprocess.run(["make", "-C", ROOT], capture_output=True, text=True, check=True).stdout
    for command in ("book", "test", "chapter", "serve", "audit", "repository", "lock", "clean"):
        assert f"make {command} " in printed


def test_make_finds_no_fault_with_the_python_that_runs_this() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "setup" / "supported.py"], capture_output=True, text=True, check=True
    )
    assert done.stdout == ""


FINE = ((3, 11), "Linux", "x86_64", "CPython", {"venv": True, "ensurepip": True})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({0: (3, 10)}, "Python 3.11 or later is needed; .* is Python 3.10. Say which: make PYTHON="),
        ({0: (3, 14)}, "Python 3.11, 3.12 or 3.13 is needed; .* is Python 3.14. Say which: make PYTHON="),
        ({3: "PyPy"}, "CPython is needed; .* is PyPy. Say which"),
        ({1: "Darwin"}, "no release for Macs with an Intel processor .* Binder"),
        ({1: "Windows"}, "run it in WSL"),
        ({4: {"venv": True, "ensurepip": False}}, "no ensurepip. .* apt-get install python3.11-venv"),
    ],
)
def test_what_does_not_work_is_said_before_pip_is_asked(change: dict[int, Any], words: str) -> None:
    assert supported.obstacle(*FINE) == ""
    said = supported.obstacle(*(change.get(place, value) for place, value in enumerate(FINE)))
    assert re.search(words, said)
    assert "\n" not in said


def test_make_says_it_first_and_installs_nothing(tmp_path: Path) -> None:
    for path in ("Makefile", "requirements.lock", "pyproject.toml", "scripts/setup/supported.py"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / path)
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\necho 'Python 3.11 or later is needed'; exit 2\n")
    old.chmod(0o755)
    # These tests may run under `make` themselves; one that is called by another would begin with a word of its own.
    command = ["make", "--no-print-directory", "book", f"PYTHON={old}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[0] == "Python 3.11 or later is needed"
    assert done.returncode == 2
    assert not (tmp_path / ".venv").exists()


def test_every_python_that_is_promised_is_allowed() -> None:
    versions = [text.split()[-1] for text in PROJECT["classifiers"] if "Python :: 3." in text]
    allowed = [f"3.{minor}" for minor in range(supported.OLDEST[1], supported.NEWEST[1] + 1)]
    assert versions == allowed
    assert all(SpecifierSet(PROJECT["requires-python"]).contains(version) for version in versions)


def test_licences_and_citation() -> None:
    first_lines = {
        "LICENSE": "Creative Commons Attribution 4.0 International",
        "LICENSE.code": "MIT License",
        "LICENSE.data": "Creative Commons Legal Code",
    }
    for name, line in first_lines.items():
        assert (ROOT / name).read_text(encoding="utf-8").startswith(line)
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert str(citation["version"]) == PROJECT["version"]
    assert {"cff-version", "message", "title", "authors"} <= set(citation)


def test_workflows_take_the_small_torch_and_call_the_same_commands() -> None:
    for name, command in (("book", "make book"), ("test", "bash .ci/run")):
        text = (ROOT / ".github" / "workflows" / f"{name}.yml").read_text(encoding="utf-8")
        workflow = yaml.safe_load(text)
        assert workflow["env"]["PIP_EXTRA_INDEX_URL"] == lock.CPU_TORCH
        assert any(step.get("run") == command for job in workflow["jobs"].values() for step in job["steps"])
