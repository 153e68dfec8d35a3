"""Structures out of plain arrays, and numpy archives (`.npz`) whose units the reader states."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ase
import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator

from uqlib.structures.units import ANGSTROM_PER, EV_PER, factor, force_factor

# What archives call things: rMD17 and QM7 style, MD17's one-letter keys, Si-ZEO22.
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
    if arrays["energies"].ndim == 2 and arrays["energies"].shape[1] == 1:
        arrays["energies"] = arrays["energies"][:, 0]
    count, size = len(arrays["energies"]), len(arrays["kinds"])
    wanted = {"positions": (count, size, 3), "forces": (count, size, 3), "cells": (count, 3, 3)}
    for name, shape in wanted.items():
        if name in arrays and arrays[name].shape != shape:
            raise ValueError(f"{path}: {name} has shape {arrays[name].shape}, expected {shape}")
    kinds = arrays["kinds"].tolist()
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
    arrays = _arrays(path, keys)
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        sized = {name: archive[name] for name in archive.files}
    used = [
        name
        for name, value in sized.items()
        if any(value.shape == a.shape and value.tobytes() == a.tobytes() for a in arrays.values())
    ]
    return [n for n, v in sized.items() if n not in used and v.shape[:1] == arrays["positions"].shape[:1]]


def _arrays(path: Path, given: Mapping[str, Sequence[str]]) -> Mapping[str, np.ndarray]:
    names = {**KEYS, **{name: tuple(keys) for name, keys in given.items() if keys}}
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            found = {name: next((archive[key] for key in keys if key in archive), None) for name, keys in names.items()}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: not a numpy archive of plain arrays, or cut short ({error})") from error
    if missing := [name for name in ("kinds", "positions", "energies") if found[name] is None]:
        raise ValueError(f"{path}: has none of the arrays {[names[name] for name in missing]}")
    return {name: value for name, value in found.items() if value is not None}
