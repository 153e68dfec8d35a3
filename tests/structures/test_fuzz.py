"""Every reader with spoilt copies of real files: the same ones each time. The long run is `python tests/fuzz.py`."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable
from pathlib import Path

import fuzz
import pytest

NAMES = (
    "xyz", "packed xyz", "npz", "nff", "database", "traj", "uq", "uq body", "cell", "label", "labels", "record", "run",
    "card", "study.toml", "loops.toml",
)  # fmt: skip
TRIES = {"loops.toml": 40, "uq body": 100, "study.toml": 60}


@functools.cache
def targets() -> dict[str, fuzz.Target]:
    return fuzz.targets()


def test_all_readers_are_named() -> None:
    assert set(NAMES) == set(targets())


@pytest.mark.parametrize("name", NAMES)
def test_spoilt_files(name: str) -> None:
    most = TRIES.get(name, 300)
    tried, accepted = fuzz.by_mutation(targets()[name], 60.0, seed=0, most=most)
    assert 0 < tried <= most
    assert accepted < tried, "some are refused"


@pytest.mark.parametrize("name", NAMES)
def test_the_files_themselves_are_read(name: str, tmp_path) -> None:
    target = targets()[name]
    for content in target.seeds:
        path = tmp_path / f"input{target.ending}"
        path.write_bytes(content)
        target.read(path)


def stumbles(over: Callable[[bytes], bool], error: type[Exception]) -> fuzz.Target:
    """A reader with a hole, which only some spoilt files find."""

    def read(path: Path) -> None:
        if over(path.read_bytes()):
            raise error("a hole")

    return fuzz.Target(".txt", read, [b"one line\nanother line\n"])


@pytest.mark.parametrize(
    ("over", "error"),
    [
        (lambda content: len(content) < 12, KeyError),
        (lambda content: b"\0" in content, TypeError),
        (lambda content: content.count(b"\n") > 4, RecursionError),
    ],
    ids=["short", "zeros", "lines"],
)
def test_what_is_said_of_a_fault_repeats_it(
    over: Callable[[bytes], bool],
    error: type[Exception],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    readers = {"whole": stumbles(lambda _: False, error), "a b": stumbles(over, error)}
    monkeypatch.setattr(fuzz, "targets", lambda: readers)

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["fuzz.py", "--seconds", "1", *arguments])
        assert fuzz.main() == 1
        return capsys.readouterr().out

    found = re.search(r"a b: FAULT (input \d+) .*(--only) '(a b)' (--seed) (\d+)", run("--seed", "20260101"))
    assert found
    again = run(*found.groups()[1:])
    assert f"a b: FAULT {found[1]} " in again
    assert error.__name__ in again
    assert "whole" not in again
