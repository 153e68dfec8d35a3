"""Data sets: `load` our own, `read` files of yours."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import ase

from uqlib.structures import published
from uqlib.structures.dataset import Dataset
from uqlib.structures.files import announce, read_extxyz, read_frames
from uqlib.structures.keys import Options

DATA = Path(__file__).parents[1] / "data"
"""Folder of our own data sets, each with a card."""

__all__ = ["DATA", "Dataset", "available", "load", "read"]


def available() -> list[str]:
    """Names that `load` knows: our own sets, which come with the library."""
    return sorted(path.parent.name for path in DATA.glob("*/card.json"))


def load(name: str, *, source: Literal["own", "published"] = "own", fold: int = 1) -> Dataset:
    """A data set by name, with its splits: `load("ammonia")["train"]`, `load("rmd17/aspirin", source="published")`.

    Our own sets come with the library; published ones are fetched once (`structures.published` says what there is, and
    `fold` chooses among the official splits of rMD17). Raises ValueError for an unknown name or source, and when a
    file is not, byte for byte, the one that was meant; OSError when a published set cannot be reached.
    """
    if source == "published":
        found = published.load(name, fold=fold)
        splits = {split: tuple(indices) for split, indices in found.splits.items()}
        return Dataset(name=name, atoms=tuple(found.atoms), splits=splits, card=found.card)
    if source != "own":
        raise ValueError(f"source: got {source!r}, expected 'own' or 'published'")
    if name not in available():
        raise ValueError(
            f"name: got {name!r}, expected one of {available()}, or a published set with source='published'"
        )
    folder = DATA / name
    card = _read_card(folder / "card.json")
    frames: list[ase.Atoms] = []
    splits = {}
    for split, entry in card["splits"].items():
        path = folder / f"{split}.xyz"
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest != entry["sha256"]:
            raise ValueError(
                f"{path}: got SHA-256 {digest}, the card says {entry['sha256']}; restore the file from git"
            )
        part = read_extxyz(path)
        splits[split] = tuple(range(len(frames), len(frames) + len(part)))
        frames.extend(part)
    return Dataset(name=name, atoms=tuple(frames), splits=splits, card=card)


def _read_card(path: Path) -> dict[str, Any]:
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        if not all(entry["sha256"] for entry in card["splits"].values()):
            raise ValueError("a split without a sum")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not the card of a data set ({error}); restore the file from git") from error
    return card


def read(
    path: str | Path,
    *,
    energy_key: str | Sequence[str] | None = None,
    forces_key: str | Sequence[str] | None = None,
    stress_key: str | Sequence[str] | None = None,
    virial_key: str | Sequence[str] | None = None,
    energy_unit: str | None = None,
    length_unit: str | None = None,
    forces_unit: str | None = None,
    stress_unit: str | None = None,
    E0: Mapping[str | int, float] | None = None,
) -> Dataset:
    """A file of yours, or a folder of them with all folders inside, as a data set in eV and Å.

    Formats: extended XYZ, ASE's .traj, .db and .json (also as SchNetPack and graph-pes keep them), NFF archives, numpy
    archives (.npz), HDF5 like SPICE's, systems of DeePMD-kit, outputs of VASP, CP2K, ORCA, Quantum ESPRESSO, FHI-aims,
    CASTEP, Gaussian and others; files may be packed (.gz, .bz2, .xz). Frames of one file are one group unless the file
    says otherwise.

    Args:
        path: of the file or folder.
        energy_key, forces_key, stress_key, virial_key: names under which the labels stand, where they are not among
            those that are known (`structures.keys`) or two of these are there. A virial is -stress times volume.
        energy_unit: eV, kcal/mol, kJ/mol, hartree, rydberg or meV, if not eV. A numpy archive needs it.
        length_unit: of positions and cell: Å, bohr or nm, if not Å.
        forces_unit: as "hartree/bohr"; if it is not energy_unit/length_unit.
        stress_unit: GPa, kbar, bar or "eV/Å³"; if it is not energy_unit/length_unit³.
        E0: Energies of isolated atoms, in eV: `{"H": -13.6, "O": -432.1}`.

    What has to be said (names that were guessed, files skipped, doubtful units, states that the network does not see)
    is a `DataWarning` each; `read(path).report()` has all of it.

    Raises:
        FileNotFoundError: Nothing there.
        ValueError: A format that nobody reads, a broken file (with the line or frame), no structures, labels that are
            no numbers, two names that may both be the label, units that are not known.
        ImportError: HDF5 without h5py.
    """
    options = Options(
        energy_key=energy_key,
        forces_key=forces_key,
        stress_key=stress_key,
        virial_key=virial_key,
        energy_unit=energy_unit,
        length_unit=length_unit,
        forces_unit=forces_unit,
        stress_unit=stress_unit,
    )
    path = Path(path)
    frames, reading = read_frames(path, options)
    announce(path.name, reading)
    name = path.name.partition(".")[0] if path.is_file() else path.name
    return Dataset(
        name=name or path.stem, atoms=tuple(frames), card={"source": path.name}, E0=E0 or {}, reading=reading
    )
