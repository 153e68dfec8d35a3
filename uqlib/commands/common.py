"""What several commands share: finding the data that were named, and refusing early what cannot be."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.data import chemical_symbols

from uqlib.commands.stop import Stop
from uqlib.commands.words import READING, option
from uqlib.common.devices import as_device
from uqlib.networks.labels import refuse_unlabelled
from uqlib.structures import datasets
from uqlib.structures.dataset import Dataset
from uqlib.structures.units import ANGSTROM_PER, EV_PER, EV_PER_ANGSTROM3_PER

SHARES = {"train": 0.7, "valid": 0.1, "test": 0.2}  # of a file of yours, which comes without splits
PLURAL = {"energy": "energies", "forces": "forces"}
FEWEST = 10  # structures that are divided in these shares


def add_reading(parser: argparse.ArgumentParser) -> None:
    """Options of reading a file, as those of `uqlib.read`."""
    group = parser.add_argument_group("how your file is read")
    for quantity in ("energy", "forces", "stress", "virial"):
        group.add_argument(f"--{quantity}-key", metavar="NAME", help=f"under which name it has {quantity}")
    group.add_argument("--energy-unit", metavar="UNIT", help=", ".join(EV_PER))
    group.add_argument("--length-unit", metavar="UNIT", help=", ".join(ANGSTROM_PER))
    group.add_argument("--forces-unit", metavar="UNIT", help="as hartree/bohr; default: energy unit/length unit")
    group.add_argument("--stress-unit", metavar="UNIT", help=", ".join(EV_PER_ANGSTROM3_PER))
    group.add_argument("--e0", metavar="H=-13.6,...", help="energies of isolated atoms, in eV")


def add_splitting(parser: argparse.ArgumentParser) -> None:
    """Options of dividing a file of yours into train, valid and test, as those of `Dataset.split`."""
    group = parser.add_argument_group("how your file is divided")
    group.add_argument(
        "--by-group", action=argparse.BooleanOptionalAction, default=True, help="keep frames of one file together"
    )
    group.add_argument("--blocks", action="store_true", help="cut each group into stretches, one a split")
    group.add_argument("--gap", type=int, metavar="N", help="frames left out between two stretches")


def find_data(arguments: argparse.Namespace, name: str) -> Dataset:
    """One of our own sets, or a file or folder of yours, read as the options say."""
    if name in datasets.available():
        if given := [key for key in (*READING, "e0") if getattr(arguments, key) is not None]:
            raise Stop(f"{option(given[0])}: {name} is one of our own, known as it is")
        return datasets.load(name)
    if Path(name).exists():
        return read_file(arguments, name)
    raise Stop(f"data: got {name!r}, expected one of {', '.join(datasets.available())}, or a file")


def read_file(arguments: argparse.Namespace, path: str | Path) -> Dataset:
    """A file or folder of yours, read as the options say."""
    given = {key: getattr(arguments, key) for key in READING}
    energies = None if arguments.e0 is None else _element_energies(arguments.e0)
    return datasets.read(path, **given, E0=energies)


def find_splits(arguments: argparse.Namespace) -> Dataset:
    """`--data`, shown, with the splits that training needs; a file of yours is split by `--seed`.

    Test structures that lack what others have are left out, which is said: they cannot be scored.
    """
    data = find_data(arguments, arguments.data)
    refuse_unlabelled(data, "--data", _labels(arguments))
    if not data.splits:
        data = _divided(data, arguments)
    if not {"train", "valid"} <= set(data.splits):
        raise Stop(f"--data: {data.name!r} has the splits {sorted(data.splits)}, training needs 'train' and 'valid'")
    print(data, flush=True)
    known = set(data["train"].elements)
    for name in data.splits:
        if unseen := sorted(set(data[name].elements) - known):
            names = ", ".join(chemical_symbols[z] for z in unseen)
            raise Stop(f"--data: the split {name!r} holds {names}, which no training structure does; add some that do")
    kinds = [kind for kind in ("energy", "forces") if data.known(kind).any()]
    labelled = np.all([data.known(kind) for kind in kinds], axis=0)
    splits, what = dict(data.splits), " and ".join(PLURAL[kind] for kind in kinds)
    scorable = labelled.any()  # else training says what is missing
    for name, chosen in data.splits.items():
        if scorable and name not in ("train", "valid") and not all(labelled[list(chosen)]):
            splits[name] = tuple(index for index in chosen if labelled[index])
            print(f"{name}: {len(splits[name])} of {len(chosen)} structures have {what} and are scored")
    return data if splits == data.splits else replace(data, splits=splits)


def _labels(arguments: argparse.Namespace) -> tuple[str, ...]:
    """What the training asks for."""
    return ("energy", "forces", *(["stress"] if (getattr(arguments, "stress_weight", None) or 0) > 0 else []))


def _divided(data: Dataset, arguments: argparse.Namespace) -> Dataset:
    if len(data) < FEWEST:
        raise Stop(
            f"--data: {arguments.data} has {len(data)} structures; to be divided into train, valid and test it needs "
            f"at least {FEWEST}"
        )
    sizes: dict[str, Any] = {name: int(share * len(data)) for name, share in SHARES.items()}
    options = {"by_group": arguments.by_group, "blocks": arguments.blocks or None, "gap": arguments.gap}
    return data.split(seed=arguments.seed, **options, **sizes)


def _element_energies(text: str) -> dict[str | int, float]:
    try:
        pairs = [entry.split("=") for entry in text.split(",")]
        return {element.strip(): float(energy) for element, energy in pairs}
    except ValueError as error:
        raise Stop(f"--e0: got {text!r}, expected element=energy, several with commas: H=-13.6,O=-432.1") from error


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


def add_stress(parser: argparse.ArgumentParser) -> None:
    """The option `--stress-weight`; `stress_of` checks it."""
    parser.add_argument("--stress-weight", type=float, metavar="X",
                        help="learn stress, too, at X times the usual weight: try 1 (default: 0)")  # fmt: skip


def stress_of(arguments: argparse.Namespace) -> float | None:
    """What `--stress-weight` says, None where nobody asked. Raises Stop for what is no weight."""
    stress = arguments.stress_weight
    if stress is not None and not 0 <= stress < float("inf"):
        raise Stop(f"--stress-weight: got {stress:g}, expected 0 or more")
    return stress


def check_place(path: Path, option: str = "--out") -> None:
    """Whether a file can be written there, under which option it was asked for: now, not after an hour of training."""
    if path.is_dir():
        raise Stop(f"{option}: {path} is a folder, expected the name of a file")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise Stop(f"{option}: cannot write into {folder}")
