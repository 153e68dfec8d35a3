"""Plant one plausible bug at a time and see whether the tests notice: `make mutants`.

The bugs are in `tests/mutants.toml`: a file, a line of it before and after, and the tests that must notice. Each is
planted in a copy of the repository. A survivor is a hole in the tests: close it with a test, or say in the list, as
`same`, why the program does the same with it.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import multiprocessing
import os
import shutil
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIST = ROOT / "tests" / "mutants.toml"
COPIED = ("uqlib", "tests", "scripts", "book", "pyproject.toml")
NOTICED, PASSED = 1, 0  # exit statuses of pytest
HEAVY = (
    "torch", "ase.io", "ase.db", "ase.md", "sklearn.decomposition", "sklearn.isotonic", "scipy.optimize", "pydantic",
    "vesin", "pytest",
)  # fmt: skip
"""Imported once, not for each mutant; none of them is ours."""


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One bug."""

    file: str
    before: str
    after: str
    tests: tuple[str, ...]
    same: str = ""  # why it changes nothing that counts

    def planted(self, text: str) -> str:
        """The file's text with the bug. Raises ValueError where the line is not there, or not once."""
        if text.count(self.before) != 1:
            raise ValueError(f"{self.file}: {self.before!r} is there {text.count(self.before)} times, expected once")
        return text.replace(self.before, self.after)


def read(path: Path = LIST) -> list[Mutant]:
    """All mutants. Raises ValueError for a list that cannot be."""
    found = []
    for entry in tomllib.loads(path.read_text(encoding="utf-8"))["mutant"]:
        try:
            found.append(Mutant(**{**entry, "tests": tuple(entry["tests"])}))
        except (TypeError, KeyError) as error:
            raise ValueError(f"{path}: {error} in {entry}") from error
    return found


def survives(mutant: Mutant, copy: Path) -> bool:
    """Plant it, run its tests, and take it away again."""
    path = copy / mutant.file
    text = path.read_text(encoding="utf-8")
    path.write_text(mutant.planted(text), encoding="utf-8")
    try:
        return run(mutant.tests, copy) == PASSED
    finally:
        path.write_text(text, encoding="utf-8")


def run(tests: tuple[str, ...], copy: Path) -> int:
    """Exit status of pytest in the copy, in a process that begins with what all of them import already.

    Raises RuntimeError where it could not run them.
    """
    for name in HEAVY:
        importlib.import_module(name)
    process = multiprocessing.get_context("fork").Process(target=_tested, args=(tests, copy))
    process.start()
    process.join()
    if process.exitcode not in (NOTICED, PASSED):
        raise RuntimeError(f"{' '.join(tests)}: could not be run, see above (status {process.exitcode})")
    return process.exitcode


def _tested(tests: tuple[str, ...], copy: Path) -> None:
    os.chdir(copy)
    sys.path[:0] = [str(copy)]
    sys.dont_write_bytecode = True
    os.environ["PYTHONPATH"] = os.pathsep.join([str(copy), os.environ.get("PYTHONPATH", "")])
    import pytest

    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        status = pytest.main(["-x", "-q", "-p", "no:cacheprovider", *tests])
    if status not in (NOTICED, PASSED):
        print(output.getvalue(), file=sys.stderr)
    sys.stdout.flush()
    os._exit(int(status))


def main() -> int:
    """Exit status 1 if one survives."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="TEXT", help="those whose file or line holds it")
    arguments = parser.parse_args()
    chosen = [each for each in read() if arguments.only in each.file or arguments.only in each.before]
    survivors = []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in COPIED:
            place = ROOT / name
            (shutil.copytree if place.is_dir() else shutil.copy)(place, copy / name)
        for number, mutant in enumerate(chosen, start=1):
            lives = survives(mutant, copy)
            word = "same" if lives and mutant.same else "SURVIVES" if lives else "noticed"
            print(f"[{number}/{len(chosen)}] {word}: {mutant.file}: {mutant.after.strip()}", flush=True)
            if word == "SURVIVES":
                survivors.append(mutant)
    count = sum(not each.same for each in chosen)
    print(f"{count - len(survivors)} of {count} noticed")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
