"""Structures out of plain arrays, and numpy archives (`.npz`) whose units the reader states."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import ase
import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator

from uqlib.structures.bounds import check_unpacked, real_numbers, whole_numbers
from uqlib.structures.units import ANGSTROM_PER, EV_PER, factor, force_factor

# What archives call things: rMD17 and QM7 style, MD17's one-letter keys, Si-ZEO22.
BROKEN = "not a numpy archive of plain arrays, or cut short"
KEYS = {
    "kinds": ("nuclear_charges", "atomic_numbers", "numbers", "z", "symbols"),
    "positions": ("coords", "positions", "R"),
    "energies": ("energies", "energy", "E"),
    "forces": ("forces", "F"),
    "cells": ("cells", "cell", "lattice"),
}


def labelled(kinds: Any, positions: Any, energy: float, forces: Any = None, cell: Any = None) -> ase.Atoms:
    """A structure with labels. kinds: (N,) symbols or numbers; (N, 3) Å; eV; (N, 3) eV/Å; (3, 3) Å if periodic."""
    frame = ase.Atoms(kinds, positions=np.asarray(positions, dtype=np.float64), cell=cell, pbc=cell is not None)
    labels: dict[str, Any] = {"energy": float(energy)}
    if forces is not None:
        labels["forces"] = np.asarray(forces, dtype=np.float64)
    frame.calc = SinglePointCalculator(frame, **labels)
    return frame


def read_npz(
    path: str | Path,
    *,
    energy_unit: str,
    length_unit: str = "Å",
    forces_unit: str | None = None,
    keys: Mapping[str, Sequence[str]] | None = None,
    frames: Iterable[int] | None = None,
) -> list[ase.Atoms]:
    """Frames of one molecule or cell from arrays, all of them or those named.

    Forces are in energy_unit/length_unit where `forces_unit` says nothing else. `keys`: what the arrays are called, by
    their names in `KEYS`, where these are not among them.

    Raises ValueError for unknown units, missing or misshapen arrays, and archives that hold Python objects.
    """
    energy, length = factor(energy_unit, EV_PER, "energy_unit"), factor(length_unit, ANGSTROM_PER, "length_unit")
    force = energy / length if forces_unit is None else force_factor(forces_unit)
    arrays = dict(_arrays(Path(path), keys or {}))
    arrays["energies"] = arrays["energies"].reshape(-1)
    count = len(arrays["energies"])
    kinds: Any = arrays["kinds"].tolist()
    if arrays["kinds"].dtype.kind not in "US":
        kinds = whole_numbers(arrays["kinds"], f"{path}: kinds")
    try:
        ase.Atoms(kinds)
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path}: kinds: got {error}, expected symbols of elements or atomic numbers") from error
    for name in arrays.keys() - {"kinds"}:
        arrays[name] = real_numbers(arrays[name], f"{path}: {name}")
    return [
        labelled(
            kinds,
            arrays["positions"][k] * length,
            arrays["energies"][k] * energy,
            arrays["forces"][k] * force if "forces" in arrays else None,
            arrays["cells"][k] * length if "cells" in arrays else None,
        )
        for k in (range(count) if frames is None else frames)
    ]


def left_over(path: Path, keys: Mapping[str, Sequence[str]]) -> list[str]:
    """Names of arrays that `read_npz` does not use and that might be labels or geometries, one entry a frame."""
    with path.open("rb") as file:
        shapes = _shapes(file, path)
    chosen = _chosen(shapes, path, keys)
    return [
        n for n, found in shapes.items() if n not in chosen.values() and found[:1] == shapes[chosen["positions"]][:1]
    ]


def _arrays(path: Path, given: Mapping[str, Sequence[str]]) -> Mapping[str, np.ndarray]:
    with path.open("rb") as file:
        shapes = _shapes(file, path)
        chosen = _chosen(shapes, path, given)
        try:
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                return {name: archive[key] for name, key in chosen.items()}
        except Exception as error:  # numpy and zlib let through what a broken file makes them stumble on
            raise ValueError(f"{path}: {BROKEN} ({type(error).__name__}: {error})") from error


def _chosen(shapes: Mapping[str, tuple[int, ...]], path: Path, given: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """What is needed -> the name that it has; refuses arrays that are missing or misshapen, before one is read."""
    names = {**KEYS, **{name: tuple(keys) for name, keys in given.items() if keys}}
    found = {name: next((key for key in keys if key in shapes), None) for name, keys in names.items()}
    if missing := [name for name in ("kinds", "positions", "energies") if found[name] is None]:
        raise ValueError(f"{path}: has none of the arrays {[names[name] for name in missing]}")
    chosen = {name: key for name, key in found.items() if key is not None}
    energies, kinds = shapes[chosen["energies"]], shapes[chosen["kinds"]]
    if len(kinds) != 1:
        raise ValueError(f"{path}: kinds has shape {kinds}, expected a list of the elements of one molecule")
    if len(energies) not in (1, 2) or energies[1:] not in ((), (1,)):
        raise ValueError(f"{path}: energies has shape {energies}, expected one number for each geometry")
    count, size = energies[0], kinds[0]
    for name, shape in {"positions": (count, size, 3), "forces": (count, size, 3), "cells": (count, 3, 3)}.items():
        if name in chosen and shapes[chosen[name]] != shape:
            raise ValueError(f"{path}: {name} has shape {shapes[chosen[name]]}, expected {shape}")
    return chosen


def _shapes(file: IO[bytes], path: Path) -> dict[str, tuple[int, ...]]:
    """Name -> shape, as the archive says; refuses what it cannot hold, before memory is asked for."""
    found = {}
    try:
        with zipfile.ZipFile(file) as archive:
            for entry in archive.infolist():
                if not entry.filename.endswith(".npy"):
                    continue
                with archive.open(entry) as part:
                    version = np.lib.format.read_magic(part)
                    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
                    shape, _, dtype = read[version](part)
                if not dtype.hasobject and math.prod(shape) * dtype.itemsize > entry.file_size:
                    raise ValueError(f"{entry.filename} says shape {shape}, which its {entry.file_size} bytes are not")
                check_unpacked(entry.compress_size, entry.file_size, f"{path}: {entry.filename}")
                found[entry.filename.removesuffix(".npy")] = shape
    except Exception as error:  # of zip, of numpy's header, or of what was just refused
        if str(path) in str(error):
            raise
        raise ValueError(f"{path}: {BROKEN} ({type(error).__name__}: {error})") from error
    return found
