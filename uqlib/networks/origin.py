"""What a network was trained on, in a few words that go where it goes: into copies, files and tables."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

import uqlib
from uqlib.structures.datasets import Dataset

LEVEL_KEYS = ("level", "level_of_theory")  # of `atoms.info`, where no card says it


def origin(train: Dataset) -> dict[str, Any]:
    """Of a training set `name`, `structures`, `atoms`, `elements`, `level`, `sha256`; and `uqlib`, the version at work.

    `level`, of the theory behind the labels, is what the data card says, or `info["level"]` of all structures if they
    agree; None if nobody says it. `sha256` as `fingerprint`. All of it can stand in a file without running code.
    """
    return {
        "name": train.name,
        "structures": len(train),
        "atoms": sum(len(frame) for frame in train.atoms),
        "elements": list(train.elements),
        "level": _level(train),
        "sha256": fingerprint(train),
        "uqlib": uqlib.__version__,
    }


def fingerprint(data: Dataset) -> str:
    """SHA-256 of elements, positions, cells and labels, whatever the order of the structures."""
    return hashlib.sha256("".join(sorted(_of_structure(frame) for frame in data.atoms)).encode()).hexdigest()


def _of_structure(frame: Any) -> str:
    labels = {} if frame.calc is None else frame.calc.results
    found = hashlib.sha256()
    for array in (frame.numbers.astype(np.int64), frame.positions, np.asarray(frame.cell), frame.pbc):
        found.update(np.ascontiguousarray(array).tobytes())
    for name in ("energy", "forces", "stress"):
        if labels.get(name) is not None:
            found.update(name.encode() + np.asarray(labels[name], dtype=np.float64).tobytes())
    return found.hexdigest()


def _level(train: Dataset) -> str | None:
    if "level" in train.card:
        return str(train.card["level"])
    for key in LEVEL_KEYS:
        said = {str(frame.info.get(key, "")) for frame in train.atoms}
        if len(said) == 1 and said != {""}:
            return said.pop()
    return None
