"""Every reader with spoilt copies of real files: the same ones each time. The long run is `python tests/fuzz.py`."""

from __future__ import annotations

import functools

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
