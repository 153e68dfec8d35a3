"""What several commands share: finding the data that were named, and refusing early what cannot be."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from uqlib.structures import datasets
from uqlib.structures.datasets import Dataset

SHARES = {"train": 0.7, "valid": 0.1, "test": 0.2}  # of a file of yours, which comes without splits


class Stop(Exception):
    """Asked for something that cannot be: reported as bad usage."""


def find_data(name: str) -> Dataset:
    if name in datasets.available():
        return datasets.load(name)
    if Path(name).exists():
        return datasets.read(name)
    raise Stop(f"data: got {name!r}, expected one of {', '.join(datasets.available())}, or a file")


def find_splits(arguments: argparse.Namespace) -> Dataset:
    """`--data`, shown, with the splits that training needs; a file of yours is split by `--seed`."""
    data = find_data(arguments.data)
    if not data.splits:
        sizes = {name: int(share * len(data)) for name, share in SHARES.items()}
        data = data.split(seed=arguments.seed, by_group=True, **sizes)
    if not {"train", "valid"} <= set(data.splits):
        raise Stop(f"--data: {data.name!r} has the splits {sorted(data.splits)}, training needs 'train' and 'valid'")
    print(data, flush=True)
    return data


def check_place(path: Path) -> None:
    """Better now than after an hour of training."""
    if path.is_dir():
        raise Stop(f"--out: {path} is a folder, expected the name of a file")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise Stop(f"--out: cannot write into {folder}")
