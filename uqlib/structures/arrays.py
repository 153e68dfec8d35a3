"""Structures out of plain arrays, and numpy archives (`.npz`) whose units the reader states."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import ase
import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator

from uqlib.structures.units import ANGSTROM_PER_BOHR, EV_PER_HARTREE, EV_PER_KCAL_MOL, EV_PER_KJ_MOL

EV_PER = {"eV": 1.0, "kcal/mol": EV_PER_KCAL_MOL, "kJ/mol": EV_PER_KJ_MOL, "hartree": EV_PER_HARTREE}
ANGSTROM_PER = {"Å": 1.0, "bohr": ANGSTROM_PER_BOHR}

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
    path: str | Path, *, energy_unit: str, length_unit: str = "Å", frames: Iterable[int] | None = None
) -> list[ase.Atoms]:
    """Frames of one molecule or cell from arrays, all of them or those named; forces are in energy_unit/length_unit.

    Raises ValueError for unknown units, missing or misshapen arrays, and archives that hold Python objects.
    """
    if energy_unit not in EV_PER or length_unit not in ANGSTROM_PER:
        raise ValueError(
            f"energy_unit, length_unit: got {energy_unit!r}, {length_unit!r}, expected one of {sorted(EV_PER)} "
            f"and one of {sorted(ANGSTROM_PER)}; an archive does not say them, its authors do"
        )
    arrays = _arrays(Path(path))
    count, size = len(arrays["energies"]), len(arrays["kinds"])
    wanted = {"positions": (count, size, 3), "forces": (count, size, 3), "cells": (count, 3, 3)}
    for name, shape in wanted.items():
        if name in arrays and arrays[name].shape != shape:
            raise ValueError(f"{path}: {name} has shape {arrays[name].shape}, expected {shape}")
    energy, length = EV_PER[energy_unit], ANGSTROM_PER[length_unit]
    kinds = arrays["kinds"].tolist()
    return [
        labelled(
            kinds,
            arrays["positions"][k] * length,
            arrays["energies"][k] * energy,
            arrays["forces"][k] * (energy / length) if "forces" in arrays else None,
            arrays["cells"][k] * length if "cells" in arrays else None,
        )
        for k in (range(count) if frames is None else frames)
    ]


def _arrays(path: Path) -> Mapping[str, np.ndarray]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            found = {name: next((archive[key] for key in keys if key in archive), None) for name, keys in KEYS.items()}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: not a numpy archive of plain arrays, or cut short ({error})") from error
    if missing := [name for name in ("kinds", "positions", "energies") if found[name] is None]:
        raise ValueError(f"{path}: has none of the arrays {[KEYS[name] for name in missing]}")
    return {name: value for name, value in found.items() if value is not None}
