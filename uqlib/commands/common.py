"""What several commands share: finding the data that were named, and refusing early what cannot be."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch

from uqlib.commands.stop import Stop
from uqlib.common.devices import as_device
from uqlib.structures import datasets
from uqlib.structures.datasets import Dataset

SHARES = {"train": 0.7, "valid": 0.1, "test": 0.2}  # of a file of yours, which comes without splits


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


def add_device(parser: argparse.ArgumentParser) -> None:
    """The option `--device`; `device_of` checks it."""
    parser.add_argument(
        "--device",
        default="cpu",
        metavar="auto|cpu|cuda",
        help="where networks are trained and evaluated; auto: a GPU if there is one (default: cpu)",
    )


def device_of(arguments: argparse.Namespace) -> torch.device:
    """What `--device` names. Raises Stop for what is not there."""
    try:
        return as_device(arguments.device)
    except ValueError as error:
        raise Stop(f"--{error}") from error


def check_place(path: Path) -> None:
    """Better now than after an hour of training."""
    if path.is_dir():
        raise Stop(f"--out: {path} is a folder, expected the name of a file")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise Stop(f"--out: cannot write into {folder}")
